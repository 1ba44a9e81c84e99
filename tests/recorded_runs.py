"""Small runs on rendered videos with sound, one for each kind of sample, which several tests share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock
from shared_runs import train_shared_run

EMOTIONS = ("anger", "happiness")


@dataclass(frozen=True)
class Recorded:
    """A finished run: LeNet on three of the frames 0, 5, 10 ... of a clip, a small CNN on its sound, or both."""

    folder: Path  # of the run, read-only: copy it to change it
    corpus: (
        Path  # 4 subjects x anger, happiness x 1 clip of 30 frames with sound, 320 x 240, in the layout of eNTERFACE
    )


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str], Recorded]:
    """Returns the run of a sample, ``clip``, ``sound`` or ``clip_sound``, which all test processes share."""
    base = tmp_path_factory.getbasetemp()
    place = (base if worker_id == "master" else base.parent) / "recorded"

    def run(sample: str) -> Recorded:
        ready = Recorded(place / sample, place / "corpus")
        with FileLock(f"{place}.lock"):
            if not (ready.folder / "results.json").exists():
                _train(ready, sample, place / "cache")
        return ready

    return run


def _train(recorded: Recorded, sample: str, cache: Path) -> None:
    from rendered_corpora.enterface import write_enterface

    if not recorded.corpus.exists():
        options = {"frames": 30, "width": 320, "height": 240, "sound": True}
        write_enterface(recorded.corpus, subjects=(1, 2, 3, 4), emotions=EMOTIONS, sentences=(1,), **options)
    pictures = ["backbone=lenet", "sample.frames=3", "dataset.frame_stride=5"] if "clip" in sample else []
    sounds = ["sound_encoder.widths=[8,8,16,16]", "sound_encoder.bands=16"] if "sound" in sample else []
    words = [
        *(f"sample={sample}", "dataset=enterface", f"dataset.root={recorded.corpus}", *pictures, *sounds),
        *("head=linear", "finetune=linear_probe", "split.val=0.25", "split.test=0.25", "dataset.batch_size=4"),
        *("+trainer.enable_progress_bar=false", "logger=none", f"cache_dir={cache}"),
        f"hydra.run.dir={recorded.folder}",
    ]
    train_shared_run(words)
