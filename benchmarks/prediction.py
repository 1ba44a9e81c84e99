"""Speed of predictions on videos.

    python benchmarks/prediction.py [--run <run> --videos <folder>]

Measures all of ``python -m fervid.predict`` except loading: decoding, detection, alignment, classification, and writing
rows and timelines, alternately with and without annotated videos. Prints the processed frames per second and the factor
of real time, as median and spread over the repeats.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rendered_faces import write_faces
from rich.console import Console
from timing import Figure, by_turns, print_figures

from fervid.faces.detection import HaarDetector
from fervid.predict.inputs import find_sources
from fervid.predict.prediction import predict
from fervid.predict.predictor import Predictor
from fervid.predict.video import share_cores
from fervid.processes.memory import keep_memory

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # for the writers of rendered corpora

from rendered_corpora.ravdess import write_ravdess


def main() -> None:
    """Prints one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a trained run (default: a MobileNetV2 trained for one epoch)")
    parser.add_argument(
        "--videos", type=Path, help="a folder of videos (default: 2 rendered ones of 4 seconds, 720p, H.264)"
    )
    parser.add_argument("--frame-stride", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--own-detector", action="store_true", help="use the run's detector instead of Haar")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, videos = arguments.run or train(Path(folder)), arguments.videos
        if videos is None:
            videos = Path(folder) / "videos"
            write_ravdess(videos, emotions=["happy"], intensities=["01"], frames=120)
        watch(run, videos, arguments)


def train(folder: Path) -> Path:
    """Trains a run for one epoch; the speed of predictions does not depend on its accuracy."""
    write_faces(folder / "faces", people=5, frames=1)
    words = ["dataset=image_folder", f"dataset.root={folder / 'faces'}", 'dataset.subject_pattern="(.+)__"']
    words += ["backbone=mobilenet_v2", "backbone.weights=null", "finetune=frozen", "trainer.max_epochs=1"]
    words += ["dataset.batch_size=8", f"cache_dir={folder / 'cache'}", f"hydra.run.dir={folder / 'run'}"]
    command = [sys.executable, "-m", "fervid.train", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "run"


def watch(run: Path, videos: Path, arguments: argparse.Namespace) -> None:
    """Predicts all videos several times, with and without annotated copies."""
    keep_memory()  # as the command does
    share_cores()
    predictor = Predictor(run, detector=None if arguments.own_detector else HaarDetector())
    items, console = find_sources([str(videos)]).items, Console(quiet=True)

    def look(annotated: bool) -> float:
        nonlocal frames, film
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            results = predict(
                predictor, items, Path(folder), console, frame_stride=arguments.frame_stride, annotated=annotated
            )
            spent = time.perf_counter() - began
        frames, film = sum(result.steps for result in results), sum(result.seconds for result in results)
        return spent

    frames, film = 0, 0.0
    look(True)  # warm-up
    sides = {"annotated": lambda: look(True), "not annotated": lambda: look(False)}
    for name, seconds in by_turns(sides, arguments.repeats).items():
        note = f"{len(items)} videos, one frame of {arguments.frame_stride}, {torch.get_num_threads()} threads of torch"
        print_figures(
            Figure("prediction", f"processed frames, {name}", [frames / one for one in seconds], "", "frames/s", note),
            Figure("prediction", f"length of the videos / processing time, {name}", [film / one for one in seconds]),
        )


if __name__ == "__main__":
    main()
