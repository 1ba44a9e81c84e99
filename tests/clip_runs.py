"""A small run on frames, sound and a feature table of clips, of which it is known what gives the emotion away."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from shared_runs import train_shared_run

EMOTIONS = ("angry", "happy", "sad")
HERTZ = dict(zip(EMOTIONS, (300.0, 1000.0, 3000.0), strict=True))
BURST = (0.5, 0.75)  # of the duration of a sound: where the tone of the emotion is; the rest is faint noise
SECONDS, RATE = 1.6, 16_000


@dataclass(frozen=True)
class ClipRun:
    """The run, read-only, and its corpus.

    Of each clip, a tone in the third quarter of the sound and the column AU01_r tell the emotion; AU02_r is noise.
    """

    folder: Path
    corpus: Path
    table: Path
    cache: Path


@pytest.fixture(scope="session")
def clip_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> ClipRun:
    """A finished run: LeNet, log-mel CNN and columns, frozen, with late fusion; both test processes share it."""
    base = tmp_path_factory.getbasetemp()
    place = (base if worker_id == "master" else base.parent) / "clip_run"
    ready = ClipRun(place / "run", place / "corpus", place / "table.csv", place / "cache")
    with FileLock(f"{place}.lock"):
        if not (ready.folder / "results.json").exists():
            _write_corpus(ready)
            _train(ready)
    return ready


def _write_corpus(run: ClipRun) -> None:
    from rendered_corpora.ravdess import write_ravdess
    from sound_files import write_sound

    small = {"intensities": ("01",), "frames": 12, "width": 320, "height": 240}
    files = write_ravdess(run.corpus, subjects=range(1, 7), emotions=EMOTIONS, **small)
    rng, rows = np.random.default_rng(0), []
    for file in files.itertuples():
        path = run.corpus / file.path.replace("02-01", "03-01").replace(".mp4", ".wav")
        times = np.arange(round(SECONDS * RATE)) / RATE
        burst = (times >= BURST[0] * SECONDS) & (times < BURST[1] * SECONDS)
        sound = 0.001 * rng.standard_normal(len(times)) + burst * 0.4 * np.sin(2 * np.pi * HERTZ[file.emotion] * times)
        write_sound(path, sound[None].astype(np.float32), RATE)
        for frame in range(3):
            values = {"AU01_r": EMOTIONS.index(file.emotion) + 0.1 * rng.random(), "AU02_r": rng.random()}
            rows.append({"name": path.stem, "frame": frame, **values})
    pd.DataFrame(rows).to_csv(run.table, index=False)


def _train(run: ClipRun) -> None:
    words = [
        *("dataset=ravdess", f"dataset.root={run.corpus}", f"dataset.emotions=[{','.join(EMOTIONS)}]"),
        *("dataset.frame_stride=4", "dataset.batch_size=6", f"dataset.features_path={run.table}"),
        *("split.val=0.33", "split.test=0.33", "sample=clip_sound", "sample.modalities=[image,sound,features]"),
        *("sample.frames=3", "backbone=lenet", "head=linear", "feature_encoder=columns", "finetune=linear_probe"),
        *("sound_encoder.widths=[8,8,16,16]", "sound_encoder.bands=16", "sound_encoder.normalization=whisper"),
        *("+trainer.enable_progress_bar=false", f"cache_dir={run.cache}", f"hydra.run.dir={run.folder}"),
    ]
    train_shared_run(words)
