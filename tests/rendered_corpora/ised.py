"""Writes videos, peak frames and annotations in the layout of ISED."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import savemat

from fervid.synthetic.rendering import make_identity
from rendered_corpora.filming import MPEG4_QUALITY, Camera, check_emotions, jpeg, mark

ISED_EMOTIONS = ("happiness", "surprise", "sadness", "disgust")


def write_ised(
    root: str | Path,
    *,
    subjects: Sequence[int] = (1, 2),
    emotions: Sequence[str] = ISED_EMOTIONS,
    clips: int = 1,
    frames: int = 30,
    width: int = 1920,
    height: int = 1080,
    seed: int = 0,
) -> pd.DataFrame:
    """Write videos, peak frames and annotations in the layout of ISED.

    `videos/PS <subject>/<clip>.avi`, `peakImages/<subject>_<clip>_<peak frame>.jpg`, and `ISED_details.mat` with
    one row of sixteen cells per clip. Peak frames are counted from 1.

    Args:
        root: Folder to write into; created if missing.
        subjects: Numbers of the subjects, odd for men and even for women.
        emotions: Emotions from `ISED_EMOTIONS`.
        clips: Number of clips per subject and emotion.
        frames: Number of frames per video.
        width: Width of the video in pixels, even.
        height: Height of the video in pixels, even.
        seed: Random seed of the rendered subjects.

    Returns:
        One row per video: `path, subject, emotion, sex, intensity, spectacles, beard, peak_frame, peak_path,
        frames`, and `left_eye_x, left_eye_y, right_eye_x, right_eye_y` in the peak frame, left and right in
        the picture.

    Raises:
        InputError: If an emotion does not exist in ISED.
    """
    check_emotions(emotions, ISED_EMOTIONS)
    camera = Camera(width, height, Fraction(50), "mpeg4", MPEG4_QUALITY)
    rows, cells = [], []
    for subject in subjects:
        who = make_identity(subject, seed)
        for number, (emotion, take) in enumerate(product(emotions, range(clips)), start=1):
            path = f"videos/PS {subject}/{number}.avi"
            clip = camera.film(Path(root) / path, who, emotion, take, "normal", frames, seed)
            peak = frames // 2
            peak_path = f"peakImages/{subject}_{number}_{peak + 1}.jpg"
            (Path(root) / peak_path).parent.mkdir(exist_ok=True)
            (Path(root) / peak_path).write_bytes(jpeg(clip.images[peak]))
            left, right = clip.eyes[peak].astype(float)
            rows.append(
                {
                    "path": path,
                    "subject": str(subject),
                    "emotion": emotion,
                    "sex": who.sex,
                    "intensity": 1,
                    "spectacles": who.spectacles,
                    "beard": who.beard,
                    "peak_frame": peak + 1,
                    "peak_path": peak_path,
                    "frames": frames,
                    "left_eye_x": left[0],
                    "left_eye_y": left[1],
                    "right_eye_x": right[0],
                    "right_eye_y": right[1],
                }
            )
            label = ISED_EMOTIONS.index(emotion) + 1
            name_cells = (subject, f"PS {subject}", number, peak + 1, path, peak_path, label, 1, who.sex)
            face_cells = (int(who.spectacles), int(who.beard), 0, clip.boxes[peak].astype(float))
            cells.append([*name_cells, *face_cells, left, right, _nose(left, right)])
    _write_details(Path(root), cells)
    mark(root)
    return pd.DataFrame(rows)


def _nose(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    across = right - left
    return (left + right) / 2 + 0.6 * np.array([-across[1], across[0]])  # in eye distances below the eyes


def _write_details(root: Path, cells: Sequence[Sequence[object]]) -> None:
    table = np.empty((len(cells), 16), dtype=object)
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            table[row, column] = value
    savemat(root / "ISED_details.mat", {"ISED_details": table})
