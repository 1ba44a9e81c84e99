"""The error that users can fix themselves, and helpers for error messages."""

from collections.abc import Sequence


class InputError(ValueError):
    """Raised if a setting, file or folder cannot be used.

    The message is one sentence with the offending value, what was expected and the next step. The commands print it
    without a traceback and exit with a non-zero code.
    """


def first_line(error: BaseException) -> str:
    """Returns the first line of an error message, or the name of the error's class if the message is empty."""
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def reason(error: BaseException) -> str:
    """Returns the first line of an error message; for an error raised by Hydra, that of its cause."""
    wrapped = error.__cause__ if type(error).__module__.startswith("hydra") else None
    return first_line(wrapped or error)


def listed(names: Sequence[str], most: int = 10) -> str:
    """Joins names for a sentence; of more than ``most`` names only the first are listed, followed by ``and 3 more``."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
