"""Opens a local web page that shows the predictions of a trained run.

Example: ``python -m fervid.demo run=runs/mine``.

All settings: ``python -m fervid.demo --help``.
"""

import importlib.util
import logging
import os
import signal
import time
from pathlib import Path
from tempfile import gettempdir

import hydra
from omegaconf import DictConfig

from fervid.cli.command_line import run
from fervid.cli.folders import one_run
from fervid.cli.job import job
from fervid.errors import InputError
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.schema.results import RESULTS_FILE
from fervid.storage.atomic import scratch


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="demo")
def command(config: DictConfig) -> None:
    """Serves the page until Ctrl-C."""
    with job(config):
        if importlib.util.find_spec("gradio") is None:
            raise InputError("the demo needs Gradio: install it with pip install '.[demo]' in the repository folder.")
        # Closing the terminal cleans up like Ctrl-C; a shell ignores SIGINT for background jobs, so it is set again.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        with scratch(gettempdir()) as folder:
            # Gradio reads these when it is imported.
            os.environ |= {"GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
            try:
                serve(config, folder)
            except KeyboardInterrupt:
                print("Page closed; all uploads are deleted.")


def serve(config: DictConfig, folder: Path) -> None:
    """Builds the page and serves it until it is interrupted.

    Args:
        config: the configuration of the command.
        folder: folder for uploads and annotated videos.

    Raises:
        InputError: if there is no run, or the port is in use.
    """
    for name in ("longest_video", "frame_stride", "largest_upload", "step"):
        if config[name] <= 0:
            raise InputError(f"{name}={config[name]} is out of range: use more than 0.")
    run_folder = newest_run(Path("runs")) if config.run is None else one_run(config.run)
    from hydra.utils import instantiate

    from fervid.demo.page import build_page
    from fervid.demo.server import ADDRESS, launch
    from fervid.predict.predictor import Predictor
    from fervid.predict.video import share_cores
    from fervid.predict.window_predictor import WindowPredictor
    from fervid.runs.run import read_run

    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio sends requests to its own page at the start
    share_cores()
    opened = Predictor if read_run(run_folder).classifies_pictures else WindowPredictor
    predictor = opened(
        run_folder,
        detector=instantiate(config.detector, _convert_="all"),
        trust=config.trust,
    )
    page = build_page(
        predictor,
        folder,
        longest_video=config.longest_video,
        frame_stride=config.frame_stride,
        smoothing=config.smoothing,
        step=config.step,
    )
    launch(page, config.port, config.largest_upload)
    print(f"Showing {predictor.folder} at http://{ADDRESS}:{config.port} (press Ctrl-C to stop).", flush=True)
    try:
        while True:
            time.sleep(1)
    finally:
        page.close(verbose=False)


def newest_run(folder: Path) -> Path:
    """Returns the folder of the most recently finished training run.

    Args:
        folder: folder to search recursively.

    Raises:
        InputError: if it contains no finished run.
    """
    from fervid.runs.run import open_run

    for results in sorted(folder.rglob(RESULTS_FILE), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            open_run(results.parent)
            # The folders of the classical baseline and of fervid.evaluate contain no network.
            if (results.parent / "checkpoints" / "best.ckpt").exists():
                return results.parent
        except InputError:
            continue
    raise InputError(
        f"there is no finished run in ./{folder}: train one first (python -m fervid.train), or give run=<folder>."
    )


def main() -> None:
    """Runs the command; also as ``fervid demo``."""
    run(command, "demo")
