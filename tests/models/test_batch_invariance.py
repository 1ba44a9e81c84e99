"""Outputs that depend on the other pictures of a batch are found."""

import numpy as np
import pytest
import torch
from torch import nn

from fervid.models.batch_invariance import TOLERANCE, check_batches


def checked(network):
    network.eval()
    pictures = np.random.default_rng(0).random((24, 3, 8, 8), dtype=np.float32)

    @torch.inference_mode()
    def compute(faces):
        return network(torch.from_numpy(faces)).numpy()

    return check_batches(compute, pictures, compute(pictures), batch_size=8)


def network(norm):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def test_batchnorm_with_stored_statistics_passes():
    found = checked(network(nn.BatchNorm2d(4)))
    assert found.holds
    assert found.difference < 1e-5
    assert found.sentence.startswith("Outputs do not depend on the batch: those of 24 pictures in shuffled batches")
    assert f"tolerance {TOLERANCE:.1g}" in found.sentence


def test_batchnorm_with_statistics_of_the_batch_is_found():
    found = checked(network(nn.BatchNorm2d(4, track_running_stats=False)))
    assert not found.holds
    assert found.as_dict()["difference"] > TOLERANCE
    assert "Look for BatchNorm that uses the statistics of the batch" in found.sentence


def test_network_that_needs_several_pictures_is_found():
    head = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4, track_running_stats=False))
    found = checked(head)
    assert not found.holds
    assert found.as_dict()["difference"] is None
    assert "cannot be computed" in found.sentence


@pytest.mark.parametrize("count", [0, 1])
def test_few_pictures(count):
    found = check_batches(
        lambda faces: faces.mean((2, 3)), np.ones((count, 3, 4, 4)), np.ones((count, 3)), batch_size=8
    )
    assert found.holds
    assert found.pictures == count
