"""Two corpora may use the same name for different subjects or clips, which must be kept apart."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fervid.audit.duplicates import group, near_duplicates
from fervid.audit.leakage import audit, worst_pairs
from fervid.evaluate.members import Member, align, leave_out_seen
from fervid.evaluate.writing import joint_validation
from fervid.explain.choosing import choose_samples
from fervid.metrics.aggregation import clip_predictions
from fervid.metrics.statistics import run_confusions
from fervid.report import group_tables, paired_tests, score_tables, tidy
from fervid.report.systems import comparable, find_systems, reason_not_comparable
from fervid.runs.printing import print_audit, print_split
from fervid.runs.record import describe
from fervid.schema.columns import keys
from fervid.schema.label_maps import LabelMap
from fervid.schema.names import doubts

NAMES = ["happy", "sad"]


def manifest(name, split):
    """One subject ``01`` with a happy clip ``a`` and a sad clip ``b``, two frames each."""
    rows = [("a", 0, "happy"), ("a", 1, "happy"), ("b", 0, "sad"), ("b", 1, "sad")]
    table = pd.DataFrame(rows, columns=["clip", "frame", "emotion"])
    return table.assign(corpus=name, subject="01", split=split, recording=table["clip"], path="", time=0.0)


@pytest.fixture
def two():
    return pd.concat([manifest("one", "train"), manifest("other", "test")], ignore_index=True)


@pytest.fixture
def predictions(two):
    """All predictions are correct for the first corpus and wrong for the other."""
    chances = np.where((two["emotion"] == "happy") == (two["corpus"] == "one"), 0.9, 0.2)
    predicted = np.where(chances > 0.5, "happy", "sad")
    table = two.rename(columns={"emotion": "label"}).drop(columns="recording")
    return table.assign(predicted=predicted, prob_happy=chances, prob_sad=1 - chances, index=two.index)


class TestAudit:
    def test_equal_names_in_two_corpora_do_not_leak(self, two):
        found = audit(two)
        assert found.level == "subject-independent"
        assert (found.subjects.total, found.clips.total, found.subjects.count, found.clips.count) == (2, 4, 0, 0)
        assert (found.recordings.total, found.clips_known) == (0, True)

    def test_leaks_are_reported_with_their_corpus(self, two, capsys):
        from rich.console import Console

        two.loc[5, "split"] = "train"
        found = audit(two)
        assert found.level == "leaky"
        assert [(e["corpus"], e["clip"], e["subject"]) for e in found.clips.examples] == [("other", "a", "01")]
        assert [(e["corpus"], e["subject"]) for e in found.subjects.examples] == [("other", "01")]
        assert worst_pairs(two, found)[0] == (5, 4, "one clip in two subsets")
        print_audit(Console(width=120), found)
        assert "other, 01, a" in capsys.readouterr().out

    def test_a_single_corpus_is_not_named(self, two):
        one = two[two["corpus"] == "one"].assign(split=["train", "test"] * 2)
        assert "corpus" not in audit(one).clips.examples[0]

    def test_repetitions_and_statements_are_compared_within_a_subject(self, two):
        clips = two.drop_duplicates(["corpus", "clip"]).assign(emotion="sad")
        assert audit(clips.assign(repetition=["1", "2"] * 2)).repetitions.total == 2
        own = clips.assign(statement=["1", "2", None, None], sentence=[None, None, 3, 4])
        assert audit(own).statements.total == 2  # the corpora name this column differently
        assert audit(own.assign(split=["train", "test"] * 2)).statements.count == 2

    def test_recordings_are_counted_per_corpus(self, two):
        found = audit(two.assign(recording="r", split=["train", "train", "test", "test"] * 2)).recordings
        assert (found.total, found.count) == (2, 2)
        assert found.examples[0] == {"corpus": "one", "recording": "r", "clips": {"a": "train", "b": "test"}}

    def test_near_duplicates_across_corpora(self, two):
        hashes = np.zeros((8, 32), dtype=np.uint8)
        hashes[np.arange(8) % 4 > 1] = 255  # all sad frames look alike, and all happy frames
        pairs = near_duplicates(hashes, keys(two, "clip"))
        assert len(pairs) == 2  # a and a, b and b, across the corpora
        assert set(group(pairs, keys(two, "clip"))) == {"one/a", "one/b"}
        found = audit(two, pairs)
        assert (found.near_duplicates.count, found.unknown_subjects, found.level) == (2, 2, "leaky")
        assert {found.near_duplicates.examples[0][f"corpus_{end}"] for end in "ab"} == {"one", "other"}

    def test_suspicious_names_are_found_per_corpus(self, two):
        assert doubts(two.assign(subject=np.where(two["corpus"] == "one", "01", "1"))) == []
        renamed = two.assign(subject=["Ann-1", "Ann-2", "Bob", "Bob"] * 2)
        sentences = doubts(renamed)
        assert sentences[0].startswith("one: 2 of 3 subjects have names that differ only in a trailing number")
        assert any(sentence.startswith("other: ") for sentence in sentences)


class TestScores:
    def test_clips(self, predictions):
        clips = clip_predictions(predictions, NAMES)
        assert clips[["corpus", "clip", "frames"]].to_numpy().tolist() == [
            *(["one", "a", 2], ["one", "b", 2], ["other", "a", 2], ["other", "b", 2])
        ]
        assert (clips["label"] == clips["predicted"]).tolist() == [True, True, False, False]

    @pytest.mark.parametrize(("unit", "count"), [("subject", 2), ("clip", 4)])
    def test_units_of_intervals(self, predictions, unit, count):
        counts = run_confusions(predictions.assign(run=0), NAMES, unit)
        assert counts.shape[1] == count
        assert np.trace(counts[0, : count // 2], axis1=1, axis2=2).sum() == 4
        assert np.trace(counts[0, count // 2 :], axis1=1, axis2=2).sum() == 0


class TestReport:
    @pytest.fixture
    def system(self, a_run):
        """A system tested on two corpora whose subjects have the same names."""

        def make(name="run", settings=None):
            def edit(table):
                half = table.assign(corpus=np.where(table["subject"].astype(int) < 3, "synthetic", "other"))
                return half.assign(
                    subject=(half["subject"].astype(int) % 3).astype(str),
                    clip=half["subject"].astype(int).mod(3).astype(str) + half["clip"].str[2:],
                )

            return find_systems([a_run(name, settings, edit=edit)])[0][0]

        return make

    def test_counts(self, system):
        one = system()
        assert "tested on 36 clips of 6 subjects" in score_tables.describe_set([one], 1)
        assert len(one.clips) == 36
        assert score_tables.score_table([one], 1, resamples=100, seed=0).data.shape[0] == 1

    def test_by_subject(self, system):
        one = system()
        data = group_tables.subject_table([one]).data
        assert data["subject"].tolist() == [
            f"{name}/{number}" for name in ("other", "synthetic") for number in range(3)
        ]
        assert set(data["frames"]) == {12}
        rows = tidy.tidy([one])
        assert set(rows.loc[rows["by"] == "subject", "value"]) == set(data["subject"])

    def test_by_group(self, system):
        assert group_tables.group_table([system()]).data.query("by == 'intensity'")["subjects"].tolist() == [6, 6]

    def test_paired_tests_match_each_clip_once(self, system):
        pair = [system("a"), system("b", {"backbone": "vgg16"})]
        assert len(comparable(pair)) == 1
        assert paired_tests.paired_tests(pair, 1, resamples=100, seed=0).data["clips"].tolist() == [36]

    def test_same_names_in_another_corpus_are_different_rows(self, a_run):
        runs = [a_run("a"), a_run("b", {"backbone": "vgg16"}, edit=lambda table: table.assign(corpus="other"))]
        one, other = find_systems(runs)[0]
        assert len(comparable([one, other])) == 2
        assert "0 of them in both" in reason_not_comparable(one, other)


class TestEvaluate:
    def member(self, seen, frames):
        return Member(SimpleNamespace(folder="run", class_names=NAMES), "run", seen, None, frames)

    def test_subjects_of_the_same_name_in_another_corpus_are_unseen(self, two):
        seen = two[(two["corpus"] == "one") & (two["clip"] == "a")]
        member = self.member(seen, two.assign(split="test"))
        assert leave_out_seen([member]) == 4
        assert set(member.frames["corpus"]) == {"other"}

    def test_frames_are_sorted_consistently(self, two):
        members = [self.member(two[:0], two), self.member(two[:0], two[::-1])]
        align(members, own_corpus=False)
        assert members[0].frames.index.tolist() == members[1].frames.index.tolist() == list(range(8))

    def test_validation_frames_of_members_in_different_orders(self, predictions):
        runs = [
            SimpleNamespace(has_validation=True, validation=table)
            for table in (predictions, predictions[::-1].reset_index(drop=True))
        ]
        joint = joint_validation(runs, np.array([0.5, 0.5]), NAMES, "mean")
        assert joint[["corpus", "clip", "frame"]].equals(predictions[["corpus", "clip", "frame"]])
        assert joint["prob_happy"].tolist() == pytest.approx(predictions["prob_happy"].tolist())


def test_one_frame_per_clip_is_explained(predictions):
    wrong = predictions.assign(predicted=np.where(predictions["label"] == "sad", "happy", "sad"))
    assert len(choose_samples(wrong, "confused", 8, 0)) == 4


def test_counts_of_a_run(two, predictions, capsys):
    from omegaconf import OmegaConf
    from rich.console import Console

    corpus = SimpleNamespace(
        **{
            "manifest": two,
            "class_names": NAMES,
            "audit": audit(two),
            "corpus": "one+other",
            "corpora": [],
            "rendered": True,
        },
        **{"failed_files": 0, "feature_names": [], "image_size": 64, "fingerprint": "0123456789abcdef"},
        **{"grayscale": True, "label_report": LabelMap().align([two[:4], two[4:]])[1]},
        sample=SimpleNamespace(shows_pictures=True),
    )
    data = describe(OmegaConf.create({"seed": 0}), corpus, [])["data"]
    assert (data["subjects"], data["clips"]) == (2, 4)
    assert data["corpus_by_split"]["other"] == {"train": 0, "val": 0, "test": 4}
    assert data["label_map"][0] == {"corpus": "one", "label": "happy", "mapped_to": "happy", "frames": 2, "reason": ""}
    print_split(Console(width=100), corpus)
    said = capsys.readouterr().out
    assert "subjects" in said
    assert "labels of other: unchanged" in said
    assert "All pictures are converted to grayscale" in said
