"""The command fervid.predict for valence and arousal, action units, and several targets at once."""

import json
import signal

import av
import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from part_runs import TASKS
from PIL import Image

from fervid.errors import InputError
from fervid.faces.face import Face
from fervid.figures import timeline
from fervid.predict.annotation import annotate
from fervid.predict.part_texts import part_lines
from fervid.predict.predictor import FacePrediction, Predictor
from fervid.predict.video import watch
from fervid.predict.window_predictor import WindowPredictor
from fervid.runs.load import load_run
from fervid.runs.run import read_run
from fervid.schema.parts import AFFECT, EMOTION, UNITS, Part

PARTS = [Part(AFFECT, ("valence", "arousal")), Part(UNITS, ("au_6", "au_12"))]


@pytest.fixture
def predict(fervid_command, part_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("COLUMNS", "200")
    threads = cv2.getNumThreads()

    def run(task, *words):
        try:
            fervid_command("predict", f"run={part_runs[task]}", *words, f"hydra.run.dir={tmp_path}/out")
        finally:
            cv2.setNumThreads(threads)

    return run


@pytest.fixture(scope="module")
def clip(trained):
    return next(trained.corpus.rglob("*.mp4"))


@pytest.mark.parametrize("task", TASKS)
def test_pictures_and_videos_have_the_columns_of_the_parts(predict, part_runs, clip, tmp_path, task, capsys):
    with av.open(str(clip)) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    Image.fromarray(image).save(tmp_path / "face.png")
    predict(task, f"source=[{tmp_path}/face.png,{clip}]", "frame_stride=5", "detector=haar")
    out, parts = tmp_path / "out", read_run(part_runs[task]).parts
    table = pd.read_csv(out / "faces.csv")
    assert pd.DataFrame([json.loads(line) for line in (out / "faces.jsonl").read_text().splitlines()]).equals(table)
    columns = [name for part in parts for name in part.predictions]
    assert list(table)[-len(columns) :] == columns
    assert ("emotion" in table, "confidence" in table) == (task == "multi", task == "multi")
    # The values are the answers of the network for the crops.
    predictor, model = Predictor(part_runs[task]), load_run(part_runs[task])
    face = predictor.picture(image)[0]
    outputs = model(predictor_input(face.picture))
    for part in parts:
        expected = model.answers(outputs)[part.name][0].detach().numpy()
        assert table.loc[0, part.predictions].to_numpy(float) == pytest.approx(expected, abs=1e-5)
    assert sorted(path.name for path in (out / "annotated").iterdir()) == sorted(["face.png", f"{clip.stem}.mp4"])
    assert (out / f"timelines/{clip.stem}.png").exists()
    assert not np.array_equal(np.asarray(Image.open(out / "annotated/face.png")), image)
    printed = " ".join(capsys.readouterr().out.split())
    assert ("valence arousal" in printed) == (task != UNITS)
    assert ("frequent units" in printed) == (task != AFFECT)
    assert ("confidence" in printed) == (task == "multi")


def predictor_input(picture):
    return torch.from_numpy(picture)[None].permute(0, 3, 1, 2)


def test_smoothing_averages_all_parts(part_runs, clip):
    predictor = Predictor(part_runs["multi"], detector=None)
    plain, smooth = ([faces[0] for _, faces in watch(predictor, clip, smoothing=s) if faces] for s in (0.0, 10.0))
    for part in plain[0].others:
        moved = [max(abs(face.others[part] - seen[0].others[part]).max() for face in seen) for seen in (plain, smooth)]
        assert 0 < moved[1] < moved[0] / 5
    assert not np.array_equal(plain[-1].probabilities, smooth[-1].probabilities)


def test_calibrated_answers_are_refused(predict, clip, capsys):
    with pytest.raises(SystemExit):
        predict("multi", f"source={clip}", "max_risk=0.1")
    assert "max_risk=0.1 is for emotions, but" in capsys.readouterr().err


def test_runs_of_clips_are_one_sentence(part_runs):
    with pytest.raises(InputError, match="for which predict and the demo show only emotions"):
        WindowPredictor(part_runs["valence_arousal"])


def test_label_has_the_emotion_then_the_other_parts():
    others = {PARTS[0]: np.array([0.62, -0.1]), PARTS[1]: np.array([0.5, 0.49])}
    assert part_lines(others) == ["valence +0.62 arousal -0.10", "AU6"]
    assert part_lines({PARTS[1]: np.zeros(2)}) == ["no action unit"]
    drawn = []
    for emotion, chances in (("", []), ("happy", [0.4, 0.6])):
        picture = np.zeros((8, 8, 3), np.uint8)
        face = FacePrediction(
            Face((40, 90, 60, 60)), "box", picture, np.array(chances), emotion, others={PARTS[0]: others[PARTS[0]]}
        )
        image = annotate(np.zeros((200, 300, 3), np.uint8), [face])
        drawn.append(np.flatnonzero(image.any(axis=(1, 2)))[0])
    assert drawn[1] < drawn[0] < 90  # a second line above the box


def test_timeline_has_a_panel_for_each_part():
    times = [0.0, 0.1, 0.2, 0.7, 0.8]
    rows = {"time": times, "person": 1, "predicted_valence": 0.5, "predicted_arousal": -0.5}
    table = pd.DataFrame({**rows, "prob_au_6": 0.2, "prob_au_12": [0.1, 0.2, 0.3, 0.4, 0.5], "prob_happy": 1.0})
    figure = timeline(table, [Part(EMOTION, ("happy",)), *PARTS], [*times[:3], 0.3, 0.4, 0.5, 0.6, *times[3:]])
    _, affect, units, bar = figure.axes
    assert [line.get_label() for line in affect.lines[1:]] == ["valence", "arousal"]
    assert np.isnan(affect.lines[1].get_ydata()).sum() == 2  # not detected for 0.5 s
    mesh = units.collections[0].get_array()
    assert mesh.shape == (2, 6)
    assert mesh[1].filled(-1).tolist() == [0.1, 0.2, 0.3, -1, 0.4, 0.5]
    assert [text.get_text() for text in units.get_yticklabels()] == ["AU6", "AU12"]
    assert bar.get_ylabel() == "probability"
