"""Predicts emotions in pictures with a trained run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hydra.errors import HydraException
from hydra.utils import instantiate

from fervid.data.face_cache import resize
from fervid.errors import InputError, reason
from fervid.faces.clip_faces import encode
from fervid.faces.cropping import Aligned, Alignment
from fervid.faces.detection import Detector, HaarDetector, NoDetector
from fervid.faces.face import Face
from fervid.media.decoding import read_picture
from fervid.media.sources import Source
from fervid.runs.load import load_classifier, read_run, stored_config
from fervid.runs.trust import Trust

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
        probabilities: probability of each emotion in ``class_names``, shape (num_classes,).
        emotion: the most likely emotion.
        person: number of the tracked person in a video; None in a picture.
    """

    face: Face
    aligned: Aligned
    picture: np.ndarray
    probabilities: np.ndarray
    emotion: str
    person: int | None = None

    @property
    def confidence(self) -> float:
        """Probability of the most likely emotion."""
        return float(self.probabilities.max())


class Predictor:
    """Finds, crops and classifies the faces of a picture, with the same preprocessing as in the run's training.

    A prepared corpus stores faces as JPEG, so each crop is encoded as JPEG and decoded again before it is classified.

    Args:
        folder: path to the run folder.
        detector: the face detector; None: the run's own (see :meth:`find` for runs without one).
        margin: margin added on each side of a crop, as a fraction of the bare face; None: the run's own.
        device: device of the network, such as ``cuda``.
        trust: packages whose classes the run may use (:func:`fervid.load_run`).

    Attributes:
        class_names: the emotions.
        image_size: side length of the network's input in pixels.
        model: the classifier.
        results: the run's ``results.json``.
        detector: the face detector.
        trained_on_crops: whether the run was trained on pictures of already cropped faces.
        alignment: aligns and crops the faces.

    Raises:
        InputError: if the folder contains no finished run, or the detector's file or the device is missing.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        detector: Detector | None = None,
        margin: float | None = None,
        device: str | torch.device = "cpu",
        trust: Trust = (),
    ):
        self.folder = Path(folder).expanduser()
        model = load_classifier(self.folder, trust=trust)
        self.model = model.to(device=_device(device), memory_format=torch.channels_last)
        run = read_run(self.folder)
        self.results = run.results
        config = stored_config(self.results, self.folder, trust=trust)
        self.class_names: list[str] = self.model.class_names
        self.image_size = int(self.model.backbone.image_size)
        try:
            own = config.get("detector")
            self.detector: Detector = detector or (instantiate(own, _convert_="all") if own else NoDetector())
            dataset = config.dataset
            self.trained_on_crops = (
                detector is None
                and isinstance(self.detector, NoDetector)
                and all(corpus["pictures"] for corpus in run.corpora)
            )
            self.grayscale = bool(dataset.get("grayscale", False))
            own_margin = dataset.get("margin", Alignment.margin) if margin is None else margin
            self.alignment = Alignment(dataset.get("face_size", Alignment.size), own_margin)
        except (AttributeError, TypeError, ValueError, HydraException) as error:
            raise InputError(f"the configuration of {self.folder} cannot be used: {reason(error)}.") from error

    def find(self, image: np.ndarray, near: Face | None = None) -> list[Face]:
        """Finds the faces in a picture; see :meth:`fervid.faces.detection.Detector.find`.

        A run that was trained on already cropped faces has no detector. It takes a nearly square picture as one face.
        In any other picture, such as a video frame, the Haar detector finds the faces unless a detector was given.

        Args:
            image: uint8 (H, W, 3) RGB.
            near: position of the face in the previous frame, or None.
        """
        detector = HaarDetector() if self.trained_on_crops and not is_nearly_square(image) else self.detector
        return detector.find(image, near)

    def crop(self, image: np.ndarray, face: Face) -> tuple[np.ndarray, Aligned]:
        """Returns the crop of a face as the network receives it, uint8 (image_size, image_size, 3) RGB."""
        crop, aligned = self.alignment.crop(image, face)
        return resize(read_picture(encode(crop)), self.image_size, grayscale=self.grayscale), aligned

    @torch.inference_mode()
    def classify(self, pictures: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Returns the probabilities (N, num_classes) of N crops, each as returned by :meth:`crop`."""
        parts = [np.empty((0, len(self.class_names)), dtype=np.float32)]
        for start in range(0, len(pictures), BATCH_SIZE):
            batch = torch.from_numpy(np.stack(list(pictures[start : start + BATCH_SIZE])))
            logits = self.model(batch.to(self.model.device).permute(0, 3, 1, 2))  # channels_last, the fast layout
            parts.append(logits.float().softmax(dim=1).cpu().numpy())
        return np.concatenate(parts)

    def predict_faces(
        self, image: np.ndarray, faces: Sequence[Face], persons: Sequence[int | None] | None = None
    ) -> list[FacePrediction]:
        """Classifies the given faces of a picture.

        Args:
            image: uint8 (H, W, 3) RGB.
            faces: the faces, as returned by :meth:`find`.
            persons: person number of each face in a video; None in a picture.
        """
        return self.predict_frames([(image, faces, [None] * len(faces) if persons is None else persons)])[0]

    def predict_frames(self, frames: Sequence[FrameFaces]) -> list[list[FacePrediction]]:
        """Classifies the faces of several frames in one batch; twice as fast on a CPU as :meth:`predict_faces`.

        Args:
            frames: for each frame its image, the faces in it and their person numbers.

        Returns:
            One list of predictions per frame.
        """
        crops = [self.crop(image, face) for image, faces, _ in frames for face in faces]
        classified = zip(crops, self.classify([picture for picture, _ in crops]), strict=True)
        return [
            [
                FacePrediction(face, aligned, picture, row, self.class_names[int(row.argmax())], person)
                # One iterator over all frames: it must come last in zip, which would otherwise drop one of its items.
                for face, person, ((picture, aligned), row) in zip(faces, persons, classified, strict=False)
            ]
            for _, faces, persons in frames
        ]

    def picture(self, picture: np.ndarray | Source | str) -> list[FacePrediction]:
        """Finds and classifies all faces of a picture.

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
        return self.predict_faces(picture, self.find(picture))


def is_nearly_square(image: np.ndarray) -> bool:
    """Whether a picture (H, W, 3) is square enough to be a face crop."""
    height, width = image.shape[:2]
    return 0.8 <= width / height <= 1.25


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device={name} is unknown: give cpu or cuda.") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device={name} is unknown: give cpu or cuda.")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        instead = f"use cuda:0 to cuda:{count - 1}" if count else "use device=cpu"
        raise InputError(f"device={name} is not among the {count} CUDA devices that PyTorch finds: {instead}.")
    return device
