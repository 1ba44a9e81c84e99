"""Locates the configuration folder: inside the installed package, or next to it in a checkout."""

from collections.abc import Iterable
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
CONFIG_FOLDER = str(_PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf")

_user_folders: list[str] = []


def config_folders() -> list[str]:
    """Returns all trusted configuration folders: fervid's and those given by ``--config-dir`` and similar options."""
    return [CONFIG_FOLDER, *_user_folders]


def use_config_folders(folders: Iterable[str]) -> None:
    """Sets the configuration folders given by the user."""
    resolved = [str(Path(folder).expanduser().resolve()) for folder in folders]
    _user_folders[:] = [folder for folder in resolved if folder != str(Path(CONFIG_FOLDER).resolve())]
