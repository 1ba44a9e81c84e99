"""Cached features: the same results, computed once."""

import importlib.util
import re
import sys
from functools import partial
from multiprocessing import get_context

import albumentations as A
import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from fervid import splits
from fervid.callbacks import FreezeThenFineTune, OutputCollector
from fervid.data.exact_views import flip_probability
from fervid.models.heads import LinearHead
from fervid.models.network import Network
from fervid.models.paper_backbones import LeNet
from fervid.tasks.classification import EmotionClassifier

FROZEN = [{"name": "frozen", "epochs": 3, "unfreeze_from": "head"}]
MIDDLE = [{"name": "middle", "epochs": 3, "unfreeze_from": "conv2"}]
NOISE = {"augmentation": A.Compose([A.GaussNoise(std_range=(0.3, 0.3), p=1.0)])}


def features_of(datamodule):
    return sorted((datamodule.folder / "features").glob("*.npy"))


@pytest.fixture
def private(tmp_path):
    """A corpus whose cache no other test has filled."""
    return {"cache_dir": tmp_path / "cache"}


class Count(pl.Callback):
    """Counts the passes of 64 pictures, of which some may be padding, through the first convolution."""

    def __init__(self):
        self.passes = 0

    def setup(self, trainer, pl_module, stage):
        def count(module, inputs):
            self.passes += len(inputs[0]) > 1  # a single picture only measures the shape of the features

        pl_module.backbone.network.conv1.register_forward_pre_hook(count)


@pytest.mark.parametrize("phases", [FROZEN, MIDDLE])
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_training_on_cached_features_equals_training_on_pictures(fit, private, phases, head):
    outcomes = []
    for gigabytes in (0.0, 1.0):
        collector = OutputCollector()
        trainer, model, finetune, datamodule = fit(
            phases, head=head, data=private, cache_gb=gigabytes, callbacks=[collector]
        )
        trainer.test(model, datamodule, verbose=False)
        outcomes.append((collector.values["probabilities"], collector.index, finetune.history))
        assert bool(features_of(datamodule)) == bool(gigabytes)
    plain, cached = outcomes
    assert np.array_equal(plain[1], cached[1])
    assert np.array_equal(plain[0].argmax(1), cached[0].argmax(1))
    assert np.abs(plain[0] - cached[0]).max() < 1e-6
    assert [row["val/uar"] for row in plain[2]] == [row["val/uar"] for row in cached[2]]


def test_epoch_with_frozen_backbone_does_not_run_it(fit, private):
    count = Count()
    fit(FROZEN, data=private, callbacks=[count])
    assert count.passes == 2  # for 96 frames, once each


def test_sweep_jobs_share_features(fit, private):
    for batch_size in (8, 16):
        count = Count()
        _, _, _, datamodule = fit(FROZEN, data={**private, "batch_size": batch_size}, callbacks=[count])
        assert len(features_of(datamodule)) == 1
    assert count.passes == 0


def test_features_of_both_phases_are_computed_in_one_pass(fit, private):
    count = Count()
    _, _, _, datamodule = fit(data=private, callbacks=[count])
    assert len(features_of(datamodule)) == 2
    assert count.passes == 2


def test_file_name_depends_on_everything_that_determines_features(fit, private, lenet):
    _, _, _, datamodule = fit(FROZEN, data=private)
    before = features_of(datamodule)
    fit(FROZEN, data=private, head="linear")  # pools instead of flattening
    fit(FROZEN, data={**private, **NOISE})
    assert len(features_of(datamodule)) == len(before) + 1  # only pictures, which are already there
    fit(FROZEN, data={**private, **NOISE}, cached_views=1)
    assert len(features_of(datamodule)) == len(before) + 2
    fit(FROZEN, data={**private, "augmentation": A.Compose([A.HorizontalFlip(p=0.5)])}, cached_views=1)
    fit(FROZEN, data={**private, **NOISE, "seed": 7}, cached_views=1)
    assert len(features_of(datamodule)) == len(before) + 4

    class OtherWeights(pl.Callback):
        def setup(self, trainer, pl_module, stage):
            with torch.no_grad():
                pl_module.backbone.network.conv1.bias += 1e-3

    now = len(features_of(datamodule))
    fit(FROZEN, data=private, callbacks=[OtherWeights()])
    assert len(features_of(datamodule)) == now + 1


def test_edited_code_of_a_frozen_stage_is_not_served_old_features(fit, private, tmp_path):
    code = "from torch.nn import Conv2d\nclass Conv(Conv2d):\n    def forward(self, x): return {}super().forward(x)\n"

    class OwnConv(pl.Callback):
        def __init__(self, factor):
            path = tmp_path / "own_conv.py"
            path.write_text(code.format(factor))
            spec = importlib.util.spec_from_file_location("own_conv", path)
            sys.modules["own_conv"] = self.module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self.module)

        def setup(self, trainer, pl_module, stage):
            pl_module.backbone.network.conv1.__class__ = self.module.Conv

    numbers = []
    for factor in ("", "2 * "):
        _, _, _, datamodule = fit(FROZEN, data=private, callbacks=[OwnConv(factor)])
        numbers.append(len(features_of(datamodule)))
    assert numbers == [1, 2]


FLIP = {"augmentation": A.Compose([A.HorizontalFlip(p=0.5)])}


class ServedFeatures(pl.Callback):
    """Collects the features of training frames, sorted by frame, of each epoch."""

    def __init__(self):
        self.epochs = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            self.epochs.append({})
        for index, features in zip(batch["index"].tolist(), batch["image_features"], strict=True):
            self.epochs[-1][index] = features


def test_flips_are_cached_exactly(fit, private):
    served, count = ServedFeatures(), Count()
    _, model, _, datamodule = fit(FROZEN, data={**private, **FLIP}, callbacks=[served, count])
    assert count.passes == 2 + 1  # 96 frames, and the mirror images of the 32 training frames alone
    index = sorted(served.epochs[0])
    frames = datamodule.dataset("train")
    faces = torch.stack([frames[position]["image"] for position in range(len(frames))]).float() / 255
    branch = model.network.branches["image"].eval()
    plain, flipped = (branch.frozen_prefix(pictures).numpy() for pictures in (faces, faces.flip(3)))
    draws = []
    for epoch in served.epochs:
        found = np.stack([epoch[row].numpy() for row in index])
        is_plain = np.isclose(found, plain, atol=1e-5).all(1)
        is_flipped = np.isclose(found, flipped, atol=1e-5).all(1)
        assert (is_plain | is_flipped).all()
        assert 0.2 < is_flipped.mean() < 0.8
        draws.append(tuple(is_flipped))
    assert len(set(draws)) == len(draws)


def three_folds(fold):
    return partial(splits.subject_kfold, k=3, fold=fold, val=0.34, seed=0)


def test_folds_compute_only_what_is_missing(fit, private, caplog):
    caplog.set_level("INFO", "fervid")
    lines = []
    for fold in (0, 1, 0):
        caplog.clear()
        fit(FROZEN, data={**private, **FLIP, "split": three_folds(fold)})
        (line,) = [message for message in caplog.messages if message.startswith("cached features")]
        lines.append(line)
    assert re.fullmatch(
        r"cached features of conv1 to pool2: 96 pictures and 32 mirror images \(0.2 MiB; 128 are computed now, once\), "
        r"which saves \d+% of the computation per picture.",
        lines[0],
    )
    assert (
        0 < int(re.search(r"(\d+) are computed now", lines[1])[1]) <= 32
    )  # no picture again, and no known mirror image
    assert "all are in the cache" in lines[2]


class AlgorithmByBatchSize(pl.Callback):
    """A first layer whose results depend on the size of the batch, as the choice of an algorithm by a library may."""

    def setup(self, trainer, pl_module, stage):
        conv = pl_module.backbone.network.conv1
        if not conv._forward_hooks:
            conv.register_forward_hook(lambda module, inputs, output: output * (1 + 0.01 * len(output)))


@pytest.mark.parametrize("augmentation", [{}, FLIP, NOISE], ids=["none", "flip", "noise"])
def test_fold_with_cold_and_with_warm_cache_is_bit_identical(fit, tmp_path, augmentation):
    """The warm cache was filled by other folds, so that other pictures were computed together."""

    def trained(fold, cache):
        collector = OutputCollector()
        data = {"cache_dir": tmp_path / cache, "split": three_folds(fold), **augmentation}
        callbacks = [collector, AlgorithmByBatchSize()]
        trainer, model, finetune, datamodule = fit(FROZEN, data=data, callbacks=callbacks, cached_views=2)
        trainer.test(model, datamodule, verbose=False)
        scores = [{name: value for name, value in row.items() if name != "seconds"} for row in finetune.history]
        return collector.values["probabilities"], scores

    cold = trained(2, "cold")
    trained(0, "warm"), trained(1, "warm")
    warm = trained(2, "warm")
    assert np.array_equal(cold[0], warm[0])
    assert cold[1] == warm[1]


def test_cached_features_equal_computed_ones(fit, private, lenet):
    served = ServedFeatures()
    _, model, _, datamodule = fit(MIDDLE, data=private, callbacks=[served])
    frames = datamodule.dataset("train")
    faces = torch.stack([frames[position]["image"] for position in range(len(frames))]).float() / 255
    computed = model.network.branches["image"].eval().frozen_prefix(faces)
    index = [int(frames[position]["index"]) for position in range(len(frames))]
    found = torch.stack([served.epochs[0][row] for row in index])
    torch.testing.assert_close(found, computed, atol=1e-6, rtol=1e-6)


def train_fold(datamodule, file):
    """Trains the head and saves the test probabilities."""
    torch.set_num_threads(1)  # the threads of the parent do not exist in a forked process
    torch.manual_seed(0)
    backbone, collector = LeNet(), OutputCollector()
    model = EmotionClassifier(Network.of_pictures(backbone, LinearHead(backbone.output_shape(), 8)), datamodule.target)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[FreezeThenFineTune([FROZEN[0] | {"epochs": 1}]), collector],
        default_root_dir=file.parent,
    )
    trainer.fit(model, datamodule)
    trainer.test(model, datamodule, verbose=False)
    np.save(file, collector.values["probabilities"])


def test_two_processes_fill_one_cache(tmp_path, synthetic):
    def start(cache, fold, name):
        datamodule = synthetic(cache_dir=tmp_path / cache, split=three_folds(fold))  # OpenCV hangs in a forked process
        file = tmp_path / f"{name}{fold}.npy"
        process = get_context("fork").Process(target=train_fold, args=(datamodule, file))
        process.start()
        return process, file

    runs = [start("shared", fold, "together") for fold in (0, 1)] + [start(f"own{n}", n, "alone") for n in (0, 1)]
    for process, _ in runs:
        process.join(120)
        assert process.exitcode == 0
    assert len(list((tmp_path / "shared").glob("*/features/*.npy"))) == 1
    together, alone = ([np.load(file) for _, file in part] for part in (runs[:2], runs[2:]))
    assert all(np.array_equal(one, other) for one, other in zip(together, alone, strict=True))


@pytest.mark.parametrize(
    ("transforms", "expected"),
    [
        ([A.HorizontalFlip(p=0.5)], 0.5),
        ([A.HorizontalFlip(p=1.0)], 1.0),
        ([A.HorizontalFlip(p=0.5), A.HorizontalFlip(p=0.25)], 0.5),
        ([A.HorizontalFlip(p=0.1), A.HorizontalFlip(p=0.2)], 0.1 * 0.8 + 0.9 * 0.2),
        ([], 0.0),
        ([A.HorizontalFlip(p=0.5), A.GaussNoise()], None),
        ([A.OneOf([A.HorizontalFlip(p=0.5)])], None),
    ],
)
def test_probability_of_a_flip(transforms, expected):
    assert flip_probability(A.Compose(transforms)) == (expected if expected is None else pytest.approx(expected))
    assert flip_probability(A.Compose(transforms, p=0.5)) is None


def test_features_are_not_served_to_another_model(fit, private, lenet):
    _, _, _, datamodule = fit(FROZEN, data=private)
    other = lenet()
    torch.nn.init.normal_(other.backbone.network.conv1.weight)
    other.network.freeze_before(other.network.stage_numbers("head"))  # the features would also match this model
    quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    served = OutputCollector()
    pl.Trainer(**quiet, callbacks=[served]).test(other, datamodule, verbose=False)
    batch = datamodule.dataset("test").__getitems__(list(range(len(served.index))))
    with torch.no_grad():
        expected = other.eval()(batch["image"].float() / 255).softmax(1)
    assert np.abs(served.values["probabilities"] - expected.numpy()).max() < 1e-6


def test_views_do_not_depend_on_batch_size(fit, private):
    drawn = []
    for batch_size, folder in ((8, "one"), (4, "other")):
        data = {**NOISE, "batch_size": batch_size, "cache_dir": private["cache_dir"] / folder}
        _, _, _, datamodule = fit(FROZEN, data=data, cached_views=1)
        drawn.append(sorted(np.load(path).sum() for path in features_of(datamodule)))
    assert drawn[0] == drawn[1]


def test_augmentation_without_views_trains_on_pictures(fit, private):
    class Loaders(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            assert "image" in batch

        def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx):
            assert "image_features" in batch

    fit(FROZEN, data={**private, **NOISE}, callbacks=[Loaders()])


def test_views_alternate_over_epochs(fit, private):
    seen = []

    class Loaders(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            order = batch["index"].argsort()
            seen.append((trainer.current_epoch, batch["index"][order], batch["image_features"][order]))

    phases = [{"name": "frozen", "epochs": 4, "unfreeze_from": "head"}]
    fit(phases, data={**private, **NOISE, "batch_size": 32}, cached_views=2, callbacks=[Loaders()])
    epochs = {epoch: features for epoch, _, features in seen}
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(epochs[0], epochs[2])
    assert torch.equal(epochs[1], epochs[3])


def test_features_larger_than_limit_are_not_cached(fit, private, caplog):
    with caplog.at_level("INFO"):
        _, _, _, datamodule = fit(FROZEN, data=private, cache_gb=1e-5)
    assert not features_of(datamodule)
    assert "features of conv1 to pool2 of val and train and test are not cached" in caplog.text


def test_limit_leaves_out_the_subsets_that_do_not_fit(fit, private, caplog):
    class Loaders(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            assert "image" in batch

        def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx):
            assert "image_features" in batch

    room = 70 * 400 * 4 / 2**30  # for 70 of 96 pictures and 32 mirror images
    with caplog.at_level("INFO"):
        fit(FROZEN, data={**private, **FLIP}, cache_gb=room, callbacks=[Loaders()])
    assert "cached features of conv1 to pool2: 64 pictures" in caplog.text
    assert "features of conv1 to pool2 of train are not cached, since they need 0.2 MiB" in caplog.text


def test_partially_written_features_are_not_used(fit, private, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fervid.data.datamodule.EmotionDataModule.on_after_batch_transfer", stop)
        with pytest.raises(SystemExit):
            fit(FROZEN, data=private)
    count = Count()
    fit(FROZEN, data=private, callbacks=[count])
    assert count.passes == 2
