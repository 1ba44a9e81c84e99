"""Training, resuming and evaluating on a CUDA device."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from fervid.cli import compose
from fervid.cli.mistakes import mistake
from fervid.errors import InputError
from fervid.train.checks import trainer_mistakes
from fervid.train.training import train

SMOKE = ["experiment=smoke", "+trainer.enable_progress_bar=false", "logger=none"]
GPU = [*SMOKE, "trainer=gpu", "augmentation=hf_faces"]
DETERMINISTIC = [*GPU, "trainer.deterministic=true"]


def run_results(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "32-true"])
def test_training_on_gpu(fervid_train, tmp_path, precision):
    fervid_train(*GPU, f"trainer.precision={precision}", f"hydra.run.dir={tmp_path}")
    results = run_results(tmp_path)
    assert results["device"] == torch.cuda.get_device_name()
    assert np.isfinite(results["metrics"]["test/loss"])


@pytest.mark.gpu
@pytest.mark.parametrize("backbone", ["lenet", "resnet18", "mobilenet_v2"])
def test_deterministic_runs_are_equal_even_if_interrupted(cache, tmp_path, backbone):
    words = [*DETERMINISTIC, f"backbone={backbone}", "backbone.weights=null", f"cache_dir={cache}"]
    words += ["backbone.image_size=64", "finetune.phases.0.epochs=2", "finetune.phases.1.epochs=2"]
    whole, again, parted = (tmp_path / name for name in ("whole", "again", "parted"))
    train(compose("train", words), whole)
    train(compose("train", words), again)
    train(compose("train", [*words, "trainer.max_epochs=3"]), parted)
    (parted / "results.json").unlink()
    train(compose("train", [*words, f"ckpt_path={parted}/checkpoints/last.ckpt"]), parted)
    predictions = [(folder / "predictions.csv").read_bytes() for folder in (whole, again, parted)]
    assert predictions[0] == predictions[1] == predictions[2]


@pytest.mark.gpu
def test_gpu_and_cpu_give_nearly_the_same_predictions(fervid_command, cache, tmp_path):
    fervid_command("train", *SMOKE, "trainer=gpu", "trainer.precision=32-true", f"hydra.run.dir={tmp_path / 'run'}")
    for device in ("cpu", "cuda"):
        fervid_command("evaluate", f"run={tmp_path / 'run'}", f"device={device}", f"hydra.run.dir={tmp_path / device}")
    stored, cpu, cuda = (
        pd.read_csv(file).filter(like="prob_").to_numpy()
        for file in (
            tmp_path / "run" / "predictions.csv",
            *(next((tmp_path / device / "members").rglob("predictions.csv")) for device in ("cpu", "cuda")),
        )
    )
    np.testing.assert_allclose(stored, cuda, atol=1e-3)
    np.testing.assert_allclose(cpu, cuda, atol=1e-3)


@pytest.mark.gpu
def test_too_few_gpus_is_an_error(cache, tmp_path):
    count = torch.cuda.device_count() + 1
    with pytest.raises(InputError, match=f"needs {count} CUDA devices and torch sees {count - 1}"):
        train(compose("train", [*GPU, f"trainer.devices={count}", f"cache_dir={cache}"]), tmp_path)


@pytest.mark.gpu
def test_exceeding_gpu_memory_is_one_sentence(fervid_train, tmp_path, capfd):
    whole, _ = torch.cuda.mem_get_info()
    taken = torch.empty(whole - 2**28, dtype=torch.uint8, device="cuda")
    try:
        with pytest.raises(SystemExit):
            fervid_train(*GPU, "backbone=vgg16", "backbone.weights=null", f"hydra.run.dir={tmp_path}")
    finally:
        del taken
        torch.cuda.empty_cache()
    error = capfd.readouterr().err
    assert "CUDA out of memory" in error
    assert "use a smaller dataset.batch_size" in error
    assert "Traceback" not in error


def test_error_of_gpu_memory_becomes_one_sentence(tmp_path):
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 196.00 GiB. GPU 0 has a total capacity")
    found = mistake(error, tmp_path)
    assert isinstance(found, InputError)
    assert str(found).startswith("CUDA out of memory. Tried to allocate 196.00 GiB: use a smaller dataset.batch_size")


def test_operation_without_deterministic_implementation_is_named():
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(InputError, match=r"put_ has no deterministic implementation"), trainer_mistakes():
            torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))
    finally:
        torch.use_deterministic_algorithms(False)
