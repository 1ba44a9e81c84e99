import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from rendered_corpora.ravdess import write_ravdess

from fervid.corpora import RAVDESS
from fervid.corpora.inventory import Inventory
from fervid.data import RAVDESSDataModule, VideoFolderDataModule
from fervid.errors import InputError
from fervid.faces.clip_faces import ClipTask, crop_faces
from fervid.faces.cropping import Alignment
from fervid.faces.detection import NoDetector
from fervid.faces.face import Face
from fervid.media.decoding import read_picture
from fervid.media.sampling import Around, Sampling
from fervid.prepare.card import describe
from fervid.prepare.preparation import JOURNAL
from fervid.prepare.prepared_corpus import PreparedCorpus

SMALL = {"frames": 12, "width": 480, "height": 270}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Two subjects, three emotions: 10 clips of 12 frames."""
    root = tmp_path_factory.mktemp("ravdess")
    write_ravdess(root, emotions=["neutral", "happy", "sad"], **SMALL)
    return root


def corpus(root, folder, **options):
    return RAVDESSDataModule(
        root, prepared_dir=folder, cache_dir=folder / "cache", **{"frame_stride": 4, "face_size": 64, **options}
    )


def content(folder):
    """Returns the bytes of every file in a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory):
    """The folder of an uninterrupted preparation."""
    made = corpus(raw, tmp_path_factory.mktemp("whole"))
    made.prepared["image"].prepare()
    return made.prepared["image"].folder


def test_contents_of_a_prepared_folder(whole):
    assert {path.name for path in whole.iterdir()} == {
        *("card.json", "card.md", "contact_sheet.png", "faces", "failures.csv", "manifest.parquet")
    }
    manifest = pd.read_parquet(whole / "manifest.parquet")
    assert len(manifest) == 10 * 3
    assert manifest["frame"].tolist() == [0, 4, 8] * 10
    assert manifest["time"].max() == pytest.approx(8 * 1001 / 30000, abs=1e-3)
    found = manifest[manifest["face"].notna()]
    assert len(found) >= 28
    assert {path.relative_to(whole).as_posix() for path in whole.rglob("*.jpg")} == set(found["face"])
    faces = [read_picture(whole / face) for face in found["face"]]
    assert all(face.shape == (64, 64, 3) for face in faces)
    assert (pd.read_csv(whole / "failures.csv").columns == ["path", "reason", "outcome"]).all()


def test_card_matches_the_manifest_and_faces(whole, raw):
    card = json.loads((whole / "card.json").read_text())
    manifest = pd.read_parquet(whole / "manifest.parquet")
    found = manifest["face"].notna()
    assert card["counts"]["files"] == card["counts"]["clips"] == 10
    assert card["counts"]["frames"] == 30
    assert card["counts"]["faces"] == found.sum()
    assert card["detection_rate"] == found.mean()
    assert card["counts"]["subjects"] == 2
    assert card["by_emotion"]["neutral"]["clips"] == 2
    assert card["licence"].startswith("rendered by fervid")
    assert card["settings"]["frame_stride"] == 4
    assert card["settings"]["detector"] == "haar"
    # Computed before JPEG compression, so only approximately equal to the files.
    faces = np.stack([read_picture(whole / face) for face in manifest.loc[found, "face"]]) / 255
    assert list(card["mean"].values())[:3] == pytest.approx(faces.mean(axis=(0, 1, 2)), abs=0.003)
    assert list(card["std"].values())[:3] == pytest.approx(faces.std(axis=(0, 1, 2)), abs=0.003)
    gray = np.stack([cv2.cvtColor((face * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY) for face in faces]) / 255
    assert (card["mean"]["luminance"], card["std"]["luminance"]) == pytest.approx((gray.mean(), gray.std()), abs=0.003)
    assert "subjects missing: 22 of 24" in (whole / "card.md").read_text()


def test_card_counts_equal_names_of_two_corpora_separately():
    row = {"subject": "1", "clip": "x", "emotion": "happy", "face": "x.jpg", "faces": 1, "aligned": "eyes"}
    manifest = pd.DataFrame([{"corpus": name, **row} for name in ("a", "b")])
    about = dict.fromkeys(("name", "root", "citation", "licence"), "")
    card = describe(about, {}, Inventory(manifest, []), manifest, failed=0, sums=[1] * 9, detected=True)
    assert (card["counts"]["subjects"], card["counts"]["clips"], card["by_emotion"]["happy"]["clips"]) == (2, 2, 2)


def test_preparing_again_is_fast_and_changes_nothing(whole, raw, monkeypatch):
    before = content(whole)
    monkeypatch.setattr("fervid.prepare.prepared_corpus.prepare_clips", lambda *_, **__: 1 / 0)
    began = time.perf_counter()
    corpus(raw, whole.parent).prepared["image"].prepare()
    assert time.perf_counter() - began < 1
    assert content(whole) == before


@pytest.mark.parametrize(
    "option", [{"frame_stride": 5}, {"frames_per_clip": 2}, {"face_size": 32}, {"margin": 0.3}, {"window": "centre"}]
)
def test_changed_setting_changes_the_folder(whole, raw, option):
    assert corpus(raw, whole.parent, **option).prepared["image"].folder != whole


def test_changed_file_changes_the_folder(raw, tmp_path):
    root = shutil.copytree(raw, tmp_path / "raw")
    before = corpus(root, tmp_path).prepared["image"].folder
    os.utime(next(root.rglob("*.mp4")), (0, 0))
    assert corpus(root, tmp_path).prepared["image"].folder != before


@pytest.mark.parametrize("lines", [0, 1, 5, 9, 10])
@pytest.mark.parametrize("torn", [False, True])
def test_resumes_an_interrupted_preparation(raw, whole, tmp_path, lines, torn, monkeypatch):
    """The state after a kill: some clips in the journal, perhaps half a line, and incomplete faces of the next clip."""
    made = corpus(raw, tmp_path)
    entries = []
    monkeypatch.setattr(
        "fervid.prepare.prepared_corpus.write_card", lambda *_, **__: 1 / 0
    )  # everything is done except the last steps
    with pytest.raises(ZeroDivisionError):
        made.prepared["image"].prepare()
    monkeypatch.undo()
    journal = made.prepared["image"].folder / JOURNAL
    entries = journal.read_text().splitlines(keepends=True)
    assert len(entries) == 10
    journal.write_text("".join(entries[:lines]) + (entries[-1][:40] if torn else ""))
    for entry in map(json.loads, entries[lines:]):
        for number, frame in enumerate(entry["frames"]):
            face = made.prepared["image"].folder / frame["face"]
            face.write_bytes(face.read_bytes()[: 100 * number])
    again = corpus(raw, tmp_path)
    assert again.prepared["image"].folder == made.prepared["image"].folder
    if torn:  # interrupted a second time
        monkeypatch.setattr("fervid.prepare.prepared_corpus.write_card", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            again.prepared["image"].prepare()
        monkeypatch.undo()
        assert len(journal.read_text().splitlines()) == 10
        again = corpus(raw, tmp_path)
    again.prepared["image"].prepare()
    assert again.prepared["image"].folder.name == whole.name
    assert content(again.prepared["image"].folder) == content(whole)


PREPARE = """
import signal, sys
from pathlib import Path
from fervid.data import RAVDESSDataModule
folder = Path(sys.argv[2])
options = {"frame_stride": int(sys.argv[3]), "face_size": 64, "cache_dir": folder / "cache", "prepared_dir": folder}
signal.alarm(240)  # in case the test process dies first
corpus = RAVDESSDataModule(sys.argv[1], **options)
print("ready", flush=True)
corpus.prepared["image"].prepare()
print(corpus.prepared["image"].folder, flush=True)
"""


def start(root, folder, frame_stride=1):
    """Starts a preparation in a separate process and waits until it has loaded its libraries."""
    words = [sys.executable, "-c", PREPARE, str(root), str(folder), str(frame_stride)]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def kill_it(process, workers_too=True):
    os.killpg(process.pid, signal.SIGKILL) if workers_too else process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.slow
def test_preparation_killed_twenty_times_is_identical(tmp_path):
    root = tmp_path / "raw"
    write_ravdess(root, subjects=(1, 2, 3, 4), emotions=["neutral", "happy", "sad"], frames=40, width=640, height=360)
    undisturbed = start(root, tmp_path / "whole")
    began = time.perf_counter()  # libraries are loaded, as in the processes that will be killed
    *_, folder = undisturbed.communicate()[0].splitlines()
    seconds = time.perf_counter() - began
    rng = random.Random(0)
    midway, folders = 0, []
    for kill in range(20):
        # Continue the previous preparation until it is complete.
        if not folders or list(folders[-1].glob("*/manifest.parquet")):
            folders.append(tmp_path / f"killed{kill}")
        process = start(root, folders[-1])
        time.sleep(rng.uniform(0, seconds / 3))
        kill_it(process, workers_too=kill % 2)
        midway += bool(list(folders[-1].glob(f"*/{JOURNAL}")))
    assert midway >= 10  # otherwise the kills came too early or too late
    for where in folders:
        *_, resumed = start(root, where).communicate()[0].splitlines()
        assert content(Path(resumed)) == content(Path(folder)), where


def test_killed_preparation_resumes(raw, tmp_path):
    """Kills a real preparation once, as soon as some clips are finished, in the fast suite."""
    process = start(raw, tmp_path, frame_stride=1)
    journals = lambda: list(tmp_path.glob(f"*/{JOURNAL}"))  # noqa: E731
    while process.poll() is None and not (journals() and journals()[0].stat().st_size > 0):
        time.sleep(0.002)
    kill_it(process)
    done = len(journals()[0].read_text().splitlines()) if journals() else 10
    assert done >= 1
    killed, other = corpus(raw, tmp_path, frame_stride=1), corpus(raw, tmp_path / "other", frame_stride=1)
    killed.prepared["image"].prepare()
    other.prepared["image"].prepare()
    assert content(killed.prepared["image"].folder) == content(other.prepared["image"].folder)


@pytest.mark.slow
def test_two_simultaneous_preparations_do_not_interfere(raw, tmp_path):
    processes = [start(raw, tmp_path, frame_stride=2) for _ in range(2)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    alone = corpus(raw, tmp_path / "alone", frame_stride=2)
    alone.prepared["image"].prepare()
    assert content(corpus(raw, tmp_path, frame_stride=2).prepared["image"].folder) == content(
        alone.prepared["image"].folder
    )


@pytest.fixture
def broken(raw, tmp_path):
    """The same corpus with a truncated clip and an empty one."""
    root = shutil.copytree(raw, tmp_path / "raw")
    first, second, *_ = sorted(root.rglob("*.mp4"))
    first.write_bytes(first.read_bytes()[:2000])
    second.write_bytes(b"")
    return root, first.name, second.name


def test_broken_videos_are_reported(broken, tmp_path, caplog):
    root, *names = broken
    made = corpus(
        root, tmp_path, max_failures=0.2, batch_size=2, split=lambda m: (["train", "val", "test"] * 99)[: len(m)]
    )
    made.prepare_data()
    made.setup()
    assert [Path(path).name for path in made.failures["path"]] == names
    assert all(made.failures["reason"])
    assert "2 of 10 files have no usable face" in caplog.text
    assert made.manifest["clip"].nunique() == 8
    assert json.loads((made.prepared["image"].folder / "card.json").read_text())["counts"]["failures"] == 2


def test_too_many_failures_stop_the_preparation(broken, tmp_path):
    root, *_ = broken
    made = corpus(root, tmp_path, max_failures=0.1)
    sentence = r"2 of 10 files fail \(first: .*\), more than the fraction dataset.max_failures=0.1"
    with pytest.raises(InputError, match=sentence):
        made.prepared["image"].prepare()
    assert len(pd.read_csv(made.prepared["image"].folder / "failures.csv")) == 2
    assert not made.prepared["image"].is_prepared
    assert corpus(root, tmp_path, max_failures=0.2).prepared["image"].folder == made.prepared["image"].folder
    corpus(root, tmp_path, max_failures=0.2).prepared["image"].prepare()


def test_frames_without_a_face_have_no_face(raw, tmp_path):
    """No faces are found in the black second half of a clip."""
    root = tmp_path / "videos"
    (root / "happy").mkdir(parents=True)
    (root / "sad").mkdir()
    clip = next(raw.rglob("*-03-01-*.mp4"))
    shutil.copy(clip, root / "happy" / "a.mp4")
    black = cv2.VideoWriter(str(root / "sad" / "b.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (480, 270))
    capture = cv2.VideoCapture(str(clip))
    for number in range(12):
        _, frame = capture.read()
        black.write(frame if number < 6 else np.zeros_like(frame))
    black.release()
    options = {"frame_stride": 3, "face_size": 64, "cache_dir": tmp_path / "cache"}
    made = VideoFolderDataModule(root, prepared_dir=tmp_path, **options)
    made.prepared["image"].prepare()
    manifest = (
        pd.read_parquet(made.prepared["image"].folder / "manifest.parquet").set_index(["clip", "frame"])["face"].notna()
    )
    assert manifest["happy/a.mp4"].tolist() == [True] * 4
    assert manifest["sad/b.avi"].tolist() == [True, True, False, False]
    assert made.rows["clip"].value_counts().to_dict() == {"happy/a.mp4": 4, "sad/b.avi": 2}


def test_changed_annotated_faces_change_the_folder(raw, tmp_path):
    class Boxes(RAVDESS):
        faces = None

        def read(self):
            found = super().read()
            return replace(found, faces=self.faces and [self.faces] * len(found.files))

    class Others(Boxes):
        faces = Face((10, 20, 40, 40))

    class Eyes(Boxes):
        faces = Face((10, 20, 40, 40), np.array([[20.0, 40.0], [40.0, 40.0]]))

    class OtherEyes(Boxes):
        faces = Face((10, 20, 40, 40), np.array([[20.0, 40.0], [40.0, 41.0]]))

    names = [PreparedCorpus(kind(raw), folder=tmp_path).folder.name for kind in (Boxes, Others, Eyes, OtherEyes)]
    assert len(set(names)) == 4
    assert names[0] == PreparedCorpus(RAVDESS(raw), folder=tmp_path).folder.name
    Others.faces = Face((10, 20, 40, 41))
    assert PreparedCorpus(Others(raw), folder=tmp_path).folder.name not in names


def test_corpus_without_any_face_is_an_error(tmp_path):
    for emotion in ("happy", "sad"):
        (tmp_path / "v" / emotion).mkdir(parents=True)
        writer = cv2.VideoWriter(str(tmp_path / "v" / emotion / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (96, 64))
        for _ in range(12):
            writer.write(np.zeros((64, 96, 3), np.uint8))
        writer.release()
    made = VideoFolderDataModule(tmp_path / "v", prepared_dir=tmp_path / "p", cache_dir=tmp_path / "c")
    with pytest.raises(InputError, match=r"no face in any of 2 frames.*another detector"):
        made.prepared["image"].prepare()
    made = VideoFolderDataModule(tmp_path / "v", prepared_dir=tmp_path / "p", cache_dir=tmp_path / "c", max_failures=1)
    with pytest.raises(InputError, match="no face was found in any of 2 files"):
        made.prepared["image"].prepare()


def test_temporary_failures_are_retried(raw, whole, tmp_path, monkeypatch):
    """For example, a network drive was unavailable for a moment."""

    def one_fails(task, detector, alignment, **options):
        from fervid.faces.clip_faces import Crop, crop_faces

        stale = Crop(task.row, failure="Stale file handle", temporary=True)
        return stale if task.row == 3 else crop_faces(task, detector, alignment, **options)

    monkeypatch.setattr("fervid.prepare.prepared_corpus.crop_faces", one_fails)
    made = corpus(raw, tmp_path, max_failures=0)
    with pytest.raises(InputError, match=r"1 of 10 files could not be read this time .*Stale.*the same command again"):
        made.prepared["image"].prepare()
    assert not made.prepared["image"].is_prepared
    monkeypatch.undo()
    made.prepared["image"].prepare()
    assert content(made.prepared["image"].folder) == content(whole)


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (MemoryError(), True),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (IsADirectoryError(errno.EISDIR, "Is a directory"), False),
        (ValueError("damaged"), False),
    ],
)
def test_temporary_errors_are_distinguished(monkeypatch, error, temporary):
    def fail(*_):
        raise error

    monkeypatch.setattr("fervid.faces.clip_faces.read_frames", fail)
    crop = crop_faces(ClipTask(0, Path("a.mp4"), Sampling()), NoDetector(), Alignment())
    assert crop.failure
    assert crop.temporary == temporary


def test_keyboard_interrupt_is_raised_and_can_be_resumed(raw, whole, tmp_path, monkeypatch):
    """If it were swallowed, the next job of a sweep would start."""
    write, written = Path.write_bytes, []

    def interrupt(self, content):
        written.append(self)
        if len(written) == 8:  # a clip has three faces at most
            raise KeyboardInterrupt
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", interrupt)
    made = corpus(raw, tmp_path)
    sentence = r"interrupted after [2-9] of 10 files: run the same command again to resume"
    with pytest.raises(KeyboardInterrupt, match=sentence):
        made.prepared["image"].prepare()
    monkeypatch.undo()
    made.prepared["image"].prepare()
    assert content(made.prepared["image"].folder) == content(whole)


def test_names_and_labels_stay_inside_the_folder(raw, tmp_path):
    """Faces stay in the prepared folder whatever names of emotions and clips a CSV has."""
    clip = next(raw.rglob("*.mp4"))
    (tmp_path / "videos").mkdir()
    shutil.copy(clip, tmp_path / "videos" / "a.mp4")
    shutil.copy(clip, tmp_path / "videos" / "b.mp4")
    (tmp_path / "list.csv").write_text("path,emotion,clip\na.mp4,../../up,../../../x\nb.mp4,/etc/passwd,y\n")
    before = {path.name for path in tmp_path.iterdir()}
    made = VideoFolderDataModule(
        tmp_path / "videos", csv=tmp_path / "list.csv", prepared_dir=tmp_path / "p", cache_dir=tmp_path / "c"
    )
    made.prepared["image"].prepare()
    assert {path.name for path in tmp_path.iterdir()} - before == {"p"}
    faces = [
        path.relative_to(made.prepared["image"].folder / "faces").as_posix()
        for path in made.prepared["image"].folder.rglob("*.jpg")
    ]
    assert len(faces) == 4
    assert {face.split("/")[0] for face in faces} == {"_up", "_etc_passwd"}


def test_full_disk_is_reported_in_one_sentence(raw, tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\): free disk space.*to resume"):
        corpus(raw, tmp_path).prepared["image"].prepare()


def test_unwritable_folder_is_an_error(raw, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        corpus(raw, tmp_path / "file").prepared["image"].prepare()


@pytest.mark.parametrize("gone", [True, False])
def test_missing_or_damaged_face_is_an_error(raw, tmp_path, gone):
    made = corpus(raw, tmp_path, split=lambda m: (["train", "val", "test"] * 99)[: len(m)])
    made.prepared["image"].prepare()
    face = next(made.prepared["image"].folder.rglob("*.jpg"))
    face.unlink() if gone else face.write_bytes(face.read_bytes()[:300])
    with pytest.raises(InputError, match=r"can no longer be read.*remove .* to prepare it again"):
        made.prepare_data()


def test_faces_smaller_than_the_input_are_reported(raw, tmp_path, caplog):
    _ = corpus(raw, tmp_path, image_size=64).rows
    assert "are enlarged to" not in caplog.text
    _ = corpus(raw, tmp_path, image_size=96).rows
    assert "faces prepared at 64 px are enlarged to 96 px: use dataset.face_size=96" in caplog.text


def test_annotated_faces_need_no_detector(raw):
    class FailingDetector:
        def find(self, image, near=None):
            raise AssertionError

    eyes = np.array([[200.0, 120.0], [260.0, 120.0]])
    task = ClipTask(0, next(raw.rglob("*.mp4")), Around(5, 1), Face((180, 80, 100, 100), eyes))
    crop = crop_faces(task, FailingDetector(), Alignment(size=64))
    assert [frame["frame"] for frame in crop.frames] == [4, 5, 6]
    assert [frame["aligned"] for frame in crop.frames] == ["eyes"] * 3
    assert crop.failure is None
