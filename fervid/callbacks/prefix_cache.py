"""Caches the features of frozen stages, which are the same in every epoch.

There is one file for each view of the pictures, next to the corpus's faces. Its name contains a hash of everything that
determines the features (the faces, the weights and the code of the frozen stages, the view and the precision), and it
has a row for every picture of the corpus. Hence folds, seeds and jobs of a sweep share it: each computes only the
pictures that are still missing. A changed setting never reads an outdated file.
"""

import hashlib
import inspect
import json
import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from rich import get_console
from rich.progress import Progress
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from fervid.data.datasets import CachedFeatures, FrameDataset, already_a_batch
from fervid.data.exact_views import flip_probability
from fervid.data.face_cache import FaceCache
from fervid.data.frame_datamodule import FrameDataModule
from fervid.data.seeds import draw_seed
from fervid.errors import InputError
from fervid.processes.lifetime import end_with_parent
from fervid.storage.array_files import SparseRows
from fervid.storage.locks import lock
from fervid.tasks.task import Task

if TYPE_CHECKING:  # importing albumentations takes half a second
    import albumentations as A

log = logging.getLogger(__name__)

# Pictures per forward pass. Every pass has exactly this number, if need be with black pictures, since libraries choose
# their algorithms by the size of a batch: a picture's features must not depend on which others were still missing.
BATCH_SIZE = 64


@dataclass(frozen=True)
class View:
    """A version of every picture of which features are cached.

    Attributes:
        name: what distinguishes the view from others; part of the file name's hash.
        mirrored: whether pictures are mirrored.
        augmentation: augmentation of the pictures, or None.
        seeds: seeds of the augmentation, to which the row of the picture is added.
    """

    name: str
    mirrored: bool = False
    augmentation: "A.Compose | None" = field(default=None, compare=False)  # the name describes it
    seeds: tuple[int, ...] = ()


PICTURE, MIRRORED = View("picture"), View("mirrored", mirrored=True)


@dataclass(frozen=True)
class SubsetPlan:
    """The features that are cached for one subset.

    Attributes:
        rows: row of each sample in the face cache, (N,).
        views: views that the subset alternates between or draws from.
        chances: see :class:`CachedFeatures`.
        mirrored: whether every sample also needs the features of its mirror image.
    """

    rows: np.ndarray
    views: tuple[View, ...]
    chances: tuple[float, ...] | None = None
    mirrored: bool = False

    @property
    def needed(self) -> tuple[View, ...]:
        """All views that must be computed."""
        return tuple(dict.fromkeys([*self.views, *([MIRRORED] if self.mirrored else [])]))


Plans = dict[str, SubsetPlan]


@dataclass(frozen=True, eq=False)
class Prefix:
    """The cached features of one frozen prefix.

    Attributes:
        stage: number of the stage whose input the features are.
        shape: shape of the features of a picture.
        saved: fraction of the network's arithmetic before the stage.
        plans: the subsets whose features fit into the limit.
        rows: rows of the face cache that are needed in each view, sorted.
        files: the file of each view.
    """

    stage: int
    shape: tuple[int, ...]
    saved: float
    plans: Plans
    rows: dict[View, np.ndarray]
    files: dict[View, SparseRows]

    def missing(self) -> dict[View, np.ndarray]:
        """Returns the needed rows that are not in the files."""
        return {view: file.missing(self.rows[view]) for view, file in self.files.items()}


class PrefixCache:
    """Cached features of the frozen stages for each subset.

    Without augmentation and mixing (mixup, CutMix), all frames are cached once, and training on the features is
    equivalent to training on the pictures. The same holds for an augmentation that only flips: every training frame and
    its mirror image are cached, and each training frame draws one of the two in every epoch (with a balanced sampler
    once per epoch, not for each time that it is drawn).

    With any other augmentation, each training frame is cached in ``cached_views`` augmented views, which alternate over
    the epochs. With ``cached_views=None`` only validation and test are cached, since a finite number of views would
    change the training data.

    Args:
        gigabytes: maximum size in GiB of the features that a phase uses. Subsets that do not fit, in the order
            validation, training, test, are computed from pictures. 0: never cache.
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
                weights do not change until then. Features of the later stages are computed in the same pass.

        Returns:
            The features of each cached subset.
        """
        if stages[0] == 0 or self.gigabytes <= 0 or trainer.world_size > 1:
            return {}
        if type(datamodule.frame_dataset("val")) is not FrameDataset:  # several faces per sample
            return {}
        wanted = self._plans(model, datamodule)
        prefixes = [self._prefix(trainer, model, datamodule, stage, wanted) for stage in stages]
        first = prefixes[0]
        with ExitStack() as locks:
            if any(map(len, (rows for prefix in prefixes for rows in prefix.missing().values()))):
                # Always in the same order, so that two processes never wait for each other.
                for path in sorted(file.path for prefix in prefixes for file in prefix.files.values()):
                    locks.enter_context(lock(path))
            missing = {prefix: prefix.missing() for prefix in prefixes}  # another process may have computed some
            self._log(model, first, wanted, sum(map(len, missing[first].values())))
            _compute(trainer, model, datamodule, missing)
        arrays = {view: file.open() for view, file in first.files.items()}
        return {
            subset: CachedFeatures(
                tuple(arrays[view] for view in plan.views),
                plan.rows,
                plan.chances,
                arrays[MIRRORED] if plan.mirrored else None,
            )
            for subset, plan in first.plans.items()
        }

    def _prefix(
        self, trainer: pl.Trainer, model: Task, datamodule: FrameDataModule, stage: int, wanted: Plans
    ) -> Prefix:
        shape, saved = _measure(model, stage)
        plans: Plans = {}
        for subset, plan in wanted.items():
            if _gigabytes({**plans, subset: plan}, shape) <= self.gigabytes:
                plans[subset] = plan
        rows = _rows_by_view(plans)
        key, total = _prefix_key(trainer, model, datamodule, stage), len(datamodule.face_cache.faces)
        files = {view: SparseRows(_path(datamodule, model, stage, key, view), (total, *shape)) for view in rows}
        return Prefix(stage, shape, saved, plans, rows, files)

    def _plans(self, model: Task, datamodule: FrameDataModule) -> Plans:
        """Returns what could be cached for each subset, the most useful first."""
        augmentation = datamodule.augmentation
        if model.mixing is not None and self.cached_views:
            raise InputError(
                f"finetune.cached_views={self.cached_views} cannot be used with mixup or CutMix, which mix pictures: "
                "set it to null, or task.mixup and task.cutmix to 0."
            )
        rows = {subset: datamodule.frame_dataset(subset).rows for subset in ("val", "train", "test")}
        plans = {
            subset: SubsetPlan(rows[subset], (PICTURE,), mirrored=model.test_flips and subset != "train")
            for subset in rows
        }
        if model.mixing is not None:
            del plans["train"]
        elif augmentation is not None:
            flipped = flip_probability(augmentation)
            if flipped is not None:
                chances = {PICTURE: 1 - flipped, MIRRORED: flipped}
                views = tuple(view for view, chance in chances.items() if chance > 0)
                plans["train"] = SubsetPlan(rows["train"], views, tuple(chances[view] for view in views))
            elif self.cached_views:
                versions = [version("albumentations"), cv2.__version__]
                name = json.dumps([augmentation.to_dict(), *versions], default=str, sort_keys=True)
                seeds = [(datamodule.seed, number) for number in range(self.cached_views)]
                views = tuple(View(f"{name} {each}", augmentation=augmentation, seeds=each) for each in seeds)
                plans["train"] = SubsetPlan(rows["train"], views)
            else:
                del plans["train"]
        return plans

    def _log(self, model: Task, prefix: Prefix, wanted: Plans, computed: int) -> None:
        """Says in one line what is cached and what it saves."""
        named = f"{model.backbone.stages[0]} to {model.backbone.stages[prefix.stage - 1]}"
        plans, shape, rows = prefix.plans, prefix.shape, prefix.rows
        left_out = [subset for subset in wanted if subset not in plans]
        parts = []
        if plans:
            numbers = {
                "pictures": len(rows.get(PICTURE, ())),
                "mirror images": len(rows.get(MIRRORED, ())),
                "augmented pictures": sum(len(rows[view]) for view in rows if view.augmentation is not None),
            }
            counts = [f"{number:,} {name}" for name, number in numbers.items() if number]
            origin = f"{computed:,} are computed now, once" if computed else "all are in the cache"
            parts.append(
                f"cached features of {named}: {' and '.join(counts)} ({_size(_gigabytes(plans, shape))}; {origin}), "
                f"which saves {prefix.saved:.0%} of the computation per picture"
            )
            if "train" not in wanted:
                parts.append("training pictures change in every epoch and are not cached")
        if left_out:
            size = _size(_gigabytes({**plans, **{left_out[0]: wanted[left_out[0]]}}, shape))
            parts.append(
                f"features of {named} of {' and '.join(left_out)} are not cached, since they need {size}, more than "
                f"finetune.cache_gb={self.gigabytes:g}"
            )
        log.info("%s.", "; ".join(parts))


def _rows_by_view(plans: Plans) -> dict[View, np.ndarray]:
    """Returns the rows of the face cache that are needed in each view, sorted."""
    rows: dict[View, list[np.ndarray]] = {}
    for plan in plans.values():
        for view in plan.needed:
            rows.setdefault(view, []).append(plan.rows)
    return {view: np.unique(np.concatenate(each)) for view, each in rows.items()}


def _gigabytes(plans: Plans, shape: tuple[int, ...]) -> float:
    return sum(map(len, _rows_by_view(plans).values())) * 4 * float(np.prod(shape)) / 2**30


def _size(gigabytes: float) -> str:
    return f"{gigabytes:.1f} GiB" if gigabytes >= 1 else f"{gigabytes * 2**10:.1f} MiB"


def _prefix_key(trainer: pl.Trainer, model: Task, datamodule: FrameDataModule, stage: int) -> str:
    """Returns a digest of everything that determines the input features of a stage, except the view."""
    backbone = model.backbone
    settings = [
        f"{datamodule.folder.name}/{datamodule.face_cache_path.name}",  # the names contain a hash of the content
        backbone.stages[:stage],
        backbone.channel_order,
        backbone.built_as,
        repr(backbone.stage_modules(0, stage)),
        repr(model.head.reduce) if stage == len(backbone.stages) else "",
        str(trainer.precision),
        torch.get_float32_matmul_precision(),
        trainer.strategy.root_device.type,
        torch.__version__,
        BATCH_SIZE,
    ]
    key = hashlib.sha256(json.dumps(settings).encode())
    prefix = torch.nn.ModuleList(backbone.stage_modules(0, stage))
    for code in _code([backbone, *prefix.modules()]):
        key.update(code)
    for tensor in [backbone.mean, backbone.std, *prefix.state_dict().values()]:
        key.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return key.hexdigest()


def _code(modules: Iterable[torch.nn.Module]) -> list[bytes]:
    """Returns the source files of the modules' classes, which change with a library's version and a user's edits.

    Functions that they call from other files are not included.
    """
    files = set()
    for kind in {parent for module in modules for parent in type(module).__mro__}:
        with suppress(OSError, TypeError):  # built in, or defined in an interactive session
            files.add(Path(inspect.getfile(kind)))
    return [file.read_bytes() for file in sorted(files) if file.is_file()]


def _path(datamodule: FrameDataModule, model: Task, stage: int, key: str, view: View) -> Path:
    digest = hashlib.sha256(f"{key} {view.name}".encode()).hexdigest()[:16]
    return datamodule.folder / "features" / f"{[*model.backbone.stages, 'head'][stage]}-{digest}.npy"


@torch.no_grad()
def _measure(model: Task, stage: int) -> tuple[tuple[int, ...], float]:
    """Returns the shape of the input features of ``stage`` and the fraction of the arithmetic before them."""
    was_training, is_head = model.training, stage == len(model.backbone.stages)
    model.eval()
    size = model.backbone.image_size
    with FlopCounterMode(display=False) as counter:
        features = model.backbone(torch.zeros(1, 3, size, size, device=model.device), stop=stage)
        if is_head:
            features = model.head.reduce(features)
        before = counter.get_total_flops()
        if is_head:
            model.head.layers(features)
        else:
            model.head(model.backbone(features, start=stage))
        total = counter.get_total_flops()
    model.train(was_training)
    return tuple(features.shape[1:]), before / max(total, 1)


class _Pictures(Dataset):
    """Batches of a view of some rows of the face cache, uint8 (B, 3, H, W)."""

    def __init__(self, face_cache: FaceCache, rows: np.ndarray, view: View):
        self.face_cache, self.rows, self.view = face_cache, rows, view

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, positions: list[int]) -> torch.Tensor:
        rows, view = self.rows[positions], self.view
        faces = self.face_cache[rows]
        if view.mirrored:
            faces = np.ascontiguousarray(faces[:, :, ::-1])
        if view.augmentation is not None:
            for number, row in enumerate(rows):
                # Seeded by the picture, so that all folds draw the same views.
                view.augmentation.set_random_seed(draw_seed(*view.seeds, int(row)))
                faces[number] = view.augmentation(image=faces[number])["image"]
        return torch.from_numpy(faces).permute(0, 3, 1, 2)


def _compute(
    trainer: pl.Trainer, model: Task, datamodule: FrameDataModule, missing: dict[Prefix, dict[View, np.ndarray]]
) -> None:
    """Runs pictures through the frozen stages once and writes the missing input features of each stage."""
    by_view: dict[View, list[np.ndarray]] = {}
    for each in missing.values():
        for view, found in each.items():
            by_view.setdefault(view, []).append(found)
    rows = {view: np.unique(np.concatenate(found)) for view, found in by_view.items() if any(map(len, found))}
    if not rows:
        return
    device = trainer.strategy.root_device
    backbone, last = model.backbone.to(device), len(model.backbone.stages)
    was_training = model.training
    model.eval()
    with ExitStack() as stack:
        stack.callback(model.train, was_training)
        # During training Lightning's progress bar already occupies the terminal.
        hidden = trainer.global_step > 0 or not get_console().is_terminal
        progress = stack.enter_context(Progress(transient=True, disable=hidden))
        stack.enter_context(torch.no_grad())
        task = progress.add_task("features of frozen stages", total=sum(map(len, rows.values())))
        for view in rows:
            with ExitStack() as opened:
                write = {
                    prefix.stage: opened.enter_context(prefix.files[view].filling(each[view]))
                    for prefix, each in sorted(missing.items(), key=lambda item: item[0].stage)
                    if len(each.get(view, ()))
                }
                loader = DataLoader(
                    _Pictures(datamodule.face_cache, rows[view], view),
                    batch_size=BATCH_SIZE,
                    num_workers=datamodule.num_workers,
                    collate_fn=already_a_batch,
                    worker_init_fn=partial(end_with_parent, os.getpid()),
                    generator=torch.Generator(),  # the default generator is also used by dropout
                )
                done = 0
                for faces in loader:
                    chosen = rows[view][done : done + len(faces)]
                    done += len(faces)
                    padded = torch.nn.functional.pad(faces, (0, 0, 0, 0, 0, 0, 0, BATCH_SIZE - len(faces)))
                    padded = padded.contiguous(memory_format=torch.channels_last)
                    x, start = datamodule.on_after_batch_transfer({"image": padded.to(device)}, 0)["image"], 0
                    with trainer.precision_plugin.forward_context():
                        for stage in write:
                            x, start = backbone(x, start=start, stop=stage), stage
                            features = model.head.reduce(x) if stage == last else x
                            write[stage](chosen, features[: len(chosen)].float().cpu().numpy())
                    progress.advance(task, len(faces))
