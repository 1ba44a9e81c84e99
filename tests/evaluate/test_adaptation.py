"""``python -m fervid.evaluate adapt=...``: runs that are adapted to the evaluated samples without their labels."""

import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from shared_runs import train_shared_run
from torch import nn

from fervid.errors import InputError
from fervid.evaluate.adaptation import divide_by_prior
from fervid.evaluate.network_adaptation import mean_entropy, minimise_entropy, replace_statistics, shuffled_parts
from fervid.report.systems import find_systems
from fervid.runs.run import open_run
from fervid.schema.predictions import probabilities

CORPUS = ("dataset.identities=6", "dataset.clips=1", "dataset.frames=2")
RENDERED = ("dataset=synthetic", *CORPUS)


@pytest.fixture(scope="session")
def normalised(tmp_path_factory, worker_id):
    """A run whose BatchNorm was trained: MobileNetV2 from random weights on rendered subjects, and its cache."""
    base = tmp_path_factory.getbasetemp()
    place = (base if worker_id == "master" else base.parent) / "normalised"
    folder, cache = place / "run", place / "cache"
    with FileLock(f"{place}.lock"):
        if not (folder / "results.json").exists():
            train_shared_run(
                [
                    *(*RENDERED, "split.val=0.34", "split.test=0.34", "dataset.batch_size=12", "finetune=full"),
                    *("backbone=mobilenet_v2", "backbone.weights=null", "backbone.image_size=32", "logger=none"),
                    *("trainer.max_epochs=2", "+trainer.enable_progress_bar=false", f"cache_dir={cache}"),
                    f"hydra.run.dir={folder}",
                ]
            )
    return folder, cache


@pytest.fixture
def adapt(fervid_command, normalised, tmp_path, monkeypatch):
    """Evaluates the run, or another one, and returns the written runs by the method of their adaptation."""
    folder, cache = normalised
    monkeypatch.setattr("fervid.evaluate.evaluation.compare", lambda *runs, **options: [])

    def run(*words, run=folder, cache=cache, name="out"):
        out = tmp_path / name
        fervid_command("evaluate", f"run={run}", "resamples=100", *words, f"cache_dir={cache}", f"hydra.run.dir={out}")
        found = [open_run(path.parent) for path in sorted((out / "members").glob("*/results.json"))]
        return {(each.results.get("adaptation") or {}).get("method"): each for each in found}

    return run


def digests(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_each_adaptation_is_a_line_beside_the_run_as_trained(adapt, normalised, capfd):
    before = digests(normalised[0])
    found = adapt("adapt=[class_prior,batch_norm,entropy]", "entropy.lr=0.01", "entropy.passes=2")
    assert digests(normalised[0]) == before  # the run is never changed
    assert list(found) == [None, "class_prior", "batch_norm", "entropy"]
    assert found[None].metric("test/uar") == open_run(normalised[0]).metric("test/uar")
    samples = len(found[None].predictions)
    record = {name: run.results.get("adaptation") for name, run in found.items()}
    assert record["batch_norm"] == {"method": "batch_norm", "seed": 0, "samples": samples, "layers": 52}
    assert record["entropy"] == {
        **{"method": "entropy", "lr": 0.01, "passes": 2, "seed": 0},
        **{"samples": samples, "layers": 52, "steps": 2},
    }
    assert set(record["class_prior"]["prior"]) == set(found[None].class_names)
    answers = [probabilities(run.predictions, run.class_names) for run in found.values()]
    for number, one in enumerate(answers):
        assert all(np.abs(one - other).max() > 1e-3 for other in answers[:number])
    assert not any(run.has_validation for name, run in found.items() if name)  # it would be that of the run as trained
    # A report takes them for systems of their own.
    systems, _, duplicates = find_systems(list(found.values()))
    assert [system.name for system in systems] == ["as trained", "class_prior", "batch_norm", "entropy"]
    assert not duplicates
    said = " ".join(capfd.readouterr().out.split())
    assert "run + class prior: the probabilities are divided by their mean over the evaluated frames" in said
    assert "each of their predictions depends on which frames are evaluated together" in said
    assert all(found[name].results["batch_invariance"]["holds"] for name in (None, "batch_norm", "entropy"))


def test_adaptations_are_repeatable_and_depend_on_the_frames(adapt):
    one, other = (adapt("adapt=[batch_norm,entropy]", name=name) for name in "ab")
    elsewhere = adapt("adapt=[batch_norm,entropy]", *RENDERED, "dataset.render_seed=5", name="c")
    for method in ("batch_norm", "entropy"):
        pd.testing.assert_frame_equal(one[method].predictions, other[method].predictions)
        assert elsewhere[method].setting("dataset") == "synthetic"
        assert elsewhere[method].results["adaptation"]["samples"] == 96  # all frames, not only a test subset


def test_class_prior_divides_by_the_mean_over_clips(adapt):
    found = adapt("adapt=class_prior")
    names = found[None].class_names
    before, after = (probabilities(found[name].predictions, names) for name in (None, "class_prior"))
    prior = found[None].predictions.groupby("clip")[[f"prob_{name}" for name in names]].mean().mean().to_numpy()
    expected = before / prior
    np.testing.assert_allclose(after, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(list(found["class_prior"].results["adaptation"]["prior"].values()), prior, atol=1e-5)


def test_every_clip_has_the_same_weight_in_the_prior():
    values = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.3, 0.7]])
    divided, prior = divide_by_prior(values, ["a", "a", "a", "b"])
    np.testing.assert_allclose(prior, [0.6, 0.4])
    np.testing.assert_allclose(divided[3], np.array([0.5, 1.75]) / 2.25)


def test_a_run_of_sounds_is_adapted_by_its_classes(adapt, recorded, cache):
    found = adapt("adapt=class_prior", run=recorded("sound").folder, cache=cache)
    names = found[None].class_names
    assert not np.allclose(*(probabilities(run.predictions, names) for run in found.values()))


def changed(folder, target, **settings):
    """A copy of the record of a run with other settings of its backbone."""
    results = json.loads((folder / "results.json").read_text())
    results["config"]["backbone"] |= settings
    (target / "results.json").write_text(json.dumps(results))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["adapt=dropout"], "adapt=dropout is unknown: choose class_prior, batch_norm, entropy, or a list of them"),
        (["adapt=entropy", "entropy.lr=-1"], "entropy.lr=-1 is out of range"),
        (["adapt=entropy", "entropy.passes=0"], "entropy.passes=0 is out of range"),
    ],
)
def test_wrong_settings_are_refused(words, message, adapt, capfd):
    with pytest.raises(SystemExit):
        adapt(*words)
    assert message in " ".join(capfd.readouterr().err.split())


def test_networks_without_what_is_adapted_are_refused(adapt, trained, recorded, normalised, tmp_path, cache, capfd):
    frozen = tmp_path / "frozen"
    shutil.copytree(normalised[0], frozen)
    changed(frozen, frozen, freeze_batchnorm=True)
    for words, message in (
        ({"run": trained.folder, "cache": trained.cache}, "and the network of"),
        ({"run": recorded("sound").folder, "cache": cache}, "was frozen or folded in training"),
        ({"run": frozen}, "was frozen or folded in training"),
        ({"run": f"[{normalised[0]},{frozen}]"}, "adapts a single run, but 2 members are given"),
    ):
        with pytest.raises(SystemExit):
            adapt("adapt=batch_norm", **words)
        assert message in " ".join(capfd.readouterr().err.split())
    with pytest.raises(SystemExit):
        adapt("adapt=entropy", run=trained.folder, cache=trained.cache)
    assert "trains the weights of normalisation layers, and the network of" in " ".join(capfd.readouterr().err.split())


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)

    def forward(self, batch):
        return self.last(self.norm(self.first(batch["image"])))


def batches(values, size, seed=0):
    return [{"image": values[torch.from_numpy(part)]} for part in shuffled_parts(len(values), size, seed)]


@pytest.mark.parametrize("size", [40, 60, 200])
def test_statistics_are_those_of_all_samples_whatever_the_batches(size):
    model, values = Small().eval(), 3 * torch.randn(101, 4) + 1
    replace_statistics(model, [model.norm], batches(values, size))
    inputs = model.first(values).detach()
    torch.testing.assert_close(model.norm.running_mean, inputs.mean(dim=0))
    torch.testing.assert_close(model.norm.running_var, inputs.var(dim=0), rtol=0.03, atol=0)
    assert not model.norm.training


def test_a_single_sample_has_no_statistics():
    model = Small().eval()
    with pytest.raises(InputError, match="a single sample has no statistics"):
        replace_statistics(model, [model.norm], batches(torch.randn(1, 4), 8))


def test_entropy_falls_and_only_normalisation_changes():
    model, values = Small().eval(), torch.randn(64, 4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    entropy = mean_entropy(model({"image": values}))
    found = minimise_entropy(model, [], [lambda: batches(values, 16)] * 3, lr=0.05)
    assert found == {"layers": 1, "steps": 12}
    assert mean_entropy(model({"image": values})) < entropy - 0.05
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"norm.weight", "norm.bias"}
