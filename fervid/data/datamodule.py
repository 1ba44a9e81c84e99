"""The datamodule: from the frames or clips of corpora to batches."""

import hashlib
import logging
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from fervid import splits
from fervid.audit.duplicates import group, near_duplicates
from fervid.audit.identity import People, centred, same_people
from fervid.audit.leakage import audit
from fervid.data.datasets import EpochSampler, SampleDataset
from fervid.data.device_loader import DeviceLoader
from fervid.data.face_cache import FaceCache
from fervid.data.identity import FaceIdentity
from fervid.data.inputs import Augmentation, Cached, CachedFeatures, Features, Inputs
from fervid.data.loading import Loading
from fervid.data.samples import Sample
from fervid.data.source import Source, check_sources, feature_names, open_sources
from fervid.data.stores import PictureStore, Store, make_cache_folder, make_stores
from fervid.data.targets import ClassTarget, Target, VoteTarget
from fervid.errors import InputError
from fervid.media.files import FAILED
from fervid.schema.columns import FRAME_KEY, keys
from fervid.schema.label_maps import LabelMap
from fervid.schema.manifest import check_manifest
from fervid.schema.same_system import fingerprint
from fervid.storage.atomic import remove_leftovers, writing
from fervid.storage.locks import lock

if TYPE_CHECKING:
    import albumentations as A

log = logging.getLogger(__name__)

Split = Callable[[pd.DataFrame], np.ndarray]
EVALUATION_BATCH_SIZE = 64  # frames; without training, the batch size does not affect the results
DEFAULT_SPLIT = partial(splits.subject, val=0.2, test=0.2, seed=42)
DEFAULT_CACHE = Path(os.environ.get("FERVID_CACHE", "~/.cache/fervid"))


class EmotionDataModule(pl.LightningDataModule):
    """Serves the frames or clips of one or several corpora as batches.

    A batch is a dict with an entry per modality of the sample: ``image`` float32 (B, 3, H, W) in [0, 1] RGB (uint8
    until Lightning has moved it to the device), or (B, T, 3, H, W) for clips of T frames; ``sound`` float32 (B, S) at
    16 kHz; ``features`` float32 (B, T, F). Sounds and features are padded with NaN to the longest of the batch. Further
    entries are the target, such as ``emotion`` int64 (B,), and ``index`` int64 (B,) = row of :attr:`samples`.

    Args:
        sources: prepared (:class:`fervid.data.corpus_source.CorpusSource`) or rendered corpora.
        sample: kind of sample. Default: a single frame.
        target: target to learn. Default: the emotion.
        split: function that assigns ``train``, ``val`` or ``test`` to each row of a manifest. Default:
            subject-independent, 60/20/20%.
        image_size: side of the network's input in pixels.
        batch_size: number of samples per training step. Validation and test use batches of 64, but at most eight times
            this number and at least this number.
        num_workers: number of worker processes that load batches; 0 loads in the training process.
        augmentation: albumentations pipeline for training pictures; None or an empty pipeline: no augmentation.
        sound_augmentation: augmentation of training sounds (:mod:`fervid.data.sound_augmentation`); None: none.
        sampler: ``shuffle`` (each sample once per epoch) or ``balanced`` (all classes equally often, with replacement).
        grayscale: whether to replace all three channels with the luminance.
        identity: finds the same people by face embeddings. If the subjects of the corpora are unknown, the people found
            become the subjects, each a cluster of frames. None: not searched.
        near_duplicates: ``keep``, or ``group`` to treat clips with near-duplicate pictures as one in splits of clips.
        cache_dir: folder of the faces at the training size, shared by all runs. Default: the environment variable
            ``FERVID_CACHE``, or ``~/.cache/fervid``.
        seed: seed of the order and the augmentation.

    Attributes:
        manifest: one row per usable frame (or clip, if there are no pictures) with its subset, after :meth:`setup`.
        audit: leakage between the subsets, after :meth:`setup`.
        failures: files that could not be used: ``path``, ``reason`` and ``outcome`` (``failed`` or ``left out``).
        people, same_people: the people found and the names of each, after :meth:`setup`; None without ``identity``.
        subjects_clustered: whether the subjects are clusters of face embeddings, after :meth:`setup`.
        label_report: of several corpora, the report of :meth:`fervid.schema.label_maps.LabelMap.align`.
        folder: folder of the cached inputs.
        stores: the cached inputs of each modality.

    Raises:
        InputError: if a setting cannot be used, or the corpus cannot be trained on.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        sample: Sample | None = None,
        target: Target | None = None,
        split: Split = DEFAULT_SPLIT,
        image_size: int = 96,
        batch_size: int = 32,
        num_workers: int = 0,
        augmentation: "A.Compose | None" = None,
        sound_augmentation: Augmentation | None = None,
        sampler: str = "shuffle",
        grayscale: bool = False,
        identity: FaceIdentity | None = None,
        near_duplicates: str = "keep",
        cache_dir: str | Path = DEFAULT_CACHE,
        seed: int = 42,
    ):
        super().__init__()
        if batch_size < 1:
            raise InputError(f"dataset.batch_size={batch_size} is out of range: give at least 1.")
        if image_size < 1:
            raise InputError(f"image_size={image_size} is out of range: give the side of the picture in pixels.")
        if num_workers < 0:
            raise InputError(f"dataset.num_workers={num_workers} is out of range: give 0 or more.")
        if sampler not in ("shuffle", "balanced"):
            raise InputError(f"dataset.sampler={sampler} is unknown: choose shuffle or balanced.")
        if near_duplicates not in ("keep", "group"):
            raise InputError(f"dataset.near_duplicates={near_duplicates} is unknown: choose keep or group.")
        if identity is not None and sample is not None and not sample.shows_pictures:
            raise InputError("identity compares faces, but the sample has no pictures: leave identity out.")
        check_sources(sources)
        self.sources, self.sample, self.target = list(sources), sample or Sample(), target or ClassTarget()
        self.split, self.image_size, self.batch_size = split, image_size, batch_size
        self.num_workers, self.sampler, self.grayscale, self.seed = num_workers, sampler, grayscale, seed
        self.near_duplicates, self.identity = near_duplicates, identity
        self.label_report: pd.DataFrame | None = None
        self.people: People | None = None
        self.same_people: pd.DataFrame | None = None
        self.augmentation = augmentation if augmentation is not None and len(augmentation.transforms) else None
        self.cache_dir = Path(cache_dir).expanduser()
        self.manifest = pd.DataFrame()
        self.augmentations = {"image": self.augmentation, "sound": sound_augmentation}
        self._features: Features = {}
        self._features_of: Callable[[], Any] = lambda: None
        self._loading = Loading()
        self.subjects_clustered, self._is_set_up = False, False
        self._stored_people: pd.DataFrame | None = None

    # Corpora

    @property
    def corpus(self) -> str:
        """Name of the corpus; for several corpora, their names joined by ``+``."""
        return "+".join(source.name for source in self.sources)

    @property
    def corpora(self) -> list[dict[str, Any]]:
        """Description of each corpus for model cards and results."""
        return [source.about() for source in self.sources]

    @property
    def rendered(self) -> bool:
        """Whether any of the subjects are rendered."""
        return any(about["rendered"] for about in self.corpora)

    @property
    def subjects_from(self) -> str | None:
        """Origin of the subjects' names if it is not verified that each name is one person; None if verified."""
        unverified = dict.fromkeys(source.subjects_from for source in self.sources if source.subjects_from)
        return " and ".join(unverified) or None

    @property
    def verified(self) -> list[str]:
        """The corpora that identify their subjects themselves."""
        return [source.name for source in self.sources if not source.subjects_from]

    @property
    def failures(self) -> pd.DataFrame:
        """Files that could not be used: ``path``, ``reason`` and ``outcome`` (``failed`` or ``left out``)."""
        return pd.concat([source.failures for source in self.sources], ignore_index=True)

    @property
    def failed_files(self) -> int:
        """Number of videos and pictures that could not be used, without files that are not part of the corpus."""
        return int((self.failures["outcome"] == FAILED).sum())

    # From frames or clips to a split manifest

    @cached_property
    def rows(self) -> pd.DataFrame:
        """All frames that show a face, or all clips if there are no pictures, in the order of the corpora."""
        tables = [source.rows(self.sample.modalities) for source in self.sources]
        for source in self.sources:
            if source.face_size is not None and self.image_size > source.face_size:
                log.warning(
                    "faces prepared at %d px are enlarged to %d px: use dataset.face_size=%d to prepare larger ones.",
                    *(source.face_size, self.image_size, self.image_size),
                )
        return check_manifest(pd.concat(self.align_labels(tables), ignore_index=True) if len(tables) > 1 else tables[0])

    def align_labels(self, tables: Sequence[pd.DataFrame]) -> Sequence[pd.DataFrame]:
        """Returns the rows of several corpora with common names of emotions; fills :attr:`label_report`."""
        aligned, self.label_report = LabelMap(not_shared="keep").align(tables)
        return aligned

    @cached_property
    def folder(self) -> Path:
        """Folder of the cached inputs; its name depends on the content of the corpora and on their settings."""
        key = hashlib.sha256(pd.util.hash_pandas_object(self.rows).to_numpy().tobytes())
        key.update(f"{list(self.rows.columns)} {' '.join(source.fingerprint() for source in self.sources)}".encode())
        return self.cache_dir / f"{self.corpus}-{key.hexdigest()[:12]}"

    @cached_property
    def stores(self) -> dict[str, Store]:
        return make_stores(self.sample.modalities, self.folder, image_size=self.image_size, grayscale=self.grayscale)

    @property
    def face_cache(self) -> FaceCache:
        """The faces at the training size."""
        return self._pictures.faces

    @property
    def _pictures(self) -> PictureStore:
        found = self.stores.get(PictureStore.modality)
        if not isinstance(found, PictureStore):
            raise InputError(f"samples of {' and '.join(self.sample.modalities)} have no pictures.")
        return found

    @property
    def feature_names(self) -> list[str]:
        """Names of the features of the modality ``features``."""
        return feature_names(self.sources)

    def numbered_rows(self) -> pd.DataFrame:
        """Returns :attr:`rows` with the rows of the stores: ``cache_row`` of pictures, ``clip_row`` of others."""
        clips = pd.factorize(keys(self.rows, "clip"))[0]
        return self.rows.assign(cache_row=np.arange(len(self.rows)), clip_row=clips)

    def _rows_of(self, modality: str) -> pd.DataFrame:
        """Returns the rows of :attr:`rows` that a store has: all for pictures, and one per clip otherwise."""
        if modality == PictureStore.modality:
            return self.rows
        return self.rows[~keys(self.rows, "clip").duplicated()].reset_index(drop=True)

    def prepare_data(self) -> None:
        """Writes the inputs at the training size and finds near-duplicates, unless both have already been done."""
        # Large files, which may stay in the cache for years.
        for folder in (self.folder, self.folder / "features", self.cache_dir / "embeddings"):
            remove_leftovers(folder)
        if self._is_cached:
            return
        make_cache_folder(self.folder, self.cache_dir)
        with lock(self.folder):  # one rank or run prepares, the others wait
            for name, store in self.stores.items():
                if not store.is_built:
                    rows = self._rows_of(name)
                    read = open_sources(self.sources, name, rows, self.folder)
                    store.build(len(rows), read, f"{self.corpus}: {store.title}")
            if not self._duplicates_path.exists():
                self._find_duplicates()
            if self.identity is not None:
                self._embed(self.identity)

    @property
    def is_ready(self) -> bool:
        """Whether all files that :meth:`prepare_data` writes exist."""
        return all(source.is_prepared for source in self.sources) and self._is_cached

    @property
    def _is_cached(self) -> bool:
        found = all(store.is_built for store in self.stores.values()) and self._duplicates_path.exists()
        return found and (self.identity is None or self.embeddings_path(self.identity).exists())

    def embeddings(self, identity: FaceIdentity) -> np.ndarray:
        """Returns the face embeddings of :attr:`rows`, float32 (N, D), centred and of length 1.

        They are computed unless they are in the cache. Call :meth:`prepare_data` first.
        """
        return centred(np.load(self._embed(identity)), self.rows["corpus"].to_numpy())

    def _embed(self, identity: FaceIdentity) -> Path:
        path = self.embeddings_path(identity)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            identity.embed(
                path,
                len(self.rows),
                open_sources(self.sources, "image", self.rows, self.folder),
                f"{self.corpus}: embeddings",
            )
        return path

    def embeddings_path(self, identity: FaceIdentity) -> Path:
        """Returns the path of the embeddings, which depends on pictures and network, not on labels or subjects."""
        key = hashlib.sha256(self._pictures.hashes_path.read_bytes())
        key.update(f"{[source.face_size for source in self.sources]}".encode())
        return self.cache_dir / "embeddings" / f"{self.corpus}-{key.hexdigest()[:12]}-{identity.file_name}"

    @property
    def _duplicates_path(self) -> Path:
        return self.folder / "near_duplicates.parquet"

    def _find_duplicates(self) -> None:
        hashes = self.stores[self.sample.modalities[0]].hashes()
        if len(hashes) > 20_000:
            log.info("searching near-duplicates among %d frames, which may take a minute or two.", len(hashes))
        with writing(self._duplicates_path) as unfinished:
            near_duplicates(hashes, keys(self.rows, "clip")).to_parquet(unfinished)

    @cached_property  # used twice per run
    def fingerprint(self) -> str:
        """Digest of the data with their split (:func:`fervid.schema.same_system.fingerprint`)."""
        hashes = [store.hashes()[self._store_rows(name)] for name, store in self.stores.items()]
        is_emotion = isinstance(self.target, ClassTarget) and self.target.name == "emotion"  # a manifest column
        values = None if is_emotion else self.target.values(self.samples)
        return fingerprint(self.manifest, np.concatenate(hashes, axis=1), values)

    def _store_rows(self, modality: str) -> np.ndarray:
        """Returns the row of the store for each row of the manifest."""
        return self.manifest["cache_row" if modality == PictureStore.modality else "clip_row"].to_numpy()

    def setup(self, stage: str | None = None) -> None:
        """Splits and audits the rows, and fits the target; does nothing if called again."""
        if self._is_set_up:
            return
        manifest = self.numbered_rows()
        pairs = pd.read_parquet(self._duplicates_path)
        if self.near_duplicates == "group":
            manifest["group"] = group(pairs, keys(manifest, "clip"))
        if self.identity is not None:
            embeddings = self.embeddings(self.identity)
            self.people = self.identity.people(embeddings, self.rows, self.embeddings_path(self.identity))
            self.subjects_clustered = self.people.clustered
            # Near-duplicates show one person even if they are too small or too dark for the network.
            manifest["face_cluster"] = group(pairs, self.people.names)
            if self.subjects_clustered:
                manifest["subject"] = manifest["face_cluster"]
        elif self._stored_people is not None:
            manifest = manifest.drop(columns="subject").merge(self._stored_people, how="left", on=FRAME_KEY)
        manifest["split"] = self.sample.subsets(self.split, manifest)
        left_out = manifest["split"].isna()
        if left_out.any():
            gone = sorted(set(manifest["emotion"]) - set(manifest["emotion"][~left_out]))
            log.warning(
                "%d of %d frames are in no subset of this split and are left out%s.",
                *(left_out.sum(), len(manifest), f", including all frames of {', '.join(gone)}" if gone else ""),
            )
        manifest = self.manifest = check_manifest(manifest[~left_out])
        if left_out.any():  # only the closest frames of a pair of clips are recorded, and they may have been left out
            first = self.sample.modalities[0]
            pairs = near_duplicates(self.stores[first].hashes()[self._store_rows(first)], keys(manifest, "clip"))
        if self.people is not None:
            rows = manifest["cache_row"].to_numpy()
            self.same_people = same_people(
                replace(self.people, unit=self.people.unit[rows]), manifest, embeddings[rows]
            )
        self.audit = audit(
            manifest,
            pairs,
            people=self.same_people,
            identity=self.people.evidence if self.people else None,
            subjects_clustered=self.subjects_clustered,
            subjects_from=self.subjects_from,
            verified=self.verified,
        )
        self.target.fit(self.samples)
        train = int((self.samples["split"] == "train").sum())
        if self.batch_size > train:
            raise InputError(
                f"dataset.batch_size={self.batch_size} is larger than the training subset of {train} "
                f"{'clips' if self.sample.is_clip else 'frames'}: give at most {train}."
            )
        if "group" in manifest and (manifest.groupby("group")["split"].nunique() > 1).any():
            log.warning("this split does not keep all near-duplicates together (dataset.near_duplicates=group).")
        sentence = self.audit.sentence()
        if sentence:
            log.warning(sentence)
        self._is_set_up = True

    def use_people(self, manifest: pd.DataFrame, *, subjects_clustered: bool) -> None:
        """Makes :meth:`setup` use the people and subjects of a stored manifest instead of comparing faces."""
        self.subjects_clustered = subjects_clustered
        self._stored_people = manifest[[*FRAME_KEY, "face_cluster", "subject"]]

    @property
    def samples(self) -> pd.DataFrame:
        """The sample table: one row per sample, that is per input of the network and per row of predictions."""
        return self.sample.table(self.manifest)

    @property
    def class_names(self) -> list[str]:
        """The sorted classes of the target; a label is an index into them.

        Raises:
            InputError: if the target has no classes.
        """
        if isinstance(self.target, ClassTarget):
            return self.target.class_names
        raise InputError(f"the target {self.target.name} has no classes: use a task of classes.")

    def samples_of(self, subset: str) -> pd.DataFrame:
        """Returns the rows of :attr:`samples` in one subset."""
        return self.samples.loc[lambda samples: samples["split"] == subset]

    # From the manifest to batches

    def use_features(self, features: Features, model: pl.LightningModule) -> None:
        """Makes subsequent loaders serve cached features instead of inputs, but only for one model.

        Args:
            features: features of each subset, by modality. An empty dict switches back to inputs.
            model: model with the frozen stages that computed the features; other models are served inputs.
        """
        self._features, self._features_of = features, weakref.ref(model)
        self._loading.clear()  # frees the GPU memory of the previous phase

    def cached_features(self, model: pl.LightningModule, subset: str) -> Mapping[str, CachedFeatures]:
        """Returns the cached features that loaders serve to a model for a subset, by modality."""
        return self._features.get(subset, {}) if model is self._features_of() else {}

    def input_rows(self, modality: str, subset: str) -> np.ndarray:
        """Returns the row in the store of each sample of a subset: (N,), or (N, T) for clips of T frames."""
        samples = self.samples_of(subset)
        if modality == PictureStore.modality:
            return self.sample.frame_rows(self.manifest, samples)
        return samples["clip_row"].to_numpy()

    def dataset(
        self,
        subset: str,
        *,
        augment: bool = False,
        cached: Mapping[str, CachedFeatures] = MappingProxyType({}),
        epoch: torch.Tensor | None = None,
    ) -> SampleDataset:
        """Returns the samples of one subset, in the order of :attr:`samples`.

        Args:
            subset: ``train``, ``val`` or ``test``.
            augment: whether to augment inputs.
            cached: cached features by modality, which replace the inputs.
            epoch: the sampler's epoch, a scalar tensor in shared memory.
        """
        samples = self.samples_of(subset)
        inputs: list[Inputs] = []
        for name, store in self.stores.items():
            if name in cached:
                inputs.append(Cached(name, cached[name], seed=self.seed))
            else:
                augmentation = self.augmentations.get(name) if augment else None
                rows = self.input_rows(name, subset)
                inputs.append(store.inputs(rows, augmentation=augmentation, seed=self.seed))
        return SampleDataset(inputs, samples.index.to_numpy(), self._targets(samples), epoch=epoch)

    def _targets(self, samples: pd.DataFrame) -> dict[str, np.ndarray]:
        votes = {VoteTarget.entry: self.target.distributions(samples)} if isinstance(self.target, VoteTarget) else {}
        return {self.target.name: self.target.values(samples), **votes}

    def train_dataloader(self) -> DataLoader | DeviceLoader:
        samples = self.samples_of("train")
        weights = self.sampling_weights(samples)
        # Lightning's count of finished epochs is also correct in a resumed run.
        epoch = self.trainer.fit_loop.epoch_progress.current.processed if self.trainer else 0  # type: ignore[attr-defined]
        sampler = EpochSampler(len(samples), seed=self.seed, weights=weights, epoch=epoch)
        # BatchNorm cannot compute batch statistics of a last batch with a single frame.
        drop_last = self.batch_size > 1 and len(sampler) % self.batch_size == 1
        dataset = self._dataset("train", sampler.epoch)
        return self._loader(dataset, batch_size=self.batch_size, sampler=sampler, drop_last=drop_last)

    def sampling_weights(self, samples: pd.DataFrame) -> np.ndarray | None:
        """Returns the sampling weights of N training samples, shape (N,); None if each is drawn once."""
        return self.target.balancing_weights(samples) if self.sampler == "balanced" else None

    def val_dataloader(self) -> DataLoader | DeviceLoader:
        return self._loader(self._dataset("val"), batch_size=self._evaluation_batch)

    def test_dataloader(self) -> DataLoader | DeviceLoader:
        return self._loader(self._dataset("test"), batch_size=self._evaluation_batch)

    @property
    def _evaluation_batch(self) -> int:
        # Limited to a multiple of the training batch size, which may be small because the device has little memory.
        return max(self.batch_size, min(EVALUATION_BATCH_SIZE, 8 * self.batch_size))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Converts pictures to float32 in [0, 1] on the device, so that only uint8 is transferred."""
        if "image" in batch and batch["image"].dtype == torch.uint8:
            batch["image"] = batch["image"].float().div_(255)
        return batch

    def _dataset(self, subset: str, epoch: torch.Tensor | None = None) -> SampleDataset:
        model = self.trainer.lightning_module if self.trainer else None
        cached = self.cached_features(model, subset) if model is not None else {}
        return self.dataset(subset, augment=subset == "train", cached=cached, epoch=epoch)

    def _loader(self, dataset: SampleDataset, **options: Any) -> DataLoader | DeviceLoader:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return self._loading.loader(dataset, device, workers=self.num_workers, **options)
