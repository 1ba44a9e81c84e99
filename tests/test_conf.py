"""Every yaml file composes, and its classes can be instantiated."""

from pathlib import Path

import albumentations as A
import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from fervid.callbacks import FreezeThenFineTune, LinearProbe
from fervid.data.targets import ClassTarget
from fervid.runs.build import make_datamodule, make_model
from fervid.schema.config_folder import CONFIG_FOLDER

GROUPS = "detector dataset split identity sample augmentation sound_augmentation task backbone sound_encoder".split()
GROUPS += "feature_encoder pooling fusion head finetune optimizer scheduler recipe callbacks trainer logger".split()
GROUPS += "paper experiment sweep".split()


def options(group):
    return sorted(path.stem for path in (Path(CONFIG_FOLDER) / group).glob("[!_]*.yaml"))


@pytest.fixture(autouse=True)
def hydra():
    GlobalHydra.instance().clear()
    with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
        yield


def test_configuration_groups_are_the_documented_ones():
    folders = {path.name for path in Path(CONFIG_FOLDER).iterdir() if path.is_dir()}
    assert folders == {*GROUPS, "features", "hydra"}  # features: of fervid.baseline
    assert all(options(group) for group in GROUPS)


@pytest.mark.parametrize(("group", "option"), [(group, option) for group in GROUPS for option in options(group)])
def test_every_option_composes(group, option):
    assert "???" not in OmegaConf.to_yaml(compose("train", [f"{group}={option}"]))


@pytest.mark.parametrize("dataset", sorted(set(options("dataset")) - {"several"}))
def test_every_dataset_accepts_its_settings(dataset, tmp_path):
    root = [] if dataset == "synthetic" else [f"dataset.root={tmp_path}"]
    made = make_datamodule(compose("train", [f"dataset={dataset}", *root, "cache_dir=elsewhere"]))
    assert made.corpus == dataset
    if dataset != "synthetic":
        assert made.prepared["image"].parent == Path("elsewhere/prepared")
        only_faces = made.prepared["image"].corpus.pictures and dataset not in ("ck_plus", "jaffe", "kdef")
        assert type(made.prepared["image"].detector).__name__ == ("NoDetector" if only_faces else "HaarDetector")
        asked = make_datamodule(compose("train", [f"dataset={dataset}", *root, "detector=none"]))
        assert type(asked.prepared["image"].detector).__name__ == "NoDetector"


@pytest.mark.parametrize("command", ["prepare", "audit", "baseline", "evaluate"])
@pytest.mark.parametrize("dataset", options("dataset"))
def test_every_command_accepts_every_dataset(command, dataset):
    config = compose(command, [f"dataset={dataset}"])
    assert config.dataset == compose("train", [f"dataset={dataset}"]).dataset


NAMES = {"torchvision": "squeezenet1_1", "timm": "resnet10t"}


@pytest.mark.parametrize("head", ["its own", "linear", "mlp"])
@pytest.mark.parametrize("backbone", options("backbone"))
def test_every_backbone_trains_with_every_head(backbone, head):
    words = [f"backbone={backbone}", "backbone.weights=null"]
    words += [f"backbone.name={NAMES[backbone]}"] if backbone in NAMES else []
    words += [] if head == "its own" else [f"head={head}"]
    # Not at full size: VGG16's head alone would take a gigabyte.
    own = compose("train", words).backbone.image_size
    config = compose("train", [*words, f"backbone.image_size={own if backbone == 'alexnet_ised' else min(own, 64)}"])
    model = make_model(config, ClassTarget(["a", "b", "c"]))
    model.train()
    images = torch.rand(2, 3, config.backbone.image_size, config.backbone.image_size)
    loss = model.training_step({"image": images, "emotion": torch.tensor([0, 1]), "index": torch.arange(2)}, 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(parameter.grad is not None for parameter in model.head.parameters())
    number = model.backbone.stage_number("last_block")
    assert 0 <= number < len(model.backbone.stages)


@pytest.mark.parametrize("finetune", [name for name in options("finetune") if name != "linear_probe"])
@pytest.mark.parametrize("scheduler", options("scheduler"))
def test_every_finetune_with_every_scheduler(finetune, scheduler):
    config = compose("train", [f"finetune={finetune}", f"scheduler={scheduler}", "backbone=vgg16"])
    made = instantiate(config.finetune, scheduler=instantiate(config.scheduler) or None, _convert_="all")
    assert isinstance(made, FreezeThenFineTune)
    probe_epochs = 1 if isinstance(made, LinearProbe) else 0
    assert made.max_epochs == sum(phase.epochs for phase in config.finetune.phases) + probe_epochs
    schedule = made.make_schedule(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1))
    assert (schedule is None) == (scheduler == "none")


@pytest.mark.parametrize("scheduler", options("scheduler"))
def test_linear_probe_accepts_no_scheduler(scheduler):
    config = compose("train", ["finetune=linear_probe", f"scheduler={scheduler}"])
    settings = {"scheduler": instantiate(config.scheduler) or None, "_convert_": "all"}
    if scheduler == "none":
        assert instantiate(config.finetune, **settings).max_epochs == 1
    else:
        with pytest.raises(InstantiationException, match="give scheduler=none"):
            instantiate(config.finetune, **settings)


@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_every_optimizer_makes_a_step(optimizer):
    weight = torch.ones(1, requires_grad=True)
    made = instantiate(compose("train", [f"optimizer={optimizer}"]).optimizer)([weight])
    (weight**2).sum().backward()
    made.step()
    assert weight.item() < 1


@pytest.mark.parametrize("augmentation", options("augmentation"))
def test_every_augmentation_returns_a_valid_picture(augmentation):
    made = instantiate(compose("train", [f"augmentation={augmentation}"]).augmentation, _convert_="all")
    if augmentation == "none":
        assert made == {}
        return
    assert isinstance(made, A.Compose)
    face = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    made.set_random_seed(0)
    drawn = [made(image=face)["image"] for _ in range(4)]
    assert all(picture.shape == face.shape and picture.dtype == np.uint8 for picture in drawn)
    assert not all((picture == face).all() for picture in drawn)


def test_augmented_faces_stay_close_to_the_original(synthetic):
    """Catches values that are wrong by a factor of ten."""
    faces = synthetic(image_size=64).face_cache[np.arange(8)]
    for name in set(options("augmentation")) - {"none"}:
        made = instantiate(compose("train", [f"augmentation={name}"]).augmentation, _convert_="all")
        made.set_random_seed(0)
        for face in faces:
            drawn = made(image=face)["image"].astype(float)
            likeness = max(np.corrcoef(drawn.ravel(), f.astype(float).ravel())[0, 1] for f in (face, face[:, ::-1]))
            assert likeness > 0.5, name


@pytest.mark.parametrize("split", options("split"))
def test_every_split_fills_all_subsets(split, synthetic, tmp_path):
    frames = synthetic(identities=10).rows
    words = [f"split={split}"]
    if split.endswith("_counts"):
        numbers = ",".join(f"{emotion}:[12,4,3]" for emotion in frames["emotion"].unique())
        words += ["~split.counts", f"+split.counts={{{numbers}}}"]
    elif split == "published_folds":
        frames["subject"] = frames["identity"].astype(str)
    elif split == "csv":
        subjects = frames["subject"].unique()
        subsets = pd.DataFrame({"subject": subjects, "split": ["train"] * 6 + ["val"] * 2 + ["test"] * 2})
        subsets.to_csv(tmp_path / "own.csv", index=False)
        words += [f"split.path={tmp_path / 'own.csv'}"]
    elif split == "identity":
        frames["face_cluster"] = frames["subject"]
    elif split in ("leave_corpus_out", "each_corpus"):
        frames["corpus"] = np.where(frames["identity"] > 5, "one", "other")
        words += ["split.corpus=other"] if split == "leave_corpus_out" else []
    elif split == "predefined":
        frames["predefined_split"] = np.where(frames["identity"] > 8, "test", "train")
    subsets = instantiate(compose("train", words).split)(frames)
    assert set(subsets) - {None} == {"train", "val", "test"}
    assert sum(subset is None for subset in subsets) == (8 if split.endswith("_counts") else 0)


@pytest.mark.parametrize("words", [["backbone=lenet"], ["backbone=cnn"], ["backbone=alexnet_ised"]])
def test_networks_of_papers_select_their_head_and_train_all_stages(words):
    config = compose("train", words)
    assert config.head._target_.endswith("MLPHead")
    assert config.finetune.phases[0].unfreeze_from == "all"
    chosen = compose("train", [*words, "head=linear", "finetune=frozen"])
    assert chosen.head._target_.endswith("LinearHead")
    assert chosen.finetune.phases[0].unfreeze_from == "head"


def test_gpu_trainer_uses_bfloat16_and_loader_workers():
    config = compose("train", ["trainer=gpu"])
    assert (config.trainer.precision, config.dataset.num_workers) == ("bf16-mixed", 8)
