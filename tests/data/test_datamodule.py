import numpy as np
import pytest

from fervid.data.manifest import check_manifest, emotion_by_split
from fervid.errors import InputError


def test_numbers_emotions_in_sorted_order_and_counts_them(synthetic):
    datamodule = synthetic()
    assert datamodule.class_names == ["angry", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    assert datamodule.num_classes == 8
    assert datamodule.class_counts.tolist() == [4] * 8
    table = emotion_by_split(datamodule.manifest)
    assert table.loc["total"].to_dict() == {"train": 32, "val": 32, "test": 32}
    assert table.loc["fear"].to_dict() == {"train": 4, "val": 4, "test": 4}


def test_setup_twice_changes_nothing(synthetic):
    datamodule = synthetic()
    before = datamodule.manifest.copy()
    datamodule.setup()
    assert datamodule.manifest.equals(before)


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [
        ("batch_size", 0, "batch_size=0"),
        ("batch_size", -3, "batch_size=-3"),
        ("batch_size", 33, "batch_size=33 is larger than the training side of 32 frames"),
        ("num_workers", -1, "num_workers=-1"),
        ("image_size", 0, "image_size=0"),
        ("sampler", "fair", "sampler=fair"),
        ("identities", 0, "identities=0"),
        ("clips", -1, "clips=-1"),
    ],
)
def test_settings_that_cannot_be_used(synthetic, option, value, match):
    with pytest.raises(InputError, match=match):
        synthetic(**{option: value})


def test_a_class_missing_from_train(synthetic):
    def without_fear(manifest):
        return np.where(manifest["emotion"] == "fear", "test", np.where(manifest.index % 2, "train", "val"))

    with pytest.raises(InputError, match="no frame of fear is on the training side"):
        synthetic(split=without_fear)


def test_a_class_missing_from_test_is_a_warning(synthetic, caplog):
    def without_fear(manifest):
        side = np.array(["train", "val", "test"], dtype=object)[manifest.index % 3]
        return np.where((manifest["emotion"] == "fear") & (side == "test"), "train", side)

    synthetic(split=without_fear)
    assert "no frame of fear on the test side" in caplog.text


def test_a_leaking_split_is_a_warning(synthetic, caplog):
    synthetic(split=lambda manifest: np.array(["train", "val", "test"], dtype=object)[manifest.index % 3])
    assert "this split leaks" in caplog.text
    assert "6 of 6 people" in caplog.text
    caplog.clear()
    synthetic()
    assert "leak" not in caplog.text


def test_a_last_batch_of_one_frame_is_left_out(synthetic):
    assert len(synthetic(batch_size=31).train_dataloader()) == 1
    assert len(synthetic(batch_size=30).train_dataloader()) == 2


def test_a_cache_that_cannot_be_written(synthetic, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cache_dir=.* cannot be written"):
        synthetic(cache_dir=tmp_path / "file")


def test_manifest_checks(synthetic):
    frames = synthetic().frames
    with pytest.raises(InputError, match="lacks the column"):
        check_manifest(frames.drop(columns="clip"))
    with pytest.raises(InputError, match="no frame"):
        check_manifest(frames[:0])
    with pytest.raises(InputError, match="only one emotion"):
        check_manifest(frames[frames["emotion"] == "sad"])
