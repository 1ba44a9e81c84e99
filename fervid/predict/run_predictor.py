"""Opens a trained run for prediction, with the same preprocessing of faces as in its training."""

from pathlib import Path

import numpy as np
import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig

from fervid.data.face_cache import resize
from fervid.errors import InputError, reason
from fervid.faces.clip_faces import encode
from fervid.faces.cropping import Aligned, Alignment
from fervid.faces.detection import Detector, HaarDetector, NoDetector, find_in_picture
from fervid.faces.face import Face, central_square
from fervid.media.decoding import read_picture
from fervid.runs.device import find_device
from fervid.runs.load import load_task, stored_config
from fervid.runs.run import Run, read_run
from fervid.runs.trust import Trust
from fervid.schema.parts import EMOTION, Part


class RunPredictor:
    """A trained run on a device. Base class of the predictors of pictures and of windows.

    A prepared corpus stores faces as JPEG, so each crop is encoded as JPEG and decoded again before it is classified.

    Args:
        folder: path to the run folder.
        of_pictures: whether the run must classify single pictures.
        detector: the face detector; None: the run's own (see :meth:`find` for runs without one).
        margin: margin added on each side of a crop, as a fraction of the bare face; None: the run's own.
        device: device of the network, such as ``cuda``.
        trust: packages whose classes the run may use (:func:`fervid.load_run`).

    Attributes:
        parts: what the run predicts.
        class_names: the emotions; empty if the run does not predict them.
        model: the task with the network.
        results: the run's ``results.json``.
        image_size: side length of the network's input in pixels; like the following attributes, only if the network
            is shown pictures.
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
        of_pictures: bool,
        detector: Detector | None = None,
        margin: float | None = None,
        device: str | torch.device = "cpu",
        trust: Trust = (),
    ):
        self.folder = Path(folder).expanduser()
        model = load_task(self.folder, trust=trust, of_pictures=of_pictures)
        self.model = model.to(device=find_device(device), memory_format=torch.channels_last)
        run = read_run(self.folder)
        self.results = run.results
        config = stored_config(self.results, self.folder, trust=trust)
        self.parts: list[Part] = list(self.model.parts)
        self.class_names = [name for part in self.parts if part.name == EMOTION for name in part.names]
        if "image" in self.model.network.modalities:
            self._set_up_faces(config, run, detector, margin)

    def _set_up_faces(self, config: DictConfig, run: Run, detector: Detector | None, margin: float | None) -> None:
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
            self.whole_if_none = dataset.get("no_face") == "whole"
            own_margin = dataset.get("margin", Alignment.margin) if margin is None else margin
            self.alignment = Alignment(dataset.get("face_size", Alignment.size), own_margin)
        except (AttributeError, TypeError, ValueError, HydraException) as error:
            raise InputError(f"the configuration of {self.folder} cannot be used: {reason(error)}.") from error

    def find_in_picture(self, image: np.ndarray) -> list[Face]:
        """Finds the faces in a still picture, as in the training of the run.

        Like :meth:`find`, but a picture may be cropped tightly, and with ``dataset.no_face=whole`` a nearly square
        picture without a detected face is one.
        """
        found = find_in_picture(self._detector(image), image)
        return found or ([central_square(image, whole=False)] if self._is_crop(image) else [])

    def find(self, image: np.ndarray, near: Face | None = None) -> list[Face]:
        """Finds the faces in a frame of a video; see :meth:`fervid.faces.detection.Detector.find`.

        A run that was trained on already cropped faces has no detector. It takes a nearly square picture as one face.
        In any other picture, such as a video frame, the Haar detector finds the faces unless a detector was given.

        Args:
            image: uint8 (H, W, 3) RGB.
            near: position of the face in the previous frame, or None.
        """
        return self._detector(image).find(image, near)

    def _detector(self, image: np.ndarray) -> Detector:
        return HaarDetector() if self.trained_on_crops and not is_nearly_square(image) else self.detector

    def _is_crop(self, image: np.ndarray) -> bool:
        return self.whole_if_none and is_nearly_square(image)

    def crop(self, image: np.ndarray, face: Face) -> tuple[np.ndarray, Aligned]:
        """Returns the crop of a face as the network receives it, uint8 (image_size, image_size, 3) RGB."""
        crop, aligned = self.alignment.crop(image, face)
        return resize(read_picture(encode(crop)), self.image_size, grayscale=self.grayscale), aligned


def is_nearly_square(image: np.ndarray) -> bool:
    """Whether a picture (H, W, 3) is square enough to be a face crop."""
    height, width = image.shape[:2]
    return 0.8 <= width / height <= 1.25
