"""``fervid <command>``: like ``python -m fervid.<command>``.

One thing differs: only ``python -m`` adds the current folder to the import path.

Nothing heavy is imported here, so that the list of commands is printed at once.
"""

import argparse
import ast
import difflib
import os
import runpy
import sys
from pathlib import Path

from fervid import __version__

PACKAGE = Path(__file__).parent


def main() -> None:
    """Runs the command that the first word names; without one, lists the commands."""
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions
        _complete()
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
            "Settings of a command: fervid <command> --help",
            "Without the script:    python -m fervid.<command>",
            'Tab completion:        eval "$(register-python-argcomplete fervid)"    (bash and zsh)',
            "                       register-python-argcomplete --shell fish fervid | source",
        ]
    )


def _summary(command: str) -> str:
    """The first sentence of the docstring of a command, which is parsed, not imported: that would take seconds."""
    tree = ast.parse((PACKAGE / command / "__init__.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def _complete() -> None:
    """Prints what may stand at the cursor of the shell's line, and ends the process."""
    import argcomplete

    def settings(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
        from fervid.cli.completion import complete_setting  # Hydra: the names of commands should not wait for it
        from fervid.schema.config_folder import use_config_folders

        folder = parsed_args.config_dir
        use_config_folders([] if folder is None else [folder])
        command = "train" if parsed_args.command == "search" else parsed_args.command
        return complete_setting(command, prefix, parsed_args.settings or [])

    parser = argparse.ArgumentParser(prog="fervid")
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command")
    for name in _commands():
        if name == "search" and " search " in os.environ.get("COMP_LINE", ""):
            from fervid.search import make_parser

            commands.add_parser(name, parents=[make_parser(settings)], add_help=False)
        else:
            command = commands.add_parser(name, help=_summary(name))
            words = command.add_argument("settings", nargs="*")
            words.completer = settings  # type: ignore[attr-defined]
            command.add_argument("--config-dir", "-cd", help="a folder with yaml files of your own")
            command.add_argument("--multirun", "-m", action="store_true", help="run each combination of several values")
            command.add_argument("--cfg", choices=["job", "hydra", "all"], help="print the configuration and stop")
            command.add_argument("--version", action="store_true", help="print the version")
    argcomplete.autocomplete(parser, always_complete_options=False)


if __name__ == "__main__":
    main()
