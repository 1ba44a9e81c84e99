"""A trained run as a function from pictures to emotions."""

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

BATCH = 32  # pictures that the network is shown at once

Look = tuple[np.ndarray, Sequence[Face], Sequence[int | None]]
"""A picture, the faces in it, and the numbers of their people."""


@dataclass(frozen=True)
class SeenFace:
    """A face and what the network says of it.

    Attributes:
        face: where it is: ``box`` (left, top, width, height) and ``eyes``, in pixels of the whole picture.
        aligned: how it was cut out: ``eyes``, ``box`` or ``whole``.
        picture: what the network saw, uint8 (image_size, image_size, 3) RGB.
        probabilities: of each emotion of ``class_names``, shape (num_classes,).
        emotion: the likeliest.
        person: its number through a video; None in a picture.
    """

    face: Face
    aligned: Aligned
    picture: np.ndarray
    probabilities: np.ndarray
    emotion: str
    person: int | None = None

    @property
    def confidence(self) -> float:
        """Probability of the likeliest emotion."""
        return float(self.probabilities.max())


class Predictor:
    """Finds the faces of a picture, cuts them out and classifies them, each step exactly as the run was trained.

    A prepared corpus keeps faces as JPEG; so that the network sees the same pictures here, they go through it too.

    Args:
        folder: the run folder.
        detector: finds the faces; None: the run's own (:meth:`find` says what of runs that have none).
        margin: share of the bare face added on each side of a crop; None: the run's own.
        device: where the network runs, such as ``cuda``.
        trust: packages whose classes the run may use (:func:`fervid.load_run`).

    Attributes:
        class_names: the emotions.
        image_size: side in pixels of what the network sees.
        model: the classifier.
        results: the run's ``results.json``.
        detector: finds the faces.
        knows_cut_out_faces: whether it was trained on pictures taken as they are.
        alignment: cuts them out.

    Raises:
        InputError: if the folder holds no finished run, or the detector's file or the device is not there.
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
            self.knows_cut_out_faces = (
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
        """Finds the faces of a picture, uint8 (H, W, 3) RGB; see :meth:`fervid.faces.detection.Detector.find`.

        A run that was trained on pictures of faces that were cut out already knows nothing else: in a picture that is
        not nearly square, such as a video's, Haar looks for faces, unless a detector was given.
        """
        detector = HaarDetector() if self.knows_cut_out_faces and not is_nearly_square(image) else self.detector
        return detector.find(image, near)

    def cut(self, image: np.ndarray, face: Face) -> tuple[np.ndarray, Aligned]:
        """Cuts a face out as the network is to see it, uint8 (image_size, image_size, 3) RGB."""
        crop, aligned = self.alignment.crop(image, face)
        return resize(read_picture(encode(crop)), self.image_size, grayscale=self.grayscale), aligned

    @torch.inference_mode()
    def classify(self, pictures: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Probabilities (N, num_classes) of N faces as :meth:`cut` gives them."""
        parts = [np.empty((0, len(self.class_names)), dtype=np.float32)]
        for start in range(0, len(pictures), BATCH):
            batch = torch.from_numpy(np.stack(list(pictures[start : start + BATCH])))
            logits = self.model(batch.to(self.model.device).permute(0, 3, 1, 2))  # channels_last, the fast layout
            parts.append(logits.float().softmax(dim=1).cpu().numpy())
        return np.concatenate(parts)

    def see(
        self, image: np.ndarray, faces: Sequence[Face], persons: Sequence[int | None] | None = None
    ) -> list[SeenFace]:
        """Classifies faces that were found in a picture.

        Args:
            image: uint8 (H, W, 3) RGB.
            faces: where they are.
            persons: their numbers through a video.
        """
        return self.see_frames([(image, faces, [None] * len(faces) if persons is None else persons)])[0]

    def see_frames(self, frames: Sequence[Look]) -> list[list[SeenFace]]:
        """As :meth:`see` for several frames, whose faces the network is shown at once: on a CPU twice as fast.

        Args:
            frames: of each its image, the faces in it and their persons.
        """
        cuts = [self.cut(image, face) for image, faces, _ in frames for face in faces]
        answers = zip(cuts, self.classify([picture for picture, _ in cuts]), strict=True)
        return [
            [
                SeenFace(face, aligned, picture, chances, self.class_names[int(chances.argmax())], person)
                # The answers of all frames in a row: last, or the end of the faces would cost one of them.
                for face, person, ((picture, aligned), chances) in zip(faces, persons, answers, strict=False)
            ]
            for _, faces, persons in frames
        ]

    def picture(self, picture: np.ndarray | Source | str) -> list[SeenFace]:
        """All faces of a picture and what they show.

        Args:
            picture: uint8 (H, W, 3) RGB, or a file.

        Raises:
            ValueError: if the file is no picture, damaged, or of absurd size.
            OSError: if it cannot be read.
        """
        if not isinstance(picture, np.ndarray):
            picture = read_picture(Path(picture) if isinstance(picture, str) else picture)
        return self.see(picture, self.find(picture))


def is_nearly_square(image: np.ndarray) -> bool:
    """Whether a picture (H, W, 3) may be a face that was cut out."""
    height, width = image.shape[:2]
    return 0.8 <= width / height <= 1.25


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device={name} is unknown: give cpu or cuda.") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device={name} is unknown: give cpu or cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device={name} needs a CUDA device and torch does not see it: give device=cpu.")
    return device
