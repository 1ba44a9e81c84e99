import os
import sys
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

SLOW = ("bring_your_own_data", "compare_runs", "errors_and_heat_maps", "look_at_a_corpus", "one_clip")
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def run(notebook, folder):
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()


@pytest.mark.filterwarnings("default")  # of the Jupyter machinery
@pytest.mark.usefixtures("loops_swept_up")
@pytest.mark.parametrize(
    "path",
    # Slow: notebooks that run the training command, which has its own tests; half a minute each.
    [pytest.param(path, marks=pytest.mark.slow if path.stem in SLOW else ()) for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_notebooks_run_from_top_to_bottom_and_are_stored_without_output(path, tmp_path, monkeypatch):
    monkeypatch.setenv("FERVID_CACHE", str(tmp_path / "cache"))
    # As in an activated environment, because some notebooks call the commands.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    run(notebook, tmp_path)
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_explain_how_to_open_them(path):
    first = nbformat.read(path, as_version=4).cells[0].source
    assert "pip install jupyterlab" in first
    assert f"jupyter lab notebooks/{path.name}" in first


@pytest.mark.filterwarnings("default")  # of the Jupyter machinery
@pytest.mark.usefixtures("loops_swept_up")
@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, id=f"{path.stem}-{cell.id}")
        for path in NOTEBOOKS
        for cell in code_cells(path)
        if "python -m fervid" in cell.source
    ],
)
def test_notebooks_fail_if_a_command_fails(cell, tmp_path, monkeypatch):
    failing = tmp_path / "bin" / "python"
    failing.parent.mkdir()
    failing.write_text("#!/bin/sh\necho cannot do that\nexit 3\n")
    failing.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(failing.parent), os.environ["PATH"]]))
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="exit status 3"):
        run(nbformat.v4.new_notebook(cells=[cell]), tmp_path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_uses_shell_escapes_that_ignore_exit_codes(path):
    lines = [line.lstrip() for cell in code_cells(path) for line in cell.source.splitlines()]
    assert not [line for line in lines if line.startswith("!")]
