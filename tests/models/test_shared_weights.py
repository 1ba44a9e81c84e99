"""Shared weights are found under wrappers and prefixes, or rejected with the correct reason."""

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from fervid.errors import InputError
from fervid.models.paper_backbones import LeNet
from fervid.models.pretrained import PretrainedBackbone


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(3)
    return torchvision.models.squeezenet1_1(weights=None).state_dict()


def opened(path, name="squeezenet1_1", **options):
    return PretrainedBackbone(name, weights=str(path), image_size=64, **options)


def is_loaded(backbone, state):
    return torch.equal(backbone.network.get_submodule("features.0").weight, state["features.0.weight"])


def prefixed(state, prefix):
    return {f"{prefix}{key}": value for key, value in state.items()}


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "backbone.", "_orig_mod.", "module._orig_mod.encoder.", "net.x."]
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_common_prefix_is_removed_and_reported(prefix, suffix, state, tmp_path):
    path = tmp_path / f"weights{suffix}"
    write = torch.save if suffix == ".pt" else save_file
    write(prefixed(state, prefix) | {"loss.weight": torch.ones(3)}, path)
    backbone = opened(path)
    assert is_loaded(backbone, state)
    assert backbone.weights.as_dict()["unwrapped"].startswith("prefix ")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": state, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
        lambda state: {"model_state_dict": state},
        lambda state: {"state_dict": prefixed(state, "module.")},
        lambda state: {"net": state, "acc": 0.9},
        lambda state: {"ema": state, "step": torch.tensor(3)},
        lambda state: {"model_ema": {"params": state}},
        lambda state: {"state_dict": prefixed(state, "model.backbone.")},
    ],
)
def test_wrappers_are_removed_and_reported(wrap, state, tmp_path, caplog):
    torch.save(wrap(state), tmp_path / "weights.pt")
    with caplog.at_level("INFO", logger="fervid"):
        backbone = opened(tmp_path / "weights.pt")
    assert is_loaded(backbone, state)
    entry = next(iter(wrap(state)))
    assert backbone.weights.unwrapped.startswith(f"entry {entry}")
    assert f"loaded from entry {entry}" in caplog.text


def test_partially_wrapped_network_is_loaded(state, tmp_path):
    split = {key.replace("features.", "features.module.", 1): value for key, value in state.items()}
    torch.save(split, tmp_path / "weights.pt")
    assert is_loaded(opened(tmp_path / "weights.pt"), state)


def test_first_of_weights_and_moving_average_is_loaded(state, tmp_path):
    other = {key: value + 1 for key, value in state.items()}
    torch.save({"model": state, "model_ema": other}, tmp_path / "weights.pt")
    backbone = opened(tmp_path / "weights.pt")
    assert is_loaded(backbone, state)
    assert backbone.weights.unwrapped == "entry model, not model_ema, which also matches"


def test_two_matching_networks_are_an_error(state, tmp_path):
    torch.save(prefixed(state, "encoder_q.") | prefixed(state, "encoder_k."), tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"several networks of this kind, under encoder_q\. and encoder_k\."):
        opened(tmp_path / "weights.pt")


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_network_of_one_stage_is_loaded(library, tmp_path):
    name = {"torchvision": "densenet121", "timm": "mobilenetv3_small_050"}[library]
    options = {"library": library, "image_size": 64, "weights": None}
    first = PretrainedBackbone(name, **options)
    bare = {first.library_name(key): value for key, value in first.network.state_dict().items()}
    torch.save({"state_dict": prefixed(bare, "module.")}, tmp_path / "weights.pt")
    second = PretrainedBackbone(name, **options | {"weights": str(tmp_path / "weights.pt")})
    for (key, value), again in zip(
        first.network.state_dict().items(), second.network.state_dict().values(), strict=True
    ):
        assert torch.equal(value, again), key


def test_backbone_is_loaded_from_fervid_checkpoint(trained):
    path = trained.folder / "checkpoints" / "best.ckpt"
    backbone = LeNet(weights=path)
    stored = torch.load(path, weights_only=True)["state_dict"]
    for key, value in backbone.network.state_dict().items():
        assert torch.equal(value, stored[f"network.branches.image.encoder.network.{key}"])
    assert backbone.weights.unwrapped == "entry state_dict, prefix network.branches.image.encoder.network."


def test_error_lists_names_that_differ(state, tmp_path):
    torch.save({"model": prefixed(state, "module.")}, tmp_path / "weights.pt")
    with pytest.raises(InputError) as refused:
        opened(tmp_path / "weights.pt", "mobilenet_v2")
    output = str(refused.value)
    assert "belongs to another network" in output
    assert "features.0.0.weight" in output
    assert "are unexpected" in output
    assert len(output.splitlines()) == 1


def test_weights_of_larger_network_of_same_family_are_an_error(tmp_path):
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"another network.*are unexpected \(layer1\.2\.conv1\.weight"):
        opened(tmp_path / "weights.pt", "resnet18")
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "weights.pt")
    assert opened(tmp_path / "weights.pt", "resnet18").pretrained


def test_weights_that_are_not_finite_are_an_error(state, tmp_path):
    broken = {key: value.clone() for key, value in state.items()}
    broken["features.0.weight"][0, 0, 0, 0] = float("nan")
    torch.save(broken, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"not finite \(first: features\.0\.weight\)"):
        opened(tmp_path / "weights.pt")


@pytest.mark.parametrize("content", [nn.Linear(2, 2), {"model": nn.Linear(2, 2)}])
def test_error_for_pickled_model_explains_how_to_save_it(content, tmp_path, fervid_train, capsys):
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    for setting in (f"backbone.weights={path}", f"ckpt_path={path}"):
        with pytest.raises(SystemExit):
            fervid_train("backbone=lenet", setting, f"hydra.run.dir={tmp_path / 'out'}", "trainer.max_epochs=1")
        output = capsys.readouterr().err.strip().splitlines()[-1]
        assert "pickled Python objects (torch.nn.modules.linear.Linear)" in output
        assert "torch.save(model.state_dict(), 'weights.pt')" in output
        assert "weights_only" not in output
