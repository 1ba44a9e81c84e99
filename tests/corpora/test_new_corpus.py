"""A user-defined corpus needs only one class and one yaml."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from process_launcher import jobs_in_processes

import fervid.corpora
from fervid.data import CorpusDataModule
from fervid.errors import InputError

EXAMPLE = Path(__file__).parents[2] / "examples/own_corpus/conf/dataset/portraits.yaml"
CLASS = """
from pathlib import Path

import pandas as pd

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory
from fervid.media.files import list_files


class Portraits(Corpus):
    'Pictures <subject>_<emotion>_<number>.png.'

    name = "portraits"
    licence = "CC0"
    citation = "A. Painter: Portraits. 1900."
    expressions = "are painted."
    pictures = True

    def __init__(self, root, *, subjects=None, schools_path=None):
        super().__init__(root)
        self.subjects = subjects
        self.schools = ["old", "new"] if schools_path is None else Path(schools_path).read_text().split()

    def read(self):
        listing = list_files(self.root, {".png"})
        files = [file for file in listing.files if self.subjects is None or file.stem.split("_")[0] in self.subjects]
        parts = [file.stem.split("_") for file in files]
        clips = pd.DataFrame(
            {
                "subject": [subject for subject, _, _ in parts],
                "clip": [file.stem for file in files],
                "emotion": [emotion for _, emotion, _ in parts],
                "school": [self.schools[number != "0"] for _, _, number in parts],
            }
        )
        return Inventory(clips, files, notes=listing.notes, left_out=listing.left_out)
"""
YAML = """
# @package _global_
# Portraits: painted faces of six subjects.
defaults:
  - _files
  - override /detector: none

dataset:
  corpus: portraits_corpus.Portraits
  subjects: null           # null: all; or a list
  schools_path: null       # a file that names the two schools
  face_size: 48            # side in pixels of the face crops
  batch_size: 4            # frames per step
"""


@pytest.fixture
def portraits(tmp_path, monkeypatch):
    """The class, the yaml and the pictures of a made-up corpus: 6 subjects x 2 emotions x 3 pictures."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "portraits_corpus.py").write_text(CLASS)
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    (tmp_path / "conf" / "dataset" / "portraits.yaml").write_text(YAML.lstrip())
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for subject in range(6):
        for label, emotion in enumerate(("calm", "angry")):
            for number in range(3):
                pixels = rng.integers(0, 60, (48, 48, 3)).astype(np.uint8)
                pixels[..., label] += 150
                Image.fromarray(pixels).save(tmp_path / "pictures" / f"s{subject}_{emotion}_{number}.png")
    (tmp_path / "pictures" / "notes.txt").write_text("not a picture")
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield tmp_path
    sys.modules.pop("portraits_corpus", None)


def test_new_corpus_works_in_all_commands(portraits, fervid_command, capsys):
    folder = f"--config-dir={portraits / 'conf'}"
    words = words_of(portraits)
    fervid_command("prepare", folder, *words)
    assert "Inventory of portraits" in capsys.readouterr().out
    (card,) = portraits.glob("cache/prepared/portraits-*/card.md")
    assert "A. Painter: Portraits. 1900." in card.read_text()
    assert "Licence: CC0." in card.read_text()

    run = portraits / "run"
    training = ["backbone=lenet", "trainer.max_epochs=1", "+trainer.enable_progress_bar=false", "logger=none"]
    fervid_command("train", folder, *words, *training, f"hydra.run.dir={run}")
    results = json.loads((run / "results.json").read_text())
    assert results["data"]["corpora"][0]["licence"] == "CC0"
    assert results["data"]["subjects"] == 6
    assert results["leakage"]["level"] == "subject-independent"
    assert pd.read_csv(run / "failures.csv")["path"].tolist() == ["notes.txt"]

    fervid_command("report", f"runs={run}", f"hydra.run.dir={portraits / 'report'}")
    groups = pd.read_csv(portraits / "report" / "tables" / "groups.csv")
    assert set(groups["by"]) == {"school"}
    fervid_command("export", f"run={run}", "format=safetensors")
    model_card = (run / "export" / "model_card.md").read_text()
    for fact in ("A. Painter: Portraits", "CC0", "are painted."):
        assert fact in model_card
    fervid_command("audit", folder, *words, f"hydra.run.dir={portraits / 'audit'}")
    assert (portraits / "audit" / "audit.json").exists()


@pytest.mark.filterwarnings("ignore:A worker stopped")  # loky replaces workers whose memory grows
@pytest.mark.slow
def test_workers_of_a_launcher_find_the_new_corpus(portraits, fervid_command, monkeypatch):
    """Workers have their own command line, without ``--config-dir``."""
    folder, run, evaluation = f"--config-dir={portraits / 'conf'}", portraits / "run", portraits / "evaluation"
    training = ["backbone=lenet", "trainer.max_epochs=1", "+trainer.enable_progress_bar=false", "logger=none"]
    fervid_command("train", folder, *words_of(portraits), *training, f"hydra.run.dir={run}")
    words = ["-m", f"run={run}", "seed=0,1", f"cache_dir={portraits / 'cache'}", f"hydra.sweep.dir={evaluation}"]
    fervid_command("evaluate", folder, *words, jobs_in_processes(monkeypatch))
    assert len(list(evaluation.glob("*/report.html"))) == 2


def words_of(portraits):
    return ["dataset=portraits", f"dataset.root={portraits / 'pictures'}", f"cache_dir={portraits / 'cache'}"]


def test_options_and_mistakes_of_a_new_corpus(portraits, fervid_command, capsys):
    folder, words = f"--config-dir={portraits / 'conf'}", words_of(portraits)
    fervid_command("prepare", folder, *words, "dataset.subjects=[s0,s1]")
    assert "12 faces in 12 frames" in capsys.readouterr().out
    for wrong, sentence in (
        (["dataset=portraits"], "needs dataset.root=<folder>"),
        (
            [*words, "dataset.corpus=portraits_corpus.Nobody"],
            "portraits_corpus.Nobody cannot be imported",
        ),
        ([*words, "dataset.corpus=builtins.dict"], "is not a corpus"),
        ([*words, "+dataset.size=3"], "unexpected keyword argument 'size'"),
    ):
        with pytest.raises(SystemExit):
            fervid_command("prepare", folder, *wrong)
        assert sentence in capsys.readouterr().err


def test_path_option_is_text_and_the_file_may_move(portraits, fervid_command, capsys, monkeypatch):
    monkeypatch.chdir(portraits)
    Path("2024").write_text("early late")
    folder, words = f"--config-dir={portraits / 'conf'}", [*words_of(portraits), "backbone=lenet", "finetune=full"]
    words += ["trainer.max_epochs=1", "+trainer.enable_progress_bar=false", "logger=none"]
    with pytest.raises(SystemExit):
        fervid_command("train", folder, *words, "dataset.schools_path=2025")
    assert "dataset.schools_path=2025 does not exist" in capsys.readouterr().err
    sweep = ["-m", "seed=1,2", f"hydra.sweep.dir={portraits / 'sweep'}"]
    fervid_command("train", folder, *sweep, *words, "dataset.schools_path=2024")
    assert set(pd.read_csv("sweep/0/predictions.csv")["school"]) == {"early", "late"}
    capsys.readouterr()
    Path("2024").rename("2026")
    before = Path("sweep/0/results.json").stat().st_mtime_ns
    fervid_command("train", folder, *sweep, *words, "dataset.schools_path=2026")
    assert Path("sweep/0/results.json").stat().st_mtime_ns == before


def test_example_yaml_has_every_setting_of_preparation_and_loading(portraits, fervid_command, capsys):
    file = portraits / "conf" / "dataset" / "portraits.yaml"
    file.write_text(EXAMPLE.read_text("utf-8").replace("portraits.Portraits", "portraits_corpus.Portraits"))
    folder, words = f"--config-dir={portraits / 'conf'}", words_of(portraits)
    given = ["dataset.batch_size=16", "dataset.face_size=128", "dataset.num_workers=2"]
    fervid_command("prepare", folder, *words, "dataset.face_size=32", "dataset.margin=0.1", "detector=none")
    assert "36 faces in 36 frames" in capsys.readouterr().out
    fervid_command("train", folder, *words, *given, "--cfg", "job")
    assert "batch_size: 16\n  num_workers: 2\n" in capsys.readouterr().out
    fervid_command("train", folder, "dataset=portraits", "--help")
    output = capsys.readouterr().out
    assert "_files" not in output
    assert re.search(r"  face_size: 128 +# side in pixels", output)
    assert re.search(r"dataset: .*portraits, raf_db, ravdess", output)
    fervid_command("prepare", folder, "--help")
    assert re.search(r"dataset: .*portraits, raf_db, ravdess", capsys.readouterr().out)
    for wrong, sentence in (
        ("dataset.batch_size=large", "is not a number: the default is 32"),
        ("dataset.bath_size=3", "Did you mean dataset.batch_size?"),
        (
            "dataset=portrait",
            "choose affectnet, ck_plus, crema_d, emodb, enterface, fer2013, ferplus, hf_faces, image_folder, "
            "ised, jaffe, kdef, portraits, raf_db, ravdess",
        ),
    ):
        with pytest.raises(SystemExit):
            fervid_command("train", folder, *[] if "=portrait" in wrong else ["dataset=portraits"], wrong)
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("name", ["split", "seed", "frame_stride", "detector", "corpus"])
def test_option_with_the_name_of_a_common_setting_is_refused(portraits, name):
    file = portraits / "site" / "portraits_corpus.py"
    file.write_text(CLASS.replace("subjects=None", f"{name}=None").replace("= subjects", f"= {name}"))
    with pytest.raises(InputError, match=f"^Portraits has an option '{name}', .* rename the option"):
        CorpusDataModule("portraits_corpus.Portraits", root=portraits / "pictures")


def test_corpus_in_fervid_corpora_is_found(portraits, monkeypatch):
    """A module in fervid/corpora needs no registration."""
    assert set(fervid.corpora.find_corpora()) >= {
        *("ENTERFACE", "FERPlus", "HFFaces", "ISED", "ImageFolder", "RAVDESS", "VideoFolder")
    }
    (portraits / "site" / "portraits_corpus.py").rename(portraits / "site" / "portraits.py")
    monkeypatch.setattr(fervid.corpora, "__path__", [*fervid.corpora.__path__, str(portraits / "site")])
    fervid.corpora.find_corpora.cache_clear()
    try:
        assert fervid.corpora.Portraits.name == "portraits"
    finally:
        monkeypatch.undo()
        sys.modules.pop("fervid.corpora.portraits", None)
        fervid.corpora.find_corpora.cache_clear()


def test_unknown_corpus_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Nobody"):
        _ = fervid.corpora.Nobody
