"""When runs are the same, and when they are replicates of one system."""

import numpy as np
import pandas as pd
import pytest

from fervid.schema.same_system import RunIdentity, fingerprint, run_settings, system_settings

CONFIG = {
    "seed": 1,
    "cache_dir": "/cache",
    "ckpt_path": None,
    "dataset": {"_target_": "Corpus", "root": "/data", "num_workers": 0, "batch_size": 32, "frame_stride": 5},
    "optimizer": {"_target_": "Adam", "lr": 0.001, "fused": True},
    "split": {"_target_": "subject", "seed": 1, "val": 0.2},
    "trainer": {"accelerator": "cpu", "enable_progress_bar": True},
    "finetune": {"phases": [{"name": "head", "epochs": 2}]},
    "logger": {"save_dir": None},
}
CHOICES = {"dataset": "ravdess", "optimizer": "adam"}


def changed(**changes):
    config = {name: dict(value) if isinstance(value, dict) else value for name, value in CONFIG.items()}
    for name, value in changes.items():
        group, _, setting = name.partition("__")
        if setting:
            config[group][setting] = value
        else:
            config[group] = value
    return config


NEUTRAL = [
    {"cache_dir": "/other"},
    {"ckpt_path": "x.ckpt"},
    {"dataset__num_workers": 8},
    {"dataset__prepared_dir": "/faces"},
    {"optimizer__fused": False},
    {"optimizer__foreach": True},
    {"trainer__enable_progress_bar": False},
    {"logger": {}},
    {"on_missing_weights": "error"},
    {"paper": {"name": "ised"}},
]


@pytest.mark.parametrize("changes", NEUTRAL, ids=str)
def test_neutral_settings_change_neither_run_nor_system(changes):
    other = changed(**changes)
    assert run_settings(other) == run_settings(CONFIG)
    assert system_settings(other, CHOICES) == system_settings(CONFIG, CHOICES)


def test_order_of_settings_does_not_matter():
    other = dict(reversed(changed().items()))
    assert run_settings(other) == run_settings(CONFIG)
    assert list(system_settings(other, CHOICES)) == list(system_settings(CONFIG, CHOICES))


def test_other_settings_make_a_different_run():
    changed_settings = (
        {"dataset__frame_stride": 1},
        {"optimizer__lr": 0.01},
        {"optimizer___target_": "SGD"},
        {"threads": 2},
    )
    for changes in (*changed_settings, {"seed": 2}):
        assert run_settings(changed(**changes)) != run_settings(CONFIG)
    assert system_settings(changed(seed=2, split__seed=2), CHOICES) == system_settings(CONFIG, CHOICES)
    assert system_settings(changed(dataset__frame_stride=1), CHOICES) != system_settings(CONFIG, CHOICES)
    phases = {"phases": [{"name": "head", "epochs": 3}]}
    assert system_settings(changed(finetune=phases), CHOICES)["finetune.phases.0.epochs"] == "3"


def test_data_are_identified_by_content_not_location():
    there = RunIdentity.of(CONFIG, "content")
    assert RunIdentity.of(changed(dataset__root="/moved"), "content").is_same(there)
    assert RunIdentity.of(changed(dataset__num_workers=2), "content").is_same(there)
    assert not RunIdentity.of(changed(dataset__root="/moved"), "other").is_same(there)
    assert not RunIdentity.of(CONFIG, "changed").is_same(there)  # a corpus edited in place
    assert not RunIdentity.of(changed(seed=2), "content").is_same(there)


def test_unknown_content_is_identified_by_location():
    there = RunIdentity.of(CONFIG, "content")
    assert RunIdentity.of(changed(dataset__num_workers=2)).is_same(there)
    assert not RunIdentity.of(changed(dataset__root="/moved")).is_same(there)
    assert not RunIdentity.of(changed(seed=2)).is_same(there)


def manifest(**columns):
    table = {
        **{"corpus": "ravdess", "subject": ["1", "1", None], "clip": ["a", "a", "b"], "frame": [0, 1, 0]},
        **{"emotion": ["sad", "sad", "happy"], "split": ["train", "train", "test"], "path": ["a.mp4", "a.mp4", "b"]},
    }
    return pd.DataFrame({**table, **columns})


HASHES = np.arange(3 * 32, dtype=np.uint8).reshape(3, 32)


def test_fingerprint_depends_on_keys_targets_split_and_pictures():
    own = fingerprint(manifest(), HASHES)
    assert fingerprint(manifest(path="/elsewhere", time=3.0), HASHES) == own
    assert fingerprint(manifest(frame=pd.Series([0, 1, 0], dtype="int32")), HASHES) == own
    for column, values in {
        "subject": ["1", "2", None],
        "clip": ["a", "c", "b"],
        "frame": [0, 2, 0],
        "emotion": ["sad", "sad", "angry"],
        "split": ["train", "val", "test"],
        "corpus": "other",
    }.items():
        assert fingerprint(manifest(**{column: values}), HASHES) != own
    assert fingerprint(manifest(), HASHES[::-1].copy()) != own  # same names, different pictures


def test_fingerprint_depends_on_numeric_targets():
    own = fingerprint(manifest(), HASHES, np.array([0.1, 0.2, 0.3]))
    assert fingerprint(manifest(), HASHES, np.array([0.1, 0.2, 0.3])) == own
    assert fingerprint(manifest(), HASHES, np.array([0.1, 0.2, 0.4])) != own
    assert fingerprint(manifest(), HASHES) != own
