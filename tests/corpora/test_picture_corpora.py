"""FER2013, CK+, JAFFE, KDEF, RAF-DB and AffectNet, in their real layouts."""

import zipfile
from functools import partial

import numpy as np
import pytest
from rendered_corpora.pictures import (
    draw,
    write_affectnet_arrays,
    write_affectnet_tables,
    write_ck_plus,
    write_pictures,
    write_pixels,
)

from fervid import splits
from fervid.corpora import FER2013, JAFFE, KDEF, RAFDB, AffectNet, CKPlus
from fervid.corpora.affectnet import TRAIN
from fervid.corpora.ck_plus import SEQUENCES
from fervid.corpora.fer2013 import COUNTS as FER2013_COUNTS
from fervid.corpora.jaffe import COUNTS as JAFFE_COUNTS
from fervid.corpora.raf_db import COUNTS as RAF_DB_COUNTS
from fervid.data import CorpusDataModule
from fervid.errors import InputError
from fervid.media.decoding import read_picture
from fervid.prepare.prepared_corpus import PreparedCorpus

BOX = (8, 8, 80, 80)


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, file.relative_to(folder))
    return path


def columns(corpus, *names):
    clips = corpus.inventory.clips
    return {row[0]: row[1:] for row in clips[["clip", *names]].itertuples(index=False, name=None)}


def sentences(corpus):
    return " ".join(corpus.inventory.sentences())


def test_published_numbers_of_pictures():
    assert sum(FER2013_COUNTS.values()) == 35_887
    assert sum(SEQUENCES.values()) == 327
    assert sum(JAFFE_COUNTS.values()) == 213
    assert sum(KDEF("kdef", views=["FL", "HL", "S", "HR", "FR"]).counts.values()) == 4900
    assert sum(RAF_DB_COUNTS.values()) == 15_339
    assert sum(TRAIN) == 287_651


@pytest.mark.parametrize("corpus", [FER2013, CKPlus, JAFFE, KDEF, RAFDB, AffectNet])
def test_empty_folders_and_unknown_emotions_are_refused(tmp_path, corpus):
    with pytest.raises(InputError, match=r"^(no clips of|dataset\.root=)"):
        _ = corpus(tmp_path).inventory
    with pytest.raises(InputError, match="'bored' is unknown"):
        corpus(tmp_path, emotions=["happy", "bored"])


# FER2013


@pytest.mark.parametrize("name", ["fer2013.csv", "icml_face_data.csv"])
@pytest.mark.parametrize("in_zip", [False, True])
def test_fer2013_is_read_from_its_table(tmp_path, name, in_zip):
    rows = [(0, "Training"), (3, "Training"), (6, "PublicTest"), (4, "PrivateTest")]
    pictures = write_pixels(tmp_path / "raw" / name, rows, blanks=name.startswith("icml"))
    corpus = FER2013(zipped(tmp_path / "raw", tmp_path / "archive.zip") if in_zip else tmp_path / "raw")
    assert columns(corpus, "emotion", "predefined_split", "subject") == {
        "fer0000000": ("angry", "train", None),
        "fer0000001": ("happy", "train", None),
        "fer0000002": ("neutral", "val", None),
        "fer0000003": ("sad", "test", None),
    }
    for picture, source in zip(pictures, corpus.sources(), strict=True):
        np.testing.assert_array_equal(read_picture(source)[..., 0], picture)
    assert "train: 2 of 28709 pictures were found. val: 1 of 3589" in sentences(corpus)


def test_fer2013_bad_rows_and_tables(tmp_path):
    path = tmp_path / "fer2013.csv"
    write_pixels(path, [(0, "Training"), (7, "Training"), ("", "Training"), (3, "Training")])
    write_pictures(tmp_path, ["train/angry/Training_1.jpg"])
    (tmp_path / "train.csv").write_text("emotion,pixels\n")
    inventory = FER2013(tmp_path).inventory
    assert inventory.clips["emotion"].tolist() == ["angry", "happy"]
    assert inventory.dropped.to_numpy().tolist() == [
        ["fer2013.csv/1", "emotion code 7 is unknown"],
        ["fer2013.csv/2", "emotion code '' is unknown"],
    ]
    assert [path for path, _ in inventory.left_out] == ["train.csv", "train/angry/Training_1.jpg"]
    assert len(list(FER2013(tmp_path, emotions=["anger", "happiness"]).sources())) == 2
    path.write_text(path.read_text().replace("Training", "Practice"))
    with pytest.raises(InputError, match=r"has the Usage 'Practice': use Training, PublicTest, PrivateTest"):
        _ = FER2013(tmp_path).inventory
    path.write_text("emotion,Usage\n0,Training\n")
    with pytest.raises(InputError, match=r"^fer2013\.csv has the columns emotion, Usage, but no pixels"):
        _ = FER2013(tmp_path).inventory


def test_fer2013_folders_keep_the_official_subsets_in_the_names(tmp_path):
    names = ["train/angry/Training_3908.jpg", "test/happy/PublicTest_1.jpg", "test/happy/PrivateTest_1.jpg"]
    write_pictures(tmp_path / "raw", [*names, "happy/x.jpg", "train/bored/x.jpg"])
    corpus = FER2013(tmp_path / "raw")
    assert columns(corpus, "emotion", "predefined_split") == {
        names[0]: ("angry", "train"),
        names[1]: ("happy", "val"),
        names[2]: ("happy", "test"),
    }
    assert "not in a folder such as train/angry, left out: 2 (first: happy/x.jpg)" in sentences(corpus)
    write_pictures(tmp_path / "other", ["train/angry/1.jpg", "test/happy/1.jpg"])
    assert "test: 1 of 7178 pictures were found" in sentences(FER2013(tmp_path / "other"))


def test_fer2013_is_split_as_published(tmp_path):
    write_pixels(
        tmp_path / "raw" / "fer2013.csv",
        [(code, usage) for usage in ("Training", "PublicTest", "PrivateTest") for code in (0, 3) for _ in range(3)],
    )
    datamodule = CorpusDataModule(
        FER2013,
        root=tmp_path / "raw",
        face_size=48,
        image_size=28,
        batch_size=4,
        cache_dir=tmp_path / "cache",
        split=partial(splits.predefined, val=0.2, seed=0),
    )
    datamodule.prepare_data()
    datamodule.setup()
    assert datamodule.manifest["split"].tolist() == ["train"] * 6 + ["val"] * 6 + ["test"] * 6
    assert datamodule.audit.level in ("unknown-subjects", "leaky")  # a few rendered people show the same picture


# CK+


@pytest.fixture
def ck_plus(tmp_path):
    """Two labelled sequences and one without a label."""
    sequences = {
        ("S005", "001"): (6, "   3.0000000e+00\n"),
        ("S010", "002"): (4, "   7.0000000e+00\n"),
        ("S010", "003"): (4, None),
    }
    root = write_ck_plus(tmp_path / "CK+", sequences)
    (root / "FACS").mkdir()
    (root / "FACS" / "S005_001_00000006_facs.txt").write_text("9 0")
    return root


def test_ck_plus_last_frames_have_the_label_of_the_sequence(ck_plus, tmp_path):
    corpus = CKPlus(ck_plus)
    expected = {f"S005_001_{frame:08d}": ("disgust", "S005", "S005_001") for frame in (4, 5, 6)}
    expected |= {f"S010_002_{frame:08d}": ("surprise", "S010", "S010_002") for frame in (2, 3, 4)}
    assert columns(corpus, "emotion", "subject", "recording") == expected
    assert corpus.inventory.expected["disgust"] == 3 * 59
    assert "sequences without a label, which are not used: 1 (first: S010_003)" in sentences(corpus)
    assert "subjects with labels: 2 of 118." in sentences(corpus)
    assert columns(CKPlus(zipped(ck_plus, tmp_path / "ck.zip")), "emotion", "subject", "recording") == expected


def test_ck_plus_first_frames_may_be_neutral(ck_plus):
    inventory = CKPlus(ck_plus, peak_frames=1, neutral_frames=2).inventory
    assert inventory.clips["clip"].str[-1].tolist() == ["1", "2", "6", "1", "2", "4"]
    assert inventory.clips["emotion"].tolist() == ["neutral", "neutral", "disgust", "neutral", "neutral", "surprise"]
    assert inventory.expected["neutral"] == 2 * 327
    # The peak of a short sequence is never neutral.
    assert CKPlus(ck_plus, neutral_frames=2).inventory.clips["emotion"].tolist().count("neutral") == 3
    for option, value in (("peak_frames", 0), ("neutral_frames", -1), ("peak_frames", 1.5)):
        with pytest.raises(InputError, match=rf"dataset\.{option}={value} is not a number of frames"):
            CKPlus(ck_plus, **{option: value})


def test_ck_plus_bad_labels_and_sequences_are_reported(ck_plus):
    for sequence, text in (("004", "9"), ("005", "happy"), ("006", "nan")):
        write_ck_plus(ck_plus, {("S010", sequence): (3, text)})
    write_ck_plus(ck_plus, {("S011", "001"): (4, "1.0")})
    (ck_plus / "cohn-kanade-images/S011/001/S011_001_00000004.png").unlink()
    folder = ck_plus / "Emotion" / "S012" / "001"
    folder.mkdir(parents=True)
    (folder / "S012_001_00000009_emotion.txt").write_text("1.0")
    write_pictures(ck_plus, ["CK+48/anger/S005_001_00000006.png"])
    corpus = CKPlus(ck_plus)
    assert corpus.inventory.dropped["reason"].tolist() == [
        "emotion code '9' is unknown",
        "emotion code 'happy' is unknown",
        "emotion code 'nan' is unknown",
        "the last frame of the sequence is missing",
    ]
    assert "labelled sequences without pictures: 1 (first: S012_001)" in sentences(corpus)
    assert "not in a folder such as S005/001, left out: 1 (first: CK+48/anger/" in sentences(corpus)
    assert len(corpus.inventory.clips) == 6


def test_ck_plus_copies_of_48_pixels(tmp_path):
    names = [
        f"CK+48/{emotion}/S010_{sequence}_{frame:08d}.png"
        for sequence, emotion in (("000", "anger"), ("001", "happy"))
        for frame in (15, 16, 17)
    ]
    root = write_pictures(tmp_path / "folders", [*names, "CK+48/bored/S010_004_00000001.png", "CK+48/anger/x.png"])
    corpus = CKPlus(root)
    assert corpus.inventory.clips["emotion"].tolist() == ["anger"] * 3 + ["happy"] * 3
    assert set(corpus.inventory.clips["subject"]) == {"S010"}
    assert len(corpus.inventory.left_out) == 2
    last = CKPlus(root, peak_frames=1, neutral_frames=1).inventory.clips
    assert columns(CKPlus(root, peak_frames=1), "emotion") == {
        "S010_000_00000017": ("anger",),
        "S010_001_00000017": ("happy",),
    }
    assert "neutral" not in set(last["emotion"])
    rows = [(7, "Training"), (6, "Training"), (9, "PublicTest"), (3, "PrivateTest")]
    pictures = write_pixels(tmp_path / "table" / "ckextended.csv", rows)
    table = CKPlus(tmp_path / "table")
    assert table.inventory.clips["emotion"].tolist() == ["contempt", "happy"]
    assert table.inventory.clips["predefined_split"].tolist() == ["train", "test"]
    assert table.inventory.dropped["reason"].tolist() == ["emotion code 9 is unknown"]
    np.testing.assert_array_equal([read_picture(source)[..., 0] for source in table.sources()], pictures[::3])
    assert CKPlus(tmp_path / "table", neutral_frames=1).inventory.expected["neutral"] == 593


# JAFFE and KDEF


def test_jaffe_is_read_from_its_names(tmp_path):
    names = ["KA.AN1.39.tiff", "KA.HA2.30.tiff", "YM.SU3.60.tiff"]
    write_pictures(tmp_path, [f"jaffe/{name}" for name in [*names, "ka.an1.39.tiff", "XX.AN1.1.tiff", "KA.XX1.1.tiff"]])
    corpus = JAFFE(tmp_path)
    assert columns(corpus, "subject", "emotion", "take") == {
        "KA.AN1.39": ("KA", "angry", 1),
        "KA.HA2.30": ("KA", "happy", 2),
        "YM.SU3.60": ("YM", "surprise", 3),
    }
    assert corpus.inventory.expected["fear"] == 32
    assert "without a JAFFE file name, left out: 2" in sentences(corpus)
    assert "duplicates, left out: 1" in sentences(corpus)
    assert "subjects missing: 8 of 10 (first: KL)." in sentences(corpus)
    assert len(JAFFE(zipped(tmp_path / "jaffe", tmp_path / "jaffe.zip")).inventory.clips) == 3


def test_kdef_subjects_are_the_same_in_both_sessions(tmp_path):
    names = ["AF01ANS.JPG", "BF01AFS.JPG", "AM35SUS.JPG", "AF01ANFL.JPG", "AF01ANHR.JPG"]
    write_pictures(tmp_path, [f"KDEF/{name[:4]}/{name}" for name in [*names, "AF36ANS.JPG", "AF31V.JPG"]])
    corpus = KDEF(tmp_path)
    assert columns(corpus, "subject", "emotion", "sex", "session", "view") == {
        "AF01ANS": ("F01", "angry", "female", "A", "straight"),
        "AM35SUS": ("M35", "surprised", "male", "A", "straight"),
        "BF01AFS": ("F01", "afraid", "female", "B", "straight"),
    }
    assert corpus.inventory.expected == dict.fromkeys(corpus.counts, 140)
    assert "without a KDEF file name, left out: 2" in sentences(corpus)
    assert "subjects missing: 68 of 70" in sentences(corpus)
    assert "subjects incomplete: 2 (F01 has 2 of 14 clips" in sentences(corpus)
    assert set(KDEF(tmp_path, views=["FL", "S"], emotions=["fear", "angry"]).inventory.clips["view"]) == {
        *("straight", "full left profile")
    }
    for views in ("S", [], ["X"]):
        with pytest.raises(InputError, match=r"dataset\.views=.* give a list such as \[S\] of FL, HL, S, HR, FR"):
            KDEF(tmp_path, views=views)


# RAF-DB


@pytest.fixture
def raf_db(tmp_path):
    """The published layout, with an original picture beside the aligned ones."""
    root = tmp_path / "basic"
    names = ["train_00001", "train_00002", "train_00003", "test_0001"]
    write_pictures(root / "Image" / "aligned", [f"{name}_aligned.jpg" for name in names])
    write_pictures(root / "Image" / "original", ["train_00001.jpg"])
    (root / "EmoLabel").mkdir()
    (root / "EmoLabel" / "list_patition_label.txt").write_text(
        "train_00001.jpg 5\ntrain_00002.jpg 4\ntrain_00003.jpg 9\ntrain_00004.jpg 1\ntest_0001.jpg 7\n"
    )
    return root


def test_raf_db_is_read_from_its_list(raf_db):
    write_pictures(raf_db.parent, ["compound/Image/aligned/train_00009_aligned.jpg"])
    write_pictures(raf_db / "Image" / "aligned", ["train_00077_aligned.jpg"])
    corpus = RAFDB(raf_db.parent)
    assert columns(corpus, "emotion", "predefined_split", "subject") == {
        "train_00001": ("sadness", "train", None),
        "train_00002": ("happiness", "train", None),
        "test_0001": ("neutral", "test", None),
    }
    assert corpus.inventory.missing == ["train_00004"]
    assert corpus.inventory.dropped["reason"].tolist() == ["emotion code '9' is unknown"]
    reasons = [reason for _, reason in corpus.inventory.left_out]
    assert "of the compound part" in reasons
    assert "not an aligned picture such as train_00001_aligned.jpg" in reasons
    assert "without a label in basic/EmoLabel/list_patition_label.txt" in reasons
    assert "train: 2 of 12271 pictures were found." in sentences(corpus)


def test_raf_db_bad_lists_are_refused(raf_db):
    path = raf_db / "EmoLabel" / "list_patition_label.txt"
    for content, sentence in (("a b c\n", "has 3 columns: a picture and"), ("", r"cannot be read \(")):
        path.write_text(content)
        with pytest.raises(InputError, match=rf"^EmoLabel/list_patition_label\.txt {sentence}"):
            _ = RAFDB(raf_db).inventory


def test_raf_db_copies_have_numbered_folders(tmp_path):
    write_pictures(
        tmp_path,
        [f"DATASET/{path}_aligned.jpg" for path in ("train/1/train_00001", "train/8/train_00002", "test/6/test_0001")],
    )
    (tmp_path / "train_labels.csv").write_text("image,label\n")
    corpus = RAFDB(tmp_path)
    assert columns(corpus, "emotion", "predefined_split") == {
        "test_0001": ("anger", "test"),
        "train_00001": ("surprise", "train"),
    }
    assert corpus.inventory.dropped["reason"].tolist() == ["emotion code '8' is unknown"]


# AffectNet

FACES = {
    "training.csv": [
        ("1/a.jpg", BOX, 1, 0.8, 0.1),
        ("1/b.jpg", BOX, 7, -0.5, 0.4),
        ("2/a.jpg", BOX, 10, -2, -2),
        ("2/c.jpg", BOX, 0, -2, 0.5),
        ("2/d.jpg", (0, 0, -1, -1), 0, 0, 0),
        ("2/e.jpg", BOX, 12, 0, 0),
    ],
    "validation.csv": [("3/a.jpg", BOX, 6, -0.5, 0.9)],
}


def test_affectnet_is_read_from_its_tables(tmp_path):
    root = write_affectnet_tables(tmp_path / "raw", FACES)
    write_pictures(root / "Automatically_Annotated_Images", ["9/z.jpg"])
    (root / "Manually_Annotated_Images" / "2" / "e.jpg").unlink()
    corpus = AffectNet(root)
    found = columns(corpus, "emotion", "predefined_split", "valence", "arousal")
    assert {clip: row[:2] for clip, row in found.items()} == {
        "1/a.jpg": ("happy", "train"),
        "1/b.jpg": ("contempt", "train"),
        "2/c.jpg": ("neutral", "train"),
        "3/a.jpg": ("anger", "test"),
    }
    assert found["1/b.jpg"][2:] == (-0.5, 0.4)
    assert np.isnan(found["2/c.jpg"][2])
    assert corpus.inventory.faces[0].box == BOX
    assert corpus.inventory.dropped["reason"].tolist() == ["no face box", "no such picture"]
    assert "not a face, left out: 1 (first: 2/a.jpg)" in sentences(corpus)
    assert "not listed in training.csv or validation.csv, left out: 1" in sentences(corpus)
    assert "without valence and arousal from -1 to 1: 1 (first: 2/c.jpg)" in sentences(corpus)
    seven = AffectNet(root, classes=7)
    assert set(seven.inventory.clips["emotion"]) == {"happy", "neutral", "anger"}
    assert "train: 2 of 283901 pictures" in sentences(seven)
    manifest = PreparedCorpus(corpus, face_size=48, margin=0, max_failures=1, folder=tmp_path / "made").frames()
    assert manifest[["valence", "box_left", "aligned"]].iloc[0].tolist() == [0.8, 8, "box"]


def test_affectnet_is_read_from_arrays_of_text_or_numbers(tmp_path):
    root = write_affectnet_arrays(
        tmp_path,
        {
            "train_set": [(0, "1", "0.5", "-0.1"), (1, 2.0, 0.5, 0.1), (2, b"7", "0", "0"), (3, [1, 2], "0", "0")],
            "val_set": [(0, np.int64(6), "-0.5", "-5")],
        },
    )
    write_pictures(root, ["train_set/images/9.jpg"])
    (root / "train_set" / "annotations" / "1_val.npy").unlink()
    corpus = AffectNet(root)
    found = columns(corpus, "emotion", "predefined_split", "valence")
    assert {clip: row[:2] for clip, row in found.items()} == {
        "train_set/0": ("happy", "train"),
        "train_set/1": ("sad", "train"),
        "train_set/2": ("contempt", "train"),
        "val_set/0": ("anger", "test"),
    }
    assert found["train_set/0"][2] == 0.5
    assert np.isnan(found["train_set/1"][2])
    assert corpus.inventory.faces is None
    assert corpus.inventory.dropped.to_numpy().tolist() == [["train_set/images/3.jpg", "emotion code '' is unknown"]]
    assert "without a label such as train_set/annotations/0_exp.npy, left out: 1" in sentences(corpus)


def test_affectnet_arrays_that_need_pickle_are_refused(tmp_path):
    root = write_affectnet_arrays(tmp_path, {"train_set": [(0, "1", "0", "0")], "val_set": [(0, "1", "0", "0")]})
    np.save(root / "val_set" / "annotations" / "0_exp.npy", np.array({"a": 1}, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"^val_set/annotations/0_exp\.npy .* would need pickle, which can run any"):
        _ = AffectNet(root).inventory
    (root / "val_set" / "annotations" / "0_exp.npy").write_bytes(b"damaged")
    with pytest.raises(InputError, match="pickle"):
        _ = AffectNet(root).inventory


def test_affectnet_options_and_tables_are_checked(tmp_path):
    with pytest.raises(InputError, match=r"dataset\.classes=6 cannot be used: give 8, or 7 without contempt"):
        AffectNet(tmp_path, classes=6)
    (tmp_path / "training.csv").write_text("a.jpg,1,2\n")
    with pytest.raises(InputError, match=r"^training\.csv has the columns .*, but no subDirectory_filePath"):
        _ = AffectNet(tmp_path).inventory


@pytest.mark.parametrize(
    ("corpus", "paths"),
    [
        (JAFFE, ["KA.AN1.39.tiff", "KL.HA2.30.tiff"]),
        (KDEF, ["AF01ANS.JPG", "AM02HAS.JPG"]),
        (RAFDB, ["train/1/train_00001_aligned.jpg", "test/4/test_0001_aligned.jpg"]),
    ],
)
def test_pictures_are_prepared(tmp_path, corpus, paths):
    write_pictures(tmp_path / "raw", paths, draw(size=64))
    made = PreparedCorpus(corpus(tmp_path / "raw"), face_size=32, folder=tmp_path / "made")
    assert len(made.frames()) == 2
