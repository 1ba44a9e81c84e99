"""Sweeps: their names, and resuming them by the same command."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import pytorch_lightning as pl
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from fervid.cli.folders import alone
from fervid.cli.sweeps import sweep_name
from fervid.report.score_tables import score_table
from fervid.report.systems import find_systems
from fervid.runs.run import find_runs
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.train import main, training

SMOKE = ["experiment=smoke", "trainer.max_epochs=3", "logger=none", "+trainer.enable_progress_bar=false"]
FOUR = ["-m", *SMOKE, "optimizer=adam,sgd_plain", "seed=1,2"]


def reached(folder):
    """Returns the score table of a sweep."""
    runs, unusable = find_runs(str(folder))
    assert not unusable
    return score_table(find_systems(runs)[0], 1, resamples=200, seed=0).text()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    """The folder of a sweep that was not interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        GlobalHydra.instance().clear()
        patch.setattr("sys.argv", ["fervid.train", *FOUR, f"hydra.sweep.dir={folder}", f"cache_dir={cache}"])
        main()
    return folder


def test_sweep_name_depends_on_the_settings():
    assert sweep_name(FOUR) == sweep_name([*FOUR])
    assert sweep_name(FOUR).startswith("optimizer-seed-")
    assert sweep_name(["-m", "sweep=seeds", "backbone=vgg16"]).startswith("seeds-")
    names = [sweep_name([*FOUR, word]) for word in ("dataset.batch_size=4", "dataset.batch_size=8", "seed=1,3")]
    assert len({*names, sweep_name(FOUR)}) == 4
    assert sweep_name([*FOUR, "hydra.verbose=true"]) == sweep_name(FOUR)


SWEEPS = {
    "ised_optimizers": {"experiment": ["ised_lenet", "ised_alexnet"], "optimizer": ["sgd_plain", "rmsprop", "adam"]},
    "ised_batch_size": {"experiment": ["ised_lenet", "ised_alexnet"], "dataset.batch_size": ["10", "100"]},
    "enterface_image_size": {"backbone.image_size": ["100", "50", "20"]},
    "hf_backbones": {"experiment": ["hf_efficientnet_b2", "hf_mobilenet_v2", "hf_vgg16"]},
    "cross_validation": {"split.fold": ["0", "1", "2", "3", "4"]},
    "seeds": {"seed": ["0", "1", "2", "3", "4"]},
}

PAPERS = {"ised_optimizers": "ised", "ised_batch_size": "ised", "enterface_image_size": "enterface"}
PAPERS |= {"hf_backbones": "hf_faces"}


@pytest.mark.parametrize("name", SWEEPS)
def test_sweep_varies_the_documented_settings(name):
    with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
        config = compose("train", [f"sweep={name}"], return_hydra_config=True)
        params = dict(config.hydra.sweeper.params)
        assert config.hydra.mode.name == "MULTIRUN"
        overrides = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])
        varied = {
            each.get_key_element(): list(each.sweep_string_iterator()) if each.is_sweep_override() else [each.value()]
            for each in overrides
        }
        assert varied == SWEEPS[name]
        for key, values in varied.items():  # each job can be composed
            for value in values:
                words = [f"{other}={options[0]}" for other, options in varied.items() if other != key]
                job = compose("train", [f"sweep={name}", *words, f"{key}={value}"])
                assert (job.paper.name if "paper" in job else None) == PAPERS.get(name)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        pytest.param(["sweep=ised_optimizers", "dataset.root=corpus", "~split.counts"], 6, marks=SLOW),
        pytest.param(["sweep=ised_batch_size", "dataset.root=corpus", "split=subject"], 4, marks=SLOW),
        (["sweep=enterface_image_size", "dataset.root=corpus", "dataset.frames_per_clip=6"], 3),
        (["sweep=hf_backbones", "dataset.root=corpus", "split=clips"], 3),
        (["sweep=cross_validation", "split.k=3", "split.fold=range(3)", "dataset=ravdess", "dataset.root=corpus"], 3),
        pytest.param(
            ["sweep=cross_validation", "split=published_folds", "split.folds=ravdess_6", "split.fold=range(6)"],
            6,
            marks=pytest.mark.slow,
        ),
        pytest.param(["sweep=seeds", "experiment=ravdess_vgg16", "dataset.root=corpus"], 5, marks=SLOW),
        (["experiment=ised_lenet,ised_alexnet", "++dataset.root=corpus"], 2),
    ],
)
def test_sweep_accepts_settings_of_its_preset(fervid_train, monkeypatch, tmp_path, words, jobs):
    configs = []
    monkeypatch.setattr(training, "train", lambda config, folder, resume: configs.append(config) or 0.5)
    monkeypatch.chdir(tmp_path)
    Path("corpus").mkdir()  # looked for before a job begins
    fervid_train("-m", *words, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert len(configs) == jobs
    assert len({str(config) for config in configs}) == jobs
    if any("root" in word for word in words):
        assert {config.dataset.root for config in configs} == {"corpus"}


def test_setting_of_only_some_presets_is_explained(fervid_train, capfd, tmp_path):
    with pytest.raises(SystemExit):
        fervid_train("-m", "experiment=ised_lenet,ised_alexnet", "dataset.root=x", f"hydra.sweep.dir={tmp_path}")
    assert "write ++dataset.root=" in capfd.readouterr().err


class Stop(pl.Callback):
    """Ctrl-C in the second epoch."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            raise SystemExit


@pytest.mark.parametrize("damaged", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_interrupted_sweep_resumes_with_identical_results(
    fervid_train, undisturbed, tmp_path, monkeypatch, capfd, damaged
):
    jobs, make = [], training.make_trainer

    def stopped_in_the_third(config, folder, callbacks, checkpoint_io):
        jobs.append(folder.name)
        if len(jobs) == 3:
            if damaged:
                (folder / "checkpoints").mkdir()
                (folder / "checkpoints" / "last.ckpt").write_bytes(b"half")
                raise KeyboardInterrupt
            callbacks = [*callbacks, Stop()]
        return make(config, folder, callbacks, checkpoint_io)

    monkeypatch.setattr(training, "make_trainer", stopped_in_the_third)
    words = [*FOUR, f"hydra.sweep.dir={tmp_path / 'disturbed'}"]
    with pytest.raises(SystemExit):
        fervid_train(*words)
    assert jobs == ["0", "1", "2"]
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "disturbed").glob("*/results.json")}
    assert len(finished) == 2
    capfd.readouterr()
    fervid_train(*words)
    assert jobs[3:] == ["2", "3"]
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())
    output = capfd.readouterr().out
    assert "job 0 is already finished" in output
    assert ("resuming job 2" in output) != damaged
    assert "Jobs of this sweep" in output
    pd.testing.assert_frame_equal(reached(tmp_path / "disturbed"), reached(undisturbed))
    for job in range(4):
        one, other = (folder / str(job) / "predictions.csv" for folder in (tmp_path / "disturbed", undisturbed))
        assert one.read_bytes() == other.read_bytes()


def test_only_failed_jobs_are_run_again(fervid_train, tmp_path, monkeypatch, capfd):
    words = ["-m", *SMOKE, "optimizer=adam,sgd_plain", f"hydra.sweep.dir={tmp_path}"]
    jobs, make = [], training.make_trainer

    def broken(config, folder, callbacks, checkpoint_io):
        jobs.append(folder.name)
        if config.optimizer._target_ == "torch.optim.SGD":
            raise OSError("the plug was pulled")
        return make(config, folder, callbacks, checkpoint_io)

    monkeypatch.setattr(training, "make_trainer", broken)
    with pytest.raises(SystemExit):
        fervid_train(*words)
    output = capfd.readouterr()
    assert "failed:" in output.out
    assert "the plug was pulled" in output.out
    assert [path.parent.name for path in tmp_path.glob("*/results.json")] == ["0"]
    monkeypatch.setattr(training, "make_trainer", lambda *args: jobs.append(args[1].name) or make(*args))
    fervid_train(*words)
    assert jobs == ["0", "1", "1"]
    assert "failed:" not in capfd.readouterr().out


def test_finished_folder_with_other_settings_is_refused(fervid_train, tmp_path, capfd):
    words = ["-m", *SMOKE, f"hydra.sweep.dir={tmp_path}"]
    fervid_train(*words, "seed=1")
    before = (tmp_path / "0" / "results.json").read_bytes()
    with pytest.raises(SystemExit):
        fervid_train(*words, "seed=2")
    assert "finished run with other settings" in capfd.readouterr().err
    assert (tmp_path / "0" / "results.json").read_bytes() == before


@pytest.mark.slow
def test_cache_folder_does_not_change_the_run(fervid_train, tmp_path, capfd):
    words = ["-m", *SMOKE, "seed=1", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    fervid_train(*words, f"cache_dir={tmp_path / 'one'}")
    fervid_train(*words, f"cache_dir={tmp_path / 'other'}")
    assert "job 0 is already finished" in capfd.readouterr().out


def test_two_processes_cannot_use_one_run_folder(fervid_train, tmp_path, capfd):
    with alone(tmp_path), pytest.raises(SystemExit):
        fervid_train(*SMOKE, f"hydra.run.dir={tmp_path}")
    assert "another process is using" in capfd.readouterr().err


HOLDING = """
import sys
from pathlib import Path
from fervid.cli.folders import alone

with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_start_of_a_sweep_is_refused_and_keeps_its_state(fervid_train, tmp_path, capfd):
    words = ["-m", *SMOKE, "seed=1", f"hydra.sweep.dir={tmp_path}"]
    fervid_train(*words)
    state = (tmp_path / "jobs" / "0.json").read_bytes()
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with first:
        assert first.stdout.readline() == "held\n"
        capfd.readouterr()
        with pytest.raises(SystemExit):
            fervid_train(*words)
        output = capfd.readouterr().err
        assert f"fervid: another process is using {tmp_path} (process {first.pid} on " in output
        assert (tmp_path / "jobs" / "0.json").read_bytes() == state
        first.kill()
    fervid_train(*words)
    with alone(tmp_path):  # it is free as soon as the command has ended
        pass


@pytest.mark.slow
def test_killed_sweep_resumes_with_identical_results(tmp_path):
    command = [sys.executable, "-m", "fervid.train", *FOUR, "trainer.max_epochs=12", f"cache_dir={tmp_path / 'cache'}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    folders = {name: tmp_path / name for name in ("undisturbed", "disturbed")}
    for folder in folders.values():
        folder.mkdir()
    subprocess.run(command, cwd=folders["undisturbed"], env=environment, check=True, capture_output=True)
    process = subprocess.Popen(
        command,
        cwd=folders["disturbed"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not list(folders["disturbed"].glob("runs/*/2/checkpoints/last.ckpt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list(folders["disturbed"].glob("runs/*/*/results.json"))) == 2
    subprocess.run(command, cwd=folders["disturbed"], env=environment, check=True, capture_output=True)
    ends = [reached(folder) for folder in folders.values()]
    pd.testing.assert_frame_equal(*ends)
    predictions = [sorted(folder.glob("runs/*/*/predictions.csv")) for folder in folders.values()]
    assert len(predictions[0]) == 4
    for one, other in zip(*predictions, strict=True):
        assert one.read_bytes() == other.read_bytes()
    histories = [
        [
            [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in results["history"]]
            for results in (json.loads(path.with_name("results.json").read_text()) for path in paths)
        ]
        for paths in predictions
    ]
    assert histories[0] == histories[1]
