"""``fervid <command>``: the same as ``python -m fervid.<command>``.

Nothing heavy is imported here, so that the list of commands is printed at once.
"""

import ast
import difflib
import runpy
import sys
from pathlib import Path

from fervid import __version__

PACKAGE = Path(__file__).parent


def main() -> None:
    """Runs the command that the first word names; without one, lists the commands."""
    word = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if word in ("--help", "-h"):
        print(_overview())
    elif word == "--version":
        print(f"fervid {__version__}")
    elif word in _commands():
        del sys.argv[1]
        # As python -m does it: Lightning and multiprocessing start their processes by the name of the main module.
        runpy.run_module(f"fervid.{word}", run_name="__main__", alter_sys=True)
    else:
        near = difflib.get_close_matches(word, _commands(), n=1)
        advice = f" Did you mean {near[0]}?" if near else ""
        sys.exit(f"fervid: there is no command {word!r}: choose {', '.join(_commands())}.{advice}")


def _commands() -> list[str]:
    """The packages that can be run."""
    return sorted(path.parent.name for path in PACKAGE.glob("*/__main__.py"))


def _overview() -> str:
    lines = [f"  {command:<10} {_summary(command)}" for command in _commands()]
    return "\n".join(
        [
            "usage: fervid <command> [setting=value ...]",
            "",
            "Facial emotion recognition by transfer learning. Commands:",
            "",
            *lines,
            "",
            "Settings of a command: fervid <command> --help. The same without the script: python -m fervid.<command>",
        ]
    )


def _summary(command: str) -> str:
    """The first sentence of the docstring of a command, which is parsed, not imported: that would take seconds."""
    tree = ast.parse((PACKAGE / command / "__init__.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").splitlines()[0]


if __name__ == "__main__":
    main()
