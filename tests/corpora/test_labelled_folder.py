import os
import shutil
import struct
import zlib
from functools import partial

import cv2
import numpy as np
import pytest
from PIL import Image
from rendered_corpora.enterface import write_enterface

from fervid import splits
from fervid.data import VideoFolderDataModule
from fervid.errors import InputError
from fervid.faces.detection import HaarDetector
from fervid.synthetic.rendering import make_identity, render_clip

SMALL = {"frames": 10, "width": 320, "height": 240}


def ready(datamodule):
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def test_folders_give_emotions_and_file_names_give_subjects(image_folder):
    datamodule = ready(image_folder())
    assert datamodule.class_names == ["happy", "neutral", "sad"]
    assert len(datamodule.manifest) == 30
    assert set(datamodule.manifest["subject"]) == {f"p{number}" for number in range(10)}
    row = datamodule.manifest.iloc[0]
    assert (row["emotion"], row["path"], row["clip"]) == ("happy", "happy/p0__0.png", "happy/p0__0.png")


def test_csv_is_equivalent_to_folders(image_folder, pictures, tmp_path):
    plain = ready(image_folder()).manifest
    csv = tmp_path / "list.csv"
    plain[["path", "emotion", "subject"]].to_csv(csv, index=False)
    listed = ready(image_folder(csv=csv, subject_pattern=None)).manifest
    columns = ["path", "emotion", "subject", "split"]
    assert listed[columns].equals(plain[columns])


def test_unreadable_pictures_are_reported(image_folder, pictures, caplog):
    (pictures / "sad" / "p0__9.png").write_bytes(b"not a picture")
    whole = (pictures / "sad" / "p1__2.png").read_bytes()
    (pictures / "sad" / "p1__8.png").write_bytes(whole[: len(whole) // 2])
    datamodule = ready(image_folder())
    assert len(datamodule.manifest) == 30
    assert sorted(datamodule.failures["path"]) == ["sad/p0__9.png", "sad/p1__8.png"]
    assert "2 of 32 files have no usable face" in caplog.text
    # Rows of the manifest still have their own pictures.
    face_cache = datamodule.face_cache
    for _, row in datamodule.manifest[datamodule.manifest["emotion"] == "sad"].iterrows():
        expected = cv2.cvtColor(cv2.imread(str(pictures / row["path"])), cv2.COLOR_BGR2RGB).mean(axis=(0, 1))
        assert face_cache[row["cache_row"]].mean(axis=(0, 1)) == pytest.approx(expected, abs=8)


def test_too_many_unreadable_pictures_are_an_error(image_folder, pictures):
    for path in pictures.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(
        InputError, match=r"\d+ of 30 files fail \(first: happy/p\d__0.png: cannot identify.*dataset.max_failures=0.1"
    ):
        ready(image_folder())


def test_missing_files_of_a_csv_are_reported(image_folder, pictures, tmp_path):
    csv = tmp_path / "list.csv"
    rows = [f"{path.relative_to(pictures)},{path.parent.name},{path.stem}" for path in pictures.rglob("*.png")]
    csv.write_text("\n".join(["path,emotion,subject", *rows, "sad/gone.png,sad,x"]))
    datamodule = ready(image_folder(csv=csv))
    assert datamodule.failures["path"].tolist() == ["sad/gone.png"]


def test_changed_picture_is_prepared_again(image_folder, pictures):
    before = ready(image_folder())
    cv2.imwrite(str(pictures / "happy" / "p0__0.png"), np.full((50, 50, 3), 255, np.uint8))
    after = ready(image_folder())
    assert before.face_cache[0].mean() < 200
    assert after.face_cache[0].mean() > 254


def save(picture, path, **options):
    Image.fromarray(picture).save(path, **options)


def test_unusual_picture_formats(image_folder, pictures):
    folder = pictures / "odd"
    folder.mkdir()
    half = np.zeros((40, 40), np.uint8)
    half[:20] = 200
    save(half, folder / "a__1.png")
    save(half.astype(np.uint16) * 257, folder / "b__1.png")
    save(np.dstack([half, half, half, np.full_like(half, 90)]), folder / "c__1.png")
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    save(np.dstack([half[::-1]] * 3), folder / "d__1.jpg", exif=exif, quality=95)
    save(half, folder / "e__1.tiff")
    datamodule = ready(image_folder(split=lambda m: np.array(["train", "val", "test"] * 12)[: len(m)], batch_size=2))
    assert len(datamodule.failures) == 0
    rows = datamodule.manifest.loc[datamodule.manifest["emotion"] == "odd", "cache_row"].to_numpy()
    faces = datamodule.face_cache[rows].astype(int)
    assert len(faces) == 5
    assert np.abs(faces[:, :12] - 200).max() <= 3
    assert faces[:, 16:].max() <= 3


def test_empty_class_is_an_error(image_folder, pictures):
    (pictures / "bored").mkdir()
    with pytest.raises(InputError, match="the class 'bored' is empty"):
        image_folder().prepare_data()


def png(width, height):
    """Returns a black PNG with one bit per pixel without keeping all pixels in memory."""
    rows = zlib.compressobj(9)
    line = bytes(1 + width // 8)
    data = b"".join(rows.compress(line) for _ in range(height)) + rows.flush()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


@pytest.mark.parametrize("side", [12_000, 20_000])  # Pillow warns about the first and refuses the second
def test_decompression_bomb_is_an_unreadable_picture(image_folder, pictures, side):
    (pictures / "sad" / "p1__8.png").write_bytes(png(side, side))
    failures = ready(image_folder()).failures
    assert failures["path"].tolist() == ["sad/p1__8.png"]
    assert "decompression bomb" in failures["reason"].iloc[0]


def test_predefined_split_from_folders(image_folder, pictures, tmp_path):
    """The layout of FER2013, train/<emotion>/ and test/<emotion>/; val is drawn from train."""
    root = tmp_path / "fer"
    for subset in ("train", "test"):
        shutil.copytree(pictures, root / subset)
    for path in (root / "test").rglob("*.png"):
        path.rename(path.with_name("q" + path.name))
    manifest = ready(image_folder(root=root, split=partial(splits.predefined, val=0.3, seed=0))).manifest
    assert set(manifest["emotion"]) == {"happy", "neutral", "sad"}
    assert (manifest.loc[manifest["split"] == "test", "path"].str.startswith("test/")).all()
    assert manifest["split"].value_counts()["test"] == 30
    assert manifest["split"].value_counts()["val"] == pytest.approx(9, abs=3)


def test_predefined_split_from_csv(image_folder, pictures, tmp_path):
    paths = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png"))
    subsets = ["train", "Validation", "testing"]
    rows = [f"{path},{path.split('/')[0]},{subsets[number % 3]}" for number, path in enumerate(paths)]
    (tmp_path / "list.csv").write_text("\n".join(["path,emotion,split", *rows]))
    datamodule = ready(image_folder(csv=tmp_path / "list.csv", split=partial(splits.predefined, val=0.2, seed=0)))
    assert datamodule.manifest["split"].value_counts().to_dict() == {"train": 10, "val": 10, "test": 10}
    (tmp_path / "list.csv").write_text("\n".join(["path,emotion,split", *rows]).replace("testing", "exam"))
    with pytest.raises(InputError, match="has the subset 'exam'"):
        ready(image_folder(csv=tmp_path / "list.csv", split=partial(splits.predefined, val=0.2, seed=0)))


def test_subset_folders_next_to_other_folders_are_an_error(image_folder, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "fer" / "train")
    shutil.copytree(pictures, tmp_path / "fer" / "test")
    shutil.copytree(pictures / "sad", tmp_path / "fer" / "unlabelled")
    with pytest.raises(
        InputError, match=r"has folders of subsets \(test, train\) next to other folders \(unlabelled\)"
    ):
        ready(image_folder(root=tmp_path / "fer"))


def test_path_of_the_csv_does_not_change_the_corpus(image_folder, pictures, tmp_path, monkeypatch):
    rows = [f"{path.relative_to(pictures)},{path.parent.name}" for path in sorted(pictures.rglob("*.png"))]
    (tmp_path / "list.csv").write_text("\n".join(["path,emotion", *rows, "sad,sad", "sad/pipe.png,sad"]))
    os.mkfifo(pictures / "sad" / "pipe.png")
    monkeypatch.chdir(tmp_path)
    made = image_folder(csv="list.csv")
    assert made.prepared["image"].folder == image_folder(csv=tmp_path / "list.csv").prepared["image"].folder
    # A folder and a FIFO are not pictures; reading the FIFO would block forever.
    assert made.prepared["image"].inventory.dropped.to_numpy().tolist() == [
        ["sad", "no such file"],
        ["sad/pipe.png", "no such file"],
    ]


def test_names_with_markup_are_printed_literally(image_folder, pictures, capsys):
    (pictures / "sad").rename(pictures / "[red]sad")
    (pictures / "[red]sad" / "a[").mkdir()
    (pictures / "[red]sad" / "a[" / "b].png").symlink_to("/nowhere")
    assert ready(image_folder()).class_names == ["[red]sad", "happy", "neutral"]
    text = capsys.readouterr().out
    assert "[red]sad" in text
    assert "a[/b].png" in text


def test_single_class_is_an_error(image_folder, pictures):
    with pytest.raises(InputError, match="there is only one class, 'pictures'"):
        ready(image_folder(root=pictures.parent))


def test_classes_that_differ_only_in_case_are_an_error(image_folder, pictures):
    shutil.copytree(pictures / "sad", pictures / "Sad")
    with pytest.raises(InputError, match="'Sad' and 'sad' differ only in case or spaces"):
        ready(image_folder())


def test_classes_with_the_same_emotion_are_reported(image_folder, pictures, capsys):
    shutil.copytree(pictures / "sad", pictures / "sadness")
    assert len(ready(image_folder()).class_names) == 4
    assert "sad and sadness are separate classes" in capsys.readouterr().out


def test_detector_crops_faces_of_pictures(tmp_path, image_folder):
    """With a detector, photographs are treated like frames of a video."""
    root = tmp_path / "scenes"
    for subject in range(1, 4):
        for emotion in ("happy", "angry"):
            clip = render_clip(
                make_identity(subject, 0),
                emotion,
                take=0,
                frames=1,
                width=640,
                height=360,
                face_height=150,
                fps=25,
                seed=0,
            )
            (root / emotion).mkdir(parents=True, exist_ok=True)
            Image.fromarray(clip.images[0]).save(root / emotion / f"p{subject}__1.jpg")
    whole = ready(image_folder(root=root, batch_size=1, face_size=64))
    cropped = ready(image_folder(root=root, batch_size=1, face_size=64, detector=HaarDetector()))
    assert whole.manifest["aligned"].unique().tolist() == ["whole"]
    assert (cropped.manifest["aligned"] == "eyes").sum() >= 4
    assert whole.folder != cropped.folder


def test_videos_in_folders(tmp_path):
    rows = write_enterface(tmp_path / "raw", subjects=[1, 2, 3], emotions=["anger", "fear"], sentences=[1], **SMALL)
    root = tmp_path / "videos"
    for _, row in rows.iterrows():
        target = root / row["emotion"] / f"ann{row['subject']}_take1.avi"
        target.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / row["path"]).rename(target)
    (root / "fear" / "notes.txt").write_text("not a video")
    datamodule = ready(
        VideoFolderDataModule(
            root,
            subject_pattern="(.+)_",
            frame_stride=4,
            face_size=64,
            batch_size=2,
            image_size=28,
            cache_dir=tmp_path / "c",
        )
    )
    assert datamodule.class_names == ["anger", "fear"]
    assert datamodule.manifest["clip"].nunique() == 6
    assert datamodule.manifest["subject"].unique().tolist() == ["ann1", "ann2", "ann3"]
    assert len(datamodule.manifest) == 6 * 3  # frames 0, 4, 8 of 10


def test_pictures_in_a_zip(image_folder, pictures, tmp_path):
    shutil.make_archive(str(tmp_path / "zipped" / "pictures"), "zip", pictures)
    zipped = ready(image_folder(root=tmp_path / "zipped"))
    plain = ready(image_folder())
    assert zipped.manifest["emotion"].tolist() == plain.manifest["emotion"].tolist()
    faces = [made.face_cache[np.arange(30)] for made in (zipped, plain)]
    assert (faces[0] == faces[1]).all()


def test_hidden_folders_are_ignored(image_folder, pictures):
    (pictures / ".thumbnails").mkdir()
    assert len(ready(image_folder()).class_names) == 3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"root": "nowhere"}, "dataset.root=nowhere is not a folder"),
        ({"root": None}, "needs dataset.root"),
        ({"subject_pattern": "("}, "is not a regular expression"),
        ({"subject_pattern": "(x)__"}, "does not match happy/p0__0.png"),
        ({"csv": "nowhere.csv"}, "dataset.csv=nowhere.csv cannot be read"),
        ({"subject_pattern": None}, "split=subject needs subjects"),
    ],
)
def test_invalid_options_are_refused(image_folder, options, match):
    with pytest.raises(InputError, match=match):
        ready(image_folder(**options))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("file,feeling\na,b\n", "lacks the column"),
        ("path,emotion\nhappy/p0__0.png,\n", "no path or emotion in row 2"),
        ("", "cannot be read"),
        ("path,emotion\n", "lists no files"),
        ("path,emotion\nhappy/x.png,happy\nsad/x.png,sad\n", r"none of the 2 files .* lists is in dataset.root="),
        ("path,emotion,group\nhappy/p0__0.png,happy,1\n", "has the reserved column.s. group"),
        ("path,emotion\nhappy/p0__0.png,happy\n./happy/p0__0.png,sad\n", r"lists 1 file\(s\) twice \(first: ./happy"),
        (
            "path,emotion\nhappy/p0__0.png,happy,extra\nsad/p0__0.png,sad,extra\n",
            "its rows have more fields than its header",
        ),
        ("index,path,emotion\n0,happy/p0__0.png,happy\n", "has the reserved column.s. index"),
    ],
)
def test_invalid_csv_is_refused(image_folder, tmp_path, text, match):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=match):
        ready(image_folder(csv=tmp_path / "list.csv"))


def test_empty_root_is_an_error(image_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no sub-folder with pictures"):
        ready(image_folder(root=tmp_path / "empty"))
