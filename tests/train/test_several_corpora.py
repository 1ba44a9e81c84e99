"""``dataset=several`` by command: a sweep that leaves each corpus out, its report, an evaluation and predictions."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from fervid.runs.run import open_run

SHORT_TRAINING = (
    "backbone=lenet",
    "dataset.batch_size=8",
    "trainer.max_epochs=2",
    "+trainer.enable_progress_bar=false",
)


@pytest.fixture
def corpora(trained, pictures):
    """Rendered videos, rendered subjects, and gray pictures of the emotions happy, neutral and sad."""
    for file in pictures.rglob("*.png"):
        cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
    return (
        f"dataset.corpora={{ravdess:{{root:{trained.corpus},frame_stride:8}},"
        f"synthetic:{{identities:4,clips:1,frames:1}},mine:{{dataset:image_folder,root:{pictures}}}}}"
    )


@pytest.fixture
def swept(fervid_train, corpora, tmp_path, capfd):
    words = ("dataset=several", corpora, "split=leave_corpus_out")
    folder = tmp_path / "sweep"
    fervid_train("-m", *words, "split.corpus=synthetic,ravdess,mine", *SHORT_TRAINING, f"hydra.sweep.dir={folder}")
    return folder, " ".join(capfd.readouterr().out.split())


def test_each_corpus_is_left_out_reported_evaluated_and_predicted(swept, fervid_command, tmp_path, capfd, trained):
    folder, said = swept
    assert "labels of synthetic: without angry (4 frames, not in all corpora)" in said
    assert "All pictures are converted to grayscale" in said
    runs = [open_run(folder / str(number)) for number in range(3)]
    for run, tested in zip(runs, ("synthetic", "ravdess", "image_folder"), strict=True):
        assert run.class_names == ["happy", "sad"]
        data = run.results["data"]
        tested = "mine" if tested == "image_folder" else tested
        assert {name for name, counts in data["corpus_by_split"].items() if counts["test"]} == {tested}
        assert data["corpus_by_split"][tested]["train"] == 0
        assert set(run.predictions["corpus"]) == {tested}
        assert data["grayscale"] is True
        assert run.results["config"]["dataset"]["grayscale"] == "auto"
        dropped = [entry for entry in data["label_map"] if entry["mapped_to"] is None]
        assert {entry["corpus"] for entry in dropped} == {"ravdess", "synthetic", "mine"}
    fervid_command("report", f"runs={folder}", "resamples=100", f"hydra.run.dir={tmp_path / 'report'}")
    table = pd.read_csv(tmp_path / "report" / "tables" / "train_test_corpora.csv")
    assert table["trained on"].tolist() == ["all other corpora"]
    assert {"on synthetic", "on ravdess", "on mine", "pooled"} <= set(table)
    said = " ".join(capfd.readouterr().out.split())
    assert "UAR by training and test corpora" in said
    assert (tmp_path / "report" / "tables" / "label_map.csv").exists()

    # The run's own test subset, with the corpora found again.
    words = (f"run={folder / '0'}", "resamples=100")
    fervid_command("evaluate", *words, f"hydra.run.dir={tmp_path / 'own'}")
    (own,) = [open_run(path.parent) for path in (tmp_path / "own").glob("members/*/results.json")]
    assert own.metric("test/uar") == runs[0].metric("test/uar")
    # Another corpus, with the geometry and the grayscale of the run.
    words += ("dataset=video_folder", f"dataset.root={_videos(tmp_path, trained)}")
    fervid_command("evaluate", *words, f"hydra.run.dir={tmp_path / 'other'}")
    (other,) = [open_run(path.parent) for path in (tmp_path / "other").glob("members/*/results.json")]
    settings = other.results["config"]["dataset"]
    assert (settings["margin"], settings["no_face"], settings["grayscale"]) == (0.05, "whole", True)
    counts = other.results["data"]["corpus_by_split"]
    assert {name for name, each in counts.items() if each["train"]} == {"mine", "ravdess"}
    assert counts["video_folder"] == {"train": 0, "val": 0, "test": len(other.predictions)}
    # The scores of a training corpus are known to be leaky.
    words = (*words[:2], "dataset=ravdess", f"dataset.root={trained.corpus}", "dataset.frame_stride=8")
    fervid_command("evaluate", *words, f"hydra.run.dir={tmp_path / 'seen'}")
    (seen,) = [open_run(path.parent) for path in (tmp_path / "seen").glob("members/*/results.json")]
    assert seen.level == "leaky"
    # Predictions use gray pictures.
    words = (f"run={folder / '0'}", f"source={_picture(tmp_path)}", f"hydra.run.dir={tmp_path / 'predicted'}")
    fervid_command("predict", *words)
    faces = pd.read_csv(tmp_path / "predicted" / "faces.csv")
    assert faces["aligned"].tolist() == ["box"]  # no face is found, so that the whole is one


def _videos(folder, trained):
    """The happy and sad videos of the first two subjects in folders by emotion."""
    for emotion, number in (("happy", "03"), ("sad", "04")):
        (folder / "videos" / emotion).mkdir(parents=True)
        for file in list(trained.corpus.rglob(f"*-*-{number}-*.mp4"))[:2]:
            (folder / "videos" / emotion / file.name).symlink_to(file)
    return folder / "videos"


def _picture(folder):
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "picture.png"), picture)
    return folder / "picture.png"


def test_moved_corpora_are_found_in_the_file_of_roots(swept, fervid_command, tmp_path, monkeypatch, capfd):
    folder, _ = swept
    place = tmp_path / "pictures"
    place.rename(tmp_path / "moved")
    words = (f"run={folder / '2'}", "resamples=100")
    with pytest.raises(SystemExit):
        fervid_command("evaluate", *words, f"hydra.run.dir={tmp_path / 'first'}")
    with pytest.raises(SystemExit):
        fervid_command("evaluate", *words, f"root={tmp_path / 'moved'}", f"hydra.run.dir={tmp_path / 'second'}")
    assert "write the roots of those that were moved in the file of roots" in " ".join(capfd.readouterr().err.split())
    (tmp_path / "roots.yaml").write_text(f"mine: {tmp_path / 'moved'}\n")
    monkeypatch.setenv("FERVID_ROOTS", str(tmp_path / "roots.yaml"))
    fervid_command("evaluate", *words, f"hydra.run.dir={tmp_path / 'third'}")
    results = json.loads(next((tmp_path / "third").glob("members/*/results.json")).read_text())
    assert results["metrics"]["test/uar"] == open_run(folder / "2").metric("test/uar")


def test_training_on_one_corpus_is_compared_with_training_on_both(fervid_train, fervid_command, corpora, tmp_path):
    words = ("dataset=several", corpora, "split=leave_corpus_out", "split.corpus=synthetic")
    folder = tmp_path / "sweep"
    fervid_train("-m", *words, "split.train=null,[mine]", *SHORT_TRAINING, f"hydra.sweep.dir={folder}")
    fervid_command("report", f"runs={folder}", "resamples=100", f"hydra.run.dir={tmp_path / 'report'}")
    table = pd.read_csv(tmp_path / "report" / "tables" / "train_test_corpora.csv")
    assert table["trained on"].tolist() == ["mine", "all other corpora"]
    tests = pd.read_csv(tmp_path / "report" / "tables" / "tests_1.csv")
    assert len(tests) == 1
