from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from rendered_corpora.ferplus import FERPLUS_CATEGORIES, write_ferplus

from fervid import splits
from fervid.corpora.ferplus import COUNTS, EMOTIONS, PICTURES, FERPlus
from fervid.data import FERPlusDataModule
from fervid.errors import InputError
from fervid.media.decoding import read_picture
from fervid.media.sources import read_bytes
from fervid.schema.columns import grouping_columns

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "ferplus" / "FERPlus.zip"
VOTES = [f"votes_{name}" for name in FERPLUS_CATEGORIES]

# Votes on neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, NF; the label by each rule.
RULES = [
    ((8, 0, 0, 1, 1, 0, 0, 0, 0, 0), "neutral", "neutral", "neutral"),
    # Single votes do not count: 4 of 7 are more than half, although 4 of 10 are not.
    ((4, 1, 1, 3, 1, 0, 0, 0, 0, 0), "neutral", "neutral", "neutral"),
    ((5, 0, 5, 0, 0, 0, 0, 0, 0, 0), None, "neutral", None),  # a tie; the first emotion in the published order
    ((0, 0, 2, 0, 5, 0, 3, 0, 0, 0), None, "anger", "anger"),  # exactly half; anger and fear have three quarters
    ((4, 2, 2, 2, 0, 0, 0, 0, 0, 0), None, None, "neutral"),  # four emotions
    ((3, 0, 3, 0, 0, 0, 3, 0, 0, 1), None, "neutral", None),  # three emotions
    ((0, 6, 0, 0, 0, 0, 0, 0, 4, 0), "happiness", "happiness", "happiness"),
    (
        (0, 4, 0, 3, 0, 0, 0, 0, 3, 0),
        None,
        "happiness",
        "happiness",
    ),  # unknown ties with sadness
    ((0, 4, 0, 2, 0, 0, 0, 0, 4, 0), None, None, None),  # unknown ends the collection at 4 of 10 votes
    ((0, 2, 0, 1, 0, 0, 0, 0, 7, 0), None, None, None),  # unknown
    ((0, 0, 0, 2, 0, 0, 0, 0, 0, 8), None, None, None),  # not a face
    ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1), None, None, None),
]


@pytest.mark.parametrize("layout", ["folders", "zip", "csv"])
def test_all_layouts_give_the_same_corpus(tmp_path, layout):
    table = write_ferplus(tmp_path, layout=layout)
    corpus = FERPlus(tmp_path / "FERPlus.zip" if layout == "zip" else tmp_path)
    clips = corpus.inventory.clips.set_index("clip").loc[table["clip"]]
    assert clips["emotion"].tolist() == table["emotion"].tolist()
    assert clips["subject"].isna().all()
    assert clips["predefined_split"].tolist() == ["train"] * 12 + ["val"] * 6 + ["test"] * 6
    pd.testing.assert_frame_equal(clips[VOTES].reset_index(drop=True), table[VOTES], check_dtype=False)
    assert corpus.rendered
    pictures = [read_picture(source) for source in corpus.sources()]
    write_ferplus(tmp_path / "other")
    by_clip = dict(zip(corpus.inventory.clips["clip"], pictures, strict=True))
    for clip, folder in zip(table["clip"], table["folder"], strict=True):
        expected = cv2.imread(str(tmp_path / "other" / folder / f"{clip}.png"))
        np.testing.assert_array_equal(by_clip[clip], expected)


@pytest.mark.parametrize("rule", ["majority", "probability", "plurality"])
def test_labels_follow_the_rules(tmp_path, rule):
    table = write_ferplus(tmp_path, counts=(len(RULES), 0, 3), votes=[row[0] for row in RULES])
    inventory = FERPlus(tmp_path, labels=rule).read()
    labels = inventory.clips.set_index("clip")["emotion"].to_dict()
    expected = [row[1 + ("majority", "probability", "plurality").index(rule)] for row in RULES]
    assert [labels.get(clip) for clip in table["clip"][: len(RULES)]] == expected
    left_out = pd.DataFrame(inventory.left_out, columns=["path", "reason"])
    assert len(left_out) + inventory.dropped["path"].size == expected.count(None)
    assert (left_out["reason"] == "not a face by the votes").sum() == 1
    assert any(sentence.startswith("unknown emotion by the votes, left out: 1") for sentence in inventory.sentences())


def test_probability_applies_to_training_alone(tmp_path):
    tie = (5, 0, 5, 0, 0, 0, 0, 0, 0, 0)
    table = write_ferplus(tmp_path, counts=(4, 4, 4), votes=[tie] * 12)
    with pytest.raises(InputError, match=r"no clips of ferplus .* has more than half of the votes, left out: 12"):
        _ = FERPlus(tmp_path).inventory
    clips = FERPlus(tmp_path, labels="probability").inventory.clips
    assert clips["clip"].tolist() == table["clip"][:4].tolist()


def test_emotions_are_selected_and_counted(tmp_path):
    write_ferplus(tmp_path, emotions=("neutral", "happiness", "contempt"))
    inventory = FERPlus(tmp_path, emotions=["happy", "neutral"]).inventory
    assert inventory.clips["emotion"].value_counts().to_dict() == {"neutral": 8, "happiness": 8}
    assert inventory.expected == {"neutral": 10_996, "happiness": 9_038}
    assert inventory.sentences() == [
        "train: 12 of 28558 pictures with votes were found.",
        "val: 6 of 3579 pictures with votes were found.",
        "test: 6 of 3573 pictures with votes were found.",
    ]


def test_missing_pictures_and_tables_are_reported(tmp_path):
    table = write_ferplus(tmp_path)
    (tmp_path / "FER2013Train" / "fer0000001.png").unlink()  # listed in label.csv
    (tmp_path / "FER2013Valid" / "label.csv").unlink()
    rows = (tmp_path / "FER2013Test" / "label.csv").read_text().splitlines()
    (tmp_path / "FER2013Test" / "label.csv").write_text("\n".join(rows[1:-1]))
    (tmp_path / "FER2013Test" / "fer0000018.png").unlink()  # listed in fer2013new.csv alone
    (tmp_path / "FER2013Train" / "deep").mkdir()
    cv2.imwrite(str(tmp_path / "FER2013Train" / "deep" / "x.png"), np.zeros((48, 48), np.uint8))
    inventory = FERPlus(tmp_path).read()
    assert inventory.dropped.to_numpy().tolist() == [["FER2013Train/fer0000001", "no such picture"]]
    assert inventory.missing == ["fer0000018", "fer0000023"]
    assert set(table["clip"]) - set(inventory.clips["clip"]) == {"fer0000001", "fer0000018", "fer0000023"}
    sentences = " ".join(inventory.sentences())
    assert "not in a folder such as FER2013Train" in sentences
    assert "without votes in FER2013Test, left out: 1 (first: FER2013Test/fer0000023.png)" in sentences
    assert "folders without label.csv, with votes from fer2013new.csv: 1 (first: FER2013Valid)" in sentences
    assert "clips missing: 2 of 31373 (fer0000018, fer0000023)" in sentences
    (tmp_path / "fer2013new.csv").unlink()
    with pytest.raises(InputError, match=r"^FER2013Valid has no label\.csv, and there is no fer2013new\.csv: add "):
        FERPlus(tmp_path).read()


def test_other_votes_in_the_published_file_are_reported(tmp_path):
    write_ferplus(tmp_path)
    file = tmp_path / "FER2013Train" / "label.csv"
    file.write_text(file.read_text().replace("6,4,0,0,0,0,0,0,0,0", "9,0,0,0,0,0,0,0,1,0", 1))
    inventory = FERPlus(tmp_path).read()
    assert inventory.clips.set_index("clip").loc["fer0000000", "votes_neutral"] == 9
    assert any("with other votes in fer2013new.csv; those in label.csv are used: 1" in each for each in inventory.notes)


def test_bad_votes_are_left_out_with_a_reason(tmp_path):
    zeros = (0,) * 10
    write_ferplus(tmp_path, votes=[zeros])
    file = tmp_path / "FER2013Train" / "label.csv"
    lines = file.read_text().splitlines()
    for line, votes in ((1, "many,1,0,0,0,0,0,0,0,9"), (2, "-1,1,0,0,0,0,0,0,0,9"), (3, "1.5,1,0,0,0,0,0,0,0,9")):
        lines[line] = f'fer000000{line}.png,"(0, 0, 48, 48)",{votes}'
    lines[4] = 'fer0000004.png,"(0, 0, 48, 48)",1,9'
    file.write_text("\n".join(lines))
    dropped = FERPlus(tmp_path).read().dropped
    assert dropped["path"].tolist() == [f"FER2013Train/fer000000{number}.png" for number in range(5)]
    assert dropped["reason"].tolist() == ["no votes"] + ["votes are not whole numbers"] * 4


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("FER2013Train/label.csv", "a.png,1,2", r"FER2013Train/label\.csv has 3 columns: a name, a box and 10 numbers"),
        ("FER2013Train/label.csv", "", r"FER2013Train/label\.csv cannot be read \("),
        ("FER2013Train/label.csv", b"\xff\xfe\x00", r"FER2013Train/label\.csv cannot be read \("),
        (
            "fer2013new.csv",
            "Usage,Image name,neutral\n",
            r"fer2013new\.csv has the columns .*, but no happiness",
        ),
    ],
)
def test_bad_tables_are_refused_in_one_sentence(tmp_path, name, content, sentence):
    write_ferplus(tmp_path)
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=sentence):
        FERPlus(tmp_path).read()


def test_pixel_tables_are_checked(tmp_path):
    write_ferplus(tmp_path, layout="csv", votes=[(0,) * 9 + (10,)])
    pixels, votes = tmp_path / "fer2013.csv", tmp_path / "fer2013new.csv"
    inventory = FERPlus(tmp_path).read()
    assert inventory.left_out == [("fer2013.csv/0", "not a face by the votes")]  # has no name in the published file
    lines = pixels.read_text().splitlines()
    for line, bad in ((2, "1 2 3"), (3, "x " * 48**2), (4, "256 " * 48**2)):
        lines[line] = f"0,{bad},Training"
    pixels.write_text("\n".join(lines))
    pictures = list(FERPlus(tmp_path).sources())
    assert [len(picture) > 0 for picture in pictures] == [False] * 3 + [True] * 20
    pixels.write_text("\n".join([*lines[:-1], f"0,{'1' * 200_000},PrivateTest"]))
    with pytest.raises(InputError, match=r"^fer2013\.csv cannot be read \(field larger than field limit"):
        list(FERPlus(tmp_path).sources())
    pixels.write_text("\n".join(lines[:-1]))
    with pytest.raises(InputError, match=r"^fer2013\.csv has 23 rows, and fer2013new\.csv has 24 rows or others"):
        FERPlus(tmp_path).read()
    pixels.write_text("\n".join(lines).replace("Training", "Practice"))
    votes.write_text(votes.read_text().replace("Training", "Practice"))
    with pytest.raises(InputError, match=r"has the Usage 'Practice': use Training, PublicTest, PrivateTest"):
        FERPlus(tmp_path).read()
    pixels.write_text("emotion,Usage\n")
    with pytest.raises(InputError, match=r"^fer2013\.csv has the columns emotion, Usage, but no pixels"):
        FERPlus(tmp_path).read()
    votes.unlink()
    with pytest.raises(InputError, match=r"has neither pictures in folders such as FER2013Train, nor both"):
        FERPlus(tmp_path).read()


def test_invalid_options_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"dataset\.labels=mean is unknown: choose majority, probability or plurality"):
        FERPlus(tmp_path, labels="mean")
    with pytest.raises(InputError, match=r"needs dataset\.root=<folder>"):
        FERPlus(None)
    (tmp_path / "a").mkdir()
    cv2.imwrite(str(tmp_path / "a" / "x.png"), np.zeros((48, 48), np.uint8))
    with pytest.raises(InputError, match="but none in a folder such as FER2013Train"):
        FERPlus(tmp_path).read()


@pytest.mark.parametrize("layout", ["zip", "csv"])
def test_official_subsets_are_the_predefined_split(tmp_path, layout):
    table = write_ferplus(tmp_path / "raw", layout=layout)
    datamodule = FERPlusDataModule(
        tmp_path / "raw",
        face_size=48,
        image_size=28,
        batch_size=4,
        cache_dir=tmp_path / "cache",
        split=partial(splits.predefined, val=0.2, seed=0),
    )
    datamodule.prepare_data()
    datamodule.setup()
    manifest = datamodule.manifest
    assert dict(zip(manifest["clip"], manifest["split"], strict=True)) == dict(
        zip(table["clip"], ["train"] * 12 + ["val"] * 6 + ["test"] * 6, strict=True)
    )
    assert manifest[VOTES].to_numpy().sum() == 240
    assert datamodule.audit.level == "unknown-subjects"
    assert not set(grouping_columns(manifest)) & set(VOTES)
    assert len(next(iter(datamodule.train_dataloader()))["image"]) == 4


@pytest.mark.skipif(not SHARED.exists(), reason=f"no real corpus: {SHARED}")
def test_real_corpus_is_read_from_its_zip():
    corpus = FERPlus(SHARED)
    inventory = corpus.inventory
    found = inventory.clips["emotion"].value_counts().to_dict()
    assert found == inventory.expected == dict(zip(EMOTIONS, COUNTS["majority"], strict=True))
    assert inventory.clips["predefined_split"].value_counts().to_dict() == {"train": 25045, "val": 3191, "test": 3137}
    assert len(inventory.clips) + len(inventory.left_out) == sum(PICTURES.values())
    assert not inventory.missing
    assert inventory.dropped.empty
    assert read_picture(read_bytes(next(corpus.sources()))).shape == (48, 48, 3)


def test_commands_read_the_zip_and_report_the_rules(tmp_path, fervid_command, capsys):
    tie = (5, 0, 5, 0, 0, 0, 0, 0, 0, 0)
    write_ferplus(tmp_path / "raw", layout="zip", votes=[tie] * 2)
    root, words = tmp_path / "raw" / "FERPlus.zip", [f"cache_dir={tmp_path / 'cache'}", "split=predefined"]
    fervid_command("audit", "dataset=ferplus", f"dataset.root={root}", *words, f"hydra.run.dir={tmp_path / 'out'}")
    output = " ".join(capsys.readouterr().out.split())
    assert "without an emotion that has more than half of the votes, left out: 2 (first: FERPlus.zip/FERPlus/" in output
    assert "train: 12 of 28558 pictures with votes were found." in output
    with pytest.raises(SystemExit):
        fervid_command("audit", "dataset=ferplus", f"dataset.root={root}x", *words)
    assert f"dataset.root={root}x is not a folder" in capsys.readouterr().err
