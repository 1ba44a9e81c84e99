"""What the commands share: where the configuration lies, and errors that are one sentence.

Nothing heavy is imported here, so that ``--help`` answers at once.
"""

import atexit
import difflib
import errno
import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fervid import __version__
from fervid.cli.limits import check_limits
from fervid.cli.overrides import as_typed, how_to_quote
from fervid.cli.settings_help import options_by_group, settings_help
from fervid.cli.sweeps import Jobs, print_jobs, sweep_name
from fervid.processes.lifetime import check_terminated, exit_on_sigterm, terminated
from fervid.processes.ranks import rank_folder, take_place
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.schema.errors import InputError, first_line

log = logging.getLogger(__name__)

_typed: dict[str, str] = {}  # what the user typed, for each word that Hydra is given
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
    _typed.clear()
    _typed.update(zip(words, sys.argv[1:], strict=True))
    sys.argv = [sys.argv[0], *words]
    with exit_on_sigterm():
        _run(command, name, describe)


def _run(command: Callable[[], Any], name: str, describe: Callable[[], str] | None) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would have printed
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # asks the network at every import otherwise
    # Kept by Hydra for all jobs of a sweep, in whichever process.
    OmegaConf.register_new_resolver("sweep_name", partial(sweep_name, sys.argv[1:]), replace=True, use_cache=True)
    OmegaConf.register_new_resolver("rank_folder", rank_folder, replace=True, use_cache=True)
    Jobs.done.clear()
    try:
        options, words = (
            [word for word in sys.argv[1:] if word.startswith("-") == is_option] for is_option in (True, False)
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
        _stop(str(interrupt) or INTERRUPTED)
    except InputError as error:
        _stop(print_jobs() or str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _stop(how_to_quote(error, _typed) or _unknown_name(name, sys.argv[1:]) or _what_hydra_says(error))
    except BrokenPipeError:  # head, or a pager that was closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        print_jobs()  # whose errors were told of when they occurred
        if terminated():  # so were its worker processes, or a library raised an error of its own for it
            _stop(INTERRUPTED)
        # Hydra itself could not make the folder.
        mistake = _mistake_of_system(error, str(error.filename)) if isinstance(error, OSError) else error
        if isinstance(mistake, InputError):
            _stop(str(mistake))
        traceback.print_exc()
        _stop("this is a defect of fervid or of a library it uses: please report the lines above.")


@contextmanager
def job(config: DictConfig) -> Iterator[None]:
    """Around the work of one job: a user's mistake ends a single run here and now, but in a sweep the others go on.

    Args:
        config: of the job; text where a number belongs is a mistake found here, before anything is loaded.
    """
    check_terminated()
    try:
        take_place(**trainer_size(config))
        _check_types(config, HydraConfig.get().overrides.task)
        check_limits(config)
        check_files(config)
        yield
    except Exception as error:
        mistake = _mistake(error)
        _remove_if_empty(Path(HydraConfig.get().runtime.output_dir))
        if HydraConfig.get().mode == RunMode.RUN:
            if isinstance(mistake, InputError):
                _stop(str(mistake))
            raise
        # Hydra tells of it only when the whole sweep is over.
        log.error("job %s failed: %s", HydraConfig.get().job.num, mistake, exc_info=not isinstance(mistake, InputError))
        traceback.clear_frames(error.__traceback__)  # Hydra keeps the error, which would keep the job's model
        raise mistake from None
    finally:
        gc.collect()  # the jobs of a sweep share a process


@contextmanager
def importing() -> Iterator[None]:
    """Around a command's heavy imports: keeps the garbage collector from looking through them.

    They make half a million objects that stay. Looking for garbage among them takes a fifth of the time of importing
    torch and Lightning, and later 0.3 s at the end of every job.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # once a process: what belongs to a job must not stay
            gc.freeze()
            atexit.register(gc.unfreeze)  # libraries complain of what is left at the exit
        if collects:
            gc.enable()
    check_terminated()  # some libraries swallow what is raised while they are imported


def output_folder() -> Path:
    """The folder that Hydra made for what the command leaves.

    Raises:
        InputError: if something lies in it already.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    if any(folder.iterdir()):
        raise InputError(f"{folder} already holds files: choose another hydra.run.dir, or remove it.")
    return folder


def one_run(run: Any) -> Path:
    """The folder of ``run=`` where one is wanted.

    Raises:
        InputError: if none was given, or several.
    """
    if run is None:
        raise InputError("which run? Give run=<folder of a finished run>.")
    if isinstance(run, ListConfig):
        raise InputError(f"run={run} are several: give one folder; ensembles are for fervid.evaluate.")
    return Path(str(run)).expanduser()  # the command line makes run=3 a number


def trainer_size(config: DictConfig) -> dict[str, Any]:
    """On how many devices and machines a command works, as Lightning's Trainer is told; most use one."""
    trainer = config.get("trainer") or {}
    return {name: trainer[name] for name in ("devices", "num_nodes") if trainer.get(name) is not None}


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Around work that one process at a time may do in a folder.

    Raises:
        InputError: if another process is at it.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"another process is at work in {folder}: wait for it, or choose another folder.") from None
    try:
        yield
    finally:
        (folder / ".lock").unlink(missing_ok=True)
        lock.release()


def _remove_if_empty(folder: Path) -> None:
    """Removes the folder that Hydra made for a command that left nothing."""
    with suppress(OSError):  # it holds something, or is the user's own
        if folder.resolve() != Path.cwd():
            folder.rmdir()


def _mistake(error: Exception) -> Exception:
    """The user's mistake behind an error, if there is one."""
    if isinstance(error, OmegaConfBaseException) and (sentence := how_to_quote(error, _typed)):
        return InputError(sentence)
    if isinstance(error, HydraException) and isinstance(error.__cause__, InputError):
        return error.__cause__  # instantiate wraps what it meets
    if isinstance(error, InstantiationException):
        key = next((line.split(":")[1].strip() for line in str(error).splitlines() if line.startswith("full_key")), "")
        reason = first_line(error.__cause__ or error)
        return InputError(f"the settings of {key or 'a part of the run'} cannot be used: {reason}.")
    if isinstance(error, OSError):
        return _mistake_of_system(error, HydraConfig.get().runtime.output_dir)
    return error


def _mistake_of_system(error: OSError, folder: str) -> Exception:
    """What the disk or the system refused, as a mistake of the user; any other error as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return InputError(f"the disk of {folder} is full: make room and run it again (a training: with ckpt_path).")
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM):
        reason = os.strerror(error.errno).lower()
        return InputError(f"the system gives no more ({reason}): use fewer dataset.num_workers, or raise its limits.")
    # No BrokenPipeError, ConnectionError and the like, which name no file.
    if error.filename is not None and error.errno is not None:
        return InputError(f"{error.filename} cannot be written or read: {os.strerror(error.errno).lower()}.")
    return error


def _stop(sentence: str) -> None:
    print(f"fervid: {sentence}", file=sys.stderr)
    sys.exit(1)


FILES = {
    "ckpt_path": "the last.ckpt of a run",
    "dataset.csv": "a CSV with the columns path, emotion and, if known, subject",
    "split.path": "a CSV with the columns split and path, clip or subject",
}


def check_files(config: DictConfig) -> None:
    """Refuses a corpus, table or checkpoint that is not there, before anything is loaded.

    Args:
        config: of a job, which Hydra has been told of.

    Raises:
        InputError: if the folder of the corpus is not given, or something that is named is not there.
    """
    if (Path(HydraConfig.get().runtime.output_dir) / "results.json").exists():
        return  # a job of a sweep that will not be run again
    for setting, wanted in FILES.items():
        file = OmegaConf.select(config, setting)
        if file and not Path(str(file)).expanduser().is_file():
            raise InputError(f"{setting}={file} is not a file: give {wanted}.")
    dataset = config.get("dataset")
    if dataset is None or "root" not in dataset:
        return
    root, can_be_fetched = dataset.root, "repo" in dataset
    if root is None and not can_be_fetched:
        name = HydraConfig.get().runtime.choices.get("dataset")
        raise InputError(f"dataset={name} needs dataset.root=<folder>: where the corpus lies.")
    if root is not None and not (Path.exists if can_be_fetched else Path.is_dir)(Path(str(root)).expanduser()):
        kind = "file or folder" if can_be_fetched else "folder"
        raise InputError(f"dataset.root={root} is not a {kind}: give the one the corpus lies in.")


def _check_types(config: DictConfig, words: list[str]) -> None:
    """Refuses overrides that are no number, whole number or list where the configuration's own value is one."""
    overrides, options = OverridesParser.create().parse_overrides(list(words)), options_by_group()
    settings = [override for override in overrides if override.key_or_group not in options]
    if not settings:  # choices alone: composing anew takes 0.1 s
        return
    defaults = _compose(str(HydraConfig.get().job.config_name), overrides, options)
    for override in settings:
        name = override.key_or_group
        default, given = (OmegaConf.select(tree, name, throw_on_missing=False) for tree in (defaults, config))
        if given is None and name.endswith("patience"):
            continue  # never
        if isinstance(default, ListConfig) and not isinstance(given, ListConfig):
            raise InputError(f"{name}={given} is not a list: it is {default} unless set.")
        if isinstance(default, int | float) and not isinstance(default, bool):
            if isinstance(given, bool) or not isinstance(given, int | float):
                raise InputError(f"{name}={given} is not a number: it is {default} unless set.")
            if isinstance(default, int) and not float(given).is_integer():
                raise InputError(f"{name}={given} is not a whole number: it is {default} unless set.")


def _what_hydra_says(error: BaseException) -> str:
    """Hydra's complaint in one line, without its advice for programmers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    advice = (
        "object_type",
        "reference_type",
        "To append",
        "full_key",
        "Config search path",
        "provider=",
        "Set the env",
    )
    return " ".join(line for line in lines if not line.startswith(advice)) or type(error).__name__


def _unknown_name(command: str, arguments: list[str]) -> str | None:
    """A sentence about the first override that names what is not there, with the nearest name that is."""
    try:
        words = [word for word in arguments if "=" in word and not word.startswith("-")]
        overrides = OverridesParser.create().parse_overrides(words)
    except HydraException:
        return None
    options, groups = options_by_group(), _groups(command)
    for override in overrides:
        name = override.key_or_group
        if name in options and name not in (*groups, "hydra"):
            return f"there is no {name} to choose here: give {', '.join(groups)}."
        if name in options:
            chosen = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
            for option in chosen:
                if isinstance(option, str) and option not in options[name]:
                    choices = f"choose {', '.join(options[name])}"
                    return (
                        f"there is no {name} {option!r}: {choices}.{_did_you_mean(option, options[name], f'{name}=')}"
                    )
        elif not name.startswith("hydra") and not override.is_add():
            settings = list(_settings(_compose(command, overrides, options)))
            if name not in settings:
                swept = [each.key_or_group for each in overrides if each.is_sweep_override()]
                first_job = _compose(command, _with_first_choices(overrides), options) if swept else {}
                if swept and name in _settings(first_job):
                    return (
                        f"{name} is not known before the jobs of this sweep are told apart: write ++{name}=... (two "
                        "plus signs)."
                    )
                known = settings + list(options)
                extra = f" What else a class takes is given as +{name}=..." if name.split(".")[0] in options else ""
                return f"there is no setting {name!r}.{_did_you_mean(name, known)}{extra}"
    return None


def _with_first_choices(overrides: list[Override]) -> list[Override]:
    """A sweep's overrides as its first job has them."""
    words = [
        f"{each.get_key_element()}={next(iter(each.sweep_string_iterator()))}"
        if each.is_sweep_override() and each.is_discrete_sweep()
        else str(each.input_line)
        for each in overrides
    ]
    return OverridesParser.create().parse_overrides(words)


def _did_you_mean(name: str, known: list[str], prefix: str = "") -> str:
    # A setting may lack its group alone: batch_size for dataset.batch_size.
    near = [key for key in known if key.rsplit(".", 1)[-1] == name] or difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {prefix}{near[0]}?" if near else ""


def _groups(command: str) -> list[str]:
    """The groups of a command's defaults list."""
    own = OmegaConf.load(f"{CONFIG_FOLDER}/{command}.yaml")
    groups = [str(name) for choice in own.defaults if isinstance(choice, DictConfig) for name in choice]
    return [name for name in groups if not name.startswith("override")]


def _compose(command: str, overrides: list[Override], options: dict[str, list[str]]) -> DictConfig:
    """The configuration of a command with those choices among the overrides that exist."""
    choices = [
        f"{override.key_or_group}={option}"
        for override in overrides
        for option in options.get(override.key_or_group, [])
        if not override.is_sweep_override() and override.value() == option
    ]
    # Hydra keeps the name for the next jobs of a sweep, whose log it names.
    name = HydraConfig.get().job.name if HydraConfig.initialized() else command
    running, HydraConfig.instance().cfg = HydraConfig.instance().cfg, None
    hydra, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(CONFIG_FOLDER, job_name=name, version_base="1.3"):
            return compose(command, choices)
    finally:
        HydraConfig.instance().cfg, GlobalHydra.instance().hydra = running, hydra


def _settings(config: Any, prefix: str = "") -> Iterator[str]:
    """All dotted names of a configuration."""
    items = config.items_ex(resolve=False) if isinstance(config, DictConfig) else enumerate(config._iter_ex(False))
    for name, value in items:
        yield f"{prefix}{name!s}"
        if isinstance(value, DictConfig | ListConfig) and not value._is_none():
            yield from _settings(value, f"{prefix}{name!s}.")
