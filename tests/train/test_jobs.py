"""Jobs of a sweep, which share a process."""

import weakref

import pytest

from fervid.train import training

SMOKE = ["experiment=smoke", "+trainer.enable_progress_bar=false"]


@pytest.mark.slow
def test_sweep_continues_after_failed_job(fervid_train, tmp_path, capfd):
    words = ["-m", *SMOKE, f"hydra.sweep.dir={tmp_path}", "logger=none", "trainer.max_epochs=1"]
    with pytest.raises(SystemExit) as stop:
        fervid_train(*words, "optimizer=adam,sgd", "optimizer.lr=-1,0.001")
    assert stop.value.code == 1
    assert sorted(path.parent.name for path in tmp_path.glob("*/results.json")) == ["1", "3"]
    assert "optimizer.lr=-1 is out of range" in capfd.readouterr().err


@pytest.mark.slow
def test_sweep_frees_models_of_ended_jobs(fervid_train, tmp_path, monkeypatch):
    models, alive, make = [], [], training.make_model

    def remember(*args):
        alive.append(sum(model() is not None for model in models))
        model = make(*args)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(training, "make_model", remember)
    words = ["-m", *SMOKE, f"hydra.sweep.dir={tmp_path}", "logger=none", "trainer.max_epochs=1", "seed=1,2"]
    with pytest.raises(SystemExit):
        fervid_train(*words, "+trainer.max_steps=1,-1")  # the first two fail after an epoch
    assert alive == [0, 0, 0, 0]


def test_sweep_rejects_several_devices(fervid_train, tmp_path, capfd):
    with pytest.raises(SystemExit):
        fervid_train("-m", *SMOKE, f"hydra.sweep.dir={tmp_path}", "trainer.devices=2", "seed=1,2")
    assert "cannot use trainer.devices=2" in capfd.readouterr().err


@pytest.mark.slow
def test_six_jobs_share_cached_files(fervid_train, tmp_path):
    words = ["-m", *SMOKE, f"hydra.sweep.dir={tmp_path / 'sweep'}", f"cache_dir={tmp_path / 'cache'}", "logger=none"]
    fervid_train(*words, "optimizer=sgd,rmsprop,adam", "dataset.batch_size=4,8", "finetune=frozen")
    assert len(list((tmp_path / "sweep").glob("*/results.json"))) == 6
    assert len(list((tmp_path / "sweep").glob("*/*.log"))) == 6
    assert len({path.name for path in (tmp_path / "sweep").glob("*/*.log")}) == 1
    assert len(list((tmp_path / "cache").rglob("features/*.npy"))) == 1
    assert len(list((tmp_path / "cache").glob("*/faces_28.npy"))) == 1
