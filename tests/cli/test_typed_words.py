"""Quoting on the command line: folders may have any name, and printed commands can be pasted."""

import re
import shlex
import sys

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from fervid.callbacks import FreezeThenFineTune
from fervid.cli.overrides import as_typed, how_to_quote, override, printed_command
from fervid.schema.config_folder import CONFIG_FOLDER

NUMBERS = ["2024", "1e3", "2024_11_26", "007", "true", "1_000", "nan", "inf", "-1", "0x10", "on", "No", ".5"]
ODD = [
    *NUMBERS,
    *("null", "a=b", "a (1)", "a,b", "it's", 'say "x"', "a\\", "a\\\\", "a\\'b", 'a\\"b', "${x}", "\\${x}"),
    *("a\\\\${x}", "${a}\\", "x$y", "$", "[a]", "{a: 1}", " a ", "", "#a", "~a", "~", "a:b", "C:\\new", "\n", "\t"),
    *("радость", "*?!&|;<>"),
]
UNREADABLE = ["a=b", "a (1)", "a,b", "[a", "{a", "it's", "a'b\"c", "${x}", "a)", "a]b", "a,1", "a, 2024", "a\\'"]


def read(words):
    """Composes the configuration of a training with Hydra."""
    with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
        return compose("train", list(words), return_hydra_config=True)


@pytest.mark.parametrize("text", ODD)
def test_printed_command_is_parsed_back_unchanged(text):
    settings = {"dataset.root": text, "ckpt_path": text, "hydra.run.dir": text}
    line = printed_command("fervid.train", ["dataset=image_folder", "seed=7"], settings)
    python, option, module, *words = shlex.split(line)
    assert (python, option, module) == (sys.executable, "-m", "fervid.train")
    config = read(words)
    assert (config.dataset.root, config.ckpt_path, config.hydra.run.dir, config.seed) == (text, text, text, 7)


def test_plain_words_are_not_quoted():
    assert override("hydra.run.dir", "runs/2026-01-31_12-00-00") == "hydra.run.dir=runs/2026-01-31_12-00-00"


@pytest.mark.parametrize("text", NUMBERS)
def test_path_that_looks_like_a_number_stays_text(text):
    words = as_typed(["dataset=image_folder", f"dataset.root={text}", f"++dataset.csv={text}", f"ckpt_path={text}"])
    config = read(words)
    assert (config.dataset.root, config.dataset.csv, config.ckpt_path) == (text, text, text)


def test_lists_of_paths_stay_text():
    with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
        config = compose("report", as_typed(["runs=[2024, 1e3,runs/a,'x,2024,y',2024_11_26]", "title=2024"]))
    assert list(config.runs) == ["2024", "1e3", "runs/a", "x,2024,y", "2024_11_26"]
    assert config.title == "2024"
    assert as_typed(["run=my 2024", "run=a (1)", "run=range(1,3)"]) == ["run=my 2024", "run=a (1)", "run=range(1,3)"]
    assert as_typed(["dataset.root=2024,runs/a"]) == ['dataset.root="2024",runs/a']


def test_numbers_that_are_not_paths_stay_numbers():
    words = ["seed=7", "optimizer.lr=1e-3", "dataset.root=null", "-m", "+trainer.fast=true", "split.val=.2"]
    assert as_typed(words) == words


def test_run_folder_with_a_numeric_name(fervid_command, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32)).save("x.png")
    for command, words in {
        "predict": ["run=2024_11_26", "source=x.png"],
        "export": ["run=2024_11_26"],
        "evaluate": ["run=[2024_11_26,1e3]"],
        "explain": ["run=2024_11_26"],
    }.items():
        with pytest.raises(SystemExit):
            fervid_command(command, *words, "++cache_dir=cache")
        assert "2024_11_26" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        fervid_command("train", "dataset=image_folder", "dataset.root=1e3")
    assert "dataset.root=1e3 is not a folder" in capfd.readouterr().err


@pytest.mark.parametrize(
    "name", ["a=b", "a (1)", "a,b", "[a", "{a", "it's", "a'b\"c", "${x}", "a)", "a]b", "a,1", "a, 2024", "a\\'"]
)
def test_path_that_needs_quotes_is_explained(fervid_train, tmp_path, capfd, name):
    root = tmp_path / name
    with pytest.raises(SystemExit) as stop:
        fervid_train("dataset=image_folder", f"dataset.root={root}", f"hydra.run.dir={tmp_path / 'run'}")
    assert stop.value.code == 1
    output = capfd.readouterr().err
    assert output.count("\n") == 1
    assert "Traceback" not in output
    fixed = shlex.split(re.search(r"write (.*?)(?:; for a list|\.$)", output)[1])
    assert len(fixed) == 1
    with pytest.raises(SystemExit):  # it is read now, and there is no such folder
        fervid_train("dataset=image_folder", *fixed, f"hydra.run.dir={tmp_path / 'run'}")
    assert f"dataset.root={root} is not a folder" in capfd.readouterr().err


def test_space_without_quotes_is_explained(fervid_train, capfd):
    with pytest.raises(SystemExit):
        fervid_train("dataset=image_folder", "dataset.root=my", "pictures")
    assert "pictures is not setting=value: if it belongs to the word before it" in capfd.readouterr().err


def test_other_errors_are_not_explained():
    assert how_to_quote(ValueError("something else"), {"seed=1": "seed=1"}) is None


def test_printed_resume_command_works_for_unusual_folder_names(fervid_train, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "a = b (1), it's"
    quoted = override("hydra.run.dir", folder)
    words = ["experiment=smoke", "logger=none", "trainer.max_epochs=2", "+trainer.enable_progress_bar=false"]
    finish = FreezeThenFineTune.on_train_epoch_start

    def interrupt(self, trainer, pl_module):
        finish(self, trainer, pl_module)
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FreezeThenFineTune, "on_train_epoch_start", interrupt)
        with pytest.raises(SystemExit):
            fervid_train(*words, quoted)
    line = next(line for line in capfd.readouterr().out.splitlines() if line.startswith(shlex.quote(sys.executable)))
    assert not (folder / "results.json").exists()
    fervid_train(*shlex.split(line)[3:])
    assert (folder / "results.json").exists()
