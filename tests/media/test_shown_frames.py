"""Frames are numbered, timed and shaped as a player displays them, regardless of the container metadata."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from gray_videos import grays, write_video
from PIL import ExifTags, Image

from fervid.faces.detection import HaarDetector
from fervid.media.decoding import read_frames, read_picture
from fervid.media.sampling import Around, Sampling

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "cases"
shared = pytest.mark.skipif(not CASES.is_dir(), reason=f"no small inputs in {CASES}")
SAMPLINGS = [
    Sampling(frame_stride=2),
    Sampling(frame_stride=7),
    Sampling(frames_per_clip=4),
    Sampling(frames_per_clip=3, window="centre"),
    Sampling(frame_stride=3, window="centre"),
    Around(0, 1),
    Around(9, 2),
    Around(10_000),
]


def decode_all(path):
    """Returns all frames decoded by FFmpeg and their times, as listed by ``ffprobe -show_frames``."""
    images, times = [], []
    with av.open(path) as container:
        for packet in container.demux(video=0):
            try:
                for frame in packet.decode():
                    images.append(frame.to_ndarray(format="rgb24"))
                    times.append(frame.time)
            except av.InvalidDataError:
                assert not images, "damaged after the first frame"
    return images, times


def check_every_sampling(path):
    """Checks that all samplings agree with decoding the whole file, and returns its frames."""
    images, times = decode_all(path)
    frames = list(read_frames(path, Sampling(frame_stride=1)))
    assert [frame.number for frame in frames] == list(range(len(images)))
    assert all((frame.image == image).all() for frame, image in zip(frames, images, strict=True))
    assert [frame.time for frame in frames] == pytest.approx([time - times[0] for time in times], abs=1e-3)
    for sampling in SAMPLINGS:
        some = list(read_frames(path, sampling))
        assert [frame.number for frame in some] == sampling.numbers(len(images)).tolist()
        assert all((frame.image == images[frame.number]).all() for frame in some)
        assert all(frame.time == frames[frame.number].time for frame in some)
    return frames


# Determined with ffprobe -select_streams v:0 -show_entries frame=best_effort_timestamp_time (FFmpeg 5.1): the number of
# frames, and the time of the last one less that of the first. All four have 30 frames per second.
@shared
@pytest.mark.parametrize(
    ("name", "frames", "last"),
    [
        ("edit_list_trimmed.mp4", 45, 1.466667),
        ("edit_list_trimmed.mov", 60, 1.966667),
        ("open_gop_cut.mpg", 54, 2.366667 - 0.6),
        ("starts_mid_gop.mts", 42, 4.433333 - 3.066667),
    ],
)
def test_cut_recordings_frame_by_frame(name, frames, last):
    read = check_every_sampling(CASES / name)
    assert len(read) == frames
    assert read[0].time == 0
    assert read[-1].time == pytest.approx(last, abs=1e-5)


def edit(path, *segments):
    """Writes an edit list with the given segments (first frame or None for a pause, number of frames).

    Phones and lossless cutters trim videos in this way, without encoding them again.
    """
    content = bytearray(path.read_bytes())
    movie, media = (struct.unpack_from(">I", content, content.index(box) + 16)[0] for box in (b"mvhd", b"mdhd"))
    place = content.index(b"elst")
    size, _, _, count, _, start = struct.unpack_from(">I4sIIIi", content, place - 4)
    assert count == 1
    entries = [
        struct.pack(">IiI", frames * movie // 25, -1 if first is None else start + first * media // 25, 1 << 16)
        for first, frames in segments
    ]
    edits = struct.pack(">II", 0, len(segments)) + b"".join(entries)
    grown = 8 + len(edits) - size
    assert grown == 0 or content.index(b"mdat") < content.index(b"moov")  # otherwise sample offsets would be wrong
    for box in (b"moov", b"trak", b"edts"):
        old = content.index(box) - 4
        struct.pack_into(">I", content, old, struct.unpack_from(">I", content, old)[0] + grown)
    content[place - 4 : place - 4 + size] = struct.pack(">I", 8 + len(edits)) + b"elst" + edits
    path.write_bytes(content)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
@pytest.mark.parametrize(
    "segments",
    [
        [(13, 27)],
        [(0, 22)],
        [(13, 9)],
        [(30, 10)],
        [(None, 10), (7, 20)],
        [(0, 10), (20, 10)],
        [(20, 10), (0, 10)],
        [(5, 5), (5, 5)],
    ],
)
def test_edit_lists(tmp_path, codec, segments):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = write_video(tmp_path / "v.mp4", codec, bf=2, g=10, **options)
    edit(path, *segments)
    frames = check_every_sampling(path)
    expected = [number for first, count in segments if first is not None for number in range(first, first + count)]
    assert grays(frames) == pytest.approx([5 * number for number in expected], abs=4)


def test_truncated_file_with_an_edit_list_is_refused(tmp_path):
    path = tmp_path / "v.mp4"
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        noise = np.random.default_rng(0)
        for _ in range(40):
            picture = noise.integers(0, 256, (64, 96, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    edit(path, (5, 30))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="truncated"):
        list(read_frames(path, Sampling(frames_per_clip=2)))


CUTS = [
    ("v.ts", "libx264", {"bf": 2, "g": 10}),
    ("v.ts", "libx264", {"bf": 2, "g": 10, "x264-params": "open-gop=1"}),
    ("v.ts", "libx264", {"bf": 0, "g": 10, "x264-params": "intra-refresh=1"}),
    ("v.m2ts", "libx264", {"bf": 2, "g": 10}),
    ("v.mts", "libx265", {"x265-params": "log-level=none:keyint=10:open-gop=1:bframes=3"}),
    ("v.ts", "mpeg2video", {"bf": 2, "g": 10}),
    ("v.mpg", "mpeg2video", {"bf": 2, "g": 10}),
    ("v.mpg", "mpeg1video", {"g": 10}),
]


@pytest.mark.parametrize(("name", "codec", "options"), CUTS)
def test_recording_cut_at_any_byte(tmp_path, name, codec, options):
    path = write_video(tmp_path / name, codec, **options)
    content = path.read_bytes()
    # Cut at whole packets: a transport stream cut inside a packet starts at the next one anyway.
    unit = {"ts": 188, "m2ts": 192, "mts": 192}.get(path.suffix[1:], 1)
    for fraction in (0.3, 0.45):
        cut = tmp_path / f"cut{path.suffix}"
        cut.write_bytes(content[int(fraction * len(content)) // unit * unit :])
        frames = check_every_sampling(cut)
        assert 5 <= len(frames) < 40
        assert grays(frames) == pytest.approx([5 * number for number in range(40 - len(frames), 40)], abs=5)


def copy_from(source, target, begins):
    """Copies the packets of a video without decoding, starting with the first for which ``begins`` is true."""
    with av.open(source) as old, av.open(target, "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        copying = False
        for number, packet in enumerate(old.demux(video=0)):
            copying = copying or begins(number, packet)
            if packet.size and copying:
                packet.stream = stream
                new.mux(packet)
    return target


@pytest.mark.parametrize(("name", "codec"), [("v.mkv", "libx265"), ("v.mp4", "libx265"), ("v.mkv", "libx264")])
def test_lossless_cut_at_an_open_gop(tmp_path, name, codec):
    """Frames displayed before the first key frame depend on frames that were cut off."""
    params = "log-level=none:keyint=10:open-gop=1:bframes=3" if codec == "libx265" else "open-gop=1"
    whole = write_video(tmp_path / f"whole{name}", codec, g=10, **{f"{codec[3:]}-params": params})
    path = copy_from(whole, tmp_path / name, lambda number, packet: number > 0 and packet.is_keyframe)
    frames = check_every_sampling(path)
    assert 10 < len(frames) < 40
    assert grays(frames) == pytest.approx([5 * number for number in range(40 - len(frames), 40)], abs=5)


@pytest.mark.parametrize("name", ["v.mkv", "v.mp4", "v.flv", "v.avi", "v.3gp"])
def test_file_that_starts_between_key_frames(tmp_path, name):
    whole = write_video(tmp_path / f"whole{name}", g=10, bf=0)
    path = copy_from(whole, tmp_path / name, lambda number, packet: number == 4)
    frames = check_every_sampling(path)
    assert grays(frames) == pytest.approx([5 * number for number in range(10, 40)], abs=4)


@pytest.mark.parametrize(("name", "codec"), [("v.avi", "mpeg4"), ("v.avi", "mjpeg"), ("v.mp4", "libx264")])
def test_dropped_frames(tmp_path, name, codec):
    """Every fifth of 40 frames is missing, and frames 20 to 24."""
    present = [number for number in range(40) if number % 5 != 1 and number // 5 != 4]
    with av.open(tmp_path / name, "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.width, stream.height = 96, 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for number in present:
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 5 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames = check_every_sampling(tmp_path / name)
    assert grays(frames) == pytest.approx([5 * number for number in present], abs=4)
    assert [frame.time for frame in frames] == pytest.approx([number / 25 for number in present], abs=1e-3)


def test_joined_recordings_with_restarting_timestamps(tmp_path):
    path = write_video(tmp_path / "v.ts", frames=20, g=10)
    path.write_bytes(2 * path.read_bytes())
    frames = list(read_frames(path, Sampling(frame_stride=1)))
    assert grays(frames) == pytest.approx(2 * [5 * number for number in range(20)], abs=4)
    assert [frame.time for frame in frames] == pytest.approx([number / 25 for number in range(40)])


def test_recording_without_a_key_frame_is_refused(tmp_path):
    path = write_video(tmp_path / "v.ts", g=100, bf=0, sc_threshold=0)
    content = path.read_bytes()
    path.write_bytes(content[len(content) // 2 // 188 * 188 :])
    with pytest.raises(ValueError, match="no frame can be decoded"):
        list(read_frames(path, Sampling()))


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_damaged_first_key_frame_is_an_error(tmp_path, name):
    path = write_video(tmp_path / name, g=10, bf=0)
    with av.open(path) as container:
        packet = next(packet for packet in container.demux(video=0))
        first = bytes(packet)
    content = path.read_bytes()
    assert content.count(first) == 1
    path.write_bytes(content.replace(first, bytes(len(first))))
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        list(read_frames(path, Sampling(frame_stride=5)))


# The rendered videos have 320 x 240 square pixels originally; HaarDetector finds faces 122 to 136 px wide in them.
@shared
@pytest.mark.parametrize("name", ["pixel_aspect_4_3.mp4", "pixel_aspect_2_1.mp4"])
def test_faces_in_videos_with_non_square_pixels(name):
    widths = []
    for frame in read_frames(CASES / name, Sampling(frame_stride=10)):
        assert frame.image.shape == (240, 320, 3)
        (face,) = HaarDetector().find(frame.image)
        assert face.eyes is not None
        widths.append(face.box[2])
    assert np.mean(widths) == pytest.approx(129, abs=4)


@pytest.mark.parametrize(
    ("name", "codec"), [("v.mp4", "libx264"), ("v.mkv", "libx264"), ("v.ts", "libx264"), ("v.mpg", "mpeg2video")]
)
@pytest.mark.parametrize(("aspect", "width"), [(Fraction(4, 3), 128), (Fraction(8, 9), 85)])
def test_pixels_are_made_square(tmp_path, name, codec, aspect, width):
    if codec == "mpeg2video":  # supports only a few aspect ratios of the picture, here 4:3
        aspect, width = Fraction(8, 9), 85
    path = write_video(tmp_path / name, codec, aspect=aspect)
    frames = list(read_frames(path, Sampling(frame_stride=10)))
    assert {frame.image.shape for frame in frames} == {(64, width, 3)}
    assert grays(frames) == pytest.approx([0, 50, 100, 150], abs=4)
    edge = round(16 * width / 96)
    assert frames[0].image[:15, : edge - 2].min() > 200
    assert frames[0].image[:15, edge + 2 :].max() < 60


@pytest.mark.parametrize("aspect", [Fraction(1000, 1), Fraction(1, 1000), Fraction(1, 1), Fraction(1279, 1280)])
def test_implausible_pixel_aspect_is_ignored(tmp_path, aspect):
    path = write_video(tmp_path / "v.mp4", aspect=aspect)
    assert {frame.image.shape for frame in read_frames(path, Sampling(frame_stride=10))} == {(64, 96, 3)}


def test_too_large_after_scaling_is_refused(tmp_path):
    path = write_video(tmp_path / "v.mp4", frames=1, size=(5000, 4000), aspect=Fraction(2), preset="ultrafast")
    with pytest.raises(ValueError, match="10000 x 4000 pixels"):
        list(read_frames(path, Sampling()))


@pytest.mark.parametrize(("codec", "bf"), [("libx264", 0), ("libx264", 2), ("libx265", 2), ("mpeg4", 2)])
def test_pixel_aspect_may_change_within_a_video(tmp_path, codec, bf):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    square = write_video(tmp_path / "a.ts", codec, frames=20, bf=bf, **options)
    wide = write_video(tmp_path / "b.ts", codec, frames=20, bf=bf, aspect=Fraction(2), **options)
    (tmp_path / "c.ts").write_bytes(square.read_bytes() + wide.read_bytes())
    shapes = [frame.image.shape[:2] for frame in read_frames(tmp_path / "c.ts", Sampling(frame_stride=1))]
    assert shapes == 20 * [(64, 96)] + 20 * [(64, 192)]


def test_rotated_video_with_non_square_pixels(tmp_path):
    """The pixel aspect applies before rotation: 96 x 64 at 2:1 becomes 192 x 64, then is rotated."""
    path = write_video(tmp_path / "v.mp4", aspect=Fraction(2))
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    content[place : place + 36] = np.array([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30], dtype=">i4").tobytes()
    path.write_bytes(content)
    image = next(iter(read_frames(path, Sampling(frame_stride=10)))).image
    assert image.shape == (192, 64, 3)
    assert image[:30, -14:].min() > 200
    assert image[34:].max() < 60


def write_picture(path, dpi, orientation=1):
    """Writes a black picture of 96 x 64 with a white upper left corner of 16 x 16."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:16, :16] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(path, dpi=dpi, exif=exif)
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.bmp"])
@pytest.mark.parametrize(("dpi", "width"), [((100, 200), 192), ((204, 98), 46), ((300, 300), 96), ((300, 299.5), 96)])
def test_pictures_with_two_resolutions(tmp_path, name, dpi, width):
    """For example, a fax has 204 x 98 dots per inch."""
    picture = read_picture(write_picture(tmp_path / name, dpi))
    assert picture.shape == (64, width, 3)
    edge = round(16 * width / 96)
    assert picture[:14, : edge - 2].min() > 200
    assert picture[:14, edge + 2 :].max() < 60


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixel_aspect_applies_before_rotation(tmp_path, name, orientation):
    picture = read_picture(write_picture(tmp_path / name, (100, 200), orientation))
    square = read_picture(write_picture(tmp_path / name, (100, 100), orientation))
    height, width = square.shape[:2]
    assert picture.shape == ((2 * height, width, 3) if orientation > 4 else (height, 2 * width, 3))
    again = Image.fromarray(picture).resize((width, height))
    assert np.abs(np.asarray(again).astype(int) - square).mean() < 8


@pytest.mark.parametrize("dpi", [(72, 1), (1, 72), (0, 72), (72, 0)])
def test_implausible_resolutions_are_ignored(tmp_path, dpi):
    assert read_picture(write_picture(tmp_path / "a.jpg", dpi)).shape == (64, 96, 3)


def test_ratio_without_a_unit_is_ignored(tmp_path):
    """JFIF defines it as height : width, but FFmpeg writes width : height."""
    path = write_picture(tmp_path / "a.jpg", (100, 200))
    content = bytearray(path.read_bytes())
    place = content.index(b"JFIF\0") + 7
    assert content[place] == 1
    content[place] = 0
    path.write_bytes(content)
    assert read_picture(path).shape == (64, 96, 3)
