"""CREMA-D and EmoDB, in their real layouts."""

import re
import shutil
import zipfile
from itertools import product

import pytest
from sound_files import tone, write_sound

from fervid.corpora import CREMAD, EmoDB
from fervid.corpora.crema_d import EXPECTED as CREMA_D_CLIPS
from fervid.corpora.emodb import EXPECTED as EMODB_CLIPS
from fervid.errors import InputError
from fervid.prepare.prepared_corpus import PreparedCorpus
from fervid.prepare.prepared_sounds import PreparedSounds


@pytest.fixture
def emodb(tmp_path):
    """Two subjects, each with one clip of each emotion, in the folder ``wav``."""
    root = tmp_path / "emodb"
    for subject, letter in product(("03", "08"), "WLEAFTN"):
        write_sound(root / "wav" / f"{subject}a01{letter}a.wav", tone(0.2))
    return root


@pytest.fixture
def crema_d(tmp_path):
    """Two subjects: videos, MP3 and WAV files, and the table of subjects."""
    root = tmp_path / "CREMA-D"
    for subject, emotion in product(("1001", "1040"), ("ANG", "HAP", "SAD")):
        stem = f"{subject}_ITH_{emotion}_{'X' if (subject, emotion) == ('1040', 'SAD') else 'XX'}"
        write_sound(root / "AudioWAV" / f"{stem}.wav", tone(0.2))
        (root / "AudioMP3").mkdir(exist_ok=True)
        (root / "AudioMP3" / f"{stem}.mp3").touch()
        (root / "VideoFlash").mkdir(exist_ok=True)
        (root / "VideoFlash" / f"{stem}.flv").touch()
    people = "1001,51,Male,Caucasian,Not Hispanic\n1040,42,Female,Asian,Not Hispanic\n"
    (root / "VideoDemographics.csv").write_text(f"ActorID,Age,Sex,Race,Ethnicity\n{people}")
    return root


def test_published_numbers_of_clips():
    assert sum(EMODB_CLIPS.values()) == 535
    assert sum(CREMA_D_CLIPS.values()) == 7442


def test_emodb_is_read_from_its_names(emodb):
    clips = EmoDB(emodb).inventory.clips.set_index("clip")
    assert len(clips) == 14
    assert clips.loc["03a01Fa", ["subject", "emotion", "sex", "sentence"]].tolist() == [
        *("03", "happiness", "male", "a01")
    ]
    assert set(clips["emotion"]) == {"anger", "boredom", "disgust", "fear", "happiness", "sadness", "neutral"}
    assert clips.loc["08a01Wa", "sex"] == "female"


def test_emodb_zip_duplicates_and_other_names(emodb, tmp_path):
    with zipfile.ZipFile(tmp_path / "download.zip", "w") as archive:
        for path in emodb.rglob("*.wav"):
            archive.write(path, f"wav/{path.name}")
    assert len(EmoDB(tmp_path / "download.zip").inventory.clips) == 14
    shutil.copy(emodb / "wav" / "03a01Fa.wav", emodb)
    for name in ("04a01Fa.wav", "03a01Xa.wav", "music.wav"):
        (emodb / name).touch()
    inventory = EmoDB(emodb).inventory
    assert len(inventory.clips) == 14
    assert "duplicates, left out: 1 (first: wav/03a01Fa.wav)." in inventory.sentences()
    assert any(sentence.startswith("without an EmoDB file name, left out: 3") for sentence in inventory.sentences())


@pytest.mark.parametrize(("corpus", "subjects"), [(EmoDB, [3]), (CREMAD, [1001])])
def test_options_select_clips(emodb, crema_d, corpus, subjects):
    root = emodb if corpus is EmoDB else crema_d
    chosen = corpus(root, emotions=["angry", "sad"], subjects=subjects).for_sound().inventory
    assert set(chosen.clips["emotion"]) == {"anger", "sadness"}
    assert chosen.clips["subject"].nunique() == 1
    advice = "[3,8] of the numbers 3, 8, 9, 10" if corpus is EmoDB else "[1001,1002] of the numbers 1001 to 1091"
    with pytest.raises(InputError, match=f"cannot be used: give a list such as {re.escape(advice)}"):
        corpus(root, subjects=[7])
    (root / "empty").mkdir()
    with pytest.raises(InputError, match="no clips of"):
        _ = corpus(root / "empty").inventory


def test_emodb_is_prepared_and_has_no_faces(emodb, tmp_path):
    made = PreparedSounds(EmoDB(emodb), folder=tmp_path)
    assert len(made.sounds()) == 14
    with pytest.raises(InputError, match=r"dataset=emodb have only sound and show no faces: .*sample=sound"):
        PreparedCorpus(EmoDB(emodb), folder=tmp_path).prepare()


def test_crema_d_videos_have_demographics(crema_d):
    inventory = CREMAD(crema_d).inventory
    assert {file.suffix for file in inventory.files} == {".flv"}
    clips = inventory.clips.set_index("clip")
    assert len(clips) == 6
    assert clips.loc["1040_ITH_SAD_X", ["subject", "emotion", "intensity", "sex", "age"]].tolist() == [
        *("1040", "sadness", "unspecified", "female", "42")
    ]
    assert "subjects missing: 89 of 91 (first: 1002)." in inventory.sentences()


def test_crema_d_sound_is_read_from_wav_files(crema_d, tmp_path):
    inventory = CREMAD(crema_d).for_sound().inventory
    assert {file.suffix for file in inventory.files} == {".wav"}
    assert any(sentence.startswith("further files of the same clips, left out: 12") for sentence in inventory.notes)
    assert len(PreparedSounds(CREMAD(crema_d), folder=tmp_path).sounds()) == 6


def test_crema_d_table_of_subjects_is_optional_and_checked(crema_d):
    (crema_d / "VideoDemographics.csv").write_text("Actor,Age\n1001,51\n")
    with pytest.raises(InputError, match=r"VideoDemographics.csv cannot be used .*ActorID, Age and Sex are expected"):
        _ = CREMAD(crema_d).inventory
    (crema_d / "VideoDemographics.csv").write_text("ActorID,Age,Sex\n1001,51,Male\n1001,51,Male\n")
    with pytest.raises(InputError, match=r"VideoDemographics.csv cannot be used .*one row per subject"):
        _ = CREMAD(crema_d).inventory
    (crema_d / "VideoDemographics.csv").unlink()
    assert "sex" not in CREMAD(crema_d).inventory.clips
