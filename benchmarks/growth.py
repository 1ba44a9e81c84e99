"""Time and memory for 1 x, 4 x and 16 x the frames: ``python benchmarks/growth.py``, about seven minutes on two cores.

Every step runs a command in a separate process on rendered faces: ``prepare`` on videos (copies of one clip) and on
pictures, ``audit`` with an empty cache (face cache, hashes, near-duplicates), ``train`` with one epoch of LeNet (and
its smaller face cache), and ``report`` on that run and a copy of it with another name. No two pictures are equal: each
clip is a blend of two rendered faces with random rotation, scale and shift.

Memory is the peak of the anonymous and shared memory of the process and its workers; pages shared by several processes
are counted once. Pages of a mapped file, such as the face cache, belong to the operating system and are listed
separately. Time is judged only if processing the frames takes longer than half the start of a program, for example
with ``--frames 6400``.

Finally, functions that open no pictures are measured on manifests with ten times as many rows; ``--rows 100000
1000000`` measures larger ones.
"""

import argparse
import json
import math
import multiprocessing
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import psutil
from rendered_faces import write_faces
from timing import Figure, print_figures

from fervid import splits
from fervid.audit.duplicates import near_duplicates
from fervid.audit.leakage import audit
from fervid.metrics.aggregation import clip_predictions
from fervid.metrics.calibration import fit_temperature
from fervid.metrics.statistics import bootstrap_scores, run_confusions

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # which hold the writers of rendered corpora

from rendered_corpora.ravdess import write_ravdess

TIMES = (1, 4, 16)
SIDE = 128  # side length of a prepared face in pixels
LINEAR = 1.5  # maximum cost of an additional frame relative to an earlier one
A_CLIP = 10  # pictures per clip
FILMED = 16  # frames per video, all of which are used
MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """The cost of a command: seconds, peak memory of its processes in MiB, peak of mapped files in MiB."""

    seconds: float
    own: float
    mapped: float


def run(*words: str | Path) -> Cost:
    """Runs ``python <words>`` and samples the memory of the process and its workers twenty times per second."""
    began, own, mapped = time.perf_counter(), 0.0, 0.0
    with tempfile.TemporaryFile("w+") as output:
        process = psutil.Popen([sys.executable, *map(str, words)], stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            # A set: a child between fork and exec shares its parent's memory and would be counted twice.
            held = {_held(member) for member in _family(process)}
            own, mapped = (
                max(most, sum(now)) for most, now in zip((own, mapped), zip(*held, strict=True), strict=True)
            )
            time.sleep(0.05)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(map(str, words))} failed:\n{output.read()[-2000:]}")
    return Cost(time.perf_counter() - began, own / MIB, mapped / MIB)


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return [process]


def _held(process: psutil.Process) -> tuple[int, int]:
    """Returns the bytes of anonymous and shared memory and of mapped files of a process, as proportional set size."""
    try:
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except OSError:  # the process has just ended
        return 0, 0
    lines = [line.split() for line in rollup.splitlines() if line.startswith("Pss_")]
    pages = {name: 1024 * int(size) for name, size, _ in lines}
    return pages.get("Pss_Anon:", 0) + pages.get("Pss_Shmem:", 0), pages.get("Pss_File:", 0)


def write_videos(root: Path, count: int, clip: Path) -> None:
    """Writes copies of one clip into two folders of emotions."""
    for number in range(count):
        target = root / ("happy", "sad")[number % 2] / f"{number:06d}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, target)


def write_pictures(root: Path, count: int, rendered: Path) -> pd.DataFrame:
    """Writes ``count`` different faces; returns their table with path, emotion, subject and clip."""
    found = {folder.name: sorted(folder.iterdir()) for folder in sorted(rendered.iterdir())}
    faces = {emotion: [cv2.imread(str(path)) for path in paths] for emotion, paths in found.items()}
    root.mkdir()
    rng, rows = np.random.default_rng(0), []
    for number in range(count):
        if number % A_CLIP == 0:
            clip = number // A_CLIP
            emotion = list(faces)[clip % len(faces)]
            one, other = rng.choice(len(faces[emotion]), 2, replace=False)
            both = cv2.addWeighted(faces[emotion][one], 0.6, faces[emotion][other], 0.4, 0)
            angle, scale, shift = rng.uniform(-15, 15), rng.uniform(1.0, 1.3), rng.uniform(-0.08, 0.08, 2) * SIDE
        turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), angle + rng.normal(0, 1), scale)
        turn[:, 2] += shift + rng.normal(0, 1, 2)
        face = cv2.warpAffine(both, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
        cv2.imwrite(str(root / f"{number:07d}.jpg"), face, [cv2.IMWRITE_JPEG_QUALITY, 90])
        rows.append((f"{number:07d}.jpg", emotion, f"person {clip // len(faces)}", f"clip {clip}"))
    return pd.DataFrame(rows, columns=["path", "emotion", "subject", "clip"])


def steps(folder: Path, frames: int) -> Iterator[tuple[str, list[tuple[int, Cost]]]]:
    """Yields each step with the number of frames and the cost at each size.

    Args:
        folder: folder for all files.
        frames: number of pictures at 1 x; at least 320, otherwise there are too few subjects to split.
    """
    write_ravdess(
        folder / "film", subjects=[1], emotions=["happy"], intensities=["01"], frames=FILMED, width=640, height=360
    )
    clip = next((folder / "film").rglob("*.mp4"))
    filmed = []
    for times in TIMES:
        videos = max(4, frames // 100) * times
        write_videos(folder / f"videos_{times}", videos, clip)
        words = ["dataset=video_folder", f"dataset.root={folder}/videos_{times}", "dataset.frame_stride=1"]
        filmed.append((videos * FILMED, _fervid(folder / f"films_{times}", "prepare", *words)))
    yield "prepare, videos", filmed

    write_faces(folder / "rendered", people=12, frames=2, size=SIDE)
    table = write_pictures(folder / "pictures", frames * TIMES[-1], folder / "rendered")
    costs: dict[str, list[tuple[int, Cost]]] = {}
    for times in TIMES:
        count, place = frames * times, folder / f"run_{times}"
        table.head(count).to_csv(folder / f"pictures_{times}.csv", index=False)
        corpus = [
            "dataset=image_folder",
            f"dataset.root={folder}/pictures",
            f"dataset.csv={folder}/pictures_{times}.csv",
        ]
        corpus += [f"dataset.face_size={SIDE}"]
        one_epoch = ["backbone=lenet", "trainer.max_epochs=1", f"hydra.run.dir={place}/runs/one"]
        commands = {
            "prepare, pictures": ["prepare", *corpus],
            "audit: face cache, hashes, near-duplicates": ["audit", *corpus, f"hydra.run.dir={place}/audit"],
            "train: face cache at 28 px, one epoch": ["train", *corpus, *one_epoch],
            "report": ["report", f"runs={place}/runs", f"hydra.run.dir={place}/report"],
        }
        for step, words in commands.items():
            if step == "report":
                _copy_run(place / "runs" / "one", place / "runs" / "other")
            costs.setdefault(step, []).append((count, _fervid(place, *words)))
    yield from costs.items()


def _fervid(place: Path, command: str, *words: str) -> Cost:
    cache = [] if command == "report" else [f"cache_dir={place}/cache"]
    return run("-m", f"fervid.{command}", *words, *cache)


def _copy_run(one: Path, other: Path) -> None:
    """Copies a run under the name of another optimizer, so that the report can compare two systems."""
    shutil.copytree(one, other)
    results = json.loads((other / "results.json").read_text())
    results["choices"]["optimizer"] = "other"
    (other / "results.json").write_text(json.dumps(results))


def rows_alone(rows: int, corpus: str) -> dict[str, Cost]:
    """Measures functions that open no pictures on a manifest, each in a separate process.

    Args:
        rows: number of rows of the manifest.
        corpus: ``videos``: 40 frames per clip; ``pictures``: one frame per clip.
    """
    manifest, predictions = _manifest(rows, 40 if corpus == "videos" else 1)
    names = sorted(manifest["emotion"].unique())
    chances = predictions[[f"prob_{name}" for name in names]].to_numpy()
    labels = pd.Categorical(manifest["emotion"], categories=names).codes
    by_person = run_confusions(predictions, names, "subject")
    by_clip = run_confusions(predictions, names, "clip")
    hashes = np.random.default_rng(0).integers(0, 256, (rows, 32), dtype=np.uint8)
    parts: dict[str, Callable[[], object]] = {
        "fingerprint of the manifest": lambda: _Listed(manifest.drop(columns="split")).folder,
        "split by subjects": lambda: splits.subject(manifest, val=0.2, test=0.2, seed=0),
        "split by clips": lambda: splits.clips(manifest, val=0.2, test=0.2, seed=0),
        "audit": lambda: audit(manifest),
        "writing of predictions": lambda: predictions.to_csv(index=False),
        "clips from frames": lambda: clip_predictions(predictions, names),
        "temperature": lambda: fit_temperature(chances, labels),
        "bootstrap over subjects": lambda: bootstrap_scores(by_person),
        "bootstrap over clips": lambda: bootstrap_scores(by_clip),
    }
    if rows <= 100_000:  # quadratic in the number of rows
        parts["near-duplicates"] = lambda: near_duplicates(hashes, manifest["clip"])
    return {name: _in_a_fork(part) for name, part in parts.items()}


class _Listed:
    """A corpus given by a table of frames."""

    name, subjects_from, face_size = "growth", None, None

    def __init__(self, table: pd.DataFrame):
        self.table = table

    def frames(self) -> pd.DataFrame:
        return self.table

    def fingerprint(self) -> str:
        return ""


def _manifest(rows: int, a_clip: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns a manifest with a split, and random predictions for its rows."""
    number, rng = np.arange(rows), np.random.default_rng(0)
    clip = number // a_clip
    emotions = np.array(["angry", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprise"], dtype=object)
    manifest = pd.DataFrame(
        {
            "corpus": "growth",
            "subject": [f"person {one}" for one in clip // 64],
            "clip": [f"clip {one}" for one in clip],
            "frame": number % a_clip,
            "time": number % a_clip / 3,
            "emotion": emotions[clip % 8],
            "path": [f"clip {one}.mp4" for one in clip],
            "split": rng.choice(["train", "val", "test"], rows, p=[0.6, 0.2, 0.2]).astype(object),
        }
    )
    chances = rng.dirichlet(np.ones(len(emotions)), rows)
    predicted = pd.DataFrame(chances, columns=[f"prob_{name}" for name in emotions])
    true = manifest.rename(columns={"emotion": "label"}).assign(predicted=emotions[chances.argmax(axis=1)], run=0)
    return manifest, pd.concat([true, predicted], axis=1)


def _in_a_fork(part: Callable[[], object]) -> Cost:
    """Measures a function in a forked process: the seconds, and by how many MiB its resident memory grew."""

    def work(queue: multiprocessing.SimpleQueue) -> None:
        before = psutil.Process().memory_info().rss / MIB
        began = time.perf_counter()
        part()
        seconds = time.perf_counter() - began
        queue.put(Cost(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before, 0.0))

    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=work, args=(queue,))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"a measured function ended with exit code {process.exitcode}.")
    return queue.get()


def exponent(costs: list[tuple[int, float]]) -> float:
    """Returns the exponent of growth between the last two sizes: 1 for linear growth, 2 for quadratic growth."""
    (few, less), (many, more) = costs[-2:]
    return math.log(more / less) / math.log(many / few)


def bend(seconds: list[float], start: float) -> float | None:
    """Returns the cost of an additional frame between 4 and 16 x relative to that between 1 and 4 x.

    The ratio is 1 for linear and 4 for quadratic growth.

    Args:
        seconds: seconds at 1, 4 and 16 x.
        start: seconds of the start of a program, which all three include.

    Returns:
        The ratio; None if the frames take less time than half the start, so that noise dominates. If the growth is
        clearly more than linear even then, a lower bound of the ratio is returned.
    """
    early, late = seconds[1] - seconds[0], seconds[2] - seconds[1]
    ratio = late / 4 / max(early, start / 2)
    return ratio if min(early, late) >= start / 2 or ratio > LINEAR else None


def print_step(step: str, costs: list[tuple[int, Cost]], start: Cost) -> None:
    """Prints the time of a step, with a verdict if it is long enough, and its memory."""
    counts = [count for count, _ in costs]
    seconds, own = [cost.seconds for _, cost in costs], [cost.own for _, cost in costs]
    spent = f"{' / '.join(f'{value:.1f}' for value in seconds)} s for {' / '.join(f'{n:,}' for n in counts)} frames"
    bent = bend(seconds, start.seconds)
    if bent is None:
        what, ratio, goal = "seconds at 16 x / at 1 x", seconds[-1] / seconds[0], ""
        spent += f"; no verdict: too short compared with the start of {start.seconds:.1f} s"
    else:
        what, ratio, goal = "an additional frame, 4 to 16 x / 1 to 4 x", bent, f"<= {LINEAR}"
    each = 1024 * (own[-1] - own[0]) / (counts[-1] - counts[0])
    held = f"{' / '.join(f'{value:.0f}' for value in own)} MiB, imports {start.own:.0f} MiB"
    held += f"; {each:.1f} KiB per additional frame"
    held += f"; {' / '.join(f'{cost.mapped:.0f}' for _, cost in costs)} MiB of mapped files"
    print_figures(
        Figure("growth", f"{step}: {what}", [ratio], goal, note=spent),
        Figure("growth", f"{step}: memory at 16 x / at 1 x", [own[-1] / own[0]], "<= 2", note=held),
    )


def main() -> None:
    """Prints two lines per step, and one per function."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--frames", type=int, default=2400, help="number of pictures at 1 x; a hundredth as many videos"
    )
    parser.add_argument(
        "--rows", type=int, nargs="*", default=[10_000, 100_000], help="rows of the manifests, 8,000 or more"
    )
    arguments = parser.parse_args()
    if not Path("/proc/self/smaps_rollup").exists():
        print("growth: not measured, since this system does not report the memory of a process (/proc).")
        return
    start = run("-c", "import fervid.train.training")
    with tempfile.TemporaryDirectory() as folder:
        for step, costs in steps(Path(folder), arguments.frames):
            print_step(step, costs, start)
    for corpus in ("videos", "pictures") if arguments.rows else ():
        found = {rows: rows_alone(rows, corpus) for rows in arguments.rows}
        for part in found[arguments.rows[0]]:
            costs = [(rows, own[part]) for rows, own in found.items() if part in own]
            note = ", ".join(f"{rows:,} rows {cost.seconds:.2f} s and {cost.own:.0f} MiB" for rows, cost in costs)
            if len(costs) > 1:
                value = exponent([(rows, cost.seconds) for rows, cost in costs])
                print_figures(Figure("growth", f"{corpus}: {part}: exponent of time", [value], unit="", note=note))


if __name__ == "__main__":
    main()
