import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from fervid.data import splits
from fervid.errors import InputError


@pytest.fixture
def manifest():
    """20 people, each with 2 clips of 3 frames in some of 4 emotions, unevenly."""
    rng = np.random.default_rng(0)
    rows = []
    for person in range(20):
        for emotion in rng.permutation(["happy", "sad", "fear", "angry"])[: rng.integers(2, 5)]:
            for clip in range(2):
                rows += [{"subject": f"s{person}", "clip": f"{person}{emotion}{clip}", "emotion": emotion}] * 3
    return pd.DataFrame(rows)


def split_with(name, manifest, seed=0, val=0.2, test=0.2):
    return manifest.assign(split=getattr(splits, name)(manifest, val=val, test=test, seed=seed))


@pytest.mark.parametrize("seed", range(5))
def test_subject_keeps_people_on_one_side(manifest, seed):
    split = split_with("subject", manifest, seed)
    assert (split.groupby("subject")["split"].nunique() == 1).all()
    assert splits.leakage(split) == splits.Leakage(subjects=0, clips=0)
    assert splits.leakage(split).grade == "subject-independent"
    shares = split["split"].value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.2, abs=0.08)
    assert shares["val"] == pytest.approx(0.2, abs=0.08)
    assert set(split.loc[split["split"] == "test", "emotion"]) == set(manifest["emotion"])


def test_random_frames_leak(manifest):
    leak = splits.leakage(split_with("random_frames", manifest))
    assert leak.grade == "leaky"
    assert leak.subjects == 20
    assert leak.clips > 30


def test_clips_apart_but_people_shared_is_clip_independent(manifest):
    halves = manifest.assign(split=np.where(manifest["clip"].str.endswith("1"), "test", "train"))
    assert splits.leakage(halves).grade == "clip-independent"
    assert splits.leakage(halves.assign(subject=None)) == splits.Leakage(subjects=None, clips=0)
    assert splits.leakage(halves.assign(subject=None)).grade == "people unknown"


def test_shared_people_in_a_folder_of_pictures_leak(manifest):
    """Where every picture is a clip of its own, clips apart say nothing."""
    pictures = manifest.assign(clip=np.arange(len(manifest)).astype(str))
    leak = splits.leakage(split_with("random_frames", pictures))
    assert (leak.clips, leak.grade) == (0, "leaky")
    assert splits.leakage(split_with("subject", pictures)).grade == "subject-independent"


@pytest.mark.parametrize(("val", "test"), [(0.2, 0.4), (0.2, 0.7), (0.1, 0.1), (0.05, 0.05), (0.45, 0.45)])
def test_subject_keeps_to_the_shares_as_whole_people_allow(val, test):
    even = pd.DataFrame([{"subject": f"s{n}", "clip": f"{n}{e}", "emotion": e} for n in range(24) for e in "abc"])
    people = split_with("subject", even, val=val, test=test).groupby("split")["subject"].nunique() / 24
    assert people["test"] == pytest.approx(test, abs=1.01 / 24)
    assert people["val"] == pytest.approx(val, abs=1.01 / 24)


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
