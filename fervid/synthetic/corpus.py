"""The built-in corpus of rendered talking faces and their voices, with which everything runs without a download."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from rich import get_console
from rich.progress import track

from fervid.corpora.corpus import RENDERED_TERMS
from fervid.errors import InputError
from fervid.processes.lifetime import for_workers
from fervid.storage.array_files import allocate
from fervid.storage.atomic import writing
from fervid.synthetic import rendering, voice
from fervid.synthetic.labels import frame_labels

SIZE = 128  # side length of the rendered crops in pixels
FRAMES = 60  # frames per clip
FPS = 30.0
RATE = 16_000  # samples of sound per second
NOT_DRAWING = {"__init__.py", "corpus.py", "labels.py"}  # modules that change neither faces nor voices
ONLY_NORMAL = ("neutral", "calm")  # emotions without clips of strong intensity


class RenderedSubjects:
    """Rendered subjects who act eight emotions while talking.

    As in recorded corpora, the subject confounds the emotion: subjects differ in their resting faces and voices and in
    how they express emotions, and the clips of one subject and emotion share lighting and background. A network
    therefore scores higher on subjects that it was trained on than on new subjects.

    Besides the emotion, each frame has its valence, its arousal and the presence of each action unit
    (:func:`fervid.synthetic.labels.frame_labels`).

    Implements :class:`fervid.data.source.Source`.

    Args:
        identities: number of subjects.
        clips: number of clips per subject and emotion, alternating between normal and strong intensity.
        frames: number of frames per clip, evenly spaced in its middle half, where the expression is at its apex.
        render_seed: seed; another seed gives other subjects.

    Raises:
        InputError: if a number is out of range.
    """

    name = "synthetic"
    subjects_from = None
    face_size = None
    is_prepared = True  # there are no files

    def __init__(self, identities: int = 24, clips: int = 3, frames: int = 4, render_seed: int = 0):
        for name, value, maximum in (
            ("identities", identities, 999),
            ("clips", clips, 99),
            ("frames", frames, FRAMES // 2),
        ):
            if not 1 <= value <= maximum:
                raise InputError(f"dataset.{name}={value} is out of range: use 1 to {maximum}.")
        self.identities, self.clips, self.frames_per_clip, self.render_seed = identities, clips, frames, render_seed
        self.failures = pd.DataFrame(columns=["path", "reason", "outcome"])

    def about(self) -> dict[str, Any]:
        """Returns the record of the corpus for cards and results, as plain values."""
        return {"name": self.name, "root": None, "pictures": True, "published": True, **RENDERED_TERMS}

    def rows(self, modalities: Sequence[str]) -> pd.DataFrame:
        """Returns the table of frames, or of clips if ``image`` is not among the modalities; renders nothing.

        Raises:
            InputError: if feature tables are wanted, which rendered subjects do not have.
        """
        if "features" in modalities:
            raise InputError(
                "dataset=synthetic has no feature tables: give a corpus of files with dataset.features_path."
            )
        if "image" in modalities:
            return self.frames()
        return self.frames().drop_duplicates("clip").assign(frame=0, time=0.0).reset_index(drop=True)

    def open(self, modality: str, rows: pd.DataFrame, cache: Path) -> Callable[[int], np.ndarray]:
        """Returns a function from row to face or sound; see :meth:`open_pictures` and :meth:`open_sounds`."""
        return self.open_sounds(rows) if modality == "sound" else self.open_pictures(rows, cache)

    def feature_names(self) -> list[str]:
        """Returns an empty list: there are no feature tables."""
        return []

    def frames(self) -> pd.DataFrame:
        """Returns the table of frames; renders nothing."""
        middle = np.linspace(0.25, 0.75, self.frames_per_clip) if self.frames_per_clip > 1 else np.array([0.5])
        numbers = np.round(middle * FRAMES).astype(int)
        rows = []
        for number in range(1, self.identities + 1):
            identity = rendering.make_identity(number, self.render_seed)
            for emotion in rendering.EMOTIONS:
                for take in range(self.clips):
                    strong = take % 2 == 1 and emotion not in ONLY_NORMAL
                    clip = {
                        "corpus": self.name,
                        "subject": identity.subject,
                        "clip": f"{identity.subject}-{emotion}-{take}",
                        "emotion": emotion,
                        "intensity": "strong" if strong else "normal",
                        "take": take,
                        "identity": number,
                        "sex": identity.sex,
                        "spectacles": identity.spectacles,
                        "beard": identity.beard,
                        "path": "",
                    }
                    labels = frame_labels(
                        identity,
                        emotion,
                        "strong" if strong else "normal",
                        take,
                        FRAMES,
                        FPS,
                        self.render_seed,
                        numbers,
                    )
                    rows += [
                        {**clip, "frame": int(frame), "time": frame / FPS, **shown}
                        for frame, shown in zip(numbers, labels, strict=True)
                    ]
        return pd.DataFrame(rows)

    def fingerprint(self) -> str:
        """Returns a hash of the renderer's source code: another version may draw other faces or make other sounds."""
        return f"{self.render_seed} {SIZE} {FRAMES} {_hash_of_sources(without=NOT_DRAWING)}"

    def open_pictures(self, frames: pd.DataFrame, cache: Path) -> Callable[[int], np.ndarray]:
        """Renders the frames, unless the folder ``cache`` contains them, and returns a function from row to picture."""
        path = cache / f"rendered_{SIZE}.npy"
        if not path.exists():
            self._render(frames, path)
        rendered = np.load(path, mmap_mode="r")
        return lambda row: rendered[row]

    def open_sounds(self, frames: pd.DataFrame) -> Callable[[int], np.ndarray]:
        """Returns a function from row to the sound of its clip, int16 (N,), mono, 16 kHz.

        A sound is synthesised in some milliseconds. It has the length of the clip, 2 s, and is loud where the mouth in
        the pictures is open. Rows of the same clip have the same sound.

        Args:
            frames: table with the columns ``identity``, ``emotion``, ``take`` and ``intensity``, such as the frames
                from :meth:`frames` or one row per clip.
        """
        columns = (frames[name].tolist() for name in ("identity", "emotion", "take", "intensity"))
        clips = list(zip(*columns, strict=True))

        def sound(row: int) -> np.ndarray:
            number, emotion, take, intensity = clips[row]
            samples = voice.speak(
                rendering.make_identity(int(number), self.render_seed),
                emotion,
                take=int(take),
                intensity=intensity,
                frames=FRAMES,
                fps=FPS,
                seed=self.render_seed,
                rate=RATE,
            )
            return np.round(samples * 32768).astype(np.int16)

        return sound

    def _render(self, frames: pd.DataFrame, path: Path) -> None:
        clips = [clip for _, clip in frames.groupby("clip", sort=False)]
        jobs = [
            delayed(for_workers(rendering.render_crops))(
                rendering.make_identity(int(clip["identity"].iloc[0]), self.render_seed),
                clip["emotion"].iloc[0],
                take=int(clip["take"].iloc[0]),
                intensity=clip["intensity"].iloc[0],
                frames=FRAMES,
                size=SIZE,
                fps=FPS,
                seed=self.render_seed,
                times=clip["frame"].tolist(),
            )
            for clip in clips
        ]
        with writing(path) as partial:
            pictures = allocate(partial, np.uint8, (len(frames), SIZE, SIZE, 3))
            done = 0
            drawn = Parallel(n_jobs=-1, return_as="generator")(jobs)
            hidden = not get_console().is_terminal
            for clip in track(drawn, "synthetic: rendering people", total=len(jobs), transient=True, disable=hidden):
                pictures[done : done + len(clip.images)] = clip.images
                done += len(clip.images)
            pictures.flush()


def _hash_of_sources(without: set[str]) -> str:
    """Returns a hash of the modules of this package except some."""
    files = sorted(path for path in Path(__file__).parent.glob("*.py") if path.name not in without)
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
