"""The whole command, as a user types it."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import fervid
from fervid.metrics.scores import scores
from fervid.schema.errors import InputError
from fervid.train.trainer import allow_tf32

SMOKE = ["experiment=smoke", "+trainer.enable_progress_bar=false"]


def command(*words, **options):
    return [sys.executable, "-m", "fervid.train", *words]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run through both phases, shared by the tests that only look at it."""
    folder = tmp_path_factory.mktemp("run") / "folder"
    words = [*SMOKE, f"hydra.run.dir={folder}", f"cache_dir={folder.parent / 'cache'}"]
    process = subprocess.run(command(*words), capture_output=True, text=True, cwd=folder.parent)
    assert process.returncode == 0, process.stderr
    return folder, process.stdout, process.stderr


def test_everything_a_run_leaves_lies_in_its_folder(run):
    folder, _, _ = run
    assert {path.name for path in folder.parent.iterdir()} == {"folder", "cache"}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} >= {
        ".hydra/config.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "confusion_matrix.png",
        "curves.png",
        "manifest.parquet",
        "predictions.csv",
        "results.json",
        "sample_predictions.png",
        "train.log",
    }


def test_the_results_say_what_happened(run):
    folder, _, _ = run
    results = json.loads((folder / "results.json").read_text())
    assert results["data"]["frames"] == 96
    assert results["data"]["subjects"] == 6
    assert sum(results["data"]["split"].values()) == 96
    leakage = results["leakage"]
    assert leakage["level"] == "subject-independent"
    assert (leakage["subjects"]["count"], leakage["clips"]["count"], leakage["strangers"]) == (0, 0, 0)
    assert not (folder / "leaks.png").exists()
    assert results["epochs"] == len(results["history"]) == 4
    assert results["parameters"]["total"] == 61_496 + 4 * 85  # the paper's four classes, and four more
    assert results["parameters"]["trainable"]["frozen"] == 61_496 + 4 * 85 - 456 - 2416
    assert results["weights"] == {
        "requested": None,
        "source": "random",
        "sha256": None,
        "missing": None,
        "unwrapped": None,
    }
    assert set(results["seconds"]) == {"prepare", "fit", "test", "by_phase", "by_epoch"}
    assert results["versions"]["torch"] == torch.__version__.split("+")[0]
    assert results["seed"] == 42


def test_the_predictions_give_the_scores(run):
    folder, _, _ = run
    results = json.loads((folder / "results.json").read_text())
    table = pd.read_csv(folder / "predictions.csv")
    names = results["class_names"]
    assert len(table) == results["data"]["split"]["test"]
    chances = table[[f"p_{name}" for name in names]].to_numpy()
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5)
    assert (table["predicted"] == np.array(names)[chances.argmax(axis=1)]).all()
    confusion = pd.crosstab(table["true"], table["predicted"]).reindex(index=names, columns=names, fill_value=0)
    assert confusion.to_numpy().tolist() == results["confusion"]
    for name, value in scores(confusion.to_numpy()).means().items():
        assert results["metrics"][f"test/{name}"] == pytest.approx(value)
    manifest = pd.read_parquet(folder / "manifest.parquet")
    assert table["index"].tolist() == manifest.index[manifest["split"] == "test"].tolist()
    assert (manifest.loc[table["index"], "emotion"].to_numpy() == table["true"]).all()


def test_the_run_opens_in_one_line(run):
    folder, _, _ = run
    model = fervid.load_run(folder)
    table = pd.read_csv(folder / "predictions.csv")
    from fervid.data import SyntheticDataModule

    datamodule = SyntheticDataModule(
        identities=6,
        clips=1,
        frames=2,
        image_size=28,
        cache_dir=folder.parent / "cache",
        split=lambda m: ["train"] * len(m),
    )
    datamodule.prepare_data()
    dataset_rows = datamodule.frames.index
    from fervid.data.store import FaceStore

    faces = FaceStore(datamodule.store_path)[dataset_rows[table["index"]].to_numpy()]
    with torch.no_grad():
        chances = model(torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255).softmax(1).numpy()
    assert np.allclose(chances, table[[f"p_{name}" for name in model.class_names]], atol=1e-5)


def test_a_tampered_run_runs_no_code(run, tmp_path):
    folder, _, _ = run
    shutil.copytree(folder, tmp_path / "run")
    results = tmp_path / "run" / "results.json"
    results.write_text(results.read_text().replace("fervid.models.paper_backbones.LeNet", "os.system"))
    with pytest.raises(InputError, match=r"names os.system in its configuration"):
        fervid.load_run(tmp_path / "run")
    with pytest.raises(InputError, match="holds no finished run"):
        fervid.load_run(tmp_path)


@pytest.mark.parametrize("part", ["backbone", "head", "optimizer"])
def test_no_depth_of_a_tampered_run_runs_code(run, tmp_path, part):
    folder, _, _ = run
    shutil.copytree(folder, tmp_path / "run")
    file = tmp_path / "run" / "results.json"
    results = json.loads(file.read_text())
    results["config"][part]["extra"] = {"_target_": "torch.save", "obj": 1, "f": str(tmp_path / "written")}
    file.write_text(json.dumps(results))
    if part == "optimizer":
        fervid.load_run(tmp_path / "run")  # needs none
    else:
        with pytest.raises(InputError, match=r"names torch.save"):
            fervid.load_run(tmp_path / "run")
    assert not (tmp_path / "written").exists()


def test_tensorboard_shows_curves_figures_and_one_hparams_row(run):
    folder, _, _ = run
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "val/loss", "val/uar", "train_lr/head"} <= set(tags["scalars"])
    assert {"view/curves", "view/confusion_matrix", "view/sample_predictions"} == set(tags["images"])
    (shown,) = events.Images("view/confusion_matrix")
    assert shown.encoded_image_string == (folder / "confusion_matrix.png").read_bytes()
    assert (shown.height, shown.width) == cv2.imread(str(folder / "confusion_matrix.png")).shape[:2]
    assert shown.step == 3
    assert min([*tags["scalars"], *tags["images"]]).startswith("train/")  # what TensorBoard shows first
    assert not [name for name in tags["scalars"] if name.startswith(("test", "train_recall"))]
    assert [event.step for event in events.Scalars("val/uar")] == [0, 1, 2, 3]
    assert "hp_metric" not in tags["scalars"]
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_float32_stays_float32_after_a_job_with_mixed_precision():
    try:
        for precision, matmul in (("bf16-mixed", "high"), ("32-true", "highest")):
            allow_tf32(precision)
            assert torch.get_float32_matmul_precision() == matmul
            assert torch.backends.cudnn.allow_tf32 == (matmul == "high")
    finally:
        torch.backends.cudnn.allow_tf32 = True  # as torch has it by itself


def test_the_terminal_tells_it_in_short(run):
    _, out, err = run
    assert "frames by emotion and split" in out
    assert "what was reached" in out
    assert "tensorboard --logdir" in out
    assert "Warning" not in err + out
    assert "litlogger" not in err + out


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"]])
def test_help_answers_at_once(words):
    """In seconds of the processor: 0.4 where nothing else runs; importing torch alone would take two."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run(command(*words), capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process.returncode == 0
    assert "optimizer" in process.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize(
    "words",
    [
        ["ckpt_path=/nowhere.ckpt"],
        ["split=file", "split.path=/nowhere.csv"],
        ["dataset=image_folder", "dataset.root=/tmp", "dataset.csv=/nowhere.csv"],
    ],
)
def test_what_is_not_there_is_told_before_anything_is_loaded(words, tmp_path):
    code = "import sys; from fervid.train import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code, *words, f"hydra.run.dir={tmp_path}/run"], capture_output=True, text=True
    )
    assert process.returncode == 1
    assert words[-1] in process.stderr
    assert len(process.stderr.splitlines()) == 1
    assert process.stdout == "False\n"


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
    (["+optimizer.betas=[0.9]"], "the optimizer does not take its settings"),
    (["optimizer=sgd", "+optimizer.foreach=true"], "`fused` and `foreach` cannot be `True` together"),
    (["dataset.batch_size=0"], "dataset.batch_size=0"),
    (["dataset.batch_size=1000"], "dataset.batch_size=1000 is larger than the training side"),
    (["~experiment", "dataset=image_folder"], "needs dataset.root"),
    (["~experiment", "dataset=image_folder", "dataset.root=/nowhere"], "dataset.root=/nowhere is not a folder"),
    (["backbone.image_size=6"], "picture of 6 px"),
    (["backbone.weights=/nowhere.pth"], "/nowhere.pth is not a file"),
    (["ckpt_path=/nowhere.ckpt"], "ckpt_path=/nowhere.ckpt is not a file"),
    (["finetune.phases.0.first_stage=conv9"], "no stage 'conv9'"),
    (["task.loss.focal_gamma=-1"], "task.loss.focal_gamma=-1"),
    (["trainer=gpu"], "needs a CUDA device"),
    (["trainer.max_epochs=0"], "trainer.max_epochs=0"),
    (["seed=-1"], "seed=-1 is out of range: use 0 to 2^32 - 1"),
    (["seed=null"], "seed=None is not a number"),
    (["scheduler=step", "scheduler.step_size=0"], "the scheduler divides by zero"),
    (["scheduler=plateau", "scheduler.factor=2"], "the scheduler does not take its settings: Factor should be < 1.0"),
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
    (["+trainer.check_val_every_n_epoch=2"], "every epoch is validated"),
    (["+trainer.detect_anomaly=maybe"], "trainer.detect_anomaly=maybe is out of range: use true or false"),
    (["+trainer.max_steps=1"], "epoch 1 ended before validation"),
    (["+trainer.max_time=00:00:00:00"], "training ended before its first epoch was finished"),
    (["dataset.num_workers=1000"], "dataset.num_workers=1000"),
    (["dataset.batch_size=1", "backbone=resnet18", "backbone.weights=null", "backbone.image_size=28"], "BatchNorm"),
    (["logger=tensorboard", "logger.save_dir=/proc/runs"], "/proc/runs cannot be written"),
    (["+trainer.foo=1"], "the trainer does not take its settings"),
    (["trainer.precision=bf16-mixed", "+trainer.gradient_clip_val=1"], "give optimizer.fused=false"),
    (["+optimizer.nestrov=true"], "the optimizer does not take its settings"),
    (["head.hidden=300"], "head.hidden=300 is not a list"),
    (["finetune.views=abc"], "the settings of finetune cannot be used"),
    (["finetune.monitor=val/uarr"], "finetune.monitor=val/uarr is not logged"),
    (["split.test=0.9"], "split.val=0.34 and split.test=0.9"),
    (["backbone=torchvision", "backbone.name=resnet19"], "did you mean resnet1"),
    (["on_missing_weights=maybe", "backbone=alexnet"], "on_missing_weights=maybe"),
]


@pytest.mark.parametrize(("words", "match"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_a_mistake_is_one_sentence(fervid_train, tmp_path, capfd, words, match):
    if words == ["trainer=gpu"] and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    preset = [] if words[0] == "~experiment" else SMOKE  # the preset is one of the rendered corpus
    words = [*preset, f"hydra.run.dir={tmp_path / 'run'}", *(word for word in words if word != "~experiment")]
    with pytest.raises(SystemExit) as stop:
        fervid_train(*words)
    assert stop.value.code == 1
    error = capfd.readouterr().err
    assert match in error
    assert "Traceback" not in error
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
def test_a_mistake_is_told_before_the_corpus_is_prepared(fervid_train, tmp_path, words):
    with pytest.raises(SystemExit):
        fervid_train(*SMOKE, *words, f"cache_dir={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'run'}")
    assert not (tmp_path / "cache").exists()


def test_a_run_folder_that_cannot_be_made_is_one_sentence(fervid_train, capfd):
    with pytest.raises(SystemExit):
        fervid_train(*SMOKE, "hydra.run.dir=/proc/run")
    assert capfd.readouterr().err == "fervid: /proc/run cannot be written or read: no such file or directory.\n"


def test_a_finished_run_is_not_written_over(fervid_train, run, capfd):
    folder, _, _ = run
    before = (folder / "results.json").read_bytes()
    with pytest.raises(SystemExit):
        fervid_train(*SMOKE, f"hydra.run.dir={folder}")
    assert "already holds a finished run" in capfd.readouterr().err
    assert (folder / "results.json").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"rubbish", "best"])
def test_a_checkpoint_that_cannot_be_gone_on_from(fervid_train, run, tmp_path, capfd, content):
    folder, _, _ = run
    file = tmp_path / "broken.ckpt"
    file.write_bytes((folder / "checkpoints" / "best.ckpt").read_bytes() if content == "best" else content)
    with pytest.raises(SystemExit):
        fervid_train(*SMOKE, f"hydra.run.dir={tmp_path / 'run'}", f"ckpt_path={file}")
    assert "broken.ckpt" in capfd.readouterr().err


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_job_that_fails(fervid_train, tmp_path, capfd):
    words = ["-m", *SMOKE, f"hydra.sweep.dir={tmp_path}", "logger=none", "trainer.max_epochs=1"]
    with pytest.raises(SystemExit) as stop:
        fervid_train(*words, "optimizer=adam,sgd", "optimizer.lr=-1,0.001")
    assert stop.value.code == 1
    assert sorted(path.parent.name for path in tmp_path.glob("*/results.json")) == ["1", "3"]
    assert "optimizer.lr=-1 is out of range" in capfd.readouterr().err


@pytest.mark.slow
def test_a_sweep_keeps_no_model_of_its_finished_or_failed_jobs(fervid_train, tmp_path, monkeypatch):
    import weakref

    from fervid.train import training

    models, alive, make = [], [], training.make_model

    def remember(*args):
        alive.append(sum(model() is not None for model in models))
        model = make(*args)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(training, "make_model", remember)
    words = ["-m", *SMOKE, f"hydra.sweep.dir={tmp_path}", "logger=none", "trainer.max_epochs=1", "seed=1,2"]
    with pytest.raises(SystemExit):
        fervid_train(*words, "finetune.monitor=nonsense,val/uar")
    assert alive == [0, 0, 0, 0]


def test_a_sweep_refuses_several_devices(fervid_train, tmp_path, capfd):
    with pytest.raises(SystemExit):
        fervid_train("-m", *SMOKE, f"hydra.sweep.dir={tmp_path}", "trainer.devices=2", "seed=1,2")
    assert "cannot use trainer.devices=2" in capfd.readouterr().err


@pytest.mark.slow
def test_six_jobs_share_what_is_cached(fervid_train, tmp_path):
    words = ["-m", *SMOKE, f"hydra.sweep.dir={tmp_path / 'sweep'}", f"cache_dir={tmp_path / 'cache'}", "logger=none"]
    fervid_train(*words, "optimizer=sgd,rmsprop,adam", "dataset.batch_size=4,8", "finetune=frozen")
    assert len(list((tmp_path / "sweep").glob("*/results.json"))) == 6
    assert len(list((tmp_path / "sweep").glob("*/*.log"))) == 6
    assert len({path.name for path in (tmp_path / "sweep").glob("*/*.log")}) == 1
    assert len(list((tmp_path / "cache").rglob("features/*.npy"))) == 1
    assert len(list((tmp_path / "cache").glob("*/faces_28.npy"))) == 1


def test_ctrl_c_keeps_the_last_checkpoint_and_says_how_to_go_on(tmp_path):
    words = [
        *SMOKE,
        f"cache_dir={tmp_path / 'cache'}",
        "finetune.phases.0.epochs=900",
        "finetune.phases.0.patience=null",
        "trainer.max_epochs=900",
    ]
    folder = tmp_path / "run"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit deaf ears
    process = subprocess.Popen(
        command(*words, f"hydra.run.dir={folder}"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0, out + err
    assert "interrupted" in out + err
    assert f"hydra.run.dir={folder} ckpt_path={folder}/checkpoints/last.ckpt\n" in out  # in one piece, to copy
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["epoch"] >= 0
    assert not (folder / "results.json").exists()


def test_a_run_goes_on_in_its_folder(fervid_train, tmp_path):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    words = [*SMOKE, "finetune.phases.0.epochs=2", "finetune.phases.1.epochs=2"]
    fervid_train(*words, f"hydra.run.dir={whole}")
    fervid_train(*words, f"hydra.run.dir={parted}", "trainer.max_epochs=3")
    (parted / "results.json").unlink()
    last = parted / "checkpoints" / "last.ckpt"
    fervid_train(*words, f"hydra.run.dir={parted}", f"ckpt_path={last}")
    one, other = (json.loads((folder / "results.json").read_text()) for folder in (whole, parted))
    assert one["metrics"] == other["metrics"]
    assert (whole / "predictions.csv").read_bytes() == (parted / "predictions.csv").read_bytes()


@pytest.mark.slow
def test_a_run_that_was_killed_after_its_last_epoch_still_tests_its_best_weights(fervid_train, tmp_path):
    words = [*SMOKE, "trainer.max_epochs=4", f"hydra.run.dir={tmp_path}"]
    fervid_train(*words)
    whole = json.loads((tmp_path / "results.json").read_text())
    assert whole["best_epoch"] < 4  # or best and last would be the same
    (tmp_path / "results.json").unlink()
    fervid_train(*words, f"ckpt_path={tmp_path}/checkpoints/last.ckpt")
    assert json.loads((tmp_path / "results.json").read_text())["metrics"] == whole["metrics"]


def test_a_checkpoint_of_another_network(fervid_train, run, tmp_path, capfd):
    folder, _, _ = run
    words = [*SMOKE, "backbone=cnn", f"hydra.run.dir={tmp_path}", f"ckpt_path={folder}/checkpoints/last.ckpt"]
    with pytest.raises(SystemExit):
        fervid_train(*words)
    assert "is of another network" in capfd.readouterr().err


def test_missing_weights_are_told_everywhere(fervid_train, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.create_connection", lambda *a, **k: (_ for _ in ()).throw(OSError("no network")))
    words = [*SMOKE, "backbone=alexnet", "backbone.image_size=64", "head=linear", "trainer.max_epochs=1"]
    fervid_train(*words, f"hydra.run.dir={tmp_path / 'run'}")
    said = capfd.readouterr()
    assert "NO PRETRAINED WEIGHTS" in said.out + said.err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["weights"]["missing"]
    assert any("NO PRETRAINED WEIGHTS" in warning for warning in results["warnings"])
    assert "NO PRETRAINED WEIGHTS" in (tmp_path / "run" / "train.log").read_text()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert any(tag.startswith("warnings") for tag in events.Tags()["tensors"])
    with pytest.raises(SystemExit):
        fervid_train(*words, f"hydra.run.dir={tmp_path / 'strict'}", "on_missing_weights=error")
    assert "backbone.weights=null" in capfd.readouterr().err


def test_a_random_split_says_that_it_leaks(fervid_train, tmp_path):
    fervid_train(*SMOKE, "split=random_frames", "trainer.max_epochs=1", f"hydra.run.dir={tmp_path / 'run'}")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["leakage"]["level"] == "leaky"
    assert any("this split leaks" in warning for warning in results["warnings"])


def test_a_full_disk_is_one_sentence(tmp_path):
    """Files may grow to 60 kB: the store does not fit."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    words = [*SMOKE, f"cache_dir={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'run'}"]
    process = subprocess.run(command(*words), capture_output=True, text=True, preexec_fn=limit, env=os.environ)
    assert process.returncode == 1
    assert "has no room for" in process.stderr
    assert "Traceback" not in process.stderr
    assert not list((tmp_path / "cache").rglob("*.npy"))


@pytest.mark.slow
def test_an_installed_wheel_carries_the_configuration(tmp_path):
    root, site = Path(__file__).parents[2], tmp_path / "site"
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(root)]
    subprocess.run(build, check=True)
    with zipfile.ZipFile(next(tmp_path.glob("fervid-*.whl"))) as wheel:
        wheel.extractall(site)
    names, packed = (
        {path.relative_to(conf).as_posix() for path in conf.rglob("*.yaml")}
        for conf in (root / "conf", site / "fervid/conf")
    )
    assert names == packed
    words = [sys.executable, "-c", "from fervid.train import main; import fervid; print(fervid.__file__); main()"]
    process = subprocess.run(
        [*words, "--cfg", "job"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert process.stdout.startswith(str(site))
    assert "fervid.data.SyntheticDataModule" in process.stdout, process.stderr


def test_a_group_that_a_command_does_not_have_is_named(fervid_command, tmp_path, capfd):
    for name, word, own in (
        ("audit", "backbone=vgg16", "dataset, split"),
        ("baseline", "optimizer=sgd", "dataset, split"),
    ):
        with pytest.raises(SystemExit):
            fervid_command(name, word, f"hydra.run.dir={tmp_path}")
        said = capfd.readouterr().err
        assert f"there is no {word.partition('=')[0]} to choose here" in said
        assert own in said
        assert said.count("\n") == 1


def test_a_folder_that_is_a_file_is_one_sentence(fervid_train, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        fervid_train(*SMOKE, f"hydra.run.dir={tmp_path / 'file' / 'run'}")
    said = capfd.readouterr().err
    assert "cannot be written or read: not a directory" in said
    assert "defect" not in said
