"""Pooling over time: independent of padding, equal to plain formulas, with finite gradients."""

import math

import pytest
import torch
from padding import padded
from torch.nn import functional as F

from fervid.errors import InputError
from fervid.models.pooling import GRU, TCN, Attention, Mean, MeanAndDeviation, Transformer

POOLINGS = [Mean, MeanAndDeviation, Attention, GRU, TCN, Transformer]
FEATURES = 6


def made(pooling):
    torch.manual_seed(0)
    return pooling(FEATURES).eval()


def sequences(*counts):
    torch.manual_seed(1)
    return [torch.randn(count, FEATURES) for count in counts]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_result_does_not_depend_on_padding_or_other_sequences(pooling):
    pool, batch = made(pooling), sequences(9, 4, 1)
    alone = torch.cat([pool(sequence[None]) for sequence in batch])
    assert alone.shape == (3, pool.num_features)
    torch.testing.assert_close(pool(padded(batch)), alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pool(padded(batch, 14)), alone, rtol=1e-4, atol=1e-5)
    others = [batch[0], *sequences(14)]
    torch.testing.assert_close(pool(padded(others))[:1], alone[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_are_finite(pooling):
    """Also with padding, with a sequence of one position and with one that is constant over time."""
    pool = made(pooling).train()
    x = padded([*sequences(7, 1), torch.ones(5, FEATURES)]).requires_grad_()
    pool(x).square().sum().backward()
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in pool.parameters())
    assert torch.isfinite(x.grad).all()
    assert (x.grad[1, 1:] == 0).all()
    assert (x.grad[0] != 0).any()


@pytest.mark.parametrize("pooling", [pool for pool in POOLINGS if pool not in (Mean, MeanAndDeviation)])
def test_order_matters_only_to_poolings_with_positions(pooling):
    pool, (sequence,) = made(pooling), sequences(9)
    assert torch.allclose(pool(sequence[None]), pool(sequence.flip(0)[None]), atol=1e-5) == (pooling is Attention)


def test_mean():
    batch = sequences(5, 2)
    expected = torch.stack([sequence.mean(0) for sequence in batch])
    torch.testing.assert_close(made(Mean)(padded(batch)), expected)


def test_mean_and_deviation():
    batch = sequences(5, 2)
    expected = torch.stack([torch.cat([each.mean(0), each.std(0, unbiased=False)]) for each in batch])
    torch.testing.assert_close(made(MeanAndDeviation)(padded(batch)), expected)


def test_attention():
    pool, batch = made(Attention), sequences(5, 2)
    weights = pool.weights(padded(batch))
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert (weights[1, 2:] == 0).all()
    pooled = pool(padded(batch))
    for each, row in zip(batch, pooled, strict=True):
        share = F.softmax(pool.scores(each)[:, 0], dim=0)
        mean = sum(weight * position for weight, position in zip(share, each, strict=True))
        variance = sum(weight * (position - mean) ** 2 for weight, position in zip(share, each, strict=True))
        torch.testing.assert_close(row, torch.cat([mean, variance.sqrt()]))


def test_gru_returns_the_last_states_of_both_directions():
    pool, (sequence,) = made(GRU), sequences(5)
    states, _ = pool.gru(sequence[None])
    expected = torch.cat([states[0, -1, : pool.gru.hidden_size], states[0, 0, pool.gru.hidden_size :]])
    torch.testing.assert_close(pool(padded([sequence], 9))[0], expected)


def test_tcn():
    """Each block adds a convolution with gaps of 1, 2 and 4 positions, for which positions outside are 0."""
    pool, (sequence,) = made(TCN), sequences(9)
    x = pool.first(sequence)
    for gap, block, norm in zip((1, 2, 4), pool.blocks, pool.norms, strict=True):
        rows = []
        for time in range(9):
            taps = [(tap, time + (tap - 1) * gap) for tap in range(3)]
            terms = [block.weight[:, :, tap] @ x[other] for tap, other in taps if 0 <= other < 9]
            rows.append(block.bias + sum(terms))
        x = x + F.gelu(norm(torch.stack(rows)))
    expected = torch.cat([x.mean(0), x.std(0, unbiased=False)])
    torch.testing.assert_close(pool(padded([sequence], 12))[0], expected, rtol=1e-4, atol=1e-5)


def test_transformer_adds_sines_and_returns_its_token():
    pool, (sequence,) = made(Transformer), sequences(5)
    x = pool.first(sequence).tolist()
    for time, row in enumerate(x):
        for channel in range(0, 128, 2):
            angle = time / 10_000 ** (channel / 128)
            row[channel] += math.sin(angle)
            row[channel + 1] += math.cos(angle)
    tokens = torch.cat([pool.token[0], torch.tensor(x)])
    expected = pool.layers(tokens[None])[0, 0]
    torch.testing.assert_close(pool(padded([sequence], 9))[0], expected, rtol=1e-4, atol=1e-5)


def test_transformer_checks_its_heads():
    with pytest.raises(InputError, match=r"pooling.hidden=10 is not a multiple of pooling.heads=4"):
        Transformer(FEATURES, hidden=10)


def test_poolings_work_on_long_sequences():
    """A mean over thousands of positions stays exact in float32."""
    x = torch.full((1, 6_000, FEATURES), 1000.0)
    x[:, ::2] += 1
    pooled = made(MeanAndDeviation)(x)
    torch.testing.assert_close(pooled[0, :FEATURES], torch.full((FEATURES,), 1000.5))
    torch.testing.assert_close(pooled[0, FEATURES:], torch.full((FEATURES,), 0.5), rtol=1e-3, atol=0)
