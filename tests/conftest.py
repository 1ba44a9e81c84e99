"""Small corpora and small networks that the tests share."""

import gc
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault(
    "NO_ALBUMENTATIONS_UPDATE", "1"
)  # before albumentations is imported, which would check for updates online
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads on these small networks are slower than one

import cv2
import numpy as np
import pytest
import torch
from filelock import FileLock
from shared_runs import train_shared_run

from fervid.data import ImageFolderDataModule, SyntheticDataModule
from fervid.data.targets import ClassTarget
from fervid.models.heads import LinearHead, MLPHead
from fervid.models.network import Network
from fervid.models.paper_backbones import LeNet
from fervid.tasks.classification import EmotionClassifier

pytest_plugins = ["clip_runs", "part_runs", "recorded_runs", "stored_runs"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests marked ``gpu`` on a machine without a CUDA device."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for rendered faces, shared by the whole session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def synthetic(cache: Path) -> Callable[..., SyntheticDataModule]:
    """A prepared corpus of 6 subjects x 8 emotions x 2 frames at 28 px; keywords are those of SyntheticDataModule."""

    def make(**options: Any) -> SyntheticDataModule:
        from fervid import splits

        split = partial(splits.subject, val=1 / 3, test=1 / 3, seed=0)
        defaults = {"identities": 6, "clips": 1, "frames": 2, "image_size": 28, "batch_size": 8}
        datamodule = SyntheticDataModule(**{"cache_dir": cache, "split": split, **defaults, **options})
        datamodule.prepare_data()
        datamodule.setup()
        return datamodule

    return make


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of pictures: 3 emotions x 10 subjects x 1 picture, ``<emotion>/<subject>__<number>.png``."""
    root = tmp_path / "pictures"
    rng = np.random.default_rng(0)
    for number, emotion in enumerate(("happy", "neutral", "sad")):
        (root / emotion).mkdir(parents=True)
        for subject in range(10):
            picture = rng.integers(0, 60, (40, 32, 3), dtype=np.uint8)
            picture[..., number] += 150  # each emotion has its colour
            cv2.imwrite(str(root / emotion / f"p{subject}__{number}.png"), picture)
    return root


@pytest.fixture
def image_folder(pictures: Path, tmp_path: Path) -> Callable[..., ImageFolderDataModule]:
    def make(**options: Any) -> ImageFolderDataModule:
        defaults = {"subject_pattern": "(.+)__", "image_size": 28, "batch_size": 4, "cache_dir": tmp_path / "cache"}
        return ImageFolderDataModule(**{"root": pictures, **defaults, **options})

    return make


@pytest.fixture
def lenet() -> Callable[..., EmotionClassifier]:
    """A LeNet with a head for the 8 emotions of the rendered corpus; the same weights every time."""

    def make(head: str = "mlp", **options: Any) -> EmotionClassifier:
        torch.manual_seed(0)
        backbone = LeNet()
        shape = backbone.output_shape()
        heads = {"mlp": lambda: MLPHead(shape, 8, hidden=[16], dropout=[0.5]), "linear": lambda: LinearHead(shape, 8)}
        network = Network.of_pictures(backbone, heads[head]())
        return EmotionClassifier(network, ClassTarget([f"emotion{number}" for number in range(8)]), **options)

    return make


@pytest.fixture
def fervid_command(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Callable[..., None]:
    """Runs ``python -m fervid.<name>`` in this process, which has already loaded the libraries."""

    def run(name: str, *overrides: str) -> None:
        from hydra.core.global_hydra import GlobalHydra

        GlobalHydra.instance().clear()
        has_cache = any("cache_dir=" in word for word in overrides) or name in ("demo", "export", "predict", "report")
        own_cache = [] if has_cache else [f"cache_dir={cache}"]
        monkeypatch.setattr("sys.argv", [f"fervid.{name}", *overrides, *own_cache])
        import_module(f"fervid.{name}").main()

    return run


@pytest.fixture
def fervid_train(fervid_command: Callable[..., None]) -> Callable[..., None]:
    """Runs ``python -m fervid.train``."""
    return partial(fervid_command, "train")


@pytest.fixture(autouse=True, scope="session")
def garbage_stays_garbage() -> Iterator[None]:
    """Commands freeze the objects of their imports; here that would include objects that other tests left open."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "freeze", lambda: None)
        yield


@pytest.fixture
def loops_swept_up() -> Iterator[None]:
    """Closes what Gradio's server and the notebooks' kernels leave open, so that no later test fails for it."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@dataclass(frozen=True)
class Trained:
    """A small run on rendered videos in the layout of RAVDESS, and its corpus."""

    folder: Path  # of the run, read-only: copy it to change it
    corpus: Path  # 4 subjects x angry, happy, sad x 1 clip of 16 frames, 320 x 240
    cache: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Trained:
    """A finished run: LeNet, Haar, frames 0 and 8 of each clip, subject-independent; both test processes share it."""
    base = tmp_path_factory.getbasetemp()
    place = (base if worker_id == "master" else base.parent) / "trained"
    ready = Trained(place / "run", place / "corpus", place / "cache")
    with FileLock(f"{place}.lock"):
        if not (ready.folder / "results.json").exists():
            _train(ready)
    return ready


def _train(trained: Trained) -> None:
    from rendered_corpora.ravdess import write_ravdess

    emotions = ("angry", "happy", "sad")
    small = {"intensities": ("01",), "frames": 16, "width": 320, "height": 240}
    write_ravdess(trained.corpus, subjects=(1, 2, 3, 4), emotions=emotions, **small)
    words = [
        *("dataset=ravdess", f"dataset.root={trained.corpus}", "dataset.emotions=[angry,happy,sad]"),
        *("dataset.frame_stride=8", "dataset.batch_size=6", "split.val=0.25", "split.test=0.25", "backbone=lenet"),
        *("trainer.max_epochs=3", "+trainer.enable_progress_bar=false", f"cache_dir={trained.cache}"),
        f"hydra.run.dir={trained.folder}",
    ]
    train_shared_run(words)
