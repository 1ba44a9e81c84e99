"""Features of a corpus: read once, stored, and read again from the stored arrays."""

import json
import os
import pickle

import numpy as np
import pandas as pd
import pytest
from sound_files import tone, write_sound

from fervid.corpora import RAVDESS
from fervid.errors import InputError
from fervid.prepare import prepared_features
from fervid.prepare.preparation import Part
from fervid.prepare.prepared_features import PreparedFeatures

STEMS = [f"03-01-{emotion:02d}-01-01-01-{subject:02d}" for emotion in (1, 3, 4) for subject in range(1, 6)]


@pytest.fixture
def sounds(tmp_path):
    """15 clips with the names of RAVDESS."""
    for stem in STEMS:
        write_sound(tmp_path / "sounds" / f"{stem}.wav", tone(0.1, 16_000, 300.0), 16_000)
    return tmp_path / "sounds"


@pytest.fixture
def table(tmp_path):
    """A table of the audio-video files with 1 to 5 frames per clip, in random order."""
    rng = np.random.default_rng(0)
    rows = [
        {"name": f"01{stem[2:]}", "frame": frame, "AU01_r": rng.random(), "AU02_r": rng.random(), "AU01_c": frame % 2}
        for stem in STEMS
        for frame in range(int(stem[-2:]))
    ]
    path = tmp_path / "table.csv"
    pd.DataFrame(rows).sample(frac=1, random_state=0).to_csv(path, index=False)
    return path


@pytest.fixture
def source(sounds, table, tmp_path):
    def make(**options):
        return PreparedFeatures(RAVDESS(sounds, modality="audio-only"), table, folder=tmp_path / "prepared", **options)

    return make


def without(table, *names):
    rows = pd.read_csv(table)
    rows[~rows["name"].isin([f"01{name[2:]}" for name in names])].to_csv(table, index=False)


def test_rows_and_features_agree_with_the_table(source, table):
    made = source()
    assert not made.is_prepared
    rows = made.rows()
    assert made.is_prepared
    assert made.name == "ravdess"
    assert made.about()["name"] == "ravdess"
    assert made.columns == ["AU01_r", "AU02_r", "AU01_c"]
    assert rows["clip"].tolist() == made.inventory.clips["clip"].tolist()
    assert rows["feature_rows"].tolist() == [int(clip[-2:]) for clip in rows["clip"]]
    expected = pd.read_csv(table).sort_values("frame")
    for row, clip in enumerate(rows["clip"]):
        values = made.read(row)
        assert values.dtype == np.float32
        assert values.flags.writeable
        written = expected.loc[expected["name"] == f"01{clip[2:]}", made.columns]
        assert np.array_equal(values, written.to_numpy(np.float32))
    assert made.card() == {"name": "ravdess", "clips": 15, "rows": 45, "features": 3}
    assert made.failures.empty


def test_the_folder_is_read_again_without_the_table_being_parsed(source, monkeypatch):
    made = source()
    rows = made.rows()
    assert made.folder.name.startswith("ravdess-features-")
    assert {path.name for path in made.folder.iterdir()} == {
        *("columns.json", "failures.csv", "manifest.parquet", "values.bin", "values.offsets.npz")
    }
    assert json.loads((made.folder / "columns.json").read_text()) == made.columns
    monkeypatch.setattr(prepared_features, "read_features", lambda *_, **__: 1 / 0)
    again = source()
    assert again.fingerprint() == made.fingerprint() == made.folder.name
    pd.testing.assert_frame_equal(again.rows(), rows)
    assert np.array_equal(again.read(4), made.read(4))


def test_copies_for_other_processes_do_not_contain_the_values(source):
    made = source()
    values = made.read(3)
    assert made._values._opened is not None
    copy = pickle.loads(pickle.dumps(made))
    assert copy._values._opened is None
    assert np.array_equal(copy.read(3), values)


def test_table_columns_and_clips_change_the_fingerprint(source, sounds, table):
    first = source().fingerprint()
    assert source(columns=["AU*_r"]).fingerprint() != first
    os.utime(table, (1, 1))
    second = source().fingerprint()
    assert second != first
    (sounds / f"{STEMS[0]}.wav").write_bytes(b"other content")
    assert source().fingerprint() == second  # only names matter
    (sounds / f"{STEMS[0]}.wav").unlink()
    assert source().fingerprint() != second


def test_clips_without_features_are_listed(source, table, sounds):
    without(table, STEMS[3])
    (sounds / "notes.wav").touch()
    made = source(columns="AU*_r")
    rows = made.rows()
    assert len(rows) == 14
    assert made.failures.to_dict("list") == {
        "path": [f"{STEMS[3]}.wav", "notes.wav"],
        "reason": ["no row in table.csv", "without a RAVDESS file name"],
        "outcome": ["failed", "left out"],
    }
    last = len(rows) - 1
    assert made.read(last).shape == (rows["feature_rows"][last], 2)


def test_too_many_clips_without_features(source, table):
    without(table, STEMS[3], STEMS[4])
    sentence = (
        r"2 of 15 files fail \(first: .*-04.wav: no row in table.csv\), more than the fraction "
        r"dataset.max_failures=0.1: see .*failures.csv; complete .*table.csv, or raise dataset.max_failures"
    )
    made = source()
    with pytest.raises(InputError, match=sentence):
        made.rows()
    assert not made.is_prepared
    assert len(pd.read_csv(made.folder / "failures.csv")) == 2
    assert len(source(max_failures=0.2).rows()) == 13


def test_an_emotion_without_features(source, table):
    without(table, *STEMS[5:10])
    with pytest.raises(InputError, match=r"no clip of happy has features .*: complete .*table.csv, or exclude"):
        source(max_failures=0.5).rows()


def test_features_are_not_prepared_in_parts(source):
    with pytest.raises(InputError, match="part and parts do not apply to features"):
        source().prepare_part(Part(0, 2))


def test_no_partial_result_counts_as_prepared(source, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    made = source()
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
        made.rows()
    monkeypatch.undo()
    assert not made.is_prepared
    assert len(made.rows()) == 15
