import albumentations as A
import numpy as np
import pytest
import torch

from fervid.data.datasets import EpochSampler


def order(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


def test_order_depends_only_on_seed_and_epoch():
    one, same, other = EpochSampler(50, seed=1), EpochSampler(50, seed=1), EpochSampler(50, seed=2)
    assert order(one, 3) == order(same, 3)
    assert order(one, 3) != order(one, 4)
    assert order(one, 3) != order(other, 3)
    assert sorted(order(one, 3)) == list(range(50))


def test_frames_are_distributed_over_ranks():
    samplers = [EpochSampler(11, seed=1) for _ in range(2)]
    for rank, sampler in enumerate(samplers):
        sampler.rank, sampler.ranks = rank, 2
    first, second = (list(sampler) for sampler in samplers)
    assert len(first) == len(second) == len(samplers[0]) == 5
    assert not set(first) & set(second)


def test_weights_balance_classes():
    labels = np.array([0] * 900 + [1] * 100)
    sampler = EpochSampler(1000, seed=0, weights=1 / np.bincount(labels)[labels])
    assert labels[list(sampler)].mean() == pytest.approx(0.5, abs=0.06)


def test_batches_have_documented_shapes_and_types(synthetic):
    datamodule = synthetic()
    everyone = 32  # frames of each subset; evaluation uses larger batches
    for loader, frames in (
        (datamodule.train_dataloader(), 8),
        (datamodule.val_dataloader(), everyone),
        (datamodule.test_dataloader(), everyone),
    ):
        batch = datamodule.on_after_batch_transfer(next(iter(loader)), 0)
        assert batch["image"].shape == (frames, 3, 28, 28)
        assert batch["image"].dtype == torch.float32
        assert 0 <= batch["image"].min() < 0.5 < batch["image"].max() <= 1
        assert batch["image"].is_contiguous(memory_format=torch.channels_last)
        assert batch["emotion"].dtype == batch["index"].dtype == torch.int64
        emotions = datamodule.manifest.loc[batch["index"].numpy(), "emotion"]
        assert [datamodule.class_names[label] for label in batch["emotion"]] == emotions.tolist()


def epoch_of(loader, epoch):
    loader.sampler.set_epoch(epoch)
    batches = list(loader)
    return torch.cat([b["image"] for b in batches]), torch.cat([b["index"] for b in batches])


@pytest.fixture
def shifting(synthetic):
    def make(**options):
        shift = A.Compose([A.Affine(translate_px=(-8, 8), p=1.0), A.RandomBrightnessContrast(p=1.0)])
        return synthetic(augmentation=shift, **options).train_dataloader()

    return make


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_differs_between_epochs_and_is_reproducible(shifting, workers):
    loader = shifting(num_workers=workers)
    first, rows = epoch_of(loader, 0)
    second, later_rows = epoch_of(loader, 1)
    again, _ = epoch_of(shifting(num_workers=workers), 0)
    other, _ = epoch_of(shifting(num_workers=workers, seed=7), 0)
    assert torch.equal(first, again)
    same_frame = [(first[rows == row], second[later_rows == row]) for row in rows]
    assert not any(torch.equal(one, two) for one, two in same_frame)
    assert not torch.equal(first, other)


def test_batches_do_not_depend_on_number_of_workers(shifting):
    for epoch in (0, 5):
        alone, rows = epoch_of(shifting(), epoch)
        shared, shared_rows = epoch_of(shifting(num_workers=2), epoch)
        assert torch.equal(rows, shared_rows)
        assert torch.equal(alone, shared)


def test_workers_draw_different_augmentations(synthetic):
    """A common error: all workers copy one generator, so that batches 0 and 1 are shifted in the same way."""
    noise = A.Compose([A.GaussNoise(std_range=(0.2, 0.2), p=1.0)])
    datamodule = synthetic(augmentation=noise, num_workers=2)
    loader = datamodule.train_dataloader()
    noisy, rows = epoch_of(loader, 0)
    plain = datamodule.dataset("train")
    position = {row: number for number, row in enumerate(plain.index.tolist())}
    clean = plain.__getitems__([position[row] for row in rows.tolist()])["image"]
    drawn = (noisy.int() - clean.int()).flatten(1)
    # Clipping depends on the picture, but two frames with the same noise would still agree in most pixels.
    agreement = (drawn[0] == drawn[8]).float().mean()
    assert agreement < 0.2


def test_validation_is_not_augmented(synthetic):
    flip = A.Compose([A.HorizontalFlip(p=1.0)])
    one, other = synthetic(augmentation=flip), synthetic()
    for loader, plain in (
        (one.val_dataloader(), other.val_dataloader()),
        (one.test_dataloader(), other.test_dataloader()),
    ):
        assert torch.equal(next(iter(loader))["image"], next(iter(plain))["image"])
