"""What the commands share: where the configuration lies, and errors that are one sentence.

Nothing heavy is imported here, so that ``--help`` answers at once.
"""

import difflib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fervid.errors import InputError

log = logging.getLogger(__name__)

_INSTALLED = Path(__file__).parent / "conf"
CONFIG_FOLDER = str(_INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1] / "conf")


def run(command: Callable[[], Any]) -> None:
    """Runs a Hydra command; a user's mistake ends it with one sentence and exit code 1.

    Args:
        command: a function decorated with ``hydra.main``.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would have printed
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # asks the network at every import otherwise
    try:
        command()
    except InputError as error:
        _stop(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _stop(_first_sentence(error) + _did_you_mean(sys.argv[1:]))
    except OSError as error:
        if os.environ.get("FERVID_TRACEBACK"):
            raise
        _stop(f"{error.filename or 'the system'}: {error.strerror or error}.")
    except Exception:
        traceback.print_exc()
        _stop("this is a defect of fervid or of a library it uses: please report the lines above.")


@contextmanager
def job() -> Iterator[None]:
    """Around the work of one job: a user's mistake ends a single run here and now, but in a sweep the others go on."""
    try:
        yield
    except InputError as error:
        if HydraConfig.get().mode == RunMode.RUN:
            _stop(str(error))
        log.error("job %s failed: %s", HydraConfig.get().job.num, error)
        raise
    except Exception:
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # Hydra tells only when the whole sweep is over
            log.exception("job %s failed", HydraConfig.get().job.num)
        raise


def _stop(sentence: str) -> None:
    print(f"fervid: {sentence}", file=sys.stderr)
    sys.exit(1)


def _first_sentence(error: BaseException) -> str:
    """What Hydra has to say, without its advice for programmers."""
    while isinstance(error.__cause__, HydraException | OmegaConfBaseException) and "instantiate" not in str(error):
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("object_type", "reference_type", "To append", "full_key"))]
    return " ".join(kept) or type(error).__name__


def _did_you_mean(arguments: list[str]) -> str:
    """The nearest existing name for each override that has none."""
    known_groups = {path.name: sorted(file.stem for file in path.glob("*.yaml")) for path in _groups()}
    words = [word for word in arguments if "=" in word and not word.startswith("-")]
    advice = []
    for override in OverridesParser.create().parse_overrides(words) if _parses(words) else []:
        name = override.key_or_group
        value = override.value() if not override.is_sweep_override() else None
        if name in known_groups:
            if isinstance(value, str) and value not in known_groups[name]:
                advice += _near(value, known_groups[name], f"{name}=")
        elif not name.startswith("hydra"):
            keys = set(_keys(_compose(words, known_groups)))
            if name not in keys:
                advice += _near(name, sorted(keys | set(known_groups)), "")
    return f" Did you mean {' and '.join(advice)}?" if advice else ""


def _near(name: str, known: list[str], prefix: str) -> list[str]:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not near:  # a setting's own name may be right and its group wrong
        near = [key for key in known if key.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]][:1]
    return [f"{prefix}{near[0]}"] if near else []


def _groups() -> list[Path]:
    return [path for path in Path(CONFIG_FOLDER).iterdir() if path.is_dir()]


def _parses(words: list[str]) -> bool:
    try:
        OverridesParser.create().parse_overrides(words)
    except HydraException:
        return False
    return True


def _compose(words: list[str], groups: dict[str, list[str]]) -> DictConfig:
    """The configuration of the choices among the words that exist."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    choices = [word for word in words if word.split("=")[1] in groups.get(word.split("=")[0], [])]
    GlobalHydra.instance().clear()
    with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
        return compose("train", choices)


def _keys(config: Any, prefix: str = "") -> Iterator[str]:
    """All dotted names of a configuration."""
    items = config.items_ex(resolve=False) if isinstance(config, DictConfig) else enumerate(config._iter_ex(False))
    for name, value in items:
        yield f"{prefix}{name}"
        if isinstance(value, DictConfig | ListConfig) and not OmegaConf.is_missing(config, name) and not value._is_none():
            yield from _keys(value, f"{prefix}{name}.")
