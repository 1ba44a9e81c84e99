"""An evaluation of stored runs, top to bottom."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import track

from fervid.data.audit import audit
from fervid.data.datamodule import FrameDataModule
from fervid.data.detection import NoDetector
from fervid.data.duplicates import near_duplicates
from fervid.data.store import FaceStore
from fervid.emotions import shared_name
from fervid.errors import InputError, first_line
from fervid.evaluation.aggregation import clip_predictions, confusion
from fervid.evaluation.comparison import GRADES
from fervid.evaluation.cross_corpus import (
    ALL_SHARED,
    emotion_table,
    first_choice_table,
    merge_classes,
    restrict,
    shared_emotions,
)
from fervid.evaluation.ensemble import gain_sentence, member_table, member_weights, soft_vote
from fervid.evaluation.report import check_resamples, compare
from fervid.evaluation.runs import Run, open_run
from fervid.evaluation.systems import System
from fervid.evaluation.writing import Section, print_report, write_report
from fervid.inference.predictor import BATCH, Predictor
from fervid.metrics import recalls, scores
from fervid.results import write_json
from fervid.run_folder import read_results, stored_config
from fervid.training import make_datamodule

FRAME = ["corpus", "clip", "frame"]  # what tells a frame from all others


@dataclass
class Member:
    """A stored run and what it is asked about.

    Attributes:
        run: the stored one.
        name: short, unlike the other members'.
        seen: the frames it was trained and validated on, with their ``split``.
        datamodule: serves the pictures.
        frames: those it is asked about: rows of the datamodule's manifest with their ``store_row``.
        leakage: what these frames have in common with those it has seen.
        classes: what its classes count as, all different.
        probabilities: of these classes, (N, C), of the N frames.
    """

    run: Run
    name: str
    seen: pd.DataFrame
    datamodule: FrameDataModule
    frames: pd.DataFrame
    leakage: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    probabilities: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))


def evaluate(folder: Path, console: Console, *, folders: Sequence[str], config: DictConfig) -> None:
    """Shows stored runs the frames of a test split or of another corpus, scores what they say, and reports.

    Args:
        folder: where to.
        console: where the main tables are printed.
        folders: of the runs; several are an ensemble.
        config: what ``conf/evaluate.yaml`` composes.

    Raises:
        InputError: if a run, the corpus or a setting cannot be used.
    """
    check_resamples(config.resamples)
    if config.people not in ("all", "unseen"):
        raise InputError(f"people={config.people} is unknown: choose all or unseen.")
    if any(folder.rglob("results.json")) or (folder / "report.html").exists():
        raise InputError(f"{folder} already holds results: choose another hydra.run.dir, or remove it.")
    device = _device(config.device)
    runs = _open_runs(folders)
    weights = member_weights(config.weights, runs)
    own = config.get("dataset") is None
    if config.root is not None and not own:
        raise InputError(f"root={config.root} is where a run's own corpus lies: give dataset.root for another corpus.")
    members = [
        Member(run, name, _seen(run), *(_own_test(run, config) if own else _other_corpus(run, config)))
        for run, name in zip(runs, _names(runs), strict=True)
    ]
    _align(members, own)
    left_out = _leave_out_seen(members) if config.people == "unseen" else 0
    for member in members:
        member.leakage = _leakage(member, own, left_out)

    vocabularies = [run.class_names for run in runs]
    labels = members[0].frames["emotion"]
    emotions = vocabularies[0] if own else shared_emotions(vocabularies, sorted(labels.unique()))
    for member in members:
        said = _ask(member, device)
        names = [name if own else shared_name(name) for name in member.run.class_names]
        member.probabilities, member.classes = merge_classes(said, names)
    true = labels if own else labels.map(shared_name)
    kept = true.isin(emotions).to_numpy()
    answers = [restrict(member.probabilities, member.classes, emotions)[kept] for member in members]

    base = [_settings(member.run, None if own else config) for member in members]
    frames = members[0].frames[kept].assign(emotion=true[kept])
    written = []
    for number, (member, said, results) in enumerate(zip(members, answers, base, strict=True), start=1):
        place = folder / "members" / f"{number}_{member.name.replace('/', '_')}"
        validation = member.run.validation if own and (member.run.folder / "predictions_val.csv").exists() else None
        predictions = _predictions(frames, said, emotions)
        written.append(_write(place, results, member, predictions, emotions, member.leakage, validation))
    if len(members) > 1:
        predictions = _predictions(frames, soft_vote(answers, weights), emotions)
        worst = max((member.leakage for member in members), key=lambda leakage: GRADES.index(leakage["grade"]))
        results = _ensemble_settings(base) | {
            "ensemble": {"members": [str(run.folder) for run in runs], "weights": weights.tolist()}
        }
        validation = _joint_validation(runs, weights, emotions) if own else None
        written.append(_write(folder / "ensemble", results, members[0], predictions, emotions, worst, validation))

    options = {"resamples": config.resamples, "seed": config.seed}
    names = [member.name for member in members] + ["ensemble"] * (len(members) > 1)
    systems = [System({}, [run], {}, name) for run, name in zip(written, names, strict=True)]
    sentences = _sentences(members, written, own, left_out, config.people)
    if len(members) > 1:
        sentences.insert(0, gain_sentence(systems[-1], systems[:-1], **options))
    table = member_table(systems, [*weights.tolist(), None][: len(systems)], **options)
    sections = [
        Section(
            "Members and ensemble" if len(names) > 1 else "Scores in short", [table], sentences=sentences, terminal=True
        )
    ]
    if not own:
        sections += _emotion_sections(members, labels, emotions)
    compared = compare(written, {}, **options)
    where = f"{members[0].datamodule.corpus}{', test split' if own else ''}"
    title = f"What {', '.join(names)} {'reaches' if len(names) == 1 else 'reach'} on {where}"
    summary = []
    if members[0].datamodule.rendered:
        summary = ["Rendered people: such scores show that the protocol runs, not what it reaches."]
    write_report(folder, title, summary, sections + compared)
    # The summary of a report pools repeats; the table of the members says the same of each by itself.
    print_report(console, sections)
    console.print(
        f"everything lies in {folder}: report.html, report.md, tables/, figures/, members/"
        f"{', ensemble/' if len(members) > 1 else ''}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


# The runs


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device={name} is unknown: give cpu or cuda.") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device={name} is unknown: give cpu or cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device={name} needs a CUDA device and torch does not see it: give device=cpu.")
    return device


def _open_runs(folders: Sequence[str]) -> list[Run]:
    if not folders:
        raise InputError("nothing to evaluate: give run=<folder of a finished run>, or a list of them.")
    paths = [Path(folder).expanduser() for folder in folders]
    for number, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:number]]:
            raise InputError(f"run= names {path} twice: name each member once, and let weights= say what it counts.")
        read_results(path)  # says what is wrong with the folder
    runs = [open_run(path) for path in paths]
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


def _seen(run: Run) -> pd.DataFrame:
    manifest = _manifest(run)
    return manifest[manifest["split"].isin(["train", "val"])]


def _manifest(run: Run) -> pd.DataFrame:
    path = run.folder / "manifest.parquet"
    try:
        manifest = pd.read_parquet(path)
        absent = {*FRAME, "subject", "emotion", "split"} - set(manifest)
        if absent:
            raise ValueError(f"it has no column {', '.join(sorted(absent))}")
        return manifest
    except Exception as error:  # arrow has its own kinds for damaged files
        raise InputError(
            f"{path} cannot be read ({first_line(error)}): without it nobody knows what the run was trained on."
        ) from error


# The frames


def _own_test(run: Run, config: DictConfig) -> tuple[FrameDataModule, pd.DataFrame]:
    """The test side of a run's own corpus, which must be what it was."""
    stored = stored_config(run.results, run.folder)
    stored.augmentation, stored.cache_dir = None, config.cache_dir  # nothing is trained
    if config.root is not None:
        if "root" not in stored.dataset:
            raise InputError(f"root={config.root} says nothing here: {run.folder} was trained on rendered faces.")
        stored.dataset.root = str(config.root)
    place = stored.dataset.get("prepared_dir")
    if place is not None and not Path(place).expanduser().is_dir():
        stored.dataset.prepared_dir = None
    moved = "" if config.root is not None else "; if the corpus was moved, root=<folder> says where to"
    try:
        datamodule = make_datamodule(stored)
        datamodule.prepare_data()
        with _quiet():  # it was said when the run was trained
            datamodule.setup()
    except Exception as error:
        mistake = error if isinstance(error, InputError) else error.__cause__
        if isinstance(mistake, InputError):
            raise InputError(f"the corpus of {run.folder} cannot be opened again: {mistake}{moved}") from error
        raise
    columns = [*FRAME, "subject", "emotion", "split"]
    before, now = (
        table[columns].astype(str).sort_values(FRAME, ignore_index=True)
        for table in (_manifest(run), datamodule.manifest)
    )
    if not before.equals(now):
        rows = before.merge(now, how="outer", indicator=True)["_merge"]
        raise InputError(
            f"the corpus of {run.folder} is not what it was: of its {len(before)} frames {(rows == 'left_only').sum()} "
            f"are gone or are now of another emotion, person or side, and {(rows == 'right_only').sum()} are new"
            f"{moved}; to take it as another corpus give dataset=."
        )
    return datamodule, datamodule.manifest[datamodule.manifest["split"] == "test"]


def _other_corpus(run: Run, config: DictConfig) -> tuple[FrameDataModule, pd.DataFrame]:
    """All frames of another corpus, cut out as the run knows faces."""
    stored = stored_config(run.results, run.folder)
    dataset = _asked(config, stored)
    datamodule: FrameDataModule = instantiate(
        dataset, image_size=stored.backbone.image_size, cache_dir=config.cache_dir, _convert_="all"
    )
    datamodule.prepare_data()
    rows = np.arange(len(datamodule.frames))
    return datamodule, datamodule.frames.assign(store_row=rows, split="test")


def _asked(config: DictConfig, stored: DictConfig) -> DictConfig:
    """The settings of another corpus, with the run's own where they are of the faces and nobody says otherwise."""
    asked = OmegaConf.to_container(config.dataset, resolve=True)
    assert isinstance(asked, dict)
    given = {word.split("=")[0].lstrip("+") for word in HydraConfig.get().overrides.task}
    for name in ("grey", "face_size", "margin"):
        if name in asked and name in stored.dataset and f"dataset.{name}" not in given:
            asked[name] = stored.dataset[name]
    return OmegaConf.create(asked)


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("fervid.data.datamodule")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _align(members: Sequence[Member], own: bool) -> None:
    """Brings the members' frames into one order; those that one of them lacks are left out."""
    keys = [pd.MultiIndex.from_frame(member.frames[FRAME]) for member in members]
    common = keys[0]
    for member, key in zip(members[1:], keys[1:], strict=True):
        if own and set(key) != set(keys[0]):
            raise InputError(
                f"{members[0].run.folder} and {member.run.folder} were tested on other frames, so that neither is "
                "honest on the test split of the other: evaluate them on another corpus (dataset=...), or train them "
                "with the same split and split.seed."
            )
        if own and set(member.run.class_names) != set(members[0].run.class_names):
            raise InputError(f"{members[0].run.folder} and {member.run.folder} tell other emotions apart.")
        common = common[common.isin(key)]
    for member, key in zip(members, keys, strict=True):
        member.frames = member.frames.iloc[key.get_indexer(common)]


def _leave_out_seen(members: Sequence[Member]) -> int:
    """Leaves out frames of people and clips that any member was trained or validated on; says how many."""
    seen = pd.concat([member.seen[["corpus", "subject", "clip"]] for member in members])
    frames = members[0].frames
    known = np.zeros(len(frames), dtype=bool)
    for column in ("subject", "clip"):
        pairs = pd.MultiIndex.from_frame(seen.dropna(subset=column)[["corpus", column]])
        known |= pd.MultiIndex.from_frame(frames[["corpus", column]]).isin(pairs)
    if known.all():
        raise InputError(
            f"people=unseen leaves no frame: all {len(frames)} show people or clips that a member was trained or "
            "validated on."
        )
    for member in members:
        member.frames = member.frames[~known]
    return int(known.sum())


def _leakage(member: Member, own: bool, left_out: int) -> dict[str, Any]:
    """What the frames have in common with those that a member was trained and validated on."""
    datamodule = member.datamodule
    if own and not left_out:
        return datamodule.audit.as_dict()
    if own:
        manifest = datamodule.manifest
        rest = manifest[(manifest["split"] != "test") | manifest.index.isin(member.frames.index)]
        hashes = np.load(datamodule.store_path.with_suffix(".hashes.npy"))[rest["store_row"].to_numpy()]
        return audit(rest.reset_index(drop=True), near_duplicates(hashes, rest["clip"])).as_dict()
    # People of another corpus are others; whether they look the same nobody looked.
    seen = member.seen[member.seen["corpus"] == datamodule.corpus].assign(split="train")
    return audit(pd.concat([seen, member.frames], ignore_index=True)).as_dict()


# The answers


def _ask(member: Member, device: torch.device) -> np.ndarray:
    """Probabilities (N, num_classes) of the member's frames."""
    predictor = Predictor(member.run.folder, detector=NoDetector(), device=device)  # the faces are found already
    store, rows = FaceStore(member.datamodule.store_path), member.frames["store_row"].to_numpy()
    starts = range(0, len(rows), BATCH)
    parts = [
        predictor.classify(store[rows[start : start + BATCH]])
        for start in track(starts, f"{member.name}: looking at {len(rows)} frames", transient=True)
    ]
    return np.concatenate(parts)


def _predictions(frames: pd.DataFrame, probabilities: np.ndarray, emotions: Sequence[str]) -> pd.DataFrame:
    """One row a frame, as :meth:`fervid.callbacks.Predictions.table` gives."""
    table = frames.drop(columns="store_row").rename(columns={"emotion": "true"})
    table.insert(0, "index", frames.index)
    table["predicted"] = np.array(emotions, dtype=object)[probabilities.argmax(axis=1)]
    chances = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in emotions], index=table.index)
    return pd.concat([table, chances], axis=1)


def _joint_validation(runs: Sequence[Run], weights: np.ndarray, emotions: Sequence[str]) -> pd.DataFrame | None:
    """What the ensemble says of the validation frames; None unless all members have the same."""
    if not all((run.folder / "predictions_val.csv").exists() for run in runs):
        return None
    chances = [f"p_{name}" for name in emotions]
    tables = [run.validation.sort_values(["clip", "frame"], ignore_index=True) for run in runs]
    if not all(table[["clip", "frame"]].equals(tables[0][["clip", "frame"]]) for table in tables):
        return None
    joint = soft_vote([table[chances].to_numpy(dtype=float) for table in tables], weights)
    predicted = np.array(emotions, dtype=object)[joint.argmax(axis=1)]
    return tables[0].assign(predicted=predicted, **dict(zip(chances, joint.T, strict=True)))


# What is left in the form of a run


def _settings(run: Run, config: DictConfig | None) -> dict[str, Any]:
    """A run's ``results.json`` as far as it is of training; with the corpus it is asked about, if that is another."""
    kept = {name: value for name, value in run.results["metrics"].items() if not name.startswith("test/")}
    told = ("seed", "seconds", "warnings", "versions", "git_revision", "choices", "config", "epochs", "best_epoch")
    results: dict[str, Any] = {name: run.results.get(name) for name in told} | {"metrics": kept}
    if config is not None:
        chosen = HydraConfig.get().runtime.choices
        before = results["choices"]
        results["choices"] = before | {
            "dataset": chosen["dataset"], "detector": chosen["detector"], "split": "all frames", "paper": None,
        }  # fmt: skip
        results["config"] = results["config"] | {
            "dataset": OmegaConf.to_container(_asked(config, stored_config(run.results, run.folder))),
            "detector": OmegaConf.to_container(config.detector) if config.get("detector") else None,
            "trained_on": {group: before.get(group) for group in ("dataset", "split", "detector")},
            "paper": None,
        }
    return results


def _ensemble_settings(members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What an ensemble's ``results.json`` says of settings: those that all members have in common."""
    first = members[0]
    seconds = {"fit": sum(results["seconds"]["fit"] for results in members)}
    choices = _common([results["choices"] for results in members]) | {"backbone": "ensemble"}
    config = _common([results["config"] for results in members])
    told = {name: first[name] for name in ("versions", "git_revision")}
    return told | {
        "choices": choices, "config": config, "seconds": seconds, "seed": None, "warnings": [], "metrics": {},
    }  # fmt: skip


def _common(settings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Nested settings with ``several`` where they differ."""
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for each in settings for name in each):
        values = [each.get(name) for each in settings]
        if all(isinstance(value, dict) for value in values):
            merged[name] = _common([value for value in values if isinstance(value, dict)])
        else:
            several = None if name in ("seed", "fold") else "several"
            merged[name] = values[0] if all(value == values[0] for value in values) else several
    return merged


def _write(
    folder: Path,
    results: dict[str, Any],
    member: Member,
    predictions: pd.DataFrame,
    emotions: list[str],
    leakage: dict[str, Any],
    validation: pd.DataFrame | None,
) -> Run:
    """Writes what a report needs to know of a run."""
    counts = confusion(predictions, emotions)
    clips = confusion(clip_predictions(predictions, emotions), emotions)
    metrics = {f"test/{name}": value for name, value in scores(counts).items()}
    metrics |= {f"test/clip_{name}": value for name, value in scores(clips).items()}
    sides = {side: int(member.run.results["data"]["split"][side]) for side in ("train", "val")}
    folder.mkdir(parents=True, exist_ok=True)
    predictions.to_csv(folder / "predictions.csv", index=False)
    if validation is not None:
        validation.to_csv(folder / "predictions_val.csv", index=False)
    # Last: with it the folder is whole.
    write_json(
        folder / "results.json",
        results
        | {
            "evaluated": str(member.run.folder),
            "metrics": results["metrics"] | metrics,
            "recall": dict(zip(emotions, recalls(counts).tolist(), strict=True)),
            "precision": dict(zip(emotions, recalls(counts.T).tolist(), strict=True)),
            "confusion": counts.tolist(),
            "class_names": list(emotions),
            "leakage": leakage,
            "data": {
                "corpus": member.datamodule.corpus,
                "rendered": member.datamodule.rendered,
                "frames": len(predictions),
                "clips": int(predictions["clip"].nunique()),
                "subjects": int(predictions["subject"].nunique()),
                "unreadable": len(member.datamodule.failures),
                "image_size": member.datamodule.image_size,
                "split": sides | {"test": len(predictions)},
            },
        },
    )
    return open_run(folder)


# What is said


def _sentences(members: Sequence[Member], written: Sequence[Run], own: bool, left_out: int, people: str) -> list[str]:
    """What a reader of the scores has to know."""
    frames = members[0].frames
    sentences = []
    for member, run in zip(members, written, strict=False):
        corpus, found = member.datamodule.corpus, member.leakage
        if own and not left_out:
            before, now = member.run.metric("test/uar"), run.metric("test/uar")
            same = abs(before - now) < 1e-4 or before != before
            if not same:
                sentences.append(
                    f"{member.name}: UAR {now:.1%} on frames, where the run itself reported {before:.1%}: faces are "
                    "found or weights are multiplied otherwise by other libraries."
                )
            else:
                sentences.append(f"{member.name}: the same UAR as the run itself reported, {before:.1%} on frames.")
        if not own and found["subjects"]["count"] + found["clips"]["count"]:
            sentences.append(
                f"{member.name} was trained or validated on {found['subjects']['count']} of these "
                f"{frames['subject'].nunique()} people and on {found['clips']['count']} of these "
                f"{frames['clip'].nunique()} clips of {corpus}, going by their names: its scores are {found['grade']} "
                "and promise too much; people=unseen leaves them out."
            )
    if people == "unseen":
        sentences.append(f"{left_out} frames of people or clips that a member had seen are left out.")
    if not own and frames["subject"].isna().any():
        sentences.append("Who is seen is unknown, so nobody knows whether a member was trained on the same people.")
    if not own:
        sentences.append("Pictures that look the same were not searched for between this corpus and the runs' own.")
    return sentences


def _shared_and_dropped(labels: pd.Series, models: Sequence[Sequence[str]], shared: Sequence[str]) -> list[str]:
    counts = labels.value_counts()
    dropped = [f"{emotion} ({counts[emotion]} frames)" for emotion in sorted(counts.index)
               if shared_name(emotion) not in shared]  # fmt: skip
    unused = sorted({name for names in models for name in names if shared_name(name) not in shared})
    sentences = [f"Shared by model and corpus, and scored: {', '.join(shared)}."]
    if dropped:
        sentences.append(f"Of the corpus left out: {', '.join(dropped)}.")
    if unused:
        sentences.append(f"Of the model left out: {', '.join(unused)}; the rest of its probabilities is scaled up.")
    return sentences


def _emotion_sections(members: Sequence[Member], labels: pd.Series, emotions: Sequence[str]) -> list[Section]:
    """Which emotions are shared, and what the members say before the others are left out."""
    vocabularies = [member.run.class_names for member in members]
    answers = [(member.name, member.probabilities, member.classes) for member in members]
    choices = first_choice_table(labels, answers, emotions)
    told = _shared_and_dropped(labels, vocabularies, emotions)
    for _, row in choices.data[choices.data["the frames show"] == ALL_SHARED].iterrows():
        told.append(
            f"{row['model']}: on {row['outside']:.0%} of the {row['frames']} frames that are scored, its own first "
            "choice was an emotion that is not shared."
        )
    shown = Section("Emotions", [emotion_table(labels, vocabularies, emotions)], sentences=told, terminal=True)
    return [shown, Section("First choices", [choices])]  # too wide for a terminal
