"""Figures of emotions in a video over time."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fervid.figures.drawing import EMOTION_COLOURS, MAX_CLASSES, Figure, shortened, wrapped
from fervid.schema.columns import PROBABILITY
from fervid.schema.predictions import probability_columns


def timeline(table: pd.DataFrame, class_names: Sequence[str], times: Sequence[float], title: str = "") -> Figure:
    """Draws the probabilities of the emotions over time, one panel for each of the four most frequent persons.

    The height of a colour is the probability of the emotion. Gaps mark times in which a person is not detected for
    longer than a frame. Persons detected in only one of several frames are omitted, because they are often false
    detections.

    Args:
        table: one row per face, from :func:`fervid.predict.face_tables.records`; uses ``time``, ``person`` and
            ``prob_<emotion>``.
        class_names: the emotions.
        times: times in seconds of all processed frames, with or without a face.
        title: title of the figure.
    """
    frames = len(times)
    seen = table["person"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    seen = seen[seen >= min(2, frames)]
    shown = seen.index[:4]
    figure = Figure(figsize=(11, 1.4 + 1.7 * max(1, len(shown))), layout="constrained")
    figure.suptitle(wrapped(title, 100))
    panels = figure.subplots(max(1, len(shown)), 1, sharex=True, squeeze=False)[:, 0]
    step = float(np.median(np.diff(times))) if frames > 1 else 1.0
    columns = probability_columns(class_names)
    if len(columns) > MAX_CLASSES:  # show the most probable emotions
        columns = table[columns].mean().nlargest(len(EMOTION_COLOURS)).index.tolist()
    names = [column.removeprefix(PROBABILITY) for column in columns]
    colours = [EMOTION_COLOURS[number % len(EMOTION_COLOURS)] for number in range(len(names))]
    for axes, person in zip(panels, shown, strict=False):
        rows = table[table["person"] == person].sort_values("time")
        middles, probabilities = rows["time"].to_numpy(), rows[columns].to_numpy()
        # A frame covers the time halfway to its neighbours, or half a step if there is none.
        half = np.diff(middles) / 2
        half[half > 1.25 * step] = step / 2
        starts, ends = middles - np.append(step / 2, half), middles + np.append(half, step / 2)
        x = np.column_stack([starts, ends, ends]).ravel()
        breaks = np.append(starts[1:] - ends[:-1] > 1e-6, True)
        heights = np.repeat(probabilities, 3, axis=0)
        heights[2::3][breaks] = np.nan
        labels = [shortened(name) for name in names]
        axes.stackplot(x, heights.T, labels=labels, colors=colours, linewidth=0)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_title(f"person {person:.0f}, detected in {len(rows)} of {frames} frames", loc="left", fontsize=10)
        axes.set_ylabel("probability")
    if frames:
        panels[-1].set_xlim(min(0.0, times[0]) - step / 2, times[-1] + step / 2)
    panels[-1].set_xlabel("time in seconds" + (f"; {len(seen) - 4} more persons not shown" if len(seen) > 4 else ""))
    if len(shown):
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside right upper", frameon=False)
    else:
        panels[0].text(0.5, 0.5, "no face detected", ha="center", va="center", transform=panels[0].transAxes)
    return figure
