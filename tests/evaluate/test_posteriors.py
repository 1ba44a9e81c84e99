"""Tables of posteriors: columns, values, several files, and matching to clips."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fervid.errors import InputError
from fervid.evaluate.combining import combine
from fervid.evaluate.posteriors import clip_stem, read_posteriors, read_tables
from fervid.metrics.aggregation import confusion
from fervid.metrics.scores import scores

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "ravdess_features" / "published_posteriors"
EMOTIONS = ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]  # RAVDESS's codes 01 to 08


@pytest.fixture
def write(tmp_path):
    def make(text, name="a.csv"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return make


@pytest.mark.parametrize(
    ("text", "classes", "names"),
    [
        ("clip,happy,sad\nx,0.9,0.1\ny,0.2,0.8\n", [], ["happy", "sad"]),
        ("clip,Happiness,sadness,actor\nx,0.9,0.1,3\ny,0.2,0.8,3\n", [], ["Happiness", "sadness"]),
        ("clip;prob_happy;prob_sad;label\nx;0.9;0.1;sad\ny;0.2;0.8;sad\n", [], ["happy", "sad"]),
        ("probability_joy,probability_sad,Name\n0.9,0.1,x\n0.2,0.8,y\n", [], ["joy", "sad"]),
        ("embs1;embs0;video_name;fold1\n0.1;0.9;x;5\n0.8;0.2;y;5\n", ["happy", "sad"], ["happy", "sad"]),
        ("0,1,file\n0.9,0.1,x\n0.2,0.8,y\n", ["happy", "sad"], ["happy", "sad"]),
        ("prob_0,prob_1,clip\n0.9,0.1,x\n0.2,0.8,y\n", ["happy", "sad"], ["happy", "sad"]),
        ("joy,gloom,path\n0.9,0.1,x\n0.2,0.8,y\n", ["joy", "gloom"], ["joy", "gloom"]),
        ("\ufeffclip,happy,sad\nx,0.91,0.1\ny,0.2,0.8\n", [], ["happy", "sad"]),  # rounded, with a byte order mark
    ],
)
def test_columns_of_probabilities(write, text, classes, names):
    table = read_posteriors(write(text), classes)
    assert (table.name, table.class_names, table.clips) == ("a", names, ["x", "y"])
    np.testing.assert_allclose(table.probabilities, [[0.9, 0.1], [0.2, 0.8]], atol=0.01)
    np.testing.assert_allclose(table.probabilities.sum(axis=1), 1)


def test_emotions_of_the_runs_are_known_columns(write):
    path = write("clip,awe,boredom\nx,0.9,0.1\n")
    assert read_posteriors(path, known=["awe"]).class_names == ["awe", "boredom"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("clip,embs0,embs1\nx,0.9,0.1\n", {}, "the 2 columns embs0, embs1, but their emotions are unknown: give the"),
        ("clip,embs0,embs1\nx,1,0\n", {"classes": ["sad"]}, "embs0, embs1, but posterior_classes has 1 names"),
        ("happy,sad\n0.9,0.1\n", {}, "has no column that names the clip .*: its columns are happy, sad"),
        ("clip,happy,sad\n", {}, "has no rows"),
        ("clip,happy,sad\nx,0.9,0.1\n,0.9,0.1\n", {}, "no name in the column clip of line 3"),
        ("clip,joy,gloom\nx,0.9,0.1\n", {}, "has no columns of probabilities.*its columns are joy, gloom"),
        ("clip,happy,sad\nx,1.9,-0.9\n", {}, "has 1.9 for happy of x: a probability is between 0 and 1; for logits"),
        ("clip,happy,sad\nx,0.9,-0.1\n", {}, "has -0.1 for sad of x"),
        ("clip,happy,sad\nx,0.9,inf\n", {}, "has inf for sad of x: give finite numbers"),
        ("clip,happy,sad\nx,0.9,many\n", {"values": "logits"}, "has many for sad of x: give finite numbers"),
        ("clip,happy,sad\nx,0.9,\n", {}, "for sad of x: give finite numbers"),
        ("clip,happy,sad\ny,0.5,0.5\nx,0.5,0.1\n", {}, r"of x \(happy, sad\) sum to 0.600 instead of 1"),
        ("clip,happy,happiness\nx,0.5,0.5\n", {}, "two columns for one emotion"),
        ("clip,happy,sad\nx,0.9,0.1\nx,0.8,0.2\n", {}, "several rows for the clip x: give one row per clip"),
        ("clip,happy,sad\nx,0.9,0.1\n", {"values": "odds"}, "posterior_values=odds is unknown: choose"),
        ("clip,happy,happy\nx,0.9,0.1,7,8\n", {}, "cannot be read"),
    ],
)
def test_invalid_tables(write, text, options, message):
    with pytest.raises(InputError, match=message):
        read_posteriors(write(text), **options)


def test_logits_become_probabilities(write):
    table = read_posteriors(write("clip,happy,sad\nx,2,0\n"), values="logits")
    np.testing.assert_allclose(table.probabilities, [[1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))]])


def test_files_of_a_pattern_are_one_table(write, tmp_path):
    write("clip,happy,sad\nx,0.9,0.1\n", "net_fold0.csv")
    write("clip,sad,happy\ny,0.8,0.2\n", "net_fold1.csv")
    table = read_posteriors(str(tmp_path / "net_fold*.csv"))
    assert (table.name, table.clips) == ("net_fold", ["x", "y"])
    np.testing.assert_allclose(table.probabilities, [[0.9, 0.1], [0.2, 0.8]])
    write("clip,sad,angry\nz,0.8,0.2\n", "net_fold2.csv")
    with pytest.raises(
        InputError, match=r"net_fold2.csv has the classes sad, angry, but .*net_fold0.csv has happy, sad"
    ):
        read_posteriors(str(tmp_path / "net_fold*.csv"))
    with pytest.raises(InputError, match="is not a file, and no file matches it"):
        read_posteriors(str(tmp_path / "other*.csv"))


def test_classes_and_values_are_given_for_all_tables_or_for_each(write):
    a, b = write("clip,e0,e1\nx,0.9,0.1\n", "a.csv"), write("clip,e0,e1\nx,0,2\n", "b.csv")
    one, other = read_tables([a, b], [["happy", "sad"], ["sad", "happy"]], ["probabilities", "logits"])
    assert (one.class_names, other.class_names) == (["happy", "sad"], ["sad", "happy"])
    assert (one.values, other.values) == ("probabilities", "logits")
    assert [table.class_names for table in read_tables([a, b], ["c", "d"], "logits")] == [["c", "d"]] * 2
    assert read_tables(None, None, "probabilities") == []
    assert len(read_tables(a, ["c", "d"], "probabilities")) == 1
    with pytest.raises(InputError, match="posterior_values has 1 entries for 2 tables"):
        read_tables([a, b], ["c", "d"], ["logits"])
    with pytest.raises(InputError, match="posterior_classes has 3 entries for 2 tables"):
        read_tables([a, b], [["c", "d"]] * 3, "logits")
    with pytest.raises(InputError, match="twice: give each table once"):
        read_tables([a, a], ["c", "d"], "logits")


def frames(*clips, corpus="ravdess", **columns):
    return pd.DataFrame({"clip": clips}).assign(corpus=corpus, **columns)


def test_clips_are_matched_by_name_then_stem_then_recording(write):
    table = read_posteriors(write("file,happy,sad\nc/01-a.mp4,0.9,0.1\nc/01-b.mp4,0.2,0.8\n"))
    for clips, matched in (
        (frames("c/01-b.mp4", "c/01-a.mp4", "c/01-b.mp4", "new"), "clip"),
        (frames("01-b", "01-a", "01-b", "new"), "clip"),
        (frames("d/01-b.avi", "d/01-a.avi", "d/01-b.avi", "new"), "clip"),
        (frames("03-b", "02-a", "02-b", "new", recording=["b", "a", "b", "c"]), "recording"),
    ):
        rows, found = table.match(clips)
        assert (rows.tolist(), found) == ([1, 0, 1, -1], matched)
    with pytest.raises(InputError, match="no row for any of the 1 evaluated clips: its names are such as c/01-a"):
        table.match(frames("02-a"))  # without recordings
    with pytest.raises(InputError, match="other, ravdess have clips of the same name"):
        table.match(pd.concat([frames("01-a"), frames("01-a", corpus="other")]))


def test_two_rows_for_a_recording_are_refused_only_if_it_is_evaluated(write):
    table = read_posteriors(write("clip,happy,sad\n01-a,0.9,0.1\n02-a,0.2,0.8\n01-b,0.2,0.8\n"))
    assert table.match(frames("03-b", recording=["b"]))[0].tolist() == [2]
    with pytest.raises(InputError, match=r"several rows for the recording a \(01-a, 02-a\): keep one of them"):
        table.match(frames("03-a", recording=["a"]))


def test_a_number_after_a_point_is_no_file_ending():
    assert [clip_stem(name) for name in ("a.mp4", "d\\a.b.wav", "take.2")] == ["a", "a.b", "take.2"]


def published(name):
    options = {"values": "logits"} if name == "wav2vec" else {}
    return read_posteriors(
        str(PUBLISHED / f"{name}_test_fold*.csv"), sorted(EMOTIONS) if name == "wav2vec" else EMOTIONS, **options
    )


def uar(clips, probabilities, names):
    """UAR in percent, with the labels in the third field of the names."""
    true = [EMOTIONS[int(clip.split("-")[2]) - 1] for clip in clips]
    predicted = np.array(names)[probabilities.argmax(axis=1)]
    return 100 * scores(confusion(pd.DataFrame({"label": true, "predicted": predicted}), EMOTIONS)).uar


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no published posteriors in {PUBLISHED}")
@pytest.mark.parametrize(("name", "expected"), [("au_mlp", 60.5), ("wav2vec", 81.8), ("fusion", 86.5)])
def test_published_scores_are_recomputed(name, expected):
    table = published(name)
    assert len(table.clips) == 1440
    assert uar(table.clips, table.probabilities, table.class_names) == pytest.approx(expected, abs=0.05)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no published posteriors in {PUBLISHED}")
def test_published_logits_are_refused_as_probabilities():
    with pytest.raises(InputError, match="for logits give posterior_values=logits"):
        read_posteriors(str(PUBLISHED / "wav2vec_test_fold0.csv"), EMOTIONS)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no published posteriors in {PUBLISHED}")
def test_late_fusion_of_published_posteriors_is_better_than_either():
    face, sound = published("au_mlp"), published("wav2vec")
    samples = frames(*face.clips)
    rows, _ = sound.match(samples)
    order = [sound.class_names.index(name) for name in EMOTIONS]
    members = [face.probabilities, sound.probabilities[rows][:, order]]
    scored = {rule: uar(face.clips, combine(members, np.full(2, 0.5), rule), EMOTIONS) for rule in ("mean", "product")}
    assert scored == pytest.approx({"mean": 83.5, "product": 87.2}, abs=0.05)  # 60.5 and 81.8 alone
