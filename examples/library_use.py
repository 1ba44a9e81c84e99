"""Trains, tests, saves and loads a network without Hydra: ``python library_use.py``.

It uses the rendered corpus, needs no files and takes less than a minute on a CPU.
"""

from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch

from fervid import EmotionClassifier, splits
from fervid.callbacks import FreezeThenFineTune, OutputCollector
from fervid.data import SyntheticDataModule
from fervid.data.targets import ClassTarget
from fervid.models.heads import MLPHead
from fervid.models.network import Network
from fervid.models.paper_backbones import LeNet

WEIGHTS = Path("library_use.ckpt")


def make_model(target: ClassTarget) -> EmotionClassifier:
    """LeNet and its head, with one output per class."""
    backbone = LeNet(mean=[0.5] * 3, std=[0.25] * 3)
    head = MLPHead(backbone.output_shape(), target.size, hidden=[120, 84], dropout=[0, 0], activation="tanh")
    network = Network.of_pictures(backbone, head)
    return EmotionClassifier(network, target, optimizer=partial(torch.optim.Adam, lr=0.001))


def main() -> None:
    """Runs the example."""
    pl.seed_everything(0)
    datamodule = SyntheticDataModule(
        identities=8,
        clips=1,
        image_size=28,
        batch_size=16,
        split=partial(splits.subject, val=0.25, test=0.25, seed=0),
        cache_dir="cache",
    )
    datamodule.prepare_data()
    datamodule.setup()
    print(datamodule.audit.level, datamodule.class_names)

    model = make_model(datamodule.target)
    phases = [{"name": "all", "epochs": 10, "unfreeze_from": "all"}]
    finetune, collector = FreezeThenFineTune(phases, monitor="val/uar"), OutputCollector()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=finetune.max_epochs,
        callbacks=[finetune, collector],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule)
    trainer.test(model, datamodule)  # with the weights of the best epoch
    predictions = collector.table(model, datamodule.samples)
    scores = model.measure(predictions)["metrics"]
    print(f"UAR {scores['test/uar']:.2f} on frames, {scores['test/clip_uar']:.2f} on clips")

    torch.save({"class_names": model.class_names, "state_dict": model.state_dict()}, WEIGHTS)
    saved = torch.load(WEIGHTS, weights_only=True)
    again = make_model(ClassTarget(saved["class_names"])).eval()
    again.load_state_dict(saved["state_dict"])
    with torch.inference_mode():
        probabilities = again(torch.rand(2, 3, 28, 28)).softmax(dim=1)
    print(dict(zip(again.class_names, probabilities[0].tolist(), strict=True)))


if __name__ == "__main__":
    main()
