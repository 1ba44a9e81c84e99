"""Face detectors: find the faces of a picture, and their eyes if possible."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from fervid.errors import InputError, first_line
from fervid.faces.face import EYES_IN_BOX, Face, central_square, intersection

INSIDE = 0.9
"""Minimum fraction of a box inside a larger one for it to be part of the same face. Mouths, eyes and noses are inside
completely (1.0, or slightly less if the box is loose), whereas two people cheek to cheek, or one in front of the other,
each have most of their face outside the other box."""
EYE_SEARCH_WIDTH = 160  # pixels; faces are downscaled to this width for eye detection
MIN_WIDTH = 160  # pixels; detectors find 76% of the faces of 48 px in FER+ at their own size, and 98% at this size
PADDING = 0.25  # of a picture's longer side, added on each side if no face is found without


class Detector(Protocol):
    """Interface of face detectors."""

    def find(self, image: np.ndarray, near: Face | None = None) -> list[Face]:
        """Finds the faces of a picture.

        Args:
            image: uint8 (H, W, 3) RGB.
            near: the face in the previous frame, if any; searching there first is faster.
        """
        ...

    def settings(self) -> dict[str, object]:
        """Returns all settings that determine the result, as plain values."""
        ...


@dataclass(frozen=True)
class NoDetector:
    """Detects nothing and returns the central square of the picture as the face."""

    def find(self, image: np.ndarray, near: Face | None = None) -> list[Face]:
        return [central_square(image, whole=True)]

    def settings(self) -> dict[str, object]:
        return {"detector": "none"}


@dataclass(frozen=True)
class HaarDetector:
    """The cascades of Viola & Jones (2001) included in OpenCV, on a downscaled picture.

    Each eye is detected in its upper quarter of the face by a separate cascade. A pair of eyes is used only if its
    position is plausible.

    Args:
        width: longer side of the downscaled picture in pixels.
        scale_factor: ratio between the face sizes searched.
        min_neighbors: number of overlapping detections required per face.
        min_size: minimum face size, as a fraction of the shorter side of the picture.
    """

    width: int = 320
    scale_factor: float = 1.1
    min_neighbors: int = 4
    min_size: float = 0.15

    def find(self, image: np.ndarray, near: Face | None = None) -> list[Face]:
        image, enlarged = _enlarge(image)
        near = near and near.moved(enlarged)
        scale = min(1.0, self.width / max(image.shape[:2]))
        # Downscaling before conversion to grayscale takes a third of the time of the reverse order.
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)  # histogram equalisation would lose 8% of the rendered faces
        boxes = self._around(gray, np.array(near.box) * scale) if near else []
        if not len(boxes):
            boxes = self._boxes(gray, smallest=round(self.min_size * min(gray.shape)))
        found = [self._face(image, np.array(box) / scale) for box in _outermost(boxes)]
        return [face.moved(1 / enlarged) for face in found]

    def settings(self) -> dict[str, object]:
        return {"detector": "haar", **vars(self)}

    def _boxes(self, gray: np.ndarray, smallest: int, largest: int = 0) -> Sequence[np.ndarray]:
        found = _cascade("haarcascade_frontalface_alt2.xml").detectMultiScale(
            gray, self.scale_factor, self.min_neighbors, minSize=(smallest, smallest), maxSize=(largest, largest)
        )
        return [np.asarray(box) for box in found]

    def _around(self, gray: np.ndarray, box: np.ndarray) -> Sequence[np.ndarray]:
        """Searches around the face of the previous frame, for faces of similar size."""
        left, top, side, _ = box
        reach = 0.35 * side
        x0, y0 = (max(0, int(value - reach)) for value in (left, top))
        window = gray[y0 : int(top + side + reach), x0 : int(left + side + reach)]
        if min(window.shape, default=0) < 20:
            return []
        return [
            np.array([x + x0, y + y0, w, h])
            for x, y, w, h in self._boxes(window, smallest=int(0.8 * side), largest=int(1.25 * side))
        ]

    def _face(self, image: np.ndarray, box: np.ndarray) -> Face:
        left, top, side = (max(0, int(value)) for value in box[:3])
        scale = min(1.0, EYE_SEARCH_WIDTH / side)
        face = scale * side
        upper = cv2.resize(
            image[top : top + int(0.62 * side), left : left + side],
            None,
            fx=scale,
            fy=scale,
            interpolation=cv2.INTER_AREA,
        )
        upper = cv2.cvtColor(upper, cv2.COLOR_RGB2GRAY)
        y0 = int(0.15 * face)
        eyes = []
        # The cascades name the eyes from the view of the person. The regions overlap, since turning moves the eyes.
        for name, start, end, expected in (
            ("haarcascade_righteye_2splits.xml", 0.05, 0.55, EYES_IN_BOX[0]),
            ("haarcascade_lefteye_2splits.xml", 0.45, 0.95, EYES_IN_BOX[1]),
        ):
            x0 = int(start * face)
            quarter = upper[y0:, x0 : int(end * face)]
            found = _cascade(name).detectMultiScale(
                quarter, 1.1, 3, minSize=(int(0.17 * face),) * 2, maxSize=(int(0.4 * face),) * 2
            )
            # The boxes include the brow, so the eye is below their centre: at 0.64 of the height, measured on RAVDESS.
            centres = [np.array([x0 + x + w / 2, y0 + y + 0.64 * h]) for x, y, w, h in found]
            if not centres:
                return Face(tuple(box.tolist()))
            eyes.append(min(centres, key=lambda centre: float(np.hypot(*(centre / face - expected)))))
        pair = np.array(eyes) / scale + (left, top)
        return Face(tuple(box.tolist()), pair if _plausible(pair, side) else None)


@dataclass(frozen=True)
class YuNetDetector:
    """YuNet (Wu, Peng & Yu 2023), a small network that also finds eyes. Its ONNX file is not part of fervid.

    Args:
        model: Path to ``face_detection_yunet_*.onnx``.
        width: longer side of the downscaled picture in pixels.
        min_score: minimum score of a face, from 0 to 1.

    Raises:
        InputError: if the file does not exist or is not a YuNet model.
    """

    model: str
    width: int = 640
    min_score: float = 0.6

    def __post_init__(self) -> None:
        if not self.model or not Path(self.model).expanduser().is_file():
            raise InputError(
                f"detector.model={self.model} is not a file: detector=yunet needs its ONNX file, available in the "
                "OpenCV model zoo as face_detection_yunet."
            )
        _yunet(self.model)

    def find(self, image: np.ndarray, near: Face | None = None) -> list[Face]:
        image, enlarged = _enlarge(image)
        scale = min(1.0, self.width / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        network = _yunet(self.model)
        network.setInputSize((small.shape[1], small.shape[0]))
        network.setScoreThreshold(self.min_score)
        _, found = network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        faces = []
        for row in [] if found is None else _outermost(found / scale):
            eyes = row[4:8].reshape(2, 2).astype(float)
            faces.append(Face(tuple(row[:4].tolist()), eyes if _plausible(eyes, row[2]) else None))
        return [face.moved(1 / enlarged) for face in faces]

    def settings(self) -> dict[str, object]:
        content = hashlib.sha256(Path(self.model).expanduser().read_bytes()).hexdigest()
        return {"detector": "yunet", "model": content, "width": self.width, "min_score": self.min_score}


def find_in_picture(detector: Detector, image: np.ndarray) -> list[Face]:
    """Finds the faces of a still picture, which may be cropped so tightly that detectors miss its face.

    If no face is found, the picture is searched again with a black border.

    Args:
        detector: the face detector.
        image: uint8 (H, W, 3) RGB.
    """
    found = detector.find(image)
    if found:
        return found
    border = round(PADDING * max(image.shape[:2]))
    padded = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_CONSTANT)
    return [face.moved(shift=-border) for face in detector.find(padded)]


def _enlarge(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Enlarges a picture in which faces are too small for a detector; returns it with the factor."""
    scale = MIN_WIDTH / max(image.shape[:2])
    if scale <= 1:
        return image, 1.0
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), scale


def _outermost(boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Removes boxes inside a larger one: they are false detections, such as a mouth taken for a face.

    Args:
        boxes: boxes that start with left, top, width, height.
    """
    kept: list[int] = []
    for number in sorted(range(len(boxes)), key=lambda number: -boxes[number][2] * boxes[number][3]):
        box = boxes[number]
        if not any(intersection(box, boxes[larger]) > INSIDE * box[2] * box[3] for larger in kept):
            kept.append(number)
    return [boxes[number] for number in sorted(kept)]


def _plausible(eyes: np.ndarray, width: float) -> bool:
    """Whether two points are plausible eyes for a face width: by their distance and a tilt of at most 30 degrees."""
    across, down = eyes[1] - eyes[0]
    return bool(0.22 < across / width < 0.65 and abs(down) < 0.58 * across)


@cache
def _cascade(name: str) -> cv2.CascadeClassifier:
    return cv2.CascadeClassifier(cv2.data.haarcascades + name)  # type: ignore[attr-defined]


@cache
def _yunet(model: str) -> cv2.FaceDetectorYN:
    try:
        return cv2.FaceDetectorYN.create(str(Path(model).expanduser()), "", (320, 320))
    except cv2.error as error:
        raise InputError(
            f"detector.model={model} is not a YuNet model that OpenCV can open ({first_line(error)}): download it "
            "again."
        ) from error
