"""Rules that combine probabilities, and weights: given, by validation UAR, and learned on validation samples."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from fervid.errors import InputError
from fervid.evaluate.combining import FLOOR, check_rule, combine, fit_weights, log_loss, member_weights
from fervid.evaluate.writing import joint_validation
from fervid.metrics.aggregation import class_indices
from fervid.runs.run import Run
from fervid.schema.predictions import probabilities


def stored(uar=None):
    return Run(Path("run"), {"metrics": {"val/uar": uar}})


def test_weights_sum_to_one():
    runs = [stored(0.3), stored(0.6)]
    for given, values, source in (
        (None, [0.5, 0.5], "equal"),
        ([3, 1], [0.75, 0.25], "given"),
        ("validation", [1 / 3, 2 / 3], "validation"),
    ):
        weights = member_weights(given, runs)
        np.testing.assert_allclose(weights.values, values)
        assert weights.source == source
    np.testing.assert_allclose(member_weights([1, 1, 2], runs, ["table"]).values, [0.25, 0.25, 0.5])


@pytest.mark.parametrize(
    ("weights", "tables", "message"),
    [
        ([1], [], "for 2 runs: give one number per run, none"),
        ([1, -1], [], "none below 0"),
        ([0, 0], [], "not all 0"),
        ([1, "a"], [], "one number per run"),
        ([1, True], [], "one number per run"),
        ([1, 1], ["a"], "for 2 runs and 1 table: give one number per run, then one per table"),
        ("test", [], "validation, learned, or a list"),
        (3, [], "validation, learned, or a list"),
        ("validation", [], "needs a validation UAR"),
        ("validation", ["a"], "the table a does not have"),
        ("learned", ["a"], "the table a does not have"),
    ],
)
def test_invalid_weights(weights, tables, message):
    with pytest.raises(InputError, match=message):
        member_weights(weights, [stored(0.5), stored(None)], tables)


def test_mean_is_the_weighted_mean():
    a, b = np.array([[1.0, 0.0], [0.6, 0.4]]), np.array([[0.0, 1.0], [0.2, 0.8]])
    np.testing.assert_allclose(combine([a, b], np.array([0.75, 0.25])), [[0.75, 0.25], [0.5, 0.5]])


def test_product_is_the_normalised_weighted_geometric_mean():
    rng = np.random.default_rng(0)
    members, weights = rng.dirichlet([1, 1, 1], (2, 5)), np.array([0.7, 0.3])
    raw = members[0] ** 0.7 * members[1] ** 0.3
    np.testing.assert_allclose(combine(members, weights, "product"), raw / raw.sum(axis=1, keepdims=True))


def test_product_survives_zeros():
    sure, opposite = np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0]])
    found = combine([sure, opposite], np.array([0.5, 0.5]), "product")
    np.testing.assert_allclose(found, [[0.5, 0.5, 0]], atol=2e-6)
    assert found[0, 2] == pytest.approx(FLOOR**0.5 / 2, rel=1e-3)
    np.testing.assert_allclose(combine([sure, opposite], np.array([1.0, 0.0]), "product"), sure, atol=1e-11)


def test_unknown_rule():
    with pytest.raises(InputError, match="combine=vote is unknown: choose mean or product"):
        check_rule("vote")


@pytest.mark.parametrize("rule", ["mean", "product"])
def test_learned_weights_have_the_lowest_log_loss_of_a_grid(rule):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 200)
    good, fair = (np.array([rng.dirichlet(1 + skill * np.eye(3)[label]) for label in labels]) for skill in (4, 2))
    useless = rng.dirichlet([0.3, 0.3, 0.3], 200)
    members = [useless, good, fair]
    found = fit_weights(members, labels, rule)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    grid = [np.array([a, b, 100 - a - b]) / 100 for a, b in product(range(101), repeat=2) if a + b <= 100]
    losses = [log_loss(combine(members, weights, rule), labels) for weights in grid]
    assert log_loss(combine(members, found, rule), labels) <= min(losses) + 1e-6
    np.testing.assert_allclose(found, grid[int(np.argmin(losses))], atol=0.02)
    assert found[1] > max(found[0], found[2])


def test_weight_of_a_member_that_only_harms_is_zero():
    labels = np.array([0, 1] * 50)
    right = np.where(labels[:, None] == [0, 1], 0.9, 0.1)
    np.testing.assert_allclose(fit_weights([1 - right, right], labels), [0, 1])


def test_weights_are_learned_on_validation_not_on_test_predictions(a_run):
    """The second member is better on the validation subset, and equal on the test subset."""
    for name in ("mean", "product"):
        good = a_run(f"good_{name}", skill=6.0, val_sharpness=2.0)
        bad = a_run(f"bad_{name}", skill=0.0)
        path = good.folder / "predictions.csv"
        path.write_text((bad.folder / "predictions.csv").read_text())
        weights = member_weights("learned", [bad, good], rule=name)
        assert weights.values[1] > 0.9
        members = [probabilities(run.validation, good.class_names) for run in (bad, good)]
        labels = class_indices(good.validation["label"], good.class_names)
        assert weights.learned["samples"] == len(labels)
        assert weights.learned["log_loss"] == pytest.approx(log_loss(combine(members, weights.values, name), labels))
        assert weights.learned["log_loss"] < weights.learned["log_loss_equal"]
        assert "minimise the log-loss of" in weights.describe(name)
        assert f"(combine={name})" in weights.describe(name)


def test_weights_do_not_depend_on_the_order_of_rows_and_classes(a_run):
    one, other, turned = (a_run(name, skill=2.0) for name in ("one", "other", "turned"))
    (turned.folder / "predictions_val.csv").write_text((other.folder / "predictions_val.csv").read_text())
    plain = member_weights("learned", [one, other]).values
    assert plain.min() > 0.05
    shuffled = other.validation.sample(frac=1, random_state=0)
    shuffled.to_csv(turned.folder / "predictions_val.csv", index=False)
    turned.results["class_names"] = turned.class_names[::-1]
    np.testing.assert_allclose(member_weights("learned", [one, turned]).values, plain, atol=1e-6)


def test_learned_weights_need_validation_predictions_of_the_same_samples(a_run):
    one, other = a_run("one"), a_run("other")
    shorter = other.validation.iloc[1:]
    shorter.to_csv(other.folder / "predictions_val.csv", index=False)
    again = Run(other.folder, other.results)
    with pytest.raises(InputError, match="were validated on different ones: train them with the same split"):
        member_weights("learned", [one, again])
    assert joint_validation([one, again], np.array([0.5, 0.5]), one.class_names, "mean") is None
    other.results["class_names"] = [*other.class_names, "fear"]
    with pytest.raises(InputError, match="needs members with the same emotions"):
        member_weights("learned", [one, other])
    (other.folder / "predictions_val.csv").unlink()
    with pytest.raises(InputError, match=r"other has no predictions_val.csv: train it with a validation subset"):
        member_weights("learned", [one, other])
    assert joint_validation([one, other], np.array([0.5, 0.5]), one.class_names, "mean") is None
