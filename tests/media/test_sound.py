import wave
import zipfile

import numpy as np
import pytest
from sound_files import tone, write_silent_video, write_sound

from fervid.media.clip_sounds import SoundTask, decode_sound
from fervid.media.sound import SoundStream, encode_wav, read_sound, read_wav


def frequency(samples, rate=16_000):
    return np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)


CODECS = [
    *[("a.wav", codec, 0.001) for codec in ("pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_f64le", "pcm_u8", "pcm_alaw")],
    ("a.wav", "adpcm_ima_wav", 0.03),
    *[("a.flac", "flac", 0.001), ("a.mp3", "libmp3lame", 0.02), ("a.m4a", "aac", 0.06), ("a.aiff", "pcm_s16be", 0.001)],
]


@pytest.mark.parametrize(("name", "codec", "tolerance"), CODECS)
@pytest.mark.parametrize("rate", [16_000, 8_000, 44_100])
def test_formats_and_rates_give_the_same_sound(tmp_path, name, codec, tolerance, rate):
    path = write_sound(tmp_path / name, tone(1.0, rate), rate, codec)
    sound = read_sound(path)
    lossy = codec in ("adpcm_ima_wav", "libmp3lame", "aac")  # encoders add padding, and overshoot at the end
    assert (sound.rate, sound.source_rate, sound.channels) == (16_000, rate, 1)
    assert sound.samples.dtype == np.float32
    assert sound.samples.ndim == 1
    assert sound.seconds == pytest.approx(1, abs=0.16 if lossy else 0.002)
    middle = sound.samples[4000:12000]
    assert frequency(middle) == pytest.approx(440, abs=4)
    assert lossy or sound.peak == pytest.approx(0.5, abs=0.02)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.02 + tolerance)
    assert sound.rms_db == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=1 if lossy else 0.1)
    assert lossy or sound.clipped == 0


def test_sound_at_the_rate_is_bit_identical(tmp_path):
    values = np.random.default_rng(0).integers(-32768, 32768, 16_000).astype(np.float32) / 32768
    path = write_sound(tmp_path / "a.wav", values[None])
    assert (read_sound(path).samples == values).all()
    (tmp_path / "b.wav").write_bytes(encode_wav(values, 16_000))
    assert (read_wav(tmp_path / "b.wav") == values).all()
    assert (tmp_path / "b.wav").read_bytes()[44:] == path.read_bytes()[-32_000:]


@pytest.mark.parametrize("channels", [2, 6])
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
def test_channels_are_averaged(tmp_path, channels, codec):
    samples = np.zeros((channels, 16_000), np.float32)
    samples[1] = tone()[0]
    sound = read_sound(write_sound(tmp_path / "a.wav", samples, codec=codec))
    assert sound.channels == channels
    assert np.abs(sound.samples - samples.mean(axis=0)).max() < 1e-4
    assert sound.peak == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.avi", "pcm_s16le"), ("a.mkv", "libopus")])
def test_sound_track_of_a_video(tmp_path, name, codec):
    sound = read_sound(write_sound(tmp_path / name, tone(1.0, 48_000), 48_000, codec, pictures=True))
    assert sound.seconds == pytest.approx(1, abs=0.05)
    assert frequency(sound.samples[4000:12000]) == pytest.approx(440, abs=4)


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_pieces_are_placed_at_the_times_at_which_they_are_played(tmp_path, rate):
    path = write_sound(tmp_path / "a.mkv", tone(2.0, rate), rate, gap=1.0)
    pieces = list(SoundStream(path))
    assert (np.concatenate([piece.samples for piece in pieces]) == read_sound(path).samples).all()
    ends = [piece.start + len(piece.samples) for piece in pieces]
    gaps = [after.start - end for end, after in zip(ends, pieces[1:], strict=False)]
    assert sorted(gaps)[-2:] == pytest.approx([0, 16_000], abs=64)
    assert (pieces[0].start, ends[-1]) == pytest.approx((0, 48_000), abs=64)


def test_member_of_a_zip_is_read_in_place(tmp_path):
    path = write_sound(tmp_path / "a.wav", tone())
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "Actor_01/a.wav")
    member = read_sound((tmp_path / "a.zip", "Actor_01/a.wav"))
    assert (member.samples == read_sound(path).samples).all()


def test_clipped_samples_are_counted(tmp_path):
    sound = read_sound(write_sound(tmp_path / "a.wav", tone(level=1.4).clip(-1, 1)))
    assert sound.clipped == pytest.approx(0.49, abs=0.02)
    assert sound.peak_db == pytest.approx(0, abs=0.01)


def test_values_of_lossy_formats_beyond_full_scale_are_kept(tmp_path):
    sound = read_sound(write_sound(tmp_path / "a.wav", tone(level=1.2), codec="pcm_f32le"))
    assert np.abs(sound.samples).max() == pytest.approx(1.2, abs=0.001)
    (tmp_path / "b.wav").write_bytes(encode_wav(sound.samples, 16_000))
    assert np.abs(read_wav(tmp_path / "b.wav")).max() == 1


def broken(tmp_path, kind):
    path = tmp_path / "a.wav"
    if kind == "picture track only":
        return write_silent_video(tmp_path / "a.mp4")
    if kind == "text":
        path.write_text("not a sound\n" * 100)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "header only":
        write_sound(path, tone())
        path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"data") + 8])
    elif kind == "truncated flac":
        path = write_sound(tmp_path / "a.flac", np.random.default_rng(0).normal(0, 0.1, (1, 16_000)), codec="flac")
        path.write_bytes(path.read_bytes()[:-20_000])
    elif kind == "truncated aiff":
        path = write_sound(tmp_path / "a.aiff", tone(), codec="pcm_s16be")
        path.write_bytes(path.read_bytes()[:-16_000])
    elif kind == "truncated":
        write_sound(path, tone())
        path.write_bytes(path.read_bytes()[:-20_000])
    elif kind == "playlist":
        write_sound(tmp_path / "other.wav", tone())
        path.write_text("ffconcat version 1.0\nfile other.wav\n")
    elif kind == "unknown scale":
        write_sound(path, 30_000 * tone(), codec="pcm_f32le")
    elif kind == "not numbers":
        write_sound(path, np.full((1, 16_000), np.nan), codec="pcm_f32le")
    elif kind == "no rate":
        content = bytearray(write_sound(path, tone()).read_bytes())
        content[24:28] = (16).to_bytes(4, "little")
        path.write_bytes(content)
    elif kind == "ten hours":
        with wave.open(str(path), "wb") as writer:  # sparse: only its end is written
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(16_000)
            writer.setnframes(36_000 * 16_000)
            writer.writeframesraw(b"")
        with open(path, "r+b") as file:
            file.truncate(44 + 2 * 36_000 * 16_000)
    return path


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("picture track only", "has no sound track"),
        ("text", "not a sound file or video that can be decoded"),
        ("empty", "not a sound file or video that can be decoded"),
        ("header only", "truncated: only 0% of its samples"),
        ("truncated", "truncated: only 38% of its samples are present"),
        ("truncated flac", r"truncated: only 0\.\d\d of 1\.00 s of sound are present"),
        ("truncated aiff", r"truncated: only 0\.50 of 1\.00 s of sound are present"),
        ("playlist", "not a sound file or video in a supported format"),
        ("unknown scale", "the scale of its samples, up to 15000 instead of 1, is ambiguous"),
        ("not numbers", "has samples that are not numbers"),
        ("no rate", "16 samples per second are outside 4000 to 768000"),
        ("ten hours", "longer than 600 s: cut it into clips"),
    ],
)
def test_unusable_files_are_explained_in_one_sentence(tmp_path, kind, sentence):
    path = broken(tmp_path, kind)
    with pytest.raises(ValueError, match=sentence):
        read_sound(path)
    result = decode_sound(SoundTask(3, path))
    assert result.row == 3
    assert result.failure
    assert "\n" not in result.failure
    assert not result.temporary
    assert result.wav == b""


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_wav_of_unknown_length_is_read(tmp_path, size):
    """Programs that write to a pipe cannot fill in the length."""
    content = bytearray(write_sound(tmp_path / "a.wav", tone()).read_bytes())
    at = content.index(b"data")
    content[4:8] = content[at + 4 : at + 8] = size.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    assert read_sound(tmp_path / "a.wav").seconds == pytest.approx(1)


@pytest.mark.parametrize("extra", [b"\0" * 3000, bytes(range(256)) * 12, None])
def test_mp3_with_other_bytes_is_read(tmp_path, extra):
    content = write_sound(tmp_path / "a.mp3", tone(4.0), codec="libmp3lame").read_bytes()
    (tmp_path / "b.mp3").write_bytes(content + (content if extra is None else extra))
    expected = 8 if extra is None else 4
    assert read_sound(tmp_path / "b.mp3").seconds == pytest.approx(expected, abs=0.2)


def test_damaged_sound_is_refused(tmp_path):
    content = bytearray(write_sound(tmp_path / "a.m4a", tone(8.0), codec="aac").read_bytes())
    content[2000:-6000:7] = b"\xff" * len(content[2000:-6000:7])
    (tmp_path / "a.m4a").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be decoded"):
        read_sound(tmp_path / "a.m4a")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_gap_in_time_is_closed(tmp_path, name):
    path = write_sound(tmp_path / name, tone(3.0, 48_000), 48_000, "aac", gap=0.5)
    assert read_sound(path).seconds == pytest.approx(3, abs=0.05)


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        read_sound(tmp_path / "none.wav")
    result = decode_sound(SoundTask(0, tmp_path / "none.wav"))
    assert (result.failure, result.temporary) == ("No such file or directory", True)  # the disk may have been removed


@pytest.mark.parametrize(
    ("samples", "failure"),
    [
        (np.zeros((1, 16_000)), "silent (peak -inf dB)"),
        (tone(level=0.0005), "silent (peak -66 dB)"),
        (np.full((1, 16_000), 0.25), "silent (peak -inf dB)"),
        (tone(seconds=0.01), "only 0.0100 s of sound"),
        (np.full((2, 16_000), 0.25), "silent (peak -inf dB)"),
        (tone(channels=2) * [[1], [-1]], "silent as the mean of its 2 channels, which cancel each other"),
        (tone(level=0.005), None),
        (tone(level=2).clip(-1, 1), None),
    ],
)
def test_silence_is_a_failure_and_clipping_is_not(tmp_path, samples, failure):
    result = decode_sound(SoundTask(0, write_sound(tmp_path / "a.wav", samples)))
    assert (result.failure or "").startswith(failure or "")
    assert (result.failure is None) == (failure is None)
    assert bool(result.facts) == bool(result.wav) == (failure is None)


@pytest.mark.parametrize("content", [b"", b"RIFF", None])
def test_damaged_prepared_sound_is_refused(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(encode_wav(tone()[0], 16_000)[:-100] if content is None else content)
    with pytest.raises(ValueError, match="truncated" if content is None else "not a WAV file"):
        read_wav(path)
