"""Writes videos in the layout of RAVDESS."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path

import pandas as pd

from fervid.synthetic.rendering import make_identity
from rendered_corpora.filming import Camera, check_emotions, mark

RAVDESS_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


def write_ravdess(
    root: str | Path,
    *,
    subjects: Sequence[int] = (1, 2),
    emotions: Sequence[str] = RAVDESS_EMOTIONS,
    modalities: Sequence[str] = ("02",),
    channel: str = "01",
    intensities: Sequence[str] = ("01", "02"),
    statements: Sequence[str] = ("01",),
    repetitions: Sequence[str] = ("01",),
    frames: int = 30,
    width: int = 1280,
    height: int = 720,
    seed: int = 0,
) -> pd.DataFrame:
    """Write videos in the layout of RAVDESS: `Actor_XX/MM-VV-EE-II-SS-RR-AA.mp4`, H.264, 29.97 frames a second.

    Args:
        root: Folder to write into; created if missing.
        subjects: Numbers of the subjects, odd for men and even for women.
        emotions: Emotions from `RAVDESS_EMOTIONS`.
        modalities: `"01"` (audio-video) and `"02"` (video-only), which have the same pictures.
        channel: Vocal channel, `"01"` speech or `"02"` song.
        intensities: `"01"` normal and `"02"` strong; neutral has no strong intensity.
        statements: `"01"` and `"02"`.
        repetitions: `"01"` and `"02"`.
        frames: Number of frames per video.
        width: Width of the video in pixels, even.
        height: Height of the video in pixels, even.
        seed: Random seed of the rendered subjects.

    Returns:
        One row per video: `path, subject, emotion, sex, intensity, modality, channel, statement, repetition,
        frames`.

    Raises:
        InputError: If an emotion does not exist in RAVDESS.
    """
    check_emotions(emotions, RAVDESS_EMOTIONS)
    # The output of x264 with macroblock tree differs between processors.
    options = {"crf": "18", "preset": "veryfast", "x264-params": "mbtree=0"}
    camera = Camera(width, height, Fraction(30000, 1001), "libx264", options)
    rows = []
    for subject, emotion, strength, statement, repetition in product(
        subjects, emotions, intensities, statements, repetitions
    ):
        if emotion == "neutral" and strength == "02":
            continue
        who = make_identity(subject, seed)
        intensity = "strong" if strength == "02" else "normal"
        code = f"{RAVDESS_EMOTIONS.index(emotion) + 1:02d}"
        first: Path | None = None
        for modality in modalities:
            parts = (modality, channel, code, strength, statement, repetition, f"{subject:02d}")
            path = f"Actor_{subject:02d}/{'-'.join(parts)}.mp4"
            if first is None:
                first = Path(root) / path
                camera.film(first, who, emotion, int(channel + statement + repetition), intensity, frames, seed)
            else:
                shutil.copyfile(first, Path(root) / path)
            rows.append(
                {
                    "path": path,
                    "subject": f"{subject:02d}",
                    "emotion": emotion,
                    "sex": who.sex,
                    "intensity": intensity,
                    "modality": modality,
                    "channel": channel,
                    "statement": statement,
                    "repetition": repetition,
                    "frames": frames,
                }
            )
    mark(root)
    return pd.DataFrame(rows)
