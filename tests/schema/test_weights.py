"""Leakage levels of initial weights, and the sentences on their data and terms."""

import pytest

from fervid.errors import InputError
from fervid.schema.weights import (
    WeightsInfo,
    describe_weights,
    is_research_only,
    joined,
    seen_in_pretraining,
    trained_weights_info,
    with_weights,
)

CORPORA = [{"name": "ravdess", "root": "/data/RAVDESS", "licence": "CC BY-NC-SA 4.0", "published": True}]
OWN = [{"name": "image_folder", "root": "/data/My Faces", "licence": "unknown", "published": False}]


def weights(**values):
    return {"source": "file", "requested": "/home/me/a.pth", **values}


@pytest.mark.parametrize(
    ("values", "split", "level"),
    [
        ({"emotion_labels_of": ["RAVDESS"]}, "subject-independent", "labels in pretraining"),
        ({"subjects_of": ["ravdess"]}, "subject-independent", "subjects in pretraining"),
        ({"subjects_of": ["ravdess"]}, "leaky", "leaky"),
        ({"subjects_of": ["ravdess"]}, "subject-dependent", "subject-dependent"),
        ({"emotion_labels_of": ["fer2013"]}, "subject-independent", "subject-independent"),
        ({"emotion_labels_of": ["ravdess"], "source": "random"}, "subject-independent", "subject-independent"),
    ],
)
def test_level_is_the_worse_of_split_and_weights(values, split, level):
    leakage = with_weights({"level": split, "doubts": []}, weights(**values), CORPORA)
    assert leakage["level"] == level
    assert leakage["doubts"] == []
    assert ("weights" in leakage) == bool(seen_in_pretraining(weights(**values), CORPORA))


def test_own_corpora_are_known_by_their_folder():
    assert seen_in_pretraining(weights(subjects_of=["my_faces"]), OWN) == {"subjects_of": ["my_faces"]}
    assert seen_in_pretraining(weights(subjects_of=["faces"]), OWN) == {}


def test_runs_without_recorded_weights_keep_their_level():
    assert with_weights({"level": "leaky"}, None, CORPORA) == {"level": "leaky"}


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("CC BY-NC-SA 4.0", True),
        ("VGGFace2 may be used only for non-commercial research", True),
        ("ImageNet may be used only for non-commercial research and education", True),
        ("research only", True),
        ("Apache-2.0", False),
        ("MIT", False),
        (None, False),
    ],
)
def test_terms_that_exclude_commercial_use(licence, expected):
    assert is_research_only({"licence": licence}) == expected


def test_weights_are_described_without_folders():
    sentences = describe_weights(weights(data="VGGFace2", licence="CC BY-NC 4.0"))
    assert sentences[0] == "Initial weights a.pth (file): trained on VGGFace2; licence: CC BY-NC 4.0."
    assert sentences[1].startswith("Research only")
    assert describe_weights(weights())[0].endswith("trained on unknown; licence: unknown.")
    assert describe_weights({"source": "random"}) == []


def test_trained_weights_have_the_data_of_the_run_and_of_its_initial_weights():
    initial = weights(data="VGGFace2", licence="MIT", emotion_labels_of=[], subjects_of=["lfw"])
    info = trained_weights_info({"weights": initial, "data": {"corpora": [*CORPORA, *OWN]}})
    assert info.data == "VGGFace2 and ravdess and My Faces"
    assert info.licence == "MIT; CC BY-NC-SA 4.0; unknown"
    assert info.emotion_labels_of == ["ravdess", "My Faces"]
    assert info.subjects_of == ["lfw", "ravdess", "My Faces"]


def test_corpora_are_a_list():
    with pytest.raises(InputError, match=r"weights_info.subjects_of=ravdess is not a list of names"):
        WeightsInfo(subjects_of="ravdess")


def test_weights_of_several_encoders_are_joined():
    random = {"requested": None, "source": "random"}
    face = weights(requested="a.pth", sha256="1", licence="MIT", emotion_labels_of=["ferplus"])
    voice = weights(requested="b.pth", sha256="2", licence="MIT", emotion_labels_of=["ravdess"])
    assert joined([random, face]) == face
    assert joined([random, random]) == random
    both = joined([face, voice])
    assert (both["requested"], both["sha256"], both["licence"]) == ("a.pth and b.pth", "1 and 2", "MIT")
    assert seen_in_pretraining(both, CORPORA) == {"emotion_labels_of": ["ravdess"]}
    assert joined([random, voice | {"missing": "no network"}])["missing"] == "no network"
