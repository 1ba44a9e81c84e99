"""Mixup and CutMix: the share of each picture, and the loss that belongs to it."""

import pytest
import torch

from fervid.tasks.mixing import Mixing

PICTURES = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16).clone()


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_share_is_that_of_the_pixels(mixup, cutmix):
    torch.manual_seed(0)
    shares = []
    for _ in range(20):
        mixed, share = Mixing(mixup, cutmix)(PICTURES)
        before = PICTURES.roll(1, 0)
        expected = share * PICTURES.mean((1, 2, 3)) + (1 - share) * before.mean((1, 2, 3))
        assert torch.allclose(mixed.mean((1, 2, 3)), expected, atol=1e-5)
        shares.append(float(share))
    assert len(set(shares)) > 10
    assert min(shares) < 0.4 < 0.6 < max(shares)


def test_single_picture_stays_as_it_is():
    mixed, share = Mixing(0.2, 1.0)(PICTURES[1:2])
    assert torch.allclose(mixed, PICTURES[1:2])
    assert share == 1


def test_training_loss_weighs_both_targets(lenet):
    model = lenet(mixup=0.5).eval()
    batch = {"image": torch.rand(6, 3, 28, 28), "emotion": torch.arange(6), "index": torch.arange(6)}
    torch.manual_seed(1)
    mixed, share = model.mixing(batch["image"])
    logits = model(mixed)
    log_probabilities = logits.log_softmax(1)
    own, others = (
        log_probabilities[range(6), batch["emotion"]],
        log_probabilities[range(6), batch["emotion"].roll(1, 0)],
    )
    torch.manual_seed(1)
    loss = model.training_step(batch, 0)
    assert loss.item() == pytest.approx(-(share * own + (1 - share) * others).mean().item(), abs=1e-6)
    counted = model.epoch_scores["train_subset"].compute()[0]
    dominant = batch["emotion"] if share >= 0.5 else batch["emotion"].roll(1, 0)
    assert counted["accuracy"] == pytest.approx((logits.argmax(1) == dominant).float().mean().item())
    assert torch.equal(batch["emotion"], torch.arange(6))


def test_sounds_of_different_length_are_mixed_up_to_the_end_of_the_longer_one():
    sounds = torch.full((2, 6), 1.0)
    sounds[1] = 3.0
    sounds[1, 4:] = torch.nan
    sounds = torch.cat([sounds, torch.full((2, 2), torch.nan)], dim=1)
    torch.manual_seed(0)
    mixed, share = Mixing(1.0, 0.0)(sounds)
    assert 0.05 < share < 0.95
    other = 1 - share
    expected = torch.stack([share * 1.0 + other * 3.0, share * 3.0 + other * 1.0])
    torch.testing.assert_close(mixed[:, :4], expected[:, None].expand(2, 4))
    torch.testing.assert_close(mixed[:, 4:6], torch.stack([share * 1.0, other * 1.0])[:, None].expand(2, 2))
    assert mixed[:, 6:].isnan().all()


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0)])
def test_frames_of_a_clip_are_mixed_alike(mixup, cutmix):
    clips = torch.stack([PICTURES, PICTURES + 10], dim=1)
    torch.manual_seed(0)
    mixed, share = Mixing(mixup, cutmix)(clips)
    assert mixed.shape == clips.shape
    assert 0 < share < 1
    torch.testing.assert_close(mixed[:, 1], mixed[:, 0] + 10)
