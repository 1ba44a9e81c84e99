"""Entry point of every command: reads its command line, answers ``--help`` and ``--version``, and reports errors.

This module has no heavy imports, so that ``--help`` responds immediately.
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
from fervid.cli.mistakes import (
    combined_options,
    hydra_message,
    misread_word,
    mistake_of_system,
    remember_typed,
    stop,
)
from fervid.cli.overrides import as_typed
from fervid.cli.settings_help import settings_help
from fervid.cli.sweeps import current_sweep, print_jobs, sort_settings, sweep_name
from fervid.cli.unknown_names import unknown_name
from fervid.errors import InputError
from fervid.processes.lifetime import exit_on_sigterm, terminated
from fervid.processes.ranks import rank_folder
from fervid.schema.config_folder import use_config_folders

# Registered at import, since the workers of a launcher do not call run(). Hydra passes the resolved values to all jobs.
OmegaConf.register_new_resolver("sweep_name", lambda: sweep_name(sys.argv[1:]), replace=True, use_cache=True)
OmegaConf.register_new_resolver("rank_folder", rank_folder, replace=True, use_cache=True)

INTERRUPTED = "interrupted: run the same command again."


def run(command: Callable[[], Any], name: str, describe: Callable[[], str] | None = None) -> None:
    """Runs a Hydra command.

    A user's mistake ends the program with one sentence and exit code 1, SIGTERM ends it with exit code 143.

    Args:
        command: a function decorated with ``hydra.main``.
        name: name of its primary configuration.
        describe: function that returns the text for ``--help``; default: the help of the configuration.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # consoles with a small character set print \\u0440 instead of failing
            stream.reconfigure(errors="backslashreplace")
    words = as_typed(sys.argv[1:])
    remember_typed(words, sys.argv[1:])
    sys.argv = [sys.argv[0], *sort_settings(words)]
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd")  # the same names as Hydra's option
    options, arguments = parser.parse_known_args(sys.argv[1:])
    use_config_folders([] if options.config_dir is None else [options.config_dir])
    with exit_on_sigterm(), current_sweep():
        _run(command, name, describe, arguments)


def _run(command: Callable[[], Any], name: str, describe: Callable[[], str] | None, arguments: list[str]) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise it queries the network at every import
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
    except SystemExit:  # raised by Lightning at Ctrl-C
        print_jobs()
        raise
    except KeyboardInterrupt as interrupt:
        print_jobs()
        stop(str(interrupt) or INTERRUPTED)
    except InputError as error:
        stop(print_jobs() or str(error))
    except (HydraException, OmegaConfBaseException) as error:
        stop(misread_word(error) or unknown_name(name, sys.argv[1:]) or hydra_message(error))
    except BrokenPipeError:  # the reader, such as head or a pager, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        print_jobs()  # the errors of single jobs have been logged already
        if terminated():  # worker processes were terminated too, or a library converted the signal to its own error
            stop(INTERRUPTED)
        # An OSError here means that Hydra could not create the output folder.
        mistake = mistake_of_system(error, str(error.filename)) if isinstance(error, OSError) else error
        if sentence := combined_options(error):
            stop(sentence)
        if isinstance(mistake, InputError):
            stop(str(mistake))
        traceback.print_exc()
        stop("this is a bug in fervid or in a library that it uses: please report the lines above.")
