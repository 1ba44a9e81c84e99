"""Compares preparation with decoding alone and with a plain pipeline.

    python benchmarks/preparation.py [--videos <folder>]

Takes about a minute and a half on two cores, about three with twenty clips of RAVDESS. All three use every tenth frame
of the same videos, alternately, in one process; the ratios are those of processor time. The plain pipeline is that of
a typical notebook: OpenCV reads the frames, its default cascade detects faces and eyes in full-size pictures, and the
face is levelled, cropped and written. Finally, the whole preparation with worker processes runs over several copies of
each video, to measure how well it uses the cores and whether its memory grows.
"""

import argparse
import math
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
from timing import Figure, print_figures, ratios

from fervid.data import VideoFolderDataModule
from fervid.faces.clip_faces import ClipTask, crop_faces
from fervid.faces.cropping import Alignment
from fervid.faces.detection import HaarDetector
from fervid.media.formats import VIDEO_SUFFIXES
from fervid.media.sampling import Sampling

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # for the writers of rendered corpora

from rendered_corpora.ravdess import RAVDESS_EMOTIONS, write_ravdess

SIZE, EVERY = 224, 10


def decode(video: Path) -> int:
    """Decodes all frames in one thread and discards them; returns their number."""
    with av.open(str(video)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return sum(1 for _ in container.decode(video=0))


def plain(video: Path, folder: Path) -> int:
    """Runs the plain pipeline; returns the number of faces found."""
    frontal = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    eye = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_eye.xml")
    capture, number, found = cv2.VideoCapture(str(video)), 0, 0
    while True:
        if not capture.grab():
            return found
        if number % EVERY == 0:
            _, frame = capture.retrieve()
            gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
            faces = frontal.detectMultiScale(gray, 1.1, 4)
            if len(faces):
                x, y, w, h = max(faces, key=lambda face: face[2] * face[3])
                eyes = eye.detectMultiScale(gray[y : y + h, x : x + w], 1.1, 4)
                angle = 0.0
                if len(eyes) >= 2:
                    (ax, ay, aw, ah), (bx, by, bw, bh) = sorted(eyes[:2], key=lambda e: e[0])
                    angle = np.degrees(np.arctan2(by + bh / 2 - ay - ah / 2, bx + bw / 2 - ax - aw / 2))
                turn = cv2.getRotationMatrix2D((x + w / 2, y + h / 2), angle, 1)
                face = cv2.warpAffine(frame, turn, frame.shape[1::-1])[y : y + h, x : x + w]
                cv2.imwrite(str(folder / f"{video.stem}_{number}.jpg"), cv2.resize(face, (SIZE, SIZE)))
                found += 1
        number += 1


def fervid(video: Path) -> int:
    """Does the work of a cropping worker of fervid; returns the number of faces found."""
    crops = crop_faces(ClipTask(0, video, Sampling(EVERY)), HaarDetector(), Alignment(SIZE))
    return sum(face is not None for face in crops.faces)


def seconds(work: Callable[[], int]) -> tuple[float, int]:
    """Returns the processor seconds of this process and the return value of the work."""
    began = time.process_time()
    return_value = work()
    return time.process_time() - began, return_value


def main() -> None:
    """Prints one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="folder of videos (default: 8 rendered, 4 s, 720p, H.264)")
    parser.add_argument("--clips", type=int, default=20, help="maximum number of videos, spread over the folder")
    parser.add_argument("--copies", type=int, default=4, help="number of copies of each video in the last part")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.videos
        if root is None:
            root = Path(folder) / "videos"
            corpus = {"emotions": RAVDESS_EMOTIONS[2:6], "intensities": ("01",), "frames": 120}
            # In a separate process, since rendering needs more memory than what is measured here.
            rendering = multiprocessing.get_context("spawn").Process(target=write_ravdess, args=(root,), kwargs=corpus)
            rendering.start()
            rendering.join()
            if rendering.exitcode:
                raise SystemExit("the videos could not be rendered.")
        videos = sorted(path for path in root.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
        if not videos:
            suffixes = ", ".join(sorted(VIDEO_SUFFIXES))
            parser.error(f"--videos {root} contains no video ({suffixes}): give another folder.")
        videos = videos[:: math.ceil(len(videos) / arguments.clips)]
        decoding = one_process(videos, Path(folder))
        whole_job(videos, arguments.copies, decoding, Path(folder))


def one_process(videos: list[Path], folder: Path) -> float:
    """Compares the three alternatives clip by clip; returns the processor seconds of decoding alone."""
    (folder / "plain").mkdir()
    fervid(videos[0])  # loads the cascades
    sides = {"decoding": decode, "plain": lambda video: plain(video, folder / "plain"), "fervid": fervid}
    spent: dict[str, list[float]] = {name: [] for name in sides}
    results: dict[str, int] = dict.fromkeys(sides, 0)
    for turn, video in enumerate(videos):
        for name in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            used, result = seconds(lambda name=name, video=video: sides[name](video))
            spent[name].append(used)
            results[name] += result
    a_clip = {name: f"{name} {statistics.median(values):.2f} s" for name, values in spent.items()}
    megabits = sum(video.stat().st_size for video in videos) * 8e-6 / results["decoding"]
    print_figures(
        Figure(
            "preparation",
            "fervid / decoding alone, processor time per clip",
            ratios(spent["fervid"], spent["decoding"]),
            "<= 1.3",
            note=f"{a_clip['fervid']}, {a_clip['decoding']} per clip; {megabits:.2f} Mbit per frame",
        ),
        Figure(
            "preparation",
            "plain pipeline / fervid, processor time per clip",
            ratios(spent["plain"], spent["fervid"]),
            ">= 5" if results["fervid"] >= results["plain"] else "",  # no goal if fervid finds fewer faces
            note=f"{a_clip['plain']} per clip; faces found: plain {results['plain']}, fervid {results['fervid']}",
        ),
    )
    return sum(spent["decoding"])


def whole_job(videos: list[Path], copies: int, decoding: float, folder: Path) -> None:
    """Prepares the videos with worker processes, first once and then with several copies of each.

    Args:
        videos: the clips.
        copies: number of copies of each clip in the second measurement.
        decoding: processor seconds of decoding all clips once.
        folder: folder for all files.
    """
    wall, used, memory = {}, {}, {}
    for times in (1, copies):
        root = folder / f"times_{times}"
        for copy in range(times):
            for number, video in enumerate(videos):
                target = root / ("odd" if number % 2 else "even") / f"{copy}_{number}_{video.name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(video, target)
        corpus = VideoFolderDataModule(root, frame_stride=EVERY, face_size=SIZE, prepared_dir=folder, cache_dir=folder)
        began, before = time.perf_counter(), time.process_time() + _workers()[0]
        corpus.prepared["image"].prepare()
        wall[times] = time.perf_counter() - began
        busy, largest = _workers()
        used[times] = time.process_time() + busy - before
        memory[times] = largest
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    clips = copies * len(videos)
    print_figures(
        Figure(
            "preparation",
            "whole preparation / decoding alone, processor time of all processes",
            [used[copies] / (copies * decoding)],
            "<= 1.3",
            note=f"{clips} clips, without the start of the workers",
        ),
        Figure(
            "preparation",
            "busy cores",
            [used[copies] / wall[copies]],
            f">= {0.9 * cores:g}",
            "",
            f"of {cores}; {wall[copies] / clips:.2f} s per clip",
        ),
        Figure(
            "preparation",
            f"memory of the largest worker at the end, {copies} x the clips / 1 x",
            [memory[copies] / memory[1]],
            "<= 1.1",
            note=f"{memory[1]:.0f} and {memory[copies]:.0f} MiB",
        ),
    )


def _workers() -> tuple[float, float]:
    """Returns the processor seconds of all worker processes so far and the memory of the largest in MiB."""
    workers = psutil.Process().children(recursive=True)
    used = sum(sum(worker.cpu_times()[:2]) for worker in workers)
    return used, max((worker.memory_info().rss for worker in workers), default=0) / 2**20


if __name__ == "__main__":
    main()
