"""Searches for good hyperparameters with Optuna.

Example: ``python -m fervid.search --trials 30 'optimizer.lr=tag(log,interval(1e-5,1e-2))'``.

All settings: ``python -m fervid.search --help``.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from fervid.cli.command_line import run
from fervid.cli.imports import importing
from fervid.cli.sweeps import sweep_name
from fervid.errors import InputError
from fervid.processes.ranks import set_up_rank

DESCRIPTION = """\
Searches for good hyperparameters with Optuna: each trial is a training run, and the search maximises the best
validation score (finetune.monitor; a loss is minimised).

A setting with several values or an interval is searched, any other is the same in all trials:
  optimizer=sgd,adam                            one of the values
  dataset.batch_size=16,32,64                   one of the numbers
  'finetune.phases.0.epochs=range(5,21,5)'      5, 10, 15 or 20
  'task.loss.label_smoothing=interval(0,0.2)'   a number from 0 to 0.2
  'dataset.batch_size=int(interval(16,64))'     a whole number from 16 to 64
  'optimizer.lr=tag(log,interval(1e-5,1e-2))'   a number drawn on a logarithmic scale
Put what contains brackets in quotes."""
EPILOG = """\
A trial that is worse than the median of earlier trials at the same epoch is stopped early. The test set is never used:
the search prints the command that trains and tests the best settings once. The same command resumes an interrupted
search, and a larger --trials extends it.

Examples:
  python -m fervid.search --trials 30 optimizer=sgd,adam 'optimizer.lr=tag(log,interval(1e-5,1e-2))'
  python -m fervid.search --hours 8 dataset=ravdess dataset.root=RAVDESS backbone=resnet18,mobilenet_v2
All settings, with their values and meaning: python -m fervid.train --help"""


def command() -> None:
    """Runs the requested number of trials and prints the best."""
    set_up_rank()  # trials run one after another in one process, even if the environment names several ranks
    arguments = _arguments()
    from fervid.search.space import SearchSpace

    space = SearchSpace(arguments.settings)
    config = space.check()  # finds misspelt names before heavy imports
    folder = arguments.folder or Path("runs") / f"search-{sweep_name(arguments.settings)}"
    with importing():
        from fervid.search.study import search
    search(space, config, folder, trials=arguments.trials, hours=arguments.hours)


def make_parser(completer: Callable[..., list[str]] | None = None) -> argparse.ArgumentParser:
    """Returns the parser of the command line. The settings are parsed by Hydra.

    Args:
        completer: argcomplete's completer of the settings.
    """
    parser = argparse.ArgumentParser(
        prog="fervid.search",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words = parser.add_argument("settings", nargs="*", metavar="setting=value", help="searched and fixed settings")
    words.completer = completer  # type: ignore[attr-defined]
    # Handled before this parser runs (fervid.cli.command_line).
    parser.add_argument("--config-dir", "-cd", metavar="FOLDER", help="a folder with yaml files of your own")
    parser.add_argument(
        "--trials", type=int, default=30, metavar="N", help="total number of trials, including those already run (30)"
    )
    parser.add_argument(
        "--hours", type=float, metavar="H", help="start no new trial after H hours; the running trial is finished"
    )
    parser.add_argument(
        "--folder", type=Path, help="output folder of the study and its runs (runs/search-<searched settings>)"
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    return parser


def _arguments() -> argparse.Namespace:
    arguments = make_parser().parse_intermixed_args()
    if arguments.trials < 1:
        raise InputError(f"--trials {arguments.trials} is out of range: use 1 or more.")
    if arguments.hours is not None and not arguments.hours > 0:
        raise InputError(f"--hours {arguments.hours} is out of range: use more than 0.")
    return arguments


def main() -> None:
    """Runs the command; also as ``fervid search``."""
    run(command, "train", describe=make_parser().format_help)
