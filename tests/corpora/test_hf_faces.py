import json
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rendered_corpora.filming import jpeg
from rendered_corpora.hf_faces import write_hf_parquet
from sklearn.model_selection import train_test_split

from fervid import splits
from fervid.corpora.hf_faces import COUNTS, HFFaces, read_label
from fervid.data import HFFacesDataModule
from fervid.errors import InputError

TINY = jpeg(np.zeros((1, 1, 3), np.uint8))
HAPPY = {"question": "What?", "answer": " Happy "}
SAD = {"question": "Really?", "answer": "sad"}


def write(path, labels, pictures=None, **options):
    """Writes a Parquet file like the one on the hub, by default with the same picture in every row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": picture, "path": "x.jpg"} for picture in pictures or [TINY] * len(labels)]
    qa = [label if label is None else [{"question": "What?", "answer": label}] for label in labels]
    pq.write_table(pa.table({"image": images, "qa": qa}), path, **options)
    return path


def shuffled():
    labels = np.repeat(list(COUNTS), list(COUNTS.values()))
    return np.random.default_rng(0).permutation(labels).tolist()


def read(root, **options):
    return HFFaces(root, **options).read()


def test_complete_corpus_is_read(tmp_path):
    labels = shuffled()
    write(tmp_path / "data" / "train-00000-of-00001.parquet", labels)
    inventory = read(tmp_path)
    clips = inventory.clips
    assert len(clips) == len(inventory.files) == clips["clip"].nunique() == 9400
    assert clips["emotion"].tolist() == labels
    assert clips["emotion"].value_counts().to_dict() == inventory.expected == COUNTS
    assert clips["subject"].isna().all()
    assert clips["clip"].iloc[17] == inventory.files[17].path == "data/train-00000-of-00001.parquet/17"
    assert inventory.sentences() == []


def test_published_split_is_reproduced_row_by_row(tmp_path):
    clips = read(write(tmp_path / "train.parquet", shuffled())).clips
    split = splits.stratified(clips, val=0.2, test=0.2, seed=42)
    assert pd.Series(split).value_counts().to_dict() == {"train": 5640, "val": 1880, "test": 1880}
    options = {"random_state": 42}
    train, rest = train_test_split(np.arange(9400), test_size=0.4, stratify=clips["emotion"], **options)
    val, test = train_test_split(rest, test_size=0.5, stratify=clips["emotion"][rest], **options)
    for subset, rows in (("train", train), ("val", val), ("test", test)):
        assert np.flatnonzero(split == subset).tolist() == sorted(rows)


@pytest.mark.parametrize(
    "qa",
    [
        [HAPPY, SAD],
        (HAPPY, SAD),
        HAPPY,
        np.array([HAPPY, SAD]),
        {"question": ["What?", "Really?"], "answer": ["happy", "sad"]},
        {"question": np.array(["What?", "Really?"]), "answer": np.array(["happy", "sad"])},
        [["What?", "happy"], ["Really?", "sad"]],
        [("What?", "happy")],
        [[HAPPY, SAD]],
        ["What?", "happy"],
        np.array([["What?", "happy"], ["Really?", "sad"]]),
        json.dumps([HAPPY, SAD]),
        json.dumps([["What?", "happy"]]),
        json.dumps({"question": ["What?"], "answer": ["happy"]}),
        json.dumps(json.dumps([HAPPY])),
        json.dumps([HAPPY]).encode(),
        str([HAPPY, SAD]),
        str((HAPPY, SAD)),
        str([("What?", "happy")]),
        str(np.array([HAPPY, SAD])),
        repr(np.array([HAPPY])),
        [{"answer": "HAPPINESS"}],
    ],
    ids=lambda qa: f"{type(qa).__name__} {qa!r}"[:50],
)
def test_all_formats_of_an_answer_are_read(qa):
    assert read_label(qa) == "happy"


@pytest.mark.parametrize(
    ("answer", "emotion"), [("angry", "anger"), ("Fearful", "fear"), ("sadness", "sad"), ("surprised\n", "surprise")]
)
def test_synonyms_of_emotions_are_read(answer, emotion):
    assert read_label([{"question": "What?", "answer": answer}]) == emotion


@pytest.mark.parametrize(
    ("qa", "reason"),
    [
        (None, "no answer"),
        ("", "no answer"),
        ("null", "no answer"),
        ([], "no answer"),
        ("[]", "no answer"),
        ([{"question": "What?", "answer": None}], "no answer"),
        ([{"question": "What?", "answer": "  "}], "no answer"),
        ({"question": [], "answer": []}, "no answer"),
        ([{"question": "What?", "answer": "confused"}, HAPPY], "label 'confused' is unknown"),
        ("[{", "qa cannot be parsed"),
        ("happy", "qa cannot be parsed"),
        ("(" * 100_000, "qa cannot be parsed"),
        ("[" * 100_000, "qa cannot be parsed"),
        ("42", "qa has no questions and answers"),
        ('{"a": 1}', "qa has no questions and answers"),
        (0.5, "qa has no questions and answers"),
    ],
)
def test_unusable_answers_raise_a_reason(qa, reason):
    with pytest.raises(ValueError, match=f"^{reason}$"):
        read_label(qa)


def test_bad_rows_are_dropped_and_pictures_keep_their_labels(tmp_path):
    pictures = [b"0", b"", None, b"3", b"4", b"5"]
    write(tmp_path / "b.parquet", ["happy", "happy", "sad", None, "confused", "sad"], pictures)
    many = [b"a%d" % row for row in range(150)]  # more than one batch
    write(tmp_path / "a.parquet", ["fear", "bored"] * 75, many)
    module = HFFaces(tmp_path)
    inventory = module.inventory
    assert inventory.clips["emotion"].tolist() == ["fear"] * 75 + ["happy", "sad"]
    assert list(module.sources()) == [*many[::2], b"0", b"5"]
    dropped = dict(inventory.dropped.itertuples(index=False))
    assert len(dropped) == 75 + 4
    assert dropped["a.parquet/149"] == "label 'bored' is unknown"
    assert [dropped[f"b.parquet/{row}"] for row in (1, 2, 3, 4)] == [
        "no picture",
        "no picture",
        "no answer",
        "label 'confused' is unknown",
    ]


def test_pictures_may_be_plain_bytes_or_missing(tmp_path):
    whole = pa.array([{"bytes": b"p", "path": "x"}, None], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    qa = [json.dumps([HAPPY])] * 2
    for images in (pa.array([b"p", None]), pa.array([b"p", None], pa.large_binary()), whole):
        pq.write_table(pa.table({"image": images, "qa": qa}), tmp_path / "x.parquet")
        module = HFFaces(tmp_path / "x.parquet")
        inventory = module.inventory
        assert list(module.sources()) == [b"p"]
        assert inventory.dropped["reason"].tolist() == ["no picture"]


def test_unusable_files_are_refused(tmp_path):
    path = write(tmp_path / "in" / "x.parquet", ["happy", "sad"] * 500)
    good = path.read_bytes()
    damaged = bytearray(good)
    damaged[4:2000] = b"\xff" * 1996
    for bad in (b"", b"image,qa\na,b\n", good[: len(good) // 2], bytes(damaged)):
        path.write_bytes(bad)
        with pytest.raises(InputError, match=r"x\.parquet cannot be read as Parquet"):
            read(tmp_path)
    pq.write_table(pa.table({"image": [b""], "label": ["happy"]}), path)
    with pytest.raises(InputError, match="has the columns image, label, but no qa: "):
        read(tmp_path)
    for images in (["path.jpg"], [{"path": "x"}]):
        pq.write_table(pa.table({"image": images, "qa": ["happy"]}), path)
        with pytest.raises(InputError, match="bytes, or a struct with bytes, are expected"):
            read(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"has no \.parquet file"):
        read(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        read(tmp_path / "nowhere")


def test_without_root_it_is_downloaded_lazily(tmp_path, monkeypatch):
    write(tmp_path / "data" / "x.parquet", ["happy", "sad"])
    requests = []

    def download(repo, **options):
        requests.append((repo, options))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    module = HFFaces()
    assert not requests
    assert module.inventory.clips["clip"].tolist() == ["data/x.parquet/0", "data/x.parquet/1"]
    assert len(list(module.sources())) == 2
    options = {"repo_type": "dataset", "allow_patterns": "*.parquet"}
    assert requests == [("tukey/human_face_emotions_roboflow", options)]


def test_failed_download_is_one_sentence(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(InputError, match=r"^a/b cannot be downloaded .*\(no route\): .* dataset\.root="):
        read(None, repo="a/b")


@pytest.mark.parametrize("text_qa", [False, True])
def test_prepares_pictures_and_loads_batches(tmp_path, text_qa):
    path: Path = tmp_path / "raw" / "train.parquet"
    table = write_hf_parquet(path, rows=40, size=48, text_qa=text_qa, bad_rows=True)
    datamodule = HFFacesDataModule(
        path.parent,
        face_size=48,
        image_size=28,
        batch_size=4,
        cache_dir=tmp_path / "cache",
        split=partial(splits.stratified, val=0.2, test=0.2, seed=42),
    )
    datamodule.prepare_data()
    datamodule.setup()
    manifest = datamodule.manifest
    assert manifest["emotion"].tolist() == table.loc[table["usable"], "emotion"].tolist()
    assert manifest["path"].tolist() == [f"train.parquet/{row}" for row in range(40)]
    assert manifest["subject"].isna().all()
    assert (manifest["aligned"] == "whole").all()
    # A broken picture fails when it is decoded; the other rows fail earlier.
    assert datamodule.failures["path"].tolist() == [
        "train.parquet/40",
        "train.parquet/42",
        "train.parquet/43",
        "train.parquet/41",
    ]
    assert len(list((datamodule.prepared["image"].folder / "faces").rglob("*.jpg"))) == 40
    assert manifest["split"].value_counts().to_dict() == {"train": 24, "val": 8, "test": 8}


def test_left_out_files_are_reported(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("deep/a.parquet", b"x")
    (tmp_path / "b.arrow").write_bytes(b"x")
    with pytest.raises(InputError, match=r"\(.arrow 1\)\. zipped \(unpack them\), left out: 1 \(first: a.z"):
        HFFaces(tmp_path).read()
