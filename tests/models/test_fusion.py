from functools import partial

import pytest
import torch
from torch import nn

from fervid.errors import InputError
from fervid.models.fusion import Concatenation, CrossAttention, GatedFusion, LateFusion
from fervid.models.heads import LinearHead

WIDTHS = {"image": 6, "sound": 4}
make_head = partial(LinearHead, num_classes=3)
FUSIONS = [LateFusion, Concatenation, GatedFusion, CrossAttention]


def vectors(fusion, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = {True: (5, 7), False: (5,)}[fusion.over_time]
    return {name: torch.randn(*shape, width, generator=generator) for name, width in WIDTHS.items()}


@pytest.fixture(params=FUSIONS, ids=lambda fusion: fusion.__name__)
def fusion(request):
    torch.manual_seed(0)
    return request.param(WIDTHS, make_head).eval()


def test_missing_modality_equals_one_that_is_nan_in_all_samples(fusion):
    given = vectors(fusion)
    without = fusion({"image": given["image"]})
    absent = fusion({**given, "sound": torch.full_like(given["sound"], torch.nan)})
    torch.testing.assert_close(without, absent)
    assert without.isfinite().all()
    assert (without - fusion(given)).abs().max() > 1e-3  # the sound has an effect


def test_samples_do_not_affect_each_other(fusion):
    given = vectors(fusion)
    partly = {**given, "sound": given["sound"].clone()}
    partly["sound"][2] = torch.nan
    expected = fusion(given)
    found = fusion(partly)
    others = [0, 1, 3, 4]
    torch.testing.assert_close(found[others], expected[others])
    torch.testing.assert_close(found[2], fusion({"image": given["image"]})[2])


def test_gradients_are_finite_if_modalities_are_missing(fusion):
    fusion.train()
    fusion.modality_dropout = 0.5
    given = vectors(fusion)
    given["sound"][1] = torch.nan
    torch.manual_seed(1)
    fusion(given).square().mean().backward()
    gradients = [parameter.grad for parameter in fusion.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_nothing_at_all_is_an_error(fusion):
    with pytest.raises(ValueError, match="no modality"):
        fusion({})


def late(**options):
    torch.manual_seed(0)
    return LateFusion(WIDTHS, make_head, **options).eval()


def test_late_product_multiplies_probabilities():
    fusion = late()
    given = vectors(fusion)
    probabilities = [fusion.heads[name].layers(x).softmax(1) for name, x in given.items()]
    product = probabilities[0] * probabilities[1]
    torch.testing.assert_close(fusion(given).softmax(1), product / product.sum(1, keepdim=True))


def test_late_mean_averages_probabilities_with_weights():
    fusion = late(rule="mean")
    fusion.weights.copy_(torch.tensor([3.0, 1.0]))
    given = vectors(fusion)
    probabilities = [fusion.heads[name].layers(x).softmax(1) for name, x in given.items()]
    torch.testing.assert_close(fusion(given).exp(), 0.75 * probabilities[0] + 0.25 * probabilities[1])


@pytest.mark.parametrize("rule", ["product", "mean"])
def test_single_modality_gives_its_own_probabilities_whatever_its_weight(rule):
    fusion = late(rule=rule)
    fusion.weights.copy_(torch.tensor([1.0, 0.2]))
    sound = vectors(fusion)["sound"]
    expected = fusion.heads["sound"].layers(sound).softmax(1)
    torch.testing.assert_close(fusion({"sound": sound}).softmax(1), expected)


def test_modality_dropout_drops_at_its_rate_and_never_everything():
    fusion = late(modality_dropout=0.4).train()
    present = {name: torch.ones(20_000, dtype=torch.bool) for name in WIDTHS}
    torch.manual_seed(0)
    kept = torch.stack(list(fusion._dropped(present).values()))
    assert kept.any(0).all()
    # Each is dropped with 0.4, unless both are, in which case one of the two is kept.
    assert kept.float().mean().item() == pytest.approx(0.6 + 0.16 / 2, abs=0.01)
    assert torch.equal(torch.stack(list(fusion.eval()._dropped(present).values())), torch.ones(2, 20_000).bool())


def test_absent_modality_is_not_the_one_that_dropout_keeps():
    fusion = late(modality_dropout=0.9).train()
    present = {"image": torch.zeros(1000, dtype=torch.bool), "sound": torch.ones(1000, dtype=torch.bool)}
    kept = fusion._dropped(present)
    assert kept["sound"].all()
    assert not kept["image"].any()


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (lambda: late(rule="median"), "fusion.rule=median is unknown"),
        (lambda: late(modality_dropout=1.0), "modality_dropout=1.0 is out of range"),
        (lambda: CrossAttention(WIDTHS, make_head, hidden=10, heads=4), "hidden=10 is not a multiple"),
    ],
)
def test_invalid_settings_are_errors(made, match):
    with pytest.raises(InputError, match=match):
        made()


def test_cross_attention_ignores_padding():
    torch.manual_seed(0)
    fusion = CrossAttention(WIDTHS, make_head).eval()
    given = vectors(fusion)
    longer = {name: nn.functional.pad(x, (0, 0, 0, 3), value=torch.nan) for name, x in given.items()}
    torch.testing.assert_close(fusion(longer), fusion(given))
