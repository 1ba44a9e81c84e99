import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from sklearn.model_selection import ShuffleSplit, StratifiedGroupKFold, train_test_split

from fervid.audit.leakage import audit
from fervid.schema.errors import InputError
from fervid.splits import rules as splits


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
    drawn = [people for _, people in ShuffleSplit(splits.DRAWS, test_size=share, random_state=7).split(table)]
    off = [float((table.iloc[people].sum() / table.sum() - share).abs().sum()) for people in drawn]
    assert set(splits._draw_people(table, share, 7)) == set(table.index[drawn[int(np.argmin(off))]])


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
        ({"surprise": [111, 73, 51]}, r"needs 235 frames of surprise, found 234: .*dataset\.every"),
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


# Folds of people


@pytest.fixture
def actors():
    """24 numbered people x 3 emotions x 2 frames."""
    rows = [{"subject": f"{n:02}", "clip": f"{n}{e}", "emotion": e} for n in range(24, 0, -1) for e in "abc"]
    return pd.DataFrame(rows * 2)


def people_of(manifest, split, side):
    return set(manifest.loc[split == side, "subject"])


def folds_of(rule, manifest, number, **options):
    """The people tested on in each fold; checks that sides share nobody and that somebody validates."""
    tested = []
    for fold in range(number):
        split = rule(manifest, fold=fold, **{"val": 0.2, "seed": 0, **options})
        assert split.shape == (len(manifest),)
        assert split.dtype == object
        assert set(split) == {"train", "val", "test"}
        sides = [people_of(manifest, split, side) for side in ("train", "val", "test")]
        assert sum(map(len, sides)) == manifest["subject"].nunique()
        tested.append(sides[2])
    assert sorted(name for people in tested for name in people) == sorted(manifest["subject"].unique())
    return tested


@pytest.mark.parametrize("k", [2, 5, 8])
def test_subject_kfold_is_scikit_learns_and_tests_everyone_once(manifest, k):
    tested = folds_of(splits.subject_kfold, manifest, k, k=k, seed=3)
    folds = StratifiedGroupKFold(k, shuffle=True, random_state=3)
    expected = folds.split(manifest, manifest["emotion"], manifest["subject"])
    assert tested == [set(manifest["subject"].iloc[rows]) for _, rows in expected]


def test_loso_tests_each_person_in_the_order_of_their_numbers(actors, manifest):
    assert folds_of(splits.loso, actors, 24) == [{f"{n:02}"} for n in range(1, 25)]
    some = actors[actors["subject"] < "12"]
    plain = some.assign(subject=some["subject"].astype(int).astype(str))
    assert folds_of(splits.loso, plain, 11) == [{f"{n}"} for n in range(1, 12)]
    some = manifest[manifest["subject"].isin([f"s{n}" for n in range(8, 12)])]
    assert folds_of(splits.loso, some, 4) == [{f"s{n}"} for n in range(8, 12)]


FOLDS = {"subject_kfold": {"k": 4}, "loso": {}, "fixed": {"folds": "ravdess_6"}}


@pytest.mark.parametrize("name", FOLDS)
def test_folds_by_seed(actors, name):
    def split(seed, val=0.2):
        return getattr(splits, name)(actors, fold=1, val=val, seed=seed, **FOLDS[name])

    assert split(1).tolist() == split(1).tolist()
    assert people_of(actors, split(1), "val") != people_of(actors, split(2), "val")
    tested = [people_of(actors, split(seed), "test") for seed in range(2)]
    assert (tested[0] == tested[1]) == (name != "subject_kfold")
    others = 24 - len(tested[0])
    for val in (0.1, 0.5):
        assert len(people_of(actors, split(1, val), "val")) == pytest.approx(val * others, abs=1.01)


def test_validation_people_share_out_rare_emotions(actors):
    """The draw that comes nearest is taken: of 4 people who show c, some are validated on and some trained on."""
    rare = actors[(actors["emotion"] != "c") | actors["subject"].isin(["05", "06", "07", "08"])]
    for seed in range(5):
        split = splits.loso(rare, fold=0, val=0.25, seed=seed)
        assert people_of(rare[rare["emotion"] == "c"], split[rare["emotion"] == "c"], "val") != set()
        assert (split[rare["emotion"] == "c"] == "val").sum() == 2


@pytest.mark.parametrize("name", FOLDS)
@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        ({}, {"fold": -1}, r"split\.fold=-1 is out of range: give 0 to \d"),
        ({}, {"fold": 24}, r"split\.fold=24 is out of range: give 0 to \d"),
        ({}, {"val": 0.0}, r"split\.val=0\.0 leaves nothing"),
        ({}, {"val": 1.0}, r"split\.val=1\.0 leaves nothing"),
        ({"subject": None}, {}, r"split=\w+ needs to know who is seen, but 144 of 144 frames have no subject"),
    ],
)
def test_folds_that_cannot_be_made(actors, name, change, options, sentence):
    with pytest.raises(InputError, match=sentence):
        getattr(splits, name)(actors.assign(**change), **{"fold": 0, "val": 0.2, "seed": 0, **FOLDS[name], **options})


@pytest.mark.parametrize("name", FOLDS)
def test_the_last_fold_is_one_less_than_their_number(actors, name):
    number = {"subject_kfold": 4, "loso": 24, "fixed": 6}[name]
    assert getattr(splits, name)(actors, fold=number - 1, val=0.2, seed=0, **FOLDS[name]).shape == (144,)
    with pytest.raises(InputError, match=f"fold={number} is out of range: give 0 to {number - 1}"):
        getattr(splits, name)(actors, fold=number, val=0.2, seed=0, **FOLDS[name])


@pytest.mark.parametrize("k", [1, 0, -1, 25])
def test_kfold_of_no_sense(actors, k):
    with pytest.raises(InputError, match=f"split.k={k} is out of range: give 2 to 24, the number of people"):
        splits.subject_kfold(actors, k=k, fold=0, val=0.2, seed=0)


def test_kfold_of_fewer_frames_of_every_emotion_than_folds():
    frames = pd.DataFrame({"subject": list("abcde"), "emotion": list("xxyyz")})
    with pytest.raises(InputError, match=r"5 frames cannot be parted into split\.k=5 groups: .*smaller k"):
        splits.subject_kfold(frames, k=5, fold=0, val=0.2, seed=0)


@pytest.mark.parametrize("name", FOLDS)
def test_too_few_people_to_validate(actors, name):
    two = actors[actors["subject"].isin(["01", "05"])]
    with pytest.raises(InputError, match=rf"split={name} leaves 1 people to both train and validate on"):
        getattr(splits, name)(
            two, fold=0, val=0.2, seed=0, **{**FOLDS[name], **({"k": 2} if "k" in FOLDS[name] else {})}
        )


# Published folds


PEOPLE = {"ravdess_5": range(1, 25), "ravdess_6": range(1, 25), "enterface_5": sorted({*range(1, 45)} - {6})}


def test_published_lists_are_partitions():
    published = OmegaConf.load(splits.PUBLISHED_FOLDS)
    assert set(published) == set(PEOPLE)
    for name, people in PEOPLE.items():
        assert sorted(number for group in published[name].folds for number in group) == list(people)
        assert len(published[name].folds) == int(name[-1])
        assert published[name].source.startswith("https://")


@pytest.mark.parametrize(
    ("folds", "width", "first", "last"),
    [
        ("ravdess_5", 2, {2, 5, 14, 15, 16}, {1, 4, 9, 22}),
        ("ravdess_6", 2, {1, 2, 3, 4}, {21, 22, 23, 24}),
        ("enterface_5", 1, {1, 2, 3, 4, 5, 7, 8, 9, 10}, set(range(38, 45))),
    ],
)
def test_fixed_folds_compare_numbers(folds, width, first, last):
    rows = [{"subject": f"{n:0{width}}", "clip": f"{n}{e}", "emotion": e} for n in PEOPLE[folds] for e in "abc"]
    tested = folds_of(splits.fixed, pd.DataFrame(rows), int(folds[-1]), folds=folds)
    assert {int(name) for name in tested[0]} == first
    assert {int(name) for name in tested[-1]} == last


def test_fixed_names_who_is_in_no_fold(actors):
    options = {"fold": 0, "val": 0.2, "seed": 0}
    with pytest.raises(InputError, match=r"subject\(s\) 06 of the corpus are in no group of split.folds=enterface_5"):
        splits.fixed(actors, folds="enterface_5", **options)
    with pytest.raises(InputError, match=r"subject\(s\) 25, Ann of the corpus .*leave them out"):
        splits.fixed(actors.replace({"subject": {"03": "25", "04": "Ann"}}), folds="ravdess_5", **options)
    with pytest.raises(InputError, match=r"split\.folds=ravdess is not published: choose one of ravdess_5, ravdess_6"):
        splits.fixed(actors, folds="ravdess", **options)


def test_fixed_takes_a_corpus_of_fewer_people(actors):
    few = actors[actors["subject"].isin(["01", "02", "03"])]
    assert people_of(few, splits.fixed(few, folds="ravdess_5", fold=0, val=0.2, seed=0), "test") == {"02"}
    with pytest.raises(InputError, match="split=fixed finds nobody of the corpus in this group"):
        splits.fixed(few, folds="ravdess_5", fold=2, val=0.2, seed=0)


# A CSV of one's own


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "own.csv").write_text(text, encoding="utf-8")
        return tmp_path / "own.csv"

    return write


@pytest.fixture
def frames():
    """4 people x 2 clips x 2 frames."""
    rows = [(f"0{n}", f"c{n}{c}", f, f"c{n}{c}.mp4", "ab"[c]) for n in range(4) for c in range(2) for f in range(2)]
    return pd.DataFrame(rows, columns=["subject", "clip", "frame", "path", "emotion"])


@pytest.mark.parametrize("column", ["subject", "clip", "path"])
def test_file_by_one_column(frames, write, caplog, column):
    sides = {"00": "train", "01": "train", "02": "val", "03": "test"}
    expected = frames["subject"].map(sides)
    rows = frames.assign(split=expected).drop_duplicates(column)[[column, "split"]].sample(frac=1, random_state=0)
    split = splits.file(frames, path=write(rows.to_csv(index=False)))
    assert split.dtype == object
    assert split.tolist() == expected.tolist()
    assert not caplog.records


def test_file_may_repeat_itself(frames, write):
    rows = frames.assign(split=frames["subject"].map({"00": "train", "01": "train", "02": "val", "03": "test"}))
    split = splits.file(frames, path=write(rows[["subject", "split"]].to_csv(index=False)))
    assert split.tolist() == rows["split"].tolist()


def test_file_by_several_columns_matches_all_of_them(frames, write):
    """Frame 0 of every clip is in the file, under its number."""
    rows = frames[frames["frame"] == 0].assign(split=["train", "val", "test", "test"] * 2)
    split = splits.file(frames, path=write(rows[["clip", "frame", "split"]].to_csv(index=False)))
    assert split[::2].tolist() == ["train", "val", "test", "test"] * 2
    assert all(side is None for side in split[1::2])


def test_a_manifest_of_an_earlier_run_is_a_file(frames, write, caplog):
    whole = frames.assign(time=np.arange(16) / 30, given_split=None, spectacles=True)
    whole.loc[3, "subject"] = None
    earlier = whole.assign(split=["train", "val", "test", "test"] * 4)
    assert splits.file(earlier, path=write(earlier.to_csv(index=False))).tolist() == earlier["split"].tolist()
    assert not caplog.records


def test_file_says_what_it_leaves_out_and_what_it_does_not_find(frames, write, caplog):
    path = write("subject,split,remark\n00,train,x\n01,val,\n02,test,\n44,test,\n45,test,\n")
    with caplog.at_level(logging.WARNING):
        split = splits.file(frames, path=path)
    assert split.tolist() == ["train"] * 4 + ["val"] * 4 + ["test"] * 4 + [None] * 4
    assert [record.getMessage() for record in caplog.records] == [
        f"2 row(s) of {path} name no frame of the corpus (first: subject='44').",
        f"4 of 16 frames are not named in {path} and are left out.",
    ]


def test_file_takes_the_usual_spellings(frames, write):
    text = "\ufeffclip,split\nc00,Training\nc01,train\nc10,VAL\nc11,valid\nc20,Validation\nc21,test\nc30, Testing\n"
    sides = ["train", "train", "val", "val", "val", "test", "test", None]
    assert splits.file(frames, path=write(text)).tolist() == np.repeat(sides, 2).tolist()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("subject,split\n0,train\n1,val\n2,test", r"names no frame .* says subject='0', where .* says subject='00'"),
        ("subject,split\n00,train\n01,dev\n02,test", r"own\.csv has the side 'dev': write train, val or test"),
        ("subject,split\n00,train\n01,\n02,test", r"has the side '': write"),
        ("subject,split\n00,train\n00,test\n02,val", "puts subject='00' on two sides"),
        ("clip,subject,split\nc00,00,train\nc00,00,test", "puts clip='c00', subject='00' on two sides"),
        ("subject,side\n00,train", r"has the column\(s\) subject, side: it needs split and .*\(subject, clip, frame"),
        ("person,split\n00,train", r"has the column\(s\) person, split: it needs split and"),
        ("subject;split\n00;train", r"has the column\(s\) subject;split: it needs"),
        ("subject,split\n", "puts no frame on the train side"),
        ("subject,split\n00,train\n01,val\n", "puts no frame on the test side"),
        ("", r"cannot be read \(No columns to parse from file\)"),
        ('a,b\n"', "cannot be read"),
    ],
)
def test_files_that_cannot_be_used(frames, write, text, sentence):
    with pytest.raises(InputError, match=sentence):
        splits.file(frames, path=write(text))


def test_no_file(frames, tmp_path):
    with pytest.raises(InputError, match=r"split=file needs split\.path"):
        splits.file(frames, path=None)
    with pytest.raises(InputError, match=r"none\.csv cannot be read \(.*No such file"):
        splits.file(frames, path=tmp_path / "none.csv")
    with pytest.raises(InputError, match="cannot be read"):
        splits.file(frames, path=tmp_path)
    (tmp_path / "latin").write_bytes(b"subject,split\n\xe9,train\n")
    with pytest.raises(InputError, match="latin cannot be read"):
        splits.file(frames, path=tmp_path / "latin")


# The corpus's own sides


def test_given_sides_are_kept(manifest):
    sides = np.array(["training", "Validation", "test", None], dtype=object)[np.arange(len(manifest)) % 4]
    split = splits.given(manifest.assign(given_split=sides), val=0.2, seed=0)
    assert split[:4].tolist() == ["train", "val", "test", None]
    assert (split[4:] == split[:-4]).all()


def with_test(manifest):
    tested = manifest["subject"].isin(["s0", "s1", "s2"])
    return manifest.assign(given_split=np.where(tested, "test", "train"))


def test_given_without_validation_draws_people(manifest):
    manifest = with_test(manifest)
    one, same, other = (splits.given(manifest, val=0.3, seed=seed) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist()
    assert people_of(manifest, one, "test") == {"s0", "s1", "s2"}
    assert not people_of(manifest, one, "val") & people_of(manifest, one, "train")
    assert len(people_of(manifest, one, "val")) == pytest.approx(0.3 * 17, abs=1.01)


def test_given_without_validation_and_people_draws_clips(manifest):
    """Somebody unknown is enough; the people of the test side need not be known."""
    unknown = with_test(manifest)
    unknown.loc[unknown["subject"] == "s9", "subject"] = None
    one, same, other = (splits.given(unknown, val=0.25, seed=seed) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist()
    split = unknown.assign(split=one)
    assert audit(split).clips.count == 0
    assert split.loc[split["given_split"] == "test", "split"].eq("test").all()
    assert people_of(unknown, one, "val") & people_of(unknown, one, "train")
    trained = split[split["given_split"] == "train"].drop_duplicates("clip").sort_values("clip")
    _, val = train_test_split(trained["clip"], test_size=0.25, random_state=1, stratify=trained["emotion"])
    assert set(split.loc[split["split"] == "val", "clip"]) == set(val)

    known = with_test(manifest)
    known.loc[known["given_split"] == "test", "subject"] = None
    assert audit(known.assign(split=splits.given(known, val=0.25, seed=1)).dropna()).subjects.count == 0


@pytest.mark.parametrize("people_known", [True, False])
def test_given_test_frames_stay_tested_on_whoever_they_show(manifest, people_known):
    sides = np.where(np.arange(len(manifest)) % 2, "test", "train")  # every clip and person on both
    frames = manifest.assign(given_split=sides, **({} if people_known else {"subject": None}))
    split = splits.given(frames, val=0.3, seed=0)
    assert ((split == "test") == (sides == "test")).all()
    assert set(split) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("sides", "sentence"),
    [
        (["train", "val"], "came without a test side"),
        (["val", "test"], "came without a train side"),
        ([None, None], "came without a train side"),
        (["train", "dev"], "given_split of the corpus has the side 'dev'"),
    ],
)
def test_given_sides_that_are_too_few(manifest, sides, sentence):
    sides = np.array(sides, dtype=object)[np.arange(len(manifest)) % 2]
    with pytest.raises(InputError, match=sentence):
        splits.given(manifest.assign(given_split=sides), val=0.2, seed=0)


def test_given_that_is_not_or_cannot_be_validated(manifest):
    with pytest.raises(InputError, match="split=given needs a corpus that comes with sides"):
        splits.given(manifest, val=0.2, seed=0)
    for people in (manifest, manifest.assign(subject=None)):
        with pytest.raises(InputError, match=r"split\.val=1\.5 leaves nothing"):
            splits.given(people.assign(given_split=with_test(manifest)["given_split"]), val=1.5, seed=0)
    two = with_test(manifest)[lambda frames: frames["subject"].isin(["s0", "s5"])]
    with pytest.raises(InputError, match="split=given leaves 1 people to both train and validate on"):
        splits.given(two, val=0.2, seed=0)
    three = with_test(manifest).drop_duplicates(["given_split", "emotion"]).assign(subject=None)
    with pytest.raises(InputError, match=r"4 clips to train on cannot be shared with validation: .*raise split\.val"):
        splits.given(three, val=0.2, seed=0)
