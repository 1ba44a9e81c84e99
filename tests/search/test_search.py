"""The command fervid.search."""

import re
import shutil
import sys

import optuna
import pytest
import torch
from optuna.storages.journal import JournalFileBackend

from fervid import search
from fervid.cli.folders import alone
from fervid.errors import InputError
from fervid.train import training

SMOKE = ["experiment=smoke", "logger=none", "+trainer.enable_progress_bar=false", "finetune.phases.1.epochs=1"]
SPACE = ["optimizer=adam,sgd_plain", "optimizer.lr=tag(log,interval(1e-4,1e-1))", "dataset.batch_size=4,8"]


@pytest.fixture
def fervid_search(monkeypatch, cache, tmp_path):
    def run(*words, trials=3):
        monkeypatch.setattr(
            sys, "argv", ["fervid.search", f"--trials={trials}", f"--folder={tmp_path}", f"cache_dir={cache}", *words]
        )
        search.main()

    return run


def study(folder):
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / "study.log")))
    return optuna.load_study(study_name="fervid", storage=storage)


def test_trials_are_runs_and_the_same_command_resumes(fervid_search, tmp_path, capfd):
    fervid_search(*SMOKE, *SPACE, trials=2)
    capfd.readouterr()
    fervid_search(*SMOKE, *SPACE, trials=3)
    output = capfd.readouterr().out
    assert "Resuming the search after 2 trials" in output
    trials = study(tmp_path).trials
    rates = [trial.params["optimizer.lr"] for trial in trials]
    assert len(set(rates)) == 3
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert {trial.params["dataset.batch_size"] for trial in trials} <= {"4", "8"}
    for trial in trials:
        state = torch.load(tmp_path / str(trial.number) / "checkpoints" / "best.ckpt", weights_only=True)
        assert state["run"]["settings"]["optimizer.lr"] == trial.params["optimizer.lr"]
        assert state["run"]["settings"]["optimizer._target_"].endswith(
            {"adam": "Adam", "sgd_plain": "SGD"}[trial.params["optimizer"]]
        )
    best = max(trials, key=lambda trial: trial.value)
    assert f"optimizer.lr={best.params['optimizer.lr']}" in output
    # The test set is not used.
    assert not list(tmp_path.rglob("predictions.csv"))
    assert "test recall" not in output


@pytest.mark.parametrize(
    "interrupt", [SystemExit, pytest.param(KeyboardInterrupt, marks=pytest.mark.slow)]
)  # what Lightning raises at Ctrl-C, and Ctrl-C itself
def test_interrupted_trial_is_run_again(fervid_search, tmp_path, monkeypatch, capfd, interrupt):
    drawn = []

    def killed_once(config, folder, callbacks, test, resume):
        drawn.append(config.optimizer.lr)
        if len(drawn) == 2:
            raise interrupt
        return 0.5

    monkeypatch.setattr(training, "train", killed_once)
    with pytest.raises(SystemExit):
        fervid_search(*SMOKE, *SPACE)
    fervid_search(*SMOKE, *SPACE)
    assert drawn[2] == drawn[1]
    states = [trial.state.name for trial in study(tmp_path).trials]
    assert sorted(states) == ["COMPLETE", "COMPLETE", "COMPLETE", "FAIL"]
    assert "run the same command again to resume" in capfd.readouterr().out


@pytest.mark.slow
def test_trial_below_the_median_is_stopped_early(fervid_search, tmp_path, monkeypatch, capfd):
    epochs = []

    def pretend(config, folder, callbacks, test, resume):
        number = len(epochs)
        epochs.append(0)

        class Trainer:
            callback_metrics = {"val/uar": 0.9 if number < 6 else 0.1}
            current_epoch = 0

        for Trainer.current_epoch in range(10):
            epochs[-1] += 1
            callbacks[0].on_train_epoch_end(Trainer, None)
        return Trainer.callback_metrics["val/uar"]

    monkeypatch.setattr(training, "train", pretend)
    fervid_search(*SMOKE, *SPACE, trials=8)
    assert epochs[:6] == [10] * 6
    assert all(ran < 10 for ran in epochs[6:])
    assert "(6 completed)" in capfd.readouterr().out


def test_loss_is_minimised(fervid_search, monkeypatch, capfd):
    scores = iter([0.5, 0.2, 0.9])
    monkeypatch.setattr(training, "train", lambda config, folder, callbacks, test, resume: next(scores))
    fervid_search(*SMOKE, *SPACE, "finetune.monitor=val/loss")
    assert re.findall(r"(0\.\d{4}) *$", capfd.readouterr().out, re.MULTILINE) == ["0.2000", "0.5000", "0.9000"]


def test_failing_trial_does_not_stop_the_search(fervid_search, monkeypatch, capfd):
    calls = []

    def second_fails(config, folder, callbacks, test, resume):
        calls.append(1)
        if len(calls) == 2:
            raise InputError("the second trial fails.")
        return 0.5

    monkeypatch.setattr(training, "train", second_fails)
    fervid_search(*SMOKE, *SPACE)
    output = capfd.readouterr().out
    assert "the second trial fails" in output
    assert "3 trials (2 completed)" in output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["optimizer=adam"], "nothing to search"),
        (["optimizer=adam,sdg"], "Did you mean optimizer=sgd?"),
        (["optimzer.lr=1,2"], "Did you mean optimizer.lr?"),
        (["optimizer.lr=interval(0.1"], "'interval(0.1'"),
        (["optimizer=adam,sgd", "--trials=0"], "--trials 0"),
        (["optimizer=adam,sgd", "--hours=0"], "--hours 0"),
    ],
)
def test_invalid_settings_give_one_sentence(fervid_search, capfd, words, sentence):
    with pytest.raises(SystemExit):
        fervid_search(*words)
    output = capfd.readouterr().err
    assert sentence in output
    assert output.startswith("fervid: ")
    assert output.count("\n") == 1


def test_another_search_in_the_same_folder_is_refused(fervid_search, monkeypatch, capfd):
    monkeypatch.setattr(training, "train", lambda config, folder, callbacks, test, resume: 0.5)
    fervid_search(*SMOKE, *SPACE)
    with pytest.raises(SystemExit):
        fervid_search(*SMOKE, *SPACE, "head=linear")
    assert "contains a search of other settings" in capfd.readouterr().err


def test_another_corpus_of_the_same_name_is_refused(fervid_search, monkeypatch, pictures, tmp_path, capfd):
    monkeypatch.setattr(training, "train", lambda config, folder, callbacks, test, resume: 0.5)
    corpus = ["dataset=image_folder", "dataset.subject_pattern='(.+)__'", "backbone=lenet"]
    space = ["dataset.batch_size=4,8", "split.seed=1,2"]
    fervid_search(*corpus, *space, f"dataset.root={pictures}")
    moved = shutil.copytree(pictures, tmp_path / "moved" / "pictures")
    fervid_search(*space[::-1], *corpus, f"dataset.root={moved}", trials=4)
    assert "Resuming the search after 3 trials" in capfd.readouterr().out
    (moved / "happy" / "p3__0.png").rename(moved / "sad" / "p3__0.png")
    with pytest.raises(SystemExit):
        fervid_search(*corpus, *space, f"dataset.root={moved}", trials=5)
    assert "contains a search on other data: choose another --folder" in capfd.readouterr().err
    assert len(study(tmp_path).trials) == 4


@pytest.mark.parametrize("words", [["--config-dir={}"], pytest.param(["-cd", "{}"], marks=pytest.mark.slow)])
def test_values_from_the_users_yaml_files_are_searched(fervid_search, monkeypatch, tmp_path, capfd, words):
    file = tmp_path / "conf" / "optimizer" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("_target_: torch.optim.SGD\n_partial_: true\nlr: 0.5\n")
    rates = []

    def remember(config, folder, callbacks, test, resume):
        rates.append(config.optimizer.lr)
        return config.optimizer.lr

    monkeypatch.setattr(training, "train", remember)
    fervid_search(*SMOKE, "optimizer=sgd,mine", *(word.format(file.parents[1]) for word in words), trials=8)
    assert 0.5 in rates
    best = capfd.readouterr().out.splitlines()[-1]
    assert f"fervid.train --config-dir={file.parents[1]} " in best
    assert best.endswith("optimizer=mine")


def test_two_searches_cannot_use_one_folder_at_once(fervid_search, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(training, "train", lambda config, folder, callbacks, test, resume: 0.5)
    with alone(tmp_path), pytest.raises(SystemExit):
        fervid_search(*SMOKE, *SPACE)
    assert "another process is using" in capfd.readouterr().err
    fervid_search(*SMOKE, *SPACE)
    assert not (tmp_path / ".lock").exists()


def test_truncated_study_log_is_resumed(fervid_search, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(training, "train", lambda config, folder, callbacks, test, resume: 0.5)
    fervid_search(*SMOKE, *SPACE, trials=2)
    log = tmp_path / "study.log"
    log.write_bytes(log.read_bytes()[:-20])
    (tmp_path / "study.log.lock").symlink_to("study.log")  # Optuna's lock file remains after a kill
    fervid_search(*SMOKE, *SPACE, trials=3)
    states = [trial.state.name for trial in study(tmp_path).trials]
    assert states.count("COMPLETE") == 3  # the end of the second trial was lost, so it was run again
    log.write_bytes(log.read_bytes().replace(b'"op_code"', b'"op_co', 1))
    capfd.readouterr()
    with pytest.raises(SystemExit):
        fervid_search(*SMOKE, *SPACE)
    output = capfd.readouterr().err
    assert "study.log is damaged" in output
    assert output.count("\n") == 1
