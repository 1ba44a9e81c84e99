"""``dataset=several``: the settings of each corpus are completed; roots are read from the user's file."""

import pytest

from fervid.cli import compose
from fervid.cli.checks import check_files
from fervid.errors import InputError


def several(corpora, *words):
    return compose("train", ["dataset=several", f"dataset.corpora={corpora}", *words]).dataset


def test_settings_of_each_corpus_are_those_of_its_option():
    found = several("{ferplus:{root:a.zip,labels:plurality},mine:{dataset:image_folder,root:B}}")
    assert found.corpora.ferplus == {
        "_partial_": True,
        "_target_": "fervid.data.CorpusDataModule",
        "corpus": "fervid.corpora.FERPlus",
        "root": "a.zip",
        "labels": "plurality",
        "features_path": None,
        "feature_columns": None,
        "max_failures": 0.1,
        "prepared_dir": None,
    }
    assert found.corpora.mine.corpus == "fervid.corpora.ImageFolder"
    assert found.margin == 0.05


def test_roots_are_read_from_the_file_of_roots(tmp_path, monkeypatch):
    file = tmp_path / "roots.yaml"
    file.write_text("ravdess: /data/RAVDESS\nferplus: FERPlus.zip\nmine: B\n")
    monkeypatch.setenv("FERVID_ROOTS", str(file))
    found = several("{ravdess:{},ferplus:{},mine:{dataset:image_folder},jaffe:{root:J}}").corpora
    roots = {name: settings.root for name, settings in found.items()}
    expected = {"ravdess": "/data/RAVDESS", "ferplus": str(tmp_path / "FERPlus.zip"), "mine": str(tmp_path / "B")}
    assert roots == expected | {"jaffe": "J"}
    assert list(several("[ravdess,ferplus]").corpora) == ["ravdess", "ferplus"]
    assert compose("train", ["dataset=ravdess"]).dataset.root == "/data/RAVDESS"
    assert compose("train", ["dataset=ravdess", "dataset.root=mine"]).dataset.root == "mine"
    assert compose("train", ["dataset=ised"]).dataset.root is None


@pytest.mark.parametrize("content", ["- ravdess\n", "ravdess: [1]\n", "a: 'b\n", "\x00"])
def test_a_damaged_file_of_roots_is_named(tmp_path, monkeypatch, content):
    file = tmp_path / "roots.yaml"
    file.write_text(content)
    monkeypatch.setenv("FERVID_ROOTS", str(file))
    with pytest.raises(InputError, match=r"FERVID_ROOTS=.*roots\.yaml .*lines such as ravdess: /data/RAVDESS"):
        compose("train", ["dataset=ravdess"])


def test_a_missing_file_of_roots_is_named_only_if_it_was_given(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compose("train", ["dataset=ravdess"]).dataset.root is None
    monkeypatch.setenv("FERVID_ROOTS", str(tmp_path / "none.yaml"))
    with pytest.raises(InputError, match=r"none\.yaml cannot be read"):
        compose("train", ["dataset=ravdess"])


@pytest.mark.parametrize(
    ("corpora", "message"),
    [
        ("null", "is not a list of corpora: give dataset.corpora=.ferplus,ravdess."),
        ("ferplus", "is not a list of corpora"),
        ("[ferplus,ferplus]", "has ferplus twice"),
        ("[ferplus,nothing]", "dataset.corpora.nothing has the unknown dataset 'nothing': choose affectnet"),
        ("[ferplus,several]", "unknown dataset 'several'"),
        ("{ferplus:a.zip,ravdess:{}}", "dataset.corpora.ferplus=a.zip is not a mapping: give settings such as .root:a"),
        ("{ferplus:{margin:0.1},ravdess:{}}", "ferplus.margin applies to all corpora: give dataset.margin"),
        ("{ferplus:{rot:a},ravdess:{}}", "ferplus.rot is unknown. Settings of ferplus: corpus, feature_columns"),
    ],
)
def test_mistakes_are_explained(corpora, message):
    with pytest.raises(InputError, match=message):
        several(corpora)


def test_a_missing_root_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = compose("train", ["dataset=several", "dataset.corpora=[ravdess,ferplus]"])
    with pytest.raises(InputError, match=r"ravdess has no root: give its folder as .ravdess:.root:<folder>.. in"):
        check_files(config)
    (tmp_path / "A").mkdir()
    words = ["dataset=several", f"dataset.corpora={{ravdess:{{root:{tmp_path / 'A'}}},ferplus:{{root:nowhere}}}}"]
    with pytest.raises(InputError, match=r"dataset\.corpora\.ferplus\.root=nowhere is not a folder"):
        check_files(compose("train", words))
