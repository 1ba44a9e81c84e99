"""Rows of the table of predicted faces."""

from collections.abc import Sequence
from typing import Any

from fervid.media.decoding import Frame
from fervid.predict.answers import answer_cells
from fervid.predict.predictor import FacePrediction
from fervid.schema.columns import BOX, COLUMNS
from fervid.schema.parts import AFFECT, EMOTION, UNITS, Part

FACES = "faces"  # name of the files without suffix
FACE_COLUMNS = {
    "source": "the picture or video, as named in `source=`",
    "frame": "number of the frame in the video, from 0; 0 in a picture",
    "time": "seconds from the start of the video; 0 in a picture",
    "person": "number of the person tracked through the video, from 1; empty in a picture",
    **{name: COLUMNS[name].meaning for name in (*BOX, "aligned")},
    "emotion": COLUMNS["predicted"].meaning,
    "confidence": "the probability of the predicted emotion",
}
"""The columns of the table of faces and their meaning; those of :data:`PART_COLUMNS` follow them.

Runs that do not predict emotions have no ``emotion`` and ``confidence``.
"""
PART_COLUMNS = {
    EMOTION: {"prob_<class>": "probability of the emotion `<class>`"},
    AFFECT: {
        "predicted_valence": "predicted valence, from -1 (unpleasant) to 1 (pleasant)",
        "predicted_arousal": "predicted arousal, from -1 (calm) to 1 (excited)",
    },
    UNITS: {"prob_au_<number>": "probability that the action unit is present"},
}
"""Further columns of the table of faces by the part that a run predicts, and their meaning."""


def face_columns(parts: Sequence[Part]) -> list[str]:
    """Returns the columns of the table of faces.

    Args:
        parts: what the run predicts.
    """
    of_emotions = () if any(part.name == EMOTION for part in parts) else ("emotion", "confidence")
    columns = [name for name in FACE_COLUMNS if name not in of_emotions]
    return columns + [name for part in parts for name in part.predictions]


def records(source: str, frame: Frame, faces: Sequence[FacePrediction], parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Returns the faces of a frame as rows of the table of faces.

    Args:
        source: name of the picture or video.
        frame: the frame that shows the faces; for a picture, number 0 at second 0.
        faces: the predictions for this frame.
        parts: what the run predicts.

    Returns:
        One dict per face with the keys :func:`face_columns` (None where missing), and those of
        :data:`fervid.predict.answers.ANSWER_COLUMNS` that its answer fills.
    """
    return [
        {
            "source": source,
            "frame": frame.number,
            "time": round(frame.time, 4),
            "person": face.person,
            **{name: round(float(value), 1) for name, value in zip(BOX, face.face.box, strict=True)},
            "aligned": face.aligned,
            **({"emotion": face.emotion, "confidence": round(face.confidence, 6)} if face.emotion else {}),
            **{
                name: round(float(value), 6)
                for part in parts
                for name, value in zip(
                    part.predictions, face.probabilities if part.name == EMOTION else face.others[part], strict=True
                )
            },
            **answer_cells(face.answer),
        }
        for face in faces
    ]
