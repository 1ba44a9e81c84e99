"""Exports of runs of valence and arousal, action units, and several targets at once."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from part_runs import TASKS
from PIL import Image

from fervid.errors import InputError
from fervid.export.exporting import export_run
from fervid.runs.load import load_run
from fervid.runs.run import read_run


@pytest.fixture(scope="module")
def exports(part_runs, tmp_path_factory):
    """The export of each run in both formats, by the name of its task."""
    place = tmp_path_factory.mktemp("exports")
    return {task: export_run(part_runs[task], ["onnx", "safetensors"], place / task) for task in TASKS}


@pytest.mark.parametrize("task", TASKS)
def test_outputs_are_the_answers_of_the_network(part_runs, exports, task):
    parts, export = read_run(part_runs[task]).parts, exports[task]
    session = onnxruntime.InferenceSession(export.folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == [part.name for part in parts]
    model = load_run(part_runs[task])
    for count in (1, 5):
        faces = torch.rand(count, 3, model.backbone.image_size, model.backbone.image_size)
        with torch.inference_mode():
            expected = model.answers(model(faces))
        found = session.run(None, {"faces": faces.numpy()})
        for part, values in zip(parts, found, strict=True):
            assert values.shape == (count, len(part.names))
            np.testing.assert_allclose(values, expected[part.name].numpy(), atol=1e-5)
    assert max(export.differences.values()) < 1e-4
    metadata = {each.key: each.value for each in onnx.load(export.folder / "model.onnx").metadata_props}
    assert json.loads(metadata["parts"]) == {part.name: list(part.names) for part in parts}
    assert all(f"{part.name}: float32 (B, {len(part.names)})" in metadata["output"] for part in parts)
    assert None not in json.loads(metadata["test_scores"]).values()


@pytest.mark.parametrize("task", TASKS)
def test_card_has_outputs_and_scores(part_runs, exports, task):
    card, run = (exports[task].folder / "model_card.md").read_text(), read_run(part_runs[task])
    for part in run.parts:
        assert f"| output `{part.name}` | float32 (B, {len(part.names)})" in card
    for name, row in (("ccc", "| CCC | {:.3f} ("), ("f1_units", "| F1 | {:.1%} (")):
        known = f"test/{name}" in run.results["metrics"]
        assert (row.split("{")[0] in card) == known
        assert not known or row.format(run.metric(f"test/{name}")) in card
    assert ("### By sex" in card) == (task == "multi")
    assert "softmax to obtain" not in card
    assert "_target_" not in card.replace("\\", "")


def test_example_prints_the_values_of_all_parts(exports, tmp_path):
    face = tmp_path / "face.png"
    Image.fromarray(np.full((40, 40, 3), 128, np.uint8)).save(face)
    command = [sys.executable, str(exports["multi"].folder / "run_onnx.py"), str(face)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.strip().split(": ")[0] for line in output.splitlines()[-3:]]
    assert lines == ["emotion", "valence_arousal", "action_units"]
    assert "valence " in output


def test_deviating_answers_are_refused(part_runs, tmp_path, monkeypatch):
    """The clamp of valence and arousal is part of the comparison."""
    monkeypatch.setattr(
        "fervid.export.networks.AnswerNetwork.forward",
        lambda self, faces: (self.head(self.backbone(faces)) + 0.01,),
    )
    with pytest.raises(InputError, match=r"deviates from the run's by 0.* in an output"):
        export_run(part_runs["valence_arousal"], ["onnx"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
