"""Figures of the moments, frames and features of clips that speak for an emotion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from fervid.figures.drawing import GRAY, MAX_CLASSES, Figure, not_shown, shortened, wrapped
from fervid.figures.sounds import RANGE_DB, spectrogram

FOR, AGAINST = "#b2182b", "#2166ac"  # the ends of the colour map, distinguishable with colour blindness
COLOURS = "RdBu_r"
MODALITY_COLOURS = {"all": "#333333", "image": "#117733", "sound": "#cc6677", "features": "#ddaa33"}
TITLES = {"all": "all", "image": "frames", "sound": "sound", "features": "features"}
MAX_COLUMNS = 12  # columns of a table, the most relevant ones
MAX_ANSWERS = 10  # emotions, the most probable ones
MAX_ENVELOPE = 1200  # points of a waveform
WIDTH_INCHES, STRIP_INCHES = 8.1, 1.15  # of the strip of frames
MAX_PANELS = 3  # next to each other, in the figure of means


@dataclass(frozen=True)
class ExplainedClip:
    """A clip and what speaks for its predicted emotion.

    Attributes:
        heading: title of the figure.
        emotions: names of all emotions.
        label: the clip's emotion.
        predicted: the emotion that the relevance is about.
        answers: probabilities of all emotions, (C,), by modality; ``all`` for all of them together.
        moments: relevance of the parts of each modality in the order of time, (P,).
        label_moments: the same for the label, if it is not the predicted emotion.
        contributions: contribution of each modality.
        faces: frames, uint8 (T, H, W, 3) RGB; None without pictures.
        frames: numbers of the frames in the video.
        sound: float (S,); None without sound.
        rate: samples per second.
        columns: relevance of each column of a table, by its name; empty without a table.
    """

    heading: str
    emotions: Sequence[str]
    label: str
    predicted: str
    answers: Mapping[str, np.ndarray]
    moments: Mapping[str, np.ndarray]
    label_moments: Mapping[str, np.ndarray]
    contributions: Mapping[str, float]
    faces: np.ndarray | None = None
    frames: Sequence[int] = ()
    sound: np.ndarray | None = None
    rate: int = 16_000
    columns: Mapping[str, float] | None = None


def explained_clip(clip: ExplainedClip) -> Figure:
    """Draws a clip with the relevance of its moments on the left, and the answers on the right."""
    heights = []
    if clip.faces is not None:
        heights += [STRIP_INCHES, 0.75]
    if clip.sound is not None:
        heights += [0.9, 0.8, 1.3]
    if "features" in clip.moments:
        heights.append(0.9)
    if clip.columns:
        heights.append(0.5 + 0.2 * min(MAX_COLUMNS, len(clip.columns)))
    panels = len(clip.answers) + (len(clip.contributions) > 1)
    height = max(sum(heights) + 1.1, 0.6 + 0.55 * panels + 0.13 * panels * min(MAX_ANSWERS, len(clip.emotions)))
    figure = Figure(figsize=(11.5, height), layout="constrained")
    figure.suptitle(wrapped(clip.heading, 110), fontsize=11, fontweight="bold")
    outer = GridSpec(1, 2, figure, width_ratios=[3.1, 1])
    grid = outer[0].subgridspec(len(heights), 1, height_ratios=heights)
    places = iter(grid)
    drawn = [*clip.moments.values(), *clip.label_moments.values()]
    limit = max((float(np.abs(values).max()) for values in drawn), default=0.0) or 1.0  # one scale for all modalities
    if clip.faces is not None:
        _draw_frames(figure, next(places), next(places), clip, limit)
    if clip.sound is not None:
        _draw_sound(figure, [next(places) for _ in range(3)], clip, limit)
    if "features" in clip.moments:
        axes = figure.add_subplot(next(places))
        _draw_bars(axes, np.linspace(0, 1, len(clip.moments["features"]) + 1), clip, "features", limit)
        axes.set(xlim=(0, 1), xticks=[])
        axes.set_xlabel("rows of the table, from the first to the last", fontsize=8)
    if clip.columns:
        _draw_columns(figure.add_subplot(next(places)), clip.columns)
    _draw_answers(figure, outer[1], clip)
    figure.supxlabel(
        f"relevance: decrease of the log-probability of {shortened(clip.predicted, 18)} without the part; "
        "red speaks for it, blue against it",
        fontsize=8,
        color=GRAY,
    )
    return figure


def _draw_frames(figure: Figure, top: SubplotSpec, bottom: SubplotSpec, clip: ExplainedClip, limit: float) -> None:
    assert clip.faces is not None
    count, (height, width) = len(clip.faces), clip.faces.shape[1:3]
    axes = figure.add_subplot(top)
    points = 72 * min(0.94 * WIDTH_INCHES / count, 0.9 * STRIP_INCHES)
    for number, face in enumerate(clip.faces):
        picture = OffsetImage(face, zoom=points / max(width, height), interpolation="nearest")
        box = AnnotationBbox(picture, (number + 0.5, 0.5), frameon=False, pad=0)
        box.set_in_layout(False)  # text around pictures is not moved
        axes.add_artist(box)
    axes.set(xlim=(0, count), ylim=(0, 1))
    axes.axis("off")
    axes.set_title("frames", fontsize=9, loc="left")
    below = figure.add_subplot(bottom)
    if "image" in clip.moments:
        parts = len(clip.moments["image"])
        _draw_bars(below, np.linspace(0, count, parts + 1), clip, "image", limit)
    else:
        below.text(count / 2, 0, "a single frame", ha="center", va="center", fontsize=8, color=GRAY)
        below.set_yticks([])
    below.set_xlim(0, count)
    below.set_xticks(np.arange(count) + 0.5, [str(number) for number in clip.frames], fontsize=7)
    below.set_xlabel("frame of the video", fontsize=8)


def _draw_sound(figure: Figure, places: Sequence[SubplotSpec], clip: ExplainedClip, limit: float) -> None:
    assert clip.sound is not None
    end = len(clip.sound) / clip.rate
    first, second, third = axes = [figure.add_subplot(place) for place in places]
    first.set_title("sound", fontsize=9, loc="left")
    relevance = clip.moments["sound"]
    _draw_bars(first, np.linspace(0, end, len(relevance) + 1), clip, "sound", limit)
    loudest = max(float(np.abs(clip.sound).max()), 1e-6)
    second.imshow(
        relevance[None], extent=(0, end, -1, 1), aspect="auto", cmap=COLOURS, vmin=-limit, vmax=limit, alpha=0.45
    )
    step = max(1, len(clip.sound) // MAX_ENVELOPE)
    blocks = clip.sound[: len(clip.sound) // step * step].reshape(-1, step) / loudest
    times = (np.arange(len(blocks)) + 0.5) * step / clip.rate
    second.fill_between(times, blocks.min(1), blocks.max(1), color="#222222", linewidth=0.3, alpha=0.8)
    second.set(ylim=(-1, 1), yticks=[])
    second.set_ylabel("waveform", fontsize=8)
    third.imshow(
        spectrogram(clip.sound, clip.rate),
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-RANGE_DB,
        vmax=0,
        extent=(0, end, 0, clip.rate / 2000),
    )
    third.set_ylabel("kHz", fontsize=8)
    third.set_xlabel("seconds", fontsize=8)
    for each in axes:
        each.set_xlim(0, end)
        each.tick_params(labelsize=7)
    for each in (first, second):
        each.tick_params(labelbottom=False)


def _draw_bars(axes: Axes, edges: np.ndarray, clip: ExplainedClip, modality: str, limit: float) -> None:
    """Draws the relevance of the parts of a modality as bars, and that for the label as a dashed line."""
    values = clip.moments[modality]
    colours = np.where(values >= 0, FOR, AGAINST)
    axes.bar(edges[:-1], values, np.diff(edges), align="edge", color=colours, edgecolor="white", linewidth=0.5)
    if modality in clip.label_moments:
        axes.stairs(clip.label_moments[modality], edges, color="black", linestyle=":", linewidth=1.2)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_ylim(-1.1 * limit, 1.1 * limit)
    axes.set_ylabel("relevance", fontsize=8)
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_columns(axes: Axes, columns: Mapping[str, float]) -> None:
    chosen = sorted(columns, key=lambda name: -abs(columns[name]))[:MAX_COLUMNS]
    values = np.array([columns[name] for name in chosen])
    axes.barh(range(len(chosen)), values, color=np.where(values >= 0, FOR, AGAINST), height=0.7)
    axes.set_yticks(range(len(chosen)), [shortened(name, 28) for name in chosen], fontsize=7)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.6)
    axes.tick_params(axis="x", labelsize=7)
    left_out = len(columns) - len(chosen)
    axes.set_title(
        "columns" + (f" ({left_out} less relevant ones not shown)" if left_out else ""), fontsize=9, loc="left"
    )
    axes.set_xlabel("relevance", fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_answers(figure: Figure, place: SubplotSpec, clip: ExplainedClip) -> None:
    """Draws the probabilities with each modality alone and all of them, and the contributions of the modalities."""
    several = len(clip.contributions) > 1
    rows = len(clip.answers) + several
    shown = np.argsort(-np.max(list(clip.answers.values()), axis=0), kind="stable")[:MAX_ANSWERS]
    shown = np.sort(shown)
    heights = [len(shown)] * len(clip.answers) + [len(clip.contributions) + 1] * several
    grid = place.subgridspec(rows, 1, height_ratios=heights)
    order = sorted(clip.answers, key=lambda name: name != "all")
    for number, name in enumerate(order):
        axes = figure.add_subplot(grid[number])
        values = clip.answers[name][shown]
        axes.barh(range(len(shown)), values, color=MODALITY_COLOURS.get(name, GRAY), height=0.75)
        labels = [shortened(clip.emotions[index], 18) for index in shown]
        axes.set_yticks(range(len(shown)), labels, fontsize=7)
        for tick, index in zip(axes.get_yticklabels(), shown, strict=True):
            tick.set_fontweight("bold" if clip.emotions[index] == clip.label else "normal")
        best = int(values.argmax())
        is_long = values[best] > 0.8
        axes.text(
            values[best] + (-0.02 if is_long else 0.02),
            best,
            f"{values[best]:.0%}",
            va="center",
            ha="right" if is_long else "left",
            fontsize=7,
            color="white" if is_long else "black",
        )
        axes.set(xlim=(0, 1), xticks=[])
        axes.invert_yaxis()
        title = (
            "answer"
            if not several
            else f"answer from {TITLES.get(name, name)}" + (" together" if name == "all" else " alone")
        )
        axes.set_title(title, fontsize=9, loc="left")
        for side in ("top", "right", "bottom"):
            axes.spines[side].set_visible(False)
    if several:
        axes = figure.add_subplot(grid[rows - 1])
        _draw_contributions(axes, clip.contributions)
        axes.set_title(f"contributions to {shortened(clip.predicted, 18)}", fontsize=9, loc="left")


def _draw_contributions(axes: Axes, contributions: Mapping[str, float]) -> None:
    values = list(contributions.values())
    axes.barh(
        range(len(values)), values, color=[MODALITY_COLOURS.get(name, GRAY) for name in contributions], height=0.7
    )
    axes.set_yticks(range(len(values)), [TITLES.get(name, name) for name in contributions], fontsize=7)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.6)
    axes.tick_params(axis="x", labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


@dataclass(frozen=True)
class MeanRelevance:
    """Mean relevance of K emotions over their test clips.

    Attributes:
        emotions: k emotions.
        counts: numbers of averaged clips.
        correct: whether only correctly classified clips were averaged; otherwise all clips of the emotion.
        moments: by modality, the relevance over relative time, (K, M).
        contributions: by modality, (K,).
        columns: relevance of the columns of a table, (K, F).
        column_names: names of these columns.
    """

    emotions: Sequence[str]
    counts: Sequence[int]
    correct: Sequence[bool]
    moments: Mapping[str, np.ndarray]
    contributions: Mapping[str, np.ndarray]
    columns: np.ndarray | None = None
    column_names: Sequence[str] = ()


def mean_relevance(means: MeanRelevance) -> Figure:
    """Draws the mean relevance of each emotion as a row of colours, from the start of the clips to their end."""
    count = min(MAX_CLASSES, len(means.emotions))
    panels = [*means.moments, *(["columns"] if means.columns is not None else [])]
    panels += ["contributions"] if len(means.contributions) > 1 else []
    lines = -(-len(panels) // MAX_PANELS)
    wide = min(MAX_PANELS, len(panels))
    figure = Figure(figsize=(1.4 + 3.8 * wide, 0.5 + lines * (1.5 + 0.3 * count)), layout="constrained")
    title = "Mean relevance for each emotion over its test clips (*: only clips predicted correctly)"
    if count < len(means.emotions):
        title += f"; {not_shown(len(means.emotions) - count)}"
    figure.suptitle(wrapped(title, 50 * wide), fontsize=10)
    labels = [
        f"{shortened(name, 18)} ({number}{'*' if correct else ''})"
        for name, number, correct in zip(means.emotions[:count], means.counts, means.correct, strict=False)
    ]
    limit = max((float(np.abs(values).max()) for values in means.moments.values()), default=0.0)
    places = figure.subplots(lines, wide, squeeze=False).ravel()
    for axes in places[len(panels) :]:
        axes.axis("off")
    for number, (axes, panel) in enumerate(zip(places, panels, strict=False)):
        if panel == "contributions":
            _draw_mean_contributions(axes, {name: x[:count] for name, x in means.contributions.items()})
        elif panel == "columns":
            assert means.columns is not None
            chosen = np.argsort(-np.abs(means.columns[:count]).mean(0), kind="stable")[:MAX_COLUMNS]
            _draw_rows(figure, axes, means.columns[:count, chosen], float(np.abs(means.columns).max()))
            names = [shortened(means.column_names[index], 18) for index in chosen]
            axes.set_xticks((np.arange(len(chosen)) + 0.5) / len(chosen), names, rotation=90, fontsize=7)
            axes.set_title("columns", fontsize=9)
        else:
            _draw_rows(figure, axes, means.moments[panel][:count], limit)
            axes.set_xticks([0, 0.5, 1], ["start", "middle", "end"], fontsize=8)
            axes.set_title(TITLES.get(panel, panel), fontsize=9)
        if number % wide == 0:
            axes.set_yticks(np.arange(count) + 0.5, labels, fontsize=8)
        else:
            axes.set_yticks([])
    return figure


def _draw_rows(figure: Figure, axes: Axes, values: np.ndarray, limit: float) -> None:
    limit = limit or 1.0
    image = axes.imshow(
        values, aspect="auto", cmap=COLOURS, norm=Normalize(-limit, limit), extent=(0, 1, len(values), 0)
    )
    colours = figure.colorbar(image, ax=axes, location="bottom", shrink=0.7, aspect=30)
    colours.ax.tick_params(labelsize=7)
    colours.set_label("relevance", fontsize=8)


def _draw_mean_contributions(axes: Axes, contributions: Mapping[str, np.ndarray]) -> None:
    high = 0.8 / len(contributions)
    for number, (name, values) in enumerate(contributions.items()):
        places = np.arange(len(values)) + 0.1 + high * number
        colour = MODALITY_COLOURS.get(name, GRAY)
        axes.barh(places, values, high, align="edge", color=colour, label=TITLES.get(name, name))
    axes.set_ylim(len(next(iter(contributions.values()))), 0)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_title("contribution of each modality", fontsize=9)
    axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
