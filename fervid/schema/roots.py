"""The user's file with the root of each corpus, so that commands need not repeat them."""

import os
from pathlib import Path

import yaml

from fervid.errors import InputError, first_line

VARIABLE = "FERVID_ROOTS"  # environment variable with the path of the file
DEFAULT_FILE = Path("~/.config/fervid/roots.yaml")


def read_roots() -> dict[str, str]:
    """Reads the root of each corpus from the file of roots; empty if there is none.

    The file has lines such as ``ravdess: /data/RAVDESS``. The names are options of ``dataset``, or those given to
    corpora in ``dataset.corpora``. Its path is the environment variable ``FERVID_ROOTS``, or
    ``~/.config/fervid/roots.yaml``.

    Raises:
        InputError: if the file cannot be read.
    """
    named = os.environ.get(VARIABLE)
    path = Path(named or DEFAULT_FILE).expanduser()
    if not named and not path.is_file():
        return {}
    where = f"{VARIABLE}={named}" if named else str(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"{where} cannot be read ({first_line(error)}): give a YAML file with lines such as ravdess: /data/RAVDESS."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(root, str) for root in content.values()):
        raise InputError(f"{where} must have lines such as ravdess: /data/RAVDESS, and nothing else.")
    # Relative paths are those of the file, which is the same in all working folders.
    return {str(name): str(path.parent / Path(root).expanduser()) for name, root in content.items()}
