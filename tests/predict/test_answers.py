"""Answers with a limited risk and conformal sets: ``python -m fervid.predict max_risk=... conformal=...``."""

import json
import shutil
import signal

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from fervid.errors import InputError
from fervid.faces.face import Face
from fervid.figures import timeline
from fervid.predict.annotation import annotate
from fervid.predict.answers import Answer, Answers
from fervid.predict.predictor import FacePrediction
from fervid.runs.run import open_run
from fervid.schema.parts import EMOTION, Part
from fervid.schema.predictions import VALIDATION_FILE, predictions_table, read_predictions, write_predictions


def with_validation(folder, target, *, samples=200):
    """A copy of a run whose validation predictions are the more often correct, the more confident they are."""
    shutil.copytree(folder, target)
    run = open_run(target)
    rng, names = np.random.default_rng(0), run.class_names
    peaks = rng.uniform(1 / len(names), 1, samples)
    best = rng.integers(0, len(names), samples)
    values = np.repeat((1 - peaks[:, None]) / (len(names) - 1), len(names), axis=1)
    values[np.arange(samples), best] = peaks
    right = rng.uniform(size=samples) < peaks
    labels = np.where(right, best, (best + 1) % len(names))
    row = run.predictions.iloc[[0] * samples].reset_index(drop=True).drop(columns="label")
    row["emotion"] = np.array(names, dtype=object)[labels]
    write_predictions(target, run.predictions, predictions_table(row.assign(frame=range(samples)), values, names))
    return target


@pytest.fixture
def predict(fervid_command, tmp_path, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    threads = cv2.getNumThreads(), torch.get_num_threads()

    def run(folder, *words):
        try:
            fervid_command("predict", f"run={folder}", *words, "+cache_dir=none", f"hydra.run.dir={tmp_path}/out")
        finally:
            cv2.setNumThreads(threads[0])
            torch.set_num_threads(threads[1])
        return tmp_path / "out"

    return run


def test_uncertain_faces_are_unsure_in_all_outputs(predict, trained, tmp_path, capsys):
    folder = with_validation(trained.folder, tmp_path / "run")
    clip = next(trained.corpus.rglob("*.mp4"))
    out = predict(folder, f"source={clip}", "frame_stride=5", "max_risk=0.05", "conformal=0.8")
    table = pd.read_csv(out / "faces.csv")
    answers = Answers.of_run(open_run(folder), max_risk=0.05, conformal=0.8)
    assert answers.threshold > table["calibrated"].max()  # LeNet on a few frames is never that sure
    assert set(table["answer"]) == {"unsure"}
    assert table["emotion"].isin(answers.class_names).all()  # the most probable one is kept
    for row in table.to_dict("records"):
        chosen = [name for name in answers.class_names if row[f"prob_{name}"] >= answers.set_threshold - 1e-6]
        assert set(row["set"].split("|")) == {*chosen, row["emotion"]}
        assert row["set"].split("|")[0] == row["emotion"]
    lines = [json.loads(line) for line in (out / "faces.jsonl").read_text().splitlines()]
    assert lines[0]["answer"] == "unsure"
    said = " ".join(capsys.readouterr().out.split())
    assert f'Below a calibrated confidence of {answers.threshold:.2f}, the answer is "unsure"' in said
    assert "unsure (100%)" in said
    assert (out / "timelines").is_dir()


def test_windows_have_answers(predict, recorded, tmp_path):
    folder = with_validation(recorded("sound").folder, tmp_path / "run")
    clip = next(recorded("sound").corpus.rglob("*.avi"))
    table = pd.read_csv(predict(folder, f"source={clip}", "max_risk=0.1") / "windows.csv")
    answers = Answers.of_run(open_run(folder), max_risk=0.1)
    assert answers.samples == "clips"
    sure = table["calibrated"] >= answers.threshold
    assert (table["answer"] == np.where(sure, table["emotion"], "unsure")).all()
    assert "set" not in table


def test_without_the_settings_tables_stay_as_they_are(predict, trained):
    out = predict(trained.folder, f"source={next(trained.corpus.rglob('*.mp4'))}", "frame_stride=8", "annotate=false")
    assert not {"answer", "calibrated", "set"} & set(pd.read_csv(out / "faces.csv"))


def test_answers_keep_the_allowed_risk_on_the_validation_subset(trained, tmp_path):
    run = open_run(with_validation(trained.folder, tmp_path / "run", samples=1000))
    answers = Answers.of_run(run, max_risk=0.2, conformal=0.9)
    table = read_predictions(run.folder / VALIDATION_FILE, run.class_names)
    found = [answers.of(row) for row in table[[f"prob_{name}" for name in run.class_names]].to_numpy()]
    given = np.array([answer.emotion for answer in found])
    answered = given != "unsure"
    assert answered.mean() == pytest.approx(answers.coverage)
    assert 0.17 < (given != table["label"])[answered].mean() <= 0.2
    assert np.mean([label in a.emotions for label, a in zip(table["label"], found, strict=True)]) >= 0.9


def test_what_cannot_be_calibrated_is_refused(predict, trained, tmp_path, capfd):
    folder = with_validation(trained.folder, tmp_path / "run", samples=8)
    for word, message in (
        ("max_risk=0.05", "max_risk=0.05 cannot be reached: on the 8 validation frames of"),
        ("conformal=0.9", "need at least 9 validation samples, and there are 8"),
        ("max_risk=1.5", "max_risk=1.5 is out of range"),
        ("conformal=true", "conformal=True is out of range"),
    ):
        with pytest.raises(SystemExit):
            predict(folder, "source=face.png" if "=1.5" in word else f"source={tmp_path}", word)
        assert message in " ".join(capfd.readouterr().err.split())
    (folder / VALIDATION_FILE).unlink()
    with pytest.raises(InputError, match=r"max_risk=0.1 is calibrated on validation predictions, but .* has no"):
        Answers.of_run(open_run(folder), max_risk=0.1)


def test_an_unsure_face_is_gray():
    face = FacePrediction(Face((40, 50, 60, 40)), "box", np.zeros((8, 8, 3), np.uint8), np.array([0.4, 0.6]), "sad", 1)
    unsure = FacePrediction(*(getattr(face, name) for name in list(vars(face))[:6]), Answer("unsure", 0.55))
    image = np.zeros((120, 160, 3), np.uint8)
    assert annotate(image, [unsure])[70, 40].tolist() == [0x77] * 3
    assert annotate(image, [face])[70, 40].tolist() != [0x77] * 3


def test_a_timeline_marks_times_without_answer():
    table = pd.DataFrame({"time": [0.0, 1.0, 2.0], "person": 1, "prob_a": 0.6, "prob_b": 0.4})
    table["answer"] = ["a", "unsure", "unsure"]
    for given, expected in ((table, ["b", "a", "unsure"]), (table.drop(columns="answer"), ["b", "a"])):
        figure = timeline(given, [Part(EMOTION, ("a", "b"))], [0.0, 1.0, 2.0])
        assert sorted(text.get_text() for text in figure.legends[0].get_texts()) == sorted(expected)
