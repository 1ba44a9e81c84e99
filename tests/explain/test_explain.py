"""The command fervid.explain."""

import json
import os
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fervid import Predictor
from fervid.errors import InputError
from fervid.explain import choosing, explanation
from fervid.explain.choosing import choose_samples, samples_to_average
from fervid.explain.explanation import MeanHeatMaps
from fervid.explain.heat_maps import heat_maps
from fervid.media.decoding import read_frames
from fervid.media.sampling import Sampling
from fervid.runs.load import reopen_corpus
from fervid.runs.run import open_run


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(trained.folder, tmp_path / "run")


@pytest.fixture
def fervid_explain(fervid_command, trained, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def explain(*words):
        cache = [] if any("cache_dir=" in word for word in words) else [f"cache_dir={trained.cache}"]
        fervid_command("explain", *([] if any("run=" in word for word in words) else [f"run={run}"]), *words, *cache)

    return explain


@pytest.fixture
def refused(fervid_explain, capsys):
    def sentence(*words):
        with pytest.raises(SystemExit) as stopped:
            fervid_explain(*words)
        assert stopped.value.code == 1
        return capsys.readouterr().err.strip().splitlines()[-1]

    return sentence


@pytest.fixture
def drawn(monkeypatch):
    """Records the views, captions and headings of the drawn faces."""
    calls = []
    draw = explanation.figures.explained_faces

    def explained_faces(*what):
        calls.append(what)
        return draw(*what)

    monkeypatch.setattr(explanation.figures, "explained_faces", explained_faces)
    return calls


@pytest.fixture
def two_wrong(run):
    """Changes the run's predictions so that the first two of its six test frames are wrong."""
    table = pd.read_csv(run / "predictions.csv")
    names = [name.removeprefix("prob_") for name in table if name.startswith("prob_")]
    table["predicted"] = table["label"]
    table.loc[:1, "predicted"] = [next(name for name in names if name != true) for true in table["label"][:2]]
    for name in names:
        table[f"prob_{name}"] = np.where(table["predicted"] == name, 0.8, 0.1)
    table.to_csv(run / "predictions.csv", index=False)
    return table


def test_run_is_explained(fervid_explain, run, trained, drawn, two_wrong, capsys, tmp_path):
    events = {path.name for path in (run / "tensorboard").iterdir()}
    fervid_explain("samples=random")
    assert f"Output: {run / 'explanation'}: heat_maps.npz, mean_heat_maps.png, random.png" in (capsys.readouterr().out)
    for name in ("random", "mean_heat_maps"):
        assert cv2.imread(str(run / "explanation" / f"{name}.png")).std() > 10
    # The test faces, each with the heat maps of the predicted emotion and of its label.
    (views, captions, headings), *_ = drawn
    predictor, table = Predictor(run), two_wrong.set_index("index")
    assert len(views) == 6
    for own, texts, heading in zip(views, captions, headings, strict=True):
        frame = table.loc[int(texts[0].removeprefix("index "))]
        predicted = heading.split(", predicted as ")[-1].removesuffix(", correct")
        assert (predicted, heading.split(", ")[0]) == (frame["predicted"], frame["label"])
        assert len(own) == (2 if frame["predicted"] == frame["label"] else 3)
        assert texts[1].startswith(f"{frame['predicted']} 80%")
        assert len(own) == 2 or texts[2].startswith(f"{frame['label']} 10%")
        path = trained.corpus / frame["path"]
        image = next(iter(read_frames(path, Sampling(frame_stride=8)))).image if frame["frame"] == 0 else None
        if image is not None:
            face = predictor.predict_faces(image, predictor.find(image))[0].picture
            assert np.abs(own[0].astype(int) - face).mean() < 1
    # TensorBoard shows both in addition to the run's own figures.
    new = [path for path in (run / "tensorboard").iterdir() if path.name not in events]
    assert len(new) == 1
    shown = EventAccumulator(str(new[0])).Reload()
    assert shown.Tags()["images"] == ["figures/random", "figures/mean_heat_maps"]
    assert shown.Images("figures/random")[0].step == predictor.results["epochs"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]  # nothing beside it


def test_figures_of_a_sweep_job_are_next_to_its_curves(fervid_explain, run):
    jobs = run / "tensorboard" / "backbone=lenet"
    jobs.mkdir()
    for events in (run / "tensorboard").glob("events*"):
        events.rename(jobs / events.name)
    fervid_explain("samples=random")
    assert not list((run / "tensorboard").glob("events*"))
    shown = EventAccumulator(str(jobs), size_guidance={"images": 0})
    shown.Reload()
    assert {"figures/random", "figures/mean_heat_maps"} <= set(shown.Tags()["images"])


def test_means_are_over_correct_frames(fervid_explain, run, trained, monkeypatch):
    monkeypatch.setattr(choosing, "MIN_CORRECT_SAMPLES", 1)
    monkeypatch.setattr(explanation, "BATCH_SIZE", 4)  # six frames: more than one batch
    fervid_explain("samples=random")
    means = MeanHeatMaps.load(run / "explanation" / "heat_maps.npz")
    predictor, predictions = Predictor(run), open_run(run).predictions
    corpus = reopen_corpus(run, predictor.results, trained.cache)
    face_cache, rows = corpus.face_cache, corpus.manifest["cache_row"].loc[predictions["index"]]
    rows = rows.set_axis(predictions.index)
    assert means.emotions.tolist() == ["angry", "happy", "sad"]
    for number, emotion in enumerate(means.emotions):
        own = predictions[predictions["label"] == emotion]
        right = own[own["predicted"] == emotion]
        used = right if len(right) else own
        assert (means.frames[number], means.right[number]) == (len(used), len(right) > 0)
        faces = face_cache[rows[used.index].to_numpy()]
        maps = heat_maps(predictor.model, faces, [number] * len(faces))
        assert means.faces[number] == pytest.approx(faces.mean(axis=0), abs=0.51)
        assert means.maps[number] == pytest.approx(maps.mean(axis=0), abs=1e-4)


def test_pictures_are_explained(fervid_explain, trained, tmp_path, drawn, capsys):
    (tmp_path / "pictures" / "deeper").mkdir(parents=True)
    for number, name in enumerate(("a.png", "deeper/b.JPG")):
        path = sorted(trained.corpus.rglob("*.mp4"))[number]
        image = next(iter(read_frames(path, Sampling()))).image
        cv2.imwrite(str(tmp_path / "pictures" / name), image[..., ::-1])
    (tmp_path / "pictures" / "damaged.png").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "pictures" / "nobody.png"), np.zeros((90, 90, 3), dtype=np.uint8))
    fervid_explain("source=pictures")
    output = " ".join(capsys.readouterr().out.split())
    assert "pictures/damaged.png: " in output
    assert "pictures/nobody.png: no face found" in output
    files = [str(path.relative_to(tmp_path)) for path in (tmp_path / "explanations").rglob("*.png")]
    assert len(files) == 1
    assert files[0].endswith("/faces.png")
    (views, captions, headings), *_ = drawn
    assert headings == ("a.png", "b.JPG")
    assert [len(own) for own in views] == [2, 2]
    assert all(texts[1].split()[0] in ("angry", "happy", "sad") for texts in captions)
    assert not (tmp_path / "run" / "explanation").exists()


class TestChosenFrames:
    def predictions(self):
        """12 frames of 6 clips with emotions a, b, c; confidence increases by row, every second clip is wrong."""
        rows = [(10 + row, f"clip{row // 2}", "a", "ab"[row // 2 % 2], 0.4 + row / 100) for row in range(12)]
        table = pd.DataFrame(rows, columns=["index", "clip", "label", "predicted", "sure"])
        for name in "abc":
            table[f"prob_{name}"] = np.where(table["predicted"] == name, table["sure"], 0.1)
        return table.drop(columns="sure")

    def chosen(self, frames, max_samples=16, seed=0, **changes):
        return choose_samples(self.predictions().assign(**changes), frames, max_samples, seed)["index"].tolist()

    def test_confused_are_the_most_confident_errors_one_per_clip(self):
        assert self.chosen("confused") == [21, 17, 13]
        assert self.chosen("confused", max_samples=2) == [21, 17]

    def test_at_most_three_frames_per_confusion(self):
        alone = [f"clip{row}" for row in range(12)]
        assert self.chosen("confused", clip=alone) == [21, 20, 17]
        emotions = ["a"] * 10 + ["c"] * 2
        assert self.chosen("confused", clip=alone, label=emotions) == [21, 20, 17, 16, 13]

    def test_right_includes_each_emotion(self):
        alone, true = [f"clip{row}" for row in range(12)], list("aaaabbbbcccc")
        assert self.chosen("right", clip=alone, label=true, predicted=true, max_samples=3, prob_b=0.6, prob_c=0.9) == [
            18,
            14,
            11,
        ]

    def test_random_depends_on_the_seed(self):
        assert self.chosen("random", max_samples=4) == self.chosen("random", max_samples=4)
        assert self.chosen("random", max_samples=4) != self.chosen("random", max_samples=4, seed=1)

    def test_indices_keep_their_order(self):
        assert self.chosen([20, 11, 20]) == [20, 11]

    @pytest.mark.parametrize(
        ("frames", "sentence"),
        [
            ([11, 99], r"samples=\[11, 99\] cannot be used, since 99 is not a test sample"),
            ([], "since the list is empty"),
            ("odd", "samples=odd is unknown: choose confused, right, random or a list such as"),
        ],
    )
    def test_unknown_frames_raise(self, frames, sentence):
        with pytest.raises(InputError, match=sentence):
            self.chosen(frames)

    def test_run_without_errors_raises(self):
        with pytest.raises(InputError, match="no test sample is predicted incorrectly: choose samples=random"):
            self.chosen("confused", predicted="a")

    def test_correct_frames_are_averaged_if_there_are_enough(self):
        table = self.predictions()  # 6 of a are correct
        assert sorted(samples_to_average(table, 200, 0).index) == [0, 1, 4, 5, 8, 9]
        assert len(samples_to_average(table[:8], 200, 0)) == 8
        drawn = samples_to_average(table, 4, 0)
        assert len(drawn) == 4
        assert drawn.index.tolist() != samples_to_average(table, 4, 1).index.tolist()


class TestRefused:
    def test_missing_run(self, refused, tmp_path):
        assert "run is missing: give run=<folder of a finished run>" in refused("run=null")
        assert "contains no finished run" in refused(f"run={tmp_path}")

    @pytest.mark.parametrize(
        ("word", "sentence"),
        [
            ("max_samples=0", "max_samples=0 is out of range"),
            ("seed=-1", "seed=-1 is out of range"),
            ("samples=best", "samples=best is unknown"),
            ("samples=3", "samples=3 is unknown: choose confused, right, random or a list such as samples=[3,14]"),
            ("source=nothing*", "source=nothing* matches no picture"),
            ("source=run/results.json", "source=run/results.json is neither a picture nor"),
            ("detector=eyes", "there is no detector 'eyes': choose haar, none, yunet"),
        ],
    )
    def test_invalid_setting(self, refused, word, sentence):
        assert sentence in refused(word)

    def test_baseline(self, refused, run):
        results = json.loads((run / "results.json").read_text())
        del results["config"]["head"]
        (run / "results.json").write_text(json.dumps(results))
        assert f"{run} is a run of the classical baseline and has no network" in refused()

    def test_missing_corpus(self, refused, run):
        results = json.loads((run / "results.json").read_text())
        results["config"]["dataset"]["root"] = "/nowhere"
        (run / "results.json").write_text(json.dumps(results))
        sentence = refused("samples=random")
        assert f"the corpus of {run} cannot be opened: dataset.root=/nowhere is not" in sentence
        assert not (run / "explanation").exists()

    def test_predictions_of_another_run(self, refused, run):
        table = pd.read_csv(run / "predictions.csv", dtype=str)
        table.loc[2, "clip"] = "another"
        table.to_csv(run / "predictions.csv", index=False)
        assert f"{run}/predictions.csv does not match its manifest.parquet" in refused("samples=random")

    def test_missing_manifest(self, refused, run):
        (run / "manifest.parquet").write_bytes(b"damaged")
        assert f"{run}/manifest.parquet cannot be read" in refused("samples=random")

    def test_foreign_code(self, refused, run):
        """The augmentation is not needed here and must not be instantiated."""
        results = json.loads((run / "results.json").read_text())
        results["config"]["augmentation"] = {"_target_": "os.mkdir", "path": str(run / "made")}
        results["config"]["dataset"]["root"] = "/nowhere"
        (run / "results.json").write_text(json.dumps(results))
        refused("samples=random")
        assert not (run / "made").exists()


def test_files_are_written_all_or_none(fervid_explain, refused, run, monkeypatch):
    fervid_explain("samples=random")
    before = {path: path.read_bytes() for path in (run / "explanation").iterdir()}

    def save(self, path):
        raise OSError(28, os.strerror(28), str(path))

    monkeypatch.setattr(MeanHeatMaps, "save", save)
    assert f"{run}/explanation cannot be written (No space left on device)" in refused("samples=random", "seed=1")
    assert {path: path.read_bytes() for path in (run / "explanation").iterdir()} == before
    assert not list(run.glob(".explanation*"))


def test_damaged_heat_map_file(tmp_path):
    path = tmp_path / "heat_maps.npz"
    whole = MeanHeatMaps(
        np.array(["a", "b"]),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((2, 4, 4), np.float32),
        np.ones(2, int),
        np.ones(2, bool),
    )
    whole.save(path)
    assert MeanHeatMaps.load(path).emotions.tolist() == ["a", "b"]
    for content in (path.read_bytes()[:300], b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"heat_maps.npz cannot be read .*: run fervid.explain again"):
            MeanHeatMaps.load(path)
    np.savez(path, **{**vars(whole), "maps": np.zeros((2, 5, 4), np.float32)})
    with pytest.raises(InputError, match="does not contain heat maps"):
        MeanHeatMaps.load(path)
    np.savez(path, **{**vars(whole), "emotions": np.array([{}], dtype=object)})
    with pytest.raises(InputError, match="cannot be read"):
        MeanHeatMaps.load(path)
