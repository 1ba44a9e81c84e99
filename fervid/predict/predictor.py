"""Predicts emotions, valence and arousal, and action units in single pictures with a trained run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fervid.faces.cropping import Aligned
from fervid.faces.face import Face
from fervid.media.decoding import read_picture
from fervid.media.sources import Source
from fervid.predict.answers import Answer
from fervid.predict.run_predictor import RunPredictor
from fervid.schema.parts import EMOTION, Part

BATCH_SIZE = 32  # faces per forward pass

FrameFaces = tuple[np.ndarray, Sequence[Face], Sequence[int | None]]
"""An image, the faces in it, and the person number of each face."""


@dataclass(frozen=True)
class FacePrediction:
    """A face and the network's prediction for it.

    Attributes:
        face: position of the face: ``box`` (left, top, width, height) and ``eyes``, in pixels of the whole picture.
        aligned: what the crop was aligned by: ``eyes``, ``box`` or ``whole``.
        picture: the crop that the network received, uint8 (image_size, image_size, 3) RGB.
        probabilities: probability of each emotion in ``class_names``, shape (num_classes,); empty if the run does not
            predict emotions.
        emotion: the most likely emotion; empty if the run does not predict emotions.
        person: number of the tracked person in a video; None in a picture.
        answer: how it is answered, if answers are calibrated (:class:`fervid.predict.answers.Answers`).
        others: values of the parts other than the emotion, shape (len(part.names),): valence and arousal from -1 to 1,
            probabilities of action units.
    """

    face: Face
    aligned: Aligned
    picture: np.ndarray
    probabilities: np.ndarray
    emotion: str
    person: int | None = None
    answer: Answer | None = None
    others: Mapping[Part, np.ndarray] = field(default_factory=dict)

    @property
    def confidence(self) -> float:
        """Probability of the most likely emotion; NaN if the run does not predict emotions."""
        return float(self.probabilities.max()) if len(self.probabilities) else float("nan")


class Predictor(RunPredictor):
    """Finds and crops the faces of a picture and predicts each, with the same preprocessing as in the run's training.

    The arguments and further attributes are those of :class:`fervid.predict.run_predictor.RunPredictor`.

    Raises:
        InputError: if the folder contains no finished run of single pictures, or the detector's file or
            the device is missing.
    """

    def __init__(self, folder: str | Path, **options: Any):
        super().__init__(folder, of_pictures=True, **options)

    @torch.inference_mode()
    def answers(self, pictures: Sequence[np.ndarray] | np.ndarray) -> dict[str, np.ndarray]:
        """Returns the answers (N, len(part.names)) for N crops, by the name of each of :attr:`parts`.

        See :meth:`fervid.tasks.task.Task.answers`.

        Args:
            pictures: the crops, as returned by :meth:`crop`.
        """
        found = {part.name: [np.empty((0, len(part.names)), dtype=np.float32)] for part in self.parts}
        for start in range(0, len(pictures), BATCH_SIZE):
            batch = torch.from_numpy(np.stack(list(pictures[start : start + BATCH_SIZE])))
            outputs = self.model(batch.to(self.model.device).permute(0, 3, 1, 2))  # channels_last, the fast layout
            for name, values in self.model.answers(outputs).items():
                found[name].append(values.cpu().numpy())
        return {name: np.concatenate(values) for name, values in found.items()}

    def predict_faces(
        self, image: np.ndarray, faces: Sequence[Face], persons: Sequence[int | None] | None = None
    ) -> list[FacePrediction]:
        """Predicts the given faces of a picture.

        Args:
            image: uint8 (H, W, 3) RGB.
            faces: the faces, as returned by :meth:`find`.
            persons: person number of each face in a video; None in a picture.
        """
        return self.predict_frames([(image, faces, [None] * len(faces) if persons is None else persons)])[0]

    def predict_frames(self, frames: Sequence[FrameFaces]) -> list[list[FacePrediction]]:
        """Predicts the faces of several frames in one batch; twice as fast on a CPU as :meth:`predict_faces`.

        Args:
            frames: for each frame its image, the faces in it and their person numbers.

        Returns:
            One list of predictions per frame.
        """
        crops = [self.crop(image, face) for image, faces, _ in frames for face in faces]
        answers = self.answers([picture for picture, _ in crops])
        rows = [{name: values[row] for name, values in answers.items()} for row in range(len(crops))]
        predicted = zip(crops, rows, strict=True)
        return [
            [
                self._prediction(face, person, crop, row)
                # One iterator over all frames: it must come last in zip, which would otherwise drop one of its items.
                for face, person, (crop, row) in zip(faces, persons, predicted, strict=False)
            ]
            for _, faces, persons in frames
        ]

    def _prediction(
        self, face: Face, person: int | None, crop: tuple[np.ndarray, Aligned], answers: Mapping[str, np.ndarray]
    ) -> FacePrediction:
        picture, aligned = crop
        chances = answers.get(EMOTION, np.empty(0, dtype=np.float32))
        emotion = self.class_names[int(chances.argmax())] if len(chances) else ""
        others = {part: answers[part.name] for part in self.parts if part.name != EMOTION}
        return FacePrediction(face, aligned, picture, chances, emotion, person, others=others)

    def picture(self, picture: np.ndarray | Source | str) -> list[FacePrediction]:
        """Finds and predicts all faces of a picture.

        Args:
            picture: uint8 (H, W, 3) RGB, or path to a picture file.

        Returns:
            One prediction per face.

        Raises:
            ValueError: if the file is not a picture, is damaged or far too large.
            OSError: if the file cannot be read.
        """
        if not isinstance(picture, np.ndarray):
            picture = read_picture(Path(picture) if isinstance(picture, str) else picture)
        return self.predict_faces(picture, self.find_in_picture(picture))
