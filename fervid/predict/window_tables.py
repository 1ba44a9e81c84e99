"""Rows of the table of predicted windows."""

from collections.abc import Sequence
from typing import Any

from fervid.predict.answers import answer_cells
from fervid.predict.windows import WindowPrediction
from fervid.schema.columns import COLUMNS
from fervid.schema.predictions import probability_columns

WINDOWS = "windows"  # name of the files without suffix
WINDOW_COLUMNS = {
    "source": "the video or sound file, as named in `source=`",
    "start": "begin of the window, in seconds after the first frame or sample of the source",
    "end": "end of the window, in seconds after the first frame or sample of the source",
    "person": "number of the person tracked through the video, from 1; empty if only sound was present",
    "modalities": "the modalities that were present: `image`, `sound` or `image+sound`",
    "frames": "number of processed frames of the window that show the person's face",
    "emotion": COLUMNS["predicted"].meaning,
    "confidence": "the probability of the predicted emotion",
}
"""The columns of the table of windows and their meaning.

A column ``prob_<class>`` for each class follows them. If the network answers from each modality alone, there are also
the columns ``<modality>_emotion`` and ``<modality>_prob_<class>``, which are empty if the modality was not present.
"""


def window_columns(class_names: Sequence[str], modalities: Sequence[str]) -> list[str]:
    """Returns the columns of the table of windows.

    Args:
        class_names: the emotions, in the order of the probabilities.
        modalities: modalities from each of which alone the network answers.
    """
    probabilities = probability_columns(class_names)
    alone = [alone_column(modality, name) for modality in modalities for name in ("emotion", *probabilities)]
    return [*WINDOW_COLUMNS, *probabilities, *alone]


def alone_column(modality: str, column: str) -> str:
    """Returns the name of a column of the predictions from one modality alone."""
    return f"{modality}_{column}"


def window_records(
    source: str, predictions: Sequence[WindowPrediction], class_names: Sequence[str], modalities: Sequence[str]
) -> list[dict[str, Any]]:
    """Returns the predictions for a window as rows with the keys :func:`window_columns`, None where missing.

    The columns of :data:`fervid.predict.answers.ANSWER_COLUMNS` that an answer fills follow them.

    Args:
        source: name of the video or sound file.
        predictions: the predictions for this window.
        class_names: the emotions, in the order of the probabilities.
        modalities: modalities from each of which alone the network answers.
    """
    columns = probability_columns(class_names)
    rows = []
    for each in predictions:
        row: dict[str, Any] = dict.fromkeys(window_columns(class_names, modalities))
        row |= {"source": source, "start": round(each.window.start, 3), "end": round(each.window.end, 3)}
        row |= {"person": each.person, "modalities": "+".join(each.modalities), "frames": each.frames}
        row |= {"emotion": each.emotion, "confidence": round(each.confidence, 6)}
        row |= {name: round(float(p), 6) for name, p in zip(columns, each.probabilities, strict=True)}
        for modality, alone in each.alone.items():
            row[alone_column(modality, "emotion")] = class_names[int(alone.argmax())]
            row |= {alone_column(modality, name): round(float(p), 6) for name, p in zip(columns, alone, strict=True)}
        rows.append(row | answer_cells(each.answer))
    return rows
