import pytest
import torch

from fervid.errors import InputError
from fervid.models.heads import LinearHead, MLPHead


def test_linear_head_is_pooling_and_dense_layer():
    head = LinearHead((5, 3, 3), 4).eval()
    x = torch.rand(2, 5, 3, 3)
    dense = head.layers[1]
    assert torch.allclose(head(x), x.mean((2, 3)) @ dense.weight.T + dense.bias, atol=1e-6)


def test_mlp_head_matches_ravdess_paper():
    """Flatten (2 x 2 x 512) -> 4096 -> dropout 0.3 -> 4096 -> dropout 0.5 -> 6."""
    head = MLPHead((512, 2, 2), 6, hidden=[4096, 4096], dropout=[0.3, 0.5])
    assert [type(layer).__name__ for layer in head.layers] == ["Linear", "ReLU", "Dropout"] * 2 + ["Linear"]
    assert [layer.p for layer in head.layers if isinstance(layer, torch.nn.Dropout)] == [0.3, 0.5]
    assert sum(p.numel() for p in head.parameters()) == 2048 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 6 + 6
    assert head(torch.rand(1, 512, 2, 2)).shape == (1, 6)


def test_reduce_has_no_parameters():
    for head in (LinearHead((4, 2, 2), 3), MLPHead((4, 2, 2), 3)):
        assert not list(head.reduce.parameters())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"hidden": [3, 3], "dropout": [0.1]}, "one number per hidden layer"),
        ({"hidden": [3], "dropout": [1.0]}, "dropout=1.0 is out of range"),
        ({"activation": "swish"}, "activation=swish is unknown"),
    ],
)
def test_invalid_settings_are_errors(options, match):
    with pytest.raises(InputError, match=match):
        MLPHead((4, 2, 2), 3, **options)
