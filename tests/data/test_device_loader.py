import weakref
from types import SimpleNamespace

import albumentations as A
import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from fervid.callbacks import EpochSeed, FreezeThenFineTune
from fervid.data import loading as loading_module
from fervid.data.datamodule import EVALUATION_BATCH_SIZE
from fervid.data.datasets import EpochSampler, SampleDataset
from fervid.data.device_loader import DeviceLoader, to_device
from fervid.data.inputs import Cached, CachedFeatures

CPU = torch.device("cpu")


def device_loader(datamodule, subset="train", *, augment=False, epoch=0, batch_size=8, drop_last=False):
    sampler = EpochSampler(int((datamodule.manifest["split"] == subset).sum()), seed=3, epoch=epoch)
    dataset = datamodule.dataset(subset, augment=augment, epoch=sampler.epoch)
    source = to_device(datamodule.face_cache.faces, CPU)
    loader = DeviceLoader(dataset, lambda: [[source]], batch_size=batch_size, sampler=sampler, drop_last=drop_last)
    return loader, sampler


def test_batches_equal_those_of_dataloader(synthetic):
    datamodule = synthetic(batch_size=5)
    loader, sampler = device_loader(datamodule, batch_size=5)
    usual = torch.utils.data.DataLoader(
        datamodule.dataset("train"), batch_size=5, sampler=sampler, collate_fn=lambda batch: batch
    )
    pairs = list(zip(loader, usual, strict=True))
    assert len(loader) == len(usual) == len(pairs) > 3
    for ours, theirs in pairs:
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert ours["image"].is_contiguous(memory_format=torch.channels_last)


def test_batch_is_not_kept_alive_during_step(synthetic):
    loader, _ = device_loader(synthetic())
    batches = iter(loader)
    batch = next(batches)
    image = weakref.ref(batch["image"])
    del batch
    assert image() is None  # its memory is free for the next batch


def test_drop_last_drops_smaller_last_batch(synthetic):
    datamodule = synthetic()
    loader, _ = device_loader(datamodule, batch_size=5, drop_last=True)
    batches = list(loader)
    assert len(batches) == len(loader) == 32 // 5
    assert {len(batch["emotion"]) for batch in batches} == {5}


def test_order_depends_on_epoch(synthetic):
    loader, sampler = device_loader(synthetic())
    first = torch.cat([batch["index"] for batch in loader])
    sampler.set_epoch(1)
    second = torch.cat([batch["index"] for batch in loader])
    assert not torch.equal(first, second)
    assert torch.equal(first.sort().values, second.sort().values)


def test_augmentation_depends_only_on_seed_and_epoch(synthetic):
    datamodule = synthetic(augmentation=A.Compose([A.Affine(rotate=(-20, 20), p=1.0)]))
    pictures = [
        torch.cat([batch["image"] for batch in device_loader(datamodule, augment=True, epoch=epoch)[0]])
        for epoch in (0, 0, 1)
    ]
    assert pictures[0].dtype == torch.float32
    assert 0 <= pictures[0].min() < 0.2
    assert 0.5 < pictures[0].max() <= 1
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


def test_feature_views_alternate_over_epochs():
    features = np.arange(2 * 6 * 3, dtype=np.float32).reshape(2, 6, 3)
    epoch = torch.tensor(0)
    inputs = Cached("image", CachedFeatures(tuple(features), np.array([5, 1, 3])))
    dataset = SampleDataset([inputs], np.arange(3), {}, epoch=epoch)
    loader = DeviceLoader(dataset, lambda: [[to_device(array, CPU) for array in inputs.arrays]], batch_size=2)
    for turn in (0, 1, 2):
        epoch.fill_(turn)
        served = torch.cat([batch["image_features"] for batch in loader]).numpy()
        np.testing.assert_array_equal(served, features[turn % 2][[5, 1, 3]])


def test_drawn_views_equal_those_of_dataloader():
    plain, mirrored = np.random.default_rng(0).random((2, 50, 3), dtype=np.float32)
    cached = CachedFeatures((plain, mirrored), np.arange(0, 50, 2), (0.5, 0.5), mirrored)
    inputs = Cached("image", cached, seed=4)
    dataset = SampleDataset([inputs], np.arange(25), {})
    loader = DeviceLoader(dataset, lambda: [[torch.from_numpy(array) for array in inputs.arrays]], batch_size=4)
    for start, batch in zip(range(0, 25, 4), loader, strict=True):
        expected = dataset.__getitems__(list(range(start, min(start + 4, 25))))
        assert batch.keys() == expected.keys() == {"image_features", "image_features_mirrored", "index"}
        assert all(torch.equal(batch[name], expected[name]) for name in batch)


def test_gpu_keeps_one_copy_of_features_for_all_subsets(synthetic, on_gpu):
    datamodule, model = on_gpu(synthetic()), torch.nn.Identity()
    datamodule.trainer.lightning_module = model
    plain, mirrored = np.zeros((96, 5), np.float32), np.zeros((96, 5), np.float32)
    rows = {subset: datamodule.input_rows("image", subset) for subset in ("train", "val")}
    features = {
        "train": {"image": CachedFeatures((plain, mirrored), rows["train"], (0.5, 0.5))},
        "val": {"image": CachedFeatures((plain,), rows["val"])},
    }
    datamodule.use_features(features, model)
    (train,), (val,) = datamodule.train_dataloader().source(), datamodule.val_dataloader().source()
    assert (len(train), len(val)) == (2, 1)
    assert train[0] is val[0]


def test_large_array_is_copied_in_chunks(monkeypatch):
    monkeypatch.setattr("fervid.data.device_loader.CHUNK_BYTES", 1000)
    parts = []
    watched = SimpleNamespace(array=lambda part: parts.append(part.nbytes) or np.array(part), empty=np.empty)
    monkeypatch.setattr("fervid.data.device_loader.np", watched)
    for one in (
        np.random.default_rng(0).integers(0, 255, (31, 8, 8, 3), dtype=np.uint8),
        np.random.default_rng(0).random((1, 500, 7), dtype=np.float32),  # one view of features
    ):
        copy = to_device(one, CPU)
        np.testing.assert_array_equal(copy.numpy(), one)
        assert sum(parts) == one.nbytes
        assert max(parts) <= 1000
        parts.clear()


@pytest.fixture
def on_gpu(monkeypatch):
    """A datamodule that treats the CPU as a GPU."""

    def pretend(datamodule, room=2**30):
        monkeypatch.setattr(
            loading_module, "fits", lambda arrays, device: sum(array.nbytes for array in arrays) <= room
        )
        monkeypatch.setattr(loading_module, "to_device", lambda array, device: to_device(array, CPU))
        progress = SimpleNamespace(current=SimpleNamespace(processed=0))
        datamodule.trainer = SimpleNamespace(
            strategy=SimpleNamespace(root_device=torch.device("cuda")),
            lightning_module=None,
            fit_loop=SimpleNamespace(epoch_progress=progress),
        )
        return datamodule

    return pretend


def test_gpu_keeps_one_copy_of_faces_for_all_subsets(synthetic, on_gpu):
    datamodule = on_gpu(synthetic())
    train, val = datamodule.train_dataloader(), datamodule.val_dataloader()
    assert isinstance(train, DeviceLoader)
    assert train.source()[0][0] is val.source()[0][0]
    assert (train.batch_size, val.batch_size) == (8, EVALUATION_BATCH_SIZE)
    assert sum(len(batch["emotion"]) for batch in val) == 32


def test_arrays_too_large_for_gpu_are_loaded_from_disk(synthetic, on_gpu):
    assert isinstance(on_gpu(synthetic(), room=1000).train_dataloader(), torch.utils.data.DataLoader)


def test_unsupported_augmentation_runs_on_cpu(synthetic, on_gpu, caplog):
    caplog.set_level("INFO", "fervid")
    datamodule = on_gpu(synthetic(augmentation=A.Compose([A.CLAHE(p=1.0)])))
    assert isinstance(datamodule.train_dataloader(), torch.utils.data.DataLoader)
    assert isinstance(datamodule.val_dataloader(), DeviceLoader)
    assert "CLAHE of the augmentation runs on the CPU" in caplog.text


def trained(datamodule, model, folder):
    """Two phases, so that training switches between features and pictures."""
    phases = [
        {"name": "frozen", "epochs": 2, "unfreeze_from": "head"},
        {"name": "full", "epochs": 2, "unfreeze_from": "all"},
    ]
    finetune = FreezeThenFineTune(phases, folder=folder)
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=[finetune, EpochSeed(0)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=4,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )
    trainer.fit(model, datamodule)
    return [{name: value for name, value in row.items() if name != "seconds"} for row in finetune.history]


def test_training_on_device_equals_training_from_disk(synthetic, lenet, monkeypatch, tmp_path):
    from_disk, on_device = lenet(), lenet()
    history = trained(synthetic(), from_disk, tmp_path / "disk")
    served = []

    def resident_arrays(self, dataset, device):
        served.extend(type(inputs).__name__ for inputs in dataset.inputs)
        return lambda: [[self._copy_on(array, CPU) for array in inputs.arrays] for inputs in dataset.inputs]

    monkeypatch.setattr(loading_module.Loading, "_on_device", resident_arrays)
    assert trained(synthetic(), on_device, tmp_path / "device") == history
    assert {"Cached", "Pictures"} <= set(served)
    ours, theirs = on_device.state_dict(), from_disk.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
