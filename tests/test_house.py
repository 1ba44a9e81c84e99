"""Code layout: the size of files and functions, and the files of commands. ``make imports`` checks imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 80
COMMANDS = sorted(path.parent.name for path in (ROOT / "fervid").glob("*/__main__.py"))
HEAVY = ("torch", "pandas", "matplotlib", "cv2")  # import times that --help must not wait for


def python_files():
    files = [path for folder in ("fervid", "tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    return files


def test_files_have_at_most_500_lines():
    lines = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in python_files()}
    assert {path: number for path, number in lines.items() if number > MAX_FILE_LINES} == {}


def test_functions_have_at_most_80_lines():
    lines = {
        f"{path.relative_to(ROOT)}: {node.name}": node.end_lineno - node.lineno + 1
        for path in python_files()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: number for name, number in lines.items() if number > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run_as_modules(command):
    code = (ROOT / "fervid" / command / "__main__.py").read_text("utf-8")
    assert f"from fervid.{command} import main" in code
    assert code.rstrip().endswith("main()")


def test_importing_commands_loads_no_heavy_library():
    code = (
        "import importlib, sys\n"
        f"for command in {COMMANDS}:\n"
        "    importlib.import_module(f'fervid.{command}')\n"
        f"    for heavy in {HEAVY}:\n"
        "        if sys.modules.pop(heavy, None): print(f'fervid.{command} loads {heavy}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
