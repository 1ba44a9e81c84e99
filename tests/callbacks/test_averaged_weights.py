"""Averaged weights are those that are validated and kept, in each phase from its start."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from fervid.callbacks import AveragedWeights
from fervid.errors import InputError

DECAY = 0.8
ADAMW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.5)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Watch(pl.Callback):
    """Averages by hand, and records the averages at the end of the epochs and the weights that are validated."""

    def __init__(self):
        self.phase, self.average, self.averages, self.validated, self.trained = None, {}, [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        now, phase = weights(pl_module), trainer.checkpoint_callbacks[0].phase.name
        if phase != self.phase:
            self.phase, self.average = phase, now
        else:
            self.average = {name: DECAY * self.average[name] + (1 - DECAY) * now[name] for name in now}
        if trainer.is_last_batch:
            self.trained.append(now)
            self.averages.append(self.average)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 0:
            self.validated.append(weights(pl_module))


@pytest.mark.parametrize("select", ["best", "last"])
def test_average_is_validated_and_kept(fit, select):
    watch = Watch()
    callbacks = [AveragedWeights(DECAY), watch]
    trainer, model, finetune, datamodule = fit(optimizer=ADAMW, callbacks=callbacks, select=select)
    assert len(watch.validated) == len(watch.averages) == 5
    for validated, average, trained in zip(watch.validated, watch.averages, watch.trained, strict=True):
        assert all(torch.allclose(validated[name], average[name], atol=1e-6) for name in average)
        assert not equal(validated, trained)
    best = finetune.best["epoch"]
    assert equal(weights(model), watch.validated[best - 1])
    trainer.validate(model, datamodule, verbose=False)
    assert equal(watch.validated[-1], watch.validated[best - 1])
    assert model.scores["val"]["val/loss"] == finetune.history[-1]["val/loss"] or best < 5


def test_frozen_weights_do_not_change(fit, lenet):
    watch = Watch()
    fit(optimizer=ADAMW, callbacks=[AveragedWeights(DECAY), watch])
    start = weights(lenet())
    for number, epoch in enumerate(watch.validated):
        moved = {name for name in epoch if not torch.equal(epoch[name], start[name])}
        layers = {"head" if name.startswith("network.head") else name.split(".")[5] for name in moved}
        assert layers == ({"head"} if number < 2 else {"head", "conv2"})


@pytest.mark.parametrize("accumulate", [1, 3])
def test_resumed_run_is_bit_identical(fit, tmp_path, accumulate):
    _, model, finetune, _ = fit(each=tmp_path, callbacks=[AveragedWeights(DECAY)], accumulate=accumulate)
    for epoch in range(4):
        options = {"callbacks": [AveragedWeights(DECAY)], "accumulate": accumulate}
        _, resumed, again, _ = fit(resume=tmp_path / f"{epoch}.ckpt", **options)
        assert equal(weights(resumed), weights(model)), epoch
        assert again.best == finetune.best
        scores = [[{k: v for k, v in row.items() if k != "seconds"} for row in c.history] for c in (again, finetune)]
        assert scores[0] == scores[1]


def test_checkpoint_of_an_epoch_holds_the_average_as_its_weights(fit, tmp_path):
    watch = Watch()
    fit(each=tmp_path, callbacks=[AveragedWeights(DECAY), watch])
    state = torch.load(tmp_path / "3.ckpt", weights_only=True)
    assert equal(state["state_dict"], watch.validated[3])
    assert equal(state["current_model_state"], watch.trained[3])


def test_callback_of_lightning_is_refused(fit):
    with pytest.raises(InputError, match="the average of EMAWeightAveraging would not be kept"):
        fit(callbacks=[pl.callbacks.EMAWeightAveraging()])


@pytest.mark.parametrize("decay", [0, 1, -0.1])
def test_decay_out_of_range(decay):
    with pytest.raises(InputError, match=f"decay={decay} is out of range: use above 0 to below 1"):
        AveragedWeights(decay)
