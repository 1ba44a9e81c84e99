"""Writes videos and sound files in the layout of RAVDESS."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from sound_files import write_sound

from fervid.synthetic.rendering import Identity, make_identity
from rendered_corpora.filming import SOUND_RATE, Camera, check_emotions, mark, write_with_sound

RAVDESS_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")

STEREO = {
    "03-01-02-01-01-02-01.wav",
    "03-01-08-01-02-02-01.wav",
    "03-01-02-01-02-02-05.wav",
    "03-01-03-01-02-01-20.wav",
    "03-01-06-01-01-02-20.wav",
    "03-02-01-01-01-01-24.wav",
}
"""The sound files that are published with two (equal) channels instead of one."""


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
    """Write clips in the layout of RAVDESS: `Actor_XX/MM-VV-EE-II-SS-RR-AA.mp4` or `.wav`.

    Videos are H.264 with 29.97 frames a second, with sound as AAC. Sound files have 48 kHz, 16 bits and one channel,
    those in `STEREO` two.

    Args:
        root: Folder to write into; created if missing.
        subjects: Numbers of the subjects, odd for men and even for women.
        emotions: Emotions from `RAVDESS_EMOTIONS`.
        modalities: `"01"` (audio-video), `"02"` (video-only) and `"03"` (audio-only): the same pictures and sound.
        channel: Vocal channel, `"01"` speech or `"02"` song.
        intensities: `"01"` normal and `"02"` strong; neutral has no strong intensity.
        statements: `"01"` and `"02"`.
        repetitions: `"01"` and `"02"`.
        frames: Number of frames per video; a sound has the same duration.
        width: Width of the video in pixels, even.
        height: Height of the video in pixels, even.
        seed: Random seed of the rendered subjects.

    Returns:
        One row per file: `path, subject, emotion, sex, intensity, modality, channel, statement, repetition,
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
        numbers = (channel, code, strength, statement, repetition, f"{subject:02d}")
        paths = {
            modality: f"Actor_{subject:02d}/{'-'.join((modality, *numbers))}.{'wav' if modality == '03' else 'mp4'}"
            for modality in modalities
        }
        clip = (who, emotion, int(channel + statement + repetition), intensity, frames, seed)
        _record(camera, {modality: Path(root) / path for modality, path in paths.items()}, clip)
        for modality, path in paths.items():
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


def _record(camera: Camera, paths: dict[str, Path], clip: tuple[Identity, str, int, str, int, int]) -> None:
    """Write the file of each modality; `clip` are the arguments of :meth:`Camera.record_sound`."""
    sound = np.empty((1, 0), np.float32)
    if {"01", "03"} & set(paths):
        sound = camera.record_sound(*clip)[None]
    if "03" in paths:
        write_sound(paths["03"], np.repeat(sound, 1 + (paths["03"].name in STEREO), axis=0), SOUND_RATE)
    if {"01", "02"} & set(paths):
        silent = paths["02"] if "02" in paths else paths["01"].with_suffix(".silent.mp4")
        camera.film(silent, *clip)
        if "01" in paths:
            write_with_sound(silent, paths["01"], sound, "aac")
        if "02" not in paths:
            silent.unlink()
