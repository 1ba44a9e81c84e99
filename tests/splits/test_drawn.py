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
def test_subject_keeps_people_on_one_side(manifest, seed):
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


def test_clips_apart_but_people_shared_is_clip_independent(manifest):
    halves = manifest.assign(split=np.where(manifest["clip"].str.endswith("1"), "test", "train"))
    assert audit(halves).level == "subject-dependent"
    assert audit(halves.assign(subject=None)).level == "unknown-subjects"


def test_shared_people_in_a_folder_of_pictures_leak(manifest):
    """Where every picture is a clip of its own, clips apart say nothing."""
    pictures = manifest.assign(clip=np.arange(len(manifest)).astype(str))
    leak = audit(split_with("random_frames", pictures))
    assert (leak.clips.count, leak.level) == (0, "leaky")
    assert audit(split_with("subject", pictures)).level == "subject-independent"


@pytest.mark.parametrize(("val", "test"), [(0.2, 0.4), (0.2, 0.7), (0.1, 0.1), (0.05, 0.05), (0.45, 0.45)])
def test_subject_keeps_to_the_shares_as_whole_people_allow(val, test):
    even = pd.DataFrame([{"subject": f"s{n}", "clip": f"{n}{e}", "emotion": e} for n in range(24) for e in "abc"])
    people = split_with("subject", even, val=val, test=test).groupby("split")["subject"].nunique() / 24
    assert people["test"] == pytest.approx(test, abs=1.01 / 24)
    assert people["val"] == pytest.approx(val, abs=1.01 / 24)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.34, 0.9])
@pytest.mark.parametrize("gone", [None, "fear"])
def test_people_are_those_of_scikit_learns_draws(manifest, share, gone):
    table = pd.crosstab(manifest["subject"], manifest["emotion"])
    if gone:  # with people who are on another side already
        table[gone] = 0
    drawn = [people for _, people in ShuffleSplit(DRAWS, test_size=share, random_state=7).split(table)]
    off = [float((table.iloc[people].sum() / table.sum() - share).abs().sum()) for people in drawn]
    assert set(draw_subjects(table, share, 7)) == set(table.index[drawn[int(np.argmin(off))]])


def test_subject_shares_rare_emotions_out(manifest):
    rare = manifest[(manifest["emotion"] != "fear") | manifest["subject"].isin(["s1", "s5", "s9", "s13", "s17"])]
    sides = split_with("subject", rare)
    assert set(sides.loc[sides["emotion"] == "fear", "split"]) == {"train", "val", "test"}


def test_stratified_is_the_published_draw(manifest):
    rows, emotions = np.arange(len(manifest)), manifest["emotion"].to_numpy()
    train, rest = train_test_split(rows, test_size=0.4, random_state=42, stratify=emotions)
    val, test = train_test_split(rest, test_size=0.5, random_state=42, stratify=emotions[rest])
    split = splits.stratified(manifest, val=0.2, test=0.2, seed=42)
    for side, expected in (("train", train), ("val", val), ("test", test)):
        assert set(np.flatnonzero(split == side)) == set(expected)


def test_stratified_counts_of_the_hugging_face_paper():
    counts = dict(surprise=1238, neutral=1225, sad=1184, fear=1181, anger=1175, disgust=1165, content=1144, happy=1088)
    emotions = np.repeat(list(counts), list(counts.values()))
    split = splits.stratified(pd.DataFrame({"emotion": emotions}), val=0.2, test=0.2, seed=42)
    assert [int((split == side).sum()) for side in ("train", "val", "test")] == [5640, 1880, 1880]


@pytest.mark.parametrize("name", ["random_frames", "stratified", "subject"])
def test_same_seed_same_split(manifest, name):
    one, same, other = (split_with(name, manifest, seed)["split"].tolist() for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize("name", ["random_frames", "stratified", "subject"])
@pytest.mark.parametrize(("val", "test"), [(0, 0.2), (0.2, 0), (0.6, 0.4), (-0.1, 0.2), (0.2, 1.0)])
def test_shares_that_leave_nothing(manifest, name, val, test):
    with pytest.raises(InputError, match=f"split.val={val} and split.test={test}"):
        split_with(name, manifest, val=val, test=test)


def test_unknown_subjects(manifest):
    manifest.loc[4, "subject"] = None
    with pytest.raises(InputError, match=r"1 of \d+ frames have no subject.*subject_pattern"):
        split_with("subject", manifest)


def test_too_few_subjects(manifest):
    with pytest.raises(InputError, match="cannot part 2 people into three sides"):
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
    """As many frames as the paper's table and 3, 2, 1 and 0 more."""
    emotions = np.repeat(list(ISED), [sum(row) + 3 - number for number, row in enumerate(ISED.values())])
    return pd.DataFrame({"emotion": np.random.default_rng(0).permutation(emotions)})


def test_counts_are_the_ised_papers_table(ised):
    config = OmegaConf.load(Path(__file__).parents[2] / "conf/split/ised_counts.yaml")
    assert config.counts == ISED
    split = splits.counts(ised, counts=config.counts, seed=0)
    for emotion, numbers in ISED.items():
        assert [int((split[ised["emotion"] == emotion] == side).sum()) for side in ("train", "val", "test")] == numbers
    assert [int((split == side).sum()) for side in ("train", "val", "test")] == [1111, 729, 370]
    assert sum(side is None for side in split) == 6


def test_counts_draw_by_seed_alone(ised):
    one, other = (splits.counts(ised, counts=ISED, seed=seed).tolist() for seed in (1, 2))
    assert one == splits.counts(ised, counts=dict(reversed(ISED.items())), seed=1).tolist()
    assert one != other
    halves = splits.counts(pd.DataFrame({"emotion": ["a"] * 1000}), counts={"a": [400, 300, 300]}, seed=0)
    assert 160 < (halves[:500] == "train").sum() < 240  # drawn, not the first of them


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"surprise": [111, 73, 51]}, r"needs 235 frames of surprise, found 234: .*dataset\.frame_stride"),
        ({"fear": [1, 1, 1]}, "names fear, which the corpus does not hold: give exactly disgust, happiness"),
        ({"sadness": [1, 2]}, r"split\.counts\.sadness=\[1, 2\] is not \[train, val, test\]"),
        ({"sadness": [1, -2, 1]}, r"split\.counts\.sadness=\[1, -2, 1\] is not"),
        ({"sadness": [0.5, 2, 1]}, r"split\.counts\.sadness=\[0\.5, 2, 1\] is not"),
        ({"sadness": 100}, r"split\.counts\.sadness=100 is not"),
        ({emotion: [5, 0, 5] for emotion in ISED}, "puts no frame on the val side"),
    ],
)
def test_counts_that_cannot_be_drawn(ised, change, sentence):
    with pytest.raises(InputError, match=sentence):
        splits.counts(ised, counts={**ISED, **change}, seed=0)


def test_counts_must_name_every_emotion(ised):
    without = {emotion: numbers for emotion, numbers in ISED.items() if emotion != "happiness"}
    with pytest.raises(InputError, match="does not name happiness, which the corpus holds"):
        splits.counts(ised, counts=without, seed=0)
    with pytest.raises(InputError, match=r"names hapiness, .* and does not name happiness"):
        splits.counts(ised, counts={**without, "hapiness": [1, 1, 1]}, seed=0)


# Whole clips


def test_clips_stay_whole_and_share_out_emotions(manifest):
    split = split_with("clips", manifest)
    assert audit(split).clips.count == 0
    assert audit(split).subjects.count > 10
    of_clips = split.drop_duplicates("clip")
    shares = pd.crosstab(of_clips["emotion"], of_clips["split"], normalize="index")
    assert shares["train"].between(0.5, 0.7).all()
    assert shares[["val", "test"]].stack().between(0.1, 0.3).all()


def test_clips_are_scikit_learns_draw(manifest):
    of_clips = manifest.drop_duplicates("clip").sort_values("clip")
    clips, emotions = of_clips["clip"].to_numpy(), of_clips["emotion"].to_numpy()
    train, rest, _, emotions = train_test_split(clips, emotions, test_size=0.4, random_state=7, stratify=emotions)
    val, test = train_test_split(rest, test_size=0.5, random_state=7, stratify=emotions)
    split = splits.clips(manifest, val=0.2, test=0.2, seed=7)
    for side, expected in (("train", train), ("val", val), ("test", test)):
        assert set(manifest.loc[split == side, "clip"]) == set(expected)


def test_a_clip_has_the_emotion_of_most_of_its_frames():
    """One of 3 frames is neutral in every clip: as a class of its own it would have too few clips."""
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
    with pytest.raises(InputError, match=r"clips cannot be split .*rarest emotion, contempt, has 1; .*leave it out"):
        split_with("clips", rare)
