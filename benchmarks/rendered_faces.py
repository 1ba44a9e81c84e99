"""A folder of rendered faces, for benchmarks that are given no pictures."""

from pathlib import Path

import cv2
from joblib import Parallel, delayed

from fervid.synthetic.rendering import EMOTIONS, make_identity, render_crops


def write_faces(folder: Path, *, people: int, frames: int, size: int = 224) -> None:
    """Renders ``<folder>/<emotion>/<person>__<frame>.jpg``: so many people, in each of eight emotions so many frames.

    Args:
        folder: where they go.
        people: how many.
        frames: of each person in each emotion.
        size: side of the pictures in pixels.
    """

    def write(person: int, emotion: str) -> None:
        cv2.setNumThreads(1)
        times = range(15, 15 + frames)  # an expression is at its height in the middle of a clip
        clip = render_crops(
            make_identity(person, 0), emotion, take=0, frames=30 + frames, size=size, seed=0, times=times
        )
        (folder / emotion).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(clip.images):
            cv2.imwrite(str(folder / emotion / f"{person:03d}__{number}.jpg"), image[..., ::-1])

    Parallel(n_jobs=-1)(delayed(write)(person, emotion) for person in range(1, people + 1) for emotion in EMOTIONS)
