import pytest
import pytorch_lightning as pl
import torch

from fervid.data.targets import ClassTarget
from fervid.models.heads import LinearHead
from fervid.models.network import Network
from fervid.models.pretrained import PretrainedBackbone
from fervid.tasks.classification import EmotionClassifier


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    backbone = PretrainedBackbone("resnet18", weights=None, image_size=64, last_block="layer4")
    network = Network.of_pictures(backbone, LinearHead(backbone.output_shape(), 3, dropout=0.0))
    return EmotionClassifier(network, ClassTarget(["a", "b", "c"]))


def freeze_before(model, number):
    model.network.freeze_before({"image": number})


def test_optimizer_groups_contain_every_parameter_once(resnet):
    groups = resnet.configure_optimizers().param_groups
    assert [group["name"] for group in groups] == ["backbone", "head"]
    held = [id(p) for group in groups for p in group["params"]]
    assert len(held) == len(set(held)) == len(list(resnet.parameters()))


@pytest.mark.parametrize("first", ["all", "layer3.1", "last_block", "head"])
def test_frozen_prefix_has_no_gradient_and_same_output(resnet, first):
    x = torch.rand(4, 3, 64, 64)
    freeze_before(resnet, 0)
    resnet.eval()
    expected = resnet(x)
    number = resnet.backbone.stage_number(first)
    freeze_before(resnet, number)
    assert torch.allclose(resnet(x), expected, atol=1e-6)
    branch = resnet.network.branches["image"]
    vector = branch.trainable_part(branch.frozen_prefix(x))
    assert torch.allclose(resnet.network.join({"image": vector}), expected, atol=1e-6)
    resnet.train()
    resnet(x).sum().backward()
    frozen = [p for stage in resnet.backbone.stage_modules(0, number) for p in stage.parameters()]
    assert all(p.grad is None and p.requires_grad for p in frozen)
    trainable = resnet.network.trainable_parameters({"image": number})
    assert all(p.grad is not None for p in trainable)
    assert len(frozen) + len(trainable) == len(list(resnet.parameters()))


def test_batchnorm_is_frozen_only_in_prefix(resnet):
    resnet.network.freeze_before(resnet.network.stage_numbers("layer4"))
    before = {name: buffer.clone() for name, buffer in resnet.named_buffers() if "running" in name}
    resnet.train()
    resnet(torch.rand(4, 3, 64, 64))
    moved = {
        name for name, buffer in resnet.named_buffers() if name in before and not torch.equal(buffer, before[name])
    }
    assert moved == {name for name in before if ".layer4." in name}


def test_pretrained_batchnorm_is_frozen_in_trainable_stages(resnet):
    resnet.backbone.freeze_batchnorm = True
    freeze_before(resnet, 0)
    before = {name: buffer.clone() for name, buffer in resnet.named_buffers() if "running" in name}
    resnet.train()
    resnet(torch.rand(4, 3, 64, 64)).sum().backward()
    assert all(torch.equal(buffer, before[name]) for name, buffer in resnet.named_buffers() if name in before)
    assert resnet.backbone.network.get_submodule("layer1.0.bn1").weight.grad is not None


def test_freeze_before_is_idempotent(resnet):
    resnet.train()
    for first in (5, 2, 5):
        freeze_before(resnet, first)
        modes = [module.training for module in resnet.modules()]
        freeze_before(resnet, first)
        assert modes == [module.training for module in resnet.modules()]
        assert [stage.training for stage in resnet.backbone.stage_modules()][:5] == [i >= first for i in range(5)]


def test_predict_step_equals_test_step(synthetic, lenet):
    datamodule = synthetic()
    quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    model = lenet()
    by_module = pl.Trainer(**quiet).predict(model, datamodule=None, dataloaders=datamodule.test_dataloader())
    batch = datamodule.on_after_batch_transfer(next(iter(datamodule.test_dataloader())), 0)
    with torch.no_grad():
        expected = model.eval()(batch["image"]).softmax(1)
    assert sum(len(batch["index"]) for batch in by_module) == 32
    assert torch.allclose(by_module[0]["probabilities"], expected, atol=1e-6)


def test_network_overfits_eight_faces(synthetic, lenet):
    datamodule = synthetic()
    batch = datamodule.on_after_batch_transfer(next(iter(datamodule.val_dataloader())), 0)
    batch = {name: tensor[:8] for name, tensor in batch.items()}
    model = lenet()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        model.training_step(batch, 0).backward()
        optimizer.step()
    model.eval()
    assert (model(batch["image"]).argmax(1) == batch["emotion"]).all()


def test_training_step_reads_nothing_back_from_device(lenet):
    """Reading a value from a GPU waits for all pending operations; the meta device has no values to read."""
    model = lenet().to("meta")
    optimizer = model.configure_optimizers()
    batch = {
        "image": torch.zeros(4, 3, 28, 28, device="meta"),
        "emotion": torch.zeros(4, dtype=torch.int64, device="meta"),
        "index": torch.zeros(4, dtype=torch.int64, device="meta"),
    }
    model.training_step(batch, 0).backward()
    optimizer.step()
    model.validation_step(batch, 0)
