"""Learning rates by layer, and weight decay that spares norms and biases, compared with timm's own groups."""

from functools import partial

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay

from fervid.data.targets import ClassTarget
from fervid.models.heads import LinearHead
from fervid.models.network import Network
from fervid.models.pretrained import PretrainedBackbone
from fervid.tasks.classification import EmotionClassifier


def groups_of(name, size=64, **options):
    backbone = PretrainedBackbone(name, library="timm", weights=None, image_size=size)
    adamw = partial(torch.optim.AdamW, lr=0.1, weight_decay=0.05)
    head = LinearHead(backbone.output_shape(), 3)
    network = Network.of_pictures(backbone, head)
    model = EmotionClassifier(network, ClassTarget(["a", "b", "c"]), optimizer=adamw, **options)
    groups = model.configure_optimizers().param_groups
    names = {id(p): backbone.library_name(key.removeprefix("network.")) for key, p in backbone.named_parameters()}
    names |= {id(p): f"head.{key}" for key, p in head.layers[1].named_parameters()}
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18"])
def test_groups_equal_those_of_timm(name):
    try:
        network = timm.create_model(name, num_classes=3, img_size=64)
    except TypeError:
        network = timm.create_model(name, num_classes=3)
    no_decay = network.no_weight_decay() if hasattr(network, "no_weight_decay") else ()
    made = param_groups_layer_decay(network, weight_decay=0.05, layer_decay=0.75, no_weight_decay_list=no_decay)
    names = {id(p): key.replace("fc.", "head.") for key, p in network.named_parameters()}
    rows = [(factor, decay, p) for factor, decay, parameters in map(dict.values, made) for p in parameters]
    expected = {names[id(p)]: (pytest.approx(0.1 * factor), decay) for factor, decay, p in rows}
    assert groups_of(name, layer_decay=0.75, decay_norms=False) == expected


def test_a_single_layer_is_warned_of(caplog):
    rates = groups_of("eva02_tiny_patch14_224", size=56, layer_decay=0.75)
    assert {round(rate, 6) for rate, _ in rates.values()} == {0.075, 0.1}
    assert "task.layer_decay=0.75 cannot be applied within the backbone" in caplog.text
    caplog.clear()
    groups_of("resnet18", layer_decay=0.75)
    assert not caplog.records


def test_by_default_all_weights_are_treated_alike():
    assert set(groups_of("vit_tiny_patch16_224").values()) == {(0.1, 0.05)}
