"""Where the configuration lies: in the package where fervid is installed, beside it in a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
CONFIG_FOLDER = str(_PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf")

_own: list[str] = []


def config_folders() -> list[str]:
    """Every folder whose yaml files the user trusts: fervid's own, and one named by ``--config-dir``."""
    return [CONFIG_FOLDER, *_own]


def use_config_folder(folder: str | None) -> None:
    """Says which folder ``--config-dir`` names; None: none."""
    _own[:] = [] if folder is None else [str(Path(folder).expanduser().resolve())]
