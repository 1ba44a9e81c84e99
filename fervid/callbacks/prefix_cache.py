"""Caches the features of frozen stages, which are the same in every epoch.

The files are stored next to the corpus's faces. Their names contain a hash of everything that determines the features
(the faces, the weights of the frozen stages, the augmentation and the precision), so that the jobs of a sweep share
them and a changed setting never reads an outdated file.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from rich import get_console
from rich.progress import Progress
from torch.utils.data import DataLoader

from fervid.data.datasets import CachedFeatures, FrameDataset, already_a_batch
from fervid.data.exact_views import flip_probability
from fervid.data.frame_datamodule import FrameDataModule
from fervid.errors import InputError
from fervid.processes.lifetime import end_with_parent
from fervid.schema.manifest import SPLITS
from fervid.storage.array_files import allocate
from fervid.storage.atomic import writing
from fervid.tasks.task import Task

log = logging.getLogger(__name__)

BATCH_SIZE = 64  # pictures; independent of the run's batch size, so that jobs with different batch sizes share features


class PrefixCache:
    """Cached features of the frozen stages for each subset.

    Without augmentation and mixing (mixup, CutMix), all frames are cached once, and training on the features is
    equivalent to training on the pictures. The same holds for an augmentation that only flips: every frame and its
    mirror image are cached, and each training frame draws one of the two in every epoch (with a balanced sampler once
    per epoch, not for each time that it is drawn). The features are shared by all
    folds, seeds and jobs.

    With any other augmentation, each training frame is cached in ``cached_views`` augmented views, which alternate over
    the epochs. With ``cached_views=None`` only validation and test are cached, since a finite number of views would
    change the training data.

    Args:
        gigabytes: maximum size of one feature file in GiB (a phase has one file, or two with ``cached_views``). If the
            features are larger, the phase trains on pictures. 0: never cache.
        cached_views: number of augmented views per training frame, or None.
    """

    def __init__(self, gigabytes: float, cached_views: int | None):
        self.gigabytes, self.cached_views = gigabytes, cached_views

    def features(
        self, trainer: pl.Trainer, model: Task, datamodule: FrameDataModule, stages: Sequence[int]
    ) -> dict[str, CachedFeatures]:
        """Returns the input features of stage ``stages[0]``, read from disk or computed.

        Args:
            trainer: provides device and precision.
            model: model with the frozen stages.
            datamodule: provides the frames.
            stages: number of the stage whose input is returned, followed by stages of later phases whose preceding
                weights do not change until then. If features must be computed, those of the later stages are computed
                in the same pass.

        Returns:
            The features of each cached subset.
        """
        if stages[0] == 0 or self.gigabytes <= 0 or trainer.world_size > 1:
            return {}
        samples, augmentation = datamodule.samples, datamodule.augmentation
        if model.mixing is not None and self.cached_views:
            raise InputError(
                f"finetune.cached_views={self.cached_views} cannot be used with mixup or CutMix, which mix pictures: "
                "set it to null, or task.mixup and task.cutmix to 0."
            )
        flipped = None if augmentation is None or model.mixing is not None else flip_probability(augmentation)
        is_exact = model.mixing is None and (augmentation is None or flipped is not None)
        plain = SPLITS if is_exact else ["val", "test"]
        rows = samples.index[samples["split"].isin(plain)].to_numpy()
        sources = [_pictures(datamodule, rows)]
        if flipped is not None:
            sources.append(_pictures(datamodule, rows, flip=True))
        key = "" if flipped is None else "flip"
        array = self._array(trainer, model, datamodule, stages, rows, sources, key)
        if array is None:
            return {}
        found, unflipped = {}, array[:1]
        for subset in plain:
            positions = np.searchsorted(rows, datamodule.samples_of(subset).index.to_numpy())
            if subset == "train" and flipped is not None:
                found[subset] = CachedFeatures(array, positions, (1 - flipped, flipped))
            else:
                found[subset] = CachedFeatures(unflipped, positions)
        if augmentation is not None and not is_exact and self.cached_views:
            rows = datamodule.samples_of("train").index.to_numpy()
            views = range(self.cached_views)
            sources = [datamodule.frame_dataset("train", augment=True, epoch=torch.tensor(view)) for view in views]
            # The batch size is part of the key, since the augmentation is seeded per batch.
            versions = [version("albumentations"), cv2.__version__]
            settings = [augmentation.to_dict(), self.cached_views, datamodule.seed, BATCH_SIZE, *versions]
            augmentation_key = json.dumps(settings, default=str, sort_keys=True)
            array = self._array(trainer, model, datamodule, stages, rows, sources, augmentation_key)
            if array is not None:
                found["train"] = CachedFeatures(array, np.arange(len(rows)))
        return found

    def _array(
        self,
        trainer: pl.Trainer,
        model: Task,
        datamodule: FrameDataModule,
        stages: Sequence[int],
        rows: np.ndarray,
        views: list[FrameDataset],
        augmentation_key: str,
    ) -> np.ndarray | None:
        """Returns the input features (V, M, ...) of ``stages[0]`` for M samples; None if they are too large."""
        paths, shapes = {}, {}
        for stage in stages:
            shapes[stage] = (len(views), len(rows), *_prefix_output(model, stage))
            gigabytes = 4 * np.prod(shapes[stage], dtype=float) / 2**30
            if gigabytes <= self.gigabytes:
                paths[stage] = self._path(trainer, model, datamodule, stage, rows, augmentation_key)
            elif stage == stages[0]:
                log.info(
                    "the input features of %s take %.1f GiB, more than finetune.cache_gb=%s: not cached.",
                    _stage_name(model, stage),
                    gigabytes,
                    self.gigabytes,
                )
                return None
        if not paths[stages[0]].exists():
            log.info(
                "computing the features of %d frames%s once, for all epochs and jobs that share them.",
                len(rows),
                f" in {len(views)} views" if len(views) > 1 else "",
            )
            missing = {stage: path for stage, path in paths.items() if not path.exists()}
            _compute(trainer, model, datamodule, missing, shapes, views)
        return np.load(paths[stages[0]], mmap_mode="r")

    @staticmethod
    def _path(
        trainer: pl.Trainer,
        model: Task,
        datamodule: FrameDataModule,
        stage: int,
        rows: np.ndarray,
        augmentation_key: str,
    ) -> Path:
        backbone = model.backbone
        key = hashlib.sha256()
        settings = [
            f"{datamodule.folder.name}/{datamodule.face_cache_path.name}",  # the names contain a hash of the content
            type(datamodule.sample).__qualname__,
            backbone.stages[:stage],
            backbone.channel_order,
            backbone.built_as,
            repr(backbone.stage_modules(0, stage)),
            repr(model.head.reduce) if stage == len(backbone.stages) else "",
            str(trainer.precision),
            torch.get_float32_matmul_precision(),
            trainer.strategy.root_device.type,
            torch.__version__,
            augmentation_key,
        ]
        key.update(json.dumps(settings).encode())
        key.update(rows.tobytes())
        prefix = torch.nn.ModuleList(backbone.stage_modules(0, stage)).state_dict()
        for tensor in [backbone.mean, backbone.std, *prefix.values()]:
            key.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        folder = datamodule.folder / "features"
        return folder / f"{_stage_name(model, stage)}-{key.hexdigest()[:16]}.npy"


def _stage_name(model: Task, stage: int) -> str:
    return [*model.backbone.stages, "head"][stage]


def _pictures(datamodule: FrameDataModule, rows: np.ndarray, *, flip: bool = False) -> FrameDataset:
    """Returns a dataset of the given samples, from any subset, without augmentation or of their mirror images."""
    augmentation = None
    if flip:
        import albumentations as A

        augmentation = A.Compose([A.HorizontalFlip(p=1.0)])
    samples = datamodule.samples.loc[rows]
    return datamodule.sample.dataset(datamodule.face_cache, samples, {}, augmentation=augmentation, seed=0, epoch=None)


@torch.no_grad()
def _prefix_output(model: Task, stage: int) -> tuple[int, ...]:
    """Returns the shape of the input features of ``stage`` for one picture."""
    was_training = model.training
    model.eval()
    if stage == len(model.backbone.stages):
        features = model.head.reduce(torch.zeros(1, *model.backbone.output_shape(), device=model.device))
    else:
        size = model.backbone.image_size
        features = model.backbone(torch.zeros(1, 3, size, size, device=model.device), stop=stage)
    model.train(was_training)
    return tuple(features.shape[1:])


def _compute(
    trainer: pl.Trainer,
    model: Task,
    datamodule: FrameDataModule,
    paths: dict[int, Path],
    shapes: dict[int, tuple[int, ...]],
    views: list[FrameDataset],
) -> None:
    """Runs all pictures through the frozen stages once and writes the input features of each stage in ``paths``."""
    device = trainer.strategy.root_device
    backbone, last = model.backbone.to(device), len(model.backbone.stages)
    was_training = model.training
    model.eval()
    with ExitStack() as files:
        files.callback(model.train, was_training)
        arrays = {
            stage: allocate(files.enter_context(writing(path)), np.float32, shapes[stage])
            for stage, path in paths.items()
        }
        # During training Lightning's progress bar already occupies the terminal.
        hidden = trainer.global_step > 0 or not get_console().is_terminal
        with Progress(transient=True, disable=hidden) as progress, torch.no_grad():
            task = progress.add_task("features of frozen stages", total=len(views) * len(views[0]))
            for view, dataset in enumerate(views):
                loader = DataLoader(
                    dataset,
                    batch_size=BATCH_SIZE,
                    num_workers=datamodule.num_workers,
                    collate_fn=already_a_batch,
                    worker_init_fn=partial(end_with_parent, os.getpid()),
                )
                done = 0
                for batch in loader:
                    x = datamodule.on_after_batch_transfer({"image": batch["image"].to(device)}, 0)["image"]
                    begin, end, start = done, done + len(x), 0
                    with trainer.precision_plugin.forward_context():
                        for stage in sorted(paths):
                            x, start = backbone(x, start=start, stop=stage), stage
                            features = model.head.reduce(x) if stage == last else x
                            arrays[stage][view, begin:end] = features.float().cpu().numpy()
                    done = end
                    progress.advance(task, len(batch["image"]))
        for array in arrays.values():
            array.flush()
