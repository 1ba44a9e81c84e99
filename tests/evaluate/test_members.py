"""Who of a corpus a run has seen, and how its faces are found."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from fervid.cli import compose
from fervid.evaluate.members import Member, asked_settings, known_to_be_seen, leakage
from fervid.runs.run import Run
from fervid.schema.config_folder import CONFIG_FOLDER


def about(name, root):
    return [{"name": name, "root": root, "published": not name.endswith("_folder")}]


class Asked:
    """As much of a datamodule as is asked for."""

    subjects_from, verified = None, []

    def __init__(self, name, root):
        self.corpora, self.frames = about(name, root), frames(name, "test")


def stored(corpus, root):
    return Run(Path("run"), {"data": {"corpora": about(corpus, root)}, "leakage": {}, "choices": {}, "config": {}})


def frames(corpus, split, subjects=("Ann", "Bob")):
    table = pd.DataFrame({"corpus": corpus, "subject": subjects, "clip": [f"{who}.jpg" for who in subjects]})
    return table.assign(frame=0, emotion=["happy", "sad"], split=split)


@pytest.mark.parametrize(
    ("own", "other", "level"),
    [
        (("image_folder", "/a"), ("image_folder", "/a"), "leaky"),
        (("image_folder", "/a"), ("image_folder", "/b"), "unknown-subjects"),  # the same names, other people perhaps
        (("ravdess", "/a"), ("video_folder", "/b"), "unknown-subjects"),  # RAVDESS itself perhaps
        (("ravdess", "/a"), ("ravdess", "/b"), "leaky"),  # whose names are the same everywhere
        (("ravdess", "/a"), ("enterface", "/b"), "subject-independent"),
        (("image_folder", "/a"), ("synthetic", None), "unknown-subjects"),  # which lies nowhere
    ],
)
def test_names_say_who_was_seen_where_they_mean_the_same(own, other, level):
    run = stored(*own)
    asked = Asked(*other)
    seen, names_tell = known_to_be_seen(run, frames(own[0], "train"), asked)
    member = Member(run, "run", seen, asked, frames(other[0], "test"), names_tell)
    assert leakage(member, own=False, left_out=0)["level"] == level


def test_people_unknown_in_training_may_be_anybody():
    run = stored("hf_faces", None)
    asked = Asked("ravdess", "/b")
    seen, names_tell = known_to_be_seen(run, frames("hf_faces", "train").assign(subject=None), asked)
    member = Member(run, "run", seen, asked, frames("ravdess", "test"), names_tell)
    assert leakage(member, own=False, left_out=0)["level"] == "unknown-subjects"


@pytest.mark.parametrize(
    ("stored", "words", "found"),
    [
        ("yunet", [], "YuNetDetector"),
        ("yunet", ["detector=haar"], "HaarDetector"),  # who says so means it
        ("none", [], "HaarDetector"),  # its faces were cut out already; a film's are not
    ],
)
def test_faces_of_another_corpus_are_found_as_the_run_finds_them(stored, words, found):
    config = compose("evaluate", ["dataset=ravdess", "dataset.root=/b", *words])
    own = OmegaConf.create({"dataset": {}, "detector": OmegaConf.load(f"{CONFIG_FOLDER}/detector/{stored}.yaml")})
    assert asked_settings(config, own).detector._target_.endswith(found)


def test_a_prepared_folder_of_a_run_from_elsewhere_is_not_written(fervid_command, trained, tmp_path):
    folder = shutil.copytree(trained.folder, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    results = json.loads((folder / "results.json").read_text())
    results["config"]["dataset"]["prepared_dir"] = str(tmp_path / "mine")
    (folder / "results.json").write_text(json.dumps(results))
    words = (f"run={folder}", "frames=random", f"cache_dir={trained.cache}")
    fervid_command("explain", *words)
    assert list((tmp_path / "mine").iterdir()) == []
    assert (folder / "explanation" / "random.png").exists()
