"""Sharpness-aware minimisation, compared with its equations on a loss whose gradients are known."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from fervid.tasks.sharpness import sharpness_aware_gradients


def test_gradients_are_those_at_the_higher_loss():
    """The loss sum(a * w^2) has the gradients 2 * a * w."""
    model = nn.ParameterList([torch.tensor([1.0, -2.0]), torch.tensor([3.0]), torch.tensor([4.0])])
    model[2].requires_grad_(False)  # a frozen weight
    factors, before, losses = (0.5, 2.0), copy.deepcopy(model), []

    def closure():
        for weights in model:
            weights.grad = None
        loss = sum(a * (w**2).sum() for a, w in zip(factors, model, strict=False))
        loss.backward()
        losses.append(loss.item())
        return loss

    flat = torch.cat([2 * a * w.detach() for a, w in zip(factors, before, strict=False)])
    step = 0.1 * flat / flat.norm()
    first = sharpness_aware_gradients(closure, model, 0.1, torch.enable_grad())
    assert first.item() == losses[0] < losses[1]
    assert all(torch.equal(now, own) for now, own in zip(model, before, strict=True))
    higher = [before[0] + step[:2], before[1] + step[2:]]
    for weights, a, at in zip(model, factors, higher, strict=False):
        assert torch.allclose(weights.grad, 2 * a * at.detach())
    assert model[2].grad is None


def test_both_passes_draw_the_same_and_count_once_in_batchnorm():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    plain, x, drawn = copy.deepcopy(model), torch.randn(6, 4), []

    def closure():
        drawn.append(torch.rand(3))
        model.zero_grad()
        model(x).square().sum().backward()

    state = torch.get_rng_state()
    sharpness_aware_gradients(closure, model, 0.05, torch.enable_grad())
    after = torch.rand(3)
    assert torch.equal(drawn[0], drawn[1])
    torch.set_rng_state(state)
    torch.rand(3)
    plain(x)
    assert torch.equal(after, torch.rand(3))  # the random numbers advance as with one pass
    assert all(torch.equal(now, once) for now, once in zip(model.buffers(), plain.buffers(), strict=True))


class Watch(pl.Callback):
    def __init__(self):
        self.norms = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.norms.append(nn.utils.get_total_norm([p.grad for p in pl_module.parameters() if p.grad is not None]))


@pytest.fixture
def train(synthetic, lenet, tmp_path):
    def run(sam, **options):
        torch.manual_seed(0)
        watch, model = Watch(), lenet(sam=sam)
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            callbacks=[watch],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=tmp_path,
            **options,
        )
        trainer.fit(model, synthetic())
        return watch, model

    return run


def test_each_picture_is_counted_once_and_gradients_differ(train):
    (plain, model), (same, _), (sharp, sharp_model) = (train(sam) for sam in (0.0, 1e-9, 0.5))
    assert model.confusion["train"].sum() == sharp_model.confusion["train"].sum() > 0
    assert torch.allclose(torch.stack(plain.norms), torch.stack(same.norms), rtol=1e-3)
    assert not torch.allclose(plain.norms[0], sharp.norms[0], rtol=1e-3)


def test_gradients_are_clipped_after_both_passes(train):
    _, free = train(0.5)
    _, clipped = train(0.5, gradient_clip_val=1e-6)
    _, large = train(0.5, gradient_clip_val=1e6)
    states = [model.state_dict() for model in (free, clipped, large)]
    assert all(torch.equal(states[0][name], states[2][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_bfloat16(train):
    _, model = train(0.05, precision="bf16-mixed")
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
