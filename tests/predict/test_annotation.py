"""Annotated pictures and videos."""

import errno

import av
import numpy as np
import pytest

from fervid.faces.face import Face
from fervid.figures.drawing import EMOTION_COLOURS
from fervid.media.decoding import Frame
from fervid.predict.annotation import AnnotatedVideo, annotate
from fervid.predict.predictor import FacePrediction


def seen(box, chances=(0.1, 0.9)):
    return FacePrediction(Face(box), "box", np.zeros((8, 8, 3), np.uint8), np.array(chances), "sad", 1)


def test_annotation_is_drawn_on_a_copy_in_the_emotions_colour():
    image = np.zeros((120, 160, 3), np.uint8)
    drawn = annotate(image, [seen((40, 50, 60, 40))])
    assert not image.any()
    colour = [int(EMOTION_COLOURS[1][start : start + 2], 16) for start in (1, 3, 5)]
    for x, y in ((40, 70), (99, 70), (70, 89)):
        assert drawn[y, x].tolist() == colour
    assert not drawn[95:].any()
    assert not drawn[60:80, 50:90].any()


@pytest.mark.parametrize("box", [(0, 0, 160, 120), (-20, -20, 50, 50), (150, 110, 90, 90), (3, 3, 1, 1)])
@pytest.mark.parametrize("size", [(120, 160), (1, 1), (9, 7)])
def test_boxes_at_the_edge_and_tiny_pictures_are_drawn(box, size):
    drawn = annotate(np.zeros((*size, 3), np.uint8), [seen(box)])
    assert drawn.shape == (*size, 3)
    assert drawn.dtype == np.uint8


def frames(times, shape=(31, 45)):
    return [Frame(number, time, np.full((*shape, 3), 40 * number, np.uint8)) for number, time in enumerate(times)]


def test_annotated_video_keeps_frame_times(tmp_path):
    times = [0.0, 0.1, 0.15, 0.9, 1.0]
    with AnnotatedVideo(tmp_path / "a.mp4") as video:
        for frame in frames(times):
            video.write(frame, [])
    with av.open(str(tmp_path / "a.mp4")) as container:
        shown = list(container.decode(video=0))
        assert container.streams.video[0].codec_context.name == "h264"
    assert [frame.time for frame in shown] == pytest.approx(times, abs=1e-4)
    assert (shown[0].height, shown[0].width) == (32, 46)  # even
    assert [round(frame.to_ndarray(format="rgb24").mean() / 40) for frame in shown] == [0, 1, 2, 3, 4]


def test_frame_of_another_shape_keeps_its_aspect_ratio(tmp_path):
    """A recording may change its size or its pixels: what comes later keeps its proportions, between black bars."""
    with AnnotatedVideo(tmp_path / "a.mp4") as video:
        video.write(Frame(0, 0.0, np.full((64, 96, 3), 200, np.uint8)), [])
        video.write(Frame(1, 0.1, np.full((64, 192, 3), 200, np.uint8)), [])
    with av.open(str(tmp_path / "a.mp4")) as container:
        first, second = (frame.to_ndarray(format="gray") for frame in container.decode(video=0))
    assert first.shape == second.shape == (64, 96)
    assert first.min() > 150
    assert second[:14].max() < 60
    assert second[18:46].min() > 150
    assert second[50:].max() < 60


def test_interrupted_video_is_playable(tmp_path):
    def film():
        with AnnotatedVideo(tmp_path / "a.mp4") as video:
            for frame in frames([0.0, 0.1, 0.2]):
                video.write(frame, [])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        film()
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert len(list(container.decode(video=0))) == 3


def test_full_disk_raises_and_leaves_no_broken_video(tmp_path):
    (tmp_path / "a.mp4").symlink_to("/dev/full")
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)

    def film():
        with AnnotatedVideo(tmp_path / "a.mp4") as video:
            for number in range(60):
                video.write(Frame(number, number / 10, noise), [])

    with pytest.raises(OSError, match="No space left") as caught:
        film()
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / "a.mp4").is_symlink()
