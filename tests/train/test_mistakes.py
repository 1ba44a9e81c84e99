"""Mistakes of the user are reported early, in one sentence, and nothing is overwritten."""

import os
import resource
import signal
import subprocess
import sys

import pytest
import torch

from fervid.cli import compose
from fervid.cli.mistakes import mistake
from fervid.errors import InputError
from fervid.train.training import train

SMOKE = ["experiment=smoke", "+trainer.enable_progress_bar=false"]


def command(*words):
    return [sys.executable, "-m", "fervid.train", *words]


BAD = [
    (["optimizer=sgdd"], "Did you mean optimizer=sgd?"),
    (["optimzer=sgd"], "there is no setting 'optimzer'. Did you mean optimizer?"),
    (["optimizer.momentun=0.9", "optimizer=sgd"], "Did you mean optimizer.momentum?"),
    (["optimizer.nesterov=true", "optimizer=sgd"], "+optimizer.nesterov=..."),
    (["dataset.batchsize=3"], "Did you mean dataset.batch_size?"),
    (["batch_size=3"], "Did you mean dataset.batch_size?"),
    (["optimizer.lr=abc"], "optimizer.lr=abc"),
    (["optimizer.lr=-0.1"], "optimizer.lr=-0.1 is out of range: use a positive number"),
    (["optimizer.lr=0"], "optimizer.lr=0 is out of range"),
    (["optimizer.lr=inf"], "optimizer.lr=inf is out of range"),
    (["optimizer.weight_decay=nan"], "optimizer.weight_decay=nan"),
    (["+optimizer.betas=[0.9]"], "the optimizer rejects its settings"),
    (["optimizer=sgd", "+optimizer.foreach=true"], "`fused` and `foreach` cannot be `True` together"),
    (["dataset.batch_size=0"], "dataset.batch_size=0"),
    (["dataset.batch_size=1000"], "dataset.batch_size=1000 is larger than the training subset"),
    (["~experiment", "dataset=image_folder"], "needs dataset.root"),
    (["~experiment", "dataset=image_folder", "dataset.root=/nowhere"], "dataset.root=/nowhere is not a folder"),
    (["backbone.image_size=6"], "picture of 6 px"),
    (["backbone.weights=/nowhere.pth"], "/nowhere.pth is not a file"),
    (["ckpt_path=/nowhere.ckpt"], "ckpt_path=/nowhere.ckpt is not a file"),
    (["finetune.phases.0.unfreeze_from=conv9"], "no stage 'conv9'"),
    (["task.loss.focal_gamma=-1"], "task.loss.focal_gamma=-1"),
    (["trainer=gpu"], "needs a CUDA device"),
    (["trainer.max_epochs=0"], "trainer.max_epochs=0"),
    (["seed=-1"], "seed=-1 is out of range: use 0 to 2^32 - 1"),
    (["seed=null"], "seed=None is not a number"),
    (["scheduler=step", "scheduler.step_size=0"], "the scheduler divides by zero"),
    (["scheduler=plateau", "scheduler.factor=2"], "the scheduler rejects its settings: Factor should be < 1.0"),
    (["scheduler=step", "scheduler.gamma=nan"], "scheduler.gamma=nan is not a number"),
    (["trainer.precision=bf16-true"], "trainer.precision=bf16-true is out of range: use 32-true"),
    (["trainer.precision=transformer-engine"], "trainer.precision=transformer-engine"),
    (["trainer.accelerator=tpu"], "trainer.accelerator=tpu"),
    (["+trainer.limit_train_batches=0"], "trainer.limit_train_batches=0"),
    (["+trainer.limit_train_batches=0.0001"], "You requested to check 0.0001"),
    (["+trainer.limit_val_batches=0"], "trainer.limit_val_batches=0"),
    (["+trainer.limit_test_batches=0"], "trainer.limit_test_batches=0"),
    (["+trainer.gradient_clip_val=nan"], "trainer.gradient_clip_val=nan is out of range: use a positive number"),
    (["+trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches=0"),
    (["+trainer.val_check_interval=100000"], "trainer.val_check_interval=100000"),
    (["+trainer.check_val_every_n_epoch=2"], "every epoch must be validated"),
    (["+trainer.detect_anomaly=maybe"], "trainer.detect_anomaly=maybe is out of range: use true or false"),
    (["+trainer.max_steps=1"], "epoch 1 ended before validation"),
    (["+trainer.max_time=00:00:00:00"], "training ended before its first epoch was finished"),
    (["dataset.num_workers=1000"], "dataset.num_workers=1000"),
    (["dataset.batch_size=1", "backbone=resnet18", "backbone.weights=null", "backbone.image_size=28"], "BatchNorm"),
    (["logger=tensorboard", "logger.save_dir=/proc/runs"], "/proc/runs cannot be written"),
    (["+trainer.foo=1"], "the trainer rejects its settings"),
    (["trainer.precision=bf16-mixed", "+trainer.gradient_clip_val=1"], "give optimizer.fused=false"),
    (["+optimizer.nestrov=true"], "the optimizer rejects its settings"),
    (["backbone._target_=nowhere.Net"], "nowhere cannot be imported: install the package"),
    (["backbone._target_=fervid.Nowhere"], "the settings of backbone cannot be used: No module named 'fervid.Nowhere'"),
    (["head.hidden=300"], "head.hidden=300 is not a list"),
    (["finetune.cached_views=abc"], "the settings of finetune cannot be used"),
    (["finetune.monitor=val/uarr"], "finetune.monitor=val/uarr is not logged"),
    (["split.test=0.9"], "split.val=0.34 and split.test=0.9"),
    (["backbone=torchvision", "backbone.name=resnet19"], "did you mean resnet1"),
    (["on_missing_weights=maybe", "backbone=alexnet"], "on_missing_weights=maybe"),
]


@pytest.mark.parametrize(("words", "match"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_a_mistake_is_one_sentence(cache, tmp_path, words, match):
    if words == ["trainer=gpu"] and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    preset = [] if words[0] == "~experiment" else SMOKE  # the preset uses the rendered corpus
    words = [*preset, f"cache_dir={cache}", *(word for word in words if word != "~experiment")]
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever it is, a command makes a sentence of it
        train(compose("train", words), tmp_path)
    found = mistake(raised.value, tmp_path)
    assert isinstance(found, InputError)
    assert match in str(found)
    assert "\n" not in str(found)
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(("words", "match"), [*BAD[:4], *BAD[-4:]], ids=lambda words: str(words))
def test_command_reports_a_mistake_in_one_line(fervid_train, tmp_path, capfd, words, match):
    with pytest.raises(SystemExit) as stop:
        fervid_train(*SMOKE, f"hydra.run.dir={tmp_path / 'run'}", *words)
    assert stop.value.code == 1
    error = capfd.readouterr().err
    assert match in error
    assert error.startswith("fervid: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.precision=bf16-true"],
        ["optimizer.lr=nan"],
        ["+optimizer.eps=-1"],
        ["scheduler=plateau", "scheduler.factor=2"],
        ["+trainer.foo=1"],
        ["finetune.monitor=val/uarr"],
    ],
    ids=" ".join,
)
def test_mistake_is_reported_before_corpus_is_prepared(tmp_path, words):
    with pytest.raises(InputError):
        train(compose("train", [*SMOKE, *words, f"cache_dir={tmp_path / 'cache'}"]), tmp_path / "run")
    assert not (tmp_path / "cache").exists()


def test_run_folder_that_cannot_be_created_is_one_sentence(fervid_train, capfd):
    with pytest.raises(SystemExit):
        fervid_train(*SMOKE, "hydra.run.dir=/proc/run")
    assert capfd.readouterr().err == "fervid: /proc/run cannot be written or read: no such file or directory.\n"


def test_a_folder_that_is_a_file_is_one_sentence(fervid_train, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        fervid_train(*SMOKE, f"hydra.run.dir={tmp_path / 'file' / 'run'}")
    output = capfd.readouterr().err
    assert "cannot be written or read: not a directory" in output
    assert "defect" not in output


def test_finished_run_is_not_overwritten(fervid_train, run, capfd):
    folder, _, _ = run
    before = (folder / "results.json").read_bytes()
    with pytest.raises(SystemExit):
        fervid_train(*SMOKE, f"hydra.run.dir={folder}")
    assert "already contains a finished run" in capfd.readouterr().err
    assert (folder / "results.json").read_bytes() == before


def test_a_full_disk_is_one_sentence(tmp_path):
    """Limits files to 60 kB, which is too small for the face cache."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    words = [*SMOKE, f"cache_dir={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'run'}"]
    process = subprocess.run(command(*words), capture_output=True, text=True, preexec_fn=limit, env=os.environ)
    assert process.returncode == 1
    assert "has no room for" in process.stderr
    assert "Traceback" not in process.stderr
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_group_unknown_to_a_command_is_reported(fervid_command, tmp_path, capfd):
    for name, word, own in (
        ("audit", "backbone=vgg16", "dataset, split"),
        ("baseline", "optimizer=sgd", "dataset, split"),
    ):
        with pytest.raises(SystemExit):
            fervid_command(name, word, f"hydra.run.dir={tmp_path}")
        output = capfd.readouterr().err
        assert f"this command has no group {word.partition('=')[0]}" in output
        assert own in output
        assert output.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["ckpt_path=/nowhere.ckpt"],
        ["split=csv", "split.path=/nowhere.csv"],
        ["dataset=image_folder", "dataset.root=/tmp", "dataset.csv=/nowhere.csv"],
    ],
)
def test_missing_files_are_reported_before_libraries_are_loaded(words, tmp_path):
    code = "import sys; from fervid.train import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code, *words, f"hydra.run.dir={tmp_path}/run"], capture_output=True, text=True
    )
    assert process.returncode == 1
    assert words[-1] in process.stderr
    assert len(process.stderr.splitlines()) == 1
    assert process.stdout == "False\n"
