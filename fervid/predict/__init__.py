"""Predicts emotions and other targets in pictures, videos and sounds.

Example: ``python -m fervid.predict run=runs/mine source=holiday.mp4``.

All settings: ``python -m fervid.predict --help``.
"""

from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig, ListConfig

from fervid.cli.command_line import run
from fervid.cli.folders import empty_folder, one_run
from fervid.cli.job import job
from fervid.errors import InputError
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.schema.parts import CLASSIFICATION

if TYPE_CHECKING:
    from fervid.runs.run import Run

MIN_STEP_SECONDS = 0.05  # more than one window per frame


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="predict")
def command(config: DictConfig) -> None:
    """Predicts the emotions in the sources and writes them to the output folder."""
    with job(config) as running:
        _check(config)
        from fervid.predict.inputs import PICTURES_AND_VIDEOS, find_sources
        from fervid.runs.run import read_run

        trained = read_run(one_run(config.run))
        hears = "sound" in trained.modalities
        _check_for_run(config, trained)
        kinds = PICTURES_AND_VIDEOS if trained.classifies_pictures else ("video", *(["sound file"] if hears else []))
        sources = list(config.source) if isinstance(config.source, ListConfig) else str(config.source)
        found = find_sources(sources, config.seconds, kinds)
        from hydra.utils import instantiate  # these imports take seconds; --help should not wait for them
        from rich.console import Console

        from fervid.predict.answers import Answers
        from fervid.predict.prediction import FRAME_STRIDE, predict
        from fervid.predict.predictor import Predictor
        from fervid.predict.source_results import print_summary
        from fervid.predict.video import share_cores
        from fervid.predict.window_prediction import STEP_SECONDS, predict_windows
        from fervid.predict.window_predictor import WindowPredictor
        from fervid.processes.memory import keep_memory

        console = Console(highlight=False, soft_wrap=True, markup=False)
        answers = None
        if config.max_risk is not None or config.conformal is not None:
            answers = Answers.of_run(trained, max_risk=config.max_risk, conformal=config.conformal)
        opening = {
            "detector": instantiate(config.detector, _convert_="all") if config.get("detector") else None,
            "margin": config.margin,
            "device": config.device,
            "trust": config.trust,
        }
        predictor: Predictor | WindowPredictor
        if trained.classifies_pictures:
            predictor = Predictor(trained.folder, **opening)
        else:
            predictor = WindowPredictor(trained.folder, frame_stride=config.frame_stride, **opening)
            predictor.window_seconds(config.window)  # rejects a length that is out of range
        keep_memory()
        share_cores()
        folder = empty_folder(running.folder)
        options: dict[str, Any] = {"faces": config.faces, "annotated": config.annotate, "left_out": found.left_out}
        options["answers"] = answers
        for sentence in answers.sentences() if answers else ():
            console.print(sentence)
        if isinstance(predictor, WindowPredictor):
            options |= {"seconds": config.window, "step": config.step or STEP_SECONDS}
            results = predict_windows(predictor, found.items, folder, console, **options)
        else:
            options |= {"frame_stride": config.frame_stride or FRAME_STRIDE, "smoothing": config.smoothing}
            results = predict(predictor, found.items, folder, console, **options)
        print_summary(results, folder, console)


def _check(config: DictConfig) -> None:
    """Checks the settings before anything is loaded."""
    one_run(config.run)
    if config.source is None or config.source == []:
        raise InputError("source is missing: give source=<picture, video, sound file, folder, glob or camera>.")
    if config.frame_stride is not None and config.frame_stride < 1:
        raise InputError(f"frame_stride={config.frame_stride} is out of range: use 1 or more.")
    if config.faces not in ("all", "one"):
        raise InputError(f"faces={config.faces} is unknown: choose all or one.")
    if not isinstance(config.annotate, bool):
        raise InputError(f"annotate={config.annotate} is not a truth value: use true or false.")
    for name in ("margin", "seconds", "window", "step"):
        value = config[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise InputError(f"{name}={value} is out of range: use a number of at least 0, or null.")
    for name in ("max_risk", "conformal"):
        value = config[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1):
            raise InputError(f"{name}={value} is out of range: use a number between 0 and 1, or null.")
    if config.step is not None and config.step < MIN_STEP_SECONDS:
        raise InputError(f"step={config.step} is out of range: use {MIN_STEP_SECONDS} seconds or more.")


def _check_for_run(config: DictConfig, trained: "Run") -> None:
    """Refuses settings that do not apply to the task or the samples of a run."""
    calibrated = [name for name in ("max_risk", "conformal") if config[name] is not None]
    if calibrated and trained.task != CLASSIFICATION:
        raise InputError(
            f"{calibrated[0]}={config[calibrated[0]]} is for emotions, but {trained.folder} is a run of the task "
            f"{trained.task}: leave it out, or give a run of {CLASSIFICATION}."
        )
    given = [name for name in ("window", "step") if config[name] is not None]
    if trained.classifies_pictures and given:
        raise InputError(
            f"{given[0]}={config[given[0]]} cannot be used, since {trained.folder} classifies single pictures: leave "
            "it out, or give a run of clips or sounds."
        )
    if trained.classifies_pictures:
        return
    if config.smoothing:
        raise InputError(
            f"smoothing={config.smoothing} cannot be used, since {trained.folder} classifies whole windows: leave it "
            "out, and give window=<seconds> for a longer time."
        )
    if config.seconds is not None:
        raise InputError(f"seconds={config.seconds} is for cameras, which {trained.folder} cannot use: leave it out.")
    of_faces = {"frame_stride": config.frame_stride, "margin": config.margin, "detector": config.get("detector")}
    given = [name for name, value in of_faces.items() if value is not None]
    given += ["faces"] if config.faces != "all" else []
    if given and "image" not in trained.modalities:
        raise InputError(f"{given[0]} cannot be used, since {trained.folder} is shown no pictures: leave it out.")


def main() -> None:
    """Runs the command; also as ``fervid predict``."""
    run(command, "predict")
