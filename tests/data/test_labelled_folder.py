import cv2
import numpy as np
import pytest
from PIL import Image

from fervid.data.store import FaceStore
from fervid.errors import InputError


def ready(datamodule):
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def test_folders_name_emotions_and_file_names_people(image_folder):
    datamodule = ready(image_folder())
    assert datamodule.class_names == ["happy", "neutral", "sad"]
    assert len(datamodule.manifest) == 30
    assert set(datamodule.manifest["subject"]) == {f"p{number}" for number in range(10)}
    row = datamodule.manifest.iloc[0]
    assert (row["emotion"], row["path"], row["clip"]) == ("happy", "happy/p0__0.png", "happy/p0__0.png")


def test_a_csv_says_the_same(image_folder, pictures, tmp_path):
    plain = ready(image_folder()).manifest
    csv = tmp_path / "list.csv"
    plain[["path", "emotion", "subject"]].to_csv(csv, index=False)
    listed = ready(image_folder(csv=csv, subject_pattern=None)).manifest
    columns = ["path", "emotion", "subject", "split"]
    assert listed[columns].equals(plain[columns])


def test_unreadable_pictures_are_left_out_and_listed(image_folder, pictures, caplog):
    (pictures / "sad" / "p0__9.png").write_bytes(b"not a picture")
    whole = (pictures / "sad" / "p1__2.png").read_bytes()
    (pictures / "sad" / "p1__8.png").write_bytes(whole[: len(whole) // 2])
    datamodule = ready(image_folder())
    assert len(datamodule.manifest) == 30
    assert sorted(datamodule.failures["path"]) == ["sad/p0__9.png", "sad/p1__8.png"]
    assert "2 of 32 pictures cannot be read" in caplog.text
    # Rows of the manifest still point at their own pictures.
    store = FaceStore(datamodule.store_path)
    for _, row in datamodule.manifest[datamodule.manifest["emotion"] == "sad"].iterrows():
        expected = cv2.cvtColor(cv2.imread(str(pictures / row["path"])), cv2.COLOR_BGR2RGB).mean(axis=(0, 1))
        assert store[row["store_row"]].mean(axis=(0, 1)) == pytest.approx(expected, abs=8)


def test_all_unreadable(image_folder, pictures):
    for path in pictures.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="none of the 30 pictures can be read"):
        ready(image_folder())


def test_a_csv_that_names_a_missing_file(image_folder, pictures, tmp_path):
    csv = tmp_path / "list.csv"
    rows = [f"{path.relative_to(pictures)},{path.parent.name},{path.stem}" for path in pictures.rglob("*.png")]
    csv.write_text("\n".join(["path,emotion,subject", *rows, "sad/gone.png,sad,x"]))
    datamodule = ready(image_folder(csv=csv))
    assert datamodule.failures["path"].tolist() == ["sad/gone.png"]


def test_a_changed_picture_is_read_anew(image_folder, pictures):
    before = ready(image_folder())
    cv2.imwrite(str(pictures / "happy" / "p0__0.png"), np.full((50, 50, 3), 255, np.uint8))
    after = ready(image_folder())
    assert FaceStore(before.store_path)[0].mean() < 200
    assert FaceStore(after.store_path)[0].mean() == 255


def save(picture, path, **options):
    Image.fromarray(picture).save(path, **options)


def test_odd_pictures(image_folder, pictures):
    folder = pictures / "odd"
    folder.mkdir()
    half = np.zeros((40, 40), np.uint8)
    half[:20] = 200
    save(half, folder / "a__1.png")
    save(half.astype(np.uint16) * 257, folder / "b__1.png")
    save(np.dstack([half, half, half, np.full_like(half, 90)]), folder / "c__1.png")
    exif = Image.Exif()
    exif[0x0112] = 3  # lies upside down
    save(np.dstack([half[::-1]] * 3), folder / "d__1.jpg", exif=exif, quality=95)
    save(half, folder / "e__1.tiff")
    datamodule = ready(image_folder(split=lambda m: np.array(["train", "val", "test"] * 12)[: len(m)], batch_size=2))
    assert len(datamodule.failures) == 0
    rows = datamodule.manifest.loc[datamodule.manifest["emotion"] == "odd", "store_row"].to_numpy()
    faces = FaceStore(datamodule.store_path)[rows].astype(int)
    assert len(faces) == 5
    assert np.abs(faces[:, :12] - 200).max() <= 3
    assert faces[:, 16:].max() <= 3


def test_an_empty_class(image_folder, pictures):
    (pictures / "bored").mkdir()
    with pytest.raises(InputError, match="the class 'bored' is empty"):
        image_folder().prepare_data()


def test_a_bomb_is_one_unreadable_picture(image_folder, pictures, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 30)  # of 1280: more than twice the limit is an error
    with pytest.raises(InputError, match=r"none of the 30 pictures can be read.*decompression bomb"):
        ready(image_folder())


def test_a_set_that_is_split_already(image_folder, pictures, tmp_path):
    for side in ("train", "test"):
        (tmp_path / "fer" / side).mkdir(parents=True)
    with pytest.raises(InputError, match="sides of a split and no emotions"):
        ready(image_folder(root=tmp_path / "fer"))


def test_hidden_folders_are_no_class(image_folder, pictures):
    (pictures / ".thumbnails").mkdir()
    assert ready(image_folder()).num_classes == 3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"root": "nowhere"}, "dataset.root=nowhere is not a folder"),
        ({"root": None}, "needs dataset.root"),
        ({"subject_pattern": "("}, "is not a regular expression"),
        ({"subject_pattern": "(x)__"}, "does not fit happy/p0__0.png"),
        ({"csv": "nowhere.csv"}, "dataset.csv=nowhere.csv cannot be read"),
        ({"subject_pattern": None}, "split=subject needs to know who is seen"),
    ],
)
def test_what_cannot_be_used(image_folder, options, match):
    with pytest.raises(InputError, match=match):
        ready(image_folder(**options))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("file,label\na,b\n", "lacks the column"),
        ("path,emotion\nhappy/p0__0.png,\n", "no path or emotion in row 2"),
        ("", "cannot be read"),
        ("index,path,emotion\n0,happy/p0__0.png,happy\n", "has the column.s. index, which fervid writes"),
    ],
)
def test_csv_that_cannot_be_used(image_folder, tmp_path, text, match):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=match):
        ready(image_folder(csv=tmp_path / "list.csv"))


def test_an_empty_root(image_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no sub-folder"):
        ready(image_folder(root=tmp_path / "empty"))
