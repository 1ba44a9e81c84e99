"""Overlap of a corpus with the training data, and face settings of another corpus."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from fervid.cli import compose
from fervid.evaluate.members import Member, corpus_settings, leakage, seen_frames
from fervid.runs import load
from fervid.runs.run import Run
from fervid.schema.config_folder import CONFIG_FOLDER


def about(name, root):
    return [{"name": name, "root": root, "published": not name.endswith("_folder")}]


class StubDataModule:
    """The attributes of a data module that are used."""

    subjects_from, verified = None, []

    def __init__(self, name, root):
        self.corpora, self.rows = about(name, root), frames(name, "test")


def stored(corpus, root):
    return Run(Path("run"), {"data": {"corpora": about(corpus, root)}, "leakage": {}, "choices": {}, "config": {}})


def frames(corpus, split, subjects=("Ann", "Bob")):
    table = pd.DataFrame({"corpus": corpus, "subject": subjects, "clip": [f"{who}.jpg" for who in subjects]})
    return table.assign(frame=0, emotion=["happy", "sad"], split=split)


@pytest.mark.parametrize(
    ("own", "other", "level"),
    [
        (("image_folder", "/a"), ("image_folder", "/a"), "leaky"),
        (("image_folder", "/a"), ("image_folder", "/b"), "unknown-subjects"),  # same names, possibly different people
        (("ravdess", "/a"), ("video_folder", "/b"), "unknown-subjects"),  # possibly RAVDESS itself
        (("ravdess", "/a"), ("ravdess", "/b"), "leaky"),  # published names are the same everywhere
        (("ravdess", "/a"), ("enterface", "/b"), "subject-independent"),
        (("image_folder", "/a"), ("synthetic", None), "unknown-subjects"),  # has no folder
    ],
)
def test_leakage_level_depends_on_whether_names_are_comparable(own, other, level):
    run = stored(*own)
    datamodule = StubDataModule(*other)
    seen, names_comparable = seen_frames(run, frames(own[0], "train"), datamodule)
    member = Member(run, "run", seen, datamodule, frames(other[0], "test"), names_comparable)
    assert leakage(member, own_corpus=False, left_out=0)["level"] == level


def test_unknown_training_subjects_give_unknown_subjects():
    run = stored("hf_faces", None)
    datamodule = StubDataModule("ravdess", "/b")
    seen, names_comparable = seen_frames(run, frames("hf_faces", "train").assign(subject=None), datamodule)
    member = Member(run, "run", seen, datamodule, frames("ravdess", "test"), names_comparable)
    assert leakage(member, own_corpus=False, left_out=0)["level"] == "unknown-subjects"


@pytest.mark.parametrize(
    ("stored", "of_pictures", "words", "found"),
    [
        ("yunet", False, ["dataset=ravdess"], "YuNetDetector"),
        ("yunet", False, ["dataset=ravdess", "detector=haar"], "HaarDetector"),  # an explicit setting is used
        ("none", True, ["dataset=ravdess"], "HaarDetector"),  # its faces were already cropped; those of a video are not
        ("yunet", False, ["dataset=image_folder"], "NoDetector"),  # nothing is known of pictures
        ("yunet", True, ["dataset=image_folder"], "YuNetDetector"),  # pictures have the geometry of those of the run
        ("yunet", True, ["dataset=image_folder", "detector=none"], "NoDetector"),
    ],
)
def test_detector_of_the_run_is_used_for_another_corpus(stored, of_pictures, words, found):
    config = compose("evaluate", ["dataset.root=/b", *words])
    own = OmegaConf.create({"dataset": {}, "detector": OmegaConf.load(f"{CONFIG_FOLDER}/detector/{stored}.yaml")})
    assert corpus_settings(config, own, of_pictures=of_pictures).detector._target_.endswith(found)


def test_a_prepared_folder_of_a_run_from_elsewhere_is_not_written(fervid_command, trained, tmp_path):
    folder = shutil.copytree(trained.folder, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    results = json.loads((folder / "results.json").read_text())
    results["config"]["dataset"]["prepared_dir"] = str(tmp_path / "mine")
    (folder / "results.json").write_text(json.dumps(results))
    words = (f"run={folder}", "samples=random", f"cache_dir={trained.cache}")
    fervid_command("explain", *words)
    assert list((tmp_path / "mine").iterdir()) == []
    assert (folder / "explanation" / "random.png").exists()


def test_prepared_folders_of_several_corpora_from_elsewhere_are_forgotten():
    """At any depth: the class of several corpora may be nested."""
    inner = {"corpora": {"a": {"prepared_dir": "/mine", "root": "/a"}}, "prepared_dir": "/mine"}
    dataset = OmegaConf.create({"corpora": {"b": inner, "c": {"prepared_dir": "/mine"}}, "prepared_dir": None})
    load._forget_prepared_dirs(dataset)
    assert "prepared_dir" not in str(dataset)
    assert dataset.corpora.b.corpora.a.root == "/a"


def test_corpora_that_a_joint_run_has_seen_are_matched_one_by_one():
    both = stored("mine_folder", "/a")
    both.results["data"]["corpora"] += stored("ravdess", "/r").results["data"]["corpora"]
    seen = pd.concat([frames("mine_folder", "train"), frames("ravdess", "train")], ignore_index=True)
    for name, root, corpora, comparable in (
        ("mine_folder", "/a", {"mine_folder"}, False),
        ("mine_folder", "/b", set(), False),
        ("ravdess", "/elsewhere", {"ravdess"}, False),
    ):
        datamodule = StubDataModule(name, root)
        found, names_comparable = seen_frames(both, seen, datamodule)
        assert set(found["corpus"]) == corpora
        assert names_comparable is comparable
