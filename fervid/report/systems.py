"""Groups runs into systems: which settings were varied, which runs are replicates, and which systems compare."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from fervid.metrics.aggregation import clip_predictions
from fervid.metrics.statistics import bootstrap_unit
from fervid.runs.run import Run
from fervid.schema.columns import CLIP_KEY, FRAME_KEY
from fervid.schema.parts import EMOTION, Part
from fervid.schema.same_system import ABSENT, GROUPS, REPLICATE_SETTINGS, system_settings

UNADAPTED = "as trained"  # if other systems are adapted to the evaluated samples
ENCODER_GROUPS = ("backbone", "sound_encoder", "feature_encoder")


@dataclass(frozen=True)
class System:
    """A configuration and its replicates: runs that differ only in seed and fold.

    Attributes:
        settings: the settings that distinguish it from the other systems, by dotted name.
        runs: its replicates.
        label_settings: the settings that its name lists.
        name: one line that distinguishes it from the other systems.
    """

    settings: dict[str, str]
    runs: list[Run]
    label_settings: dict[str, str]
    name: str

    @property
    def task(self) -> str:
        """Name of the task, such as ``classification``."""
        return self.runs[0].task

    @property
    def parts(self) -> list[Part]:
        """The parts of the task, with the columns of their labels and predictions; empty for a task of your own."""
        return self.runs[0].parts

    @property
    def class_names(self) -> list[str]:
        """The emotions, in the order of the network's outputs.

        Raises:
            InputError: if the task does not classify emotions.
        """
        found = [list(part.names) for part in self.parts if part.name == EMOTION]
        return found[0] if found else self.runs[0].class_names

    @property
    def level(self) -> str:
        """Leakage level of splits and initial weights; several, joined by commas, if the replicates differ."""
        return ", ".join(sorted({str(run.level) for run in self.runs}))

    @property
    def pretraining(self) -> frozenset[str]:
        """What its initial weights were trained on of its corpora: ``emotion_labels_of``, ``subjects_of``, or both."""
        return frozenset(entry for run in self.runs for entry in run.results["leakage"].get("weights", {}))

    @property
    def normalises_subjects(self) -> bool:
        """Whether its features were standardised by subject, which needs several samples of each test subject."""
        return any(run.setting("finetune.subject_normalisation") for run in self.runs)

    def mean_metric(self, name: str) -> float:
        """Mean of a score such as ``test/uar`` over the replicates."""
        return float(np.mean([run.metric(name) for run in self.runs]))

    @cached_property
    def test_rows(self) -> frozenset[str]:
        """Digests of the test frames and their labels, one for each replicate."""
        return frozenset(_digest(run.predictions, self.label_columns) for run in self.runs)

    @property
    def label_columns(self) -> list[str]:
        """Columns of the predictions with the labels."""
        return [name for part in self.parts for name in part.labels] or ["label"]

    @cached_property
    def frames(self) -> pd.DataFrame:
        """Test predictions of all replicates, concatenated; the column ``run`` numbers the replicates."""
        return pd.concat(
            [run.predictions.assign(run=number) for number, run in enumerate(self.runs)], ignore_index=True
        )

    @property
    def clip_keys(self) -> pd.DataFrame:
        """The clips of the test frames of all replicates, each once."""
        return self.frames[CLIP_KEY].drop_duplicates()

    @cached_property
    def clips(self) -> pd.DataFrame:
        """Clip predictions: the mean probabilities over the frames of a clip and over the replicates."""
        return clip_predictions(self.frames.drop(columns="run"), self.class_names)

    @cached_property
    def clips_by_run(self) -> pd.DataFrame:
        """Clip predictions of each replicate; the column ``run`` numbers the replicates."""
        parts = [clip_predictions(run.predictions, self.class_names) for run in self.runs]
        return pd.concat([part.assign(run=number) for number, part in enumerate(parts)], ignore_index=True)

    @property
    def has_validation(self) -> bool:
        """Whether all replicates stored the predictions of their validation frames."""
        return all(run.has_validation for run in self.runs)

    @property
    def unit(self) -> str:
        """The unit that intervals resample (:func:`fervid.metrics.statistics.bootstrap_unit`)."""
        return bootstrap_unit(self.frames)


def sample_noun(systems: Sequence[System]) -> str:
    """Returns what the rows of predictions are: ``clips`` if they are clips in all systems, otherwise ``frames``."""
    return "clips" if all(run.samples == "clips" for system in systems for run in system.runs) else "frames"


def find_systems(runs: Sequence[Run]) -> tuple[list[System], list[str], list[Run]]:
    """Groups runs into systems.

    Args:
        runs: the runs, in the order in which the report lists them.

    Returns:
        The systems; the settings that differ together with those that distinguish the systems; and duplicates: runs
        with the same settings, seed and data as a later run, which is used instead.
    """
    flat = [flat_settings(run) for run in runs]
    _separate_corpora(runs, flat)
    names, accompanying = _distinguishing(flat)
    systems: dict[tuple[str, ...], dict[str, Run]] = {}
    duplicates = []
    for run, settings in zip(runs, flat, strict=True):
        key = tuple(settings[name] for name in names)
        replicates = systems.setdefault(key, {})
        replicate = json.dumps([*_replicate(run), _fingerprint(run)])  # runs on different data are no duplicates
        if replicate in replicates:
            duplicates.append(replicates[replicate])
        replicates[replicate] = run
    found = [(dict(zip(names, key, strict=True)), list(replicates.values())) for key, replicates in systems.items()]
    labels = [_label_settings(settings, [other for other, _ in found]) for settings, _ in found]
    short = len(set(map(describe_settings, labels))) == len(labels)  # otherwise the names use full setting names
    named = zip(found, labels, strict=True)
    return (
        [
            System(
                settings,
                replicates,
                needed,
                describe_settings(needed, short=short) or _encoders(replicates[0]),
            )
            for (settings, replicates), needed in named
        ],
        accompanying,
        duplicates,
    )


def _encoders(run: Run) -> str:
    chosen = [run.setting(group) for group in ENCODER_GROUPS]
    return " and ".join(str(name) for name in chosen if isinstance(name, str))


def _label_settings(settings: dict[str, str], others: Sequence[dict[str, str]]) -> dict[str, str]:
    """Drops values that the settings before them already determine."""
    needed = {}
    for name, value in settings.items():
        if name in GROUPS or any(other[name] != value for other in others):
            needed[name] = value
        others = [other for other in others if other[name] == value]
    return needed


def comparable(systems: Sequence[System]) -> list[list[System]]:
    """Groups systems that predict the same on the same test rows, with equal knowledge of the test subjects.

    That is, their initial weights leak the same, and either all or none standardise features by subject.
    """
    sets: dict[Any, list[System]] = {}
    for system in systems:
        known = (system.pretraining, system.normalises_subjects)
        sets.setdefault((tuple(system.parts), system.test_rows, *known), []).append(system)
    return list(sets.values())


def reason_not_comparable(one: System, other: System) -> str:
    """The reason why two systems cannot be compared."""
    corpora = [str(each.runs[0].results["data"]["corpus"]) for each in (one, other)]
    if corpora[0] != corpora[1]:
        return f"different corpora: {' and '.join(corpora)}"
    if reason := _different_outputs(one, other):
        return reason
    if one.pretraining != other.pretraining:
        entries = one.pretraining ^ other.pretraining
        what = "emotion labels" if "emotion_labels_of" in entries else "subjects"
        return f"the initial weights of only one of the two were trained on {what} of the corpus"
    if one.normalises_subjects != other.normalises_subjects:
        return "only one of the two standardises features by subject, for which it sees all samples of a test subject"
    replicates, shared = (len(one.test_rows), len(other.test_rows)), len(one.test_rows & other.test_rows)
    if shared:
        return (
            f"different test rows: {replicates[0]} and {replicates[1]} folds or seeds, of which {shared} share their "
            "test rows; train the missing ones, or leave the others out of runs="
        )
    clips = len(one.clip_keys.merge(other.clip_keys))
    if not clips == len(one.clip_keys) == len(other.clip_keys):
        return f"different test rows: {len(one.clip_keys)} and {len(other.clip_keys)} clips, {clips} of them in both"
    for what, columns in (("frames", FRAME_KEY), ("labels", [*FRAME_KEY, *one.label_columns])):
        ours, theirs = (set(each.frames[columns].astype(str).itertuples(index=False)) for each in (one, other))
        if ours != theirs:
            return f"different test rows: different {what} of the same {clips} clips"
    return f"different test rows: the same {clips} clips in different folds"


def _different_outputs(one: System, other: System) -> str | None:
    """How the outputs of two systems differ; None if they are the same."""
    for name in dict.fromkeys(part.name for system in (one, other) for part in system.parts):
        outputs = [next((part.titles for part in each.parts if part.name == name), []) for each in (one, other)]
        what = "emotions" if name == EMOTION else "outputs"
        if set(outputs[0]) != set(outputs[1]):
            return f"different {what}: {', '.join(sorted(set(outputs[0]) ^ set(outputs[1])))} in only one of the two"
        if outputs[0] != outputs[1]:
            return f"the same {what} in a different order"
    if one.parts != other.parts:
        return "the same outputs in a different order"
    return None


def describe_settings(settings: dict[str, str], *, short: bool = True) -> str:
    """Describes settings in one line: group options by their value, other settings as ``name=value``.

    Args:
        settings: values by dotted setting name.
        short: whether to omit the group (``lr``, not ``optimizer.lr``) and round numbers to four digits.
    """

    def describe(name: str, value: str) -> str:
        if name in GROUPS:
            return value
        if not short:
            return f"{name}={value}"
        try:
            value = value if value.lstrip("-").isdigit() else f"{float(value):.4g}"
        except ValueError:
            value = value if len(value) <= 60 else f"{value[:57]}..."
        group, *rest = name.split(".")
        # A list index is meaningless without the list: keep phases.1.lr_factor.
        return f"{'.'.join(rest) if any(part.isdigit() for part in rest) else (rest or [group])[-1]}={value}"

    return ", ".join(describe(name, value) for name, value in settings.items() if value != ABSENT)


def _digest(predictions: pd.DataFrame, labels: Sequence[str]) -> str:
    rows = predictions[[*FRAME_KEY, *labels]].astype(str).sort_values(FRAME_KEY)
    return hashlib.sha256(rows.to_csv(index=False).encode()).hexdigest()


def flat_settings(run: Run) -> dict[str, str]:
    """All settings that affect the results of a run, except seed and fold; group options first."""
    settings = system_settings(run.results["config"], run.results["choices"])
    if settings["adaptation"] == ABSENT:
        settings["adaptation"] = UNADAPTED
    weights = run.results.get("weights") or {}
    if weights.get("missing"):  # replaced by random weights
        names = [f"{group}.weights" for group in ENCODER_GROUPS]
        same = [name for name in names if settings.get(name) == str(weights.get("requested"))]
        settings[(same or names)[0]] = "not fetched"
    return settings


def _separate_corpora(runs: Sequence[Run], labels: Sequence[dict[str, str]]) -> None:
    """Distinguishes runs with the same settings and seed on different data: by the corpus folder, else by a digest."""
    places: dict[str, str] = {}  # a moved corpus keeps the folder in which it was first found
    seen: dict[str, str] = {}
    for run in runs:
        place = str(run.setting("dataset.root") or ABSENT)
        first = seen.setdefault(_fingerprint(run) or place, place)
        places.setdefault(place, places.get(first, place))
    for name in ("dataset.root", "data"):
        data: dict[str, set[str]] = {}
        for run, settings in zip(runs, labels, strict=True):
            data.setdefault(json.dumps([settings, _replicate(run)], sort_keys=True), set()).add(_fingerprint(run))
        if all(len(found - {""}) < 2 for found in data.values()):
            return
        for run, settings in zip(runs, labels, strict=True):
            settings[name] = _fingerprint(run)[:8] if name == "data" else places[str(run.setting(name) or ABSENT)]


def _replicate(run: Run) -> list[Any]:
    return [run.setting(name) for name in REPLICATE_SETTINGS]


def _fingerprint(run: Run) -> str:
    """A digest of the frames that a run was trained and tested on; empty if unknown."""
    return run.results["data"].get("fingerprint") or ""


def _distinguishing(labels: Sequence[dict[str, str]]) -> tuple[list[str], list[str]]:
    """The fewest settings, in order, that distinguish all runs; and the other settings that differ as well."""
    names = list(dict.fromkeys(name for settings in labels for name in settings))
    for settings in labels:
        for name in names:
            settings.setdefault(name, ABSENT)
    needed: list[str] = []
    accompanying: list[str] = []
    groups = 1
    for name in names:
        if len({settings[name] for settings in labels}) == 1:
            continue
        separated = len({tuple(settings[key] for key in (*needed, name)) for settings in labels})
        (needed if separated > groups else accompanying).append(name)
        groups = max(groups, separated)
    # The settings of a differing option follow from the option: they are not listed. A task sets the monitor, too.
    differing = {*needed, *accompanying}
    implied = ["finetune.monitor"] if "task" in differing else []
    implied += [name for name in accompanying if name.startswith("dataset.corpora.") and "dataset.corpora" in needed]
    accompanying = [name for name in accompanying if name not in implied]
    return needed, [name for name in accompanying if "." not in name or name.split(".")[0] not in differing]
