"""Rows of the table of predicted faces."""

from collections.abc import Sequence
from typing import Any

from fervid.media.decoding import Frame
from fervid.predict.answers import answer_cells
from fervid.predict.predictor import FacePrediction
from fervid.schema.columns import BOX, COLUMNS
from fervid.schema.predictions import probability_columns

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
"""The columns of the table of faces and their meaning. A column ``prob_<class>`` for each class follows them."""


def records(
    source: str, frame: Frame, faces: Sequence[FacePrediction], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Returns the faces of a frame as rows of the table of faces.

    Args:
        source: name of the picture or video.
        frame: the frame that shows the faces; for a picture, number 0 at second 0.
        faces: the predictions for this frame.
        class_names: the emotions, in the order of the probabilities.

    Returns:
        One dict per face with the keys :data:`FACE_COLUMNS` (None where missing), ``prob_<class>`` for each class, and
        those of :data:`fervid.predict.answers.ANSWER_COLUMNS` that its answer fills.
    """
    return [
        {
            "source": source,
            "frame": frame.number,
            "time": round(frame.time, 4),
            "person": face.person,
            **{name: round(float(value), 1) for name, value in zip(BOX, face.face.box, strict=True)},
            "aligned": face.aligned,
            "emotion": face.emotion,
            "confidence": round(face.confidence, 6),
            **{
                name: round(float(p), 6)
                for name, p in zip(probability_columns(class_names), face.probabilities, strict=True)
            },
            **answer_cells(face.answer),
        }
        for face in faces
    ]
