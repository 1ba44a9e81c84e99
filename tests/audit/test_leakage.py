import json
import time
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest

from fervid.audit.leakage import audit, worst_pairs


@pytest.fixture
def manifest():
    """4 subjects x 2 emotions x 2 statements x 2 repetitions x 2 modalities x 3 frames.

    Subjects a and b are in train, c in val, d in test.
    """
    rows = []
    for who, emotion, statement, repetition, modality in product("abcd", ("happy", "sad"), "12", "12", ("av", "v")):
        recording = f"{who}-{emotion}-{statement}-{repetition}"
        clip = {
            "subject": who,
            "clip": f"{recording}-{modality}",
            "recording": recording,
            "emotion": emotion,
            "intensity": "normal",
            "channel": "speech",
            "modality": modality,
            "statement": statement,
            "repetition": repetition,
            "split": {"a": "train", "b": "train", "c": "val", "d": "test"}[who],
        }
        rows += [{**clip, "corpus": "planted", "frame": n, "time": n / 30, "path": ""} for n in range(3)]
    return pd.DataFrame(rows)


def pairs_of(*rows):
    return pd.DataFrame([(*row, 5, False) for row in rows], columns=["row_a", "row_b", "distance", "mirrored"])


def move(manifest, where, subset="test"):
    return manifest.assign(split=np.where(where, subset, manifest["split"]))


def counts(found):
    return {kind: value["count"] for kind, value in found.as_dict().items() if isinstance(value, dict)}


def unknown(manifest):
    return manifest.assign(subject=None)


CLEAN = dict.fromkeys(["subjects", "clips", "recordings", "repetitions", "statements", "near_duplicates"], 0)


def test_clean_split_gives_no_warning(manifest):
    found = audit(manifest, pairs_of((0, 3), (6, 94)))  # of subject a; of a and b, both in train
    assert counts(found) == CLEAN
    assert (found.level, found.sentence(), found.unknown_subjects) == ("subject-independent", None, 0)
    assert all(value["examples"] == [] for value in found.as_dict().values() if isinstance(value, dict))


def test_totals_count_all_items(manifest):
    found = audit(manifest, pairs_of((0, 3), (6, 94)))
    # 64 clips of 32 recordings; each forms one pair per repetition and one per statement.
    totals = {kind: value["total"] for kind, value in found.as_dict().items() if isinstance(value, dict)}
    assert totals == {
        "subjects": 4, "clips": 64, "recordings": 32, "repetitions": 32, "statements": 32, "near_duplicates": 2
    }  # fmt: skip


def test_subject_in_two_subsets(manifest):
    whole_emotion = (manifest["subject"] == "a") & (manifest["emotion"] == "sad")
    found = audit(move(manifest, whole_emotion))
    assert counts(found) == {k: v for k, v in CLEAN.items() if k != "near_duplicates"} | {"subjects": 1}
    assert found.level == "subject-dependent"
    assert found.subjects.examples == [{"subject": "a", "frames": {"train": 24, "test": 24}}]
    assert found.sentence() == (
        "this split is subject-dependent: 1 of 4 subjects are in more than one subset, so the scores are too "
        "optimistic for people never seen in training; use split=subject to keep subjects in one subset."
    )


def test_clip_in_two_subsets(manifest):
    found = audit(move(manifest, manifest.index == 1))
    # The clip itself, its recording, one pair of repetitions and one of statements.
    assert counts(found) == {"subjects": 1, "clips": 1, "recordings": 1, "repetitions": 1, "statements": 1}
    assert found.level == "leaky"
    assert found.clips.examples == [
        {"clip": "a-happy-1-1-av", "subject": "a", "emotion": "happy", "frames": {"train": 2, "test": 1}}
    ]
    assert "this split leaks: 1 of 4 subjects and 1 of 64 clips and 1 of 32 recordings" in found.sentence()


def test_clip_in_two_subsets_leaks_without_recordings(manifest):
    """With one modality no recording is kept as several clips, so none is counted."""
    one = manifest[manifest["modality"] == "av"].reset_index(drop=True)
    found = audit(move(one, one.index == 1))
    assert (found.clips.count, found.recordings.count, found.recordings.total, found.level) == (1, 0, 0, "leaky")
    assert audit(move(one, one.index == 1).drop(columns="recording")).level == "leaky"


def test_pair_of_clips_in_the_same_two_subsets_is_shared(manifest):
    """Each clip has frames in both subsets, so the pair counts as shared."""
    found = audit(move(manifest, (manifest["subject"] == "a") & (manifest["frame"] == 0)), pairs_of((1, 4)))
    assert counts(found) == {
        "subjects": 1, "clips": 16, "recordings": 8, "repetitions": 8, "statements": 8, "near_duplicates": 1
    }  # fmt: skip
    assert found.repetitions.examples[0]["subsets_a"] == "test+train"
    assert [len(kind.examples) for kind in (found.clips, found.recordings, found.repetitions)] == [5, 5, 5]


def test_clips_of_one_recording_in_two_subsets_leak(manifest):
    """The clip with sound and the video-only clip are the same recording."""
    found = audit(move(manifest, (manifest["subject"] == "a") & (manifest["modality"] == "v")))
    assert counts(found) == {"subjects": 1, "clips": 0, "recordings": 8, "repetitions": 0, "statements": 0}
    assert found.level == "leaky"
    assert found.recordings.examples[0] == {
        "recording": "a-happy-1-1",
        "clips": {"a-happy-1-1-av": "train", "a-happy-1-1-v": "test"},
    }
    assert len(found.recordings.examples) == 5
    assert len(audit(move(manifest, manifest["modality"] == "v"), examples=7).recordings.examples) == 7


def test_split_recordings_of_unknown_subjects_leak(manifest):
    found = audit(unknown(move(manifest, (manifest["subject"] == "a") & (manifest["modality"] == "v"))))
    assert (found.level, found.subjects.total, found.recordings.count) == ("leaky", 0, 8)
    assert found.sentence().endswith("use split=clips to keep clips of one recording or near-duplicates in one subset.")


def test_repetitions_in_two_subsets(manifest):
    found = audit(move(manifest, (manifest["subject"] == "a") & (manifest["repetition"] == "2")))
    # 2 emotions x 2 statements x 2 modalities
    assert counts(found) == {"subjects": 1, "clips": 0, "recordings": 0, "repetitions": 8, "statements": 0}
    assert found.level == "subject-dependent"
    assert found.repetitions.examples[0] == {
        "subject": "a",
        "emotion": "happy",
        "clip_a": "a-happy-1-1-av",
        "repetition_a": "1",
        "subsets_a": "train",
        "clip_b": "a-happy-1-2-av",
        "repetition_b": "2",
        "subsets_b": "test",
    }


def test_statements_in_two_subsets(manifest):
    apart = move(manifest, (manifest["subject"] == "a") & (manifest["statement"] == "2"))
    expected = {"subjects": 1, "clips": 0, "recordings": 0, "repetitions": 0, "statements": 8}
    assert counts(audit(apart)) == expected
    assert counts(audit(apart.rename(columns={"statement": "sentence"}))) == expected
    assert audit(apart).level == "subject-dependent"


@pytest.mark.parametrize("column", ["intensity", "channel", "modality", "emotion", "subject"])
def test_pairs_that_differ_in_two_columns_are_not_repetitions(manifest, column):
    """They are no pairs of statements either."""
    other = manifest["repetition"] == "2"
    changed = manifest.assign(**{column: manifest[column].where(~other, manifest[column] + "'")})
    assert audit(changed).repetitions.total == 0
    assert audit(changed).statements.total == 32


@pytest.mark.parametrize("seed", range(3))
def test_pair_counts_match_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    clips = pd.DataFrame({
        "subject": rng.choice(["a", "b", None], 60), "emotion": rng.choice(["happy", "sad"], 60),
        "intensity": rng.choice(["normal", None], 60), "repetition": rng.integers(1, 4, 60), "clip": np.arange(60),
    })  # fmt: skip
    manifest = pd.concat([clips.assign(split=rng.choice(["train", "test"], 60, p=[0.8, 0.2])) for _ in range(2)])
    subsets = manifest.groupby("clip")["split"].agg(set)
    total = count = 0
    for a, b in product(clips.fillna("missing").to_dict("records"), repeat=2):
        alike = all(a[name] == b[name] for name in ("subject", "emotion", "intensity")) and a["subject"] != "missing"
        if a["clip"] < b["clip"] and alike and a["repetition"] != b["repetition"]:
            total += 1
            count += len(subsets[a["clip"]] | subsets[b["clip"]]) > 1
    found = audit(manifest.reset_index(drop=True)).repetitions
    assert (found.count, found.total) == (count, total)
    assert count > 20
    for example in found.examples:
        assert example["repetition_a"] != example["repetition_b"]
        assert example["subsets_a"] != example["subsets_b"] or "+" in example["subsets_a"]


def test_near_duplicates_of_different_subjects_are_counted_separately(manifest):
    split = move(manifest, (manifest["subject"] == "a") & (manifest["emotion"] == "sad"))
    # a happy (0 to 23) and a sad (24 to 47) are apart, a and b (48 on) as well where a is sad, c and d start at 96, 144
    found = audit(split, pairs_of((0, 24), (3, 27), (0, 6), (24, 48), (0, 48)))
    assert (found.near_duplicates.count, found.near_duplicates.total, found.unknown_subjects) == (3, 5, 1)
    assert found.level == "leaky"
    assert [(e["row_a"], e["row_b"], e["unknown_subjects"]) for e in found.near_duplicates.examples] == [
        (24, 48, True), (0, 24, False), (3, 27, False)
    ]  # fmt: skip
    assert found.near_duplicates.examples[0] == {
        "row_a": 24, "row_b": 48, "distance": 5, "mirrored": False, "unknown_subjects": True,
        "clip_a": "a-sad-1-1-av", "subject_a": "a", "emotion_a": "sad", "subsets_a": "test",
        "clip_b": "b-happy-1-1-av", "subject_b": "b", "emotion_b": "happy", "subsets_b": "train",
    }  # fmt: skip
    near_first = audit(split, pairs_of((0, 24), (3, 27)).assign(distance=[7, 6])).near_duplicates.examples
    assert [example["distance"] for example in near_first] == [6, 7]
    assert audit(split, pairs_of((0, 24))).level == "subject-dependent"
    assert audit(split, pairs_of((0, 24))).near_duplicates.count == 1


def test_near_duplicates_of_separate_subjects_leak(manifest):
    found = audit(manifest, pairs_of((0, 96)))
    assert (found.level, found.unknown_subjects, found.subjects.count) == ("leaky", 1, 0)
    assert found.sentence() == (
        "this split leaks: 1 pair(s) of clips that look the same but may show different people are in more than one "
        "subset, so the scores are too optimistic for people never seen in training; check whether they are copies to "
        "exclude, or one person under two names."
    )


def test_unknown_subjects(manifest):
    found = audit(unknown(manifest), pairs_of((0, 6)))
    assert (found.level, found.subjects.total, found.subjects_known) == ("unknown-subjects", 0, False)
    assert found.sentence().startswith("subjects are unknown, so several subsets may show the same people")
    # Unknown subjects form no pairs of repetitions, and their near-duplicates may show different people.
    assert (found.repetitions.total, found.statements.total) == (0, 0)
    assert audit(unknown(manifest), pairs_of((0, 96))).level == "leaky"
    assert audit(unknown(manifest), pairs_of((0, 96))).unknown_subjects == 1
    assert audit(unknown(move(manifest, manifest.index == 1))).level == "leaky"


def test_missing_subjects_do_not_count_as_equal(manifest):
    missing = unknown(manifest).astype({"subject": "string"})  # pandas.NA: comparisons are neither true nor false
    assert audit(missing, pairs_of((0, 96))).unknown_subjects == 1


def test_one_frame_without_a_subject_makes_subjects_unknown(manifest):
    manifest.loc[150, "subject"] = None
    assert (audit(manifest).level, audit(manifest).subjects.total) == ("unknown-subjects", 4)


def test_shared_subjects_in_a_folder_of_pictures_leak(manifest):
    """If every picture is its own clip, separate clips prove nothing."""
    pictures = manifest[["subject", "emotion", "split"]].assign(clip=np.arange(len(manifest)).astype(str))
    assert audit(pictures).level == "subject-independent"
    found = audit(move(pictures, pictures.index == 1))
    assert (found.clips.count, found.clips_known, found.level) == (0, False, "leaky")


def test_findings_are_none_without_their_columns(manifest):
    found = audit(manifest[["subject", "emotion", "split", "clip"]])
    assert (found.recordings, found.repetitions, found.statements, found.near_duplicates) == (None,) * 4
    assert audit(manifest.drop(columns="statement")).repetitions.total == 64  # 16 groups of 2 x 2


def test_as_dict_is_valid_json(manifest):
    mixed = move(manifest.assign(repetition=manifest["repetition"].astype(int)), manifest.index % 7 == 0)
    mixed.loc[mixed["subject"] == "b", "subject"] = None
    found = audit(mixed, pairs_of((0, 96), (3, 48)))
    plain = found.as_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["level"] == found.level == "leaky"
    assert [example["subject_b"] for example in plain["near_duplicates"]["examples"]] == ["c", None]


def test_large_manifests_take_seconds():
    """One subject with 5,000 repetitions has twelve million pairs, which must not be listed."""
    numbers = np.arange(5000)
    manifest = pd.DataFrame({
        "subject": "a", "emotion": "happy", "clip": numbers.astype(str), "repetition": numbers, "statement": 1,
        "recording": numbers // 2, "split": np.where(numbers < 4999, "train", "test"),
    })  # fmt: skip
    began = time.process_time()
    found = audit(manifest, pairs_of(*pairwise(numbers)))
    assert time.process_time() - began < 10
    assert (found.repetitions.count, found.repetitions.total) == (4999, 5000 * 4999 // 2)
    assert (found.recordings.count, found.recordings.total, found.near_duplicates.count) == (1, 2500, 1)


def test_worst_pairs_are_frames_in_different_subsets():
    """Both clips are in two subsets, but the closest frames of one pair are in the same subset."""
    manifest = pd.DataFrame(
        {
            "subject": ["a", "a", "b", "b", "c", "c"],
            "clip": ["a1", "a1", "b1", "b1", "c1", "c1"],
            "emotion": "sad",
            "split": ["train", "test", "train", "test", "val", "val"],
        }
    )
    pairs = pd.DataFrame({"row_a": [0, 1], "row_b": [2, 4], "distance": [0, 3], "mirrored": [False, True]})
    found = audit(manifest, pairs)
    assert found.near_duplicates.count == 2
    shown = worst_pairs(manifest, found)
    assert shown[0] == (1, 4, "mirrored near-duplicates, 3 of 256 bits apart")
    assert [words for *_, words in shown[1:]] == ["one clip in two subsets"] * 2 + ["one subject in two subsets"] * 2
    assert all(manifest["split"][a] != manifest["split"][b] for a, b, _ in shown)
    assert len(worst_pairs(manifest, found, limit=2)) == 2
