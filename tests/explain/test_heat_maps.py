"""Grad-CAM: the map of a network computed by hand, and of a network trained to find a patch."""

import numpy as np
import pytest
import torch
from torch import nn

from fervid.data.targets import ClassTarget
from fervid.errors import InputError
from fervid.explain.heat_maps import heat_maps
from fervid.figures import overlay
from fervid.models.backbone import Backbone
from fervid.models.heads import Head, LinearHead
from fervid.models.network import Network
from fervid.tasks.classification import EmotionClassifier


class Pool(nn.Module):
    def forward(self, x):
        return x.mean((2, 3), keepdim=True)


class Flat(nn.Module):
    def forward(self, x):
        return x.flatten(1)


def by_hand(last=(), head=((1.0, -2.0, 0.0), (0.0, 1.0, 0.5))):
    """The colours of each 2 x 2 pixels are three maps, 0 to 1; two classes weigh their means."""
    stages = nn.Sequential(nn.AvgPool2d(2), *last)
    names = [str(number) for number in range(len(stages))]
    linear = nn.Linear(3, 2, bias=False)
    network = Network.of_pictures(Backbone(stages, names), Head(Pool(), nn.Sequential(Flat(), linear)))
    classifier = EmotionClassifier(network, ClassTarget(["a", "b"]))
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(head))
    return classifier.eval()


def picture(size=8):
    """Red in the upper left quarter, half as red in the lower right, green in the upper right."""
    half = size // 2
    shown = np.zeros((1, size, size, 3), dtype=np.uint8)
    shown[0, :half, :half, 0], shown[0, half:, half:, 0], shown[0, :half, half:, 1] = 200, 100, 250
    return shown


def test_map_computed_by_hand():
    """The weight of a map is the mean gradient on it: red / 16 for class a, minus twice green / 16, cut off at 0."""
    red, green = picture()[0, ::2, ::2, 0] / 255, picture()[0, ::2, ::2, 1] / 255  # all pixels of a field are the same
    expected = {0: np.maximum(red - 2 * green, 0), 1: np.maximum(green, 0)}
    for number, small in expected.items():
        found = heat_maps(by_hand(), picture(), [number])
        assert found.shape == (1, 8, 8)
        assert found.dtype == np.float32
        # Stretched to 1 and enlarged: the corners keep the value of the map's corners.
        corners = small[[0, 0, -1, -1], [0, -1, 0, -1]] / small.max()
        assert found[0][[0, 0, -1, -1], [0, -1, 0, -1]] == pytest.approx(corners, abs=1e-5)
    assert np.array_equal(heat_maps(by_hand(), picture()), heat_maps(by_hand(), picture(), [1]))  # 0.23 against -0.2


def test_map_without_support_is_zero():
    assert not heat_maps(by_hand(head=((-1.0, -1.0, -1.0), (0.0, 0.0, 0.0))), picture(), [0]).any()


def test_last_stage_with_maps_is_used():
    """Pooled stages behind it, one of them working in place, change nothing."""
    pooled = by_hand(last=(nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.ReLU(inplace=True)))
    assert heat_maps(pooled, picture(), [0]) == pytest.approx(heat_maps(by_hand(), picture(), [0]), abs=1e-6)


def test_network_without_feature_maps_raises():
    model = by_hand(last=())
    model.backbone.network[0] = nn.AdaptiveAvgPool2d(1)
    with pytest.raises(InputError, match=r"this backbone has no feature maps .* such as backbone=mobilenet_v2"):
        heat_maps(model, picture())


@pytest.fixture(scope="module")
def patches():
    """Pictures of noise; a red patch at some place is one class, a blue one the other."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(90, 110, (200, 32, 32, 3), dtype=np.uint8)
    labels, places = rng.integers(0, 2, 200), rng.integers(0, 4, (200, 2)) * 8
    for shown, label, (y, x) in zip(pictures, labels, places, strict=True):
        shown[y : y + 8, x : x + 8, 2 * label] = 255
    return pictures, labels, places


@pytest.fixture(scope="module")
def trained_on_patches(patches):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(8, 8, 1), nn.ReLU())
    backbone = Backbone(network, [str(number) for number in range(5)], image_size=32, mean=(0.4,) * 3)
    network = Network.of_pictures(backbone, LinearHead((8, 8, 8), 2, dropout=0))
    model = EmotionClassifier(network, ClassTarget(["red", "blue"]))
    images = torch.from_numpy(patches[0]).permute(0, 3, 1, 2).float() / 255
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(images), torch.from_numpy(patches[1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    return model.eval()


def test_map_points_to_the_deciding_patch(trained_on_patches, patches):
    pictures, labels, places = (part[:40] for part in patches)
    maps = heat_maps(trained_on_patches, pictures, labels)
    hottest = np.stack(np.unravel_index(maps.reshape(40, -1).argmax(axis=1), (32, 32)), axis=1)
    assert ((hottest >= places) & (hottest < places + 8)).all(axis=1).mean() > 0.95
    assert maps.max(axis=(1, 2)) == pytest.approx(1, abs=1e-5)
    assert maps.min() >= 0


def test_each_class_has_its_own_map(trained_on_patches, patches):
    """A red and a blue patch in one picture: each class has its own."""
    both = np.full((1, 32, 32, 3), 100, dtype=np.uint8)
    both[0, :8, :8, 0], both[0, 24:, 24:, 2] = 255, 255
    red, blue = (heat_maps(trained_on_patches, both, [number])[0] for number in (0, 1))
    assert red[2, 2] > 0.9 > 0.5 > red[29, 29]
    assert blue[29, 29] > 0.9 > 0.5 > blue[2, 2]


def test_batch_size_does_not_change_the_maps(trained_on_patches, patches):
    whole = heat_maps(trained_on_patches, patches[0][:40])
    single = [heat_maps(trained_on_patches, patches[0][[number]])[0] for number in (0, 31, 32, 39)]
    assert whole[[0, 31, 32, 39]] == pytest.approx(np.stack(single), abs=1e-4)
    assert heat_maps(trained_on_patches, patches[0][:0]).shape == (0, 32, 32)


def test_model_state_is_restored(lenet):
    model = lenet()
    model.network.freeze_before({"image": 3})
    model.train()
    model.backbone.network.conv1.weight.requires_grad_(False)
    model(torch.rand(2, 3, 28, 28)).sum().backward()

    def state():
        return {
            "modes": [module.training for module in model.modules()],
            "learns": [parameter.requires_grad for parameter in model.parameters()],
            "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
            "weights": [parameter.clone() for parameter in model.parameters()],
            "hooks": sum(len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()),
            "unfreeze_from": model.network.branches["image"].unfreeze_from,
        }

    before = state()
    with torch.no_grad():
        maps = heat_maps(model, np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), dtype=np.uint8), [0, 1, 2])
        with pytest.raises(IndexError):
            heat_maps(model, np.zeros((1, 28, 28, 3), dtype=np.uint8), [8])
    after = state()
    assert maps.any()
    for name, own in before.items():
        pairs = zip(own, after[name], strict=True) if isinstance(own, list) else [(own, after[name])]
        assert all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs), name
    assert any(gradient is not None for gradient in before["gradients"])


def test_overlay_shows_face_and_heat():
    face = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    cold = overlay(face, np.zeros((16, 16), dtype=np.float32))
    assert cold.dtype == np.uint8
    assert cold.shape == face.shape
    assert (cold == cold[..., :1]).all()  # gray
    hot = overlay(face, np.ones((16, 16), dtype=np.float32)).astype(float)
    assert (hot[..., 0] > hot[..., 2] + 30).all()  # red
    assert np.corrcoef(hot[..., 0].ravel(), cold[..., 0].ravel())[0, 1] > 0.99  # the face is still there
