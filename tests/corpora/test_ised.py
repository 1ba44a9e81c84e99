import os
import shutil
from fractions import Fraction
from functools import partial

import av
import numpy as np
import pytest
from rendered_corpora.ised import write_ised
from scipy.io import loadmat, savemat

from fervid import splits
from fervid.corpora.ised import COUNTS, EMOTIONS, ISED
from fervid.data import ISEDDataModule
from fervid.errors import InputError
from fervid.media.decoding import read_picture


def cells(subject, number, code, **changes):
    """Returns a row of the table."""
    row = {
        "subject": subject,
        "id": f"PS {subject}",
        "number": number,
        "peak": 31,
        "path": f"videos/PS {subject}/{number}.avi",
        "peak_path": f"peakImages/{subject}_{number}_31.jpg",
        "emotion": code,
        "intensity": 2,
        "sex": "Female" if subject in range(2, 51, 2) else "Male",
        "spectacles": 0,
        "beard": 1,
        "occlusion": 0,
        "box": np.array([800.0, 300, 400, 400]),
        "eye": np.array([1080.0, 450]),
        "other_eye": np.array([920.0, 455]),
        "nose": np.array([1000.0, 540]),
    }
    assert not set(changes) - set(row)
    return list((row | changes).values())


def write(root, rows, variable="ISED_details", videos=None):
    """Writes the table, and by default an empty video for each row."""
    for row in rows if videos is None else videos:
        video = root / f"videos/PS {row[0]}/{row[2]}.avi"
        video.parent.mkdir(parents=True, exist_ok=True)
        video.touch()
    table = np.empty((len(rows), 16), dtype=object)
    for place, row in enumerate(rows):
        for column, value in enumerate(row):
            table[place, column] = value
    savemat(root / "ISED_details.mat", {variable: table, "other": np.zeros((3, 3))})


def whole():
    """The 428 rows of all 50 subjects."""
    codes = [code for code, count in enumerate(COUNTS.values(), start=1) for _ in range(count)]
    return [cells(1 + place % 50, 1 + place // 50, code) for place, code in enumerate(codes)]


def few():
    """Two subjects with one clip of every emotion."""
    return [cells(subject, code, code) for subject in (1, 2) for code in (1, 2, 3, 4)]


def read(root, **options):
    return ISED(root, **options).read()


def test_complete_corpus_is_read(tmp_path):
    write(tmp_path / "deep" / "ised", whole(), variable="x")
    inventory = read(tmp_path)
    clips = inventory.clips
    assert len(clips) == len(inventory.files) == clips["clip"].nunique() == 428
    assert clips["emotion"].value_counts().to_dict() == inventory.expected == COUNTS
    assert clips["subject"].nunique() == 50
    assert inventory.sentences() == []
    assert clips.iloc[-1].to_dict() == {
        "clip": "PS 50/8",
        "subject": "50",
        "emotion": "disgust",
        "intensity": 2,
        "sex": "female",
        "spectacles": False,
        "beard": True,
        "occlusion": False,
        "peak_frame": 30,
    }
    assert inventory.files[-1].path == "deep/ised/videos/PS 50/8.avi"


def test_missing_and_unlabelled_videos_are_reported(tmp_path):
    rows = [row for row in whole() if row[0] != 7]
    write(tmp_path, [*rows[:-1], cells(1, 99, 1)], videos=[*rows, cells(3, "intro", 1)])
    (tmp_path / "videos" / "trailer.avi").touch()
    inventory = read(tmp_path)
    assert len(inventory.clips) == len(rows) - 1
    assert inventory.missing == ["PS 1/99"]
    assert inventory.notes[-1] == "subjects: 49 of 50."
    left_out = {"videos/trailer.avi", "videos/PS 3/intro.avi", f"videos/PS {rows[-1][0]}/{rows[-1][2]}.avi"}
    assert set(inventory.left_out) == {(path, "not in ISED_details.mat") for path in left_out}


def test_cells_may_be_text_floats_or_nested_arrays(tmp_path):
    rows = few()
    rows[0] = cells(1.0, "1", np.array([[1.0]]), peak="12", eye="[30 40]", other_eye="20.5, 41", intensity=" 3 ")
    deep = np.empty((1, 1), dtype=object)
    deep[0, 0] = np.array([[2.0]])
    rows[1] = cells(1, 2, deep, path="C:\\ised\\videos\\PS 1\\2.avi", sex=1, spectacles="Yes", beard="none", peak=0)
    write(tmp_path, rows, videos=few())
    inventory = ISED(tmp_path).read()
    first, second = (row for _, row in inventory.clips.iloc[:2].iterrows())
    assert len(inventory.clips) == 8
    assert (first["emotion"], first["peak_frame"], first["intensity"]) == ("happiness", 11, 3)
    assert (second["emotion"], second["spectacles"], second["beard"]) == ("surprise", True, False)
    assert inventory.clips.iloc[1][["sex", "peak_frame"]].isna().all()
    by_peak = ISED(tmp_path, peak=0).read()
    assert len(by_peak.clips) == 7
    assert by_peak.faces[0].eyes.tolist() == [[20.5, 41], [30, 40]]
    assert by_peak.windows[0].frame == 11


def test_folders_may_have_leading_zeros_and_the_table_may_be_nested(tmp_path):
    write(tmp_path, few(), videos=[])
    for row in few():
        video = tmp_path / f"ps_{row[0]:02d}" / f"{row[2]:03d}.AVI"
        video.parent.mkdir(exist_ok=True)
        video.touch()
    around = np.empty((1, 1), dtype=object)
    around[0, 0] = loadmat(tmp_path / "ISED_details.mat")["ISED_details"]
    savemat(tmp_path / "ISED_details.mat", {"x": around})
    inventory = read(tmp_path)
    assert inventory.clips["clip"].tolist() == [f"PS {subject}/{k}" for subject in (1, 2) for k in (1, 2, 3, 4)]
    assert inventory.missing == []


def test_videos_are_found_by_path_if_numbers_match_none(tmp_path):
    rows = few()
    rows[0] = cells("?", "?", 1, path="D:\\data\\PS 1\\1.avi")
    rows[1] = cells(1, 88, 2, path="/elsewhere/videos/PS 1/2.avi")
    rows[2] = cells(1, 3, 3, path="videos/PS 2/3.avi")
    rows[7] = cells("?", "?", 4, path="nowhere")
    write(tmp_path, rows, videos=few())
    inventory = read(tmp_path)
    assert inventory.clips["clip"].tolist() == [*(f"PS 1/{k}" for k in (1, 2, 3, 4)), *(f"PS 2/{k}" for k in (1, 2, 3))]
    assert inventory.clips["emotion"].tolist() == [*EMOTIONS, *EMOTIONS[:3]]
    assert inventory.notes[1].endswith("the numbers are used: 1 (first: PS 1/3).")
    reasons = dict(inventory.dropped.itertuples(index=False))
    assert reasons == {"ISED_details.mat row 8": "names no video"}
    assert inventory.left_out == [("videos/PS 2/4.avi", "not in ISED_details.mat")]


def test_unusable_rows_are_dropped(tmp_path):
    nothing = np.array([])
    rows = [
        *few(),
        cells(1, 5, 7),
        cells(1, 1, 3),
        cells(2, 5, 1, peak=np.nan),
        cells(2, 6, 1, eye=nothing),
        cells(2, 7, 1, eye=np.array([3.0, 3]), other_eye=np.array([3.0, 3])),
        cells(2, 8, 1, box=nothing),
    ]
    write(tmp_path, rows)
    (tmp_path / "copy" / "PS 1").mkdir(parents=True)
    (tmp_path / "copy" / "PS 1" / "1.avi").touch()
    always = {"videos/PS 1/5.avi": "emotion code '7' is unknown"}
    inventory = read(tmp_path)
    assert len(inventory.clips) == 12
    assert inventory.notes[0] == "duplicates, left out: 1 (first: videos/PS 1/1.avi)."
    row = {"ISED_details.mat row 10": "repeats the video of an earlier row"}
    assert dict(inventory.dropped.itertuples(index=False)) == always | row
    peak = read(tmp_path, peak=1)
    assert len(peak.clips) == 9
    assert dict(peak.dropped.itertuples(index=False)) == always | row | {
        "videos/PS 2/5.avi": "no peak frame is annotated",
        "videos/PS 2/6.avi": "the eyes are not annotated",
        "videos/PS 2/7.avi": "the eyes are not annotated",
    }
    assert peak.clips["clip"].iloc[-1] == "PS 2/8"


def test_emotions_and_subjects_can_be_selected(tmp_path):
    write(tmp_path, few(), videos=few()[1:-1])
    inventory = read(tmp_path, emotions=["happy", "disgust"], subjects=[1])
    assert inventory.clips["clip"].tolist() == ["PS 1/4"]
    assert inventory.expected == {"happiness": 1, "disgust": 1}
    assert inventory.missing == ["PS 1/1"]
    assert inventory.notes == []
    with pytest.raises(
        InputError, match=r"subjects=\[3\] cannot be used: give a list such as \[1,2\] of the numbers 1 to 2"
    ):
        read(tmp_path, subjects=[3])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"emotions": ["happy", "fear"]}, "'fear' is unknown"),
        ({"emotions": ["happy"]}, "at least two emotions"),
        ({"peak": -1}, "peak=-1 is out of range"),
    ],
)
def test_invalid_options_are_refused(tmp_path, options, sentence):
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, **options)


def test_unusable_table_is_refused(tmp_path):
    write(tmp_path, few())
    table = tmp_path / "ISED_details.mat"
    good = table.read_bytes()
    for bad in (b"", b"labels", good[: len(good) // 2], good[:200] + b"\xff" * 300):
        table.write_bytes(bad)
        with pytest.raises(InputError, match=r"ISED_details.mat (cannot be read|has no table)"):
            read(tmp_path)
    savemat(table, {"x": np.zeros((16, 5))})
    with pytest.raises(InputError, match="has no table of 16 columns"):
        read(tmp_path)
    table.unlink()
    with pytest.raises(InputError, match=r"has no ISED_details\.mat"):
        read(tmp_path)


def test_no_clips_with_a_peak_is_an_error(tmp_path):
    write(tmp_path, [cells(1, code, code, peak="") for code in (1, 2)])
    with pytest.raises(InputError, match=r"2 labelled videos, but none .* \(first: no peak frame is annotated\)"):
        read(tmp_path, peak=2)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    root = tmp_path_factory.mktemp("ised")
    return root, write_ised(root, frames=12, width=320, height=240)


def prepare(rendered, tmp_path, **options):
    datamodule = ISEDDataModule(
        rendered[0],
        face_size=64,
        image_size=28,
        batch_size=2,
        cache_dir=tmp_path,
        split=partial(splits.stratified, val=0.25, test=0.25, seed=0),
        **options,
    )
    datamodule.prepare_data()
    datamodule.setup()
    assert datamodule.failed_files == 0
    return datamodule


def test_frame_stride_with_detector(rendered, tmp_path):
    datamodule = prepare(rendered, tmp_path, frame_stride=4)
    manifest = datamodule.manifest
    table = rendered[1].set_index("path").loc[manifest["path"].unique()]
    assert len(table) == 8
    assert manifest["frame"].tolist() == [0, 4, 8] * 8
    clips = manifest.drop_duplicates("path")
    for column in ("subject", "emotion", "sex", "intensity", "spectacles", "beard"):
        assert clips[column].tolist() == table[column].tolist()
    assert clips["peak_frame"].tolist() == [6] * 8
    settings = datamodule.prepared["image"].card()["settings"]
    assert settings["detector"] == "haar"
    assert "peak" not in settings
    assert len(list((datamodule.prepared["image"].folder / "faces").rglob("*.jpg"))) == 24


def test_frames_around_the_peak_with_annotated_eyes(rendered, tmp_path):
    datamodule = prepare(rendered, tmp_path, peak=1)
    manifest = datamodule.manifest
    assert manifest["frame"].tolist() == [5, 6, 7] * 8
    assert (manifest["aligned"] == "eyes").all()
    table = rendered[1].set_index("path").loc[manifest["path"]]
    for eye in ("left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y"):
        np.testing.assert_allclose(manifest[eye], table[eye], atol=0.051)
    settings = datamodule.prepared["image"].card()["settings"]
    assert settings["peak"] == 1
    assert settings["detector"] == "eyes annotated in ISED_details.mat"
    assert "frame_stride" not in settings
    other = ISEDDataModule(rendered[0], face_size=64, cache_dir=tmp_path, peak=2)
    assert other.prepared["image"].folder != datamodule.prepared["image"].folder


def test_annotated_eyes_are_in_displayed_pixels(rendered, tmp_path):
    """The same videos, stored at half the width with pixels twice as wide as high."""
    shutil.copytree(rendered[0], tmp_path / "ised")
    for video in (tmp_path / "ised").rglob("*.avi"):
        with av.open(rendered[0] / video.relative_to(tmp_path / "ised")) as old, av.open(video, "w") as new:
            stream = new.add_stream("mpeg4", rate=old.streams.video[0].average_rate)
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 160, 240, "yuv420p", 4_000_000
            stream.codec_context.sample_aspect_ratio = Fraction(2)
            for frame in old.decode(video=0):
                narrow = frame.to_ndarray(format="rgb24", width=160, height=240)
                new.mux(stream.encode(av.VideoFrame.from_ndarray(narrow, format="rgb24")))
            new.mux(stream.encode())
    square = prepare(rendered, tmp_path / "a", peak=1)
    wide = prepare((tmp_path / "ised",), tmp_path / "b", peak=1)
    for eye in ("left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y"):
        np.testing.assert_array_equal(square.manifest[eye], wide.manifest[eye])
    for face in square.manifest["face"]:
        before, after = (read_picture(made.prepared["image"].folder / face).astype(int) for made in (square, wide))
        assert np.abs(before - after).mean() < 6


def test_changed_eyes_in_the_table_change_the_prepared_folder(tmp_path):
    keys = []
    for eye in (1080.0, 1081.0):
        write(tmp_path, [cells(1, code, code, eye=np.array([eye, 450])) for code in (1, 2)])
        for video in tmp_path.rglob("*.avi"):
            os.utime(video, (1, 1))  # only the table differs
        keys.append(
            [ISEDDataModule(tmp_path, cache_dir=tmp_path, peak=peak).prepared["image"].folder for peak in (0, None)]
        )
    assert keys[0][0] != keys[1][0]
    assert keys[0][1] == keys[1][1]
