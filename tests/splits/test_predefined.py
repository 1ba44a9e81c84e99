import logging

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from fervid import splits
from fervid.audit.leakage import audit
from fervid.errors import InputError


def people_of(manifest, split, side):
    return set(manifest.loc[split == side, "subject"])


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
    split = splits.from_csv(frames, path=write(rows.to_csv(index=False)))
    assert split.dtype == object
    assert split.tolist() == expected.tolist()
    assert not caplog.records


def test_file_may_repeat_itself(frames, write):
    rows = frames.assign(split=frames["subject"].map({"00": "train", "01": "train", "02": "val", "03": "test"}))
    split = splits.from_csv(frames, path=write(rows[["subject", "split"]].to_csv(index=False)))
    assert split.tolist() == rows["split"].tolist()


def test_file_by_several_columns_matches_all_of_them(frames, write):
    """Frame 0 of every clip is in the file, under its number."""
    rows = frames[frames["frame"] == 0].assign(split=["train", "val", "test", "test"] * 2)
    split = splits.from_csv(frames, path=write(rows[["clip", "frame", "split"]].to_csv(index=False)))
    assert split[::2].tolist() == ["train", "val", "test", "test"] * 2
    assert all(side is None for side in split[1::2])


def test_a_manifest_of_an_earlier_run_is_a_file(frames, write, caplog):
    whole = frames.assign(time=np.arange(16) / 30, predefined_split=None, spectacles=True)
    whole.loc[3, "subject"] = None
    earlier = whole.assign(split=["train", "val", "test", "test"] * 4)
    assert splits.from_csv(earlier, path=write(earlier.to_csv(index=False))).tolist() == earlier["split"].tolist()
    assert not caplog.records


def test_file_says_what_it_leaves_out_and_what_it_does_not_find(frames, write, caplog):
    path = write("subject,split,remark\n00,train,x\n01,val,\n02,test,\n44,test,\n45,test,\n")
    with caplog.at_level(logging.WARNING):
        split = splits.from_csv(frames, path=path)
    assert split.tolist() == ["train"] * 4 + ["val"] * 4 + ["test"] * 4 + [None] * 4
    assert [record.getMessage() for record in caplog.records] == [
        f"2 row(s) of {path} name no frame of the corpus (first: subject='44').",
        f"4 of 16 frames are not named in {path} and are left out.",
    ]


def test_file_takes_the_usual_spellings(frames, write):
    text = "\ufeffclip,split\nc00,Training\nc01,train\nc10,VAL\nc11,valid\nc20,Validation\nc21,test\nc30, Testing\n"
    sides = ["train", "train", "val", "val", "val", "test", "test", None]
    assert splits.from_csv(frames, path=write(text)).tolist() == np.repeat(sides, 2).tolist()


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
        splits.from_csv(frames, path=write(text))


def test_no_file(frames, tmp_path):
    with pytest.raises(InputError, match=r"split=csv needs split\.path"):
        splits.from_csv(frames, path=None)
    with pytest.raises(InputError, match=r"none\.csv cannot be read \(.*No such file"):
        splits.from_csv(frames, path=tmp_path / "none.csv")
    with pytest.raises(InputError, match="cannot be read"):
        splits.from_csv(frames, path=tmp_path)
    (tmp_path / "latin").write_bytes(b"subject,split\n\xe9,train\n")
    with pytest.raises(InputError, match="latin cannot be read"):
        splits.from_csv(frames, path=tmp_path / "latin")


# The subsets a corpus came with


def test_given_sides_are_kept(manifest):
    sides = np.array(["training", "Validation", "test", None], dtype=object)[np.arange(len(manifest)) % 4]
    split = splits.predefined(manifest.assign(predefined_split=sides), val=0.2, seed=0)
    assert split[:4].tolist() == ["train", "val", "test", None]
    assert (split[4:] == split[:-4]).all()


def with_test(manifest):
    tested = manifest["subject"].isin(["s0", "s1", "s2"])
    return manifest.assign(predefined_split=np.where(tested, "test", "train"))


def test_given_without_validation_draws_people(manifest):
    manifest = with_test(manifest)
    one, same, other = (splits.predefined(manifest, val=0.3, seed=seed) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist()
    assert people_of(manifest, one, "test") == {"s0", "s1", "s2"}
    assert not people_of(manifest, one, "val") & people_of(manifest, one, "train")
    assert len(people_of(manifest, one, "val")) == pytest.approx(0.3 * 17, abs=1.01)


def test_given_without_validation_and_people_draws_clips(manifest):
    """Somebody unknown is enough; the people of the test side need not be known."""
    unknown = with_test(manifest)
    unknown.loc[unknown["subject"] == "s9", "subject"] = None
    one, same, other = (splits.predefined(unknown, val=0.25, seed=seed) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist()
    split = unknown.assign(split=one)
    assert audit(split).clips.count == 0
    assert split.loc[split["predefined_split"] == "test", "split"].eq("test").all()
    assert people_of(unknown, one, "val") & people_of(unknown, one, "train")
    trained = split[split["predefined_split"] == "train"].drop_duplicates("clip").sort_values("clip")
    _, val = train_test_split(trained["clip"], test_size=0.25, random_state=1, stratify=trained["emotion"])
    assert set(split.loc[split["split"] == "val", "clip"]) == set(val)

    known = with_test(manifest)
    known.loc[known["predefined_split"] == "test", "subject"] = None
    assert audit(known.assign(split=splits.predefined(known, val=0.25, seed=1)).dropna()).subjects.count == 0


@pytest.mark.parametrize("people_known", [True, False])
def test_given_test_frames_stay_tested_on_whoever_they_show(manifest, people_known):
    sides = np.where(np.arange(len(manifest)) % 2, "test", "train")  # every clip and person on both
    frames = manifest.assign(predefined_split=sides, **({} if people_known else {"subject": None}))
    split = splits.predefined(frames, val=0.3, seed=0)
    assert ((split == "test") == (sides == "test")).all()
    assert set(split) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("sides", "sentence"),
    [
        (["train", "val"], "came without a test side"),
        (["val", "test"], "came without a train side"),
        ([None, None], "came without a train side"),
        (["train", "dev"], "predefined_split of the corpus has the side 'dev'"),
    ],
)
def test_given_sides_that_are_too_few(manifest, sides, sentence):
    sides = np.array(sides, dtype=object)[np.arange(len(manifest)) % 2]
    with pytest.raises(InputError, match=sentence):
        splits.predefined(manifest.assign(predefined_split=sides), val=0.2, seed=0)


def test_given_that_is_not_or_cannot_be_validated(manifest):
    with pytest.raises(InputError, match="split=predefined needs a corpus that comes with sides"):
        splits.predefined(manifest, val=0.2, seed=0)
    for people in (manifest, manifest.assign(subject=None)):
        with pytest.raises(InputError, match=r"split\.val=1\.5 leaves nothing"):
            splits.predefined(people.assign(predefined_split=with_test(manifest)["predefined_split"]), val=1.5, seed=0)
    two = with_test(manifest)[lambda frames: frames["subject"].isin(["s0", "s5"])]
    with pytest.raises(InputError, match="split=predefined leaves 1 people to both train and validate on"):
        splits.predefined(two, val=0.2, seed=0)
    three = with_test(manifest).drop_duplicates(["predefined_split", "emotion"]).assign(subject=None)
    with pytest.raises(InputError, match=r"4 clips to train on cannot be shared with validation: .*raise split\.val"):
        splits.predefined(three, val=0.2, seed=0)
