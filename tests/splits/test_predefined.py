import logging

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from fervid import splits
from fervid.audit.leakage import audit
from fervid.errors import InputError


def subjects_of(manifest, split, subset):
    return set(manifest.loc[split == subset, "subject"])


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "own.csv").write_text(text, encoding="utf-8")
        return tmp_path / "own.csv"

    return write


@pytest.fixture
def frames():
    """4 subjects x 2 clips x 2 frames."""
    rows = [(f"0{n}", f"c{n}{c}", f, f"c{n}{c}.mp4", "ab"[c]) for n in range(4) for c in range(2) for f in range(2)]
    return pd.DataFrame(rows, columns=["subject", "clip", "frame", "path", "emotion"])


@pytest.mark.parametrize("column", ["subject", "clip", "path"])
def test_csv_with_one_column(frames, write, caplog, column):
    expected = frames["subject"].map({"00": "train", "01": "train", "02": "val", "03": "test"})
    rows = frames.assign(split=expected).drop_duplicates(column)[[column, "split"]].sample(frac=1, random_state=0)
    split = splits.from_csv(frames, path=write(rows.to_csv(index=False)))
    assert split.dtype == object
    assert split.tolist() == expected.tolist()
    assert not caplog.records


def test_csv_may_have_duplicate_rows(frames, write):
    rows = frames.assign(split=frames["subject"].map({"00": "train", "01": "train", "02": "val", "03": "test"}))
    split = splits.from_csv(frames, path=write(rows[["subject", "split"]].to_csv(index=False)))
    assert split.tolist() == rows["split"].tolist()


def test_csv_with_several_columns_matches_all_of_them(frames, write):
    """Only frame 0 of every clip is in the file."""
    rows = frames[frames["frame"] == 0].assign(split=["train", "val", "test", "test"] * 2)
    split = splits.from_csv(frames, path=write(rows[["clip", "frame", "split"]].to_csv(index=False)))
    assert split[::2].tolist() == ["train", "val", "test", "test"] * 2
    assert all(subset is None for subset in split[1::2])


def test_csv_may_be_the_manifest_of_a_run(frames, write, caplog):
    whole = frames.assign(time=np.arange(16) / 30, predefined_split=None, spectacles=True)
    whole.loc[3, "subject"] = None
    earlier = whole.assign(split=["train", "val", "test", "test"] * 4)
    assert splits.from_csv(earlier, path=write(earlier.to_csv(index=False))).tolist() == earlier["split"].tolist()
    assert not caplog.records


def test_csv_warns_of_unmatched_rows_and_frames(frames, write, caplog):
    path = write("subject,split,remark\n00,train,x\n01,val,\n02,test,\n44,test,\n45,test,\n")
    with caplog.at_level(logging.WARNING):
        split = splits.from_csv(frames, path=path)
    assert split.tolist() == ["train"] * 4 + ["val"] * 4 + ["test"] * 4 + [None] * 4
    assert [record.getMessage() for record in caplog.records] == [
        f"2 row(s) of {path} match no frame of the corpus (first: subject='44').",
        f"4 of 16 frames match no row of {path} and are left out.",
    ]


def test_csv_accepts_the_usual_spellings(frames, write):
    text = "\ufeffclip,split\nc00,Training\nc01,train\nc10,VAL\nc11,valid\nc20,Validation\nc21,test\nc30, Testing\n"
    subsets = ["train", "train", "val", "val", "val", "test", "test", None]
    assert splits.from_csv(frames, path=write(text)).tolist() == np.repeat(subsets, 2).tolist()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("subject,split\n0,train\n1,val\n2,test", r"matches no frame .* has subject='0', .* has subject='00'"),
        ("subject,split\n00,train\n01,dev\n02,test", r"own\.csv has the subset 'dev': use train, val or test"),
        ("subject,split\n00,train\n01,\n02,test", r"has the subset '': use"),
        ("subject,split\n00,train\n00,test\n02,val", "assigns subject='00' to two subsets"),
        ("clip,subject,split\nc00,00,train\nc00,00,test", "assigns clip='c00', subject='00' to two subsets"),
        ("subject,side\n00,train", r"has the column\(s\) subject, side: it needs split and .*\(subject, clip, frame"),
        ("person,split\n00,train", r"has the column\(s\) person, split: it needs split and"),
        ("subject;split\n00;train", r"has the column\(s\) subject;split: it needs"),
        ("subject,split\n", "leaves train empty"),
        ("subject,split\n00,train\n01,val\n", "leaves test empty"),
        ("", r"cannot be read \(No columns to parse from file\)"),
        ('a,b\n"', "cannot be read"),
    ],
)
def test_invalid_csv_is_refused(frames, write, text, sentence):
    with pytest.raises(InputError, match=sentence):
        splits.from_csv(frames, path=write(text))


def test_missing_csv_is_refused(frames, tmp_path):
    with pytest.raises(InputError, match=r"split=csv needs split\.path"):
        splits.from_csv(frames, path=None)
    with pytest.raises(InputError, match=r"none\.csv cannot be read \(.*No such file"):
        splits.from_csv(frames, path=tmp_path / "none.csv")
    with pytest.raises(InputError, match="cannot be read"):
        splits.from_csv(frames, path=tmp_path)
    (tmp_path / "latin").write_bytes(b"subject,split\n\xe9,train\n")
    with pytest.raises(InputError, match="latin cannot be read"):
        splits.from_csv(frames, path=tmp_path / "latin")


# Splits defined by the corpus


def test_predefined_subsets_are_used(manifest):
    subsets = np.array(["training", "Validation", "test", None], dtype=object)[np.arange(len(manifest)) % 4]
    split = splits.predefined(manifest.assign(predefined_split=subsets), val=0.2, seed=0)
    assert split[:4].tolist() == ["train", "val", "test", None]
    assert (split[4:] == split[:-4]).all()


def with_test(manifest):
    tested = manifest["subject"].isin(["s0", "s1", "s2"])
    return manifest.assign(predefined_split=np.where(tested, "test", "train"))


def test_predefined_without_val_draws_subjects(manifest):
    manifest = with_test(manifest)
    one, same, other = (splits.predefined(manifest, val=0.3, seed=seed) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist()
    assert subjects_of(manifest, one, "test") == {"s0", "s1", "s2"}
    assert not subjects_of(manifest, one, "val") & subjects_of(manifest, one, "train")
    assert len(subjects_of(manifest, one, "val")) == pytest.approx(0.3 * 17, abs=1.01)


def test_predefined_without_val_draws_clips_of_unknown_subjects(manifest):
    """One unknown training subject is enough; unknown test subjects do not matter."""
    unknown = with_test(manifest)
    unknown.loc[unknown["subject"] == "s9", "subject"] = None
    one, same, other = (splits.predefined(unknown, val=0.25, seed=seed) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist()
    split = unknown.assign(split=one)
    assert audit(split).clips.count == 0
    assert split.loc[split["predefined_split"] == "test", "split"].eq("test").all()
    assert subjects_of(unknown, one, "val") & subjects_of(unknown, one, "train")
    trained = split[split["predefined_split"] == "train"].drop_duplicates("clip").sort_values("clip")
    _, val = train_test_split(trained["clip"], test_size=0.25, random_state=1, stratify=trained["emotion"])
    assert set(split.loc[split["split"] == "val", "clip"]) == set(val)

    known = with_test(manifest)
    known.loc[known["predefined_split"] == "test", "subject"] = None
    assert audit(known.assign(split=splits.predefined(known, val=0.25, seed=1)).dropna()).subjects.count == 0


@pytest.mark.parametrize("subjects_known", [True, False])
def test_predefined_test_frames_stay_in_test(manifest, subjects_known):
    subsets = np.where(np.arange(len(manifest)) % 2, "test", "train")  # every clip and subject is in both
    frames = manifest.assign(predefined_split=subsets, **({} if subjects_known else {"subject": None}))
    split = splits.predefined(frames, val=0.3, seed=0)
    assert ((split == "test") == (subsets == "test")).all()
    assert set(split) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("subsets", "sentence"),
    [
        (["train", "val"], "the corpus has no test subset"),
        (["val", "test"], "the corpus has no train subset"),
        ([None, None], "the corpus has no train subset"),
        (["train", "dev"], "predefined_split of the corpus has the subset 'dev'"),
    ],
)
def test_incomplete_predefined_split_is_refused(manifest, subsets, sentence):
    subsets = np.array(subsets, dtype=object)[np.arange(len(manifest)) % 2]
    with pytest.raises(InputError, match=sentence):
        splits.predefined(manifest.assign(predefined_split=subsets), val=0.2, seed=0)


def test_predefined_that_is_missing_or_too_small_is_refused(manifest):
    with pytest.raises(InputError, match="split=predefined needs a corpus with a predefined split"):
        splits.predefined(manifest, val=0.2, seed=0)
    for frames in (manifest, manifest.assign(subject=None)):
        with pytest.raises(InputError, match=r"split\.val=1\.5 leaves train or val empty"):
            splits.predefined(frames.assign(predefined_split=with_test(manifest)["predefined_split"]), val=1.5, seed=0)
    two = with_test(manifest)[lambda frames: frames["subject"].isin(["s0", "s5"])]
    with pytest.raises(InputError, match=r"split=predefined leaves 1 subject\(s\) for training and validation"):
        splits.predefined(two, val=0.2, seed=0)
    three = with_test(manifest).drop_duplicates(["predefined_split", "emotion"]).assign(subject=None)
    with pytest.raises(InputError, match=r"4 training clips cannot be split into train and val: .*raise split\.val"):
        splits.predefined(three, val=0.2, seed=0)
