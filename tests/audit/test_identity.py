"""Embeddings with known people: calibration, grouping, and what the audit makes of them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.sparse.csgraph import connected_components

from fervid.audit.identity import (
    Calibration,
    People,
    calibrate,
    centred,
    clustering_errors,
    group_units,
    same_people,
    sums_of,
    unit_length,
    units_of,
)
from fervid.audit.leakage import audit
from fervid.errors import InputError


def drawn(people=60, pictures=6, noise=0.7, seed=0, size=64):
    """Embeddings of people with ``pictures`` each: a direction per person, noise, and what all have in common."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(people), pictures)
    rows = unit_length(rng.normal(size=(people, size)))[number]
    rows = rows + noise * rng.normal(size=rows.shape) / np.sqrt(size) + 0.5
    return rows.astype(np.float32), number


def calibrated(rows, names, clips=None):
    rows = centred(rows, np.full(len(rows), "c"))
    return calibrate(
        rows, names, np.arange(len(rows)) if clips is None else clips, corpus="c", network={"weights": "w"}
    )


class TestCalibration:
    def test_rates_equal_those_of_all_pairs(self):
        rows, number = drawn(noise=1.5)
        found = calibrated(rows, number)
        x = centred(rows, np.full(len(rows), "c"))
        one, other = np.triu_indices(len(x), 1)
        alike, same = (x @ x.T)[one, other], number[one] == number[other]
        measured = found.measured(0.3)
        assert measured["false_match_rate"] == pytest.approx((alike[~same] >= 0.3).mean(), abs=2e-3)
        assert measured["false_non_match_rate"] == pytest.approx((alike[same] < 0.3).mean(), abs=0.02)
        from sklearn.metrics import roc_auc_score

        assert found.auc == pytest.approx(roc_auc_score(same, alike), abs=1e-3)
        assert (found.subjects, found.pictures) == (60, 360)
        assert (found.same_pairs, found.different_pairs) == (same.sum(), (~same).sum())
        assert 0 < found.equal_error_rate < 0.2

    def test_threshold_gives_the_asked_false_match_rate(self):
        rows, number = drawn(people=600, pictures=1)
        found = calibrated(rows, number)
        x = centred(rows, np.full(len(rows), "c"))
        alike = (x @ x.T)[np.triu_indices(len(x), 1)]
        for rate in (1e-2, 1e-3):
            assert rate / 3 < (alike >= found.threshold(rate)).mean() < 3 * rate

    def test_second_names_do_not_raise_the_threshold(self):
        """A quarter of the names are second names, so that one in 400 pairs of names is one person."""
        rows, number = drawn(people=300, pictures=4)
        right = calibrated(rows, number).threshold(1e-3)
        wrong = np.where((number < 75) & (np.arange(len(number)) % 4 > 1), 1000 + number, number)
        names = pd.factorize(wrong)[0]
        x = centred(rows, np.full(len(rows), "c"))
        one, other = np.triu_indices(len(x), 1)
        naive = np.quantile((x @ x.T)[one, other][names[one] != names[other]], 1 - 1e-4)
        threshold = calibrated(rows, names).threshold(1e-3)
        assert abs(threshold - right) < 0.08
        assert naive > right + 0.2  # a quantile of all pairs would be misled

    def test_pairs_within_a_clip_do_not_count(self):
        rows, number = drawn(pictures=4)
        clips = number * 2 + np.arange(len(number)) % 2
        assert calibrated(rows, number, clips).same_pairs == 60 * 4
        alone = calibrated(rows, number, number)
        assert (alone.same_pairs, alone.auc, alone.equal_error_rate) == (0, None, None)
        assert alone.measured(0.4)["false_non_match_rate"] is None

    def test_unknown_subjects_are_left_out_and_few_cannot_calibrate(self):
        rows, number = drawn(people=8, pictures=3)
        assert calibrated(rows, number).subjects == 8
        assert calibrated(rows, np.where(number == 0, -1, number)) is None
        assert calibrated(rows, np.full(len(rows), -1)) is None

    def test_incomplete_record_is_named(self):
        with pytest.raises(InputError, match=r"identity.calibration=x.json has no corpus"):
            Calibration.of({"calibration": None}, "x.json")


class TestGroups:
    def test_people_are_found(self):
        rows, number = drawn(noise=0.5)
        x = centred(rows, np.full(len(rows), "c"))
        found = group_units(x, 0.5)
        assert clustering_errors(number, found) == {
            "subjects": 60, "clusters": 60, "pairs_joined": 1.0, "pairs_correct": 1.0
        }  # fmt: skip
        assert (group_units(x, 0.5) == found).all()

    def test_groups_do_not_depend_on_blocks(self, monkeypatch):
        x = centred(drawn(noise=1.5)[0], np.full(360, "c"))
        whole = group_units(x, 0.4)
        monkeypatch.setattr("fervid.audit.identity.BLOCK_ROWS", 7)
        assert (group_units(x, 0.4) == whole).all()

    def test_no_two_groups_are_left_to_join(self):
        x = centred(drawn(noise=1.5)[0], np.full(360, "c"))
        found = group_units(x, 0.4)
        means = unit_length(sums_of(x, found))
        alike = means @ means.T
        np.fill_diagonal(alike, -1)
        assert alike.max() < 0.4
        assert 2 < found.max() + 1 < 360

    @pytest.mark.parametrize("copies", [3, 8])
    def test_copies_of_pictures_are_joined(self, copies):
        """Rounding makes nearest neighbours of copies go in circles, without two that are each other's nearest."""
        rng = np.random.default_rng(0)
        rows = np.repeat(unit_length(rng.normal(size=(100, 64))), copies, axis=0)
        found = group_units(unit_length(rows + 1e-7 * rng.normal(size=rows.shape)).astype(np.float32), 0.9)
        assert (found == np.repeat(np.arange(100), copies)).all()

    def test_look_alikes_are_not_chained(self):
        """A row of people, each like the next: connected components would make them one."""
        angles = np.linspace(0, np.pi, 13)
        rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        assert connected_components(rows @ rows.T > 0.96)[0] == 1
        found = group_units(rows, 0.96)
        assert np.bincount(found).max() <= 3

    @pytest.mark.parametrize("count", [1, 2])
    def test_few_units(self, count):
        assert group_units(np.eye(count, 4, dtype=np.float32), 0.5).tolist() == list(range(count))

    def test_units_are_subjects_or_clips_of_unknown_subjects(self):
        frames = pd.DataFrame({"corpus": "c", "subject": ["a", "a", None, None], "clip": ["1", "2", "1", "1"]})
        assert units_of(frames).tolist() == [0, 0, 1, 1]


@pytest.fixture
def manifest():
    """Names a, b (train), c (test), d (val); c is b."""
    rows = [(who, f"{who}{clip}", subset) for who, subset in zip("abcd", ["train", "train", "test", "val"], strict=True)
            for clip in range(2)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["subject", "clip", "split"])
    return table.assign(corpus="c", emotion=["happy", "sad"] * 4, frame=0, path=table["clip"] + ".png")


def people_of(manifest, person):
    unit = units_of(manifest)
    rows = np.eye(4, dtype=np.float32)[np.asarray(person)[unit]]
    means = unit_length(sums_of(rows, unit))
    clustered = bool(manifest["subject"].isna().all())
    return People(unit, np.asarray(person), means, 0.5, {"threshold": 0.5}, None, clustered), rows


class TestAudit:
    def test_names_of_one_person_in_two_subsets_are_counted(self, manifest):
        people, rows = people_of(manifest, [0, 1, 1, 2])
        pairs = same_people(people, manifest, rows)
        assert pairs.to_dict("records") == [
            {
                "person": 2, "names": 2, "subject_a": "b", "subject_b": "c", "subsets_a": "train", "subsets_b": "test",
                "similarity": 1.0, "row_a": 2, "row_b": 4,
            }
        ]  # fmt: skip
        found = audit(manifest, people=pairs, identity=people.evidence, subjects_from="file names")
        assert (found.people.count, found.people.total) == (1, 1)
        assert found.people.examples[0]["subject_b"] == "c"
        assert found.level == "subject-independent by name"  # look-alikes are no proof
        assert "1 person(s) have several names, and 1 of them are in more than one subset" in found.sentence()
        assert found.as_dict()["identity"] == {"threshold": 0.5}

    def test_person_whose_closest_names_are_in_one_subset_is_counted(self, manifest):
        """a and b (train) are most similar to each other, as are c and d (test), and all are one person."""
        several = manifest.assign(split=["train"] * 4 + ["test"] * 4)
        people, rows = people_of(several, [0, 0, 0, 0])
        angles = np.repeat([0.0, 0.1, 0.3, 0.4], 2)
        rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        people = dataclasses.replace(people, means=unit_length(sums_of(rows, people.unit)))
        pairs = same_people(people, several, rows)
        assert {("a", "b"), ("c", "d"), ("b", "c")} == set(zip(pairs["subject_a"], pairs["subject_b"], strict=True))
        found = audit(several, people=pairs, identity=people.evidence, subjects_from="file names")
        assert (found.people.count, found.people.total) == (1, 1)

    def test_names_in_one_subset_are_not(self, manifest):
        people, rows = people_of(manifest, [1, 1, 0, 2])
        found = audit(manifest, people=same_people(people, manifest, rows))
        assert (found.people.count, found.people.total, found.sentence()) == (0, 1, None)

    def test_clusters_are_subjects(self, manifest):
        unknown = manifest.assign(subject=None)
        people, rows = people_of(unknown, [0, 0, 1, 1, 2, 2, 3, 3])
        clustered = unknown.assign(subject=people.names)
        found = audit(clustered, people=same_people(people, clustered, rows), subjects_clustered=True)
        assert found.level == "subject-independent by clustering"
        assert "clusters of face embeddings" in found.sentence()
        mixed = clustered.assign(split=["train", "test"] * 4)
        found = audit(mixed, people=same_people(people, mixed, rows), subjects_clustered=True)
        assert (found.level, found.people.count) == ("subject-dependent", 4)
        assert "use split=identity" in found.sentence()

    def test_left_out_frames_do_not_matter(self, manifest):
        people, rows = people_of(manifest, [0, 1, 1, 2])
        used = manifest[manifest["subject"] != "c"].reset_index(drop=True)
        kept = (manifest["subject"] != "c").to_numpy()
        left = People(people.unit[kept], people.person, people.means, 0.5, {}, None, False)
        assert same_people(left, used, rows[kept]).empty

    def test_people_in_several_corpora_are_found(self, manifest):
        """Subject a of the corpus c is subject d of another corpus, with names that mean nothing across corpora."""
        both = manifest.assign(corpus=["c"] * 6 + ["other"] * 2)
        people, rows = people_of(both, [0, 1, 2, 0])
        pairs = same_people(people, both, rows)
        assert pairs[["subject_a", "subject_b"]].to_numpy().tolist() == [["c/a", "other/d"]]
        assert audit(both, people=pairs).people.count == 1
