from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from sklearn.model_selection import ShuffleSplit, train_test_split

from fervid import splits
from fervid.audit.leakage import audit
from fervid.errors import InputError
from fervid.splits.groups import DRAWS, draw_subjects


def split_with(name, manifest, seed=0, val=0.2, test=0.2):
    return manifest.assign(split=getattr(splits, name)(manifest, val=val, test=test, seed=seed))


@pytest.mark.parametrize("seed", range(5))
def test_subject_keeps_each_subject_in_one_subset(manifest, seed):
    split = split_with("subject", manifest, seed)
    assert (split.groupby("subject")["split"].nunique() == 1).all()
    assert (audit(split).subjects.count, audit(split).clips.count) == (0, 0)
    assert audit(split).level == "subject-independent"
    shares = split["split"].value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.2, abs=0.08)
    assert shares["val"] == pytest.approx(0.2, abs=0.08)
    assert set(split.loc[split["split"] == "test", "emotion"]) == set(manifest["emotion"])


def test_random_frames_leak(manifest):
    leak = audit(split_with("random_frames", manifest))
    assert leak.level == "leaky"
    assert leak.subjects.count == 20
    assert leak.clips.count > 30


def test_shared_subjects_with_separate_clips_are_subject_dependent(manifest):
    halves = manifest.assign(split=np.where(manifest["clip"].str.endswith("1"), "test", "train"))
    assert audit(halves).level == "subject-dependent"
    assert audit(halves.assign(subject=None)).level == "unknown-subjects"


def test_shared_subjects_in_a_folder_of_pictures_leak(manifest):
    """If every picture is its own clip, separate clips prove nothing."""
    pictures = manifest.assign(clip=np.arange(len(manifest)).astype(str))
    leak = audit(split_with("random_frames", pictures))
    assert (leak.clips.count, leak.level) == (0, "leaky")
    assert audit(split_with("subject", pictures)).level == "subject-independent"


@pytest.mark.parametrize(("val", "test"), [(0.2, 0.4), (0.2, 0.7), (0.1, 0.1), (0.05, 0.05), (0.45, 0.45)])
def test_subject_approximates_the_fractions(val, test):
    even = pd.DataFrame([{"subject": f"s{n}", "clip": f"{n}{e}", "emotion": e} for n in range(24) for e in "abc"])
    subjects = split_with("subject", even, val=val, test=test).groupby("split")["subject"].nunique() / 24
    assert subjects["test"] == pytest.approx(test, abs=1.01 / 24)
    assert subjects["val"] == pytest.approx(val, abs=1.01 / 24)


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.34, 0.9])
@pytest.mark.parametrize("absent", [None, "fear"])
def test_subject_draws_match_scikit_learn(manifest, fraction, absent):
    table = pd.crosstab(manifest["subject"], manifest["emotion"])
    if absent:  # all subjects with this emotion are in another subset already
        table[absent] = 0
    draws = [rows for _, rows in ShuffleSplit(DRAWS, test_size=fraction, random_state=7).split(table)]
    errors = [float((table.iloc[rows].sum() / table.sum() - fraction).abs().sum()) for rows in draws]
    assert set(draw_subjects(table, fraction, 7)) == set(table.index[draws[int(np.argmin(errors))]])


def test_subject_distributes_rare_emotions(manifest):
    rare = manifest[(manifest["emotion"] != "fear") | manifest["subject"].isin(["s1", "s5", "s9", "s13", "s17"])]
    split = split_with("subject", rare)
    assert set(split.loc[split["emotion"] == "fear", "split"]) == {"train", "val", "test"}


def test_stratified_matches_the_published_split(manifest):
    rows, emotions = np.arange(len(manifest)), manifest["emotion"].to_numpy()
    train, rest = train_test_split(rows, test_size=0.4, random_state=42, stratify=emotions)
    val, test = train_test_split(rest, test_size=0.5, random_state=42, stratify=emotions[rest])
    split = splits.stratified(manifest, val=0.2, test=0.2, seed=42)
    for subset, expected in (("train", train), ("val", val), ("test", test)):
        assert set(np.flatnonzero(split == subset)) == set(expected)


def test_stratified_counts_of_the_hugging_face_paper():
    counts = dict(surprise=1238, neutral=1225, sad=1184, fear=1181, anger=1175, disgust=1165, content=1144, happy=1088)
    emotions = np.repeat(list(counts), list(counts.values()))
    split = splits.stratified(pd.DataFrame({"emotion": emotions}), val=0.2, test=0.2, seed=42)
    assert [int((split == subset).sum()) for subset in ("train", "val", "test")] == [5640, 1880, 1880]


@pytest.mark.parametrize("name", ["random_frames", "stratified", "subject"])
def test_same_seed_same_split(manifest, name):
    one, same, other = (split_with(name, manifest, seed)["split"].tolist() for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize("name", ["random_frames", "stratified", "subject"])
@pytest.mark.parametrize(("val", "test"), [(0, 0.2), (0.2, 0), (0.6, 0.4), (-0.1, 0.2), (0.2, 1.0)])
def test_fractions_that_leave_a_subset_empty(manifest, name, val, test):
    with pytest.raises(InputError, match=f"split.val={val} and split.test={test}"):
        split_with(name, manifest, val=val, test=test)


def test_unknown_subjects(manifest):
    manifest.loc[4, "subject"] = None
    with pytest.raises(InputError, match=r"1 of \d+ frames have none: .*subject_pattern"):
        split_with("subject", manifest)


def test_too_few_subjects(manifest):
    with pytest.raises(InputError, match="cannot split 2 subjects into train, val and test"):
        split_with("subject", manifest[manifest["subject"].isin(["s0", "s1"])])
    assert set(split_with("subject", manifest[manifest["subject"].isin(["s0", "s1", "s2"])])["split"]) == {
        "train",
        "val",
        "test",
    }


def test_too_few_frames(manifest):
    with pytest.raises(InputError, match="cannot be split"):
        split_with("stratified", manifest.drop_duplicates("emotion"))


# Exact numbers of frames


ISED = {"disgust": [161, 100, 100], "happiness": [519, 344, 120], "sadness": [320, 212, 100], "surprise": [111, 73, 50]}


@pytest.fixture
def ised():
    """The frames of the paper's table, plus 3, 2, 1 and 0 more."""
    emotions = np.repeat(list(ISED), [sum(row) + 3 - number for number, row in enumerate(ISED.values())])
    return pd.DataFrame({"emotion": np.random.default_rng(0).permutation(emotions)})


def test_counts_match_the_table_of_the_ised_paper(ised):
    config = OmegaConf.load(Path(__file__).parents[2] / "conf/split/ised_counts.yaml")
    assert config.counts == ISED
    split = splits.counts(ised, counts=config.counts, seed=0)
    for emotion, numbers in ISED.items():
        assert [
            int((split[ised["emotion"] == emotion] == subset).sum()) for subset in ("train", "val", "test")
        ] == numbers
    assert [int((split == subset).sum()) for subset in ("train", "val", "test")] == [1111, 729, 370]
    assert sum(subset is None for subset in split) == 6


def test_counts_depend_only_on_the_seed(ised):
    one, other = (splits.counts(ised, counts=ISED, seed=seed).tolist() for seed in (1, 2))
    assert one == splits.counts(ised, counts=dict(reversed(ISED.items())), seed=1).tolist()
    assert one != other
    halves = splits.counts(pd.DataFrame({"emotion": ["a"] * 1000}), counts={"a": [400, 300, 300]}, seed=0)
    assert 160 < (halves[:500] == "train").sum() < 240  # drawn at random, not the first ones


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"surprise": [111, 73, 51]}, r"needs 235 frames of surprise, found 234: .*dataset\.frame_stride"),
        ({"fear": [1, 1, 1]}, "lists fear, which the corpus does not have: list exactly disgust, happiness"),
        ({"sadness": [1, 2]}, r"split\.counts\.sadness=\[1, 2\] is not \[train, val, test\]"),
        ({"sadness": [1, -2, 1]}, r"split\.counts\.sadness=\[1, -2, 1\] is not"),
        ({"sadness": [0.5, 2, 1]}, r"split\.counts\.sadness=\[0\.5, 2, 1\] is not"),
        ({"sadness": 100}, r"split\.counts\.sadness=100 is not"),
        ({emotion: [5, 0, 5] for emotion in ISED}, "leaves val empty"),
    ],
)
def test_invalid_counts_are_refused(ised, change, sentence):
    with pytest.raises(InputError, match=sentence):
        splits.counts(ised, counts={**ISED, **change}, seed=0)


def test_counts_must_list_every_emotion(ised):
    without = {emotion: numbers for emotion, numbers in ISED.items() if emotion != "happiness"}
    with pytest.raises(InputError, match="does not list happiness, which the corpus has"):
        splits.counts(ised, counts=without, seed=0)
    with pytest.raises(InputError, match=r"lists hapiness, .* and does not list happiness"):
        splits.counts(ised, counts={**without, "hapiness": [1, 1, 1]}, seed=0)


# Whole clips


def test_clips_stay_whole_with_balanced_emotions(manifest):
    split = split_with("clips", manifest)
    assert audit(split).clips.count == 0
    assert audit(split).subjects.count > 10
    of_clips = split.drop_duplicates("clip")
    shares = pd.crosstab(of_clips["emotion"], of_clips["split"], normalize="index")
    assert shares["train"].between(0.5, 0.7).all()
    assert shares[["val", "test"]].stack().between(0.1, 0.3).all()


def test_clips_match_scikit_learn(manifest):
    of_clips = manifest.drop_duplicates("clip").sort_values("clip")
    clips, emotions = of_clips["clip"].to_numpy(), of_clips["emotion"].to_numpy()
    train, rest, _, emotions = train_test_split(clips, emotions, test_size=0.4, random_state=7, stratify=emotions)
    val, test = train_test_split(rest, test_size=0.5, random_state=7, stratify=emotions)
    split = splits.clips(manifest, val=0.2, test=0.2, seed=7)
    for subset, expected in (("train", train), ("val", val), ("test", test)):
        assert set(manifest.loc[split == subset, "clip"]) == set(expected)


def test_clip_emotion_is_the_most_frequent_one():
    """One of 3 frames in every clip is calm; as a class of its own it would have too few clips."""
    emotions = ["calm", "happy", "happy"] * 10 + ["calm", "sad", "sad"] * 10
    frames = pd.DataFrame({"clip": np.repeat(np.arange(20).astype(str), 3), "emotion": emotions})
    split = split_with("clips", frames)
    assert set(split.loc[split["split"] == "test", "emotion"]) == {"calm", "happy", "sad"}
    assert split.groupby("split")["clip"].nunique().to_dict() == {"train": 12, "val": 4, "test": 4}
    assert pd.crosstab(split["emotion"], split["split"]).loc["happy"].tolist() == [4, 12, 4]


def test_too_few_clips(manifest):
    rare = manifest[(manifest["emotion"] != "fear") | (manifest["clip"] == manifest["clip"][0])].copy()
    rare.loc[0:2, "emotion"] = "contempt"
    rare = rare[rare["emotion"] != "fear"]
    with pytest.raises(InputError, match=r"clips cannot be split .*emotion, contempt, has 1; .*exclude this emotion"):
        split_with("clips", rare)
