"""Videos as eNTERFACE'05 has them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path

import pandas as pd

from fervid.synthetic.rendering import make_identity
from rendered_corpora.filming import MPEG4_QUALITY, Camera, check_emotions, mark

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
    frames: int = 30,
    width: int = 720,
    height: int = 576,
    seed: int = 0,
) -> pd.DataFrame:
    """Write videos as eNTERFACE'05 has them: `subject N/<emotion>/sentence K/*.avi`, MPEG-4, 25 fps.

    Args:
        root: folder to write into; made if absent.
        subjects: numbers of the subjects.
        emotions: some of `ENTERFACE_EMOTIONS`.
        sentences: some of 1 to 5.
        oddities: whether to repeat the irregularities of the archive in the subjects that have them: subject
            6 has one clip an emotion and no sentence folders, files of subject 3 are called `s_3_xx_k`, those
            of subject 11 `s12_*`, one of subject 16 is `s16_su_3avi.avi`; sentences 1 and 2 of subject 2's
            anger lie in each other's folder, subject 23 has two clips of happiness; in every subject the first
            disgust sentence lies one folder deeper, and every emotion folder holds a `Thumbs.db`.
        frames: length of each video.
        width: of the picture in pixels, even.
        height: of the picture in pixels, even.
        seed: another seed gives other people.

    Returns:
        One row a video: `path, subject, emotion, sex, sentence, frames`, the sentence being the one that is
        said, wherever it lies; with `oddities` that of subject 6 is missing.

    Raises:
        InputError: if an emotion is not one of eNTERFACE'05.
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
        said = 3 - sentence if swapped else sentence
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
        camera.film(Path(root) / path, who, emotion, said, "strong", frames, seed)
        if oddities:
            (Path(root) / f"subject {subject}/{emotion}/Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        rows.append(
            {
                "path": path,
                "subject": str(subject),
                "emotion": emotion,
                "sex": who.sex,
                "sentence": pd.NA if unsegmented else said,
                "frames": frames,
            }
        )
    mark(root)
    return pd.DataFrame(rows).astype({"sentence": "Int64"})


def _enterface_oddity(
    folder: str, name: str, subject: int, emotion: str, sentence: int, first_sentence: int
) -> tuple[str, str]:
    """Folder and name as the archive has them instead of as it should."""
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
