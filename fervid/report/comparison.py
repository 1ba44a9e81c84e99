"""The tables that lay systems side by side."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fervid.metrics.aggregation import RULES, class_indices, clip_predictions, confusion
from fervid.metrics.calibration import apply_temperature, expected_calibration_error, fit_temperature
from fervid.metrics.scores import scores
from fervid.metrics.statistics import (
    bootstrap_intervals,
    bootstrap_scores,
    corrected_t,
    holm,
    mcnemar,
    percentile_interval,
    run_confusions,
)
from fervid.report.systems import REPEATS, System, flat_settings, say, why_not
from fervid.runs.run import Run
from fervid.schema.columns import grouping_columns
from fervid.schema.errors import listed
from fervid.schema.tables import Table

FEW_FRAMES = 20  # of an emotion in the test: its recall is a matter of chance
FEWEST_OF_A_PERSON = 5  # frames, below which a person's score says nothing


def probabilities(predictions: pd.DataFrame, class_names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities (N, num_classes) of a predictions table, and its labels (N,)."""
    chances = predictions[[f"p_{name}" for name in class_names]].to_numpy(dtype=float)
    return chances, class_indices(predictions["true"], class_names)


def level_predictions(predictions: pd.DataFrame, class_names: list[str]) -> dict[str, pd.DataFrame]:
    """The predictions of frames, and of clips by each rule of :data:`RULES`; of single pictures nothing but frames."""
    if predictions["clip"].is_unique:
        return {"frames": predictions}
    by_rule = {f"clips, {rule}": clip_predictions(predictions, class_names, rule) for rule in RULES}
    return {"frames": predictions} | by_rule


def score_table(systems: Sequence[System], number: int, *, resamples: int, seed: int) -> Table:
    """Frame and clip scores of systems that compare, best first.

    Args:
        systems: tested on the same rows.
        number: of the set they make.
        resamples: of people, for the intervals.
        seed: of the resamples.
    """
    rows: list[dict[str, Any]] = []
    for system in systems:
        levels = [level_predictions(run.predictions, system.class_names) for run in system.runs]
        values = {
            level: pd.DataFrame([scores(confusion(each[level], system.class_names)).means() for each in levels])
            for level in levels[0]
        }
        intervals = {
            level: bootstrap_intervals(
                run_confusions(table, system.class_names, system.unit), resamples=resamples, seed=seed
            )
            for level, table in (("frames", system.frames), ("clips, mean", system.clips_by_run))
            if level in values
        }
        rows.append(
            {"system": system.name, "runs": len(system.runs), "leakage": system.level}
            | {
                f"{measure} {level}": _with_spread(values[level][key], intervals.get(level, {}).get(key))
                for level in values
                for key, measure in (("uar", "UAR"), ("accuracy", "WAR"))
                if level in intervals or key == "uar"
            }
            | {"_order": values["frames"]["uar"].mean()}
        )
    data = pd.DataFrame(rows).sort_values("_order", ascending=False).drop(columns="_order")
    by_people, people = systems[0].unit == "subject", systems[0].frames["subject"].nunique()
    frames = systems[0].runs[0].predictions
    brackets = (
        f"In brackets: 95 % intervals, percentiles of {resamples} bootstrap samples of "
        + ("people, each with all of their frames." if by_people else "clips, since it is unknown who is seen.")
        + (" Of fewer than ten people they are too narrow." if by_people and people < 10 else "")
    )
    if systems[0].frames[systems[0].unit].nunique() < 2:
        brackets = f"Of a single {'person' if by_people else 'clip'} no interval can be given."
    notes = [
        f"Emotions: {', '.join(systems[0].class_names)}; chance: UAR {1 / len(systems[0].class_names):.1%}.",
        brackets,
    ]
    if "UAR clips, mean" in data:
        notes.append(
            "Clips: the mean of the frames' probabilities, the majority of the frames, the mean weighted by confidence."
        )
    counts = frames["true"].value_counts()
    few = [f"{name} ({counts[name]})" for name in sorted(counts.index) if counts[name] < FEW_FRAMES]
    if few:
        told = "Such recalls, and the UAR with them, are more uncertain than the intervals say."
        notes.append(f"Fewer than {FEW_FRAMES} test frames: {listed(few)}. {told}")
    if any(len(system.runs) > 1 for system in systems):
        notes.append("Over several runs (seeds, folds): mean ± standard deviation; the interval is that of the mean.")
    return Table(f"scores_{number}", describe_set(systems, number), data, notes=notes)


def describe_set(systems: Sequence[System], number: int) -> str:
    """What systems that compare were tested on, in one line."""
    first = systems[0]
    data, people = first.runs[0].results["data"], first.frames["subject"].nunique()
    corpus = f"{data['corpus']}{', rendered' if data.get('rendered') else ''}"
    who = f" of {people} people" if people else ""
    splits = ", ".join(sorted({str(system.runs[0].setting("split")) for system in systems}))
    return f"Set {number}: {corpus}, split {splits}, tested on {len(first.clips)} clips{who}"


def summary_table(systems: Sequence[System], sets: Sequence[Sequence[System]]) -> Table:
    """All systems in few columns, best first within their set."""
    number = {id(system): n for n, each in enumerate(sets, start=1) for system in each}
    rows = [
        {
            "set": number[id(system)],
            "system": system.name,
            "leakage": system.level,
            "runs": len(system.runs),
            **{
                title: _with_spread(pd.Series([run.metric(key) for run in system.runs]), None)
                for title, key in (
                    ("UAR frames", "test/uar"),
                    ("WAR frames", "test/accuracy"),
                    ("UAR clips", "test/clip_uar"),
                )
            },
            "_order": _mean_metric(system, "test/uar"),
        }
        for system in systems
    ]
    data = pd.DataFrame(rows).sort_values(["set", "_order"], ascending=[True, False]).drop(columns="_order")
    return Table(
        "summary", "What was reached", data, notes=["Systems of one set compare; those of different sets do not."]
    )


def _with_spread(values: pd.Series, interval: tuple[float, float] | None) -> str:
    if values.isna().all():
        return ""
    text = f"{values.mean():.1%}"
    if len(values) > 1:
        text += f" ± {100 * values.std():.1f}"
    if interval is not None and np.isfinite(interval[0]):
        text += f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
    return text


def leak_table(systems: Sequence[System]) -> Table | None:
    """The same system under several splits: what a leaky one promises too much. None if there is no such pair."""
    without: dict[tuple[Any, ...], list[System]] = {}
    for system in systems:
        # All settings: those that go along with the split are not among the system's own.
        settings = {name: value for name, value in flat_settings(system.runs[0]).items() if not _of_split(name)}
        without.setdefault(tuple(settings.items()), []).append(system)
    rows = []
    for twins in without.values():
        if len({_worst_level(twin) for twin in twins}) < 2:
            continue
        twins = sorted(twins, key=_worst_level)
        told = {name: value for name, value in twins[0].told.items() if not _of_split(name)}
        honest = _mean_metric(twins[0], "test/uar")
        for twin in twins:
            uar, leaks = _mean_metric(twin, "test/uar"), _worst_level(twin) > _worst_level(twins[0])
            rows.append(
                {
                    "system": say(told) or str(twins[0].runs[0].setting("backbone")),
                    "split": twin.runs[0].setting("split"),
                    "leakage": twin.level,
                    "trained on": round(np.mean([run.results["data"]["split"]["train"] for run in twin.runs])),
                    "people": twin.frames["subject"].nunique() or None,
                    "UAR": uar,
                    "WAR": _mean_metric(twin, "test/accuracy"),
                    "UAR above": 100 * (uar - honest) if leaks else None,
                }
            )
    if not rows:
        return None
    data = pd.DataFrame(rows)
    data["people"] = data["people"].astype("Int64")
    formats = dict.fromkeys(("UAR", "WAR"), "{:.1%}") | {"UAR above": "{:+.1f}"}
    notes = [
        "The same network and settings under another split, each measured on the frames of its own test side; UAR "
        "above: points above the honest split. Intervals stand with the scores. Trained on: frames; where a split "
        "gives more or fewer of them, that makes a difference too."
    ]
    return Table("leaks", "What leaky splits promise", data, formats, notes)


def _of_split(name: str) -> bool:
    return name.split(".")[0] == "split"


def _worst_level(system: System) -> int:
    return max(run.level.rank for run in system.runs)


def _mean_metric(system: System, name: str) -> float:
    return float(np.mean([run.metric(name) for run in system.runs]))


def class_table(systems: Sequence[System]) -> Table:
    """Recall, precision and F1 of each emotion, on the frames of all repeats."""
    rows = []
    for system in systems:
        counts = confusion(system.frames, system.class_names)
        reached = scores(counts)
        for position, name in enumerate(system.class_names):
            rows.append(
                {
                    "system": system.name,
                    "leakage": system.level,
                    "emotion": name,
                    "frames": int(counts[position].sum()),
                    "recall": reached.recall[position],
                    "precision": reached.precision[position],
                    "F1": reached.f1[position],
                }
            )
    formats = dict.fromkeys(("recall", "precision", "F1"), "{:.1%}")
    return Table("classes", "By emotion", pd.DataFrame(rows), formats, ["Frames of all repeats together."])


def group_table(systems: Sequence[System]) -> Table | None:
    """Scores by whatever the manifest knows of people and clips; None if it knows nothing."""
    rows = []
    for system in systems:
        for column in grouping_columns(system.frames):
            for value, part in system.frames.groupby(column):
                clips = clip_predictions(part.drop(columns="run"), system.class_names)
                rows.append(
                    {
                        "system": system.name,
                        "leakage": system.level,
                        "by": column,
                        "value": str(value),
                        "people": part["subject"].nunique() or None,
                        "frames": len(part),
                        **_named(scores(confusion(part, system.class_names)).means(), "frames"),
                        "UAR clips": scores(confusion(clips, system.class_names)).means()["uar"],
                    }
                )
    if not rows:
        return None
    data = pd.DataFrame(rows)
    data["people"] = data["people"].astype("Int64")
    return Table(
        "groups",
        "By what the corpus knows of people and clips",
        data,
        dict.fromkeys(("UAR frames", "WAR frames", "UAR clips"), "{:.1%}"),
        ["A difference between groups of few people may be chance: look at the number of people."],
    )


def subject_table(systems: Sequence[System]) -> Table | None:
    """Scores of each person who is seen often enough; None where nobody is, or nobody is known."""
    rows = []
    for system in systems:
        for person, part in system.frames.dropna(subset="subject").groupby("subject"):
            if len(part) < FEWEST_OF_A_PERSON:
                continue
            row = {"system": system.name, "leakage": system.level, "subject": str(person), "frames": len(part)}
            rows.append(row | _named(scores(confusion(part, system.class_names)).means(), "frames"))
    if not rows:
        return None
    formats = dict.fromkeys(("UAR frames", "WAR frames"), "{:.1%}")
    return Table(
        "subjects",
        "By person",
        pd.DataFrame(rows),
        formats,
        [
            "UAR over the emotions the person was tested on. "
            f"People with fewer than {FEWEST_OF_A_PERSON} test frames are left out."
        ],
    )


def _named(values: dict[str, float], level: str) -> dict[str, float]:
    return {f"UAR {level}": values["uar"], f"WAR {level}": values["accuracy"]}


def test_table(systems: Sequence[System], number: int, *, resamples: int, seed: int) -> Table | None:
    """Differences of systems that compare, with intervals and paired tests, Holm-corrected; None for a single one.

    McNemar's exact test looks at the clips that one of the two is right about and the other is not; the corrected t
    test (Nadeau & Bengio 2003) at the differences in clip UAR over folds or seeds.

    Args:
        systems: tested on the same rows.
        number: of the set they make.
        resamples: of people, for the intervals.
        seed: of the resamples.
    """
    drawn = {
        id(system): bootstrap_scores(
            run_confusions(system.clips_by_run, system.class_names, system.unit), resamples=resamples, seed=seed
        )["uar"]
        for system in systems
    }
    rows = []
    for one, other in combinations(systems, 2):
        both = one.clips.merge(other.clips, on="clip", suffixes=("_a", "_b"))
        right_a, right_b = both["predicted_a"] == both["true_a"], both["predicted_b"] == both["true_b"]
        only_a, only_b, p = mcnemar(right_a.to_numpy(), right_b.to_numpy())
        ahead = _clip_uar(one) - _clip_uar(other)
        low, high = percentile_interval(drawn[id(one)] - drawn[id(other)])
        interval = f" ({100 * low:+.1f} to {100 * high:+.1f})" if np.isfinite(low) else ""
        rows.append(
            {
                "A": one.name,
                "B": other.name,
                "clips": len(both),
                "UAR clips, A - B": f"{100 * ahead:+.1f} points{interval}" if np.isfinite(ahead) else None,
                "only A right": only_a,
                "only B right": only_b,
                "McNemar p": p,
                "t test p": _t_test(one, other),
            }
        )
    if not rows:
        return None
    data = pd.DataFrame(rows)
    for name in ("McNemar p", "t test p"):
        data[f"{name}, Holm"] = holm(data[name].to_numpy(dtype=float))
    ordered = ["A", "B", "clips", "UAR clips, A - B", "only A right", "only B right", "McNemar p", "McNemar p, Holm"]
    notes = [
        "In brackets: 95 % intervals of the difference, the same people (or clips) drawn for both.",
        "p: how often a difference at least as large would be seen if there were none. Holm: corrected for the number "
        "of pairs in this table.",
        "McNemar's test takes clips for independent of each other, which those of one person are not quite: believe "
        "the interval first. Of several runs it looks at the mean of their probabilities.",
    ]
    if data["t test p"].notna().any():
        ordered += ["t test p", "t test p, Holm"]
        notes.append(
            "t test: Nadeau and Bengio's (2003) over folds or seeds, corrected for training sides that overlap; it "
            "takes test sides for drawn anew each time."
        )
    formats = {name: "{:.3f}" for name in ordered if " p" in name}
    return Table(f"tests_{number}", f"Set {number}: paired tests", data[ordered], formats, notes)


test_table.__test__ = False  # type: ignore[attr-defined]  # no test of pytest's


def _clip_uar(system: System) -> float:
    return float(pd.Series([run.metric("test/clip_uar") for run in system.runs]).mean())


def _t_test(one: System, other: System) -> float | None:
    def by_rows(system: System) -> dict[Any, Run]:
        return {tuple(run.setting(name) for name in REPEATS): run for run in system.runs}

    ours, theirs = by_rows(one), by_rows(other)
    shared = [key for key in ours if key in theirs]
    if len(shared) < 2:
        return None
    differences = [ours[key].metric("test/clip_uar") - theirs[key].metric("test/clip_uar") for key in shared]
    sides = [ours[key].results["data"]["split"] for key in shared]
    _, p = corrected_t(differences, train=[side["train"] for side in sides], test=[side["test"] for side in sides])
    return p


def calibration_table(systems: Sequence[System]) -> Table | None:
    """How far confidence can be believed, before and after a temperature is fitted on the validation side.

    None if no system has predictions of validation frames.
    """
    rows = []
    for system in systems:
        if not system.has_validation:
            continue
        found = pd.DataFrame([_calibration(run) for run in system.runs])
        rows.append({"system": system.name, "leakage": system.level, **found.mean().to_dict()})
        rows[-1]["temperature"] = float(np.exp(np.log(found["temperature"]).mean()))  # a factor
    formats = {
        **dict.fromkeys(("ECE", "ECE scaled"), "{:.1%}"),
        **dict.fromkeys(("NLL", "NLL scaled"), "{:.3f}"),
        "temperature": "{:.2f}",
    }
    notes = [
        "ECE: expected calibration error in 15 bins, on test frames. NLL: negative log likelihood.",
        "Scaled: by a temperature of 0.05 to 20 fitted on validation (Guo et al. 2017); above 1: too sure.",
    ]
    absent = [system.name for system in systems if not system.has_validation]
    if absent:
        notes.append(f"Left out for want of predictions_val.csv: {'; '.join(absent)}.")
    return Table("calibration", "Calibration", pd.DataFrame(rows), formats, notes) if rows else None


def _calibration(run: Run) -> dict[str, float]:
    temperature = fit_temperature(*probabilities(run.validation, run.class_names))
    before, labels = probabilities(run.predictions, run.class_names)
    after = apply_temperature(before, temperature)
    return {
        "ECE": expected_calibration_error(before, labels),
        "ECE scaled": expected_calibration_error(after, labels),
        "NLL": _negative_log_likelihood(before, labels),
        "NLL scaled": _negative_log_likelihood(after, labels),
        "temperature": temperature,
    }


def _negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    chances = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chances, np.finfo(np.float32).tiny)).mean())


def scaled_probabilities(system: System) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Test probabilities (N, num_classes) of all repeats, the same by each run's temperature, and the labels (N,)."""
    parts = []
    for run in system.runs:
        before, labels = probabilities(run.predictions, run.class_names)
        temperature = fit_temperature(*probabilities(run.validation, run.class_names))
        parts.append((before, apply_temperature(before, temperature), labels))
    before, after, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return before, after, labels


def refusal_table(sets: Sequence[Sequence[System]]) -> Table | None:
    """Why the systems of one set are not laid beside those of another; None if all compare."""
    rows = [
        {"": f"set {first} and set {second}", "reason": why_not(one[0], other[0])}
        for (first, one), (second, other) in combinations(enumerate(sets, start=1), 2)
    ]
    if not rows:
        return None
    return Table(
        "not_compared",
        "Not compared",
        pd.DataFrame(rows),
        notes=["Scores on other test rows or of other emotions do not compare; no test is made between sets."],
    )


def run_table(systems: Sequence[System], doubles: Sequence[Run], unusable: dict[Path, str]) -> Table:
    """Every folder that was looked at: what it is, or why it is left out."""
    rows: list[dict[str, Any]] = [
        {
            "folder": str(run.folder),
            "system": system.name,
            "seed": run.setting("seed"),
            "fold": run.setting("split.fold"),
            "epochs": run.results.get("epochs"),
            "kept": run.results.get("best_epoch"),
            "leakage": str(run.level),
            "seconds": run.results["seconds"]["fit"],
            "remark": " ".join(run.results.get("warnings", [])),
        }
        for system in systems
        for run in system.runs
    ]
    rows += [
        {"folder": str(run.folder), "remark": "left out: another run has the same settings and seed"} for run in doubles
    ]
    rows += [{"folder": str(folder), "remark": f"left out: {reason}"} for folder, reason in unusable.items()]
    data = pd.DataFrame(rows)
    for name in ("seed", "fold", "epochs", "kept"):
        data[name] = data[name].astype("Int64")
    data = data.dropna(axis=1, how="all")
    return Table(
        "runs",
        "The runs",
        data,
        {"seconds": "{:.0f}"},
        ["Kept: the epoch whose weights were kept. Seconds: of training."],
    )


def tidy(systems: Sequence[System]) -> pd.DataFrame:
    """Every score of every run, one a row, for other programs.

    Returns:
        Columns ``run, system, <settings>, seed, fold, leakage, level, by, value, frames, metric, score``; ``level`` is
        frames or clips by one of :data:`RULES`, ``by`` is all, emotion, subject or a column of the manifest.
    """
    return pd.DataFrame([row for system in systems for run in system.runs for row in _tidy_run(system, run)])


def _tidy_run(system: System, run: Run) -> Iterator[dict[str, Any]]:
    who = {"run": str(run.folder), "system": system.name, **system.settings}
    who |= {"seed": run.setting("seed"), "fold": run.setting("split.fold"), "leakage": str(run.level)}
    for level, table in level_predictions(run.predictions, run.class_names).items():
        parts = [("all", "", table)]
        for column in ["subject", *grouping_columns(table)]:
            if column in table:
                parts += [(column, str(value), part) for value, part in table.groupby(column)]
        for by, value, part in parts:
            where = {**who, "level": level, "by": by, "value": value, "frames": len(part)}
            yield from (
                {**where, "metric": name, "score": score}
                for name, score in scores(confusion(part, run.class_names)).means().items()
            )
        counts = confusion(table, run.class_names)
        reached = scores(counts)
        for position, name in enumerate(run.class_names):
            where = {**who, "level": level, "by": "emotion", "value": name, "frames": int(counts[position].sum())}
            for metric, values in (("recall", reached.recall), ("precision", reached.precision)):
                yield {**where, "metric": metric, "score": values[position]}
