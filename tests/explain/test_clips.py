"""The command fervid.explain with runs of clips, sounds and features."""

import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from clip_runs import BURST, SECONDS

from fervid import load_run
from fervid.data.targets import ClassTarget
from fervid.explain.occlusion import clip_relevance
from fervid.models.heads import LinearHead
from fervid.models.network import Branch, Network
from fervid.models.paper_backbones import LeNet
from fervid.models.pooling import Mean
from fervid.runs.load import reopen_corpus
from fervid.runs.run import open_run
from fervid.tasks.classification import EmotionClassifier


@pytest.fixture
def run(clip_run, tmp_path):
    return shutil.copytree(clip_run.folder, tmp_path / "run")


@pytest.fixture
def explain(fervid_command, clip_run, run):
    def command(*words):
        fervid_command("explain", f"run={run}", *words, f"cache_dir={clip_run.cache}")

    return command


def test_a_picture_per_clip_their_mean_and_a_table_are_written(explain, run, capsys):
    explain("samples=random", "max_samples=2")
    folder = run / "explanation"
    assert f"Output: {folder}: mean_relevance.png, random, relevance.csv" in capsys.readouterr().out
    table = pd.read_csv(folder / "relevance.csv")
    shown = table["index"].unique().tolist()
    assert sorted(path.name for path in (folder / "random").iterdir()) == sorted(f"index_{n}.png" for n in shown)
    for path in folder.rglob("*.png"):
        assert cv2.imread(str(path)).std() > 10
    assert len(shown) == 2
    for _, rows in table.groupby("index"):
        sound = rows[(rows["modality"] == "sound") & rows["part"].str.endswith(" s")]
        starts = sound["part"].str.removesuffix(" s").astype(float).to_numpy()
        half = (starts[1] - starts[0]) / 2
        best = starts[sound["relevance"].to_numpy().argmax()] + half
        assert BURST[0] * SECONDS - 0.2 < best < BURST[1] * SECONDS + 0.2
        assert {"AU01_r", "AU02_r", "row 0", "row 1", "row 2"} < set(rows.loc[rows["modality"] == "features", "part"])
        assert [part for part in rows["part"] if part.startswith("frame ")] == ["frame 0", "frame 4", "frame 8"]


@pytest.fixture(scope="module")
def tested(clip_run):
    """The classifier of the run, its predictions, and a function from a prediction to the inputs of its clip."""
    opened = open_run(clip_run.folder)
    datamodule = reopen_corpus(clip_run.folder, opened.results, clip_run.cache)

    def inputs(index):
        sample = datamodule.samples.loc[[index]]
        frames = datamodule.sample.frame_rows(datamodule.manifest, sample)[0]
        return {
            "image": datamodule.stores["image"].view(frames),
            **{name: datamodule.stores[name].view(sample["clip_row"].to_numpy())[0] for name in ("sound", "features")},
        }

    return load_run(clip_run.folder), opened.predictions, inputs


def log_probabilities(model, inputs):
    given = {name: torch.from_numpy(np.ascontiguousarray(x))[None] for name, x in inputs.items()}
    if "image" in given:
        given["image"] = given["image"] / 255
    with torch.no_grad():
        return model(given).log_softmax(1)[0].numpy()


def test_answers_are_those_of_the_run_and_contributions_add_up_to_them(tested):
    model, predictions, inputs = tested
    for row in predictions.head(3).itertuples():
        found = clip_relevance(model, inputs(row.index), [0, 1, 2], window=0.4)
        recorded = [getattr(row, f"prob_{name}") for name in model.class_names]
        assert found.answers["all"] == pytest.approx(recorded, abs=1e-4)
        alone = log_probabilities(model, {"sound": inputs(row.index)["sound"]})
        assert np.log(found.answers["sound"]) == pytest.approx(alone, abs=1e-4)
        total = np.sum(list(found.contributions.values()), axis=0)
        assert total == pytest.approx(np.log(found.answers["all"]) - np.log(1 / 3), abs=1e-3)
        shapes = {name: values.shape for name, values in found.moments.items()}
        assert shapes == {"image": (3, 3), "sound": (8, 3), "features": (3, 3)}


def test_relevance_of_a_modality_alone_is_the_loss_of_log_probability(tested):
    model, predictions, inputs = tested
    for row in predictions.itertuples():
        table, label = inputs(row.index)["features"], model.class_names.index(row.label)
        found = clip_relevance(model, {"features": table}, [label], window=0.3)
        whole = log_probabilities(model, {"features": table})[label]
        for number in range(3):
            shorter = np.delete(table, number, axis=0)
            lost = whole - log_probabilities(model, {"features": shorter})[label]
            assert found.moments["features"][number, 0] == pytest.approx(lost, abs=1e-5)
        for number in range(2):
            changed = table.copy()
            changed[:, number] = model.network.encoders["features"].standardise.mean[number]
            lost = whole - log_probabilities(model, {"features": changed})[label]
            assert found.columns[number, 0] == pytest.approx(lost, abs=1e-5)


def test_of_two_modalities_a_part_loses_the_mean_with_and_without_the_other(tested):
    model, predictions, inputs = tested
    given = {name: inputs(predictions["index"].iloc[0])[name] for name in ("sound", "features")}
    found = clip_relevance(model, given, [0], window=0.3)
    shorter = {**given, "features": given["features"][1:]}
    both = log_probabilities(model, given)[0] - log_probabilities(model, shorter)[0]
    alone = [log_probabilities(model, {"features": each["features"]})[0] for each in (given, shorter)]
    assert found.moments["features"][0, 0] == pytest.approx((both + alone[0] - alone[1]) / 2, abs=1e-5)
    contribution = (alone[0] - np.log(1 / 3) + np.log(found.answers["all"][0]) - np.log(found.answers["sound"][0])) / 2
    assert found.contributions["features"][0] == pytest.approx(contribution, abs=1e-4)


def test_frames_of_a_mean_pooling_are_relevant_by_their_own_features():
    """Two equal frames are equally relevant, and a clip of one frame has no moments."""
    torch.manual_seed(0)
    backbone = LeNet()
    reduce = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    width = backbone.output_shape()[0]
    network = Network({"image": Branch(backbone, reduce, Mean(width), over_time=True)}, LinearHead((width,), 3))
    model = EmotionClassifier(network, ClassTarget(["a", "b", "c"]), test_flips=True).eval()
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, 28, 28), dtype=np.uint8)
    frames[2] = frames[0]
    found = clip_relevance(model, {"image": frames}, [0], window=0.3)
    assert found.moments["image"][0] == pytest.approx(found.moments["image"][2], abs=1e-6)
    assert found.moments["image"][0] != pytest.approx(found.moments["image"][1], abs=1e-6)
    with torch.no_grad():
        kept = model(torch.from_numpy(frames[[0, 2]])[None] / 255).log_softmax(1)[0, 0]
        whole = model(torch.from_numpy(frames)[None] / 255).log_softmax(1)[0, 0]
    assert found.moments["image"][1, 0] == pytest.approx(float(whole - kept), abs=1e-5)
    assert clip_relevance(model, {"image": frames[:1]}, [0], window=0.3).moments == {}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["source=clip.mp4"], "source=clip.mp4 cannot be used, since"),
        (["window=0"], "window=0 is out of range: use 0.05 to 10 seconds"),
        (["samples=[999]"], "999 is not a test sample"),
        (["device=abacus"], "device=abacus is unknown: give cpu or cuda"),
    ],
)
def test_mistakes_are_one_sentence(explain, run, capsys, words, sentence):
    with pytest.raises(SystemExit):
        explain(*words)
    error = capsys.readouterr().err.strip()
    assert sentence in error.splitlines()[-1]
    assert not (run / "explanation").exists()


def test_a_changed_corpus_is_noticed(explain, run, capsys):
    table = pd.read_csv(run / "predictions.csv")
    table["clip"] = table["clip"].iloc[::-1].to_numpy()
    table.to_csv(run / "predictions.csv", index=False)
    with pytest.raises(SystemExit):
        explain("samples=random")
    assert "does not match its manifest.parquet" in capsys.readouterr().err


def test_run_normalised_by_subject_is_refused(explain, run, capsys):
    results = json.loads((run / "results.json").read_text())
    results["config"]["finetune"]["subject_normalisation"] = True
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(SystemExit):
        explain()
    assert "normalised by subject" in capsys.readouterr().err
