"""One datamodule of several corpora with the same names of subjects and clips."""

from functools import partial

import cv2
import numpy as np
import pytest

from fervid import splits
from fervid.corpora import ImageFolder
from fervid.data.corpus_source import CorpusSource
from fervid.data.datamodule import EmotionDataModule
from fervid.errors import InputError
from fervid.prepare.prepared_corpus import PreparedCorpus
from fervid.synthetic.corpus import RenderedSubjects


@pytest.fixture
def folder(tmp_path):
    """Pictures of happiness and sadness of subjects 01 to 06, the same names as in the rendered corpus."""
    rng = np.random.default_rng(0)
    for label, emotion in enumerate(("happiness", "sadness")):
        (tmp_path / "pictures" / emotion).mkdir(parents=True)
        for subject in range(1, 7):
            picture = rng.integers(0, 60, (40, 40, 3), dtype=np.uint8)
            picture[..., label] += 150
            cv2.imwrite(str(tmp_path / "pictures" / emotion / f"{subject:02d}__{label}.png"), picture)
    return tmp_path / "pictures"


@pytest.fixture
def both(folder, tmp_path, cache):
    def make(**options):
        pictures = PreparedCorpus(
            ImageFolder(folder, subject_pattern="(.+)__"), face_size=32, folder=tmp_path / "prepared"
        )
        split = partial(splits.subject, val=0.25, test=0.25, seed=0)
        datamodule = EmotionDataModule(
            [CorpusSource({"image": pictures}), RenderedSubjects(6, 1, 1)],
            **{"split": split, "image_size": 28, "batch_size": 4, "cache_dir": tmp_path / "cache", **options},
        )
        datamodule.prepare_data()
        datamodule.setup()
        return datamodule

    return make


def test_labels_are_aligned_and_faces_match_rows(both, folder):
    datamodule = both()
    manifest = datamodule.manifest
    assert datamodule.corpus == "image_folder+synthetic"
    assert manifest["corpus"].value_counts().to_dict() == {"synthetic": 48, "image_folder": 12}
    assert datamodule.class_names == ["angry", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    own = manifest[manifest["corpus"] == "image_folder"]
    assert own["emotion"].value_counts().to_dict() == {"happy": 6, "sad": 6}
    for row, frame in own.iterrows():
        colours = datamodule.face_cache[int(manifest.loc[row, "cache_row"])].mean(axis=(0, 1))
        assert colours.argmax() == {"happy": 2, "sad": 1}[frame["emotion"]]  # OpenCV wrote BGR


def test_datamodule_is_ready_when_every_corpus_is_prepared(both):
    datamodule = both()
    pictures, rendered = datamodule.sources
    assert (pictures.is_prepared, rendered.is_prepared, datamodule.is_ready) == (True, True, True)
    (pictures.parts["image"].folder / "manifest.parquet").unlink()
    assert (pictures.is_prepared, rendered.is_prepared, datamodule.is_ready) == (False, True, False)


def test_same_subject_name_in_two_corpora_is_two_subjects(both):
    manifest = both().manifest
    subsets = manifest.groupby(["corpus", "subject"])["split"].nunique()
    assert len(subsets) == 12
    assert (subsets == 1).all()
    assert both().audit.subjects.total == 12
    assert both().audit.subjects.count == 0


def test_each_corpus_is_described(both):
    datamodule = both()
    assert [about["name"] for about in datamodule.corpora] == ["image_folder", "synthetic"]
    assert datamodule.rendered
    assert datamodule.subjects_from == "file names (dataset.subject_pattern)"
    assert "6 of 6 subjects" not in " ".join(datamodule.audit.doubts)
    assert datamodule.audit.doubts == []  # the rendered s01, s02, ... are verified
    assert datamodule.audit.level == "subject-independent by name"


def test_same_corpus_twice_is_an_error():
    with pytest.raises(InputError, match="synthetic, synthetic cannot be combined"):
        EmotionDataModule([RenderedSubjects(), RenderedSubjects()])
    with pytest.raises(InputError, match="cannot be combined"):
        EmotionDataModule([])
