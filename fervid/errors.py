"""Errors that are the user's to mend, and how to quote those of libraries."""

from collections.abc import Sequence


class InputError(ValueError):
    """A setting, file or folder that cannot be used as given.

    Its message is one sentence with the offending value, what was expected and the next step; the commands print
    it without a traceback and end with a non-zero exit code.
    """


def first_line(error: BaseException) -> str:
    """What a library's error says, in one line; its kind where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def reason(error: BaseException) -> str:
    """What made Hydra fail to build an object, else what the error itself says, in one line."""
    wrapped = error.__cause__ if type(error).__module__.startswith("hydra") else None
    return first_line(wrapped or error)


def listed(names: Sequence[str], most: int = 10) -> str:
    """Names in a sentence; of more than ``most`` the first, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
