"""Preparation against decoding alone and a plain pipeline: ``python benchmarks/preparation.py <folder of videos>``.

All three take every tenth frame of the same videos, by turns, in one process; the ratios are those of processor time.
The plain pipeline is what a notebook does: OpenCV reads the frames, its default cascade looks for faces and eyes in
full-size pictures, the face is turned level, cut out and written. Then the whole of it, with worker processes, over
each video several times, tells the use of the cores and whether memory grows.
"""

import argparse
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import psutil

from fervid.data import VideoFolderDataModule
from fervid.data.alignment import Alignment
from fervid.data.decoding import VIDEO_SUFFIXES, Sampling
from fervid.data.detection import HaarDetector
from fervid.data.preparation import Task, cut_faces

SIZE, EVERY = 224, 10


def decode(video: Path) -> int:
    """Decodes every frame, with one thread, and does nothing with it."""
    with av.open(str(video)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return sum(1 for _ in container.decode(video=0))


def plain(video: Path, folder: Path) -> int:
    """What a notebook does; returns the faces found."""
    frontal = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    eye = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_eye.xml")
    capture, number, found = cv2.VideoCapture(str(video)), 0, 0
    while True:
        read, frame = capture.read()
        if not read:
            return found
        if number % EVERY == 0:
            grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
            faces = frontal.detectMultiScale(grey, 1.1, 4)
            if len(faces):
                x, y, w, h = max(faces, key=lambda face: face[2] * face[3])
                eyes = eye.detectMultiScale(grey[y : y + h, x : x + w], 1.1, 4)
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
    """What a worker of fervid does; returns the faces found."""
    cut = cut_faces(Task(0, video, Sampling(EVERY)), HaarDetector(), Alignment(SIZE))
    return sum(face is not None for face in cut.faces)


def seconds(work: Callable[[], int]) -> tuple[float, int]:
    """Processor seconds of this process, and what the work returned."""
    began = time.process_time()
    return_value = work()
    return time.process_time() - began, return_value


def main() -> None:
    """Prints one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--copies", type=int, default=4, help="how often each video is prepared in the last part")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    videos = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    fervid(videos[0])  # the cascades are loaded
    to_decode, to_plain, spent, faces = [], [], [], [0, 0]
    with tempfile.TemporaryDirectory() as folder:
        for video in videos:
            alone, _ = seconds(lambda video=video: decode(video))
            usual, found = seconds(lambda video=video: plain(video, Path(folder)))
            ours, ours_found = seconds(lambda video=video: fervid(video))
            to_decode.append(ours / alone)
            to_plain.append(usual / ours)
            spent.append(ours)
            faces[0] += found
            faces[1] += ours_found
    for name, values in (("fervid / decoding alone", to_decode), ("plain pipeline / fervid", to_plain)):
        print(f"{name}: {statistics.median(values):.2f} (from {min(values):.2f} to {max(values):.2f})")
    print(f"faces found: plain {faces[0]}, fervid {faces[1]}")
    print(f"processor time a clip: {statistics.median(spent):.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        for copies in (1, arguments.copies):
            root = Path(folder) / str(copies)
            for copy in range(copies):
                for number, video in enumerate(videos):
                    target = root / ("odd" if number % 2 else "even") / f"{copy}_{video.name}"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(video, target)
            corpus = VideoFolderDataModule(root, every=EVERY, face_size=SIZE, prepared_dir=folder, cache_dir=folder)
            began, before = time.perf_counter(), _workers()[0]
            corpus.prepare_faces()
            wall = time.perf_counter() - began
            busy, memory = _workers()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{copies * len(videos)} clips: {wall / copies / len(videos):.2f} s a clip, "
                f"{(busy - before) / wall:.1f} cores busy in the workers, "
                f"{peak:.0f} MiB at most in the process that writes, {memory:.0f} MiB in each worker"
            )


def _workers() -> tuple[float, float]:
    """Processor seconds of all worker processes so far, and the memory of the largest in MiB."""
    workers = psutil.Process().children(recursive=True)
    used = sum(sum(worker.cpu_times()[:2]) for worker in workers)
    return used, max((worker.memory_info().rss for worker in workers), default=0) / 2**20


if __name__ == "__main__":
    main()
