import pytest
import torch
from omegaconf import OmegaConf

from fervid.cli.limits import check_limits
from fervid.errors import InputError
from fervid.models.paper_backbones import CNN, LeNet
from fervid.train.threads import torch_threads


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def threads(setting, network, accelerator="cpu", batch_size=10):
    with torch_threads(setting, network, batch_size, accelerator):
        return torch.get_num_threads()


def test_small_network_trains_on_one_thread_which_is_restored():
    assert threads("auto", LeNet()) == 1
    assert torch.get_num_threads() == 3


def test_larger_or_gpu_network_keeps_number_of_threads():
    assert threads("auto", CNN(image_size=50)) == 3
    assert threads("auto", LeNet(), "gpu") == 3
    assert threads("auto", LeNet(), batch_size=300) == 3


@pytest.mark.parametrize("accelerator", ["cpu", "gpu"])
def test_number_of_threads_is_used(accelerator):
    assert threads(2, LeNet(), accelerator) == 2
    assert threads(2, CNN(image_size=50), accelerator) == 2


def test_failed_run_restores_threads():
    with pytest.raises(RuntimeError, match="no"), torch_threads("auto", LeNet(), 10, "cpu"):
        raise RuntimeError("no")
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("setting", [0, 1.5, True, "many"])
def test_invalid_settings_are_rejected(setting):
    with pytest.raises(InputError, match=f"threads={setting} is out of range: use auto, or 1 to 1024"):
        check_limits(OmegaConf.create({"threads": setting}))
