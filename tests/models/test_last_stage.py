"""A backbone that ends at an earlier stage."""

import pytest
import torch

from fervid.errors import InputError
from fervid.models.pretrained import PretrainedBackbone

SMALL = {"weights": None, "image_size": 32, "library": "timm"}


@pytest.mark.parametrize(
    ("name", "stage", "shape"),
    [
        ("mobilenetv1_100", "blocks.3", (512, 2, 2)),
        ("mobilenetv1_100", "blocks.3.0", (512, 2, 2)),
        ("vit_tiny_patch16_224", "blocks.5", (192, 1, 1)),
        ("swin_tiny_patch4_window7_224", "layers.1", (192, 4, 4)),
    ],
)
def test_features_equal_those_of_whole_network(name, stage, shape, tmp_path):
    whole = PretrainedBackbone(name, **SMALL).eval()
    state = {whole.library_name(name): tensor for name, tensor in whole.network.state_dict().items()}
    torch.save(state, tmp_path / "whole.pth")
    part = PretrainedBackbone(name, last_stage=stage, **{**SMALL, "weights": str(tmp_path / "whole.pth")}).eval()
    assert part.output_shape() == shape
    pictures = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found, expected = part(pictures), (pictures - whole.mean) / whole.std
        for each in part.stages:
            expected = whole.network.get_submodule(each)(expected)
    torch.testing.assert_close(found, expected)
    assert sum(p.numel() for p in part.parameters()) < sum(p.numel() for p in whole.parameters())
    assert part.stage_number("last_block") < len(part.stages)


def test_unknown_stage():
    with pytest.raises(InputError, match=r"backbone.last_stage=blocks.9 is unknown: choose one of conv_stem"):
        PretrainedBackbone("mobilenetv1_100", last_stage="blocks.9", **SMALL)
