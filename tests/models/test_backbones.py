"""Numbers of parameters, stages and loading of weights."""

import hashlib

import pytest
import torch
import torchvision
from torch import nn

from fervid.errors import InputError
from fervid.models.heads import LinearHead, MLPHead
from fervid.models.paper_backbones import CNN, AlexNetISED, LeNet
from fervid.models.pretrained import PretrainedBackbone


def parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def keras_count(*modules):
    """Keras counts BatchNorm's running mean and variance among the parameters."""
    statistics = [b for m in modules for name, b in m.named_buffers() if name.endswith(("running_mean", "running_var"))]
    return parameters(*modules) + sum(buffer.numel() for buffer in statistics)


@pytest.mark.parametrize(
    ("make", "size", "classes", "hidden", "printed"),
    [
        (LeNet, 28, 4, [120, 84], 61_496),
        (CNN, 100, 6, [256], 4_813_638),
        (CNN, 50, 6, [256], 1_274_694),
        (CNN, 20, 6, [256], 226_118),
        (AlexNetISED, 227, 4, [4096, 4096], 56_337_156),
    ],
)
def test_paper_networks_have_reported_number_of_parameters(make, size, classes, hidden, printed):
    backbone = make(image_size=size)
    head = MLPHead(backbone.output_shape(), classes, hidden=hidden, dropout=[0.0] * len(hidden))
    assert keras_count(backbone, head) == printed


@pytest.mark.parametrize(
    ("name", "features", "count"),
    [
        ("vgg16", 512, 14_714_688),
        ("alexnet", 256, 2_469_696),
        ("mobilenet_v2", 1280, 2_223_872),
        ("efficientnet_b2", 1408, 7_700_994),
        ("resnet18", 512, 11_176_512),
        ("resnet50", 2048, 23_508_032),
    ],
)
def test_torchvision_backbones_lose_only_their_classifier(name, features, count):
    backbone = PretrainedBackbone(name, weights=None, image_size=64)
    assert backbone.output_shape()[0] == features
    assert parameters(backbone) == count


@pytest.mark.parametrize(
    ("name", "cut", "learning"),
    [
        # Trainable parameters of the Hugging Face paper's phase 2, and of the RAVDESS paper's last six layers.
        ("vgg16", "features.14", 13_569_280),  # block3_conv3 and all after it, 10 of Keras' 19 layers
        ("vgg16", "features.26", 4_719_616),  # conv5_2 and conv5_3
        ("mobilenet_v2", "features.15", 1_526_080),
        ("efficientnet_b2", "features.7", 3_234_252),
    ],
)
def test_first_trainable_stages_of_papers_exist(name, cut, learning):
    backbone = PretrainedBackbone(name, weights=None, image_size=64)
    stages = backbone.stage_modules(backbone.stage_number(cut))
    assert parameters(*stages) == learning


@pytest.mark.parametrize(
    ("library", "name", "size"),
    [
        ("torchvision", "vgg16", 40),
        ("torchvision", "resnet18", 64),
        ("torchvision", "convnext_tiny", 64),
        ("torchvision", "squeezenet1_1", 64),
        ("timm", "mobilenetv3_small_050", 64),
        ("timm", "resnet10t", 64),
    ],
)
def test_stages_run_one_by_one_give_same_output(library, name, size):
    torch.manual_seed(0)
    backbone = PretrainedBackbone(name, library=library, weights=None, image_size=size).eval()
    assert len(backbone.stages) > 4
    x = torch.rand(2, 3, size, size)
    whole = backbone(x)
    for cut in (1, len(backbone.stages) // 2, len(backbone.stages)):
        assert torch.equal(backbone(backbone(x, stop=cut), start=cut), whole)


@pytest.mark.parametrize(
    ("library", "name", "size", "stages", "last_block", "shape"),
    [
        ("timm", "vit_tiny_patch16_224", 64, ["stem", "blocks.9", "norm", "pool"], "blocks.11", (192, 1, 1)),
        ("timm", "deit_tiny_distilled_patch16_224", 64, ["stem", "blocks.9", "pool"], "blocks.11", (192, 1, 1)),
        ("timm", "swin_tiny_patch4_window7_224", 64, ["layers.2.blocks.3", "maps"], "layers.3.blocks.1", (768, 2, 2)),
        ("timm", "convnext_atto", 64, ["stages.2.blocks.5", "stages.3.downsample.1"], "stages.3.blocks.1", (320, 2, 2)),
        ("timm", "densenet121", 64, ["features.denseblock3"], "features.denseblock4", (1024, 2, 2)),
        ("timm", "fastvit_t8", 64, ["stages.3.blocks.1"], "final_conv", (768, 2, 2)),
        (
            "torchvision",
            "densenet121",
            64,
            ["features.conv0", "final_relu"],
            "features.denseblock4",
            (1024, 2, 2),
        ),
        ("torchvision", "swin_t", 64, ["features.7.0", "permute"], "features.7.1", (768, 2, 2)),
        ("torchvision", "googlenet", 64, ["transform_input", "inception5a"], "inception5b", (1024, 2, 2)),
    ],
)
def test_blocks_are_stages(library, name, size, stages, last_block, shape):
    backbone = PretrainedBackbone(name, library=library, weights=None, image_size=size).eval()
    assert set(stages) < set(backbone.stages)
    assert backbone.last_block == last_block
    assert backbone.output_shape() == shape
    cut = backbone.stage_number(last_block)
    x = torch.rand(2, 3, size, size)
    assert torch.equal(backbone(backbone(x, stop=cut), start=cut), backbone(x))
    head = LinearHead(shape, 3)
    head(backbone(x)).sum().backward()
    trained = [parameter for stage in backbone.stage_modules(cut) for parameter in stage.parameters()]
    assert all(p.grad is not None for p in [*trained, *head.parameters()])


@pytest.mark.parametrize(("name", "size"), [("vit_tiny_patch16_224", 64), ("swin_tiny_patch4_window7_224", 64)])
def test_transformer_gives_features_of_timm(name, size, tmp_path):
    """From a file with timm's names, and with weights far from their initial values."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=5, img_size=size).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    backbone = PretrainedBackbone(
        name, library="timm", weights=str(tmp_path / "weights.pth"), image_size=size, mean=(0, 0, 0), std=(1, 1, 1)
    ).eval()
    x = torch.rand(2, 3, size, size)
    expected = network.forward_head(network.forward_features(x), pre_logits=True)
    assert torch.allclose(backbone(x).mean((2, 3)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("library", "name", "size", "features"),
    [
        ("timm", "eva02_tiny_patch14_224", 56, 192),  # its blocks need the positions as a second input
        ("torchvision", "vit_b_16", 224, 768),
    ],
)
def test_network_without_chain_is_one_stage(library, name, size, features):
    backbone = PretrainedBackbone(name, library=library, weights=None, image_size=size)
    assert backbone.stages == ["network"]
    assert backbone.output_shape() == (features, 1, 1)


def test_search_for_stages_keeps_random_weights():
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        network = torchvision.models.resnet18(weights=None)
        torch.manual_seed(0)
        found.append(PretrainedBackbone("resnet18", weights=None, image_size=64))
        assert torch.equal(found[-1].network.get_submodule("conv1").weight, network.conv1.weight)
        assert torch.equal(found[-1].network.get_submodule("bn1").weight, network.bn1.weight)


def test_features_equal_those_of_torchvision():
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None).eval()
    backbone = PretrainedBackbone("resnet18", weights=None, image_size=64).eval()
    backbone.load_tensors(network.state_dict(), "test")
    x = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    network.avgpool = network.fc = nn.Identity()
    expected = network((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    assert expected.std() > 0.1
    assert torch.allclose(backbone(x).flatten(1), expected, rtol=1e-4, atol=1e-5)


def test_bgr_reverses_channels():
    torch.manual_seed(0)
    rgb, bgr = LeNet().eval(), LeNet(channel_order="bgr").eval()
    bgr.load_state_dict(rgb.state_dict())
    x = torch.rand(1, 3, 28, 28)
    assert torch.equal(rgb(x), bgr(x.flip(1)))


def test_stage_number_accepts_blocks_and_keywords():
    backbone = PretrainedBackbone("resnet18", weights=None, image_size=64, last_block="layer4")
    assert backbone.stages[backbone.stage_number("layer4")] == "layer4.0"
    assert backbone.stage_number("last_block") == backbone.stage_number("layer4.0")
    assert backbone.stage_number("all") == 0
    assert backbone.stage_number("head") == len(backbone.stages)
    with pytest.raises(InputError, match=r"no stage 'layer5': choose all, last_block, head or one of conv1"):
        backbone.stage_number("layer5")


def test_too_small_picture_is_an_error():
    with pytest.raises(InputError, match=r"picture of 4 px.*larger backbone.image_size"):
        CNN(image_size=4).output_shape()


class TestWeights:
    def test_a_file(self, tmp_path):
        torch.manual_seed(1)
        state = torchvision.models.squeezenet1_1(weights=None).state_dict()
        file = tmp_path / "squeezenet.pth"
        torch.save(state, file)
        torch.manual_seed(2)
        backbone = PretrainedBackbone("squeezenet1_1", weights=str(file), image_size=64)
        assert torch.equal(backbone.network.get_submodule("features.0").weight, state["features.0.weight"])
        assert backbone.weights.source == "file"
        assert backbone.weights.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        assert backbone.pretrained
        assert backbone.batchnorm_is_frozen

    def test_random(self):
        backbone = PretrainedBackbone("squeezenet1_1", weights=None, image_size=64)
        assert backbone.weights.as_dict() == {
            "requested": None,
            "source": "random",
            "sha256": None,
            "missing": None,
            "unwrapped": None,
            "data": None,
            "licence": None,
            "emotion_labels_of": [],
            "subjects_of": [],
        }
        assert not backbone.batchnorm_is_frozen

    @pytest.mark.parametrize(
        ("content", "match"),
        [
            (b"", "cannot be read: it is damaged or has another format"),
            (b"rubbish" * 100, "cannot be read: it is damaged or has another format"),
        ],
    )
    def test_a_damaged_file(self, tmp_path, content, match):
        (tmp_path / "weights.pth").write_bytes(content)
        with pytest.raises(InputError, match=match):
            LeNet(weights=tmp_path / "weights.pth")

    def test_a_file_that_would_run_code(self, tmp_path):
        torch.save(LeNet(), tmp_path / "weights.pth")
        with pytest.raises(InputError, match=r"pickled Python objects \(fervid.*torch\.save\(model\.state_dict"):
            LeNet(weights=tmp_path / "weights.pth")

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(InputError, match=r"gone.pth is not a file"):
            PretrainedBackbone("squeezenet1_1", weights=str(tmp_path / "gone.pth"), image_size=64)

    def test_of_another_network(self, tmp_path):
        torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "weights.pth")
        with pytest.raises(InputError, match=r"belongs to another network: of \d+ tensors \d+ are missing"):
            PretrainedBackbone("mobilenet_v2", weights=str(tmp_path / "weights.pth"), image_size=64)

    def test_torchvisions_own_download_cache(self, tmp_path, monkeypatch):
        """Puts a weight file into torch's hub folder, as after a first download."""
        torch.manual_seed(3)
        state = torchvision.models.alexnet(weights=None).state_dict()
        (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
        torch.save(state, tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        backbone = PretrainedBackbone("alexnet", weights="IMAGENET1K_V1", image_size=64)
        assert torch.equal(backbone.network.get_submodule("features.3").weight, state["features.3.weight"])
        assert backbone.weights.source == "torchvision"
        assert backbone.weights.info.data == "ImageNet-1k"
        assert len(backbone.weights.sha256) == 64

    @pytest.fixture
    def no_network(self, tmp_path, monkeypatch):
        def refuse(*args, **kwargs):
            raise OSError("Network is unreachable")

        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("socket.create_connection", refuse)
        monkeypatch.setattr("socket.socket.connect", refuse)

    def test_no_network_is_an_error_with_three_ways_out(self, no_network):
        with pytest.raises(InputError) as error:
            PretrainedBackbone("vgg16", image_size=40)
        for way in ("connect to a network", "backbone.weights=<path>", "backbone.weights=null"):
            assert way in str(error.value)

    def test_no_network_is_a_warning_nobody_overlooks(self, no_network, caplog):
        backbone = PretrainedBackbone("alexnet", image_size=64, on_missing_weights="warn")
        assert "NO PRETRAINED WEIGHTS" in caplog.text
        assert backbone.weights.source == "random"
        assert backbone.weights.requested == "DEFAULT"
        assert backbone.weights.missing
        assert not backbone.batchnorm_is_frozen

    def test_unknown_names(self):
        with pytest.raises(InputError, match="has no network 'vgg61': did you mean vgg1"):
            PretrainedBackbone("vgg61")
        with pytest.raises(InputError, match="weights=IMAGENET2K is neither a file nor weights of alexnet"):
            PretrainedBackbone("alexnet", weights="IMAGENET2K", image_size=64, on_missing_weights="warn")


def test_freeze_batchnorm_false_trains_pretrained_batchnorm(tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "weights.pth")
    backbone = PretrainedBackbone(
        "resnet18", weights=str(tmp_path / "weights.pth"), image_size=64, freeze_batchnorm=False
    )
    assert not backbone.batchnorm_is_frozen
    assert any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
