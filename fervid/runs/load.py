"""Opens what a run left, however it came here: nothing in a run folder chooses what code runs."""

import logging
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import pandas as pd
import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from fervid.data.frame_datamodule import FrameDataModule
from fervid.data.targets import ClassTarget
from fervid.errors import InputError, first_line, reason
from fervid.models.weight_files import read_checkpoint
from fervid.runs.build import make_datamodule, make_network
from fervid.runs.run import Run, open_run
from fervid.runs.trust import Trust, is_in, trusted_packages
from fervid.schema.columns import FRAME_KEY
from fervid.schema.config_folder import config_folders
from fervid.tasks.classification import EmotionClassifier

IMPORTED = ("_target_", "corpus")  # names of settings whose values are imported
INSTRUCTIONS = ("_target_", "_partial_", "_convert_", "_recursive_")  # of Hydra; _args_ could name anything
NETWORK = ("task", "backbone", "head", "detector")  # parts of a stored configuration that build a network
CORPUS = ("task", "dataset", "detector", "split")  # and those that open its corpus again
MAPPINGS = ("task", "dataset", "split", "backbone", "head")  # settings of one class each, where a run has them


def load_run(folder: str | Path, checkpoint: str = "best", *, trust: Trust = ()) -> EmotionClassifier:
    """The trained classifier of a run, ready to be asked.

    Args:
        folder: the run folder.
        checkpoint: ``best`` or ``last``.
        trust: packages whose classes the run may use, such as ``("my_package",)``. Without it only fervid's own
            classes are called, whatever the run folder names.

    Returns:
        The classifier in ``eval()`` mode on the CPU: float pictures (B, 3, H, W) in [0, 1], H and W its
        ``backbone.image_size``, give logits (B, num_classes) in the order of its ``class_names``.

    Raises:
        InputError: if the folder holds no finished run, or its files are damaged or do not belong together.
    """
    folder = Path(folder).expanduser()
    run = read_run(folder)
    results = run.results
    class_names, config = run.class_names, stored_config(results, folder, trust=trust)
    if "head" not in config:
        raise InputError(f"{folder} holds the classical baseline: it has no network that could be opened.")
    path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    try:
        state = read_checkpoint(path)
    except InputError as error:
        raise InputError(f"{folder} holds no {checkpoint} checkpoint that can be opened: {error}.") from error
    try:
        if "weights" in config.backbone:
            config.backbone.weights = None  # the run's own come in their place
        backbone, head = make_network(config, len(class_names))
        config.task.pop("loss", None)  # nothing is trained
        model: EmotionClassifier = instantiate(
            config.task, backbone=backbone, head=head, target=ClassTarget(class_names)
        )
    except Exception as error:  # a foreign configuration may hold anything, also in the right places
        raise InputError(f"the network of {folder} cannot be built from its configuration: {reason(error)}.") from error
    try:
        model.load_state_dict(state["state_dict"])
    except (RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"the {checkpoint} checkpoint of {folder} does not fit its configuration.") from error
    broken = [name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()]
    if broken:
        raise InputError(
            f"the {checkpoint} checkpoint of {folder} holds weights that are not finite ({broken[0]}"
            f"{f' and {len(broken) - 1} more' if broken[1:] else ''}): train the network again."
        )
    return model.eval()


def read_run(folder: Path) -> Run:
    """What a finished run wrote down.

    Raises:
        InputError: if there is nothing, or what another version of fervid left.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give that of a finished run.")
    try:
        return open_run(folder)
    except InputError as error:
        raise InputError(f"{folder} holds no finished run that can be opened: {error}.") from error


def stored_config(
    results: dict[str, Any], folder: Path, called: Sequence[str] = NETWORK, *, trust: Trust = ()
) -> DictConfig:
    """The configuration of a run, of which nothing but known classes will be called.

    Known are the classes that fervid's own yaml files name, those of a folder that the user named by ``--config-dir``,
    and what is defined in a package that the user trusts. Nothing is imported before all names are checked.

    Args:
        results: its ``results.json``, of :func:`fervid.runs.run.open_run`, which refuses references.
        folder: where they come from, for the error.
        called: the parts that will be instantiated.
        trust: packages of the user.

    Raises:
        InputError: if these parts name other code, or one is no part.
    """
    packages, trusted = trusted_packages(trust), []
    for part in MAPPINGS:
        if not isinstance(found := results["config"].get(part, {}), dict):
            raise InputError(
                f"{folder} has {part}={found} in its configuration, which fervid never writes: train it again."
            )
    for part in called:
        known = _named(tuple(config_folders()), part, IMPORTED)
        for name, value in _values(results["config"].get(part)):
            if name in IMPORTED and value not in known:
                if not is_in(value, packages):
                    raise InputError(
                        f"{folder} names {value} in its configuration, which is not a class of fervid: if you know and "
                        "trust this code, give trust=<its package>, or --config-dir=<folder with its yaml files>."
                    )
                trusted.append(value)
        for key in _keys(results["config"].get(part)):
            if key.startswith("_") and key not in INSTRUCTIONS:
                raise InputError(f"{folder} has {key} in its configuration, which fervid never writes: train it again.")
    for value in trusted:
        _check_home(value, packages, folder)
    config = OmegaConf.create(results["config"])
    assert isinstance(config, DictConfig)
    return config


def _check_home(path: str, packages: Sequence[str], folder: Path) -> None:
    """Refuses what a trusted package has only imported: ``mypackage.train.os.system`` is code of ``os``.

    Raises:
        InputError: if the path leads to code that is not defined in one of the packages, or to none.
    """
    try:
        found = get_object(path)
    except Exception as error:  # whatever the user's own code raises
        raise InputError(
            f"{path}, which {folder} names, cannot be imported ({reason(error)}): install its package, or put its "
            "folder on PYTHONPATH."
        ) from error
    home = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', None)}"
    if not isinstance(found, type | FunctionType) or not is_in(home, packages):
        raise InputError(
            f"{folder} names {path} in its configuration, which is not defined in {' or '.join(packages)}: if you know "
            "and trust this code, give trust=<the package that defines it> too."
        )


@cache
def _named(folders: tuple[str, ...], part: str, settings: tuple[str, ...]) -> frozenset[str]:
    """What the options of a group give some settings. Classes by full names: a prefix would let in all imports."""
    groups = [part, "detector"] if part == "dataset" else [part]  # a dataset holds its detector
    files = [file for folder in folders for group in groups for file in Path(folder, group).glob("*.yaml")]
    told = [OmegaConf.to_container(OmegaConf.load(file)) for file in files]
    return frozenset(value for name, value in _values(told) if name in settings)


def read_manifest(folder: Path) -> pd.DataFrame:
    """Every frame of a run with its side of the split.

    Raises:
        InputError: if the file is damaged or no manifest.
    """
    path = folder / "manifest.parquet"
    try:
        manifest = pd.read_parquet(path)
        absent = {*FRAME_KEY, "subject", "emotion", "split"} - set(manifest)
        if absent:
            raise ValueError(f"it has no column {', '.join(sorted(absent))}")
        return manifest
    except Exception as error:  # arrow has its own kinds for damaged files
        raise InputError(
            f"{path} cannot be read ({first_line(error)}): without it nobody knows what the run was trained on."
        ) from error


def reopen_corpus(
    folder: Path,
    results: dict[str, Any],
    cache_dir: str | Path,
    root: str | Path | None = None,
    *,
    trust: Trust = (),
) -> FrameDataModule:
    """The corpus of a run with its split, set up again: the faces it was trained and tested on.

    Args:
        folder: the run folder.
        results: its ``results.json``.
        cache_dir: where faces are kept.
        root: where the corpus lies now; None: where it lay.
        trust: packages whose classes the run may use.

    Raises:
        InputError: if the corpus is not there, or is not what it was.
    """
    stored = stored_config(results, folder, CORPUS, trust=trust)
    if absent := [part for part in ("dataset", "split", "task") if part not in stored]:
        raise InputError(f"{folder} has no {absent[0]} in its configuration: train it again.")
    stored.augmentation, stored.cache_dir = None, str(cache_dir)  # nothing is trained; it may name any class
    if root is not None:
        if "root" not in stored.dataset:
            raise InputError(f"root={root} says nothing here: {folder} was trained on rendered faces.")
        stored.dataset.root = str(root)
    elif unknown := _repos(results["config"]["dataset"]) - _named(tuple(config_folders()), "dataset", ("repo",)):
        raise InputError(
            f"{folder} wants to download {min(unknown)}, which no yaml file of fervid's or of --config-dir=<folder> "
            "names: download it yourself and give root=<folder>."
        )
    moved = "" if root is not None else "; if the corpus was moved, root=<folder> says where to"
    logger = logging.getLogger("fervid.data")
    level = logger.level
    try:
        datamodule = make_datamodule(stored)
        is_prepared = all(source.is_prepared for source in datamodule.sources)
        if stored.dataset.get("prepared_dir") is not None and not is_prepared:
            stored.dataset.prepared_dir = None  # nothing is written where a folder from elsewhere says
            datamodule = make_datamodule(stored)
        datamodule.prepare_data()
        logger.setLevel(logging.ERROR)  # the rest was said when the run was trained
        datamodule.setup()
    except Exception as error:  # as in load_run
        raise InputError(f"the corpus of {folder} cannot be opened again: {reason(error)}{moved}.") from error
    finally:
        logger.setLevel(level)
    columns = [*FRAME_KEY, "subject", "emotion", "split"]
    before, now = (table[columns].astype(str) for table in (read_manifest(folder), datamodule.manifest))
    if not before.equals(now):
        rows = before.merge(now, how="outer", indicator=True)["_merge"]
        raise InputError(
            f"the corpus of {folder} is not what it was: of its {len(before)} frames {(rows == 'left_only').sum()} "
            f"are gone or are now of another emotion, person or side, and {(rows == 'right_only').sum()} are new"
            f"{moved}."
        )
    return datamodule


def _keys(config: Any) -> Iterator[str]:
    """All names in a nested configuration, at any depth."""
    if isinstance(config, dict):
        yield from map(str, config)
    for value in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        yield from _keys(value)


def _values(config: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The names and values of a nested configuration, at any depth."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield from _values(value, str(key))
    elif isinstance(config, list):
        for value in config:
            yield from _values(value, name)
    else:
        yield name, config


def _repos(dataset: dict[str, Any]) -> set[str]:
    """What opening a corpus would download, by the names on the hub; nothing if it lies in a folder."""
    if dataset.get("root") is not None:
        return set()
    return {str(value) for name, value in _values(dataset) if name == "repo"}
