"""Soft labels: the distribution of votes as the target of a task."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from rendered_corpora.ferplus import write_ferplus
from torch.nn import functional as F

from fervid import load_run
from fervid.cli import compose
from fervid.data.targets import VoteTarget
from fervid.errors import InputError
from fervid.metrics.aggregation import measure
from fervid.models.heads import MLPHead
from fervid.models.network import Network
from fervid.models.paper_backbones import LeNet
from fervid.schema.predictions import predictions_table, probability_columns
from fervid.schema.same_system import fingerprint
from fervid.schema.votes import distributions
from fervid.tasks.losses import EmotionLoss
from fervid.tasks.soft_labels import SoftLabels, draw
from fervid.train.training import train

NAMES = ["happiness", "neutral", "surprise"]
FAST = ["dataset=ferplus", "split=predefined", "backbone=lenet", "task=soft_labels", "trainer.max_epochs=2"]
FAST += ["+trainer.enable_progress_bar=false", "logger=none", "dataset.batch_size=4", "dataset.face_size=48"]


def samples(*votes, names=("neutral", "happiness", "surprise", "unknown")):
    table = pd.DataFrame(votes, columns=[f"votes_{name}" for name in names])
    return table.assign(clip=[f"c{row}" for row in range(len(table))], corpus="ferplus", subject=None, frame=0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("ferplus")
    write_ferplus(root, counts=(24, 12, 12))
    return root


def settings(corpus, folder, *words):
    return compose("train", [*FAST, f"dataset.root={corpus}", f"cache_dir={corpus}/../cache", *words])


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "soft"
    train(settings(corpus, folder, "task.vote_mode=probability"), folder)
    return folder


def test_distribution_is_that_of_the_published_code():
    table = samples(
        (6, 3, 1, 0),  # the single vote is an outlier
        (5, 3, 2, 0),  # neutral and happiness have three quarters of the votes
        (4, 3, 3, 0),  # a tie
        (6, 0, 2, 2),  # unknown counts as a category
        (1, 1, 0, 0),  # nothing but outliers
    )
    expected = [[1 / 3, 2 / 3, 0], [3 / 8, 5 / 8, 0], [0.3, 0.4, 0.3], [0, 0.75, 0.25], [0.5, 0.5, 0]]
    np.testing.assert_allclose(distributions(table, NAMES), expected, rtol=1e-6)
    # The names of a corpus and of its classes may differ, and cells of a CSV may be text.
    np.testing.assert_allclose(distributions(table.astype(str), ["happy", "Neutral", "surprised"]), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (
            samples((1, 2), names=("neutral", "happiness")),
            "^the corpus has no column votes_surprise: ",
        ),
        (samples((1, 2, 3, 0), (0, 0, 0, 9)), "^the clip 'c1' has no votes for any of the classes happiness, neutral"),
        (samples((1, "many", 3, 0)), "^the clip 'c0' has votes that are missing or not numbers"),
        (samples((1, 2, None, 0)), "^the clip 'c0' has votes that are missing or not numbers"),
        (samples((1, 2, -1, 0)), "^the clip 'c0' has votes that are missing or not numbers"),
    ],
)
def test_votes_are_checked_in_one_sentence(table, sentence):
    with pytest.raises(InputError, match=sentence):
        distributions(table, NAMES)
    predictions = predictions_table(table.assign(emotion="neutral"), np.full((len(table), 3), 1 / 3), NAMES)
    assert not {"test/cross_entropy", "test/kl_divergence"} & set(measure(predictions, NAMES)["metrics"])


def test_scores_against_votes_are_computed_by_hand():
    table = samples((6, 3, 0, 0), (0, 9, 0, 0)).assign(emotion=["neutral", "happiness"])
    predictions = predictions_table(table, np.array([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]]), NAMES)
    metrics = measure(predictions, NAMES)["metrics"]
    entropies = [-(np.log(0.5) / 3 + 2 * np.log(0.25) / 3), -np.log(0.8)]
    assert metrics["test/cross_entropy"] == pytest.approx(np.mean(entropies))
    own = -(np.log(1 / 3) / 3 + 2 * np.log(2 / 3) / 3)
    assert metrics["test/kl_divergence"] == pytest.approx(np.mean([entropies[0] - own, entropies[1]]))
    assert metrics["test/accuracy"] == 0.5  # on the label, as in a classification


def test_drawn_labels_have_the_frequencies_of_the_votes():
    distribution = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]]).repeat(20_000, 1)
    labels = draw(distribution, torch.rand(20_000, generator=torch.Generator().manual_seed(0)))
    counts = labels.bincount(minlength=5) / 20_000
    assert counts[[0, 2, 4]].sum() == 0
    assert counts[1].item() == pytest.approx(0.25, abs=0.01)
    edges = draw(distribution[:2], torch.tensor([0.0, 1.0]))
    assert edges.tolist() == [1, 3]


def model(vote_mode, loss=EmotionLoss):
    torch.manual_seed(0)
    backbone = LeNet()
    head = MLPHead(backbone.output_shape(), 3, hidden=[16], dropout=[0.0])
    return SoftLabels(Network.of_pictures(backbone, head), VoteTarget(NAMES), vote_mode=vote_mode, loss=loss)


def batch():
    votes = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.5, 0.25]])
    images = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    return {"image": images, "emotion": torch.tensor([0, 1]), "votes": votes, "index": torch.tensor([7, 2])}


@pytest.mark.parametrize("vote_mode", ["cross_entropy", "probability"])
def test_loss_of_each_mode(vote_mode):
    task, each = model(vote_mode), batch()
    datamodule = SimpleNamespace(seed=3, samples=range(10))
    task._trainer = SimpleNamespace(datamodule=datamodule, current_epoch=0)
    seen = set()
    for epoch in range(20):
        task._trainer.current_epoch = epoch
        task.on_train_epoch_start()
        loss = task.training_step(each, 0)
        task.on_train_epoch_start()
        assert task.training_step(each, 0) == loss  # the same in the same epoch
        seen.add(round(loss.item(), 5))
    logits = task(each["image"])
    soft = F.cross_entropy(logits, each["votes"]).item()
    hard = {round(F.cross_entropy(logits, torch.tensor([0, label])).item(), 5) for label in range(3)}
    assert seen == ({round(soft, 5)} if vote_mode == "cross_entropy" else hard)
    assert task._step(each, "val")[0].item() == pytest.approx(soft)


def test_invalid_settings_are_refused(corpus, tmp_path):
    with pytest.raises(InputError, match=r"task\.vote_mode=mean is out of range: use cross_entropy or probability"):
        train(settings(corpus, tmp_path, "task.vote_mode=mean"), tmp_path)
    with pytest.raises(InputError, match=r"task\.vote_mode=mean is unknown"):
        model("mean")
    with pytest.raises(InputError, match=r"task\.loss\.focal_gamma=2 needs a single label"):
        model("cross_entropy", lambda counts: EmotionLoss(counts, focal_gamma=2))


def test_corpus_without_votes_is_one_sentence(cache, tmp_path):
    words = ["experiment=smoke", "task=soft_labels", "trainer.max_epochs=1", f"cache_dir={cache}", "logger=none"]
    with pytest.raises(InputError, match=r"^the corpus has no column votes_angry: task=soft_labels needs"):
        train(compose("train", words), tmp_path / "run")


def test_votes_of_own_csv_are_learned(pictures, tmp_path):
    rows = [
        {"path": f"{emotion}/p{subject}__{number}.png", "emotion": emotion, "subject": f"p{subject}"}
        | {f"votes_{name}": 7 if name == emotion else 2 for name in ("happy", "neutral", "sad")}
        for number, emotion in enumerate(("happy", "neutral", "sad"))
        for subject in range(10)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "votes.csv", index=False)
    words = ["dataset=image_folder", f"dataset.root={pictures}", f"dataset.csv={tmp_path / 'votes.csv'}"]
    own = [word for word in FAST if not word.startswith(("dataset=", "split="))]
    train(compose("train", [*own, *words, f"cache_dir={tmp_path / 'cache'}"]), tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    entropy = -(7 * np.log(7 / 11) + 4 * np.log(2 / 11)) / 11
    assert metrics["test/cross_entropy"] - metrics["test/kl_divergence"] == pytest.approx(entropy, abs=1e-5)


def test_results_have_scores_on_labels_and_on_votes(run):
    results = json.loads((run / "results.json").read_text())
    predictions = pd.read_csv(run / "predictions.csv")
    metrics = results["metrics"]
    assert results["task"] == "classification"
    assert results["class_names"] == NAMES
    for subset in ("train", "val", "test"):
        assert {f"{subset}/{name}" for name in ("uar", "cross_entropy", "kl_divergence", "loss")} <= set(metrics) | {
            "test/uar"
        }
    votes = distributions(predictions, NAMES)
    expected = -(votes * np.log(predictions[probability_columns(NAMES)].to_numpy())).sum(axis=1).mean()
    assert metrics["test/cross_entropy"] == pytest.approx(expected, rel=1e-5)
    assert metrics["test/loss"] == pytest.approx(expected, rel=1e-5)  # the loss is the cross entropy with the votes
    assert metrics["test/kl_divergence"] < metrics["test/cross_entropy"]
    assert (predictions["label"] == predictions["predicted"]).mean() == pytest.approx(metrics["test/accuracy"])
    assert results["history"][0]["val/kl_divergence"] > 0


def test_resumed_run_is_bit_identical(corpus, run, tmp_path):
    class Stop(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    folder, words = tmp_path / "run", settings(corpus, tmp_path, "task.vote_mode=probability")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(words, folder, callbacks=[Stop()])
    train(words, folder, resume=True)
    ours, theirs = load_run(folder).state_dict(), load_run(run).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (folder / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()


def test_modes_train_different_networks(corpus, run, tmp_path):
    train(settings(corpus, tmp_path), tmp_path / "run")
    ours, theirs = load_run(tmp_path / "run"), load_run(run)
    assert isinstance(ours, SoftLabels)
    assert not all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))


@pytest.mark.parametrize("command", ["predict", "evaluate", "report", "export"])
def test_commands_work_as_with_a_classification(run, corpus, fervid_command, tmp_path, capsys, command):
    words = {
        "predict": [f"run={run}", f"source={corpus}/FER2013Test"],
        "evaluate": [f"run={run}", f"cache_dir={corpus}/../cache"],
        "report": [f"runs={run}"],
        "export": [f"run={run}", "format=safetensors"],
    }
    fervid_command(command, *words[command], f"hydra.run.dir={tmp_path / 'out'}")
    assert "votes_" not in capsys.readouterr().out  # votes are not groups to compare
    if command == "report":
        (table,) = (tmp_path / "out" / "tables").glob("scores_1.csv")
        expected = json.loads((run / "results.json").read_text())["metrics"]["test/kl_divergence"]
        assert pd.read_csv(table)["divergence from votes"].tolist() == [pytest.approx(expected, abs=6e-4)]
    if command == "evaluate":
        (again,) = (tmp_path / "out" / "members").glob("*/results.json")
        before, after = (json.loads(file.read_text())["metrics"] for file in (run / "results.json", again))
        for name in ("test/uar", "test/cross_entropy", "test/kl_divergence"):
            assert after[name] == pytest.approx(before[name], abs=1e-6)


def test_fingerprint_depends_on_the_votes():
    table = samples((6, 3, 1, 0), (5, 5, 0, 0)).assign(emotion="happiness", split="train")
    hashes = np.zeros((2, 32), np.uint8)
    assert fingerprint(table, hashes) != fingerprint(table.assign(votes_neutral=[6, 4]), hashes)
