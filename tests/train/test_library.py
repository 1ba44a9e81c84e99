"""Training as a function: a configuration and a folder, nothing else."""

import json
import logging

import pytest
from hydra.core.hydra_config import HydraConfig
from joblib import Parallel, delayed

from fervid.cli import compose
from fervid.cli.folders import alone
from fervid.errors import InputError
from fervid.train.training import train

WORDS = ["experiment=smoke", "logger=none", "trainer.max_epochs=1", "+trainer.enable_progress_bar=false"]


def train_composed(words, folder):
    return train(compose("train", words), folder)


@pytest.fixture
def words(cache):
    return [*WORDS, f"cache_dir={cache}"]


def test_runs_from_plain_python_twice_in_one_process(words, tmp_path):
    handlers = logging.getLogger("fervid").handlers[:]
    scores = [train_composed([*words, "seed=3"], tmp_path / name) for name in ("one", "two")]
    assert scores[0] == scores[1]
    assert HydraConfig.instance().cfg is None
    assert logging.getLogger("fervid").handlers == handlers
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    assert one["metrics"] == two["metrics"]
    assert one["overrides"] == [*words, "seed=3"]
    assert one["choices"]["backbone"] == "lenet"
    assert "choices" not in one["config"]
    assert "overrides" not in one["config"]


@pytest.mark.filterwarnings("ignore:A worker stopped")  # loky replaces those that grow
def test_a_worker_process_needs_no_hydra_either(words, tmp_path):
    (score,) = Parallel(n_jobs=2, backend="loky")([delayed(train_composed)(words, tmp_path / "run")])
    assert score == json.loads((tmp_path / "run" / "results.json").read_text())["best_score"]


def test_a_finished_run_is_skipped_or_refused(words, tmp_path):
    config = compose("train", words)
    score = train(config, tmp_path)
    before = (tmp_path / "results.json").stat().st_mtime_ns
    with pytest.raises(InputError, match="already holds a finished run"):
        train(config, tmp_path)
    assert train(config, tmp_path, resume=True) == score
    with pytest.raises(InputError, match="finished run of other settings"):
        train(compose("train", [*words, "seed=7"]), tmp_path, resume=True)
    assert (tmp_path / "results.json").stat().st_mtime_ns == before


def test_a_folder_in_which_another_process_trains_is_refused(words, tmp_path):
    with alone(tmp_path), pytest.raises(InputError, match="another process is at work"):
        train_composed(words, tmp_path)
    score = train_composed(words, tmp_path)
    with alone(tmp_path):  # nothing is written: whoever skips a finished run takes it from nobody
        assert train(compose("train", words), tmp_path, resume=True) == score


def test_curves_lie_in_the_run_folder(words, tmp_path):
    words = [word for word in words if word != "logger=none"]
    train(compose("train", words), tmp_path / "run", test=False)
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    assert not (tmp_path / "run" / "results.json").exists()
