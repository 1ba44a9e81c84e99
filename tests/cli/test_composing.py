"""Configurations without a command line."""

import re
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobRuntime
from hydra.version import getbase
from omegaconf import OmegaConf

import fervid
from fervid.cli import compose
from fervid.errors import InputError


def test_only_the_command_line_reads_hydras_global_state():
    package = Path(fervid.__file__).parent
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"HydraConfig|GlobalHydra", path.read_text(encoding="utf-8"))
    }
    assert found == {"cli/hydra_compose.py", "cli/job.py"}


def test_configuration_contains_choices_and_overrides():
    words = ["experiment=smoke", "optimizer=sgd", "dataset.batch_size=4"]
    config = compose("train", words)
    assert config.dataset.batch_size == 4
    assert (config.choices.optimizer, config.choices.backbone) == ("sgd", "lenet")
    assert list(config.overrides) == words
    assert not [group for group in config.choices if group.startswith("hydra")]


def test_escaped_interpolation_stays_text():
    config = compose("train", [r'logger.save_dir="\${seed}"'])
    assert list(config.overrides) == [r'logger.save_dir="\${seed}"']
    assert config.logger.save_dir == "${seed}"
    assert OmegaConf.to_container(config, resolve=True)["overrides"] == [r'logger.save_dir="\${seed}"']


def globals_of_hydra():
    return GlobalHydra.instance().hydra, HydraConfig.instance().cfg, JobRuntime.instance().get("name"), getbase()


def test_global_state_of_hydra_is_restored(tmp_path, monkeypatch):
    nothing_runs = globals_of_hydra()
    compose("train")
    assert globals_of_hydra() == nothing_runs
    with pytest.raises(InputError):
        compose("train", ["seed"])
    assert globals_of_hydra() == nothing_runs
    seen = []

    (tmp_path / "mine.yaml").write_text("x: 0")

    @hydra.main(version_base="1.3", config_path=str(tmp_path), config_name="mine")
    def application(config):
        before = globals_of_hydra()
        assert before[1].hydra.job.name == "mine"
        seen.append(compose("train", ["seed=5"]).seed)
        assert globals_of_hydra() == before

    monkeypatch.setattr("sys.argv", ["mine", "-m", f"hydra.sweep.dir={tmp_path}", "x=1,2", "hydra.job.name=mine"])
    application()
    assert seen == [5, 5]
    assert {path.name for path in tmp_path.rglob("*.log")} == {"mine.log"}
    GlobalHydra.instance().clear()


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("optimizer=sgdd", "Did you mean optimizer=sgd?"),
        ("optimzer.lr=1", "Did you mean optimizer.lr?"),
        ("optimizer.lr=abc", "optimizer.lr=abc is not a number: the default is 0.001"),
        ("dataset.batch_size=1.5", "dataset.batch_size=1.5 is not a whole number: the default is 32"),
        ("head.hidden=3", "head.hidden=3 is not a list"),
        ("seed=-1", "seed=-1 is out of range"),
        ("seed=1,2", "seed=1,2 contains commas"),
        ("a b", "a b is not setting=value"),
    ],
)
def test_mistakes_raise_one_sentence(word, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        compose("train", [word])


def test_types_are_those_of_the_chosen_option():
    assert compose("train", ["scheduler=step", "scheduler.step_size=4"]).scheduler.step_size == 4
    with pytest.raises(InputError, match=r"scheduler\.step_size=x is not a number"):
        compose("train", ["scheduler=step", "scheduler.step_size=x"])
    with pytest.raises(InputError, match=r"dataset\.frame_stride=x is not a number: the default is 5"):  # by the preset
        compose("train", ["experiment=ised_lenet", "dataset.root=/x", "dataset.frame_stride=x"])
