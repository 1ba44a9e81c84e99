"""From runs to systems: what was varied, what are repeats of one thing, and what may be compared."""

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
from fervid.schema.same_system import GROUPS, NOTHING, REPEATS, system_settings


@dataclass(frozen=True)
class System:
    """Runs that differ in nothing but seed and fold.

    Attributes:
        settings: what tells it from the other systems, by name.
        runs: its repeats: seeds, folds.
        told: those of its settings that a reader needs to be told.
        name: what tells it from the others, in one line.
    """

    settings: dict[str, str]
    runs: list[Run]
    told: dict[str, str]
    name: str

    @property
    def task(self) -> str:
        """What was learned, such as ``classification``."""
        return self.runs[0].task

    @property
    def class_names(self) -> list[str]:
        """Its emotions."""
        return self.runs[0].class_names

    @property
    def level(self) -> str:
        """What its splits leak: the label of a level; several labels if the repeats differ."""
        return ", ".join(sorted({str(run.level) for run in self.runs}))

    def mean_metric(self, name: str) -> float:
        """The mean of a score such as ``test/uar`` over its repeats."""
        return float(np.mean([run.metric(name) for run in self.runs]))

    @cached_property
    def test_rows(self) -> frozenset[str]:
        """What it was tested on: a digest of the test frames and their labels for each repeat."""
        return frozenset(_digest(run.predictions) for run in self.runs)

    @cached_property
    def frames(self) -> pd.DataFrame:
        """The test frames of all repeats, one below the other, with the number of the repeat as ``run``."""
        return pd.concat(
            [run.predictions.assign(run=number) for number, run in enumerate(self.runs)], ignore_index=True
        )

    @cached_property
    def clips(self) -> pd.DataFrame:
        """One statement a clip: the mean of its frames' probabilities, over repeats as well."""
        return clip_predictions(self.frames.drop(columns="run"), self.class_names)

    @cached_property
    def clips_by_run(self) -> pd.DataFrame:
        """One statement a clip and repeat: the mean of its frames' probabilities; with the number of the ``run``."""
        parts = [clip_predictions(run.predictions, self.class_names) for run in self.runs]
        return pd.concat([part.assign(run=number) for number, part in enumerate(parts)], ignore_index=True)

    @property
    def has_validation(self) -> bool:
        """Whether all repeats left the predictions of their validation frames."""
        return all(run.has_validation for run in self.runs)

    @property
    def unit(self) -> str:
        """What is resampled for its intervals (:func:`fervid.metrics.statistics.bootstrap_unit`)."""
        return bootstrap_unit(self.frames)


def find_systems(runs: Sequence[Run]) -> tuple[list[System], list[str], list[Run]]:
    """Puts repeats together.

    Args:
        runs: in the order in which they are told of.

    Returns:
        The systems; the settings that differ along with those that tell the systems apart; and runs that repeat
        another one to the seed, of which the last is kept.
    """
    flat = [flat_settings(run) for run in runs]
    _part_corpora(runs, flat)
    names, along = _distinguishing(flat)
    systems: dict[tuple[str, ...], dict[str, Run]] = {}
    doubles = []
    for run, settings in zip(runs, flat, strict=True):
        key = tuple(settings[name] for name in names)
        repeats = systems.setdefault(key, {})
        repeat = json.dumps([*_repeat(run), _fingerprint(run)])  # other data are no double
        if repeat in repeats:
            doubles.append(repeats[repeat])
        repeats[repeat] = run
    found = [(dict(zip(names, key, strict=True)), list(repeats.values())) for key, repeats in systems.items()]
    told = [_needed(settings, [other for other, _ in found]) for settings, _ in found]
    short = len(set(map(say, told))) == len(told)  # else names are told in full
    named = zip(found, told, strict=True)
    return (
        [
            System(settings, repeats, needed, say(needed, short=short) or str(repeats[0].setting("backbone")))
            for (settings, repeats), needed in named
        ],
        along,
        doubles,
    )


def _needed(settings: dict[str, str], others: Sequence[dict[str, str]]) -> dict[str, str]:
    """The settings without values that are the same wherever those before them are."""
    needed = {}
    for name, value in settings.items():
        if name in GROUPS or any(other[name] != value for other in others):
            needed[name] = value
        others = [other for other in others if other[name] == value]
    return needed


def comparable(systems: Sequence[System]) -> list[list[System]]:
    """Systems that were asked for the same emotions on the same test rows, together."""
    sets: dict[Any, list[System]] = {}
    for system in systems:
        sets.setdefault((tuple(system.class_names), system.test_rows), []).append(system)
    return list(sets.values())


def why_not(one: System, other: System) -> str:
    """Why two systems do not compare."""
    corpora = [str(each.runs[0].results["data"]["corpus"]) for each in (one, other)]
    if corpora[0] != corpora[1]:
        return f"other corpora: {' and '.join(corpora)}"
    ours, theirs = set(one.class_names), set(other.class_names)
    if ours != theirs:
        return f"other emotions: {', '.join(sorted(ours ^ theirs))} only in one of the two"
    if one.class_names != other.class_names:
        return "the same emotions in another order"
    repeats, shared = (len(one.test_rows), len(other.test_rows)), len(one.test_rows & other.test_rows)
    if shared:
        return (
            f"other test rows: {repeats[0]} and {repeats[1]} folds or seeds, {shared} of them tested on the same; run "
            "those that are missing, or leave the others out of runs="
        )
    clips = len(one.clips[CLIP_KEY].merge(other.clips[CLIP_KEY]))
    if not clips == len(one.clips) == len(other.clips):
        return f"other test rows: {len(one.clips)} and {len(other.clips)} clips, {clips} of them in both"
    for what, columns in (("frames", FRAME_KEY), ("labels", [*FRAME_KEY, "label"])):
        if set(one.frames[columns].itertuples(index=False)) != set(other.frames[columns].itertuples(index=False)):
            return f"other test rows: other {what} of the same {clips} clips"
    return f"other test rows: the same {clips} clips, in other folds"


def say(settings: dict[str, str], *, short: bool = True) -> str:
    """Settings in one line: options by their name alone, values with theirs.

    Args:
        settings: by their full names.
        short: leave out where a setting belongs (``lr``, not ``optimizer.lr``) and digits after the fourth.
    """

    def said(name: str, value: str) -> str:
        if name in GROUPS:
            return value
        if not short:
            return f"{name}={value}"
        try:
            value = value if value.lstrip("-").isdigit() else f"{float(value):.4g}"
        except ValueError:
            value = value if len(value) <= 60 else f"{value[:57]}..."
        group, *rest = name.split(".")
        # A place in a list says nothing without the list: phases.1.lr_factor.
        return f"{'.'.join(rest) if any(part.isdigit() for part in rest) else (rest or [group])[-1]}={value}"

    return ", ".join(said(name, value) for name, value in settings.items() if value != NOTHING)


def _digest(predictions: pd.DataFrame) -> str:
    rows = predictions[[*FRAME_KEY, "label"]].astype(str).sort_values(FRAME_KEY)
    return hashlib.sha256(rows.to_csv(index=False).encode()).hexdigest()


def flat_settings(run: Run) -> dict[str, str]:
    """All that shaped a run but its seed and fold: options of groups first."""
    settings = system_settings(run.results["config"], run.results["choices"])
    if (run.results.get("weights") or {}).get("missing"):  # random ones took the place of those that were asked for
        settings["backbone.weights"] = "not fetched"
    return settings


def _part_corpora(runs: Sequence[Run], told: Sequence[dict[str, str]]) -> None:
    """Tells runs of the same settings and seed apart whose data differ: by where these lay, or else by a digest."""
    places: dict[str, str] = {}  # a moved corpus is known by the place where it was seen first
    seen: dict[str, str] = {}
    for run in runs:
        place = str(run.setting("dataset.root") or NOTHING)
        first = seen.setdefault(_fingerprint(run) or place, place)
        places.setdefault(place, places.get(first, place))
    for name in ("dataset.root", "data"):
        data: dict[str, set[str]] = {}
        for run, settings in zip(runs, told, strict=True):
            data.setdefault(json.dumps([settings, _repeat(run)], sort_keys=True), set()).add(_fingerprint(run))
        if all(len(found - {""}) < 2 for found in data.values()):
            return
        for run, settings in zip(runs, told, strict=True):
            settings[name] = _fingerprint(run)[:8] if name == "data" else places[str(run.setting(name) or NOTHING)]


def _repeat(run: Run) -> list[Any]:
    return [run.setting(name) for name in REPEATS]


def _fingerprint(run: Run) -> str:
    """A digest of the frames that a run was trained and tested on; empty where nobody looked."""
    return run.results["data"].get("fingerprint") or ""


def _distinguishing(told: Sequence[dict[str, str]]) -> tuple[list[str], list[str]]:
    """The fewest settings, in their order, that tell all different runs apart; and the others that differ as well."""
    names = list(dict.fromkeys(name for settings in told for name in settings))
    for settings in told:
        for name in names:
            settings.setdefault(name, NOTHING)
    needed: list[str] = []
    along: list[str] = []
    groups = 1
    for name in names:
        if len({settings[name] for settings in told}) == 1:
            continue
        parted = len({tuple(settings[key] for key in (*needed, name)) for settings in told})
        (needed if parted > groups else along).append(name)
        groups = max(groups, parted)
    # What a differing option brings along goes without saying.
    return needed, [name for name in along if "." not in name or name.split(".")[0] not in (*needed, *along)]
