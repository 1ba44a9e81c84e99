import shutil
import zipfile
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from gray_videos import grays, write_video
from PIL import Image

from fervid.errors import InputError
from fervid.media.decoding import read_frames, read_picture
from fervid.media.sampling import Around, Sampling
from fervid.media.sources import read_bytes

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "ravdess"


CODECS = [("v.mp4", "libx264", {"bf": 2, "g": 15}), ("v.mp4", "libx264", {"bf": 0}), ("v.avi", "mpeg4", {})]
CODECS += [
    ("v.avi", "libx264", {"bf": 2}),
    ("v.mkv", "libsvtav1", {}),
    ("v.mp4", "libx265", {"x265-params": "log-level=none"}),
]
CODECS += [("v.avi", "mpeg4", {"bf": 2}), ("v.mkv", "libx264", {"bf": 3}), ("v.webm", "libvpx", {})]


@pytest.mark.parametrize(("name", "codec", "options"), CODECS)
def test_frames_have_the_right_number_and_time(tmp_path, name, codec, options):
    path = write_video(tmp_path / name, codec, **options)
    frames = list(read_frames(path, Sampling(frame_stride=7)))
    assert [frame.number for frame in frames] == [0, 7, 14, 21, 28, 35]
    assert grays(frames) == pytest.approx([0, 35, 70, 105, 140, 175], abs=3)
    assert [frame.time for frame in frames] == pytest.approx([number / 25 for number in range(0, 40, 7)], abs=0.002)


@pytest.mark.parametrize(("name", "codec", "options"), CODECS)
def test_skipping_does_not_change_selected_frames(tmp_path, name, codec, options):
    path = write_video(tmp_path / name, codec, **options)
    all_frames = list(read_frames(path, Sampling(frame_stride=1)))
    assert len(all_frames) == 40
    for frame in read_frames(path, Sampling(frame_stride=9)):
        assert (frame.image == all_frames[frame.number].image).all()


@pytest.mark.parametrize("sampling", [Sampling(frame_stride=3, window="centre"), Around(17, 1), Around(39)])
@pytest.mark.parametrize(("name", "codec", "options"), CODECS)
def test_parts_of_a_video(tmp_path, name, codec, options, sampling):
    path = write_video(tmp_path / name, codec, **options)
    frames = list(read_frames(path, sampling))
    assert [frame.number for frame in frames] == sampling.numbers(40).tolist()
    assert grays(frames) == pytest.approx([5 * frame.number for frame in frames], abs=4)


def test_metadata_that_is_not_utf_8(tmp_path):
    """Old cameras write such metadata, which PyAV refuses by default."""
    with av.open(tmp_path / "v.avi", "w") as container:
        container.metadata["title"] = "TheTitle"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(10):
            picture = np.zeros((64, 96, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    content = (tmp_path / "v.avi").read_bytes()
    assert b"TheTitle" in content
    (tmp_path / "v.avi").write_bytes(content.replace(b"TheTitle", b"caf\xe9 caf"))
    assert len(list(read_frames(tmp_path / "v.avi", Sampling(frame_stride=5)))) == 2


def test_unknown_codec_is_an_error(tmp_path):
    path = write_video(tmp_path / "v.mkv")
    content = path.read_bytes()
    assert content.count(b"V_MPEG4/ISO/AVC") == 1
    path.write_bytes(content.replace(b"V_MPEG4/ISO/AVC", b"V_NOBODYS/CODEC"))
    with pytest.raises(ValueError, match=r"the codec is unknown to FFmpeg|not a video that can be decoded"):
        list(read_frames(path, Sampling()))


def test_memory_error_is_not_a_damaged_picture(tmp_path, monkeypatch):
    def none_left(*_, **__):
        raise MemoryError

    monkeypatch.setattr("PIL.Image.open", none_left)
    with pytest.raises(MemoryError):
        read_picture(tmp_path / "a.jpg")


def test_picture_is_not_a_video(tmp_path):
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="not a video in a supported format"):
        list(read_frames(tmp_path / "a.mp4", Sampling()))


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real videos in {SHARED}")
def test_real_videos_frame_by_frame():
    path = SHARED / "Actor_01" / "02-01-08-02-02-02-01.mp4"
    with av.open(path) as container:
        reference = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].frames == len(reference) + 1  # the container states one frame too many
    frames = list(read_frames(path, Sampling(frame_stride=10)))
    assert [frame.number for frame in frames] == list(range(0, len(reference), 10))
    assert all((frame.image == reference[frame.number]).all() for frame in frames)
    assert len(list(read_frames(path, Sampling(frame_stride=1)))) == len(reference)
    assert frames[3].time == pytest.approx(30 * 1001 / 30000, abs=1e-3)


def test_sampling():
    assert Sampling(frame_stride=10).numbers(25).tolist() == [0, 10, 20]
    assert Sampling(frame_stride=3, window="centre").numbers(16).tolist() == [4, 7, 10]
    assert Sampling(frames_per_clip=4).numbers(40).tolist() == [5, 15, 25, 35]
    assert Sampling(frames_per_clip=2, window="centre").numbers(40).tolist() == [15, 25]
    assert Sampling(frames_per_clip=9).numbers(4).tolist() == [0, 1, 2, 3]
    assert Around(5, 2).numbers(40).tolist() == [3, 4, 5, 6, 7]
    assert Around(39, 2).numbers(40).tolist() == [37, 38, 39]
    assert Sampling(frame_stride=10.0).numbers(25).tolist() == [0, 10, 20]
    for options in (
        {"frame_stride": 0},
        {"frames_per_clip": 0},
        {"frames_per_clip": True},
        {"frame_stride": 1.5},
        {"window": "end"},
    ):
        with pytest.raises(InputError, match=f"dataset.{next(iter(options))}="):
            Sampling(**options)


def test_video_in_a_zip_and_as_bytes(tmp_path):
    path = write_video(tmp_path / "v.mp4")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "inside/v.mp4")
    for source in ((tmp_path / "a.zip", "inside/v.mp4"), path.read_bytes()):
        assert grays(read_frames(source, Sampling(frame_stride=20))) == pytest.approx([0, 100], abs=3)


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.4, 0.8, 0.97])
@pytest.mark.parametrize("name", ["v.mp4", "v.avi", "fast.mp4"])
def test_truncated(tmp_path, name, fraction):
    """Truncated at any point, with the index at the end or, as for streaming, at the start."""
    options = {"movflags": "faststart"} if name == "fast.mp4" else {}
    with av.open(tmp_path / name, "w", options=options) as container:
        stream = container.add_stream("mpeg4" if name == "v.avi" else "libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        noise = np.random.default_rng(0)
        for _ in range(40):
            picture = noise.integers(0, 256, (64, 96, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * fraction)])
    if fraction < 0.9:
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            list(read_frames(tmp_path / name, Sampling(frame_stride=10)))
    else:
        with suppress(ValueError):  # the missing part may or may not be selected
            assert len(list(read_frames(tmp_path / name, Sampling(frame_stride=10)))) == 4


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("text.mp4", b"this is not a video" * 100, "not a video that can be decoded"),
        ("empty.avi", b"", "not a video that can be decoded"),
        ("noise.mp4", bytes(np.random.default_rng(0).integers(0, 256, 10_000, dtype=np.uint8)), "not a video"),
    ],
)
def test_other_content_is_not_a_video(tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=match):
        list(read_frames(tmp_path / name, Sampling()))


def test_wrong_suffix_does_not_matter(tmp_path):
    write_video(tmp_path / "v.mp4")
    shutil.move(tmp_path / "v.mp4", tmp_path / "v.avi")
    assert len(list(read_frames(tmp_path / "v.avi", Sampling(frame_stride=10)))) == 4


def test_audio_file_is_an_error(tmp_path):
    with av.open(tmp_path / "sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match="has no video stream"):
        list(read_frames(tmp_path / "sound.mp4", Sampling()))


def test_too_large_frames_are_refused(tmp_path, monkeypatch):
    write_video(tmp_path / "v.mp4")
    monkeypatch.setattr("fervid.media.decoding.MAX_FRAME_PIXELS", 96 * 64 - 1)
    with pytest.raises(ValueError, match="frames of 96 x 64 pixels"):
        list(read_frames(tmp_path / "v.mp4", Sampling()))


def test_rotated_phone_video_is_upright(tmp_path):
    """The rotation is written into the matrix of the track by hand, since the encoder cannot write it."""
    path = write_video(tmp_path / "v.mp4")
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40  # version, dates, ids, duration, layer, volume; then the matrix
    identity = np.array([65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30], dtype=">i4").tobytes()
    assert content[place : place + 36] == identity
    quarter = np.array([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30], dtype=">i4").tobytes()
    content[place : place + 36] = quarter
    path.write_bytes(content)
    frame = next(iter(read_frames(path, Sampling(frame_stride=10))))
    assert frame.image.shape == (96, 64, 3)
    assert frame.image[:12, -12:].mean() > 200  # rotated by 90 degrees clockwise: upper left becomes upper right
    assert frame.image[:12, :12].mean() < 100


def test_zip_bomb_is_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.mp4", bytes(20_000_000))
        archive.writestr("large.mp4", np.random.default_rng(0).bytes(2_000_000))
    with pytest.raises(ValueError, match=r"unpacks to 19 MiB from 0.02 MiB"):
        read_bytes((tmp_path / "a.zip", "bomb.mp4"))
    assert len(read_bytes((tmp_path / "a.zip", "large.mp4"))) == 2_000_000
    monkeypatch.setattr("fervid.media.archives.MAX_MEMBER_BYTES", 1_000_000)
    with pytest.raises(ValueError, match="unpacks to 2 MiB"):
        read_bytes((tmp_path / "a.zip", "large.mp4"))


def test_wrong_checksum_in_a_zip_is_an_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("v.mp4", b"abcd" * 100)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"abcd")] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        read_bytes((tmp_path / "a.zip", "v.mp4"))
    with pytest.raises(ValueError, match="cannot be unpacked"):
        read_bytes((tmp_path / "a.zip", "not there.mp4"))


def test_unreadable_picture_is_an_error(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"^cannot identify image file$"):
        read_picture(tmp_path / "a.jpg")
    with pytest.raises(OSError, match="No such file"):
        read_picture(tmp_path / "b.jpg")
