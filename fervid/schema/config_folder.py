"""Where the configuration lies: in the package where fervid is installed, beside it in a checkout."""

from collections.abc import Iterable
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
CONFIG_FOLDER = str(_PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf")

_own: list[str] = []


def config_folders() -> list[str]:
    """Every folder whose yaml files the user trusts: fervid's own, and those of ``--config-dir`` and the like."""
    return [CONFIG_FOLDER, *_own]


def use_config_folders(folders: Iterable[str]) -> None:
    """Says which folders the user named beside fervid's own."""
    resolved = [str(Path(folder).expanduser().resolve()) for folder in folders]
    _own[:] = [folder for folder in resolved if folder != str(Path(CONFIG_FOLDER).resolve())]
