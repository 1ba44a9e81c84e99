import os
import sys
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

SLOW = ("bring_your_own_data", "compare_runs", "errors_and_heat_maps", "look_at_a_corpus")
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.filterwarnings("default")  # of the Jupyter machinery
@pytest.mark.usefixtures("loops_swept_up")
@pytest.mark.parametrize(
    "path",
    # Those that train by the command, which the tests of the command do, too, take half a minute each.
    [pytest.param(path, marks=pytest.mark.slow if path.stem in SLOW else ()) for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_notebooks_run_from_top_to_bottom_and_are_kept_without_output(path, tmp_path, monkeypatch):
    monkeypatch.setenv("FERVID_CACHE", str(tmp_path / "cache"))
    # As in an activated environment: some call the commands.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
