"""Pictures of all modes and formats, and safety of decoding."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageChops, ImageCms

from fervid.media.decoding import read_frames, read_picture
from fervid.media.sampling import Sampling

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "cases"
RAMP = np.tile(np.arange(256, dtype=np.uint8), (32, 1))
COLOURS = np.dstack([RAMP, RAMP[:, ::-1], np.roll(RAMP, 64, axis=1)])


def ramp_of(path):
    """Returns the gray ramp in a picture as integers."""
    image = read_picture(path)
    assert image.dtype == np.uint8
    assert image.shape == (32, 256, 3)
    assert (image == image[..., :1]).all()
    return image[0, :, 0].astype(int)


@pytest.mark.parametrize(
    "values",
    [
        RAMP.astype(np.float32) / 255,
        RAMP.astype(np.float32),
        RAMP.astype(np.int32),
        RAMP.astype(np.uint16) * 257,
    ],
    ids=["float 0 to 1", "float 0 to 255", "32-bit integers", "16-bit integers"],
)
def test_values_are_scaled_to_8_bits(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert np.abs(ramp_of(tmp_path / "a.tif") - RAMP[0]).max() <= 1


@pytest.mark.parametrize(
    "values",
    [
        RAMP.astype(np.float32) / 20,
        RAMP.astype(np.float32) - 1,
        np.where(RAMP > 0, RAMP.astype(np.float32) / 255, np.nan),
        RAMP.astype(np.int32) * 257,
        RAMP.astype(np.int32) - 128,
    ],
    ids=["float 0 to 12.75", "float -1 to 254", "not a number", "32-bit integers to 65535", "negative integers"],
)
def test_ambiguous_values_are_refused(tmp_path, values):
    Image.fromarray(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="is ambiguous"):
        read_picture(tmp_path / "a.tif")


def test_dark_16_bit_pictures_stay_dark(tmp_path):
    """In formats with a fixed range, white does not depend on the values of the picture."""
    Image.fromarray(RAMP.astype(np.uint16)).save(tmp_path / "a.png")
    assert ramp_of(tmp_path / "a.png").max() == 1
    (tmp_path / "a.pgm").write_bytes(b"P5 256 32 65535\n" + RAMP.astype(">u2").tobytes())
    assert ramp_of(tmp_path / "a.pgm").max() == 1


def test_16_bit_tiffs_of_both_polarities_and_byte_orders(tmp_path):
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "a.tif", tiffinfo={262: 0})  # 0 is white
    content = bytearray((tmp_path / "a.tif").read_bytes())
    (tmp_path / "a.tif").write_bytes(content)
    with Image.open(tmp_path / "a.tif") as file:
        stored = file.tag_v2[262]
    if stored != 0:  # Pillow overwrites the tag: set the directory entry by hand
        entry = content.index(struct.pack("<HHI", 262, 3, 1))
        content[entry + 8 : entry + 10] = struct.pack("<H", 0)
        (tmp_path / "a.tif").write_bytes(content)
    assert np.abs(ramp_of(tmp_path / "a.tif") - (255 - RAMP[0])).max() <= 1
    Image.frombytes("I;16B", (256, 32), (RAMP.astype(">u2") * 257).tobytes()).save(tmp_path / "b.tif")
    assert np.abs(ramp_of(tmp_path / "b.tif") - RAMP[0]).max() <= 1


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no small inputs in {CASES}")
def test_real_float_tiff_is_decoded():
    image = read_picture(CASES / "float_0_to_1.tif")
    assert image.std() > 20
    assert image.max() > 150


@pytest.mark.parametrize("adobe", [True, False], ids=["inverted, as Adobe writes it", "not inverted"])
def test_cmyk_jpeg(tmp_path, adobe):
    colours = Image.fromarray(COLOURS)
    inks = colours.convert("CMYK")
    if adobe:
        inks.save(tmp_path / "a.jpg", quality=95, subsampling=0)
    else:
        ImageChops.invert(inks).save(tmp_path / "a.jpg", quality=95, subsampling=0)
        content = (tmp_path / "a.jpg").read_bytes()
        at = content.index(b"\xff\xee")  # the Adobe marker
        length = struct.unpack(">H", content[at + 2 : at + 4])[0]
        (tmp_path / "a.jpg").write_bytes(content[:at] + content[at + 2 + length :])
    assert np.abs(read_picture(tmp_path / "a.jpg").astype(int) - COLOURS).mean() < 4


def test_lab(tmp_path):
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(Image.fromarray(COLOURS), *profiles, outputMode="LAB")
    lab.save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as file:
        assert file.mode == "LAB"
    assert np.abs(read_picture(tmp_path / "a.tif").astype(int) - COLOURS).mean() < 4


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_pixels_are_white(tmp_path, mode):
    """Colours of transparent pixels are arbitrary and must not become part of the face."""
    colours = np.dstack([RAMP // 2, RAMP // 2, RAMP // 2, np.where(RAMP < 100, 0, 255)]).astype(np.uint8)
    picture = Image.fromarray(colours)
    if mode == "P":
        picture = Image.fromarray(RAMP // 2).convert("P")
        picture.info["transparency"] = bytes([0] * 50 + [255] * 206)
        picture.save(tmp_path / "a.png", transparency=bytes([0] * 50 + [255] * 206))
    elif mode == "PA":
        picture.quantize(64).save(tmp_path / "a.png")
    else:
        picture.convert(mode).save(tmp_path / "a.png")
    image = read_picture(tmp_path / "a.png")[0].astype(int)
    assert (image[:96] == 255).all()
    assert np.abs(image[104:, 0] - RAMP[0, 104:] // 2).max() <= 10


def test_fully_transparent_picture_keeps_its_colours(tmp_path):
    """Some programs write a meaningless fourth channel of zeros."""
    Image.fromarray(np.dstack([COLOURS, np.zeros_like(RAMP)])).save(tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png") == COLOURS).all()


@pytest.mark.parametrize(
    "suffix", [".jfif", ".gif", ".webp", ".bmp", ".ppm", ".jp2", ".tif", ".avif", ".png", ".jpe", ".dib"]
)
def test_supported_formats(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    try:
        Image.fromarray(COLOURS).save(path, quality=95)
    except (KeyError, OSError, ValueError) as error:
        pytest.skip(f"this Pillow does not write {suffix}: {error}")
    assert np.abs(read_picture(path).astype(int) - COLOURS).mean() < 30  # GIF has 256 colours


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animation_is_refused(tmp_path, suffix):
    first, second = Image.fromarray(COLOURS), Image.fromarray(255 - COLOURS)
    first.save(tmp_path / f"a{suffix}", save_all=True, append_images=[second])
    with pytest.raises(ValueError, match="an animation: save one of its frames"):
        read_picture(tmp_path / f"a{suffix}")


def test_tiff_with_a_preview_is_refused(tmp_path):
    """Raw files of many cameras are TIFFs that start with a preview."""
    Image.fromarray(COLOURS).save(tmp_path / "a.tif", tiffinfo={254: 1})
    with pytest.raises(ValueError, match="only a preview"):
        read_picture(tmp_path / "a.tif")


def test_tiff_with_float_colours_is_refused(tmp_path):
    """Pillow reads float values only with one channel."""
    values = (COLOURS.astype("<f4") / 255).tobytes()
    entries = [(256, 4, 1, 256), (257, 4, 1, 32), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 200), (277, 3, 1, 3)]
    entries += [(278, 4, 1, 32), (279, 4, 1, len(values)), (258, 3, 3, 180), (339, 3, 3, 186)]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", 0)
    words = struct.pack("<3H", 32, 32, 32) + struct.pack("<3H", 3, 3, 3)
    (tmp_path / "a.tif").write_bytes(head.ljust(180, b"\0") + words.ljust(20, b"\0") + values)
    with pytest.raises(ValueError, match="cannot identify image file"):
        read_picture(tmp_path / "a.tif")


def test_decoding_runs_no_program(tmp_path, monkeypatch):
    """Pillow would run Ghostscript for PostScript files."""
    started = tmp_path / "started"
    (tmp_path / "gs").write_text(f"#!/bin/sh\necho started > '{started}'\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow searches only once
    (tmp_path / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n")
    with pytest.raises(ValueError, match="cannot identify image file"):
        read_picture(tmp_path / "a.jpg")
    assert not started.exists()


@pytest.fixture
def film(tmp_path):
    with av.open(str(tmp_path / "secret.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(10):
            picture = np.full((64, 96, 3), 20 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return tmp_path / "secret.mp4"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mp4", "ffconcat version 1.0\nfile secret.mp4\n"),
        ("a.ts", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.4,\nsecret.mp4\n#EXT-X-ENDLIST\n"),
        ("a.mkv", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"),
    ],
    ids=["list of files", "playlist", "network session"],
)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_decoding_a_video_opens_no_other_file(film, name, content, as_bytes):
    path = film.parent / name
    path.write_text(content)
    with pytest.raises(ValueError, match="not a video"):
        list(read_frames(path.read_bytes() if as_bytes else path, Sampling(frame_stride=1)))


def test_names_like_protocols_or_patterns_are_files(film, monkeypatch):
    monkeypatch.chdir(film.parent)
    for name in ("clip:1.mp4", "concat:a|b.mp4", "frame%02d.mp4", "http:x.mp4"):
        Path(name).write_bytes(film.read_bytes())
        assert len(list(read_frames(Path(name), Sampling(frame_stride=1)))) == 10
