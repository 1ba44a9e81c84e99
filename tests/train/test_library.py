"""Training as a function of a configuration and a folder."""

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


def test_train_can_be_called_twice_from_python(words, tmp_path):
    handlers = logging.getLogger("fervid").handlers[:]
    hydra = HydraConfig.instance().cfg  # of a command that another test has run in this process, if any
    scores = [train_composed([*words, "seed=3"], tmp_path / name) for name in ("one", "two")]
    assert scores[0] == scores[1]
    assert HydraConfig.instance().cfg is hydra
    assert logging.getLogger("fervid").handlers == handlers
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    assert one["metrics"] == two["metrics"]
    assert one["overrides"] == [*words, "seed=3"]
    assert one["choices"]["backbone"] == "lenet"
    assert "choices" not in one["config"]
    assert "overrides" not in one["config"]


@pytest.mark.filterwarnings("ignore:A worker stopped")  # loky replaces workers whose memory grows
def test_train_can_be_called_in_worker_process(words, tmp_path):
    (score,) = Parallel(n_jobs=2, backend="loky")([delayed(train_composed)(words, tmp_path / "run")])
    assert score == json.loads((tmp_path / "run" / "results.json").read_text())["best_score"]


def test_finished_run_is_skipped_or_rejected(words, tmp_path):
    config = compose("train", words)
    score = train(config, tmp_path)
    before = (tmp_path / "results.json").stat().st_mtime_ns
    with pytest.raises(InputError, match="already contains a finished run"):
        train(config, tmp_path)
    assert train(config, tmp_path, resume=True) == score
    with pytest.raises(InputError, match="finished run with other settings"):
        train(compose("train", [*words, "seed=7"]), tmp_path, resume=True)
    assert (tmp_path / "results.json").stat().st_mtime_ns == before


@pytest.fixture
def of_pictures(pictures, tmp_path):
    """A configuration of a run on the folder of pictures."""
    corpus = ["dataset=image_folder", f"dataset.root={pictures}", "dataset.subject_pattern='(.+)__'"]
    small = ["backbone=lenet", "logger=none", "trainer.max_epochs=1", "dataset.batch_size=4"]
    return compose("train", [*corpus, *small, "+trainer.enable_progress_bar=false", f"cache_dir={tmp_path / 'cache'}"])


def test_edited_corpus_is_other_data(of_pictures, pictures, tmp_path, caplog):
    caplog.set_level(logging.INFO, "fervid")
    folder = tmp_path / "run"
    score = train(of_pictures, folder)
    (pictures / "happy" / "p3__0.png").rename(pictures / "sad" / "p3__0.png")
    with pytest.raises(InputError, match="contains a finished run on other data: choose another"):
        train(of_pictures, folder, resume=True)
    (folder / "results.json").rename(folder / "kept.json")  # as if it had been interrupted
    train(of_pictures, folder, test=False, resume=True)
    assert "belongs to another run: the job starts again" in caplog.text

    (folder / "kept.json").rename(folder / "results.json")
    (pictures / "sad" / "p3__0.png").rename(pictures / "happy" / "p3__0.png")
    assert train(of_pictures, folder, resume=True) == score
    assert "cannot check" not in caplog.text


def test_finished_run_with_missing_corpus_is_skipped(of_pictures, pictures, tmp_path, caplog):
    caplog.set_level(logging.INFO, "fervid")
    score = train(of_pictures, tmp_path / "run")
    pictures.rename(tmp_path / "elsewhere")
    assert train(of_pictures, tmp_path / "run", resume=True) == score
    assert f"cannot check whether its data are unchanged: dataset.root={pictures} is not a folder" in caplog.text
    of_pictures.dataset.root = str(tmp_path / "misspelt")
    with pytest.raises(InputError, match="misspelt is not a folder"):
        train(of_pictures, tmp_path / "run", resume=True)


def test_folder_locked_by_another_process_is_an_error(words, tmp_path):
    with alone(tmp_path), pytest.raises(InputError, match="another process is using"):
        train_composed(words, tmp_path)
    score = train_composed(words, tmp_path)
    with alone(tmp_path):  # skipping a finished run writes nothing and needs no lock
        assert train(compose("train", words), tmp_path, resume=True) == score


def test_curves_are_in_run_folder(words, tmp_path):
    words = [word for word in words if word != "logger=none"]
    train(compose("train", words), tmp_path / "run", test=False)
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    assert not (tmp_path / "run" / "results.json").exists()
