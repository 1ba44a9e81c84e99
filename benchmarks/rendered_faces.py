"""Writes a folder of rendered faces for benchmarks without real pictures."""

from pathlib import Path

import cv2
from joblib import Parallel, delayed

from fervid.synthetic.rendering import EMOTIONS, make_identity, render_crops


def write_faces(folder: Path, *, people: int, frames: int, size: int = 224) -> None:
    """Renders faces of each subject in eight emotions to ``<folder>/<emotion>/<person>__<frame>.jpg``.

    Args:
        folder: output folder.
        people: number of subjects.
        frames: number of frames per subject and emotion.
        size: side length of the pictures in pixels.
    """

    def write(person: int, emotion: str) -> None:
        cv2.setNumThreads(1)
        times = range(15, 15 + frames)  # the apex of an expression is in the middle of a clip
        clip = render_crops(
            make_identity(person, 0), emotion, take=0, frames=30 + frames, size=size, seed=0, times=times
        )
        (folder / emotion).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(clip.images):
            cv2.imwrite(str(folder / emotion / f"{person:03d}__{number}.jpg"), image[..., ::-1])

    Parallel(n_jobs=-1)(delayed(write)(person, emotion) for person in range(1, people + 1) for emotion in EMOTIONS)
