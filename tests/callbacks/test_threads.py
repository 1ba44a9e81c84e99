import pytest
import pytorch_lightning as pl
import torch

from fervid.callbacks import OneThreadIfSmall, threads
from fervid.models.heads import LinearHead
from fervid.models.paper_backbones import CNN
from fervid.tasks.classification import EmotionClassifier


class Seen(pl.Callback):
    """How many threads there were at each step and at the end of each epoch."""

    def __init__(self):
        self.steps, self.ends = [], []

    def on_train_batch_end(self, *args):
        self.steps.append(torch.get_num_threads())

    def on_train_epoch_end(self, *args):
        self.ends.append(torch.get_num_threads())


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def fit(model, datamodule, *callbacks):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "max_epochs": 2}
    pl.Trainer(**quiet, accelerator="cpu", callbacks=[*callbacks], enable_model_summary=False).fit(model, datamodule)


@pytest.mark.usefixtures("three_threads")
def test_a_small_network_trains_on_one_thread_and_gives_the_others_back(lenet, synthetic):
    seen = Seen()
    fit(lenet(), synthetic(), OneThreadIfSmall(), seen)
    assert seen.steps
    assert set(seen.steps) == {1}
    assert seen.ends == [3, 3]
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_a_larger_network_keeps_its_threads(synthetic):
    backbone = CNN(image_size=50)
    names = [f"emotion{number}" for number in range(8)]
    model = EmotionClassifier(backbone, LinearHead(backbone.output_shape(), 8), names)
    seen = Seen()
    fit(model, synthetic(image_size=50, batch_size=16), OneThreadIfSmall(), seen)
    assert set(seen.steps) == {3}


@pytest.mark.usefixtures("three_threads")
def test_a_failed_run_gives_them_back(lenet, synthetic):
    class Failing(pl.Callback):
        def on_train_batch_end(self, *args):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fit(lenet(), synthetic(), OneThreadIfSmall(), Failing())
    assert torch.get_num_threads() == 3


def test_counting_draws_nothing_and_leaves_the_network_learning(lenet, synthetic):
    model = lenet()
    batch = synthetic().on_after_batch_transfer(next(iter(synthetic().train_dataloader())), 0)
    before = torch.get_rng_state()
    model.train()
    of_eight = threads._operations(model, batch)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    # conv1: 28 x 28 x 6 outputs of 75 products, conv2: 10 x 10 x 16 of 150, two dense layers; a product counts twice.
    assert of_eight == 8 * 2 * (28 * 28 * 6 * 75 + 10 * 10 * 16 * 150 + 400 * 16 + 16 * 8)
