"""The frozen prefix computes the same output of the same picture every epoch: compute it once and keep it.

Files lie with the corpus's faces and are named by a hash of all that shapes them (the faces, the prefix's weights,
the augmentation, the precision), so that the jobs of a sweep share them and a changed setting never meets an old file.
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
from rich.progress import Progress
from torch.utils.data import DataLoader

from fervid.data.datasets import FrameDataset, already_a_batch
from fervid.data.frame_datamodule import FrameDataModule
from fervid.processes.lifetime import end_with_parent
from fervid.schema.manifest import SPLITS
from fervid.storage.array_files import allocate
from fervid.storage.atomic import writing
from fervid.tasks.task import Task

log = logging.getLogger(__name__)

BATCH = 64  # pictures computed at a time: not the run's batch size, or jobs that vary it could not share

Features = dict[str, tuple[np.ndarray, np.ndarray]]


class PrefixCache:
    """Cached features for the sides of a split.

    Without augmentation all frames are cached once, and training on them is the same as training on the pictures.
    With augmentation, each training frame is cached in ``cached_views`` augmented views, which take turns over the
    epochs. With ``cached_views`` None only validation and test are cached, since any number of views would change
    what is learned from.

    Args:
        gigabytes: most that one file of features may take on the disk (a phase has one, or two with ``cached_views``);
            beyond it pictures are used. 0: never cache.
        cached_views: augmented views a training frame, or None.
    """

    def __init__(self, gigabytes: float, cached_views: int | None):
        self.gigabytes, self.cached_views = gigabytes, cached_views

    def features(
        self, trainer: pl.Trainer, model: Task, datamodule: FrameDataModule, stages: Sequence[int]
    ) -> Features:
        """The features that enter stage ``stages[0]``, from the disk or computed now.

        Args:
            trainer: gives device and precision.
            model: whose frozen prefix is asked for.
            datamodule: whose frames.
            stages: the stage asked for, then others that will be asked for later with the same weights before them:
                where something must be computed, these are computed on the way.

        Returns:
            For each side of the split that is cached its features (V, M, ...) and the row of each of its frames.
        """
        if stages[0] == 0 or self.gigabytes <= 0 or trainer.world_size > 1:
            return {}
        samples, augmentation = datamodule.samples, datamodule.augmentation
        plain = SPLITS if augmentation is None else ["val", "test"]
        found: Features = {}
        rows = samples.index[samples["split"].isin(plain)].to_numpy()
        sources = [_pictures(datamodule, rows)]
        array = self._array(trainer, model, datamodule, stages, rows, sources, "")
        if array is None:
            return {}
        for side in plain:
            found[side] = array, np.searchsorted(rows, datamodule.samples_of(side).index.to_numpy())
        if augmentation is not None and self.cached_views:
            rows = datamodule.samples_of("train").index.to_numpy()
            views = range(self.cached_views)
            sources = [datamodule.frame_dataset("train", augment=True, epoch=torch.tensor(view)) for view in views]
            # Which pictures share a batch is part of how they are drawn.
            versions = [version("albumentations"), cv2.__version__]
            settings = [augmentation.to_dict(), self.cached_views, datamodule.seed, BATCH, *versions]
            drawn = json.dumps(settings, default=str, sort_keys=True)
            array = self._array(trainer, model, datamodule, stages, rows, sources, drawn)
            if array is not None:
                found["train"] = array, np.arange(len(rows))
        return found

    def _array(
        self,
        trainer: pl.Trainer,
        model: Task,
        datamodule: FrameDataModule,
        stages: Sequence[int],
        rows: np.ndarray,
        views: list[FrameDataset],
        drawn: str,
    ) -> np.ndarray | None:
        """Features (V, M, ...) before ``stages[0]`` of M samples; None if they would take too much room."""
        paths, shapes = {}, {}
        for stage in stages:
            one = _prefix_output(model, stage)
            shapes[stage] = (len(views), len(rows), *one)
            gigabytes = 4 * np.prod(shapes[stage], dtype=float) / 2**30
            if gigabytes <= self.gigabytes:
                paths[stage] = self._path(trainer, model, datamodule, stage, rows, drawn)
            elif stage == stages[0]:
                log.info(
                    "the features before %s would take %.1f GiB (finetune.cache_gb=%s): not cached.",
                    _stage_name(model, stage),
                    gigabytes,
                    self.gigabytes,
                )
                return None
        if not paths[stages[0]].exists():
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
        drawn: str,
    ) -> Path:
        backbone = model.backbone
        key = hashlib.sha256()
        settings = [
            f"{datamodule.folder.name}/{datamodule.face_cache_path.name}",  # named by their content
            type(datamodule.sample).__qualname__,
            backbone.stages[:stage],
            backbone.channel_order,
            repr(backbone.stage_modules(0, stage)),
            repr(model.head.reduce) if stage == len(backbone.stages) else "",
            str(trainer.precision),
            torch.get_float32_matmul_precision(),
            trainer.strategy.root_device.type,
            torch.__version__,
            drawn,
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


def _pictures(datamodule: FrameDataModule, rows: np.ndarray) -> FrameDataset:
    """The pictures of samples, whatever their subset, without augmentation."""
    samples = datamodule.samples.loc[rows]
    return datamodule.sample.dataset(datamodule.face_cache, samples, {}, augmentation=None, seed=0, epoch=None)


@torch.no_grad()
def _prefix_output(model: Task, stage: int) -> tuple[int, ...]:
    """Shape of one picture's features before ``stage``."""
    learning = model.training
    model.eval()
    if stage == len(model.backbone.stages):
        features = model.head.reduce(torch.zeros(1, *model.backbone.output_shape(), device=model.device))
    else:
        size = model.backbone.image_size
        features = model.backbone(torch.zeros(1, 3, size, size, device=model.device), stop=stage)
    model.train(learning)
    return tuple(features.shape[1:])


def _compute(
    trainer: pl.Trainer,
    model: Task,
    datamodule: FrameDataModule,
    paths: dict[int, Path],
    shapes: dict[int, tuple[int, ...]],
    views: list[FrameDataset],
) -> None:
    """Walks all pictures through the prefix once, and writes what passes before each of the stages."""
    device = trainer.strategy.root_device
    backbone, last = model.backbone.to(device), len(model.backbone.stages)
    learning = model.training
    model.eval()
    with ExitStack() as files:
        files.callback(model.train, learning)
        arrays = {
            stage: allocate(files.enter_context(writing(path)), np.float32, shapes[stage])
            for stage, path in paths.items()
        }
        # Lightning's own progress bar has the screen once training runs.
        with Progress(transient=True, disable=trainer.global_step > 0) as progress, torch.no_grad():
            task = progress.add_task("features of the frozen prefix", total=len(views) * len(views[0]))
            for view, dataset in enumerate(views):
                loader = DataLoader(
                    dataset,
                    batch_size=BATCH,
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
                            kept = model.head.reduce(x) if stage == last else x
                            arrays[stage][view, begin:end] = kept.float().cpu().numpy()
                    done = end
                    progress.advance(task, len(batch["image"]))
        for array in arrays.values():
            array.flush()
