"""Samples other than frames, and targets other than the emotion."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from fervid import figures
from fervid.callbacks import FreezeThenFineTune, OutputCollector
from fervid.data.samples import Sample
from fervid.data.targets import ClassTarget
from fervid.errors import InputError
from fervid.models.heads import LinearHead
from fervid.models.network import Network
from fervid.models.paper_backbones import LeNet
from fervid.runs.drawing import draw_predictions
from fervid.schema.predictions import probability_columns
from fervid.tasks.classification import EmotionClassifier

QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class LastFrame(Sample):
    """The last frame of each clip."""

    def table(self, manifest):
        return manifest[manifest["frame"] == manifest.groupby("clip")["frame"].transform("max")].reset_index(drop=True)


def test_batch_index_refers_to_sample_table(synthetic):
    datamodule = synthetic(frames=3, sample=LastFrame())
    whole = synthetic(frames=3)
    assert len(datamodule.samples) == len(whole.samples) / 3
    (batch,) = [next(iter(datamodule.test_dataloader()))]
    rows = datamodule.samples.loc[batch["index"].numpy()]
    assert (rows["split"] == "test").all()
    faces = datamodule.face_cache[rows["cache_row"].to_numpy()]
    assert np.array_equal(batch["image"].permute(0, 2, 3, 1).numpy(), faces)
    assert [datamodule.class_names[label] for label in batch["emotion"]] == rows["emotion"].tolist()


def trained(datamodule, *callbacks):
    """A LeNet after one epoch of its head, with its outputs for the test samples."""
    backbone, collector = LeNet(), OutputCollector()
    network = Network.of_pictures(backbone, LinearHead(backbone.output_shape(), datamodule.target.size))
    model = EmotionClassifier(network, datamodule.target)
    trainer = pl.Trainer(max_epochs=1, callbacks=[*callbacks, collector], enable_checkpointing=bool(callbacks), **QUIET)
    trainer.fit(model, datamodule)
    trainer.test(model, datamodule, verbose=False)
    return model.eval(), collector.table(model, datamodule.samples)


@pytest.mark.parametrize("gigabytes", [0.0, 1.0])  # pictures, or cached features
def test_outputs_and_figures_refer_to_sample_table(synthetic, monkeypatch, tmp_path, gigabytes):
    datamodule = synthetic(frames=3, sample=LastFrame())
    phases = [{"name": "frozen", "epochs": 1, "unfreeze_from": "head"}]
    model, table = trained(datamodule, FreezeThenFineTune(phases, cache_gb=gigabytes))
    rows = datamodule.samples.loc[table["index"]]
    assert (rows["clip"].to_numpy() == table["clip"].to_numpy()).all()
    faces = datamodule.face_cache[rows["cache_row"].to_numpy()]
    with torch.no_grad():
        expected = model(torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255).softmax(1).numpy()
    assert np.abs(table[probability_columns(model.class_names)].to_numpy() - expected).max() < 1e-5

    shown = []
    monkeypatch.setattr(figures, "sample_predictions", lambda faces, *rest: shown.extend(faces))
    monkeypatch.setattr(figures, "save", lambda figure, path: path)
    record = {**model.measure(table), "leakage": {"level": "leaky"}}
    draw_predictions(tmp_path, datamodule, record, table)
    assert shown
    assert {face.tobytes() for face in shown} <= {face.tobytes() for face in faces}


def test_another_column_can_be_the_target(synthetic):
    datamodule = synthetic(clips=2, target=ClassTarget(name="intensity"), sampler="balanced")
    assert datamodule.class_names == ["normal", "strong"]
    model, table = trained(datamodule)
    assert table["label"].tolist() == datamodule.samples.loc[table["index"], "intensity"].tolist()
    assert "emotion" in table
    assert model.measure(table)["class_names"] == ["normal", "strong"]


def test_changed_labels_of_another_target_change_fingerprint(synthetic):
    class Seconds:
        name, size = "time", 1

        def __init__(self, delay=0.0):
            self.delay = delay

        def fit(self, samples):
            pass

        def values(self, samples):
            return samples["time"].to_numpy(dtype=np.float32) + np.float32(self.delay)

    fingerprint = synthetic(target=Seconds()).fingerprint
    assert synthetic(target=Seconds()).fingerprint == fingerprint
    assert synthetic(target=Seconds(delay=0.1)).fingerprint != fingerprint
    intensity = synthetic(clips=2, target=ClassTarget(name="intensity")).fingerprint
    assert intensity != synthetic(clips=2).fingerprint == synthetic(clips=2, target=ClassTarget()).fingerprint


def test_single_class_is_an_error(synthetic):
    with pytest.raises(InputError, match=r"only one intensity \('normal'\)"):
        synthetic(target=ClassTarget(name="intensity"))
