"""Figures of emotions, valence and arousal, and action units in a video or sound over time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fervid.figures.drawing import EMOTION_COLOURS, GRAY, MAX_CLASSES, TRAIN, VAL, Figure, shortened, wrapped
from fervid.schema.columns import PROBABILITY
from fervid.schema.parts import AFFECT, EMOTION, Part
from fervid.schema.predictions import UNSURE, probability_columns

MAX_PERSONS = 4
# A legend beside its panel.
BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.05), "frameon": False, "fontsize": 8}


class _Panel(NamedTuple):
    """One row of a timeline: its title, for each prediction the times, values (N, C) and whether unsure, and its part.

    The values of the emotion are probabilities of those that are shown.
    """

    title: str
    starts: np.ndarray
    ends: np.ndarray
    values: np.ndarray
    unsure: np.ndarray
    part: Part | None = None  # None: the emotion


def timeline(table: pd.DataFrame, parts: Sequence[Part], times: Sequence[float], title: str = "") -> Figure:
    """Draws the predictions over time, one panel per part for each of the four most frequent persons.

    The height of a colour is the probability of the emotion. Valence and arousal are lines, and the probabilities of
    action units a heat map. Gaps mark times in which a person is not detected for longer than a frame. Times without
    an answer are hatched. Persons detected in only one of several frames are omitted, because they are often false
    detections.

    Args:
        table: one row per face, from :func:`fervid.predict.face_tables.records`; uses ``time``, ``person``, the
            columns of the parts and ``answer``, if there is one.
        parts: what was predicted.
        times: times in seconds of all processed frames, with or without a face.
        title: title of the figure.
    """
    frames = len(times)
    persons = _persons(table, frames)
    step = float(np.median(np.diff(times))) if frames > 1 else 1.0
    columns = [name for part in parts if part.name == EMOTION for name in _columns(table, part.names)]
    panels = []
    for person in persons[:MAX_PERSONS]:
        rows = table[table["person"] == person].sort_values("time")
        middles = rows["time"].to_numpy()
        # A frame covers the time halfway to its neighbours, or half a step if there is none.
        half = np.diff(middles) / 2
        half[half > 1.25 * step] = step / 2
        starts, ends = middles - np.append(step / 2, half), middles + np.append(half, step / 2)
        name = f"person {person:.0f}, detected in {len(rows)} of {frames} frames"
        for part in parts:
            if part.name == EMOTION:
                panels.append(_Panel(name, starts, ends, rows[columns].to_numpy(), _unsure(rows)))
            else:
                values = rows[part.predictions].to_numpy(dtype=float)
                panels.append(_Panel(name, starts, ends, values, np.zeros(len(rows), dtype=bool), part))
            name = f"person {person:.0f}"
    limits = (min(0.0, times[0]) - step / 2, times[-1] + step / 2) if frames else None
    return _draw(panels, columns, limits, title, "no face detected", len(persons) - MAX_PERSONS)


def window_timeline(
    table: pd.DataFrame, class_names: Sequence[str], modalities: Sequence[str] = (), title: str = ""
) -> Figure:
    """Draws the probabilities of the emotions in the windows of a recording over time.

    With several modalities, there is one panel for each of them alone and one for all of them, for each of the most
    frequent persons. A window is drawn around its middle, as wide as the step to the next.

    Args:
        table: one row per window and person, from :func:`fervid.predict.window_tables.window_records`.
        class_names: the emotions.
        modalities: modalities from each of which alone the network answers.
        title: title of the figure.
    """
    windows = table["start"].nunique()
    persons = _persons(table, windows)
    columns = _columns(table, class_names)
    step = float(np.median(np.diff(np.unique(table["start"])))) if windows > 1 else 1.0
    end = float(table["end"].max()) if windows else 0.0
    panels = [_window_panel("sound alone", table, "sound_", columns, step, end)] if "sound" in modalities else []
    max_persons = 2 if modalities else MAX_PERSONS
    for person in persons[:max_persons]:
        rows, name = table[table["person"] == person], f"person {person:.0f}, "
        if "image" in modalities:
            panels.append(_window_panel(f"{name}image alone", rows, "image_", columns, step, end))
        if len(persons) == 1:  # the other windows have only sound
            rows = table
        present = " and ".join(modalities) or f"in {len(rows)} of {windows} windows"
        panels.append(_window_panel(f"{name}{present}", rows, "", columns, step, end))
    if not persons and (not modalities or table["person"].notna().any()):
        panels.append(_window_panel("all modalities present" if modalities else "sound", table, "", columns, step, end))
    return _draw(panels, columns, (0.0, end) if end else None, title, "no answer", len(persons) - max_persons)


def _window_panel(
    title: str, table: pd.DataFrame, prefix: str, columns: Sequence[str], step: float, end: float
) -> _Panel:
    """Returns the panel of some windows."""
    named = [f"{prefix}{column}" for column in columns]
    rows = table.dropna(subset=named).drop_duplicates("start").sort_values("start")
    middles = (rows["start"] + rows["end"]).to_numpy(dtype=float) / 2
    starts, ends = middles - step / 2, middles + step / 2
    if len(rows):
        # Nothing else covers the begin and the end of the recording; the last window may be shorter.
        starts[0] = 0.0 if rows["start"].iloc[0] == 0 else starts[0]
        ends[-1] = end if rows["end"].iloc[-1] >= end else ends[-1]
        starts[1:] = np.where(starts[1:] - ends[:-1] < step / 2, ends[:-1], starts[1:])
    # What a modality says alone is not answered.
    unsure = _unsure(rows) if not prefix else np.zeros(len(rows), dtype=bool)
    return _Panel(title, starts, ends, rows[named].to_numpy(dtype=float), unsure)


def _unsure(rows: pd.DataFrame) -> np.ndarray:
    """Whether the model does not answer, bool (N,)."""
    return (rows["answer"] == UNSURE).to_numpy() if "answer" in rows else np.zeros(len(rows), dtype=bool)


def _persons(table: pd.DataFrame, steps: int) -> list[float]:
    """Returns the persons that are in at least two of the frames or windows, the most frequent first."""
    seen = table["person"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return seen[seen >= min(2, steps)].index.tolist()


def _columns(table: pd.DataFrame, class_names: Sequence[str]) -> list[str]:
    """Returns the columns of the emotions that are shown: all, or the most probable ones."""
    columns = probability_columns(class_names)
    if len(columns) > MAX_CLASSES:
        columns = table[columns].mean().nlargest(len(EMOTION_COLOURS)).index.tolist()
    return columns


def _draw(
    panels: Sequence[_Panel],
    columns: Sequence[str],
    limits: tuple[float, float] | None,
    title: str,
    nothing: str,
    more_persons: int,
) -> Figure:
    figure = Figure(figsize=(11, 1.4 + 1.7 * max(1, len(panels))), layout="constrained")
    figure.suptitle(wrapped(title, 100))
    grid = figure.subplots(max(1, len(panels)), 1, sharex=True, squeeze=False)[:, 0]
    names = [column.removeprefix(PROBABILITY) for column in columns]
    for axes, panel in zip(grid, panels, strict=False):
        if panel.part is None:
            _stack(axes, panel, names)
        else:
            (_lines if panel.part.name == AFFECT else _heat_map)(axes, panel, panel.part)
    if limits:
        grid[-1].set_xlim(*limits)
    grid[-1].set_xlabel("time in seconds" + (f"; {more_persons} more persons not shown" if more_persons > 0 else ""))
    stacked = [axes for axes, panel in zip(grid, panels, strict=False) if panel.part is None]
    handles, labels = next((found for axes in stacked if (found := axes.get_legend_handles_labels())[0]), ([], []))
    if handles and len(stacked) < len(panels):
        stacked[0].legend(handles[::-1], labels[::-1], **BESIDE)
    elif handles:
        figure.legend(handles[::-1], labels[::-1], loc="outside right upper", frameon=False)
    elif stacked or not panels:
        grid[0].text(0.5, 0.5, nothing, ha="center", va="center", transform=grid[0].transAxes)
    return figure


def _stack(axes: Any, panel: _Panel, names: Sequence[str]) -> None:
    """Draws the probabilities of a panel on top of each other."""
    axes.set_title(panel.title, loc="left", fontsize=10)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_ylabel("probability")
    if not len(panel.starts):
        return
    x = np.column_stack([panel.starts, panel.ends, panel.ends]).ravel()
    breaks = np.append(panel.starts[1:] - panel.ends[:-1] > 1e-6, True)
    heights = np.repeat(panel.values, 3, axis=0)
    heights[2::3][breaks] = np.nan
    colours = [EMOTION_COLOURS[number % len(EMOTION_COLOURS)] for number in range(len(names))]
    labels = [shortened(name) for name in names]
    axes.stackplot(x, heights.T, labels=labels, colors=colours, linewidth=0)
    if panel.unsure.any():
        covered = np.repeat(np.where(panel.unsure, 1.0, np.nan), 3)
        covered[2::3][breaks] = np.nan
        veil = {"facecolor": (1, 1, 1, 0.65), "edgecolor": GRAY, "hatch": "//", "linewidth": 0}
        axes.fill_between(x, 0, covered, label=UNSURE, **veil)


def _lines(axes: Any, panel: _Panel, part: Part) -> None:
    """Draws valence and arousal as lines."""
    axes.set_title(panel.title, loc="left", fontsize=10)
    axes.set_ylim(-1.05, 1.05)
    axes.axhline(0, color=GRAY, linewidth=0.5)
    starts, ends, values = _with_gaps(panel)
    x = np.column_stack([starts, ends]).ravel()
    for name, colour, line in zip(part.titles, (TRAIN, VAL), values.T, strict=True):
        axes.plot(x, np.repeat(line, 2), color=colour, linewidth=1.5, label=name)
    axes.legend(**BESIDE)


def _heat_map(axes: Any, panel: _Panel, part: Part) -> None:
    """Draws the probabilities of action units as a heat map, one row for each unit."""
    axes.set_title(panel.title, loc="left", fontsize=10)
    starts, _, values = _with_gaps(panel)
    edges = np.append(starts, panel.ends[-1])
    masked = np.ma.masked_invalid(values.T)
    mesh = axes.pcolormesh(edges, np.arange(len(part.names) + 1), masked, vmin=0, vmax=1, cmap="Blues")
    axes.set_yticks(np.arange(len(part.names)) + 0.5, part.titles, fontsize=min(10, 90 / len(part.names)))
    axes.invert_yaxis()
    axes.figure.colorbar(mesh, ax=axes, label="probability", format="{x:.0%}", pad=0.01)


def _with_gaps(panel: _Panel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the begins, ends and values of a panel, with NaN as the values between predictions that are apart."""
    gaps = np.flatnonzero(panel.starts[1:] - panel.ends[:-1] > 1e-6) + 1
    starts = np.insert(panel.starts, gaps, panel.ends[gaps - 1])
    ends = np.insert(panel.ends, gaps, panel.starts[gaps])
    return starts, ends, np.insert(panel.values, gaps, np.nan, axis=0)
