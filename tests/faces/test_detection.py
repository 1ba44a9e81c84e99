import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from fervid.errors import InputError
from fervid.faces.cropping import Alignment
from fervid.faces.detection import HaarDetector, NoDetector, YuNetDetector, find_in_picture
from fervid.faces.face import EYES_IN_BOX, Face, central_square, most_prominent
from fervid.media.decoding import read_frames, read_picture
from fervid.media.sampling import Sampling
from fervid.synthetic.rendering import make_identity, render_clip

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
YUNET = SHARED / "weights" / "face_detection_yunet_2026may.onnx"


@pytest.fixture(scope="module")
def scenes():
    """24 frames of 12 subjects in 720p, with the true positions of their eyes."""
    made = []
    for subject in range(1, 13):
        clip = render_clip(
            make_identity(subject, 0),
            ("neutral", "happy", "sad")[subject % 3],
            take=1,
            frames=2,
            width=1280,
            height=720,
            face_height=300,
            fps=25,
            seed=0,
        )
        made += list(zip(clip.images, clip.eyes.astype(float), strict=True))
    return made


def eye_distance(eyes):
    return np.hypot(*(eyes[1] - eyes[0]))


def test_haar_finds_faces_and_eyes(scenes):
    found = [HaarDetector().find(image) for image, _ in scenes]
    assert all(found)
    faces = [most_prominent(several, image) for several, (image, _) in zip(found, scenes, strict=True)]
    with_eyes = [(face.eyes, eyes) for face, (_, eyes) in zip(faces, scenes, strict=True) if face.eyes is not None]
    assert len(with_eyes) >= 0.8 * len(scenes)
    errors = [np.hypot(*(predicted - true).T).max() / eye_distance(true) for predicted, true in with_eyes]
    assert np.median(errors) < 0.06
    assert max(errors) < 0.15


def test_search_starts_near_the_last_face(scenes, monkeypatch):
    detector = HaarDetector()
    image, eyes = scenes[0]
    face = detector.find(image)[0]
    again = detector.find(image, near=face)[0]
    assert np.hypot(*(again.eyes - eyes).T).max() < 0.15 * eye_distance(eyes)
    monkeypatch.setattr(detector.__class__, "_boxes", lambda self, gray, smallest, largest=0: [] if largest else 1 / 0)
    with pytest.raises(ZeroDivisionError):  # it searches the whole picture if there is no face nearby
        detector.find(image, near=face)


def test_face_that_moved_far_is_found(scenes):
    image, _ = scenes[0]
    detector = HaarDetector()
    moved = np.roll(image, 400, axis=1)
    face = detector.find(moved, near=detector.find(image)[0])[0]
    assert abs(face.box[0] - detector.find(moved)[0].box[0]) < 20


def test_pictures_without_a_face():
    noise = np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)
    assert HaarDetector().find(noise) == []
    assert HaarDetector().find(np.zeros((1, 1, 3), np.uint8)) == []
    assert HaarDetector().find(np.zeros((5, 300, 3), np.uint8)) == []


def test_most_prominent_is_the_largest_and_most_central_face():
    image = np.zeros((100, 200, 3), np.uint8)
    middle, edge, small = Face((80, 30, 40, 40)), Face((0, 0, 40, 40)), Face((95, 45, 10, 10))
    assert most_prominent([edge, small, middle], image) is middle
    assert most_prominent([small, Face((0, 0, 100, 100))], image).box[2] == 100


def test_no_detector_returns_the_central_square():
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, 30:70] = 255
    crop, by = Alignment(size=40).crop(image, NoDetector().find(image)[0])
    assert by == "whole"
    assert (crop == 255).all()


@pytest.mark.skipif(not YUNET.is_file(), reason=f"no YuNet at {YUNET}")
def test_yunet_finds_eyes_on_real_faces():
    detector = YuNetDetector(str(YUNET), width=640)
    path = SHARED / "ravdess" / "Actor_01" / "02-01-08-02-02-02-01.mp4"
    for frame in read_frames(path, Sampling(frames_per_clip=5)):
        face = most_prominent(detector.find(frame.image), frame.image)
        haar = most_prominent(HaarDetector().find(frame.image), frame.image)
        assert np.hypot(*(face.eyes - haar.eyes).T).max() < 0.2 * eye_distance(haar.eyes)


def test_yunet_without_a_valid_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"detector.model=None is not a file"):
        YuNetDetector(None)
    (tmp_path / "a.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match="is not a YuNet model"):
        YuNetDetector(str(tmp_path / "a.onnx"))


@pytest.mark.parametrize("angle", [-25, 0, 18])
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("margin", [0.0, 0.15, 0.5])
def test_eyes_are_level_and_at_a_fixed_position(angle, scale, margin):
    """Two dots as eyes end up at the same position for any rotation and scale."""
    turn = np.array([[np.cos(np.radians(angle)), -np.sin(np.radians(angle))]])
    turn = scale * np.vstack([turn, [-turn[0, 1], turn[0, 0]]])
    eyes = np.array([[-50.0, 0.0], [50.0, 0.0]]) @ turn.T + (700, 500)
    image = np.zeros((1000, 1400, 3), np.uint8)
    for number, eye in enumerate(eyes):
        cv2.circle(
            image, tuple(np.round(eye).astype(int).tolist()), round(14 * scale), [(255, 0, 0), (0, 255, 0)][number], -1
        )
    crop, by = Alignment(size=200, margin=margin).crop(image, Face((0, 0, 1, 1), eyes))
    assert by == "eyes"
    distance = 200 / (2.2 * (1 + 2 * margin))
    for channel, side in ((0, -1), (1, 1)):
        y, x = np.nonzero(crop[..., channel] > 127)
        assert x.mean() == pytest.approx(100 + side * distance / 2 - 0.5, abs=2.0)
        assert y.mean() == pytest.approx(100 - 0.35 * distance - 0.5, abs=2.0)


def test_without_eyes_the_crop_follows_the_box():
    image = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    box = (100.0, 80.0, 200.0, 200.0)
    by_box, by = Alignment().crop(image, Face(box))
    assert by == "box"
    by_eyes, _ = Alignment().crop(image, Face(box, np.array(box[:2]) + EYES_IN_BOX * 200))
    assert (by_box == by_eyes).all()


def test_downscaling_averages_pixels():
    """A checkerboard of single pixels becomes gray, without stripes, in a face ten times the size of its crop."""
    image = np.zeros((2000, 2000, 3), np.uint8)
    image[::2, ::2] = image[1::2, 1::2] = 255
    crop, _ = Alignment(size=60).crop(image, Face((0, 0, 1, 1), np.array([[820.0, 900.0], [1180.0, 930.0]])))
    assert crop.astype(int).std() < 25
    assert crop.mean() == pytest.approx(127, abs=5)


def test_crop_repeats_the_edge_beyond_the_picture():
    image = np.full((100, 100, 3), 255, np.uint8)
    image[:, :5] = 90
    crop, _ = Alignment(size=64).crop(image, Face((0, 0, 1, 1), np.array([[5.0, 50.0], [45.0, 50.0]])))
    assert (crop[30, :5] == 90).all()
    assert (crop[30, 30:] == 255).all()


@pytest.mark.parametrize(("option", "value"), [("face_size", 4), ("face_size", 5000), ("margin", -0.1), ("margin", 3)])
def test_invalid_alignment_is_refused(option, value):
    with pytest.raises(InputError, match=f"dataset.{option}={value} is out of range"):
        Alignment(**{option.replace("face_", ""): value})


def test_box_inside_a_face_is_removed(tmp_path, monkeypatch):
    """A mouth inside a face is removed, but two people cheek to cheek are both kept."""
    face, mouth, loose = (100, 40, 80, 80), (125, 90, 30, 28), (96, 36, 84, 84)
    neighbour = (160, 40, 76, 76)  # a quarter of it is inside the first face

    class Network:
        setInputSize = setScoreThreshold = lambda self, _: None

        def detect(self, image):
            rows = np.zeros((4, 15), np.float32)
            rows[:, :4] = [mouth, face, loose, neighbour]
            return 1, rows

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: Network())
    (tmp_path / "yunet.onnx").touch()
    found = YuNetDetector(str(tmp_path / "yunet.onnx")).find(np.zeros((240, 320, 3), np.uint8))
    assert [face.box for face in found] == [loose, neighbour]


@pytest.mark.skipif(not (SHARED / "muxspace").is_dir(), reason=f"no real pictures in {SHARED}")
@pytest.mark.parametrize("name", ["anger/Serena-Williams__0010", "surprise/Norah-Jones__0010"])
def test_haar_finds_no_face_in_a_mouth(name):
    (face,) = HaarDetector().find(read_picture(SHARED / "muxspace" / f"{name}.jpg"))
    assert face.box[2] > 150


def test_faces_in_small_pictures_are_found(scenes):
    found = 0
    for image, eyes in scenes[::2]:
        left, top = (eyes.mean(axis=0) - (180, 160)).astype(int)
        small = cv2.resize(image[top : top + 360, left : left + 360], (60, 60), interpolation=cv2.INTER_AREA)
        for face in HaarDetector().find(small):
            found += face.eyes is not None and np.abs(face.eyes - (eyes - (left, top)) / 6).max() < 3
    assert found >= 9  # of 12; at their own size, no eyes are found


@pytest.mark.skipif(not YUNET.is_file(), reason="needs the YuNet model in ../shared")
def test_faces_in_tight_pictures_of_ferplus_are_found():
    detector = YuNetDetector(str(YUNET))
    with zipfile.ZipFile(SHARED / "ferplus" / "FERPlus.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))[::357]
        pictures = [cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR_RGB) for name in names]
    assert len(pictures) == 101
    faces = [find_in_picture(detector, picture) for picture in pictures]
    eyes = np.array([most_prominent(found, pictures[0]).eyes for found in faces if found and found[0].eyes is not None])
    assert len(eyes) >= 95  # 76% are found at their own size
    assert np.median([eye_distance(pair) for pair in eyes]) / 48 == pytest.approx(0.4, abs=0.02)


def test_a_picture_without_a_border_is_searched_with_one():
    class FindsOnlyWithBorder:
        def find(self, image, near=None):
            if image.shape[0] == 100:
                return []
            assert image.shape == (150, 130, 3)
            return [Face((25.0, 35.0, 60.0, 60.0), np.array([[45.0, 55.0], [70.0, 55.0]]))]

    (face,) = find_in_picture(FindsOnlyWithBorder(), np.full((100, 80, 3), 200, np.uint8))
    assert face.box == (0.0, 10.0, 60.0, 60.0)
    assert face.eyes.tolist() == [[20.0, 30.0], [45.0, 30.0]]


def test_the_central_square_counts_as_the_box_of_a_face():
    face = central_square(np.zeros((60, 100, 3), np.uint8), whole=False)
    assert (face.box, face.whole) == ((20, 0, 60, 60), False)
    picture = np.zeros((60, 100, 3), np.uint8)
    picture[24, 38], picture[24, 62] = 255, 255  # the eyes of a face with this box
    crop, aligned = Alignment(220, 0.0).crop(picture, face)
    assert aligned == "box"
    columns = np.nonzero(crop[..., 0] > 100)[1]
    assert columns.min() == pytest.approx(60, abs=6)
    assert columns.max() == pytest.approx(160, abs=6)
