import shutil
from functools import partial

import numpy as np
import pytest

from fervid import splits
from fervid.errors import InputError
from fervid.schema.manifest import check_manifest, emotion_by_split


def test_classes_are_sorted_and_counted(synthetic):
    datamodule = synthetic()
    assert datamodule.class_names == ["angry", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    assert datamodule.target.counts.tolist() == [4] * 8
    table = emotion_by_split(datamodule.manifest)
    assert table.loc["total"].to_dict() == {"train": 32, "val": 32, "test": 32}
    assert table.loc["fear"].to_dict() == {"train": 4, "val": 4, "test": 4}


def test_second_setup_changes_nothing(synthetic):
    datamodule = synthetic()
    before = datamodule.manifest.copy()
    datamodule.setup()
    assert datamodule.manifest.equals(before)


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [
        ("batch_size", 0, "batch_size=0"),
        ("batch_size", -3, "batch_size=-3"),
        ("batch_size", 33, "batch_size=33 is larger than the training subset of 32 frames"),
        ("num_workers", -1, "num_workers=-1"),
        ("image_size", 0, "image_size=0"),
        ("sampler", "fair", "sampler=fair"),
        ("identities", 0, "identities=0"),
        ("clips", -1, "clips=-1"),
    ],
)
def test_invalid_settings_are_errors(synthetic, option, value, match):
    with pytest.raises(InputError, match=match):
        synthetic(**{option: value})


def test_class_missing_from_training_is_an_error(synthetic):
    def without_fear(manifest):
        return np.where(manifest["emotion"] == "fear", "test", np.where(manifest.index % 2, "train", "val"))

    with pytest.raises(InputError, match="the training subset has no frame of fear"):
        synthetic(split=without_fear)


def test_class_missing_from_test_is_a_warning(synthetic, caplog):
    def without_fear(manifest):
        subset = np.array(["train", "val", "test"], dtype=object)[manifest.index % 3]
        return np.where((manifest["emotion"] == "fear") & (subset == "test"), "train", subset)

    synthetic(split=without_fear)
    assert "the test subset has no frame of fear" in caplog.text


def test_leaky_split_is_a_warning(synthetic, caplog):
    synthetic(split=lambda manifest: np.array(["train", "val", "test"], dtype=object)[manifest.index % 3])
    assert "this split leaks" in caplog.text
    assert "6 of 6 subjects" in caplog.text
    caplog.clear()
    synthetic()
    assert "leak" not in caplog.text


def test_last_batch_of_one_frame_is_dropped(synthetic):
    assert len(synthetic(batch_size=31).train_dataloader()) == 1
    assert len(synthetic(batch_size=30).train_dataloader()) == 2


def test_evaluation_batch_is_larger_but_limited(synthetic):
    sizes = {size: synthetic(batch_size=size).val_dataloader().batch_size for size in (1, 2, 8, 32)}
    assert sizes == {1: 8, 2: 16, 8: 64, 32: 64}
    assert synthetic(batch_size=100, identities=24).val_dataloader().batch_size == 100


def test_unwritable_cache_is_an_error(synthetic, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cache_dir=.* cannot be written"):
        synthetic(cache_dir=tmp_path / "file")


def test_manifest_is_checked(synthetic):
    frames = synthetic().rows
    with pytest.raises(InputError, match="lacks the column"):
        check_manifest(frames.drop(columns="clip"))
    with pytest.raises(InputError, match="no frame"):
        check_manifest(frames[:0])
    with pytest.raises(InputError, match="only one emotion"):
        check_manifest(frames[frames["emotion"] == "sad"])


def test_near_duplicates_can_be_kept_in_one_subset(image_folder, pictures):
    """Ten pictures per emotion, five of which are copies of the others under other names."""
    for folder in pictures.iterdir():
        for number, path in enumerate(sorted(folder.iterdir())[:5]):
            shutil.copy(path, sorted(folder.iterdir())[5 + number])
    split = partial(splits.clips, val=0.3, test=0.3, seed=0)
    made = {}
    for choice in ("keep", "group"):
        made[choice] = image_folder(near_duplicates=choice, split=split, subject_pattern=None)
        made[choice].prepare_data()
        made[choice].setup()
    assert made["keep"].audit.near_duplicates.total == made["group"].audit.near_duplicates.total == 15
    assert made["keep"].audit.near_duplicates.count > 3
    assert made["keep"].audit.level == "leaky"
    assert made["group"].audit.near_duplicates.count == 0
    assert made["group"].audit.level == "unknown-subjects"
    assert made["group"].manifest["clip"].is_unique  # grouped only for the split


def test_frames_in_no_subset_are_left_out(image_folder, caplog):
    subsets = np.array(["train", "val", "test", None], dtype=object)
    made = image_folder(split=lambda manifest: subsets[np.arange(len(manifest)) % 4], batch_size=2)
    made.prepare_data()
    made.setup()
    assert "7 of 30 frames are in no subset of this split and are left out" in caplog.text
    assert len(made.manifest) == 23
    assert made.manifest["cache_row"].tolist() == [row for row in range(30) if row % 4 != 3]


def test_leak_is_found_if_closest_frames_are_left_out(image_folder, pictures, tmp_path):
    """Two clips of the same five pictures: the recorded pair is left out, but four pairs still leak between subsets."""
    (tmp_path / "list.csv").write_text("path,emotion,subject,clip\n")
    with open(tmp_path / "list.csv", "a") as file:
        copied = sorted((pictures / "sad").iterdir())[:5]
        for path in sorted({*pictures.rglob("*.png")} - {*copied}):
            name = path.relative_to(pictures).as_posix()
            file.write(f"{name},{path.parent.name},{path.stem},{name}\n")
        for copy in ("x", "y"):
            for number, path in enumerate(copied):
                shutil.copy(path, pictures / "sad" / f"{copy}{number}.png")
                file.write(f"sad/{copy}{number}.png,sad,{copy},{copy}\n")

    def subsets(manifest, without):
        subset = np.array(["train", "val", "test"], dtype=object)[np.arange(len(manifest)) % 3]
        subset[(manifest["clip"] == "x").to_numpy()], subset[(manifest["clip"] == "y").to_numpy()] = "train", "test"
        subset[manifest["path"].isin(without).to_numpy()] = None
        return subset

    found = {}
    # When other frames are left out, too, the row numbers of the remaining ones change.
    for without in ((), ("sad/x0.png", *(f"happy/p{number}__0.png" for number in range(7)))):
        made = image_folder(csv=tmp_path / "list.csv", subject_pattern=None, split=partial(subsets, without=without))
        made.prepare_data()
        made.setup()
        table = made.audit.near_duplicates
        found[without] = [pair for pair in table.examples if {pair["clip_a"], pair["clip_b"]} == {"x", "y"}]
    assert [len(pairs) for pairs in found.values()] == [1, 1]
    assert made.audit.level == "leaky"


def test_groups_do_not_change_a_split_from_csv(image_folder, pictures, tmp_path, caplog):
    first, second = sorted((pictures / "sad").iterdir())[:2]
    shutil.copy(first, second)
    paths = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png"))
    subsets = {path: ("train", "val", "test")[number % 3] for number, path in enumerate(paths)}
    (tmp_path / "subsets.csv").write_text(
        "clip,split\n" + "\n".join(f"{path},{subset}" for path, subset in subsets.items())
    )
    made = image_folder(near_duplicates="group", split=partial(splits.from_csv, path=tmp_path / "subsets.csv"))
    made.prepare_data()
    made.setup()
    assert made.manifest.set_index("path")["split"].to_dict() == subsets
    assert "does not keep all near-duplicates together (dataset.near_duplicates=group)" in caplog.text
