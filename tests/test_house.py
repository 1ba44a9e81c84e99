"""How the code is laid out: the size of files, and what every command has. Imports: ``make imports``."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 80
COMMANDS = sorted(path.parent.name for path in (ROOT / "fervid").glob("*/__main__.py"))
HEAVY = ("torch", "pandas", "matplotlib", "cv2")  # seconds that --help should not wait for


def python_files():
    files = [path for room in ("fervid", "tests", "benchmarks", "examples") for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 100
    return files


def test_no_file_is_too_long_to_be_read_in_one_go():
    lines = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in python_files()}
    assert {path: number for path, number in lines.items() if number > MAX_FILE_LINES} == {}


def test_no_function_is_too_long_to_be_read_in_one_go():
    lines = {
        f"{path.relative_to(ROOT)}: {node.name}": node.end_lineno - node.lineno + 1
        for path in python_files()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: number for name, number in lines.items() if number > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs_as_a_module(command):
    code = (ROOT / "fervid" / command / "__main__.py").read_text("utf-8")
    assert f"from fervid.{command} import main" in code
    assert code.rstrip().endswith("main()")


def test_importing_the_commands_loads_nothing_heavy():
    code = (
        "import importlib, sys\n"
        f"for command in {COMMANDS}:\n"
        "    importlib.import_module(f'fervid.{command}')\n"
        f"    for heavy in {HEAVY}:\n"
        "        if sys.modules.pop(heavy, None): print(f'fervid.{command} loads {heavy}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
