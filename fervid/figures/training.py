"""Figures of training curves and confusion matrices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from fervid.figures.drawing import GRAY, MAX_CLASSES, TRAIN, VAL, Figure, shortened
from fervid.metrics.scores import scores as class_scores

SCORES = ("loss", "accuracy", "uar")
TITLES = {
    **{"loss": "Loss", "accuracy": "Accuracy (WAR)", "uar": "UAR", "ccc": "CCC", "rmse": "RMSE"},
    **{"f1_units": "F1 of the units", "balanced_accuracy_units": "Balanced accuracy", "mean_score": "Mean score"},
}
SHARES = ("accuracy", "uar", "f1_units", "balanced_accuracy_units")


def curves(history: Sequence[dict[str, Any]], best_epoch: int | None = None, scores: Sequence[str] = SCORES) -> Figure:
    """Draws training and validation scores over the epochs, with lines between phases.

    Args:
        history: one dict per epoch with ``epoch`` (from 1), ``phase``, ``train/loss``, ``val/loss`` and so on.
        best_epoch: epoch (from 1) whose weights are used; marked by a line.
        scores: scores to draw, by their names without ``train/`` or ``val/``.
    """
    table = pd.DataFrame(history)
    epochs = table["epoch"]
    figure = Figure(figsize=(4 * len(scores), 3.6), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(scores), squeeze=False)[0], scores, strict=True):
        for subset, colour in (("train", TRAIN), ("val", VAL)):
            if f"{subset}/{metric}" in table:
                axes.plot(epochs, table[f"{subset}/{metric}"], color=colour, label=subset, marker="o", markersize=3)
        starts = table.index[table["phase"] != table["phase"].shift()]
        for start in starts:
            if start:
                axes.axvline(epochs[start] - 0.5, color=GRAY, linestyle="--", linewidth=1)
            if len(starts) > 1:
                axes.text(
                    epochs[start] - 0.4, 1.01, table["phase"][start], transform=axes.get_xaxis_transform(), color=GRAY
                )
        if best_epoch is not None:
            axes.axvline(best_epoch, color=VAL, linestyle=":", linewidth=1, label="best epoch")
        axes.set_title(TITLES.get(metric, metric), pad=18)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if metric in SHARES:
            axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def confusion_matrix(confusion: np.ndarray, class_names: Sequence[str], title: str = "") -> Figure:
    """Draws a confusion matrix with the fraction of each row as shade and percentage, and the count below.

    With more than :data:`MAX_CLASSES` emotions only shades are drawn, and only some emotions are named.

    Args:
        confusion: counts (num_classes, num_classes); rows are labels, columns predictions.
        class_names: the emotions.
        title: title of the figure.

    Examples:
        >>> figure = confusion_matrix([[8, 2], [1, 1]], ["happy", "sad"])
        >>> figure.axes[0].get_xlabel()
        'predicted'
    """
    counts = np.asarray(confusion)
    with np.errstate(invalid="ignore"):
        shares = counts / counts.sum(axis=1, keepdims=True)
    size = 2.2 + 0.8 * min(len(class_names), MAX_CLASSES)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1)
    for true, predicted in np.ndindex(counts.shape) if len(class_names) <= MAX_CLASSES else ():
        if counts[true, predicted]:
            dark = shares[true, predicted] > 0.55
            colour = "white" if dark else "black"
            axes.text(predicted, true - 0.1, f"{shares[true, predicted]:.0%}", ha="center", va="center", color=colour)
            count = int(counts[true, predicted])
            axes.text(predicted, true + 0.27, str(count), ha="center", va="center", color=colour, fontsize=7)
    names = [shortened(name) for name in class_names]
    labels = [
        f"{name} ({recall:.0%})" if np.isfinite(recall) else name
        for name, recall in zip(names, class_scores(counts).recall, strict=True)
    ]
    step = -(-len(names) // MAX_CLASSES)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=45, ha="right")
    axes.set_yticks(range(0, len(names), step), labels[::step])
    axes.set_xlabel("predicted")
    axes.set_ylabel("label (recall)")
    axes.set_title(title)
    figure.colorbar(image, shrink=0.7, format="{x:.0%}")
    return figure
