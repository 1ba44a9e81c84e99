"""The way into every command: its words, ``--help`` and ``--version``, and how it ends.

Nothing heavy is imported here, so that ``--help`` answers at once.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fervid import __version__
from fervid.cli.mistakes import misread_word, mistake_of_system, remember_typed, stop, what_hydra_says
from fervid.cli.overrides import as_typed
from fervid.cli.settings_help import settings_help
from fervid.cli.sweeps import in_order, print_jobs, sweep_at_hand, sweep_name
from fervid.cli.unknown_names import unknown_name
from fervid.errors import InputError
from fervid.processes.lifetime import exit_on_sigterm, terminated
from fervid.processes.ranks import rank_folder
from fervid.schema.config_folder import use_config_folders

# At import, since workers of a launcher do not come through run(). Hydra hands the resolved values on to all jobs.
OmegaConf.register_new_resolver("sweep_name", lambda: sweep_name(sys.argv[1:]), replace=True, use_cache=True)
OmegaConf.register_new_resolver("rank_folder", rank_folder, replace=True, use_cache=True)

INTERRUPTED = "interrupted: run the same command again."


def run(command: Callable[[], Any], name: str, describe: Callable[[], str] | None = None) -> None:
    """Runs a Hydra command; a user's mistake ends it with one sentence and exit code 1, SIGTERM with exit code 143.

    Args:
        command: a function decorated with ``hydra.main``.
        name: of its primary configuration.
        describe: what ``--help`` says; by default what the configuration says of itself.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a console may know a few letters only: \\u0440 is better than an error
            stream.reconfigure(errors="backslashreplace")
    words = as_typed(sys.argv[1:])
    remember_typed(words, sys.argv[1:])
    sys.argv = [sys.argv[0], *in_order(words)]
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd")  # as Hydra has it
    told, others = parser.parse_known_args(sys.argv[1:])
    use_config_folders([] if told.config_dir is None else [told.config_dir])
    with exit_on_sigterm(), sweep_at_hand():
        _run(command, name, describe, others)


def _run(command: Callable[[], Any], name: str, describe: Callable[[], str] | None, arguments: list[str]) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would have printed
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # asks the network at every import otherwise
    try:
        options, words = (
            [word for word in arguments if word.startswith("-") == is_option] for is_option in (True, False)
        )
        if options == ["--version"]:
            print(f"fervid {__version__}")
            return
        if options in (["--help"], ["-h"]):
            print(describe() if describe else settings_help(name, words))
            return
        command()
        print_jobs()
    except SystemExit:  # Lightning's answer to Ctrl-C
        print_jobs()
        raise
    except KeyboardInterrupt as interrupt:
        print_jobs()
        stop(str(interrupt) or INTERRUPTED)
    except InputError as error:
        stop(print_jobs() or str(error))
    except (HydraException, OmegaConfBaseException) as error:
        stop(misread_word(error) or unknown_name(name, sys.argv[1:]) or what_hydra_says(error))
    except BrokenPipeError:  # head, or a pager that was closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        print_jobs()  # whose errors were told of when they occurred
        if terminated():  # so were its worker processes, or a library raised an error of its own for it
            stop(INTERRUPTED)
        # Hydra itself could not make the folder.
        mistake = mistake_of_system(error, str(error.filename)) if isinstance(error, OSError) else error
        if isinstance(mistake, InputError):
            stop(str(mistake))
        traceback.print_exc()
        stop("this is a defect of fervid or of a library it uses: please report the lines above.")
