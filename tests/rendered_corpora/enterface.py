"""Writes videos in the layout of eNTERFACE'05."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from fervid.synthetic.rendering import make_identity
from rendered_corpora.filming import MPEG4_QUALITY, Camera, check_emotions, mark, write_with_sound

ENTERFACE_EMOTIONS = {
    "anger": "an",
    "disgust": "di",
    "fear": "fe",
    "happiness": "ha",
    "sadness": "sa",
    "surprise": "su",
}


def write_enterface(
    root: str | Path,
    *,
    subjects: Sequence[int] = (1, 2),
    emotions: Sequence[str] = tuple(ENTERFACE_EMOTIONS),
    sentences: Sequence[int] = (1, 2, 3, 4, 5),
    oddities: bool = False,
    sound: bool = False,
    frames: int = 30,
    width: int = 720,
    height: int = 576,
    seed: int = 0,
) -> pd.DataFrame:
    """Write videos in the layout of eNTERFACE'05: `subject N/<emotion>/sentence K/*.avi`, MPEG-4, 25 fps.

    Args:
        root: Folder to write into; created if missing.
        subjects: Numbers of the subjects.
        emotions: Emotions from `ENTERFACE_EMOTIONS`.
        sentences: Numbers of the sentences, from 1 to 5.
        oddities: Whether to reproduce the irregularities of the archive: subject 6 has one clip per emotion and no
            sentence folders; files of subject 3 are named `s_3_xx_k`, those of subject 11 `s12_*`, and one of
            subject 16 `s16_su_3avi.avi`; sentences 1 and 2 of subject 2's anger are swapped; subject 23 has two
            clips of happiness; the first disgust sentence of every subject is one folder deeper; and every emotion
            folder has a `Thumbs.db`.
        sound: Whether the videos have the uncompressed stereo sound track of the archive, 48 kHz and 16 bits.
        frames: Number of frames per video.
        width: Width of the video in pixels, even.
        height: Height of the video in pixels, even.
        seed: Random seed of the rendered subjects.

    Returns:
        One row per video: `path, subject, emotion, sex, sentence, frames`. The sentence is the spoken one, which may
        differ from that of the folder; with `oddities` that of subject 6 is missing.

    Raises:
        InputError: If an emotion does not exist in eNTERFACE'05.
    """
    check_emotions(emotions, ENTERFACE_EMOTIONS)
    camera = Camera(width, height, Fraction(25), "mpeg4", MPEG4_QUALITY)
    rows = []
    for subject, emotion, sentence in product(subjects, emotions, sentences):
        unsegmented = oddities and subject == 6
        if unsegmented and sentence != sentences[0]:
            continue
        if oddities and (subject, emotion) == (23, "happiness") and sentence not in sentences[:2]:
            continue
        swapped = oddities and (subject, emotion) == (2, "anger") and sentence in (1, 2)
        spoken = 3 - sentence if swapped else sentence
        folder = f"subject {subject}/{emotion}"
        name = f"s{subject}_{ENTERFACE_EMOTIONS[emotion]}_{sentence}.avi"
        if unsegmented:
            name = f"s6_{ENTERFACE_EMOTIONS[emotion]}.avi"
        else:
            folder += f"/sentence {sentence}"
        if oddities and not unsegmented:
            folder, name = _enterface_oddity(folder, name, subject, emotion, sentence, sentences[0])
        path = f"{folder}/{name}"
        who = make_identity(subject, seed)
        video = Path(root) / path
        camera.film(video, who, emotion, spoken, "strong", frames, seed)
        if sound:
            silent = video.rename(video.with_suffix(".silent.avi"))
            samples = camera.record_sound(who, emotion, spoken, "strong", frames, seed)
            write_with_sound(silent, video, np.stack([samples, samples]), "pcm_s16le")
            silent.unlink()
        if oddities:
            (Path(root) / f"subject {subject}/{emotion}/Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        rows.append(
            {
                "path": path,
                "subject": str(subject),
                "emotion": emotion,
                "sex": who.sex,
                "sentence": pd.NA if unsegmented else spoken,
                "frames": frames,
            }
        )
    mark(root)
    return pd.DataFrame(rows).astype({"sentence": "Int64"})


def _enterface_oddity(
    folder: str, name: str, subject: int, emotion: str, sentence: int, first_sentence: int
) -> tuple[str, str]:
    """Return the irregular folder and name that the archive has."""
    code = ENTERFACE_EMOTIONS[emotion]
    if subject == 3:
        name = f"s_3_{code}_{sentence}.avi"
    elif subject == 11:
        name = f"s12_{code}_{sentence}.avi"
    elif subject == 16 and (emotion, sentence) == ("surprise", 3):
        name = "s16_su_3avi.avi"
    if (emotion, sentence) == ("disgust", first_sentence):
        folder += f"/sentence {sentence}"
    return folder, name
