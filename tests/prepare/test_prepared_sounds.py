import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sound_files import tone, write_silent_video, write_sound

from fervid.corpora import RAVDESS, ImageFolder, VideoFolder
from fervid.errors import InputError
from fervid.media.decoding import read_picture
from fervid.media.sound import read_sound, read_wav
from fervid.prepare.preparation import JOURNAL, Part
from fervid.prepare.prepared_sounds import PreparedSounds

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "ravdess_speech" / "Audio_Speech_Actors_01-24.zip"
EMOTIONS = {"01": 300.0, "03": 500.0, "04": 700.0}  # neutral, happy, sad: each has a frequency


def write_clips(root, subjects=(1, 2)):
    """Writes 5 clips of each subject, of 48 kHz, with the names of RAVDESS."""
    for subject in subjects:
        for emotion, frequency in EMOTIONS.items():
            for intensity in ("01", "02")[: 1 if emotion == "01" else 2]:
                path = root / f"Actor_{subject:02d}" / f"03-01-{emotion}-{intensity}-01-01-{subject:02d}.wav"
                sound = tone(1 + subject / 10, 48_000, frequency, level=0.1 * subject)
                write_sound(path, sound, 48_000)
    return root


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("raw"))


def prepared(root, folder, **options):
    return PreparedSounds(RAVDESS(root), folder=folder, **options)


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory):
    """The folder of an uninterrupted preparation."""
    made = prepared(raw, tmp_path_factory.mktemp("whole"))
    made.prepare()
    return made.folder


def test_contents_of_a_prepared_folder(whole, raw):
    assert whole.name.startswith("ravdess-sound-")
    assert {path.name for path in whole.iterdir()} == {
        *("card.json", "card.md", "failures.csv", "manifest.parquet", "sounds", "spectrograms.png")
    }
    manifest = pd.read_parquet(whole / "manifest.parquet")
    assert len(manifest) == 10
    assert manifest["clip"].tolist() == sorted(path.stem for path in raw.rglob("*.wav"))  # whatever finished first
    assert manifest["sound"].is_unique
    assert {path.relative_to(whole).as_posix() for path in whole.rglob("*.wav")} == set(manifest["sound"])
    assert set(manifest["modality"]) == {"audio-only"}
    for row in manifest.to_dict("records"):
        samples = read_wav(whole / row["sound"])
        assert np.abs(samples - read_sound(raw / row["path"]).samples).max() < 1 / 32768
        assert row["seconds"] == pytest.approx(len(samples) / 16_000, abs=1e-4)
        assert row["seconds"] == pytest.approx(1 + int(row["subject"]) / 10, abs=0.01)
        assert row["peak_db"] == pytest.approx(20 * np.log10(0.1 * int(row["subject"])), abs=0.2)
        assert row["rms_db"] == pytest.approx(row["peak_db"] - 3.01, abs=0.2)
        assert (row["channels"], row["source_rate"], row["clipped"]) == (1, 48_000, 0)
        assert row["sound"].startswith(f"sounds/{row['emotion']}/")
    assert read_picture(whole / "spectrograms.png").std() > 10


def test_card_matches_the_manifest(whole):
    card = json.loads((whole / "card.json").read_text())
    manifest = pd.read_parquet(whole / "manifest.parquet")
    counts = card["counts"]
    assert (counts["files"], counts["clips"], counts["subjects"], counts["failures"]) == (10, 10, 2, 0)
    assert (counts["silent"], counts["clipped"], counts["source_rates"]) == (0, 0, {"48000": 10})
    assert card["hours"] == pytest.approx(manifest["seconds"].sum() / 3600, abs=1e-4)
    assert card["by_emotion"]["happy"]["clips"] == 4
    assert card["settings"]["modality"] == "audio-only"
    text = (whole / "card.md").read_text()
    links = re.findall(r"\[(quietest|median|loudest)\]\(<(.+?)>\)", text)
    assert [name for name, _ in links] == ["quietest", "median", "loudest"]
    assert all((whole / path).is_file() for _, path in links)
    assert "subjects missing: 22 of 24" in text
    assert card["licence"] == "CC BY-NC-SA 4.0"


def test_preparing_again_changes_nothing(whole, raw, monkeypatch):
    before = content(whole)
    monkeypatch.setattr("fervid.prepare.prepared_sounds.prepare_clips", lambda *_, **__: 1 / 0)
    prepared(raw, whole.parent).prepare()
    assert content(whole) == before
    assert len(prepared(raw, whole.parent).sounds()) == 10


def test_joined_parts_are_identical_to_a_whole_preparation(raw, whole, tmp_path):
    for number in (1, 0):
        made = prepared(raw, tmp_path)
        assert made.prepare_part(Part(number, 2)) == 5
        assert not made.is_prepared
    written = {path: path.stat().st_mtime_ns for path in made.folder.rglob("*.wav")}
    prepared(raw, tmp_path).prepare()
    assert content(made.folder) == content(whole)
    assert {path: path.stat().st_mtime_ns for path in made.folder.rglob("*.wav")} == written


@pytest.mark.parametrize("lines", [0, 4, 10])
def test_resumes_an_interrupted_preparation(raw, whole, tmp_path, lines, monkeypatch):
    """The state after a kill: some clips in the journal, half a line, and an incomplete file of the next clip."""
    made = prepared(raw, tmp_path)
    monkeypatch.setattr("fervid.prepare.prepared_sounds.write_card", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.prepare()
    monkeypatch.undo()
    journal = made.folder / JOURNAL
    entries = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(entries[:lines]) + entries[-1][:40])
    for entry in map(json.loads, entries[lines:]):
        sound = made.folder / entry["sound"]
        sound.write_bytes(sound.read_bytes()[:100])
    prepared(raw, tmp_path).prepare()
    assert content(made.folder) == content(whole)


PREPARE = """
import signal, sys
from fervid.corpora import RAVDESS
from fervid.prepare.prepared_sounds import PreparedSounds
signal.alarm(240)  # in case the test process dies first
sounds = PreparedSounds(RAVDESS(sys.argv[1]), folder=sys.argv[2])
print("ready", flush=True)
sounds.prepare()
"""


def start(root, folder):
    words = [sys.executable, "-c", PREPARE, str(root), str(folder)]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_killed_preparation_resumes(tmp_path):
    root = write_clips(tmp_path / "raw", range(1, 13))
    process = start(root, tmp_path)
    journals = lambda: list(tmp_path.glob(f"*/{JOURNAL}"))  # noqa: E731
    while process.poll() is None and not (journals() and journals()[0].stat().st_size > 0):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    killed, other = prepared(root, tmp_path), prepared(root, tmp_path / "other")
    killed.prepare()
    other.prepare()
    assert content(killed.folder) == content(other.folder)


@pytest.mark.slow
def test_two_simultaneous_preparations_do_not_interfere(raw, whole, tmp_path):
    processes = [start(raw, tmp_path) for _ in range(2)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert content(prepared(raw, tmp_path).folder) == content(whole)


def test_unusable_files_fail_and_clipped_ones_are_counted(raw, tmp_path, caplog):
    root = shutil.copytree(raw, tmp_path / "raw")
    first, second, third, fourth, *_ = sorted(root.rglob("*.wav"))
    write_sound(first, np.zeros((1, 16_000)))
    second.write_bytes(second.read_bytes()[:5000])
    write_sound(third, tone(level=2, channels=2).clip(-1, 1))
    write_sound(fourth, tone(rate=8_000), 8_000)
    with pytest.raises(InputError, match=r"2 of 10 files fail .*silent.*dataset.max_failures=0.1.*a corpus with sound"):
        prepared(root, tmp_path).prepare()
    made = prepared(root, tmp_path, max_failures=0.2)
    counts = made.prepare()["counts"]
    assert {name: counts[name] for name in ("clips", "failures", "silent", "clipped", "several_channels")} == {
        "clips": 8, "failures": 2, "silent": 1, "clipped": 1, "several_channels": 1
    }  # fmt: skip
    assert counts["below_rate"] == 1
    card = (made.folder / "card.md").read_text()
    assert "Silent files, which count as failed: 1." in card
    assert "Clipped sounds (at least 0.1% of the samples at full scale): 1." in card
    assert "fewer than 16000 samples per second, which have no high frequencies: 1." in card
    assert len(made.sounds()) == 8
    assert made.failures["outcome"].tolist() == ["failed"] * 2
    assert "2 of 10 files have no usable sound" in caplog.text


def test_folder_of_videos_and_sound_files(tmp_path):
    write_sound(tmp_path / "own" / "happy" / "a.mp4", tone(1, 44_100), 44_100, "aac", pictures=True)
    write_sound(tmp_path / "own" / "sad" / "b.flac", tone(), codec="flac")
    write_silent_video(tmp_path / "own" / "sad" / "c.mp4")
    made = PreparedSounds(VideoFolder(tmp_path / "own"), folder=tmp_path, max_failures=0.4)
    assert made.sounds()["clip"].tolist() == ["happy/a.mp4", "sad/b.flac"]
    assert made.failures["reason"].tolist() == ["has no sound track"]
    assert len(VideoFolder(tmp_path / "own").inventory.clips) == 2  # sound files have no frames
    write_sound(tmp_path / "own" / "happy" / "a.wav", tone())  # extracted from the video
    made = PreparedSounds(VideoFolder(tmp_path / "own"), folder=tmp_path, max_failures=0.4)
    assert made.sounds()["clip"].tolist() == ["happy/a.wav", "sad/b.flac"]
    assert made.failures["reason"].tolist() == ["has no sound track", "videos with a sound file of the same name"]


def test_corpus_without_sound_is_refused(tmp_path, pictures):
    with pytest.raises(InputError, match="dataset=image_folder has pictures without sound"):
        PreparedSounds(ImageFolder(pictures), folder=tmp_path)
    for emotion in ("happy", "sad"):
        write_silent_video(tmp_path / "own" / emotion / "a.mp4")
    with pytest.raises(InputError, match=r"2 of 2 files fail \(first: happy/a.mp4: has no sound track\)"):
        PreparedSounds(VideoFolder(tmp_path / "own"), folder=tmp_path).prepare()
    with pytest.raises(InputError, match="none of 2 files has usable sound"):
        PreparedSounds(VideoFolder(tmp_path / "own"), folder=tmp_path, max_failures=1).prepare()


def test_emotion_without_sound_is_an_error(tmp_path):
    write_sound(tmp_path / "own" / "happy" / "a.wav", tone())
    write_sound(tmp_path / "own" / "sad" / "a.wav", np.zeros((1, 16_000)))
    with pytest.raises(InputError, match="no clip of sad has usable sound"):
        PreparedSounds(VideoFolder(tmp_path / "own"), folder=tmp_path, max_failures=0.5).sounds()


def test_command_prepares_sound(raw, whole, tmp_path, fervid_command, capsys):
    words = ["dataset=ravdess", f"dataset.root={raw}", f"cache_dir={tmp_path}"]
    fervid_command("prepare", *words, "sample=sound")
    text = capsys.readouterr().out
    assert "Inventory of ravdess" in text
    assert "10 sounds of 10 files, 0.2 min in all (1.1 to 1.2 s), 0 files failed." in text
    (folder,) = (tmp_path / "prepared").glob("ravdess-sound-*/")
    assert f"Output: {folder}" in text
    assert "spectrograms.png" in text
    assert (folder / "manifest.parquet").read_bytes() == (whole / "manifest.parquet").read_bytes()
    fervid_command("prepare", *words, "sample=sound")
    assert "already prepared:" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        fervid_command("prepare", *words, "sample=sounds")
    assert "there is no sample 'sounds': choose clip, clip_sound, features, frame, sound" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_file(), reason=f"no real sound in {SHARED}")
def test_published_speech_is_prepared(tmp_path):
    made = PreparedSounds(RAVDESS(SHARED), folder=tmp_path, max_failures=0)
    card = made.prepare()
    assert (card["counts"]["files"], card["counts"]["clips"], card["counts"]["subjects"]) == (1440, 1440, 24)
    assert card["hours"] == pytest.approx(1.48, abs=0.01)
    manifest = made.sounds()
    assert manifest["seconds"].between(2.5, 5.5).all()
    assert manifest.groupby("emotion")["rms_db"].mean().idxmax() == "angry"
    row = manifest.iloc[700]
    zipped = next(file for file in made.inventory.files if file.path == row["path"])
    assert (read_wav(made.folder / row["sound"]) == read_sound(zipped.source).samples).all()
