"""Code that a run folder may refer to: the classes of fervid, and those of packages that the user trusts."""

import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from fervid.errors import InputError, reason

_PACKAGE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")

Trust = str | Sequence[str] | None
"""Names of the packages that the user trusts: one name, several, or None."""


def trusted_packages(trust: Trust) -> tuple[str, ...]:
    """Returns the names of the packages that the user trusts, without importing them.

    Raises:
        InputError: if one of them is not a valid name of a package.
    """
    names: tuple[Any, ...] = () if trust is None else (trust,)
    if isinstance(trust, Sequence) and not isinstance(trust, str):  # also a list of the command line
        names = tuple(trust)
    for name in names:
        if not isinstance(name, str) or not _PACKAGE.fullmatch(name):
            raise InputError(f"trust={name} is not a package name: give a name such as trust=my_package.")
    return names


def is_in(path: object, packages: Iterable[str]) -> bool:
    """Whether a dotted path is inside one of the packages; ``mypackage2.Net`` is not inside ``mypackage``."""
    return isinstance(path, str) and any(path.startswith(f"{package}.") for package in packages)


def import_packages(packages: Iterable[str]) -> None:
    """Imports the packages, which may register sections for the report.

    Raises:
        InputError: if a package cannot be imported.
    """
    for package in packages:
        try:
            import_module(package)
        except Exception as error:  # the user's code may raise anything
            raise InputError(
                f"trust={package} cannot be imported ({reason(error)}): install the package, or put its folder on "
                "PYTHONPATH."
            ) from error
