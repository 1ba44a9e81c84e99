"""Samples of sound, of clips, and of both."""

import errno
from functools import partial

import numpy as np
import pytest
import torch

from fervid import splits
from fervid.data.samples import Sample
from fervid.data.sound_augmentation import SoundAugmentation
from fervid.errors import InputError
from fervid.synthetic.corpus import RenderedSubjects

SOUND, CLIP = Sample(["sound"]), Sample(["image"], frames=3)


def test_sound_batches_hold_the_sound_of_their_clips(synthetic):
    datamodule = synthetic(sample=SOUND, clips=2)
    assert len(datamodule.samples) == 6 * 8 * 2  # one row per clip
    batch = next(iter(datamodule.train_dataloader()))
    assert batch["sound"].dtype == torch.float32
    assert batch["sound"].shape == (8, 32_000)
    rows = datamodule.samples.loc[batch["index"].numpy()].reset_index(drop=True)
    voice = RenderedSubjects().open_sounds(rows)
    for number in range(len(rows)):
        assert np.array_equal(np.round(batch["sound"][number].numpy() * 32768).astype(np.int16), voice(number))
    assert [datamodule.class_names[label] for label in batch["emotion"]] == rows["emotion"].tolist()


def test_sounds_are_padded_with_nan(synthetic, monkeypatch):
    monkeypatch.setattr(
        RenderedSubjects, "open_sounds", lambda self, rows: lambda row: np.full(1000 + 10 * row, 7, np.int16)
    )
    datamodule = synthetic(sample=SOUND, cache_dir=synthetic().cache_dir / "padded")
    batch = next(iter(datamodule.val_dataloader()))
    lengths = (~batch["sound"].isnan()).sum(1)
    rows = datamodule.samples.loc[batch["index"].numpy(), "clip_row"].to_numpy()
    assert lengths.tolist() == (1000 + 10 * rows).tolist()
    assert batch["sound"].shape[1] == lengths.max()
    assert not batch["sound"][lengths.argmin(), : lengths.min()].isnan().any()


def test_clip_has_evenly_spaced_frames_in_order(synthetic):
    datamodule = synthetic(sample=CLIP, frames=6)
    batch = next(iter(datamodule.test_dataloader()))
    assert batch["image"].shape == (16, 3, 3, 28, 28)
    assert batch["image"].dtype == torch.uint8
    for index, frames in zip(batch["index"].numpy(), batch["image"], strict=True):
        clip = datamodule.samples.loc[index, "clip"]
        rows = datamodule.manifest[datamodule.manifest["clip"] == clip].sort_values("frame")["cache_row"].to_numpy()
        assert np.array_equal(frames.permute(0, 2, 3, 1).numpy(), datamodule.face_cache[rows[[1, 3, 5]]])
    assert datamodule.on_after_batch_transfer(batch, 0)["image"].max() <= 1


def test_centre_window_leaves_out_ends_and_short_clips_repeat_frames():
    assert Sample(["image"], frames=2).positions(8).tolist() == [2, 6]
    assert Sample(["image"], frames=2, window="centre").positions(8).tolist() == [3, 5]
    assert Sample(["image"], frames=4).positions(2).tolist() == [0, 0, 1, 1]


def test_clip_with_sound_has_both_of_the_same_clip(synthetic):
    datamodule = synthetic(sample=Sample(["image", "sound"], frames=2))
    batch = next(iter(datamodule.test_dataloader()))
    rows = datamodule.samples.loc[batch["index"].numpy()]
    assert batch["image"].shape[:2] == (16, 2)
    store = datamodule.stores["sound"]
    assert np.array_equal(batch["sound"].numpy(), store.view(rows["clip_row"].to_numpy()))
    clips = datamodule.manifest.drop_duplicates("clip")["clip"].tolist()
    assert [clips[row] for row in rows["clip_row"]] == rows["clip"].tolist()


def test_frames_of_a_clip_are_augmented_alike(synthetic):
    import albumentations as A

    flip = A.Compose([A.HorizontalFlip(p=0.5)])
    datamodule = synthetic(sample=CLIP, augmentation=flip)
    batch = next(iter(datamodule.train_dataloader()))
    rows = datamodule.sample.frame_rows(datamodule.manifest, datamodule.samples.loc[batch["index"].numpy()])
    flipped = []
    for frames, own in zip(batch["image"].permute(0, 1, 3, 4, 2).numpy(), datamodule.face_cache[rows], strict=True):
        same = [np.array_equal(frame, each) for frame, each in zip(frames, own, strict=True)]
        mirrored = [np.array_equal(frame, each[:, ::-1]) for frame, each in zip(frames, own, strict=True)]
        assert all(same) or all(mirrored)
        flipped.append(all(mirrored))
    assert 0 < sum(flipped) < len(flipped)


def of_epoch(datamodule, epoch, workers=0):
    datamodule.num_workers = workers
    loader = datamodule.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return torch.cat([batch["sound"].nan_to_num(9.0) for batch in loader if batch["sound"].shape[1] > 0][:1])


def test_sound_augmentation_is_seeded_by_epoch_and_sample(synthetic):
    datamodule = synthetic(sample=SOUND, sound_augmentation=SoundAugmentation(p=1.0, speed=0, shift_seconds=0))
    first = of_epoch(datamodule, 0)
    assert torch.equal(first, of_epoch(datamodule, 0))
    assert torch.equal(first, of_epoch(datamodule, 0, workers=2))
    assert not torch.equal(first, of_epoch(datamodule, 1))
    plain = synthetic(sample=SOUND)
    assert not torch.equal(first, of_epoch(plain, 0))
    loaded = next(iter(datamodule.val_dataloader()))["sound"]
    assert torch.equal(loaded, next(iter(plain.val_dataloader()))["sound"])  # only training is augmented


def test_each_augmentation_does_what_it_says():
    tone = np.sin(np.arange(16_000) * 0.3).astype(np.float32)
    off = {"gain_db": 0, "noise_snr_db": None, "shift_seconds": 0, "speed": 0, "p": 1}

    def changed(**options):
        return SoundAugmentation(**{**off, **options})(tone, np.random.default_rng(0))

    assert np.array_equal(changed(), tone)
    gain = changed(gain_db=6)
    ratio = gain.std() / tone.std()
    assert np.allclose(gain, tone * ratio, atol=1e-5)
    assert 0.5 < ratio < 2
    noise = changed(noise_snr_db=[20, 20]) - tone
    assert 20 * np.log10(tone.std() / noise.std()) == pytest.approx(20, abs=0.3)
    assert not np.array_equal(changed(shift_seconds=0.1), tone)
    lengths = set()
    for seed in range(6):
        changed_speed = SoundAugmentation(**{**off, "speed": 0.2})(tone, np.random.default_rng(seed))
        peak = np.abs(np.fft.rfft(changed_speed, 2**18)).argmax() / np.abs(np.fft.rfft(tone, 2**18)).argmax()
        if len(changed_speed) < len(tone):
            assert peak == pytest.approx(len(tone) / len(changed_speed), rel=0.01)
        else:  # the end of a slower sound is cut off
            assert 0.8 < peak < 1
        lengths.add(len(changed_speed) < len(tone))
    assert lengths == {False, True}


@pytest.mark.parametrize("count", [416, 900, 16_000])
def test_augmented_sounds_keep_to_the_limits_of_encoders(count):
    augmentation = SoundAugmentation(p=1.0)
    for seed in range(100):
        found = len(augmentation(np.ones(count, np.float32), np.random.default_rng(seed)))
        assert min(count, 800) <= found <= count


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (lambda: Sample(["smell"]), "sample.modalities"),
        (lambda: Sample([]), "sample.modalities"),
        (lambda: Sample(["image"], frames=0), "sample.frames=0"),
        (lambda: Sample(["image"], frames=2, window="end"), "sample.window=end"),
        (lambda: Sample(["image", "sound"]), "give sample.frames"),
        (lambda: SoundAugmentation(p=2), "sound_augmentation.p=2"),
        (lambda: SoundAugmentation(noise_snr_db=[30, 10]), "noise_snr_db"),
    ],
)
def test_invalid_settings_are_errors(made, match):
    with pytest.raises(InputError, match=match):
        made()


def test_rendered_subjects_have_no_feature_tables(synthetic):
    with pytest.raises(InputError, match="no feature tables"):
        synthetic(sample=Sample(["features"]))


def test_equal_sounds_in_two_subsets_are_a_leak(synthetic, monkeypatch, tmp_path):
    monkeypatch.setattr(
        RenderedSubjects, "open_sounds", lambda self, rows: lambda row: np.full(2000, row // 2, np.int16)
    )
    datamodule = synthetic(sample=SOUND, cache_dir=tmp_path, split=alternating)
    assert datamodule.audit.near_duplicates.count > 0


def alternating(manifest):
    return np.array(["train", "test", "val"])[(np.arange(len(manifest)) // 8 + np.arange(len(manifest)) % 2) % 3]


def test_full_disk_is_one_sentence(synthetic, monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match="has no room: make room, or set cache_dir"):
        synthetic(sample=SOUND, cache_dir=tmp_path)
    assert not list(tmp_path.rglob("sound.bin"))


def test_a_split_of_frames_draws_whole_clips_if_they_are_samples(synthetic):
    split = partial(splits.random_frames, val=0.2, test=0.2, seed=0)
    frames = synthetic(split=split, identities=6, clips=1, frames=4)
    assert frames.manifest.groupby("clip")["split"].nunique().max() > 1
    clips = synthetic(split=split, sample=Sample(["image"], frames=2), identities=6, clips=1, frames=4)
    assert clips.manifest.groupby("clip")["split"].nunique().max() == 1
    assert clips.samples["split"].value_counts().to_dict() == {"train": 28, "val": 10, "test": 10}
