"""Predictions of videos and cameras."""

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fervid
from fervid.media.decoding import Frame
from fervid.predict.face_tables import records
from fervid.predict.inputs import Camera
from fervid.predict.video import watch


@pytest.fixture(scope="module")
def predictor(trained):
    return fervid.Predictor(trained.folder)


@pytest.fixture
def clip(trained):
    return trained.corpus / pd.read_csv(trained.folder / "predictions.csv")["path"][0]


def test_video_gives_the_runs_test_predictions(predictor, trained):
    expected = pd.read_csv(trained.folder / "predictions.csv").set_index(["path", "frame"]).sort_index()
    columns = [f"prob_{name}" for name in predictor.class_names]
    for path in expected.index.unique("path"):
        seen = watch(predictor, trained.corpus / path, frame_stride=8, faces="one")
        rows = [row for frame, faces in seen for row in records(path, frame, faces, predictor.parts)]
        table = pd.DataFrame(rows).set_index(["source", "frame"])
        assert table[columns].to_numpy() == pytest.approx(expected.loc[[path], columns].to_numpy(), abs=1e-5)
        assert table["box_left"].tolist() == expected.loc[[path], "box_left"].tolist()


def test_person_has_one_number_and_one_face_per_frame(predictor, clip):
    seen = list(watch(predictor, str(clip), frame_stride=3))
    assert [frame.number for frame, _ in seen] == [0, 3, 6, 9, 12, 15]
    assert {face.person for _, faces in seen for face in faces} == {1}


def test_smoothing_depends_on_frame_times(predictor, clip):
    plain, smooth = (list(watch(predictor, clip, frame_stride=3, smoothing=constant)) for constant in (0.0, 0.5))
    average = plain[0][1][0].probabilities
    before = 0.0
    for (frame, (face,)), (_, (averaged,)) in zip(plain, smooth, strict=True):
        average = average + (1 - np.exp(-(frame.time - before) / 0.5)) * (face.probabilities - average)
        before = frame.time
        assert averaged.probabilities == pytest.approx(average, abs=1e-6)
        assert averaged.emotion == predictor.class_names[int(average.argmax())]
    assert not np.allclose(smooth[-1][1][0].probabilities, plain[-1][1][0].probabilities, atol=1e-6)


def test_closing_the_iterator_stops_all_threads(predictor, clip):
    before = threading.active_count()
    seen = watch(predictor, clip, frame_stride=1)
    next(seen)
    assert threading.active_count() == before + 2  # one decodes, one classifies
    seen.close()
    assert threading.active_count() == before


def test_camera_frames_are_predicted_one_by_one(predictor, monkeypatch):
    asked = []
    monkeypatch.setattr(
        Camera, "frames", lambda self, every: (Frame(n, n / 10, np.zeros((40, 40, 3), np.uint8)) for n in range(30))
    )
    monkeypatch.setattr(predictor, "find", lambda image, near=None: asked.append(1) or [])
    seen = watch(predictor, Camera())
    next(seen)
    assert len(asked) == 1
    seen.close()


def test_invalid_video_raises(predictor, tmp_path):
    path = Path(tmp_path / "a.mp4")
    path.write_text("no video")
    with pytest.raises(ValueError, match="not a video that can be decoded"):
        next(watch(predictor, path))
