"""Opens a local page that shows what a trained run predicts.

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
        # A closed terminal tidies up as Ctrl-C does, which a shell ignores in the background.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        with scratch(gettempdir()) as folder:
            # Read when Gradio is imported.
            os.environ |= {"GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
            try:
                serve(config, folder)
            except KeyboardInterrupt:
                print("The page is closed and all that was uploaded is deleted.")


def serve(config: DictConfig, folder: Path) -> None:
    """Builds the page and waits.

    Args:
        config: of the command.
        folder: for uploads and annotated videos.

    Raises:
        InputError: if there is no run, or the port is taken.
    """
    for name in ("longest_video", "frame_stride", "largest_upload"):
        if config[name] <= 0:
            raise InputError(f"{name}={config[name]} leaves nothing to look at: give more than 0.")
    run_folder = newest_run(Path("runs")) if config.run is None else one_run(config.run)
    from hydra.utils import instantiate

    from fervid.demo.page import build_page
    from fervid.demo.server import ADDRESS, launch
    from fervid.predict.predictor import Predictor
    from fervid.predict.video import share_cores

    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio asks its own page whether it is there
    share_cores()
    predictor = Predictor(
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
    )
    launch(page, config.port, config.largest_upload)
    print(f"Showing {predictor.folder} on http://{ADDRESS}:{config.port} (Ctrl-C ends it).", flush=True)
    try:
        while True:
            time.sleep(1)
    finally:
        page.close(verbose=False)


def newest_run(folder: Path) -> Path:
    """The finished run of a network that was finished last.

    Args:
        folder: looked through at any depth.

    Raises:
        InputError: if there is none.
    """
    from fervid.runs.run import open_run

    for results in sorted(folder.rglob(RESULTS_FILE), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            open_run(results.parent)
            # Neither the classical baseline nor what an evaluation leaves has a network.
            if (results.parent / "checkpoints" / "best.ckpt").exists():
                return results.parent
        except InputError:
            continue
    raise InputError(f"there is no finished run in ./{folder}: train one first (make train), or give run=<folder>.")


def main() -> None:
    """Runs the command; also as ``fervid demo``."""
    run(command, "demo")
