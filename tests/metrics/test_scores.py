import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)
from sklearn.utils.class_weight import compute_class_weight

from fervid.errors import InputError
from fervid.metrics.scores import scores
from fervid.tasks.epoch_scores import EpochScores
from fervid.tasks.losses import EmotionLoss


def draw(seed, classes=5):
    """Labels and predictions of 200 frames, and their confusion matrix."""
    true, predicted = np.random.default_rng(seed).integers(0, classes, (2, 200))
    return true, predicted, confusion_matrix(true, predicted, labels=range(classes))


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_scikit_learn(seed):
    true, predicted, confusion = draw(seed)
    reached = scores(confusion)
    assert reached.means() == pytest.approx(
        {
            "accuracy": accuracy_score(true, predicted),
            "uar": balanced_accuracy_score(true, predicted),
            "f1": f1_score(true, predicted, average="macro"),
        }
    )
    precision, recall, f1, _ = precision_recall_fscore_support(true, predicted)
    assert reached.recall == pytest.approx(recall)
    assert reached.precision == pytest.approx(precision)
    assert reached.f1 == pytest.approx(f1)


def test_scores_by_hand():
    confusion = np.array([[8, 2, 0, 0], [5, 4, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])  # the last two do not occur
    reached = scores(confusion)
    assert reached.means() == pytest.approx({"accuracy": 12 / 20, "uar": (0.8 + 0.4) / 2, "f1": (16 / 23 + 8 / 16) / 2})
    assert reached.recall == pytest.approx([0.8, 0.4, np.nan, np.nan], nan_ok=True)
    assert reached.precision == pytest.approx([8 / 13, 4 / 6, 0, np.nan], nan_ok=True)
    assert reached.f1 == pytest.approx([16 / 23, 8 / 16, 0, np.nan], nan_ok=True)


def test_stacked_matrices_are_independent():
    confusions = np.array([draw(seed, 4)[2] for seed in range(6)])
    confusions[1, 2] = 0  # an emotion that does not occur
    confusions[2] = 0  # no frames
    together = scores(confusions.reshape(2, 3, 4, 4))
    assert together.recall.shape == (2, 3, 4)
    assert together.uar.shape == (2, 3)
    for number, confusion in enumerate(confusions):
        alone, place = scores(confusion), divmod(number, 3)
        for name, values in vars(together).items():
            assert np.array_equal(values[place], getattr(alone, name), equal_nan=True), name
    assert np.isnan(list(scores(confusions[2]).means().values())).all()


def test_epoch_scores_pool_all_batches():
    rng = torch.Generator().manual_seed(0)
    gathered, all_logits, all_labels = EpochScores(4), [], []
    for size in (7, 7, 2):  # the last batch is shorter
        logits, labels = torch.randn(size, 4, generator=rng), torch.randint(0, 4, (size,), generator=rng)
        gathered.update(logits, labels, torch.nn.functional.cross_entropy(logits, labels))
        all_logits.append(logits)
        all_labels.append(labels)
    logits, labels = torch.cat(all_logits), torch.cat(all_labels)
    values, confusion = gathered.compute()
    assert values["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert values["accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert confusion.sum() == 16
    gathered.update(logits[:1], labels[:1], torch.tensor(1.0))
    assert gathered.compute()[1].sum() == 1  # was reset


class TestLoss:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.5]])
    labels = torch.tensor([0, 1, 0])

    def test_plain(self):
        assert EmotionLoss()(self.logits, self.labels) == torch.nn.functional.cross_entropy(self.logits, self.labels)

    def test_balanced_weights_agree_with_scikit_learn(self):
        true = np.repeat([0, 1, 2], [60, 30, 10])
        expected = compute_class_weight("balanced", classes=np.arange(3), y=true)
        assert EmotionLoss([60, 30, 10], class_weights="balanced").weight.numpy() == pytest.approx(expected)

    def test_focal_by_hand(self):
        p = self.logits.softmax(1)[torch.arange(3), self.labels]
        expected = ((1 - p) ** 2 * -p.log()).mean()
        assert EmotionLoss(focal_gamma=2.0)(self.logits, self.labels).item() == pytest.approx(expected.item())

    def test_focal_with_tiny_gamma_equals_weighted_cross_entropy(self):
        options = {"class_weights": "balanced", "label_smoothing": 0.1}
        plain = EmotionLoss([5, 3, 2], **options)(self.logits, self.labels)
        focal = EmotionLoss([5, 3, 2], focal_gamma=1e-9, **options)(self.logits, self.labels)
        assert focal.item() == pytest.approx(plain.item(), rel=1e-5)

    @pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
    def test_focal_has_a_gradient_for_confident_predictions(self, gamma):
        logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
        EmotionLoss(focal_gamma=gamma)(logits, torch.tensor([0])).backward()
        assert torch.isfinite(logits.grad).all()

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"class_weights": "fair"}, "class_weights=fair"),
            ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
            ({"focal_gamma": -1}, "focal_gamma=-1"),
        ],
    )
    def test_invalid_settings(self, options, match):
        with pytest.raises(InputError, match=match):
            EmotionLoss([1, 1], **options)
