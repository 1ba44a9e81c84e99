"""The stored runs of an evaluation, the frames they are asked about, and what these have in common with training."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich import get_console
from rich.progress import track

from fervid.audit.duplicates import near_duplicates
from fervid.audit.leakage import audit
from fervid.data.face_cache import FaceCache
from fervid.data.frame_datamodule import FrameDataModule
from fervid.errors import InputError
from fervid.faces.detection import NoDetector
from fervid.predict.predictor import BATCH, Predictor
from fervid.runs.load import read_manifest, read_run, reopen_corpus, stored_config
from fervid.runs.run import Run
from fervid.runs.trust import Trust
from fervid.schema.columns import FRAME_KEY, keys

NO_DETECTOR = f"{NoDetector.__module__}.{NoDetector.__name__}"


@dataclass
class Member:
    """A stored run and what it is asked about.

    Attributes:
        run: the stored one.
        name: short, unlike the other members'.
        seen: the frames it was trained and validated on, with their ``split``.
        datamodule: serves the pictures.
        frames: those it is asked about: rows of the datamodule's manifest with their ``cache_row``.
        names_tell: whether the names of people and clips say who of these it has seen.
        leakage: what these frames have in common with those it has seen.
        classes: what its classes count as, all different.
        probabilities: of these classes, (N, C), of the N frames.
    """

    run: Run
    name: str
    seen: pd.DataFrame
    datamodule: FrameDataModule
    frames: pd.DataFrame
    names_tell: bool = True
    leakage: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    probabilities: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))


def open_members(runs: Sequence[Run], config: DictConfig) -> list[Member]:
    """The runs with the frames they are asked about.

    Args:
        runs: stored ones.
        config: what ``conf/evaluate.yaml`` composes; without ``dataset`` each is asked about its own test side.

    Raises:
        InputError: if the corpus is not there, is not what it was, or cannot be used.
    """
    members = []
    for run, name in zip(runs, _names(runs), strict=True):
        manifest, names_tell = read_manifest(run.folder), True
        seen = manifest[manifest["split"].isin(["train", "val"])]
        if config.get("dataset") is None:
            datamodule = reopen_corpus(run.folder, run.results, config.cache_dir, config.root, trust=config.trust)
            frames = datamodule.manifest[datamodule.manifest["split"] == "test"]
        else:
            datamodule, frames = _other_corpus(run, config)
            seen, names_tell = known_to_be_seen(run, seen, datamodule)
        members.append(Member(run, name, seen, datamodule, frames, names_tell))
    return members


def open_runs(folders: Sequence[str]) -> list[Run]:
    """Opens the folders of finished runs of networks.

    Raises:
        InputError: if one is named twice, or one holds no such run.
    """
    paths = [Path(folder).expanduser() for folder in folders]
    for number, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:number]]:
            raise InputError(f"run= names {path} twice: name each member once, and let weights= say what it counts.")
    runs = [read_run(path) for path in paths]
    for run in runs:
        if "head" not in run.results["config"]:
            raise InputError(f"{run.folder} holds the classical baseline: it has no network that could be asked again.")
    return runs


def _names(runs: Sequence[Run]) -> list[str]:
    """A short name of each: the last folder, more of them where that is a number or the same."""
    parts = [run.folder.resolve().parts[1:] for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names) and not any(name.isdigit() for name in names) and "ensemble" not in names:
            return names
    return [str(run.folder) for run in runs]


def _other_corpus(run: Run, config: DictConfig) -> tuple[FrameDataModule, pd.DataFrame]:
    """All frames of another corpus, cut out as the run knows faces."""
    stored = stored_config(run.results, run.folder, trust=config.trust)
    dataset = asked_settings(config, stored)
    datamodule: FrameDataModule = instantiate(
        dataset, image_size=stored.backbone.image_size, cache_dir=config.cache_dir, _convert_="all"
    )
    datamodule.prepare_data()
    rows = np.arange(len(datamodule.frames))
    return datamodule, datamodule.frames.assign(cache_row=rows, split="test")


def known_to_be_seen(run: Run, seen: pd.DataFrame, datamodule: FrameDataModule) -> tuple[pd.DataFrame, bool]:
    """What a run has seen of a corpus, and whether that can be told by the names of people and clips."""
    if all(corpus["published"] for corpus in [*run.corpora, *datamodule.corpora]):
        return seen[seen["corpus"].isin(datamodule.frames["corpus"])], bool(seen["subject"].notna().all())
    # Folders of files may hold anything: their names say nothing of those of another folder.
    own, asked = ([(c["name"], _place(c["root"])) for c in each] for each in (run.corpora, datamodule.corpora))
    return (seen, True) if own == asked else (seen.iloc[:0], False)


def _place(root: Any) -> Path:
    return Path(str(root)).expanduser().resolve()


def asked_settings(config: DictConfig, stored: DictConfig) -> DictConfig:
    """The settings of another corpus, with the run's own where they are of the faces and nobody says otherwise."""
    asked = OmegaConf.to_container(config.dataset, resolve=True)
    assert isinstance(asked, dict)
    given = {word.split("=")[0].lstrip("+") for word in config.overrides}
    for name in ("grayscale", "face_size", "margin"):
        if name in asked and name in stored.dataset and f"dataset.{name}" not in given:
            asked[name] = stored.dataset[name]
    own, theirs = stored.get("detector"), asked.get("detector")
    told = any(word.split(".")[0] == "detector" for word in given)
    if own and theirs and not told and NO_DETECTOR not in (own["_target_"], theirs["_target_"]):
        asked["detector"] = OmegaConf.to_container(own)  # faces are looked for in both: as it was trained
    return OmegaConf.create(asked)


def align(members: Sequence[Member], own: bool) -> None:
    """Brings the members' frames into one order; those that one of them lacks are left out."""
    keys = [pd.MultiIndex.from_frame(member.frames[FRAME_KEY]) for member in members]
    common = keys[0]
    for member, key in zip(members[1:], keys[1:], strict=True):
        if own and set(key) != set(keys[0]):
            raise InputError(
                f"{members[0].run.folder} and {member.run.folder} were tested on other frames, so that neither is "
                "honest on the test split of the other: evaluate them on another corpus (dataset=...), or train them "
                "with the same split; seed=1 split.seed=42 is another seed of the network with the same people."
            )
        if own and set(member.run.class_names) != set(members[0].run.class_names):
            raise InputError(f"{members[0].run.folder} and {member.run.folder} tell other emotions apart.")
        common = common[common.isin(key)]
    for member, key in zip(members, keys, strict=True):
        member.frames = member.frames.iloc[key.get_indexer(common)]


def leave_out_seen(members: Sequence[Member]) -> int:
    """Leaves out frames of people and clips that any member was trained or validated on; says how many."""
    seen = pd.concat([member.seen[["corpus", "subject", "clip"]] for member in members])
    frames = members[0].frames
    known = np.zeros(len(frames), dtype=bool)
    for column in ("subject", "clip"):
        pairs = pd.MultiIndex.from_frame(seen.dropna(subset=column)[["corpus", column]])
        known |= pd.MultiIndex.from_frame(frames[["corpus", column]]).isin(pairs)
    if known.all():
        raise InputError(
            f"subjects=unseen leaves no frame: all {len(frames)} show people or clips that a member was trained or "
            "validated on."
        )
    for member in members:
        member.frames = member.frames[~known]
    return int(known.sum())


def leakage(member: Member, own: bool, left_out: int) -> dict[str, Any]:
    """What the frames have in common with those that a member was trained and validated on."""
    datamodule = member.datamodule
    if own and not left_out:
        return datamodule.audit.as_dict()
    if own:
        manifest = datamodule.manifest
        rest = manifest[(manifest["split"] != "test") | manifest.index.isin(member.frames.index)]
        hashes = np.load(datamodule.face_cache_path.with_suffix(".hashes.npy"))[rest["cache_row"].to_numpy()]
        pairs = near_duplicates(hashes, keys(rest, "clip"))
        return audit(
            rest.reset_index(drop=True), pairs, subjects_from=datamodule.subjects_from, verified=datamodule.verified
        ).as_dict()
    frames = member.frames if member.names_tell else member.frames.assign(subject=None)
    subjects_from = datamodule.subjects_from or member.run.results["leakage"].get("subjects_from")
    manifest = pd.concat([member.seen.assign(split="train"), frames], ignore_index=True)
    return audit(manifest, subjects_from=subjects_from, verified=datamodule.verified).as_dict()


def ask(member: Member, device: str, trust: Trust = ()) -> np.ndarray:
    """Probabilities (N, num_classes) of the member's frames."""
    # The faces are found already.
    predictor = Predictor(member.run.folder, detector=NoDetector(), device=device, trust=trust)
    face_cache, rows = FaceCache(member.datamodule.face_cache_path), member.frames["cache_row"].to_numpy()
    starts = range(0, len(rows), BATCH)
    hidden = not get_console().is_terminal
    parts = [
        predictor.classify(face_cache[rows[start : start + BATCH]])
        for start in track(starts, f"{member.name}: looking at {len(rows)} frames", transient=True, disable=hidden)
    ]
    return np.concatenate(parts)
