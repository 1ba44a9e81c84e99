"""From the frames of corpora to batches."""

import hashlib
import logging
import os
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from fervid import splits
from fervid.audit.duplicates import group, near_duplicates
from fervid.audit.leakage import audit
from fervid.data.datasets import EpochSampler, FeatureDataset, FrameDataset, already_a_batch
from fervid.data.device_loader import DeviceLoader, fits, to_device
from fervid.data.face_cache import FaceCache, build_face_cache
from fervid.data.frame_source import FrameSource
from fervid.data.samples import FrameSample, Sample
from fervid.data.targets import ClassTarget, Target
from fervid.errors import InputError
from fervid.media.files import FAILED
from fervid.processes.lifetime import end_with_parent
from fervid.schema.columns import keys
from fervid.schema.emotions import shared_name
from fervid.schema.manifest import check_manifest
from fervid.schema.same_system import fingerprint
from fervid.storage.atomic import remove_leftovers, writing
from fervid.storage.locks import lock

if TYPE_CHECKING:
    import albumentations as A

log = logging.getLogger(__name__)

Split = Callable[[pd.DataFrame], np.ndarray]
EVALUATION_BATCH = 64  # frames: nothing is learned from them, so that how many share a batch is free
DEFAULT_CACHE = Path(os.environ.get("FERVID_CACHE", "~/.cache/fervid"))


def _default_split(manifest: pd.DataFrame) -> np.ndarray:
    return splits.subject(manifest, val=0.2, test=0.2, seed=42)


class FrameDataModule(pl.LightningDataModule):
    """Serves the frames of one or several corpora as batches.

    A batch is a dict: ``image`` float32 (B, 3, H, W) in [0, 1] RGB (uint8 until Lightning has moved it to the
    device), the target such as ``emotion`` int64 (B,), ``index`` int64 (B,) = row of :attr:`samples`.

    Args:
        sources: where the frames come from: corpora that are prepared (:class:`PreparedCorpus`) or rendered. The labels
            of several are aligned by their shared names (:func:`fervid.schema.emotions.shared_name`).
        sample: what the network is shown at once; a single frame unless given.
        target: what is learned of a sample; the emotion unless given.
        split: says for each row of a manifest ``train``, ``val`` or ``test``; default: unseen subjects, 60/20/20.
        image_size: side in pixels of what the network sees.
        batch_size: frames a step; where nothing is learned up to eight times as many, 64 unless it is larger itself.
        num_workers: processes that load; 0 loads in the training process.
        augmentation: albumentations pipeline for training pictures; None or an empty one leaves them alone.
        sampler: ``shuffle`` (each frame once an epoch) or ``balanced`` (every class as often, with replacement).
        grayscale: show luminance only (in all three channels).
        near_duplicates: ``keep``, or ``group``: clips with pictures that look the same count as one where a split draws
            clips (``clips``, and ``given`` for validation).
        cache_dir: where faces at the training size are kept between runs; the environment's ``FERVID_CACHE`` or
            ``~/.cache/fervid`` unless given.
        seed: of order and augmentation.

    Attributes:
        manifest: one row a usable frame with its split, after :meth:`setup`.
        audit: what stands on two sides of the split, likewise.
        failures: files that could not be used: ``path``, ``reason`` and ``outcome``, ``failed`` or ``left out``.
        folder: where the faces lie.

    Raises:
        InputError: if a setting cannot be used, or the corpus cannot be trained on.
    """

    def __init__(
        self,
        sources: Sequence[FrameSource],
        *,
        sample: Sample | None = None,
        target: Target | None = None,
        split: Split = _default_split,
        image_size: int = 96,
        batch_size: int = 32,
        num_workers: int = 0,
        augmentation: "A.Compose | None" = None,
        sampler: str = "shuffle",
        grayscale: bool = False,
        near_duplicates: str = "keep",
        cache_dir: str | Path = DEFAULT_CACHE,
        seed: int = 42,
    ):
        super().__init__()
        if batch_size < 1:
            raise InputError(f"dataset.batch_size={batch_size} trains on nothing: give at least 1.")
        if image_size < 1:
            raise InputError(f"image_size={image_size} shows nothing: give the side of the picture in pixels.")
        if num_workers < 0:
            raise InputError(f"dataset.num_workers={num_workers} is not a number of processes: give 0 or more.")
        if sampler not in ("shuffle", "balanced"):
            raise InputError(f"dataset.sampler={sampler} is unknown: choose shuffle or balanced.")
        if near_duplicates not in ("keep", "group"):
            raise InputError(f"dataset.near_duplicates={near_duplicates} is unknown: choose keep or group.")
        names = [source.name for source in sources]
        if not names or len(set(names)) < len(names):
            raise InputError(f"the corpora {', '.join(names) or '[]'} cannot be used together: give each once.")
        self.sources, self.sample, self.target = list(sources), sample or FrameSample(), target or ClassTarget()
        self.split, self.image_size, self.batch_size = split, image_size, batch_size
        self.num_workers, self.sampler, self.grayscale, self.seed = num_workers, sampler, grayscale, seed
        self.near_duplicates = near_duplicates
        self.augmentation = augmentation if augmentation is not None and len(augmentation.transforms) else None
        self.cache_dir = Path(cache_dir).expanduser()
        self.manifest = pd.DataFrame()
        self._is_set_up = False
        self._features: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._features_of: Callable[[], Any] = lambda: None
        self._resident: dict[int, torch.Tensor] = {}

    # What is known of the corpora

    @property
    def corpus(self) -> str:
        """The name of the corpus; of several, all names."""
        return "+".join(source.name for source in self.sources)

    @property
    def corpora(self) -> list[dict[str, Any]]:
        """What cards and results tell of each corpus."""
        return [source.about() for source in self.sources]

    @property
    def rendered(self) -> bool:
        """Whether any of the subjects are rendered."""
        return any(about["rendered"] for about in self.corpora)

    @property
    def subjects_from(self) -> str | None:
        """Where subjects come from if nobody has verified that each of their names is one person; None if verified."""
        unverified = dict.fromkeys(source.subjects_from for source in self.sources if source.subjects_from)
        return " and ".join(unverified) or None

    @property
    def verified(self) -> list[str]:
        """The corpora that identify their subjects themselves."""
        return [source.name for source in self.sources if not source.subjects_from]

    @property
    def failures(self) -> pd.DataFrame:
        """Files that could not be used: ``path``, ``reason`` and ``outcome``, ``failed`` or ``left out``."""
        return pd.concat([source.failures for source in self.sources], ignore_index=True)

    @property
    def failed_files(self) -> int:
        """How many videos and pictures gave nothing; files that are no part of the corpus are not among them."""
        return int((self.failures["outcome"] == FAILED).sum())

    # From frames to a split manifest

    @cached_property
    def frames(self) -> pd.DataFrame:
        """Every frame that shows a face, in the order of the corpora."""
        tables = [source.frames() for source in self.sources]
        for source in self.sources:
            if source.face_size is not None and self.image_size > source.face_size:
                log.warning(
                    "faces of %d px are shown at %d: dataset.face_size=%d prepares them as large as that.",
                    *(source.face_size, self.image_size, self.image_size),
                )
        if len(tables) > 1:
            tables = [table.assign(emotion=table["emotion"].map(shared_name)) for table in tables]
        return check_manifest(pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0])

    @cached_property
    def folder(self) -> Path:
        """Where the corpora, as they are now, keep their faces: a changed corpus or setting is another folder."""
        key = hashlib.sha256(pd.util.hash_pandas_object(self.frames).to_numpy().tobytes())
        key.update(f"{list(self.frames.columns)} {' '.join(source.fingerprint() for source in self.sources)}".encode())
        return self.cache_dir / f"{self.corpus}-{key.hexdigest()[:12]}"

    @property
    def face_cache_path(self) -> Path:
        """The file of the faces at the training size."""
        return self.folder / f"faces_{self.image_size}{'_gray' if self.grayscale else ''}.npy"

    @cached_property
    def face_cache(self) -> FaceCache:
        """The faces at the training size."""
        return FaceCache(self.face_cache_path)

    def prepare_data(self) -> None:
        """Writes the faces at the training size and looks for near-duplicates, unless both are there."""
        for folder in (self.folder, self.folder / "features"):  # what is large and lies in the cache for years
            remove_leftovers(folder)
        if self.face_cache_path.exists() and self._duplicates_path.exists():
            return
        self._make_folder()
        with lock(self.folder):  # one rank, or run, works and the others wait
            if not self.face_cache_path.exists():
                self._build_face_cache()
            if not self._duplicates_path.exists():
                self._find_duplicates()

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`prepare_data` has nothing left to do, since another process did it."""
        prepared = all(source.is_prepared for source in self.sources)
        return prepared and self.face_cache_path.exists() and self._duplicates_path.exists()

    @property
    def _duplicates_path(self) -> Path:
        return self.folder / "near_duplicates.parquet"

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cache_dir={self.cache_dir} cannot be written ({error.strerror}): choose another."
            ) from error

    def _find_duplicates(self) -> None:
        hashes = np.load(self.face_cache_path.with_suffix(".hashes.npy"))
        if len(hashes) > 20_000:
            log.info("comparing %d faces with each other, once: it may take a minute or two.", len(hashes))
        with writing(self._duplicates_path) as unfinished:
            near_duplicates(hashes, keys(self.frames, "clip")).to_parquet(unfinished)

    def _build_face_cache(self) -> None:
        build_face_cache(
            self.face_cache_path,
            len(self.frames),
            self._open_pictures(),
            size=self.image_size,
            grayscale=self.grayscale,
            description=f"{self.corpus}: faces at {self.image_size} px",
        )

    @cached_property  # a run asks for it twice
    def fingerprint(self) -> str:
        """A digest of the data with their split (:func:`fervid.schema.same_system.fingerprint`)."""
        hashes = np.load(self.face_cache_path.with_suffix(".hashes.npy"))[self.manifest["cache_row"].to_numpy()]
        of_emotion = isinstance(self.target, ClassTarget) and self.target.name == "emotion"  # a column of the manifest
        return fingerprint(self.manifest, hashes, None if of_emotion else self.target.values(self.samples))

    def _open_pictures(self) -> Callable[[int], np.ndarray]:
        """Gives a function from a row of :attr:`frames` to its face."""
        corpus = self.frames["corpus"].to_numpy(dtype=object)
        first = {source.name: int(np.argmax(corpus == source.name)) for source in self.sources}
        openers = {
            source.name: source.open_pictures(self.frames[corpus == source.name].reset_index(drop=True), self.folder)
            for source in self.sources
        }
        return lambda row: openers[corpus[row]](row - first[corpus[row]])

    def setup(self, stage: str | None = None) -> None:
        """Splits, leaves out the frames that are in no subset, fits the target; does nothing a second time."""
        if self._is_set_up:
            return
        manifest = self.frames.assign(cache_row=np.arange(len(self.frames)))
        pairs = pd.read_parquet(self._duplicates_path)
        if self.near_duplicates == "group":
            manifest["group"] = group(pairs, keys(manifest, "clip"))
        manifest["split"] = self.split(manifest)
        left_out = manifest["split"].isna()
        if left_out.any():
            gone = sorted(set(manifest["emotion"]) - set(manifest["emotion"][~left_out]))
            log.warning(
                "%d of %d frames are on no side of this split and left out%s.",
                *(left_out.sum(), len(manifest), f", among them all of {', '.join(gone)}" if gone else ""),
            )
        manifest = self.manifest = check_manifest(manifest[~left_out])
        if left_out.any():  # of a pair of clips only the closest frames were noted, and one of these may be gone
            hashes = np.load(self.face_cache_path.with_suffix(".hashes.npy"))[manifest["cache_row"].to_numpy()]
            pairs = near_duplicates(hashes, keys(manifest, "clip"))
        self.audit = audit(manifest, pairs, subjects_from=self.subjects_from, verified=self.verified)
        self.target.fit(self.samples)
        self._check_batch_size()
        if "group" in manifest and (manifest.groupby("group")["split"].nunique() > 1).any():
            log.warning("this split does not follow dataset.near_duplicates=group: split=clips does.")
        sentence = self.audit.sentence()
        if sentence:
            log.warning(sentence)
        self._is_set_up = True

    def _check_batch_size(self) -> None:
        train = int((self.samples["split"] == "train").sum())
        if self.batch_size > train:
            raise InputError(
                f"dataset.batch_size={self.batch_size} is larger than the training side of {train} frames: "
                f"give at most {train}."
            )

    @property
    def samples(self) -> pd.DataFrame:
        """One row a sample: what the network is shown at once, and what a row of predictions answers."""
        return self.sample.table(self.manifest)

    @property
    def class_names(self) -> list[str]:
        """The classes of the target, sorted; a label is a position among them.

        Raises:
            InputError: if the target is of another kind.
        """
        if not isinstance(self.target, ClassTarget):
            raise InputError(f"the target {self.target.name} has no classes.")
        return self.target.class_names

    def samples_of(self, subset: str) -> pd.DataFrame:
        """The rows of :attr:`samples` in one subset."""
        return self.samples[self.samples["split"] == subset]

    # From the manifest to batches

    def use_features(self, features: dict[str, tuple[np.ndarray, np.ndarray]], model: pl.LightningModule) -> None:
        """From the next loader on, serves cached features instead of pictures, to one model alone.

        Args:
            features: for a split its features (V, M, ...) and the row in them of each of its N frames, shape (N,);
                an empty dict goes back to pictures.
            model: whose frozen prefix gave them; any other one is given pictures.
        """
        self._features, self._features_of = features, weakref.ref(model)
        self._resident.clear()  # what the phase before had on the GPU

    def frame_dataset(self, side: str, *, augment: bool = False, epoch: torch.Tensor | None = None) -> FrameDataset:
        """The samples of one subset, in the order of :attr:`samples`."""
        samples = self.samples_of(side)
        return self.sample.dataset(
            self.face_cache,
            samples,
            self._targets(samples),
            augmentation=self.augmentation if augment else None,
            seed=self.seed,
            epoch=epoch,
        )

    def _targets(self, samples: pd.DataFrame) -> dict[str, np.ndarray]:
        return {self.target.name: self.target.values(samples)}

    def train_dataloader(self) -> DataLoader | DeviceLoader:
        samples = self.samples_of("train")
        weights = self.target.balancing_weights(samples) if self.sampler == "balanced" else None
        # Lightning's own count of finished epochs: right also when a run resumes.
        epoch = self.trainer.fit_loop.epoch_progress.current.processed if self.trainer else 0  # type: ignore[attr-defined]
        sampler = EpochSampler(len(samples), seed=self.seed, weights=weights, epoch=epoch)
        # A last batch of one frame has no statistics for BatchNorm.
        lonely = self.batch_size > 1 and len(sampler) % self.batch_size == 1
        dataset = self._dataset("train", sampler.epoch)
        return self._loader(dataset, batch_size=self.batch_size, sampler=sampler, drop_last=lonely)

    def val_dataloader(self) -> DataLoader | DeviceLoader:
        return self._loader(self._dataset("val"), batch_size=self._evaluation_batch)

    def test_dataloader(self) -> DataLoader | DeviceLoader:
        return self._loader(self._dataset("test"), batch_size=self._evaluation_batch)

    @property
    def _evaluation_batch(self) -> int:
        # Whoever trains with batches of 2 because the device holds no more gets no 64.
        return max(self.batch_size, min(EVALUATION_BATCH, 8 * self.batch_size))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Makes pictures float32 in [0, 1], on the device: bytes travel, floats do not."""
        if "image" in batch and batch["image"].dtype == torch.uint8:
            batch["image"] = batch["image"].float().div_(255)
        return batch

    def _dataset(self, side: str, epoch: torch.Tensor | None = None) -> FrameDataset | FeatureDataset:
        asking = self.trainer.lightning_module if self.trainer else None
        if side in self._features and asking is not None and asking is self._features_of():
            features, rows = self._features[side]
            samples = self.samples_of(side)
            return FeatureDataset(features, rows, samples.index.to_numpy(), self._targets(samples), epoch=epoch)
        return self.frame_dataset(side, augment=side == "train", epoch=epoch)

    def _loader(
        self, dataset: FrameDataset | FeatureDataset, *, batch_size: int, **kwargs: Any
    ) -> DataLoader | DeviceLoader:
        source = self._on_device(dataset)
        if source is not None:
            return DeviceLoader(dataset, source, batch_size=batch_size, **kwargs)
        # Features come straight from a memory map: handing them from process to process would only slow them.
        workers = self.num_workers if isinstance(dataset, FrameDataset) else 0
        return DataLoader(
            dataset,
            batch_size=batch_size,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=already_a_batch,
            worker_init_fn=partial(end_with_parent, os.getpid()),
            generator=torch.Generator(),  # else it draws from the one that dropout draws from, at times of its own
            **kwargs,
        )

    def _on_device(self, dataset: FrameDataset | FeatureDataset) -> Callable[[], torch.Tensor] | None:
        """Gives what the dataset reads on the GPU that trains, if it fits there and nothing needs the CPU."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type != "cuda":
            return None
        if isinstance(dataset, FrameDataset) and dataset.augmentation is not None:
            from fervid.data.device_augmentation import without_counterpart  # loads albumentations

            missing = without_counterpart(dataset.augmentation)
            if missing:
                log.info("%s of the augmentation is drawn on the CPU: it will hold the GPU up.", ", ".join(missing))
                return None
        array = dataset.features if isinstance(dataset, FeatureDataset) else dataset.face_cache.faces
        return partial(self._copy_on, array, device) if fits(array, device) else None

    def _copy_on(self, array: np.ndarray, device: torch.device) -> torch.Tensor:
        """The one copy of an array on the device that all sides share."""
        if id(array) not in self._resident:
            self._resident[id(array)] = to_device(array, device)
        return self._resident[id(array)]
