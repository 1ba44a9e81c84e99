"""One datamodule of several corpora with the same names of subjects and clips."""

from functools import partial

import cv2
import numpy as np
import pytest

from fervid import splits
from fervid.corpora import ImageFolder
from fervid.data import ImageFolderDataModule, SeveralDataModule, SyntheticDataModule
from fervid.data.corpus_source import CorpusSource
from fervid.data.datamodule import EmotionDataModule
from fervid.errors import InputError
from fervid.faces.detection import HaarDetector
from fervid.prepare.prepared_corpus import PreparedCorpus
from fervid.synthetic.corpus import RenderedSubjects
from fervid.synthetic.rendering import make_identity, render_clip


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


class TestSeveralDataModule:
    """Corpora that are given together: common labels, crops, grayscale and sampling."""

    @pytest.fixture
    def pictures(self, tmp_path):
        """Writes rendered faces of happiness, sadness and joy as small tight pictures, in colour or gray."""
        clip = render_clip(
            make_identity(1, 0), "happy", take=1, frames=1, width=480, height=480, face_height=300, fps=25, seed=0
        )
        left, top = (clip.eyes[0].mean(axis=0) - (105, 85)).astype(int)

        def write(name, count, *, gray, size=48):
            face = cv2.resize(clip.images[0][top : top + 210, left : left + 210], (size, size))
            for emotion in ("happiness", "sadness", "calm"):
                (tmp_path / name / emotion).mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    picture = np.clip(face.astype(int) + 4 * number, 0, 255).astype(np.uint8)
                    picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if gray else picture[..., ::-1]
                    cv2.imwrite(str(tmp_path / name / emotion / f"s{number}__a.png"), picture)
            return partial(ImageFolderDataModule, tmp_path / name, subject_pattern="(.+)__")

        return write

    @pytest.fixture
    def joined(self, pictures, tmp_path, cache):
        def make(**options):
            counts = {"mine": 12, "yours": 4}
            corpora = {name: pictures(name, count, gray=name == "mine") for name, count in counts.items()}
            split = partial(splits.leave_corpus_out, corpus="synthetic", val=0.2, seed=0)
            datamodule = SeveralDataModule(
                corpora | {"synthetic": partial(SyntheticDataModule, identities=2, clips=1, frames=1)},
                **{
                    "detector": HaarDetector(), "split": split, "image_size": 28, "batch_size": 4, "face_size": 48,
                    "cache_dir": tmp_path / "cache", **options,
                },
            )  # fmt: skip
            datamodule.prepare_data()
            datamodule.setup()
            return datamodule

        return make

    def test_corpora_keep_their_names_and_share_their_labels(self, joined):
        datamodule = joined(label_map={"calm": "neutral"})
        manifest = datamodule.manifest
        assert manifest["corpus"].value_counts().to_dict() == {"mine": 36, "yours": 12, "synthetic": 8}
        assert datamodule.class_names == ["happy", "neutral", "sad"]
        assert set(manifest.loc[manifest["corpus"] == "synthetic", "emotion"]) == {"happy", "neutral", "sad"}
        report = datamodule.label_report
        assert report.loc[report["label"] == "fear", "reason"].tolist() == ["not in all corpora"]
        assert sorted(manifest.loc[manifest["split"] == "test", "corpus"].unique()) == ["synthetic"]

    def test_small_tight_gray_pictures_are_cropped_by_their_eyes_or_used_whole(self, joined):
        manifest = joined().manifest
        own = manifest[manifest["corpus"].isin(["mine", "yours"])]
        assert len(own) == 48  # no picture is left out
        assert set(own["aligned"]) <= {"eyes", "box"}

    def test_one_gray_corpus_makes_all_gray(self, joined):
        for grayscale, expected in (("auto", True), (True, True), (False, False)):
            datamodule = joined(grayscale=grayscale)
            assert datamodule.grayscale is expected
            rows = datamodule.manifest.loc[datamodule.manifest["corpus"] == "synthetic", "cache_row"]
            faces = np.stack([datamodule.face_cache[int(row)] for row in rows])
            assert bool((faces[..., 0] == faces[..., 2]).all()) is expected

    @pytest.mark.parametrize(("temperature", "share"), [(1, 0.75), (2, 3**0.5 / (1 + 3**0.5)), (None, 0.5)])
    def test_temperature_of_sampling(self, joined, temperature, share):
        datamodule = joined(temperature=temperature, emotions=["happy", "sad"])
        samples = datamodule.samples_of("train")
        weights = datamodule.sampling_weights(samples)
        if temperature == 1:
            assert weights is None
            return
        sizes = samples["corpus"].value_counts()
        expected = sizes["mine"] ** (0 if temperature is None else 1 / temperature)
        other = sizes["yours"] ** (0 if temperature is None else 1 / temperature)
        of_mine = weights[(samples["corpus"] == "mine").to_numpy()].sum()
        assert of_mine == pytest.approx(expected / (expected + other))
        assert of_mine == pytest.approx(share, abs=0.05)
        drawn = [row for batch in datamodule.train_dataloader() for row in batch["index"].tolist()]
        assert set(drawn) <= set(samples.index)

    def test_classes_are_balanced_within_each_corpus(self, joined):
        datamodule = joined(temperature=None, sampler="balanced")
        samples = datamodule.samples_of("train")
        weights = datamodule.sampling_weights(samples)
        sums = samples.assign(weight=weights).groupby(["corpus", "emotion"])["weight"].sum()
        assert sums.groupby("corpus").sum().tolist() == pytest.approx([0.5, 0.5])
        assert sums.tolist() == pytest.approx([0.5 / 3] * 6)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"temperature": 0.5}, "temperature=0.5 is out of range"),
            ({"grayscale": "maybe"}, "grayscale=maybe is unknown"),
            ({"no_face": "skip"}, "no_face=skip is unknown"),
        ],
    )
    def test_mistakes_are_explained(self, joined, options, message):
        with pytest.raises(InputError, match=message):
            joined(**options)

    def test_names_and_numbers_of_corpora_are_checked(self, tmp_path):
        folder = partial(ImageFolderDataModule, tmp_path)
        with pytest.raises(InputError, match="at least two corpora"):
            SeveralDataModule({"a": folder})
        with pytest.raises(InputError, match="has the name 'film' for synthetic: only a corpus of your own files"):
            SeveralDataModule({"film": SyntheticDataModule, "b": folder})
        with pytest.raises(InputError, match=r"has the name '\.\./a'"):
            SeveralDataModule({"../a": folder, "b": folder})
