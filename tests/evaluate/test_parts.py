"""Evaluation of runs of valence and arousal, of action units, and of several targets."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from part_runs import TASKS

from fervid.runs.run import read_run


@pytest.fixture
def evaluate(fervid_command, part_runs, tmp_path, capsys):
    """Evaluates runs of a task; returns the written runs and what is printed."""

    def run(folders, *words, fails=False):
        cache, out = next(iter(part_runs.values())).parent / "cache", tmp_path / "out"
        given = f"run=[{','.join(map(str, folders))}]"
        command = [given, "resamples=100", f"cache_dir={cache}", f"hydra.run.dir={out}", *words]
        if fails:
            with pytest.raises(SystemExit):
                fervid_command("evaluate", *command)
            return " ".join(capsys.readouterr().err.split())
        fervid_command("evaluate", *command)
        return out, " ".join(capsys.readouterr().out.split())

    return run


def written(out, name="members/1_*"):
    (folder,) = out.glob(name)
    return read_run(folder)


@pytest.mark.parametrize("task", TASKS)
def test_own_test_subset_gives_the_recorded_scores(part_runs, evaluate, task):
    run = read_run(part_runs[task])
    out, printed = evaluate([run.folder])
    again = written(out)
    assert again.task == task
    assert again.parts == run.parts
    for name, value in run.results["metrics"].items():
        if name.startswith("test/") and name != "test/loss":
            expected = np.nan if value is None else value
            assert again.metric(name) == pytest.approx(expected, abs=1e-5, nan_ok=True)
    assert "equals the value recorded by the run" in printed
    assert (out / "report.html").exists()


def test_ensemble_is_the_weighted_mean_of_the_predictions(part_runs, evaluate, tmp_path):
    import shutil

    run = read_run(part_runs["valence_arousal"])
    other = tmp_path / "last"
    shutil.copytree(run.folder, other)
    (other / "checkpoints" / "best.ckpt").write_bytes((other / "checkpoints" / "last.ckpt").read_bytes())
    out, printed = evaluate([run.folder, other], "weights=[3,1]")
    members = [written(out, f"members/{number}_*").predictions for number in (1, 2)]
    joint = written(out, "ensemble").predictions
    for name in ("predicted_valence", "predicted_arousal"):
        expected = 0.75 * members[0][name] + 0.25 * members[1][name]
        assert joint[name].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert "The ensemble is the weighted mean of the members' predictions" in printed


@pytest.fixture
def others(tmp_path):
    """Twelve pictures with a CSV that has two emotions, and some valence, arousal and units."""
    rng, rows = np.random.default_rng(0), []
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))
        emotion = ("happiness", "sadness", "boredom")[number % 3]
        row = {"path": f"{number}.png", "emotion": emotion, "subject": f"q{number // 2}", "valence": number / 12}
        rows.append(row | {"arousal": -0.1 * (number % 4), "au_12": number % 2, "au_99": 1})
    table = pd.DataFrame(rows)
    table.loc[3, "valence"] = None
    table.to_csv(tmp_path / "own.csv", index=False)
    return ["dataset=image_folder", f"dataset.root={tmp_path}", f"dataset.csv={tmp_path / 'own.csv'}"]


def test_other_corpus_is_scored_where_it_has_labels(part_runs, evaluate, others):
    out, printed = evaluate([part_runs["multi"]], *others)
    run = written(out)
    assert [(part.name, part.names) for part in run.parts] == [
        ("emotion", ("happy", "sad")),
        ("valence_arousal", ("valence", "arousal")),
        ("action_units", ("au_12",)),
    ]
    table = run.predictions
    assert len(table) == 8  # without boredom
    assert table[["prob_happy", "prob_sad"]].sum(axis=1).tolist() == pytest.approx([1.0] * 8)
    assert np.isfinite([run.metric("test/ccc"), run.metric("test/f1_units"), run.metric("test/uar")]).all()
    assert "4 frames of other emotions are omitted" in printed
    assert "The corpus has no labels of AU1, AU2" in printed
    assert json.loads((out / "members").glob("*/results.json").__next__().read_text())["task"] == "multi"


def test_other_corpus_without_labels_is_one_sentence(part_runs, evaluate, others, tmp_path):
    table = pd.read_csv(tmp_path / "own.csv").drop(columns=["valence", "au_12"])
    table.to_csv(tmp_path / "own.csv", index=False)
    for task, column in (("valence_arousal", "valence"), ("action_units", "au_")):
        error = evaluate([part_runs[task]], *others, fails=True)
        assert "image_folder has no labels of what the run predicts" in error
        assert column in error


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["combine=product"], "combine=product is for runs of task=classification"),
        (["weights=learned"], "weights=learned is for runs of task=classification"),
        (["adapt=class_prior"], "adapt=class_prior is for runs of task=classification"),
        (["posteriors=table.csv"], "posteriors=table.csv is for runs of task=classification"),
    ],
)
def test_settings_of_classification_are_refused(part_runs, evaluate, words, sentence):
    assert sentence in evaluate([part_runs["action_units"]], *words, fails=True)


def test_runs_of_different_tasks_are_no_ensemble(part_runs, evaluate):
    error = evaluate([part_runs["action_units"], part_runs["multi"]], fails=True)
    assert "do not predict the same" in error
    assert str(Path(part_runs["multi"])) in error
