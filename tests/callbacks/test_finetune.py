"""Training in phases: frozen stages do not change, and a resumed run equals an uninterrupted one."""

from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import albumentations as A
import pytest
import pytorch_lightning as pl
import torch

from fervid import splits
from fervid.callbacks import FreezeThenFineTune
from fervid.callbacks.schedules import warmup_cosine
from fervid.errors import InputError

TWO_PHASES = [
    {"name": "frozen", "epochs": 2, "unfreeze_from": "head"},
    {"name": "fine_tune", "epochs": 3, "unfreeze_from": "conv2", "lr_factor": 0.5},
]
ADAMW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.5)
SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)


def weights(model: torch.nn.Module, start: str = "") -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items() if name.startswith(start)}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Watch(pl.Callback):
    """Records the weights and learning rates at the end of every epoch, before the next phase begins."""

    def __init__(self):
        self.epochs, self.rates = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.is_last_batch:
            self.epochs.append(weights(pl_module))
            self.rates.append(trainer.optimizers[0].param_groups[1]["lr"])


@pytest.mark.parametrize("cache_gb", [0.0, 1.0])
def test_frozen_weights_do_not_change_with_weight_decay(fit, lenet, cache_gb):
    watch = Watch()
    fit(optimizer=ADAMW, callbacks=[watch], cache_gb=cache_gb)
    start = weights(lenet())
    assert len(watch.epochs) == 5
    for number, epoch in enumerate(watch.epochs):
        moved = {name for name in epoch if not torch.equal(epoch[name], start[name])}
        layers = {"head" if name.startswith("network.head") else name.split(".")[5] for name in moved}
        assert layers == ({"head"} if number < 2 else {"head", "conv2"})


def test_trained_stages_can_be_frozen_again(fit):
    watch = Watch()
    phases = [
        {"name": "all", "epochs": 1, "unfreeze_from": "all"},
        {"name": "head", "epochs": 2, "unfreeze_from": "head"},
    ]
    fit(phases, optimizer=ADAMW, callbacks=[watch])
    first, second, third = watch.epochs
    backbone = {name for name in third if name.startswith("network.branches.image.encoder.")}
    assert backbone
    assert all(torch.equal(second[name], third[name]) and torch.equal(first[name], third[name]) for name in backbone)


def test_learning_rates_follow_the_phases(fit):
    watch = Watch()
    _, _, finetune, _ = fit(callbacks=[watch])
    assert watch.rates == pytest.approx([0.01, 0.01, 0.005, 0.005, 0.005])
    assert [row["lr/head"] for row in finetune.history] == pytest.approx(watch.rates)
    assert [row["phase"] for row in finetune.history] == ["frozen"] * 2 + ["fine_tune"] * 3


def test_layer_decay_multiplies_the_rates_of_a_phase(fit):
    rates = []

    class Peek(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            rates.append([(group["name"], group["lr"]) for group in trainer.optimizers[0].param_groups])

    _, _, finetune, _ = fit(callbacks=[Peek()], task={"layer_decay": 0.5})
    assert rates[0] == [("backbone", 0.0025), ("backbone", 0.005), ("head", 0.01)]  # conv1, conv2, head
    assert rates[2] == [("backbone", 0.00125), ("backbone", 0.0025), ("head", 0.005)]
    assert [row["lr/backbone"] for row in finetune.history] == [0.005] * 2 + [0.0025] * 3
    assert [row["lr/head"] for row in finetune.history] == [0.01] * 2 + [0.005] * 3


@pytest.mark.parametrize("accumulate", [1, 3])
def test_schedule_of_steps_warms_up_in_each_phase(fit, accumulate):
    """16 training frames in batches of 8 would be two steps; here there are 32 frames in batches of 4."""
    rates = []

    class Peek(pl.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            rates.append(optimizer.param_groups[1]["lr"])

    scheduler = partial(warmup_cosine, total_steps=None, warmup=0.5)
    fit(callbacks=[Peek()], scheduler=scheduler, data={"batch_size": 4}, accumulate=accumulate)
    per_epoch = len(rates) // 5
    first, second = rates[: 2 * per_epoch], rates[2 * per_epoch :]
    for phase, highest in ((first, 0.01), (second, 0.005)):
        rising = -(-len(phase) // 2)
        assert phase[:rising] == pytest.approx([highest * (step + 1) / rising for step in range(rising)])
        assert all(later < earlier for earlier, later in pairwise(phase[rising:]))
        assert phase[-1] < 0.3 * highest


def test_schedule_shorter_than_the_phase_is_an_error(fit):
    with pytest.raises(InputError, match=r"ends before the phase .*: give scheduler.total_steps=null"):
        fit(scheduler=partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=3))


def test_mixing_trains_on_pictures_instead_of_cached_features(fit):
    shares = []

    class Peek(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            shares.append("image" in batch)

    fit(callbacks=[Peek()], task={"mixup": 0.2})
    assert all(shares)
    with pytest.raises(InputError, match="cached_views=2 cannot be used with mixup or CutMix"):
        fit(task={"cutmix": 1.0}, cached_views=2, data={"augmentation": A.Compose([A.HorizontalFlip()])})


def test_dropout_differs_between_epochs(fit):
    class Draw(pl.Callback):
        drawn = []

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == 0:
                self.drawn.append(torch.nn.functional.dropout(torch.ones(50)))

    fit(callbacks=[Draw()])
    first, *others = Draw.drawn
    assert len(others) == 4
    assert not any(torch.equal(first, other) for other in others)


def test_phase_starts_with_fresh_optimizer_state(fit):
    sizes = []

    class Peek(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            sizes.append(len(trainer.optimizers[0].state))

    fit(callbacks=[Peek()])
    assert sizes == [0, 4, 0, 6, 6]  # head: two layers with weight and bias; then conv2 too


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="adam, cached"),
        pytest.param({"cache_gb": 0.0, "optimizer": SGD}, id="sgd, not cached"),
        pytest.param(
            {"phases": [{"name": name, "epochs": 8, "unfreeze_from": name, "patience": 3} for name in ("head", "all")]},
            id="patience",
        ),
        pytest.param(
            {
                "scheduler": partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=None),
                "data": {"augmentation": A.Compose([A.HorizontalFlip(p=0.5), A.GaussNoise(p=1.0)])},
            },
            id="cosine, augmented",
        ),
        pytest.param(
            {
                "scheduler": partial(torch.optim.lr_scheduler.ReduceLROnPlateau, mode=None, patience=0),
                "data": {"augmentation": A.Compose([A.GaussNoise(p=1.0)]), "sampler": "balanced"},
                "cached_views": 2,
            },
            id="plateau, views",
        ),
        pytest.param(
            {
                "scheduler": partial(warmup_cosine, total_steps=None, warmup=0.3),
                "optimizer": ADAMW,
                "task": {"layer_decay": 0.5, "decay_norms": False, "mixup": 0.4, "cutmix": 1.0},
                "accumulate": 3,
            },
            id="warm-up, layer decay, mixing, accumulation",
        ),
        pytest.param({"optimizer": SGD, "task": {"mixup": 0.4, "sam": 0.05}}, id="sharpness-aware, mixing"),
    ],
)
def test_resumed_run_is_bit_identical(fit, tmp_path, options):
    trainer, model, finetune, _ = fit(each=tmp_path, **options)
    expected, last = weights(model), trainer.optimizers[0].state_dict()
    for epoch in range(len(finetune.history) - 1):  # in the first phase, at the change of phases, in the second phase
        resumed_trainer, resumed, again, _ = fit(resume=tmp_path / f"{epoch}.ckpt", **options)
        assert equal(weights(resumed), expected), epoch
        assert again.best == finetune.best
        unlike_time = [{k: v for k, v in row.items() if k != "seconds"} for row in again.history]
        assert unlike_time == [{k: v for k, v in row.items() if k != "seconds"} for row in finetune.history]
        states = resumed_trainer.optimizers[0].state_dict()["state"]
        assert all(
            torch.equal(states[key][name], value)
            for key, entry in last["state"].items()
            for name, value in entry.items()
            if torch.is_tensor(value)
        )


def test_resumed_run_with_workers_is_identical(fit, tmp_path):
    options = {"data": {"num_workers": 2, "augmentation": A.Compose([A.GaussNoise(p=1.0)])}, "cache_gb": 0.0}
    _, model, _, _ = fit(each=tmp_path, **options)
    _, resumed, _, _ = fit(resume=tmp_path / "2.ckpt", **options)
    assert equal(weights(resumed), weights(model))


def test_resuming_a_finished_run_trains_no_epoch(fit, tmp_path):
    _, model, finetune, _ = fit(each=tmp_path)
    _, resumed, again, _ = fit(resume=tmp_path / "4.ckpt")
    assert len(again.history) == len(finetune.history)
    assert equal(weights(resumed), weights(model))


class Script(pl.Callback):
    """Logs given validation scores, one per epoch."""

    def __init__(self, *scores):
        self.scores, self.seen = scores, []

    def on_validation_epoch_end(self, trainer, pl_module):
        self.seen.append(weights(pl_module))
        pl_module.log("val/wanted", self.scores[trainer.current_epoch])


PATIENT = [
    {"name": "frozen", "epochs": 5, "unfreeze_from": "head", "patience": 2},
    {"name": "fine_tune", "epochs": 5, "unfreeze_from": "all", "patience": 2},
]


def test_patience_ends_phase_and_best_weights_are_restored(fit):
    #                frozen: best in epoch 2        fine_tune: best in epoch 6
    script = Script(0.1, 0.5, 0.4, 0.3, 0.45, 0.7, 0.6, 0.6)
    _, model, finetune, _ = fit(PATIENT, callbacks=[script], monitor="val/wanted")
    assert [row["phase"] for row in finetune.history] == ["frozen"] * 4 + ["fine_tune"] * 4
    assert finetune.best == {"epoch": 6, "score": pytest.approx(0.7)}
    assert equal(weights(model), script.seen[5])


def test_patience_also_waits_for_optimizer_steps(fit):
    # 4 steps per epoch: the patience of 2 epochs is over after 8 steps, that of 12 steps after 3 epochs.
    script = Script(*[0.5, 0.4, 0.3, 0.2, 0.1] * 2)
    _, _, finetune, _ = fit(PATIENT, callbacks=[script], monitor="val/wanted", patience_steps=12)
    assert [row["phase"] for row in finetune.history] == ["frozen"] * 4 + ["fine_tune"] * 3


@pytest.mark.parametrize(("epochs", "warned"), [(24, True), (25, False)])
def test_few_optimizer_steps_are_warned_of(fit, caplog, epochs, warned):
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = True

    fit([{"name": "frozen", "epochs": epochs, "unfreeze_from": "head"}], callbacks=[Stop()])
    sentence = "phase frozen has at most 96 optimizer steps (24 epochs of 4 steps): give it more epochs"
    assert (sentence in caplog.text) == warned


def test_phase_without_improvement_is_discarded(fit):
    script = Script(0.1, 0.5, 0.4, 0.3, 0.2, 0.2, 0.2, 0.2)
    _, model, finetune, _ = fit(PATIENT, callbacks=[script], monitor="val/wanted")
    assert len(finetune.history) == 6
    assert finetune.best["epoch"] == 2
    assert equal(weights(model), script.seen[1])


def test_monitored_loss_is_minimised(fit):
    class Loss(Script):
        def on_validation_epoch_end(self, trainer, pl_module):
            self.seen.append(weights(pl_module))
            pl_module.log("val/wanted_loss", self.scores[trainer.current_epoch])

    script = Loss(0.9, 0.5, 0.7, 0.6, 0.6)
    _, model, finetune, _ = fit(callbacks=[script], monitor="val/wanted_loss")
    assert finetune.best["epoch"] == 2
    assert equal(weights(model), script.seen[1])


def test_cosine_schedule_spans_each_phase(fit):
    watch = Watch()
    fit(callbacks=[watch], scheduler=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=None))
    assert watch.rates == pytest.approx([0.01, 0.005, 0.005, 0.00375, 0.00125])


def test_plateau_reduces_learning_rate(fit):
    watch = Watch()
    script = Script(0.5, 0.4, 0.4, 0.4, 0.4)
    plateau = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, mode=None, patience=0)
    one_phase = [{"name": "full", "epochs": 5, "unfreeze_from": "all"}]
    fit(one_phase, callbacks=[watch, script], scheduler=plateau, monitor="val/wanted")
    assert watch.rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-4, 1e-5])


def test_best_weights_equal_to_current_ones_are_stored_once(fit, tmp_path):
    fit(select="last", each=tmp_path)
    state = torch.load(tmp_path / "3.ckpt", weights_only=True)
    best = state["callbacks"]["FreezeThenFineTune"]["best_weights"]
    assert best
    assert all(tensor.data_ptr() == state["state_dict"][name].data_ptr() for name, tensor in best.items())


def test_checkpoints_contain_plain_data_and_best_weights(fit, tmp_path):
    _, model, _, _ = fit(folder=tmp_path / "checkpoints", each=tmp_path)
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert equal(best["state_dict"], weights(model))
    assert "optimizer_states" not in best
    whole = torch.load(tmp_path / "3.ckpt", weights_only=True)
    assert {"optimizer_states", "state_dict", "callbacks"} <= whole.keys()


def test_diverged_network_is_an_error(fit):
    with pytest.raises(InputError, match=r"training loss is (nan|inf).*smaller optimizer.lr"):
        fit(optimizer=partial(torch.optim.SGD, lr=1e30), head="linear")


@pytest.mark.parametrize("failure", [RuntimeError("broken"), KeyboardInterrupt(), InputError("diverged")])
def test_failed_run_saves_best_weights(fit, tmp_path, failure):
    def fail(trainer, pl_module):
        if trainer.current_epoch == 2:
            raise failure

    watch, failing = Watch(), pl.callbacks.LambdaCallback(on_train_epoch_start=fail)
    with pytest.raises((type(failure), SystemExit)):  # Lightning exits on Ctrl-C
        fit(callbacks=[watch, failing], folder=tmp_path, select="last")
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(best[name], watch.epochs[1][name]) for name in best if "epoch_scores" not in name)


def test_original_error_is_raised_if_best_weights_cannot_be_written(fit, tmp_path, monkeypatch, caplog):
    def fill(trainer, pl_module):
        if trainer.current_epoch == 2:
            raise OSError(28, "No space left on device, at first")

    def full(trainer, *args, **kwargs):
        raise OSError(28, "No space left on device, again")

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", full)
    filling = pl.callbacks.LambdaCallback(on_validation_epoch_end=fill)
    with pytest.raises(OSError, match="at first"):
        fit(callbacks=[filling], folder=tmp_path)
    assert "best weights so far could not be written" in caplog.text
    assert "again" in caplog.text


def test_failed_rank_does_not_wait_for_other_ranks(lenet, tmp_path):
    finetune = FreezeThenFineTune(TWO_PHASES, folder=tmp_path)
    finetune.best = {"epoch": 1, "score": 0.5}
    finetune.on_exception(SimpleNamespace(world_size=2), lenet(), RuntimeError("broken"))  # must not save


def test_unknown_stage_of_later_phase_fails_at_start(fit):
    phases = [TWO_PHASES[0], {"name": "late", "epochs": 1, "unfreeze_from": "conv9"}]
    with pytest.raises(InputError, match="no stage 'conv9'"):
        fit(phases)


def test_unknown_monitor_is_an_error(fit):
    with pytest.raises(InputError, match=r"monitor=val/uarr is not logged: choose one of .*val/uar"):
        fit(monitor="val/uarr")


@pytest.mark.parametrize(
    ("phases", "options", "match"),
    [
        ([], {}, "phases is empty"),
        ([{"name": "a", "epochs": 0, "unfreeze_from": "all"}], {}, "epochs=0"),
        ([{"name": "a", "epochs": 1, "unfreeze_from": "all", "lr_factor": 0}], {}, "lr_factor=0"),
        ([{"name": "a", "epochs": 1, "unfreeze_from": "all", "patience": 0}], {}, "patience=0"),
        (TWO_PHASES, {"cached_views": 0}, "cached_views=0"),
    ],
)
def test_invalid_settings_are_errors(phases, options, match):
    with pytest.raises(InputError, match=match):
        FreezeThenFineTune(phases, **options)


def test_select_last_keeps_weights_of_last_epoch(fit):
    """The scores decrease, so the best epoch is the first, but the last one is selected."""

    class Worse(pl.Callback):
        def on_validation_end(self, trainer, pl_module):
            trainer.callback_metrics["val/uar"] = torch.tensor(1.0 / (1 + trainer.current_epoch))

    for keep, epoch in (("best", 1), ("last", 5)):
        watch = Watch()
        _, model, finetune, _ = fit(callbacks=[Worse(), watch], select=keep)
        assert finetune.best["epoch"] == epoch
        assert len(finetune.history) == 5
        own = {name: tensor for name, tensor in weights(model).items() if "epoch_scores" not in name}
        assert equal(own, {name: watch.epochs[epoch - 1][name] for name in own})


def test_select_is_checked():
    with pytest.raises(InputError, match=r"finetune.select=first is unknown: choose best or last"):
        FreezeThenFineTune(TWO_PHASES, select="first")
    impatient = [TWO_PHASES[0], {**TWO_PHASES[1], "patience": 3}]
    with pytest.raises(InputError, match=r"phase 'fine_tune' has a patience: set it to null"):
        FreezeThenFineTune(impatient, select="last")
    FreezeThenFineTune(TWO_PHASES, select="last")


@pytest.mark.parametrize(
    ("options", "says"),
    [({}, "train for a fixed number of epochs"), ({"select": "last"}, None), ({"monitor": "train/uar"}, None)],
)
def test_few_validation_subjects(fit, caplog, options, says):
    """The corpus has two of them."""
    fit([{"name": "frozen", "epochs": 1, "unfreeze_from": "head"}], **options)
    found = [message for message in caplog.messages if "the validation subset has only 2 subjects" in message]
    assert bool(found) == bool(says)
    assert all(says in message for message in found)


def test_enough_validation_subjects(fit, caplog):
    data = {"identities": 10, "split": partial(splits.subject, val=0.5, test=0.2, seed=0)}
    fit([{"name": "frozen", "epochs": 1, "unfreeze_from": "head"}], data=data)
    assert "validation subset has only" not in caplog.text
