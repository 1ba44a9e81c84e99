"""Small runs of the tasks other than classification, on rendered subjects."""

from pathlib import Path

import pytest
from filelock import FileLock
from shared_runs import train_shared_run

TASKS = ("valence_arousal", "action_units", "multi")
SMALL = [
    *("dataset.identities=6", "dataset.clips=1", "dataset.frames=2", "dataset.batch_size=16", "backbone=lenet"),
    *("trainer.max_epochs=2", "+trainer.enable_progress_bar=false", "logger=none"),
]


@pytest.fixture(scope="session")
def part_runs(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, Path]:
    """A finished run of each of :data:`TASKS`, read-only; both test processes share them."""
    base = tmp_path_factory.getbasetemp()
    place = (base if worker_id == "master" else base.parent) / "part_runs"
    with FileLock(f"{place}.lock"):
        for task in TASKS:
            if not (place / task / "results.json").exists():
                words = ["task.weighting=uncertainty"] if task == "multi" else []
                train_shared_run(
                    [f"task={task}", *SMALL, *words, f"cache_dir={place / 'cache'}", f"hydra.run.dir={place / task}"]
                )
    return {task: place / task for task in TASKS}
