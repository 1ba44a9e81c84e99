"""Scores of valence and arousal and of action units, against torchmetrics and scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score
from torchmetrics.regression import ConcordanceCorrCoef, MeanSquaredError, PearsonCorrCoef

from fervid.metrics.action_units import unit_counts, unit_scores
from fervid.metrics.affect import affect_scores, moments
from fervid.metrics.parts import bootstrap_part, clip_means, measure_parts, part_scores
from fervid.metrics.statistics import percentile_interval
from fervid.schema.columns import DIMENSIONS
from fervid.schema.parts import AFFECT, EMOTION, MULTI, UNITS, Part

UNIT_NAMES = ("au_1", "au_12", "au_25")
PART = Part(AFFECT, DIMENSIONS)


def affect(samples=60, seed=0, unknown=0.2):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(-1, 1, (samples, 2))
    predictions = np.clip(0.6 * labels + rng.normal(0, 0.3, labels.shape) + 0.1, -1, 1)
    labels[rng.random(labels.shape) < unknown] = np.nan
    return labels, predictions


def table(samples=60, seed=0):
    labels, predictions = affect(samples, seed)
    frames = pd.DataFrame(labels, columns=list(DIMENSIONS))
    frames[PART.predictions] = predictions
    keys = {"corpus": "c", "subject": [f"s{row % 5}" for row in range(samples)]}
    return frames.assign(**keys, clip=[f"c{row // 3}" for row in range(samples)], frame=range(samples), run=0)


def test_scores_of_known_labels_equal_those_of_torchmetrics():
    labels, predictions = affect()
    found = affect_scores(moments(labels, predictions).sum(axis=0))
    for number, name in enumerate(DIMENSIONS):
        known = np.isfinite(labels[:, number])
        x, y = (torch.tensor(values[known, number]) for values in (predictions, labels))
        for score, metric in (
            ("pearson", PearsonCorrCoef()),
            ("rmse", MeanSquaredError(squared=False)),
        ):
            assert found[f"{score}_{name}"] == pytest.approx(metric(x, y).item(), abs=1e-6)
        # torchmetrics divides the variances by N - 1, Lin's definition by N.
        deviations = (x.var(correction=0) + y.var(correction=0) + (x.mean() - y.mean()) ** 2).item()
        expected = 2 * found[f"pearson_{name}"] * (x.std(correction=0) * y.std(correction=0)).item() / deviations
        assert found[f"ccc_{name}"] == pytest.approx(expected)
        assert found[f"ccc_{name}"] == pytest.approx(ConcordanceCorrCoef()(x, y).item(), abs=2e-3)
    assert found["ccc"] == pytest.approx((found["ccc_valence"] + found["ccc_arousal"]) / 2)


def test_constant_and_unknown_labels():
    constant = affect_scores(moments(np.full((9, 1), 0.1), np.linspace(-1, 1, 9)[:, None]).sum(axis=0), ["valence"])
    assert constant["ccc"] == 0
    assert np.isnan(constant["pearson"])
    labels, predictions = affect()
    labels[:, 1] = np.nan
    found = affect_scores(moments(labels, predictions).sum(axis=0))
    assert np.isnan(found["ccc_arousal"])
    assert found["ccc"] == found["ccc_valence"]
    nothing = affect_scores(moments(np.full((3, 2), np.nan), predictions[:3]).sum(axis=0))
    assert all(np.isnan(value) for value in nothing.values())


def test_scores_of_units_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, probabilities = (rng.random((80, 3)) < 0.3).astype(float), rng.random((80, 3))
    labels[rng.random(labels.shape) < 0.1] = np.nan
    found = unit_scores(unit_counts(labels, probabilities).sum(axis=0), UNIT_NAMES)
    f1, balanced = [], []
    for number, name in enumerate(UNIT_NAMES):
        known = np.isfinite(labels[:, number])
        true, predicted = labels[known, number], probabilities[known, number] >= 0.5
        f1.append(f1_score(true, predicted))
        balanced.append(balanced_accuracy_score(true, predicted))
        assert found[f"f1_{name}"] == pytest.approx(f1[-1])
        assert found[f"balanced_accuracy_{name}"] == pytest.approx(balanced[-1])
    assert found["f1_units"] == pytest.approx(np.mean(f1))
    assert found["balanced_accuracy_units"] == pytest.approx(np.mean(balanced))


def test_unit_that_never_occurs_is_left_out_of_the_mean():
    labels = np.array([[1, 0], [0, 0], [1, 0]])
    found = unit_scores(unit_counts(labels, np.array([[0.9, 0.9], [0.2, 0.1], [0.8, 0.1]])).sum(axis=0), UNIT_NAMES[:2])
    assert np.isnan(found["f1_au_12"])
    assert found["f1_units"] == found["f1_au_1"] == 1


def test_resamples_of_subjects_are_scored_like_tables_of_them():
    frames = table()
    drawn = bootstrap_part(frames, PART, "subject", resamples=100, seed=3)
    counts = np.random.default_rng(3).multinomial(5, np.full(5, 0.2), size=100)[7]
    repeated = pd.concat(
        [frames[frames["subject"] == f"s{number}"] for number, count in enumerate(counts) for _ in range(count)]
    )
    for name, value in part_scores(repeated, PART).items():
        assert drawn[name][7] == pytest.approx(value)


def test_clip_is_the_mean_of_its_frames():
    frames = table(9).assign(valence=[0.0, 0.3, 0.6] * 3, arousal=0.0)
    clips = clip_means(frames, PART)
    assert clips["valence"].tolist() == pytest.approx([0.3, 0.3, 0.3])
    assert clips["predicted_arousal"][1] == pytest.approx(frames["predicted_arousal"][3:6].mean())
    assert clips["subject"].tolist() == frames["subject"][::3].tolist()


def test_results_of_several_parts():
    frames = table().assign(au_1=[0.0, 1.0] * 30, prob_au_1=[0.2, 0.8] * 30, label=["happy", "sad"] * 30)
    frames = frames.assign(predicted="happy", prob_happy=0.7, prob_sad=0.3).drop(columns="run")
    parts = [Part(EMOTION, ("happy", "sad")), PART, Part(UNITS, ("au_1",))]
    found = measure_parts(frames, MULTI, parts)
    metrics = found["metrics"]
    assert found["parts"] == {
        "emotion": ["happy", "sad"],
        "valence_arousal": ["valence", "arousal"],
        "action_units": ["au_1"],
    }
    assert found["class_names"] == ["happy", "sad"]
    assert metrics["test/uar"] == 0.5
    assert metrics["test/f1_units"] == 1
    assert metrics["test/mean_score"] == pytest.approx((0.5 + metrics["test/ccc"] + 1) / 3)
    assert metrics["test/clip_ccc"] == pytest.approx(part_scores(clip_means(frames, PART), PART)["ccc"])
    assert "test/clip_f1_units" not in metrics


def test_clip_means_use_the_same_frames_for_labels_and_predictions():
    """Frames without a label do not count for the prediction of their clip either."""
    table = pd.DataFrame({"corpus": "c", "subject": "s", "clip": ["a", "a", "b", "b"], "frame": [0, 1, 0, 1]})
    table = table.assign(
        valence=[0.5, np.nan, -0.5, -0.3], arousal=0.0, predicted_valence=[0.5, -1.0, -0.5, -0.3], predicted_arousal=0.0
    )
    means = clip_means(table, Part(AFFECT, ("valence", "arousal")))
    assert means["predicted_valence"].tolist() == means["valence"].tolist() == pytest.approx([0.5, -0.4])


def test_few_resamples_without_a_score_are_omitted_from_an_interval():
    values = np.linspace(0, 1, 1001)
    values[::50] = np.nan
    low, high = percentile_interval(values)
    assert (low, high) == pytest.approx((0.025, 0.975), abs=0.005)
    values[::10] = np.nan
    assert np.isnan(percentile_interval(values)).all()
