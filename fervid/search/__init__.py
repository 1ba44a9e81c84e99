"""Searches for good settings: python -m fervid.search --trials 30 'optimizer.lr=tag(log,interval(1e-5,1e-2))'.

What is searched is written as a sweep is: optimizer=sgd,adam dataset.batch_size=16,32,64
'head.dropout=interval(0,0.6)' 'optimizer.lr=tag(log,interval(1e-5,1e-2))'; all else as for fervid.train.
"""

import argparse
from pathlib import Path

from fervid.cli.command_line import run
from fervid.cli.imports import importing
from fervid.cli.sweeps import sweep_name
from fervid.errors import InputError
from fervid.processes.ranks import take_place


def command() -> None:
    """Runs trials until there are enough, and says which was best."""
    take_place()  # trials are run one by one, whatever the environment says
    arguments = _arguments()
    from fervid.search.space import SearchSpace

    space = SearchSpace(arguments.settings)
    config = space.check()  # a misspelt name is found here, before anything is loaded
    folder = arguments.folder or Path("runs") / f"search-{sweep_name(arguments.settings)}"
    with importing():
        from fervid.search.study import search
    search(space, config, folder, trials=arguments.trials, hours=arguments.hours)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fervid.search",
        description=__doc__,
        epilog="The same command goes on where it was stopped; with a larger --trials it goes on further. A trial that "
        "is worse than the median of those before, at the same epoch, is ended early. The test side is not looked at: "
        "test the best one, once, by the command that is printed at the end. All settings: fervid.train --help",
    )
    parser.add_argument("settings", nargs="*", metavar="setting=value", help="as for fervid.train")
    # Its yaml files are found before this parser is asked (fervid.cli.command_line).
    parser.add_argument("--config-dir", "-cd", metavar="FOLDER", help="a folder with yaml files of your own")
    parser.add_argument("--trials", type=int, default=30, help="how many in all (30)")
    parser.add_argument("--hours", type=float, help="begin no trial after so many hours")
    parser.add_argument("--folder", type=Path, help="where the study and its runs lie (runs/search-<what is searched>)")
    return parser


def _arguments() -> argparse.Namespace:
    arguments = _parser().parse_intermixed_args()
    if arguments.trials < 1:
        raise InputError(f"--trials {arguments.trials} is no number of trials: give 1 or more.")
    if arguments.hours is not None and not arguments.hours > 0:
        raise InputError(f"--hours {arguments.hours} is no time: give more than 0.")
    return arguments


def main() -> None:
    """The way in, also as ``fervid-search``."""
    run(command, "train", describe=_parser().format_help)
