"""Unusual, damaged or malicious input gives a correct prediction or a clear error."""

import csv
import json
import os
import pickle
import shutil
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import fervid
from fervid.errors import InputError
from fervid.faces.detection import HaarDetector
from fervid.media.decoding import read_frames
from fervid.media.sampling import Sampling
from fervid.predict.inputs import find_sources
from fervid.predict.prediction import predict
from fervid.predict.video import watch
from fervid.synthetic.rendering import make_identity, render_clip

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def predictor(trained):
    return fervid.Predictor(trained.folder)


def portrait(person, width=320, height=240):
    clip = render_clip(
        make_identity(person, 0),
        "happy",
        take=0,
        frames=1,
        width=width,
        height=height,
        face_height=0.5 * height,
        seed=0,
    )
    return np.ascontiguousarray(clip.images[0])


@pytest.fixture(scope="module")
def picture():
    return portrait(1)


def outcome(predictor, path, folder):
    (result,) = predict(predictor, find_sources(str(path)).items, folder, QUIET, annotated=False)
    return result


def test_unreadable_files_are_recorded_and_skipped(predictor, picture, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_text("no picture")
    Image.fromarray(picture).save(tmp_path / "in/b.png")
    (tmp_path / "in/c.mp4").write_text("no video")
    results = predict(predictor, find_sources(str(tmp_path / "in")).items, tmp_path / "out", QUIET)
    assert [bool(result.failure) for result in results] == [True, False, True]
    with open(tmp_path / "out/failures.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["source", "reason", "outcome"]
    assert rows[1] == [str(tmp_path / "in/a.jpg"), "cannot identify image file", "failed"]
    assert rows[2][0] == str(tmp_path / "in/c.mp4")
    assert (tmp_path / "out/faces.jsonl").read_text().count("\n") == 1


def test_no_readable_source_raises(predictor, tmp_path):
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"none of the 1 sources can be read .*cannot identify image file"):
        outcome(predictor, tmp_path / "a.jpg", tmp_path / "out")


def test_picture_without_a_face_gives_no_rows(predictor, tmp_path):
    Image.fromarray(np.full((200, 300, 3), 127, np.uint8)).save(tmp_path / "a.png")
    result = outcome(predictor, tmp_path / "a.png", tmp_path / "out")
    assert (result.steps, result.emotions.total(), result.failure) == (1, 0, None)
    assert (tmp_path / "out/faces.jsonl").read_text() == ""


def test_ten_faces_give_ten_predictions(predictor, tmp_path):
    people = [portrait(person)[:, 40:280] for person in range(1, 11)]
    together = np.vstack([np.hstack(people[:5]), np.hstack(people[5:])])
    Image.fromarray(together).save(tmp_path / "a.png")
    finder = fervid.Predictor(predictor.folder, detector=HaarDetector(width=640))
    seen = finder.picture(tmp_path / "a.png")
    cells = {
        (int((f.face.box[0] + f.face.box[2] / 2) // 240), int((f.face.box[1] + f.face.box[3] / 2) // 240)) for f in seen
    }
    assert len(seen) == len(cells) == 10
    assert all(face.probabilities.sum() == pytest.approx(1, abs=1e-5) for face in seen)


@pytest.mark.parametrize("detector", ["haar", "none"])
def test_picture_of_one_pixel_is_accepted(trained, tmp_path, detector):
    from fervid.faces.detection import NoDetector

    Image.new("RGB", (1, 1)).save(tmp_path / "a.png")
    one = fervid.Predictor(trained.folder, detector=NoDetector() if detector == "none" else HaarDetector())
    assert len(one.picture(tmp_path / "a.png")) == (detector == "none")


def same(one, other, tolerance):
    assert len(one) == len(other) == 1
    assert one[0].face.box == pytest.approx(other[0].face.box, abs=tolerance)


def test_exif_orientation_is_applied(predictor, picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated by 90 degrees clockwise
    Image.fromarray(np.rot90(picture)).save(tmp_path / "a.png", exif=exif)
    same(predictor.picture(tmp_path / "a.png"), predictor.picture(picture), 0)


def test_other_pixel_formats_give_the_same_faces_as_rgb(predictor, picture, tmp_path):
    plain = predictor.picture(picture)
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    Image.fromarray(np.dstack([picture, np.full_like(gray, 255)])).save(tmp_path / "alpha.png")
    same(predictor.picture(tmp_path / "alpha.png"), plain, 0)
    cv2.imwrite(str(tmp_path / "deep.png"), picture[..., ::-1].astype(np.uint16) * 257)
    same(predictor.picture(tmp_path / "deep.png"), plain, 0)
    gray_result = predictor.picture(np.dstack([gray] * 3))
    Image.fromarray(gray).save(tmp_path / "gray.png")
    cv2.imwrite(str(tmp_path / "deep_gray.png"), gray.astype(np.uint16) * 257)
    same(predictor.picture(tmp_path / "gray.png"), gray_result, 0)
    same(predictor.picture(tmp_path / "deep_gray.png"), gray_result, 0)
    palette = Image.fromarray(picture).quantize(256)
    palette.save(tmp_path / "palette.png", transparency=bytes([0, 128, 255]))
    assert len(predictor.picture(tmp_path / "palette.png")) == 1


def film(path, images, times, rotation=0):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "g": "5"})
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if rotation:
        # The matrix of the track's header: a, b, u, c, d, v in 16.16 fixed point, turned a quarter.
        data = path.read_bytes()
        plain = b"".join(value.to_bytes(4, "big") for value in (65536, 0, 0, 0, 65536, 0))
        turned = b"".join(value.to_bytes(4, "big", signed=True) for value in (0, 65536, 0, -65536, 0, 0))
        at = data.index(plain, data.index(b"tkhd"))
        path.write_bytes(data[:at] + turned + data[at + len(plain) :])


def test_uneven_frame_times_are_kept(predictor, picture, tmp_path):
    times = [0, 0.04, 0.08, 0.5, 0.51, 1.2, 2.0]
    film(tmp_path / "a.mp4", [picture] * 7, times)
    assert [frame.time for frame, _ in watch(predictor, tmp_path / "a.mp4", frame_stride=2)] == pytest.approx(
        times[::2]
    )


def test_rotated_video_is_read_upright(predictor, picture, tmp_path):
    film(tmp_path / "a.mp4", [np.ascontiguousarray(np.rot90(picture))] * 4, [0, 0.1, 0.2, 0.3], rotation=90)
    (frame, seen), *_ = watch(predictor, tmp_path / "a.mp4")
    assert frame.image.shape == picture.shape
    assert np.abs(frame.image.astype(int) - picture).mean() < 10
    same(seen, predictor.picture(picture), 8)


def test_truncated_video_raises(predictor, trained, tmp_path):
    whole = next(trained.corpus.rglob("*.mp4")).read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"not a video that can be decoded|truncated"):
        outcome(predictor, tmp_path / "a.mp4", tmp_path / "out")


def test_frames_before_damage_are_kept(predictor, trained, tmp_path, monkeypatch):
    path = next(trained.corpus.rglob("*.mp4"))

    def break_off(source, sampling):
        yield from list(read_frames(source, Sampling(5)))[:2]
        raise ValueError("damaged")

    monkeypatch.setattr("fervid.predict.video.read_frames", break_off)
    result = outcome(predictor, path, tmp_path / "out")
    assert result.failure == "damaged (after 2 frames, which are kept)"
    assert (tmp_path / "out/faces.jsonl").read_text().count("\n") == 2


def test_sound_without_video_raises(predictor, tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="has no video stream"):
        outcome(predictor, tmp_path / "a.mp4", tmp_path / "out")


def test_missing_camera_raises_one_sentence(predictor, tmp_path, capfd):
    with pytest.raises(InputError, match=r"camera:97 cannot be opened"):
        outcome(predictor, "camera:97", tmp_path / "out")
    assert capfd.readouterr().err == ""


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained.folder, tmp_path / "run")


@pytest.mark.parametrize("key", ["class_names", "config", "leakage", "metrics"])
def test_run_of_another_version_raises(run, key):
    results = json.loads((run / "results.json").read_text())
    del results[key]
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError):
        fervid.Predictor(run)


@pytest.mark.parametrize(("name", "value"), [("dataset", None), ("face_size", "large"), ("margin", [1])])
def test_run_with_invalid_settings_raises(run, name, value):
    results = json.loads((run / "results.json").read_text())
    place = results["config"] if name == "dataset" else results["config"]["dataset"]
    place[name] = value
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError):
        fervid.Predictor(run)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoint_cannot_execute_code(run, tmp_path, zipped):
    import torch

    path = run / "checkpoints/best.ckpt"
    trap = {"state_dict": Trap(tmp_path / "sprung")}
    if zipped:
        torch.save(trap, path)
    else:
        path.write_bytes(pickle.dumps(trap))
    with pytest.raises(InputError, match=r"the best checkpoint of .* cannot be read"):
        fervid.Predictor(run)
    assert not (tmp_path / "sprung").exists()
    if zipped:
        torch.load(path, weights_only=False)
    else:
        pickle.loads(path.read_bytes())
    assert (tmp_path / "sprung").exists()  # proves that the trap works
