"""Caches the features of frozen stages, which are the same in every epoch.

There is one file for each modality and view of the inputs, next to the corpus's faces or sounds. Its name contains a
hash of everything that determines the features (the inputs, the weights and the code of the frozen stages, the view and
the precision), and it has a row for every frame or clip of the corpus. Hence folds, seeds and jobs of a sweep share it:
each computes only the rows that are still missing. A changed setting never reads an outdated file.
"""

import hashlib
import inspect
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from rich import get_console
from rich.progress import Progress
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from fervid.data.datamodule import EmotionDataModule
from fervid.data.datasets import already_a_batch
from fervid.data.exact_views import flip_probability
from fervid.data.inputs import CachedFeatures, Features
from fervid.data.stores import PictureStore, SequenceStore, Store
from fervid.errors import InputError
from fervid.models.network import Branch
from fervid.processes.lifetime import end_with_parent
from fervid.storage.array_files import SparseRows
from fervid.storage.locks import lock
from fervid.tasks.task import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class View:
    """A version of every input of which features are cached.

    Attributes:
        name: what distinguishes the view from others; part of the file name's hash.
        mirrored: whether pictures are mirrored.
        augmentation: augmentation of the inputs, or None.
        seeds: seeds of the augmentation, to which the row of the input is added.
    """

    name: str
    mirrored: bool = False
    augmentation: Any = field(default=None, compare=False)  # the name describes it
    seeds: tuple[int, ...] = ()


PLAIN, MIRRORED = View("plain"), View("mirrored", mirrored=True)


@dataclass(frozen=True)
class SubsetPlan:
    """The features of one modality that are cached for one subset.

    Attributes:
        rows: row of each sample in the store, (N,), or (N, T).
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
        shape: shape of the features of an input; that of the longest one, if lengths differ.
        saved: fraction of the arithmetic before the stage.
        plans: the subsets whose features fit into the limit.
        rows: rows of the store that are needed in each view, sorted.
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
    """Cached features of the frozen stages for each subset and modality.

    Without augmentation and mixing (mixup, CutMix), all inputs are cached once, and training on the features is
    equivalent to training on the inputs. The same holds for an augmentation that only flips: every training frame and
    its mirror image are cached, and each training frame draws one of the two in every epoch (with a balanced sampler
    once per epoch, not for each time that it is drawn).

    With any other augmentation, each training input is cached in ``cached_views`` augmented views, which alternate over
    the epochs. With ``cached_views=None`` only validation and test are cached, since a finite number of views would
    change the training data.

    Args:
        gigabytes: maximum size in GiB of the features that a phase uses. Subsets that do not fit, in the order
            validation, training, test, are computed from the inputs. 0: never cache.
        cached_views: number of augmented views per training input, or None.
    """

    def __init__(self, gigabytes: float, cached_views: int | None):
        self.gigabytes, self.cached_views = gigabytes, cached_views

    def features(
        self, trainer: pl.Trainer, model: Task, datamodule: EmotionDataModule, stages: Sequence[Mapping[str, int]]
    ) -> Features:
        """Returns the input features of the stages ``stages[0]``, read from disk or computed.

        Args:
            trainer: provides device and precision.
            model: model with the frozen stages.
            datamodule: provides the inputs.
            stages: number of the first trainable stage of each encoder, by modality, followed by those of later phases.
                Features of a later phase are computed in the same pass if no weight before them changes until then.

        Returns:
            The features of each cached subset, by modality.
        """
        if self.gigabytes <= 0 or trainer.world_size > 1:
            return {}
        found: dict[str, dict[str, CachedFeatures]] = {}
        room = self.gigabytes
        for modality in model.network.modalities:
            first = stages[0][modality]
            if first == 0:
                continue
            later = sorted({numbers[modality] for numbers in stages[1:] if 0 < numbers[modality] < first})
            work = _Work(trainer, model, datamodule, modality)
            prefix = self._compute(work, [first, *later], room)
            room -= _gigabytes(prefix.plans, prefix.shape)
            arrays = {view: file.open() for view, file in prefix.files.items()}
            for subset, plan in prefix.plans.items():
                found.setdefault(subset, {})[modality] = CachedFeatures(
                    tuple(arrays[view] for view in plan.views),
                    plan.rows,
                    plan.chances,
                    arrays[MIRRORED] if plan.mirrored else None,
                )
        return found

    def _compute(self, work: "_Work", stages: Sequence[int], room: float) -> Prefix:
        """Computes the missing features of one modality, and returns the prefix of the first stage."""
        wanted = self._plans(work)
        prefixes = [self._prefix(work, stage, wanted, room) for stage in stages]
        first = prefixes[0]
        with ExitStack() as locks:
            if any(map(len, (rows for prefix in prefixes for rows in prefix.missing().values()))):
                # Always in the same order, so that two processes never wait for each other.
                for path in sorted(file.path for prefix in prefixes for file in prefix.files.values()):
                    locks.enter_context(lock(path))
            missing = {prefix: prefix.missing() for prefix in prefixes}  # another process may have computed some
            self._log(work, first, wanted, sum(map(len, missing[first].values())))
            _compute(work, missing)
        return first

    def _prefix(self, work: "_Work", stage: int, wanted: Plans, room: float) -> Prefix:
        shape, saved = _measure(work, stage)
        plans: Plans = {}
        for subset, plan in wanted.items():
            if _gigabytes({**plans, subset: plan}, shape) <= room:
                plans[subset] = plan
        rows, key = _rows_by_view(plans), _prefix_key(work, stage, shape)
        files = {view: SparseRows(work.path(stage, key, view), (len(work.store), *shape)) for view in rows}
        return Prefix(stage, shape, saved, plans, rows, files)

    def _plans(self, work: "_Work") -> Plans:
        """Returns what could be cached for each subset, the most useful first."""
        model, datamodule, modality = work.model, work.datamodule, work.modality
        augmentation = datamodule.augmentations.get(modality)
        if model.mixing is not None and self.cached_views:
            raise InputError(
                f"finetune.cached_views={self.cached_views} cannot be used with mixup or CutMix, which mix inputs: "
                "set it to null, or task.mixup and task.cutmix to 0."
            )
        rows = {subset: datamodule.input_rows(modality, subset) for subset in ("val", "train", "test")}
        flips = model.test_flips and modality == PictureStore.modality
        plans = {subset: SubsetPlan(rows[subset], (PLAIN,), mirrored=flips and subset != "train") for subset in rows}
        if model.mixing is not None:
            del plans["train"]
        elif augmentation is not None:
            flipped = flip_probability(augmentation) if modality == PictureStore.modality else None
            if flipped is not None:
                chances = {PLAIN: 1 - flipped, MIRRORED: flipped}
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

    def _log(self, work: "_Work", prefix: Prefix, wanted: Plans, computed: int) -> None:
        """Says in one line what is cached and what it saves."""
        names = work.branch.encoder.stages
        named = f"{names[0]} to {names[prefix.stage - 1]}" if prefix.stage > 1 else names[0]
        plural, singular = work.nouns
        plans, shape, rows = prefix.plans, prefix.shape, prefix.rows
        left_out = [subset for subset in wanted if subset not in plans]
        parts = []
        if plans:
            numbers = {
                plural: len(rows.get(PLAIN, ())),
                "mirror images": len(rows.get(MIRRORED, ())),
                f"augmented {plural}": sum(len(rows[view]) for view in rows if view.augmentation is not None),
            }
            counts = [f"{number:,} {name}" for name, number in numbers.items() if number]
            origin = f"{computed:,} are computed now, once" if computed else "all are in the cache"
            parts.append(
                f"cached features of {named}: {' and '.join(counts)} ({_size(_gigabytes(plans, shape))}; {origin}), "
                f"which saves {prefix.saved:.0%} of the computation per {singular}"
            )
            if "train" not in wanted:
                parts.append(f"training {plural} change in every epoch and are not cached")
        if left_out:
            size = _size(_gigabytes({**plans, **{left_out[0]: wanted[left_out[0]]}}, shape))
            parts.append(
                f"features of {named} of {' and '.join(left_out)} are not cached, since they need {size}, more than "
                f"finetune.cache_gb={self.gigabytes:g}"
            )
        log.info("%s.", "; ".join(parts))


def _rows_by_view(plans: Plans) -> dict[View, np.ndarray]:
    """Returns the rows of the store that are needed in each view, sorted."""
    rows: dict[View, list[np.ndarray]] = {}
    for plan in plans.values():
        for view in plan.needed:
            rows.setdefault(view, []).append(plan.rows.ravel())
    return {view: np.unique(np.concatenate(each)) for view, each in rows.items()}


def _gigabytes(plans: Plans, shape: tuple[int, ...]) -> float:
    return sum(map(len, _rows_by_view(plans).values())) * 4 * float(np.prod(shape)) / 2**30


def _size(gigabytes: float) -> str:
    return f"{gigabytes:.1f} GiB" if gigabytes >= 1 else f"{gigabytes * 2**10:.1f} MiB"


@dataclass(frozen=True)
class _Work:
    """What is needed to compute features of one modality."""

    trainer: pl.Trainer
    model: Task
    datamodule: EmotionDataModule
    modality: str

    @property
    def store(self) -> Store:
        return self.datamodule.stores[self.modality]

    @property
    def branch(self) -> Branch:
        return self.model.network.branches[self.modality]

    @property
    def nouns(self) -> tuple[str, str]:
        """What an input is called, in plural and singular."""
        return {"image": ("pictures", "picture"), "sound": ("sounds", "sound")}.get(self.modality, ("clips", "clip"))

    def path(self, stage: int, key: str, view: View) -> Path:
        """Returns the path of the file with the features of a view."""
        digest = hashlib.sha256(f"{key} {view.name}".encode()).hexdigest()[:16]
        name = [*self.branch.encoder.stages, "head"][stage]
        return self.datamodule.folder / "features" / f"{name}-{digest}.npy"


def _prefix_key(work: _Work, stage: int, shape: tuple[int, ...]) -> str:
    """Returns a digest of everything that determines the input features of a stage, except the view.

    The shape is that of the longest sequence of the run's subsets, so it differs between splits of one corpus.
    """
    branch, trainer = work.branch, work.trainer
    encoder = branch.encoder
    settings = [
        f"{work.datamodule.folder.name}/{work.store.path.name}",  # the names contain a hash of the content
        encoder.stages[:stage],
        encoder.key(),
        repr(encoder.stage_modules(0, stage)),
        repr(branch.reduce) if stage == len(encoder.stages) else "",
        str(trainer.precision),
        torch.get_float32_matmul_precision(),
        trainer.strategy.root_device.type,
        torch.__version__,
        work.store.batch_size,
        shape,
    ]
    key = hashlib.sha256(json.dumps(settings).encode())
    prefix = torch.nn.ModuleList(encoder.stage_modules(0, stage))
    for code in _code([encoder, *prefix.modules(), *branch.reduce.modules()]):
        key.update(code)
    for tensor in [*encoder.buffers(recurse=False), *prefix.state_dict().values()]:
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


@torch.no_grad()
def _measure(work: _Work, stage: int) -> tuple[tuple[int, ...], float]:
    """Returns the shape of the input features of ``stage`` and the fraction of the arithmetic before them.

    Sequences are measured with the longest one. The arithmetic is that of the branch, and with a single modality that
    of the head.
    """
    branch, network, was_training = work.branch, work.model.network, work.model.training
    encoder, is_head = branch.encoder, stage == len(branch.encoder.stages)
    device = work.trainer.strategy.root_device
    example = encoder.example()
    if isinstance(work.store, SequenceStore):
        rows = np.concatenate([work.datamodule.input_rows(work.modality, name) for name in ("train", "val", "test")])
        example = torch.from_numpy(work.store.view(np.array([work.store.longest(rows)])))
    work.model.eval()
    network.to(device)
    with FlopCounterMode(display=False) as counter:
        features = encoder(example.to(device), stop=stage)
        if is_head:
            features = branch.reduce(features)
        before = counter.get_total_flops()
        reduced = features if is_head else branch.reduce(encoder(features, start=stage))
        if len(network.branches) == 1 and not branch.over_time:
            network.join({work.modality: branch.pooling(reduced)})
        total = counter.get_total_flops()
    work.model.train(was_training)
    return tuple(features.shape[1:]), before / max(total, 1)


class _View(Dataset):
    """Batches of a view of some rows of a store."""

    def __init__(self, store: Store, rows: np.ndarray, view: View):
        self.store, self.rows, self.view = store, rows, view

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, positions: list[int]) -> torch.Tensor:
        view = self.view
        values = self.store.view(
            self.rows[positions], mirrored=view.mirrored, augmentation=view.augmentation, seeds=view.seeds
        )
        return torch.from_numpy(values)


def _compute(work: _Work, missing: dict[Prefix, dict[View, np.ndarray]]) -> None:
    """Runs inputs through the frozen stages once and writes the missing input features of each stage."""
    by_view: dict[View, list[np.ndarray]] = {}
    for each in missing.values():
        for view, found in each.items():
            by_view.setdefault(view, []).append(found)
    rows = {view: np.unique(np.concatenate(found)) for view, found in by_view.items() if any(map(len, found))}
    if not rows:
        return
    model, trainer, branch, size = work.model, work.trainer, work.branch, work.store.batch_size
    device = trainer.strategy.root_device
    encoder, last = branch.encoder.to(device), len(branch.encoder.stages)
    was_training = model.training
    model.eval()
    with ExitStack() as stack:
        stack.callback(model.train, was_training)
        # During training Lightning's progress bar already occupies the terminal.
        hidden = trainer.global_step > 0 or not get_console().is_terminal
        progress = stack.enter_context(Progress(transient=True, disable=hidden))
        stack.enter_context(torch.no_grad())
        if size == 1 and device.type == "cpu":
            # For a single sound, several threads gain a fifth on an idle machine, and take ten times as long on a busy
            # one, where each of the small operations waits for all threads.
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
        task = progress.add_task("features of frozen stages", total=sum(map(len, rows.values())))
        for view in rows:
            with ExitStack() as opened:
                write = {
                    prefix.stage: (prefix.shape, opened.enter_context(prefix.files[view].filling(each[view])))
                    for prefix, each in sorted(missing.items(), key=lambda item: item[0].stage)
                    if len(each.get(view, ()))
                }
                loader = DataLoader(
                    _View(work.store, rows[view], view),
                    batch_size=size,
                    num_workers=work.datamodule.num_workers,
                    collate_fn=already_a_batch,
                    worker_init_fn=partial(end_with_parent, os.getpid()),
                    generator=torch.Generator(),  # the default generator is also used by dropout
                )
                done = 0
                for inputs in loader:
                    chosen = rows[view][done : done + len(inputs)]
                    done += len(inputs)
                    # Every pass has the same number of inputs, if need be with zeros: libraries choose their algorithms
                    # by it, and the features of an input must not depend on which others were still missing.
                    empty = inputs.new_zeros(size - len(inputs), *inputs.shape[1:])
                    padded = torch.cat([inputs, empty])
                    if padded.dim() == 4:
                        padded = padded.contiguous(memory_format=torch.channels_last)
                    batch = work.datamodule.on_after_batch_transfer({work.modality: padded.to(device)}, 0)
                    x, start = batch[work.modality], 0
                    with trainer.precision_plugin.forward_context():
                        for stage, (shape, write_rows) in write.items():
                            x, start = encoder(x, start=start, stop=stage), stage
                            features = branch.reduce(x) if stage == last else x
                            write_rows(chosen, _lengthened(features[: len(chosen)].float().cpu().numpy(), shape))
                    progress.advance(task, len(inputs))


def _lengthened(features: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pads sequences (B, T, ...) with NaN to the length of the longest one of the corpus."""
    if features.shape[1:] == shape:
        return features
    longer = np.full((len(features), *shape), np.nan, dtype=np.float32)
    longer[:, : features.shape[1]] = features
    return longer
