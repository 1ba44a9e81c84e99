import hashlib
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fervid.errors import InputError
from fervid.synthetic import identity
from fervid.synthetic.anatomy import Shape
from fervid.synthetic.expressions import ACTION_UNITS, EXPRESSIONS
from fervid.synthetic.rendering import (
    EMOTIONS,
    make_identity,
    render_clip,
    render_crops,
)

IDENTITIES = 24  # the number of subjects in RAVDESS
REST = dict.fromkeys(ACTION_UNITS, 0.0)
SCENE = {"take": 0, "frames": 30, "width": 320, "height": 180, "face_height": 90.0, "seed": 0}


@pytest.fixture(scope="module")
def cascade():
    return cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")


def is_found(cascade, image, box):
    """Whether a detection is centred on the face and between half and twice as wide."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    x, y, width, height = box
    return any(
        abs(left + size / 2 - (x + width / 2)) < width / 3
        and abs(top + size / 2 - (y + height / 2)) < height / 3
        and width / 2 < size < 2 * width
        for left, top, size, _ in cascade.detectMultiScale(gray, 1.1, 4)
    )


def test_identities_are_reproducible_and_differ():
    people = [make_identity(number, seed=0) for number in range(1, IDENTITIES + 1)]
    assert [person.subject for person in people[:2]] == ["s01", "s02"]
    assert people[6] == make_identity(7, seed=0) != make_identity(7, seed=1)
    assert Counter(person.sex for person in people) == {"male": 12, "female": 12}
    assert {person.sex for person in people[::2]} == {"male"}
    assert {person.hair_style for person in people} == {*identity.MALE_STYLES, *identity.FEMALE_STYLES}
    assert 3 <= sum(person.spectacles for person in people) <= 12
    assert 3 <= sum(person.beard for person in people) <= 8
    assert not any(person.beard for person in people if person.sex == "female")


def test_subjects_differ_more_than_takes_of_one_subject():
    def portrait(number, take):
        clip = render_crops(make_identity(number, 0), "neutral", take=take, frames=30, size=32, seed=0, times=[15])
        return clip.images[0].astype(float)

    first, second = (np.stack([portrait(number, take) for number in range(1, 13)]) for take in (0, 1))
    distance = np.abs(first[:, None] - second[None]).mean(axis=(2, 3, 4))
    assert (distance.argmin(axis=1) == np.arange(12)).mean() >= 0.75


@pytest.mark.parametrize("times", [None, [0, 13, 29], [29, 13]])
def test_frame_does_not_depend_on_the_other_frames(times):
    who = make_identity(3, seed=0)
    whole = render_crops(who, "angry", take=2, frames=30, size=48, seed=5)
    some = render_crops(who, "angry", take=2, frames=30, size=48, seed=5, times=times)
    rows = range(30) if times is None else times
    np.testing.assert_array_equal(some.images, whole.images[rows])
    np.testing.assert_array_equal(some.eyes, whole.eyes[rows])
    np.testing.assert_array_equal(some.boxes, whole.boxes[rows])


def test_pictures_do_not_depend_on_process_or_global_seed():
    code = (
        "import hashlib, numpy as np; np.random.seed({}); from fervid.synthetic.rendering import *;"
        "clip = render_crops(make_identity(4, 1), 'sad', take=1, frames=9, size=80, seed=1);"
        "print(hashlib.sha256(clip.images.tobytes()).hexdigest())"
    )
    np.random.seed(7)  # noqa: NPY002
    here = render_crops(make_identity(4, 1), "sad", take=1, frames=9, size=80, seed=1)
    there = subprocess.run([sys.executable, "-c", code.format(3)], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == hashlib.sha256(here.images.tobytes()).hexdigest()


@pytest.mark.parametrize("change", [{"take": 1}, {"seed": 1}, {"intensity": "strong"}])
def test_take_seed_and_intensity_change_the_clip(change):
    who = make_identity(5, seed=0)
    clip = {"take": 0, "seed": 0, "frames": 30, "size": 48, "times": [15]}
    first = render_crops(who, "happy", **clip).images.astype(int)
    second = render_crops(who, "happy", **(clip | change)).images.astype(int)
    assert np.abs(first - second).mean() > 2


def test_shapes_and_positions_of_a_clip():
    clip = render_clip(make_identity(2, 0), "fear", **SCENE, times=[3, 15, 20, 28])
    assert (clip.images.shape, clip.images.dtype) == ((4, 180, 320, 3), np.uint8)
    assert (clip.eyes.shape, clip.eyes.dtype) == ((4, 2, 2), np.float32)
    assert (clip.boxes.shape, clip.boxes.dtype) == ((4, 4), np.float32)
    x, y, width, height = clip.boxes.T
    assert np.all((height > 75) & (height < 115))
    assert np.all(clip.eyes[:, 0, 0] < clip.eyes[:, 1, 0])
    for eye in (0, 1):
        assert np.all((x < clip.eyes[:, eye, 0]) & (clip.eyes[:, eye, 0] < x + width))
        assert np.all((y < clip.eyes[:, eye, 1]) & (clip.eyes[:, eye, 1] < y + height / 2))


def test_eye_positions_match_the_picture():
    """The dark pupil and the bright eyeball are at the eye; a little below there is only skin."""
    clip = render_clip(
        replace(make_identity(6, 0), spectacles=False),
        "surprise",
        **(SCENE | {"face_height": 160.0}),
        times=[10, 15, 20],
    )
    for image, eyes in zip(clip.images, clip.eyes, strict=True):
        for x, y in np.round(eyes).astype(int):
            gray = image.mean(axis=2)
            across = np.ptp(gray[y - 2 : y + 3, x - 10 : x + 11])
            below = np.ptp(gray[y + 18 : y + 23, x - 10 : x + 11])
            assert across > 3 * below


def test_head_moves_in_scenes_and_is_centred_in_crops():
    who = make_identity(8, 0)
    in_scenes = [
        render_clip(who, "calm", **(SCENE | {"take": take}), times=[15]).eyes[0].mean(axis=0) for take in range(8)
    ]
    in_crops = [
        render_crops(who, "calm", take=take, frames=30, size=100, seed=0).eyes.mean(axis=1) for take in range(8)
    ]
    assert np.ptp(in_scenes, axis=0)[0] > 30
    np.testing.assert_allclose(np.concatenate(in_crops), [[50, 41]] * 240, atol=10)
    assert 0.5 < np.mean([np.ptp(middle, axis=0) for middle in in_crops]) < 5


@pytest.mark.parametrize(
    ("unit", "measure"),
    [
        (1, lambda shape: -shape.brow[0, 1]),
        (2, lambda shape: -shape.brow[8, 1]),
        (4, lambda shape: shape.brow[0, 1]),
        (5, lambda shape: -shape.lid_upper[10, 1]),
        (6, lambda shape: -shape.lid_lower[10, 1]),
        (7, lambda shape: shape.lid_upper[10, 1]),
        (9, lambda shape: -shape.nose_y),
        (10, lambda shape: -shape.lip_upper_in[12, 1]),
        (12, lambda shape: -shape.mouth_corner[1]),
        (15, lambda shape: shape.mouth_corner[1]),
        (17, lambda shape: -shape.chin),
        (18, lambda shape: -shape.mouth_half),
        (20, lambda shape: shape.mouth_half),
        (24, lambda shape: shape.lip_upper_out[12, 1]),
        (25, lambda shape: shape.lip_lower_in[12, 1] - shape.lip_upper_in[12, 1]),
        (26, lambda shape: shape.chin),
        (43, lambda shape: shape.lid_upper[10, 1]),
    ],
)
def test_action_unit_moves_its_feature(unit, measure):
    who = make_identity(1, seed=0)
    rest, active = (measure(Shape(who, REST | {unit: activity})) for activity in (0.0, 1.0))
    assert active - rest > 0.005


def test_every_action_unit_is_used():
    used = {unit for expression in EXPRESSIONS.values() for unit in expression} | {18}
    assert used == set(ACTION_UNITS)


def open_mouth(image):
    """Fraction of the mouth region of a crop that is as dark as the inside of a mouth."""
    height, width = image.shape[:2]
    region = image[int(0.62 * height) : int(0.95 * height), int(0.3 * width) : int(0.7 * width)].astype(int)
    return float(((region[..., 0] < 110) & (region[..., 0] - region[..., 1] > 30)).mean())


def test_mouth_opens_wider_in_surprise_at_the_apex():
    people = [number for number in range(1, 13) if not make_identity(number, 0).beard]
    apex, rest, start = [], [], []
    for number in people:
        who = replace(make_identity(number, 0), skin=(222, 172, 136), lip=(200, 120, 110))
        clip = render_crops(who, "surprise", take=0, frames=60, size=96, seed=0, times=[0, 30])
        start.append(open_mouth(clip.images[0]))
        apex.append(open_mouth(clip.images[1]))
        rest.append(open_mouth(render_crops(who, "neutral", take=0, frames=60, size=96, seed=0, times=[30]).images[0]))
    assert np.median(apex) > 2.5 * np.median(rest)
    assert np.median(apex) > 2.5 * np.median(start)


MARGIN = {
    "take": 1,
    "frames": 60,
    "width": 128,
    "height": 128,
    "face_height": 80,
    "seed": 0,
    "times": [20, 35],
}
VIEWS = {
    "crop with a margin": lambda who, emotion: render_clip(who, emotion, **MARGIN),
    "crop": lambda who, emotion: render_crops(who, emotion, take=1, frames=60, seed=0, times=[30]),
    "small scene": lambda who, emotion: render_clip(who, emotion, **SCENE, times=[15]),
}


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_haar_cascade_finds_faces_in_all_views(cascade, view):
    found = []
    for number in range(1, IDENTITIES + 1):
        for emotion in EMOTIONS:
            clip = VIEWS[view](make_identity(number, 0), emotion)
            found += [is_found(cascade, *shown) for shown in zip(clip.images, clip.boxes, strict=True)]
    assert np.mean(found) >= 0.95


@pytest.mark.slow
def test_haar_cascade_finds_faces_in_720p(cascade):
    scene = {
        "take": 0,
        "frames": 30,
        "width": 1280,
        "height": 720,
        "face_height": 300,
        "seed": 0,
        "times": [15],
    }
    found = []
    for number in range(1, IDENTITIES + 1):
        for emotion in (EMOTIONS[number % 8], EMOTIONS[(number + 3) % 8]):
            clip = render_clip(make_identity(number, 0), emotion, **scene)
            found.append(is_found(cascade, clip.images[0], clip.boxes[0]))
    assert np.mean(found) >= 0.95


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"emotion": "bored"}, "'bored'"),
        ({"intensity": "weak"}, "'weak'"),
        ({"times": [30]}, "frame 30 is out of range: use 0 to 29"),
        ({"times": [-1]}, "frame -1 is out of range"),
        ({"frames": 0}, "frames=0 is out of range"),
    ],
)
def test_invalid_arguments_raise(wrong, message):
    arguments = {"emotion": "happy", "take": 0, "frames": 30, "size": 32, "seed": 0} | wrong
    with pytest.raises(InputError, match=message):
        render_crops(make_identity(1, 0), arguments.pop("emotion"), **arguments)


def test_identity_numbers_begin_at_one():
    with pytest.raises(InputError, match="identity 0 is out of range: use 1 or more"):
        make_identity(0, seed=0)
