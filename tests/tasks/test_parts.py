"""Valence and arousal, action units, and several targets with one network."""

import json

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from part_runs import SMALL, TASKS
from torch.nn import functional as F

from fervid import load_run
from fervid.cli import compose
from fervid.data.part_targets import ActionUnitTarget, AffectTarget, MultiTarget
from fervid.data.targets import ClassTarget
from fervid.errors import InputError
from fervid.metrics.parts import part_scores
from fervid.models.heads import MLPHead
from fervid.models.network import Network
from fervid.models.paper_backbones import LeNet
from fervid.runs.run import read_run
from fervid.tasks.multi import MultiTask
from fervid.tasks.part_losses import AffectLoss, UnitLoss
from fervid.train.training import train

NAN = float("nan")


def multi(**options):
    torch.manual_seed(0)
    backbone = LeNet()
    network = Network.of_pictures(backbone, MLPHead(backbone.output_shape(), 6, hidden=[16], dropout=[0.0]))
    return MultiTask(
        network,
        MultiTarget([ClassTarget(["happy", "sad"]), AffectTarget(), ActionUnitTarget(["au_4", "au_12"])]),
        **options,
    )


def test_concordance_loss_is_one_minus_the_concordance_of_known_labels():
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(20, 2, generator=generator) * 2 - 1
    values = labels * 0.5 + 0.1 * torch.rand(20, 2, generator=generator)
    labels[:5, 0] = NAN
    known = values[5:, 0], labels[5:, 0]
    expected = []
    for x, y in (known, (values[:, 1], labels[:, 1])):
        covariance = ((x - x.mean()) * (y - y.mean())).mean()
        expected.append(1 - 2 * covariance / (x.var(correction=0) + y.var(correction=0) + (x.mean() - y.mean()) ** 2))
    assert AffectLoss()(values, labels).item() == pytest.approx(torch.stack(expected).mean().item(), abs=1e-5)
    squared = torch.cat([(values[5:, 0] - labels[5:, 0]) ** 2, (values[:, 1] - labels[:, 1]) ** 2]).mean()
    assert AffectLoss(measure="mse")(values, labels).item() == pytest.approx(squared.item(), abs=1e-6)


@pytest.mark.parametrize(
    "labels", [[[0.3, 0.2]], [[0.1, 0.1]] * 4, [[NAN, 0.1], [NAN, -0.2]], [[NAN, NAN]] * 3], ids=str
)
@pytest.mark.parametrize("measure", ["ccc", "mse"])
def test_loss_and_gradient_are_finite_for_few_constant_and_unknown_labels(labels, measure):
    labels = torch.tensor(labels)
    values = torch.zeros_like(labels, requires_grad=True)
    loss = AffectLoss(measure=measure)(values, labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(values.grad).all()
    if labels.isnan().all():
        assert loss == 0
        assert (values.grad == 0).all()


def test_loss_of_units_skips_unknown_labels_and_can_be_balanced():
    logits, labels = torch.tensor([[0.5, -1.0], [2.0, 0.3]]), torch.tensor([[1.0, NAN], [0.0, 1.0]])
    known = F.binary_cross_entropy_with_logits(torch.tensor([0.5, 2.0, 0.3]), torch.tensor([1.0, 0.0, 1.0]))
    assert UnitLoss()(logits, labels).item() == pytest.approx(known.item())
    balanced = UnitLoss(np.array([[30, 10], [10, 10]]), positive_weights="balanced")
    assert balanced.weight.tolist() == [3, 1]
    assert UnitLoss()(logits, torch.full((2, 2), NAN)) == 0


def test_losses_of_several_parts_are_weighted():
    outputs = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([[0, 0.5, NAN, 1, 0], [1, -0.5, 0.2, NAN, 1], [0, 0.1, 0.4, 0, 0], [1, NAN, NAN, NAN, NAN]])
    parts = multi().part_losses(outputs, targets)
    assert parts["emotion"] == F.cross_entropy(outputs[:, :2], torch.tensor([0, 1, 0, 1]))
    assert parts["valence_arousal"] == AffectLoss()(outputs[:, 2:4], targets[:, 1:3])
    assert parts["action_units"] == UnitLoss()(outputs[:, 4:], targets[:, 3:])
    fixed = multi(weights={"emotion": 2, "action_units": 0})
    assert fixed.loss_of(outputs, targets).item() == pytest.approx(
        (2 * parts["emotion"] + parts["valence_arousal"]).item()
    )

    learned = multi(weighting="uncertainty")
    assert learned.loss_of(outputs, targets).item() == pytest.approx(sum(parts.values()).item())
    with torch.no_grad():
        learned.log_variances.copy_(torch.tensor([1.0, -1.0, 0.5]))
    weighted = sum(torch.exp(-s) * part + s / 2 for s, part in zip(learned.log_variances, parts.values(), strict=True))
    assert learned.loss_of(outputs, targets).item() == pytest.approx(weighted.item())
    targets[:, 3:] = NAN
    learned.loss_of(outputs, targets).backward()
    assert learned.log_variances.grad[2] == 0  # no label of the units


def test_answers_are_in_the_units_of_the_labels():
    model = multi().eval()
    answers = model.answers(model(torch.rand(3, 3, 28, 28)))
    assert {name: tuple(values.shape) for name, values in answers.items()} == {
        "emotion": (3, 2),
        "valence_arousal": (3, 2),
        "action_units": (3, 2),
    }
    assert torch.allclose(answers["emotion"].sum(dim=1), torch.ones(3))
    assert model.answers(torch.full((1, 6), 3.0))["valence_arousal"].tolist() == [[1, 1]]
    assert ((answers["action_units"] > 0) & (answers["action_units"] < 1)).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"weighting": "mean"}, r"task\.weighting=mean is unknown"),
        ({"weights": {"emotion": -1}}, r"task\.weights\.emotion=-1 is invalid"),
        ({"weights": {"gaze": 1}}, r"task\.weights\.gaze=1 is invalid"),
        ({"weights": dict.fromkeys(("emotion", "valence_arousal", "action_units"), 0)}, r"task\.weights are 0"),
    ],
)
def test_invalid_settings_are_one_sentence(options, sentence):
    with pytest.raises(InputError, match=sentence):
        multi(**options)


@pytest.mark.parametrize("task", TASKS)
def test_run_is_recorded_and_loaded(part_runs, task):
    run = read_run(part_runs[task])
    results, predictions = run.results, run.predictions
    assert results["task"] == task
    for part in run.parts:
        if part.name != "emotion":
            for name, value in part_scores(predictions, part).items():
                recorded = run.metric(f"test/{name}")
                assert recorded == pytest.approx(value, abs=1e-6, nan_ok=True)
    main = {"valence_arousal": "ccc", "action_units": "f1_units", "multi": "mean_score"}[task]
    assert results["config"]["finetune"]["monitor"] == f"val/{main}"
    best = max(results["history"], key=lambda row: row[f"val/{main}"])
    assert results["best_score"] == pytest.approx(best[f"val/{main}"])
    assert {"test/loss", f"test/{main}"} <= results["metrics"].keys()
    for part in run.parts:
        drawn = "confusion_matrix" if part.name == "emotion" else part.name
        assert (part_runs[task] / f"{drawn}.png").exists()

    model = load_run(part_runs[task])
    assert model.parts == run.parts
    answers = model.answers(model(torch.rand(2, 3, 28, 28)))
    assert [answers[part.name].shape[1] for part in run.parts] == [len(part.names) for part in run.parts]


def test_validation_scores_are_those_of_the_predictions(part_runs):
    run = read_run(part_runs["multi"])
    row = next(row for row in run.results["history"] if row["epoch"] == run.results["best_epoch"])
    for part in run.parts[1:]:
        found = part_scores(run.validation, part)
        shown = ("ccc", "rmse") if part.name == "valence_arousal" else ("f1_units", "balanced_accuracy_units")
        assert [row[f"val/{name}"] for name in shown] == pytest.approx([found[name] for name in shown], abs=1e-5)


def test_learned_weights_are_optimised_and_stored(part_runs):
    model = load_run(part_runs["multi"])
    assert (model.log_variances != 0).all()
    results = json.loads((part_runs["multi"] / "results.json").read_text())
    assert results["history"][-1]["lr/loss"] > 0
    assert results["history"][-1]["train/weight_emotion"] != 1
    (group,) = [each for each in model.configure_optimizers().param_groups if each["name"] == "loss"]
    assert group["params"][0] is model.log_variances
    assert group["weight_decay"] == 0


def test_resumed_run_is_bit_identical(part_runs, tmp_path):
    class Stop(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    cache = part_runs["multi"].parent / "cache"
    config = compose("train", ["task=multi", "task.weighting=uncertainty", *SMALL, f"cache_dir={cache}"])
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(config, tmp_path / "run", callbacks=[Stop()])
    train(config, tmp_path / "run", resume=True)
    ours, theirs = load_run(tmp_path / "run").state_dict(), load_run(part_runs["multi"]).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def csv_of(pictures, path, **columns):
    rows = [
        {"path": f"{emotion}/p{subject}__{number}.png", "emotion": emotion, "subject": f"p{subject}"}
        for number, emotion in enumerate(("happy", "neutral", "sad"))
        for subject in range(10)
    ]
    pd.DataFrame(rows).assign(**columns).to_csv(path, index=False)
    return ["dataset=image_folder", f"dataset.root={pictures}", f"dataset.csv={path}", "dataset.batch_size=4"]


def test_own_csv_with_missing_labels_is_learned_and_scored(pictures, tmp_path):
    valence = np.tile([0.5, None, -0.5], 10)
    words = csv_of(pictures, tmp_path / "own.csv", valence=valence, arousal=[0.1, -0.3] * 15)
    own = [word for word in SMALL if not word.startswith("dataset.")]
    words = [
        *own,
        *words,
        f"cache_dir={tmp_path / 'cache'}",
        "task=multi",
        "task.target.parts=[valence_arousal,emotion]",
    ]
    train(compose("train", words), tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert [part.name for part in run.parts] == ["valence_arousal", "emotion"]
    tested = run.predictions
    assert tested["valence"].isna().any()
    assert tested["predicted_valence"].notna().all()
    assert np.isfinite(run.metric("test/ccc_valence"))


def test_values_out_of_range_in_a_csv_are_one_sentence(pictures, tmp_path):
    words = csv_of(pictures, tmp_path / "own.csv", valence=7, arousal=0)
    own = [word for word in SMALL if not word.startswith("dataset.")]
    config = compose("train", [*own, *words, f"cache_dir={tmp_path / 'cache'}", "task=valence_arousal"])
    with pytest.raises(InputError, match=r"has valence=7: give a number from -1 to 1"):
        train(config, tmp_path / "run")


def test_mixup_mixes_the_targets_of_all_parts(part_runs, tmp_path):
    cache = part_runs["multi"].parent / "cache"
    words = [
        "task=multi",
        "recipe=mixup",
        "trainer.max_epochs=1",
        *(word for word in SMALL if "max_epochs" not in word),
    ]
    score = train(compose("train", [*words, f"cache_dir={cache}"]), tmp_path / "run", test=False)
    assert np.isfinite(score)
