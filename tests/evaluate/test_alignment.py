"""Alignment of tables of frames and clips, also of different modalities."""

import pandas as pd
import pytest

from fervid.errors import InputError
from fervid.evaluate.alignment import align_tables, check_labels


def table(modality, clips, frames=(0,), recording=True, **columns):
    rows = [(f"{modality}-{clip}", clip, frame) for clip in clips for frame in frames]
    found = pd.DataFrame(rows, columns=["clip", "recording", "frame"]).assign(corpus="ravdess", **columns)
    return found if recording else found.drop(columns="recording")


def names(found, tables):
    """Recording and frame of each aligned row, for each table."""
    return [
        list(zip(t["clip"].iloc[r], t["frame"].iloc[r], strict=True)) for t, r in zip(tables, found.rows, strict=True)
    ]


def test_frames_of_the_same_clips_are_matched_whatever_their_order():
    one = table("02", "ab", (0, 8), recording=False)
    other = one.sample(frac=1, random_state=0)
    found = align_tables([one, other])
    assert (found.matched, found.base, found.same_kind, found.is_complete) == ("clip", 0, True, True)
    assert names(found, [one, other])[0] == names(found, [one, other])[1] == [
        ("02-a", 0), ("02-a", 8), ("02-b", 0), ("02-b", 8)
    ]  # fmt: skip
    assert found.sentences(["one", "other"]) == []
    assert found.keeps_rows(0)
    assert found.keeps_rows(1)


def test_frames_that_a_table_lacks_are_dropped():
    one, other = table("02", "abc", (0, 8)), table("02", "bcd", (0, 8))
    found = align_tables([one, other])
    assert names(found, [one, other])[0] == [("02-b", 0), ("02-b", 8), ("02-c", 0), ("02-c", 8)]
    assert (found.unused, found.is_complete, found.keeps_rows(0)) == ([2, 2], False, False)
    assert found.sentences(["one", "other"])[0] == "one: 2 rows are omitted because another member lacks them."


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_sound_is_matched_to_the_frames_of_a_face_run_by_recording(order):
    face, sound = table("02", "abc", (0, 8)), table("03", "dcb")
    tables = [(face, sound)[number] for number in order]
    found = align_tables(tables)
    by_name = dict(zip([("face", "sound")[number] for number in order], names(found, tables), strict=True))
    assert by_name["face"] == [("02-b", 0), ("02-b", 8), ("02-c", 0), ("02-c", 8)]
    assert by_name["sound"] == [("03-b", 0), ("03-b", 0), ("03-c", 0), ("03-c", 0)]
    assert found.matched == "recording"
    assert tables[found.base] is face
    assert found.per_clip == [each is sound for each in tables]
    assert not found.keeps_rows(order.index(1))
    sentences = " ".join(found.sentences(["first", "second"]))
    assert "have different names and are matched by the column recording" in sentences
    assert f"{('first', 'second')[order.index(1)]} has one prediction per clip" in sentences


def test_one_row_per_clip_is_matched_whatever_its_frame():
    """A face run of peak frames and a sound run."""
    face, sound = table("02", "ab", (17,)), table("03", "ba")
    found = align_tables([face, sound])
    assert names(found, [face, sound]) == [[("02-a", 17), ("02-b", 17)], [("03-a", 0), ("03-b", 0)]]
    assert found.per_clip == [False, False]
    assert found.keeps_rows(0)
    assert found.keeps_rows(1)


def test_sound_track_of_the_same_clips_is_matched_by_clip():
    face, sound = table("01", "ab", (0, 8), recording=False), table("01", "ba", recording=False)
    found = align_tables([face, sound])
    assert names(found, [face, sound])[1] == [("01-a", 0), ("01-a", 0), ("01-b", 0), ("01-b", 0)]
    assert (found.matched, found.same_kind, found.is_complete) == ("clip", False, True)


def test_equal_clip_names_of_another_corpus_are_not_matched():
    one, other = table("02", "ab"), table("02", "ab").assign(corpus="other")
    assert len(align_tables([one, other]).rows[0]) == 0


def test_clips_without_recordings_are_not_matched_by_it():
    face, sound = table("02", "ab"), table("03", "ab")
    sound.loc[0, "recording"] = None
    assert align_tables([face, sound]).matched == "clip"


def test_two_clips_of_a_recording_are_ambiguous():
    face = table("02", "ab", (0, 8))
    both = pd.concat([table("03", "ab", (0, 1)), table("01", "ab", (0, 1))])
    with pytest.raises(InputError, match="several clips of the recording a are among the tested ones"):
        align_tables([face, both])


def test_labels_must_agree():
    face, sound = table("02", "ab", emotion=["fear", "sad"]), table("03", "ab", emotion=["fearful", "sad"])
    check_labels([face, sound], "emotion")
    with pytest.raises(InputError, match="02-b is labelled sad, but 03-b, which was matched to it, is labelled happy"):
        check_labels([face, sound.assign(emotion=["fear", "happy"])], "emotion")
