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


def cells(participant, number, code, **changes):
    """A row of the table."""
    row = {
        "participant": participant,
        "id": f"PS {participant}",
        "number": number,
        "peak": 31,
        "path": f"videos/PS {participant}/{number}.avi",
        "peak_path": f"peakImages/{participant}_{number}_31.jpg",
        "emotion": code,
        "intensity": 2,
        "sex": "Female" if participant in range(2, 51, 2) else "Male",
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
    """The table, and an empty video for each row unless told otherwise."""
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
    """428 rows of 50 participants."""
    codes = [code for code, count in enumerate(COUNTS.values(), start=1) for _ in range(count)]
    return [cells(1 + place % 50, 1 + place // 50, code) for place, code in enumerate(codes)]


def few():
    """Two participants, every emotion once of each."""
    return [cells(person, code, code) for person in (1, 2) for code in (1, 2, 3, 4)]


def read(root, **options):
    return ISED(root, **options).read()


def test_the_corpus_is_whole(tmp_path):
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


def test_what_is_odd_is_said(tmp_path):
    rows = [row for row in whole() if row[0] != 7]
    write(tmp_path, [*rows[:-1], cells(1, 99, 1)], videos=[*rows, cells(3, "intro", 1)])
    (tmp_path / "videos" / "trailer.avi").touch()
    inventory = read(tmp_path)
    assert len(inventory.clips) == len(rows) - 1
    assert inventory.missing == ["PS 1/99"]
    assert inventory.notes[-1] == "participants: 49 of 50."
    left_out = {"videos/trailer.avi", "videos/PS 3/intro.avi", f"videos/PS {rows[-1][0]}/{rows[-1][2]}.avi"}
    assert set(inventory.left_out) == {(path, "not in ISED_details.mat") for path in left_out}


def test_cells_may_be_text_floats_or_nested(tmp_path):
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


def test_folders_may_have_zeros_and_the_table_a_cell_around_it(tmp_path):
    write(tmp_path, few(), videos=[])
    for row in few():
        video = tmp_path / f"ps_{row[0]:02d}" / f"{row[2]:03d}.AVI"
        video.parent.mkdir(exist_ok=True)
        video.touch()
    around = np.empty((1, 1), dtype=object)
    around[0, 0] = loadmat(tmp_path / "ISED_details.mat")["ISED_details"]
    savemat(tmp_path / "ISED_details.mat", {"x": around})
    inventory = read(tmp_path)
    assert inventory.clips["clip"].tolist() == [f"PS {person}/{k}" for person in (1, 2) for k in (1, 2, 3, 4)]
    assert inventory.missing == []


def test_a_video_is_found_by_its_path_where_numbers_fail(tmp_path):
    rows = few()
    rows[0] = cells("?", "?", 1, path="D:\\data\\PS 1\\1.avi")
    rows[1] = cells(1, 88, 2, path="/elsewhere/videos/PS 1/2.avi")
    rows[2] = cells(1, 3, 3, path="videos/PS 2/3.avi")
    rows[7] = cells("?", "?", 4, path="nowhere")
    write(tmp_path, rows, videos=few())
    inventory = read(tmp_path)
    assert inventory.clips["clip"].tolist() == [*(f"PS 1/{k}" for k in (1, 2, 3, 4)), *(f"PS 2/{k}" for k in (1, 2, 3))]
    assert inventory.clips["emotion"].tolist() == [*EMOTIONS, *EMOTIONS[:3]]
    assert inventory.notes[1].endswith("another video than their path: 1 (first: PS 1/3).")
    reasons = dict(inventory.dropped.itertuples(index=False))
    assert reasons == {"ISED_details.mat row 8": "names no video"}
    assert inventory.left_out == [("videos/PS 2/4.avi", "not in ISED_details.mat")]


def test_rows_that_cannot_be_used_are_left_out(tmp_path):
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
    assert inventory.notes[0] == "second copies, left out: 1 (first: videos/PS 1/1.avi)."
    row = {"ISED_details.mat row 10": "says of a video what an earlier row says"}
    assert dict(inventory.dropped.itertuples(index=False)) == always | row
    peak = read(tmp_path, peak=1)
    assert len(peak.clips) == 9
    assert dict(peak.dropped.itertuples(index=False)) == always | row | {
        "videos/PS 2/5.avi": "no peak frame is given",
        "videos/PS 2/6.avi": "no two eyes are given",
        "videos/PS 2/7.avi": "no two eyes are given",
    }
    assert peak.clips["clip"].iloc[-1] == "PS 2/8"


def test_emotions_and_participants_can_be_chosen(tmp_path):
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
    ("options", "said"),
    [
        ({"emotions": ["happy", "fear"]}, "'fear' is none of them"),
        ({"emotions": ["happy"]}, "two at least"),
        ({"peak": -1}, "peak=-1 is no number"),
    ],
)
def test_what_does_not_exist_is_refused(tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        read(tmp_path, **options)


def test_a_table_that_cannot_be_used_is_refused(tmp_path):
    write(tmp_path, few())
    table = tmp_path / "ISED_details.mat"
    good = table.read_bytes()
    for bad in (b"", b"labels", good[: len(good) // 2], good[:200] + b"\xff" * 300):
        table.write_bytes(bad)
        with pytest.raises(InputError, match=r"ISED_details.mat (cannot be read|holds no table)"):
            read(tmp_path)
    savemat(table, {"x": np.zeros((16, 5))})
    with pytest.raises(InputError, match="holds no table of 16 columns"):
        read(tmp_path)
    table.unlink()
    with pytest.raises(InputError, match=r"there is no ISED_details\.mat"):
        read(tmp_path)


def test_nothing_with_a_peak_is_refused(tmp_path):
    write(tmp_path, [cells(1, code, code, peak="") for code in (1, 2)])
    with pytest.raises(InputError, match=r"2 labelled videos, but none .* \(first: no peak frame is given\)"):
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


def test_every_fourth_frame_by_the_detector(rendered, tmp_path):
    datamodule = prepare(rendered, tmp_path, frame_stride=4)
    manifest = datamodule.manifest
    table = rendered[1].set_index("path").loc[manifest["path"].unique()]
    assert len(table) == 8
    assert manifest["frame"].tolist() == [0, 4, 8] * 8
    told = manifest.drop_duplicates("path")
    for column in ("subject", "emotion", "sex", "intensity", "spectacles", "beard"):
        assert told[column].tolist() == table[column].tolist()
    assert told["peak_frame"].tolist() == [6] * 8
    settings = datamodule.prepared.card()["settings"]
    assert settings["detector"] == "haar"
    assert "peak" not in settings
    assert len(list((datamodule.prepared.folder / "faces").rglob("*.jpg"))) == 24


def test_frames_around_the_peak_by_the_eyes_that_are_given(rendered, tmp_path):
    datamodule = prepare(rendered, tmp_path, peak=1)
    manifest = datamodule.manifest
    assert manifest["frame"].tolist() == [5, 6, 7] * 8
    assert (manifest["aligned"] == "eyes").all()
    table = rendered[1].set_index("path").loc[manifest["path"]]
    for eye in ("left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y"):
        np.testing.assert_allclose(manifest[eye], table[eye], atol=0.051)
    settings = datamodule.prepared.card()["settings"]
    assert settings["peak"] == 1
    assert settings["detector"] == "eyes given by ISED_details.mat"
    assert "frame_stride" not in settings
    other = ISEDDataModule(rendered[0], face_size=64, cache_dir=tmp_path, peak=2)
    assert other.prepared.folder != datamodule.prepared.folder


def test_given_eyes_are_in_displayed_pixels(rendered, tmp_path):
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
        before, after = (read_picture(made.prepared.folder / face).astype(int) for made in (square, wide))
        assert np.abs(before - after).mean() < 6


def test_other_eyes_in_the_table_are_prepared_anew(tmp_path):
    keys = []
    for eye in (1080.0, 1081.0):
        write(tmp_path, [cells(1, code, code, eye=np.array([eye, 450])) for code in (1, 2)])
        for video in tmp_path.rglob("*.avi"):
            os.utime(video, (1, 1))  # only the table is another
        keys.append([ISEDDataModule(tmp_path, cache_dir=tmp_path, peak=peak).prepared.folder for peak in (0, None)])
    assert keys[0][0] != keys[1][0]
    assert keys[0][1] == keys[1][1]
