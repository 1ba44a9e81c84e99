"""Log-mel spectrograms, their mel filters and SpecAugment."""

import io
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from padding import padded

from fervid.errors import InputError
from fervid.models.log_mel import LogMel, SpecAugment, mel_filters
from fervid.models.sequences import lengths, valid_positions

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
RAVDESS = SHARED / "ravdess_speech" / "Audio_Speech_Actors_01-24.zip"


def noise(samples, seed=0):
    """Noise whose loudness rises from -60 dB to 0 dB, so that no frame is like another."""
    generator = torch.Generator().manual_seed(seed)
    return torch.logspace(-3, 0, samples) * (2 * torch.rand(samples, generator=generator) - 1)


def whisper_frames(sound):
    """The spectrogram of transformers, padded to 30 seconds."""
    transformers = pytest.importorskip("transformers")
    found = transformers.WhisperFeatureExtractor()(sound.numpy(), sampling_rate=16_000, return_tensors="np")
    return torch.from_numpy(found.input_features[0]).T


@pytest.mark.parametrize(("bands", "n_fft"), [(80, 400), (128, 400), (40, 512)])
def test_mel_filters_are_those_of_transformers(bands, n_fft):
    audio_utils = pytest.importorskip("transformers.audio_utils")
    expected = audio_utils.mel_filter_bank(
        n_fft // 2 + 1, bands, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney"
    )
    np.testing.assert_allclose(mel_filters(bands, n_fft).numpy(), expected, atol=1e-7)


def test_filters_up_to_a_given_frequency():
    filters = mel_filters(20, 400, max_hertz=900)
    hertz = torch.linspace(0, 8000, 201)
    assert (filters[hertz > 900] == 0).all()
    assert (filters[hertz < 900][1:].sum(1) > 0).all()


@pytest.mark.parametrize("samples", [400, 16_000, 16_001, 35_999])
def test_whisper_frames_are_those_of_transformers(samples):
    """A sound that ends softly: Whisper's maximum does not lie in its first frame after the end."""
    sound = noise(samples).flip(0)
    frames = LogMel()(sound[None])[0]
    assert len(frames) == -(-samples // 160)
    torch.testing.assert_close(frames, whisper_frames(sound)[: len(frames)], rtol=0, atol=1e-5)


@pytest.mark.skipif(not RAVDESS.exists(), reason="needs the sounds of RAVDESS in ../shared")
def test_whisper_frames_of_real_speech():
    with zipfile.ZipFile(RAVDESS) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".wav"))[:: 1440 // 6]
        for name in names:
            with wave.open(io.BytesIO(archive.read(name))) as file:
                samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            sound = torch.from_numpy(samples / np.float32(32_768))
            frames = LogMel()(sound[None])[0]
            torch.testing.assert_close(frames, whisper_frames(sound)[: len(frames)], rtol=0, atol=1e-5)


@pytest.mark.parametrize("normalization", ["whisper", "clip", "none"])
def test_frames_do_not_depend_on_padding_or_other_sounds(normalization):
    log_mel = LogMel(bands=40, normalization=normalization)
    sounds = [noise(16_000), 0.01 * noise(5_001, 1), noise(401, 2)]
    together = log_mel(padded(sounds, 20_000))
    assert lengths(together).tolist() == [100, 32, 3]
    for sound, frames in zip(sounds, together, strict=True):
        alone = log_mel(sound[None])[0]
        assert torch.isfinite(alone).all()
        torch.testing.assert_close(frames[: len(alone)], alone, rtol=0, atol=1e-5)
        assert frames[len(alone) :].isnan().all()


def test_frames_after_the_end_do_not_set_the_loudest_value():
    """A click at the very end is loudest in the first frame after it, which padding adds."""
    click = 0.001 * noise(8_000)
    click[-1] = 1.0
    alone, together = LogMel()(click[None])[0], LogMel()(padded([click], 9_000))[0, :50]
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_normalization_of_a_clip():
    frames = LogMel(normalization="clip")(padded([noise(16_000), 0.001 * noise(8_000, 1)]))
    for row in frames:
        values = row[valid_positions(row[None])[0]]
        assert values.mean().abs() < 1e-4
        assert abs(values.std() - 1) < 1e-3


@pytest.mark.parametrize("normalization", ["whisper", "clip", "none"])
def test_silence_has_finite_frames(normalization):
    assert torch.isfinite(LogMel(normalization=normalization)(torch.zeros(1, 4_000))).all()


def test_frames_in_half_precision_are_computed_in_float32():
    sound = 1e-3 * noise(4_000)[None]
    with torch.autocast("cpu", torch.bfloat16):
        frames = LogMel()(sound)
    assert torch.equal(frames, LogMel()(sound))


def test_unknown_settings_are_errors():
    with pytest.raises(InputError, match="normalization=loud is unknown: choose whisper, clip, none"):
        LogMel(normalization="loud")
    with pytest.raises(InputError, match=r"spec_augment=.* unknown or missing setting: give freq_masks"):
        LogMel(spec_augment={"width": 3})
    with pytest.raises(InputError, match=r"spec_augment.max_time_fraction=1.5 is out of range: give 0 to 1"):
        LogMel(spec_augment={"max_time_fraction": 1.5})
    with pytest.raises(InputError, match=r"spec_augment.freq_masks=-1 is out of range: give 0 or more"):
        LogMel(spec_augment={"freq_masks": -1})


class TestSpecAugment:
    SETTINGS = {"freq_masks": 1, "freq_width": 5, "time_masks": 1, "time_width_seconds": 0.1, "max_time_fraction": 0.5}

    def frames(self):
        torch.manual_seed(0)
        return padded([torch.randn(100, 40) + 3, torch.randn(8, 40) - 3])

    def test_only_in_training(self):
        augment = SpecAugment(**self.SETTINGS).eval()
        frames = self.frames()
        assert augment(frames) is frames
        torch.manual_seed(1)
        assert not torch.equal(augment.train()(frames).nan_to_num(), frames.nan_to_num())

    def test_masks_have_at_most_the_given_widths_and_the_mean_of_the_sound(self):
        augment, frames = SpecAugment(**self.SETTINGS), self.frames()
        valid = valid_positions(frames)
        widths, bands = set(), set()
        for _ in range(300):
            masked = augment(frames)
            assert torch.equal(valid_positions(masked), valid)
            for row, own in ((masked[0], frames[0]), (masked[1, :8], frames[1, :8])):
                changed = row != own
                times, freqs = changed.all(1), changed.all(0)
                assert torch.equal(changed, times[:, None] | freqs[None])
                assert torch.allclose(row[changed], own.mean(), atol=1e-5)
                longest = min(10, len(own) // 2)  # 0.1 s are 10 frames, half of 8 frames are 4
                assert times.sum() <= longest
                assert int(times.sum()) == 0 or int(times.nonzero()[-1] - times.nonzero()[0]) + 1 == int(times.sum())
                widths.add((len(own), int(times.sum())))
                bands.add(int(freqs.sum()))
        assert bands == set(range(6))  # widths from 0 to the largest all occur
        assert widths == {(100, width) for width in range(11)} | {(8, width) for width in range(5)}

    def test_each_sound_gets_its_own_masks_from_the_global_generator(self):
        augment = SpecAugment(**self.SETTINGS)
        frames = torch.randn(1, 100, 40).expand(8, -1, -1)
        torch.manual_seed(3)
        first = augment(frames)
        torch.manual_seed(3)
        assert torch.equal(augment(frames), first)
        assert len({tuple(row.flatten().tolist()) for row in first}) > 4

    def test_is_off_by_default(self):
        log_mel, sound = LogMel().train(), noise(8_000)[None]
        assert torch.equal(log_mel(sound), log_mel.eval()(sound))
        augmented = LogMel(spec_augment=self.SETTINGS)
        torch.manual_seed(0)
        assert not torch.equal(augmented(sound), log_mel(sound))
        assert torch.equal(augmented.eval()(sound), log_mel(sound))
