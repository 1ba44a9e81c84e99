"""``fervid <command>`` is ``python -m fervid.<command>``."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fervid.cli import compose

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(path.parent.name for path in (ROOT / "fervid").glob("*/__main__.py"))


def fervid(*words, cwd):
    return subprocess.run([sys.executable, "-m", "fervid", *words], capture_output=True, text=True, cwd=cwd)


def python_m(command, *words, cwd):
    return subprocess.run([sys.executable, "-m", f"fervid.{command}", *words], capture_output=True, text=True, cwd=cwd)


def test_script_fervid_is_installed():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    assert scripts == {"fervid": "fervid.__main__:main"}


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_every_command_is_listed_in_one_line(tmp_path, words):
    done = fervid(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if re.match(r"  \w", line)}
    assert sorted(lines) == COMMANDS
    for line in lines.values():
        assert len(line) <= 90
        assert line.endswith(".")


def test_listing_commands_imports_none_of_them(tmp_path):
    code = (
        "import runpy, sys; sys.argv = ['fervid']; runpy.run_module('fervid', run_name='__main__', alter_sys=True); "
        "sys.exit('hydra' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path).returncode == 0


def test_version_is_printed(tmp_path):
    import fervid as package

    assert fervid("--version", cwd=tmp_path).stdout == f"fervid {package.__version__}\n"


@pytest.mark.parametrize(("word", "advice"), [("trian", " Did you mean train?"), ("seed=3", ""), ("cli", "")])
def test_unknown_command_gives_one_sentence(tmp_path, word, advice):
    done = fervid(word, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"fervid: there is no command {word!r}: choose {', '.join(COMMANDS)}.{advice}\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["train", "--help", "dataset=ravdess"], 0),
        (["search", "--help"], 0),
        (["audit", "--version"], 0),
        # A sweep's folder is named by its words, whichever way they came in.
        (["train", "sweep=seeds", "--cfg", "hydra", "--package", "hydra.sweep.dir", "--resolve"], 0),
        (["train", "backbone=nothing"], 1),
        (["audit", "dataset=ravdess"], 1),
        (["search", "--trials", "many"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_script_and_module_are_equivalent(tmp_path, words, code):
    one, other = fervid(*words, cwd=tmp_path), python_m(*words, cwd=tmp_path)
    assert one.returncode == other.returncode == code
    assert (one.stdout, one.stderr) == (other.stdout, other.stderr)
    assert one.stdout or one.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_processes_start_by_the_name_of_the_command(tmp_path, command):
    """Lightning starts ``python -m <name of the main module> <words>`` for each further device."""
    code = (
        "import sys\n"
        "from fervid.cli import command_line\n"
        "command_line.run = lambda *_, **__: print(sys.modules['__main__'].__spec__.name, *sys.argv[1:])\n"
        "from fervid.__main__ import main\n"
        "main()"
    )
    words = [command, "seed=3", "-m"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == f"fervid.{command}.__main__ seed=3 -m\n", done.stderr


def test_docs_have_a_section_for_each_command():
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    sections = [line.removeprefix("## ") for line in page.splitlines() if re.fullmatch(r"## [a-z]+", line)]
    assert sorted(sections) == COMMANDS
    for command in COMMANDS:
        section = page.split(f"\n## {command}\n")[1].split("\n## ")[0]
        assert f"\nfervid {command} " in section, command


EXAMPLES = re.findall(r"^fervid (?!search)\w+ .*=.*", (ROOT / "docs" / "commands.md").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("line", EXAMPLES)
def test_examples_in_the_docs_compose(line):
    command, *words = shlex.split(line)[1:]
    compose(command, words)
