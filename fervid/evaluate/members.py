"""The stored runs of an evaluation, the frames to predict, and their overlap with the training data."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fervid.audit.duplicates import near_duplicates
from fervid.audit.leakage import audit
from fervid.data.datamodule import EmotionDataModule
from fervid.errors import InputError
from fervid.evaluate.adaptation import Adaptation
from fervid.evaluate.alignment import Alignment, align_tables, check_labels
from fervid.evaluate.seen_people import SeenPeople
from fervid.faces.detection import NoDetector
from fervid.models.batch_invariance import BatchInvariance
from fervid.runs.build import make_sample
from fervid.runs.load import check_features, read_manifest, read_run, reopen_corpus, stored_config
from fervid.runs.run import Run
from fervid.schema.columns import keys
from fervid.schema.weights import with_weights

NO_DETECTOR = f"{NoDetector.__module__}.{NoDetector.__name__}"


@dataclass
class Member:
    """A stored run and the frames to predict with it.

    Attributes:
        run: the stored run.
        name: short name, unique among the members.
        seen: frames that the run was trained and validated on, with their ``split``.
        datamodule: data module that provides the faces.
        frames: frames to predict: rows of the manifest of the data module, with their ``cache_row``.
        names_comparable: whether names of subjects and clips show which of them the run has seen.
        leakage: audit of the overlap between ``frames`` and ``seen``.
        classes: shared name of each class, all different.
        probabilities: probabilities (N, C) of these classes for the N frames.
        batches: whether the probabilities depend on the batch.
        seen_people: people of the frames whom the run has seen in training; None if faces were not compared.
        is_whole: whether the frames are all that the run was tested on, each once.
        adaptation: how the run is adapted to the frames; None if it is used as trained.
        adapted: what the adaptation found, for the results.
    """

    run: Run
    name: str
    seen: pd.DataFrame
    datamodule: EmotionDataModule
    frames: pd.DataFrame
    names_comparable: bool = True
    leakage: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    probabilities: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    batches: BatchInvariance | None = None
    seen_people: SeenPeople | None = None
    is_whole: bool = True
    adaptation: Adaptation | None = None
    adapted: dict[str, Any] = field(default_factory=dict)

    @property
    def class_names(self) -> list[str]:
        """The emotions of the run."""
        return self.run.class_names

    @property
    def shows_frames(self) -> bool:
        """Whether the run classifies single frames instead of clips."""
        return not self.datamodule.sample.is_clip


def open_members(runs: Sequence[Run], config: DictConfig) -> list[Member]:
    """Opens the corpus of each run and selects the frames to predict.

    Args:
        runs: stored runs.
        config: configuration composed from ``conf/evaluate.yaml``; without ``dataset``, the test subset of each run.

    Raises:
        InputError: if the corpus is missing, has changed, or cannot be used.
    """
    members = []
    for run, name in zip(runs, _names(runs), strict=True):
        manifest, names_comparable = read_manifest(run.folder), True
        seen = manifest[manifest["split"].isin(["train", "val"])]
        if config.get("dataset") is None:
            datamodule = reopen_corpus(
                run.folder,
                run.results,
                config.cache_dir,
                config.root,
                features_path=config.features_path,
                trust=config.trust,
            )
            frames = datamodule.samples_of("test")
        else:
            datamodule, frames = _other_corpus(run, config)
            seen, names_comparable = seen_frames(run, seen, datamodule)
        members.append(Member(run, name, seen, datamodule, frames, names_comparable))
    return members


def open_runs(folders: Sequence[str]) -> list[Run]:
    """Opens the folders of finished network runs.

    Raises:
        InputError: if a folder is given twice, or is not the folder of such a run.
    """
    paths = [Path(folder).expanduser() for folder in folders]
    for number, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:number]]:
            raise InputError(f"run= contains {path} twice: give each member once, and set its weight with weights=.")
    runs = [read_run(path) for path in paths]
    for run in runs:
        if "head" not in run.results["config"]:
            raise InputError(f"{run.folder} is a run of the classical baseline, which has no network to evaluate.")
    return runs


def _names(runs: Sequence[Run]) -> list[str]:
    """Short names of the runs: the last folder, preceded by its parents if it is a number or not unique."""
    parts = [run.folder.resolve().parts[1:] for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names) and not any(name.isdigit() for name in names) and "ensemble" not in names:
            return names
    return [str(run.folder) for run in runs]


def _other_corpus(run: Run, config: DictConfig) -> tuple[EmotionDataModule, pd.DataFrame]:
    """All samples of another corpus, with faces cropped as for the training of the run."""
    stored = stored_config(run.results, run.folder, trust=config.trust)
    dataset = corpus_settings(config, stored, of_pictures=crops_pictures(run))
    datamodule: EmotionDataModule = instantiate(
        dataset,
        **({"image_size": stored.backbone.image_size} if stored.get("backbone") else {}),
        sample=make_sample(stored),
        cache_dir=config.cache_dir,
        _convert_="all",
    )
    datamodule.prepare_data()
    check_features(run.results, datamodule, run.folder)
    datamodule.manifest = datamodule.numbered_rows().assign(split="test")
    return datamodule, datamodule.samples_of("test")


def seen_frames(run: Run, seen: pd.DataFrame, datamodule: EmotionDataModule) -> tuple[pd.DataFrame, bool]:
    """Frames of a corpus that a run has seen, and whether names of subjects and clips are comparable at all."""
    if all(corpus["published"] for corpus in [*run.corpora, *datamodule.corpora]):
        return seen[seen["corpus"].isin(datamodule.rows["corpus"])], bool(seen["subject"].notna().all())
    # Folders of files may contain anything: names in one folder say nothing about names in another.
    pairs = [(own, other) for own in datamodule.corpora for other in run.corpora]
    same = {own["name"] for own, other in pairs if _is_same(own, other)}
    is_comparable = all(_is_same(own, other) or (own["published"] and other["published"]) for own, other in pairs)
    return seen[seen["corpus"].isin(same)], is_comparable


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two descriptions are of the same corpus, in which equal names are of the same subjects and clips."""
    is_published = one["published"] and other["published"]
    return one["name"] == other["name"] and (is_published or _place(one["root"]) == _place(other["root"]))


def _place(root: Any) -> Path:
    return Path(str(root)).expanduser().resolve()


def crops_pictures(run: Run) -> bool:
    """Whether a corpus of the run consists of pictures of real people, in which faces may have been detected."""
    return any(corpus["pictures"] and not corpus["rendered"] for corpus in run.corpora)


def corpus_settings(config: DictConfig, stored: DictConfig, *, of_pictures: bool) -> DictConfig:
    """Settings of another corpus; face settings that are not given on the command line are taken from the run.

    The detector is that of the run if both corpora need detection, or if the run detected the faces of pictures, since
    those of the other corpus would otherwise have another geometry.

    Args:
        config: configuration composed from ``conf/evaluate.yaml``.
        stored: configuration of the run.
        of_pictures: see :func:`crops_pictures`.
    """
    settings = OmegaConf.to_container(config.dataset, resolve=True)
    assert isinstance(settings, dict)
    given = {word.split("=")[0].lstrip("+") for word in config.overrides}
    for name in ("grayscale", "face_size", "margin", "no_face"):
        if name in settings and name in stored.dataset and f"dataset.{name}" not in given:
            settings[name] = stored.dataset[name]
    stored_detector, detector = stored.get("detector"), settings.get("detector")
    is_given = any(word.split(".")[0] == "detector" for word in given)
    if stored_detector and detector and not is_given:
        is_detected = of_pictures or detector["_target_"] != NO_DETECTOR
        if stored_detector["_target_"] != NO_DETECTOR and is_detected:
            settings["detector"] = OmegaConf.to_container(stored_detector)
    return OmegaConf.create(settings)


def align(members: Sequence[Member], own_corpus: bool) -> Alignment:
    """Aligns the frames of all members (:func:`fervid.evaluate.alignment.align_tables`).

    Frames that a member lacks are dropped; the frame of a member with one per clip is repeated.

    Raises:
        InputError: if, on their own corpus, the members were tested on different frames or classify different emotions.
    """
    first, tables = members[0], [member.frames for member in members]
    for member in members[1:]:
        if own_corpus and _outputs(member.run) != _outputs(first.run):
            raise InputError(
                f"{first.run.folder} and {member.run.folder} classify different emotions or predict different values: "
                "give runs of the same task with the same emotions."
            )
    found = align_tables(tables)
    # Members of different kinds may lack single clips, such as one without a detected face.
    if own_corpus and (not len(found.rows[0]) or (found.same_kind and not found.is_complete)):
        other = next(each for each in members[1:] if not align_tables([first.frames, each.frames]).is_complete)
        raise InputError(
            f"{first.run.folder} and {other.run.folder} were tested on different frames, so each may "
            "have been trained on test frames of the other: evaluate them on another corpus (dataset=...), or "
            "train them with the same split (seed=1 split.seed=42 changes the seed of the network but not the "
            "split)."
        )
    for number, (member, rows) in enumerate(zip(members, found.rows, strict=True)):
        member.frames, member.is_whole = member.frames.iloc[rows], found.keeps_rows(number)
    if not found.same_kind:
        check_labels([member.frames for member in members], "emotion")
    return found


def _outputs(run: Run) -> dict[str, set[str]]:
    return {part.name: set(part.names) for part in run.parts}


def leave_out_seen(members: Sequence[Member]) -> int:
    """Drops frames of subjects and clips that any member was trained or validated on; returns their number.

    If faces were compared, frames of people seen in training are dropped, too.
    """
    seen = pd.concat([member.seen[["corpus", "subject", "clip"]] for member in members])
    known = np.zeros(len(members[0].frames), dtype=bool)
    for member in members:  # names of clips may differ between modalities
        for column in ("subject", "clip"):
            pairs = pd.MultiIndex.from_frame(seen.dropna(subset=column)[["corpus", column]])
            known |= pd.MultiIndex.from_frame(member.frames[["corpus", column]]).isin(pairs)
        if member.seen_people is not None:
            known |= member.seen_people.is_seen.to_numpy()
    if known.all():
        by_face = members[0].seen_people is not None
        raise InputError(
            f"subjects=unseen leaves no frames: all {len(known)} are of subjects or clips that a member was trained "
            "or validated on"
            + (", or look like them. Choose another corpus or" if by_face else ". Choose another corpus")
            + (" a smaller identity.false_match_rate." if by_face else ".")
        )
    for member in members:
        member.frames = member.frames[~known]
    return int(known.sum())


def leakage(member: Member, own_corpus: bool, left_out: int) -> dict[str, Any]:
    """Audits the overlap between the frames and those that a member or its initial weights were trained on."""
    found = _split_leakage(member, own_corpus, left_out)
    if own_corpus:  # the people that the run searched for; evaluation does not search again
        stored = member.run.results["leakage"]
        found |= {name: stored[name] for name in ("people", "identity") if name in stored}
    elif member.seen_people is not None:
        seen = member.seen_people
        found |= {"seen_people": seen.as_dict(member.frames.index), "identity": seen.identity}
    return with_weights(found, member.run.results.get("weights"), member.datamodule.corpora)


def _split_leakage(member: Member, own_corpus: bool, left_out: int) -> dict[str, Any]:
    datamodule = member.datamodule
    identity = member.run.results["leakage"].get("identity")  # the datamodule uses the stored people
    if own_corpus and not left_out:
        return {**datamodule.audit.as_dict(), "identity": identity}
    if own_corpus:
        manifest = datamodule.manifest
        rest = manifest[(manifest["split"] != "test") | manifest.index.isin(member.frames.index)]
        if not member.shows_frames and datamodule.sample.shows_pictures:  # one row per clip stands for its frames
            clips = [manifest["split"] != "test", keys(manifest, "clip").isin(keys(member.frames, "clip"))]
            rest = manifest[clips[0] | clips[1]]
        first = datamodule.stores[datamodule.sample.modalities[0]]
        hashes = first.hashes()[rest["cache_row" if datamodule.sample.shows_pictures else "clip_row"].to_numpy()]
        pairs = near_duplicates(hashes, keys(rest, "clip"))
        return audit(
            rest.reset_index(drop=True),
            pairs,
            identity=identity,
            subjects_clustered=datamodule.subjects_clustered,
            subjects_from=datamodule.subjects_from,
            verified=datamodule.verified,
        ).as_dict()
    frames = member.frames if member.names_comparable else member.frames.assign(subject=None)
    subjects_from = datamodule.subjects_from or member.run.results["leakage"].get("subjects_from")
    manifest = pd.concat([member.seen.assign(split="train"), frames], ignore_index=True)
    return audit(manifest, subjects_from=subjects_from, verified=datamodule.verified).as_dict()
