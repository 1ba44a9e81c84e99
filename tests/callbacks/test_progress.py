"""Progress lines of a training without a terminal."""

from types import SimpleNamespace

import pytest

from fervid.callbacks.progress import EpochLines


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("uar", "train loss 0.5000, UAR 50.0%; val loss 0.6000, UAR 25.0%"),
        ("loss", "train loss 0.5000; val loss 0.6000"),
    ],
)
def test_line_of_an_epoch_gives_loss_once(capsys, shown, expected):
    row = {"epoch": 1, "phase": "full", "train/loss": 0.5, "val/loss": 0.6, "train/uar": 0.5, "val/uar": 0.25}
    lines = EpochLines(SimpleNamespace(history=[{**row, "seconds": 1.0}]))
    lines.on_train_epoch_end(SimpleNamespace(is_global_zero=True, max_epochs=2), SimpleNamespace(shown=[shown]))
    assert capsys.readouterr().out == f"epoch 1/2; phase full; {expected}; 1.0 s; at most 1 s left\n"
