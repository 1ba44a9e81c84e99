import pandas as pd
import pytest
from omegaconf import OmegaConf
from sklearn.model_selection import StratifiedGroupKFold

from fervid import splits
from fervid.errors import InputError
from fervid.splits.folds import PUBLISHED_FOLDS


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


FOLDS = {"subject_kfold": {"k": 4}, "loso": {}, "published_folds": {"folds": "ravdess_6"}}


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
    number = {"subject_kfold": 4, "loso": 24, "published_folds": 6}[name]
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
    published = OmegaConf.load(PUBLISHED_FOLDS)
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
    tested = folds_of(splits.published_folds, pd.DataFrame(rows), int(folds[-1]), folds=folds)
    assert {int(name) for name in tested[0]} == first
    assert {int(name) for name in tested[-1]} == last


def test_fixed_names_who_is_in_no_fold(actors):
    options = {"fold": 0, "val": 0.2, "seed": 0}
    with pytest.raises(InputError, match=r"subject\(s\) 06 of the corpus are in no group of split.folds=enterface_5"):
        splits.published_folds(actors, folds="enterface_5", **options)
    with pytest.raises(InputError, match=r"subject\(s\) 25, Ann of the corpus .*leave them out"):
        splits.published_folds(actors.replace({"subject": {"03": "25", "04": "Ann"}}), folds="ravdess_5", **options)
    with pytest.raises(InputError, match=r"split\.folds=ravdess is not published: choose one of ravdess_5, ravdess_6"):
        splits.published_folds(actors, folds="ravdess", **options)


def test_fixed_takes_a_corpus_of_fewer_people(actors):
    few = actors[actors["subject"].isin(["01", "02", "03"])]
    assert people_of(few, splits.published_folds(few, folds="ravdess_5", fold=0, val=0.2, seed=0), "test") == {"02"}
    with pytest.raises(InputError, match="split=published_folds finds nobody of the corpus in this group"):
        splits.published_folds(few, folds="ravdess_5", fold=2, val=0.2, seed=0)
