import pandas as pd
import pytest
from omegaconf import OmegaConf
from sklearn.model_selection import StratifiedGroupKFold

from fervid import splits
from fervid.errors import InputError
from fervid.splits.folds import PUBLISHED_FOLDS


@pytest.fixture
def numbered():
    """24 subjects named by number x 3 emotions x 2 frames."""
    rows = [{"subject": f"{n:02}", "clip": f"{n}{e}", "emotion": e} for n in range(24, 0, -1) for e in "abc"]
    return pd.DataFrame(rows * 2)


def subjects_of(manifest, split, subset):
    return set(manifest.loc[split == subset, "subject"])


def folds_of(rule, manifest, number, **options):
    """Returns the test subjects of each fold; checks that subsets are disjoint and not empty."""
    tested = []
    for fold in range(number):
        split = rule(manifest, fold=fold, **{"val": 0.2, "seed": 0, **options})
        assert split.shape == (len(manifest),)
        assert split.dtype == object
        assert set(split) == {"train", "val", "test"}
        subsets = [subjects_of(manifest, split, subset) for subset in ("train", "val", "test")]
        assert sum(map(len, subsets)) == manifest["subject"].nunique()
        tested.append(subsets[2])
    assert sorted(name for subjects in tested for name in subjects) == sorted(manifest["subject"].unique())
    return tested


@pytest.mark.parametrize("k", [2, 5, 8])
def test_subject_kfold_matches_scikit_learn_and_tests_every_subject_once(manifest, k):
    tested = folds_of(splits.subject_kfold, manifest, k, k=k, seed=3)
    folds = StratifiedGroupKFold(k, shuffle=True, random_state=3)
    expected = folds.split(manifest, manifest["emotion"], manifest["subject"])
    assert tested == [set(manifest["subject"].iloc[rows]) for _, rows in expected]


def test_loso_folds_are_sorted_by_subject_number(numbered, manifest):
    assert folds_of(splits.loso, numbered, 24) == [{f"{n:02}"} for n in range(1, 25)]
    some = numbered[numbered["subject"] < "12"]
    plain = some.assign(subject=some["subject"].astype(int).astype(str))
    assert folds_of(splits.loso, plain, 11) == [{f"{n}"} for n in range(1, 12)]
    some = manifest[manifest["subject"].isin([f"s{n}" for n in range(8, 12)])]
    assert folds_of(splits.loso, some, 4) == [{f"s{n}"} for n in range(8, 12)]


FOLDS = {"subject_kfold": {"k": 4}, "loso": {}, "published_folds": {"folds": "ravdess_6"}}


@pytest.mark.parametrize("name", FOLDS)
def test_folds_depend_on_the_seed(numbered, name):
    def split(seed, val=0.2):
        return getattr(splits, name)(numbered, fold=1, val=val, seed=seed, **FOLDS[name])

    assert split(1).tolist() == split(1).tolist()
    assert subjects_of(numbered, split(1), "val") != subjects_of(numbered, split(2), "val")
    tested = [subjects_of(numbered, split(seed), "test") for seed in range(2)]
    assert (tested[0] == tested[1]) == (name != "subject_kfold")
    others = 24 - len(tested[0])
    for val in (0.1, 0.5):
        assert len(subjects_of(numbered, split(1, val), "val")) == pytest.approx(val * others, abs=1.01)


def test_validation_subjects_include_rare_emotions(numbered):
    """The most even draw is used: of the 4 subjects with c, some are in val and some in train."""
    rare = numbered[(numbered["emotion"] != "c") | numbered["subject"].isin(["05", "06", "07", "08"])]
    for seed in range(5):
        split = splits.loso(rare, fold=0, val=0.25, seed=seed)
        assert subjects_of(rare[rare["emotion"] == "c"], split[rare["emotion"] == "c"], "val") != set()
        assert (split[rare["emotion"] == "c"] == "val").sum() == 2


@pytest.mark.parametrize("name", FOLDS)
@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        ({}, {"fold": -1}, r"split\.fold=-1 is out of range: give 0 to \d"),
        ({}, {"fold": 24}, r"split\.fold=24 is out of range: give 0 to \d"),
        ({}, {"val": 0.0}, r"split\.val=0\.0 leaves train or val empty"),
        ({}, {"val": 1.0}, r"split\.val=1\.0 leaves train or val empty"),
        ({"subject": None}, {}, r"split=\w+ needs subjects, but 144 of 144 frames have none"),
    ],
)
def test_invalid_folds_are_refused(numbered, name, change, options, sentence):
    with pytest.raises(InputError, match=sentence):
        getattr(splits, name)(numbered.assign(**change), **{"fold": 0, "val": 0.2, "seed": 0, **FOLDS[name], **options})


@pytest.mark.parametrize("name", FOLDS)
def test_fold_index_range(numbered, name):
    number = {"subject_kfold": 4, "loso": 24, "published_folds": 6}[name]
    assert getattr(splits, name)(numbered, fold=number - 1, val=0.2, seed=0, **FOLDS[name]).shape == (144,)
    with pytest.raises(InputError, match=f"fold={number} is out of range: give 0 to {number - 1}"):
        getattr(splits, name)(numbered, fold=number, val=0.2, seed=0, **FOLDS[name])


@pytest.mark.parametrize("k", [1, 0, -1, 25])
def test_invalid_k_is_refused(numbered, k):
    with pytest.raises(InputError, match=f"split.k={k} is out of range: give 2 to 24, the number of subjects"):
        splits.subject_kfold(numbered, k=k, fold=0, val=0.2, seed=0)


def test_kfold_with_fewer_frames_per_emotion_than_folds():
    frames = pd.DataFrame({"subject": list("abcde"), "emotion": list("xxyyz")})
    with pytest.raises(InputError, match=r"5 frames cannot be split into split\.k=5 folds: .*smaller k"):
        splits.subject_kfold(frames, k=5, fold=0, val=0.2, seed=0)


@pytest.mark.parametrize("name", FOLDS)
def test_too_few_subjects_to_validate(numbered, name):
    two = numbered[numbered["subject"].isin(["01", "05"])]
    with pytest.raises(InputError, match=rf"split={name} leaves 1 subject\(s\) for training and validation"):
        getattr(splits, name)(
            two, fold=0, val=0.2, seed=0, **{**FOLDS[name], **({"k": 2} if "k" in FOLDS[name] else {})}
        )


# Published folds


SUBJECTS = {"ravdess_5": range(1, 25), "ravdess_6": range(1, 25), "enterface_5": sorted({*range(1, 45)} - {6})}


def test_published_folds_are_partitions():
    published = OmegaConf.load(PUBLISHED_FOLDS)
    assert set(published) == set(SUBJECTS)
    for name, subjects in SUBJECTS.items():
        assert sorted(number for group in published[name].folds for number in group) == list(subjects)
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
def test_published_folds_match_subjects_by_number(folds, width, first, last):
    rows = [{"subject": f"{n:0{width}}", "clip": f"{n}{e}", "emotion": e} for n in SUBJECTS[folds] for e in "abc"]
    tested = folds_of(splits.published_folds, pd.DataFrame(rows), int(folds[-1]), folds=folds)
    assert {int(name) for name in tested[0]} == first
    assert {int(name) for name in tested[-1]} == last


def test_published_folds_report_subjects_in_no_fold(numbered):
    options = {"fold": 0, "val": 0.2, "seed": 0}
    with pytest.raises(InputError, match=r"subject\(s\) 06 of the corpus are in no fold of split.folds=enterface_5"):
        splits.published_folds(numbered, folds="enterface_5", **options)
    with pytest.raises(InputError, match=r"subject\(s\) 25, Ann of the corpus .*exclude them"):
        splits.published_folds(numbered.replace({"subject": {"03": "25", "04": "Ann"}}), folds="ravdess_5", **options)
    with pytest.raises(InputError, match=r"split\.folds=ravdess is unknown: choose one of ravdess_5, ravdess_6"):
        splits.published_folds(numbered, folds="ravdess", **options)


def test_published_folds_accept_a_corpus_with_fewer_subjects(numbered):
    few = numbered[numbered["subject"].isin(["01", "02", "03"])]
    assert subjects_of(few, splits.published_folds(few, folds="ravdess_5", fold=0, val=0.2, seed=0), "test") == {"02"}
    with pytest.raises(InputError, match="split=published_folds finds no subject of the corpus in this fold"):
        splits.published_folds(few, folds="ravdess_5", fold=2, val=0.2, seed=0)
