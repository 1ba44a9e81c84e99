import shutil
from functools import partial
from itertools import product

import pandas as pd
import pytest
from rendered_corpora.enterface import write_enterface

from fervid import splits
from fervid.corpora.enterface import EMOTIONS, ENTERFACE
from fervid.data import ENTERFACEDataModule
from fervid.errors import InputError


@pytest.fixture
def archive(tmp_path):
    """All 1,293 videos of the archive as empty files."""
    root = tmp_path / "enterface" / "database"
    for subject, emotion, sentence in product(range(1, 45), EMOTIONS, range(1, 6)):
        code = emotion[:2]
        folder = root / f"subject {subject}" / emotion / f"sentence {sentence}"
        name = {3: f"s_3_{code}_{sentence}", 11: f"s12_{code}_{sentence}"}.get(subject, f"s{subject}_{code}_{sentence}")
        if subject == 6:
            folder, name = folder.parent, f"s6_{code}"
        if (subject, code) == (23, "ha") and sentence > 2:
            continue
        if (subject, code, sentence) == (16, "su", 3):
            name = "s16_su_3avi"
        if (subject, code, sentence) == (4, "di", 2):
            folder /= "sentence 2"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.avi").touch()
        (folder / "Thumbs.db").touch()
    return root


def read(root, **options):
    return ENTERFACE(root, **options).read()


def test_complete_archive_is_read(archive):
    assert len(list(archive.rglob("*.avi"))) == 1293
    inventory = read(archive.parent)
    clips = inventory.clips
    assert len(clips) == len(inventory.files) == clips["clip"].nunique() == 1287
    counts = dict.fromkeys(EMOTIONS, 215) | {"happiness": 212}
    assert clips["emotion"].value_counts().to_dict() == inventory.expected == counts
    subjects = {str(n): 30 for n in range(1, 45) if n != 6} | {"23": 27}
    assert clips["subject"].value_counts().to_dict() == inventory.expected_subjects == subjects
    assert inventory.missing == []
    assert inventory.sentences() == inventory.notes
    unsegmented, names, swapped = inventory.notes
    assert unsegmented.startswith("not segmented into sentences (dataset.unsegmented=true includes them), left out")
    assert unsegmented.endswith("6 (first: database/subject 6/anger/s6_an.avi).")
    assert names.endswith("the folders are used: 30 (first: database/subject 11/anger/sentence 1/s12_an_1.avi).")
    assert swapped.endswith("corrected: 2 (first: database/subject 2/anger/sentence 1/s2_an_1.avi).")


def test_folders_take_precedence_over_file_names(archive):
    clips = read(archive).clips.set_index("clip")
    files = read(archive).files
    paths = pd.Series([file.path for file in files], clips.index)
    assert clips.loc["s11-fear-4"].tolist() == ["11", "fear", 4]
    assert paths["s11-fear-4"].endswith("subject 11/fear/sentence 4/s12_fe_4.avi")
    assert paths["s16-surprise-3"].endswith("s16_su_3avi.avi")
    assert clips.loc["s4-disgust-2", "sentence"] == 2
    # The folders of sentences 1 and 2 are swapped.
    assert clips.loc[[f"s2-anger-{k}" for k in (1, 2, 3)], "sentence"].tolist() == [2, 1, 3]
    assert (clips["sentence"].astype(str) == clips.index.str[-1]).sum() == 1285


def test_unsegmented_clips_can_be_included(archive):
    inventory = read(archive, unsegmented=True)
    assert len(inventory.clips) == sum(inventory.expected.values()) == 1293
    six = inventory.clips[inventory.clips["subject"] == "6"]
    assert six["clip"].tolist() == [f"s6-{emotion}" for emotion in EMOTIONS]
    assert six["sentence"].isna().all()
    assert inventory.expected_subjects["6"] == 6
    assert inventory.missing == []
    assert not any("not segmented" in note for note in inventory.notes)


def test_missing_clips_are_reported(archive):
    shutil.rmtree(archive / "subject 7")
    shutil.rmtree(archive / "subject 8" / "fear" / "sentence 5")
    shutil.rmtree(archive / "subject 23" / "happiness" / "sentence 1")
    inventory = read(archive)
    assert len(inventory.clips) == 1287 - 30 - 1 - 1
    assert len(inventory.missing) == 31  # the expected happy clips of subject 23 are unknown
    assert [*inventory.missing[:2], inventory.missing[-1]] == ["s8-fear-5", "s7-anger-1", "s7-surprise-5"]
    text = " ".join(inventory.sentences())
    assert "subjects missing: 1 of 43 (7)." in text
    assert "(8 has 29 of 30 clips, 23 has 26 of 27 clips)" in text


def test_emotions_and_subjects_can_be_selected(archive):
    inventory = read(archive, emotions=["angry", "happiness"], subjects=[2, 23])
    assert inventory.clips["emotion"].value_counts().to_dict() == inventory.expected == {"anger": 10, "happiness": 7}
    assert inventory.expected_subjects == {"2": 10, "23": 7}
    shutil.rmtree(archive / "subject 5")
    with pytest.raises(InputError, match=r"of subjects 1, 2, 3, 4, 6, .* none that"):
        read(archive, subjects=[5])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"emotions": ["anger", "bored"]}, "'bored' is unknown"),
        ({"emotions": ["anger", "angry"]}, "at least two emotions"),
        ({"subjects": [45]}, r"subjects=\[45\] cannot be used"),
        ({"subjects": []}, r"subjects=\[\] cannot be used"),
        ({"subjects": [6, 7]}, "unsegmented=true"),
    ],
)
def test_invalid_options_are_refused(tmp_path, options, sentence):
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, **options)


def test_duplicates_and_unrelated_files_are_left_out(tmp_path):
    shutil.copytree(make(tmp_path / "raw" / "Subject 1"), tmp_path / "zip" / "subject 1")
    shutil.make_archive(str(tmp_path / "raw" / "whole"), "zip", tmp_path / "zip")
    two = tmp_path / "raw" / "Subject 1" / "anger" / "sentence 1"
    (two / "again.avi").touch()
    (tmp_path / "raw" / "trailer.avi").touch()
    (tmp_path / "raw" / "subject 99" / "fear" / "sentence 1").mkdir(parents=True)
    (tmp_path / "raw" / "subject 99" / "fear" / "sentence 1" / "s99_fe_1.avi").touch()
    inventory = read(tmp_path / "raw")
    assert inventory.clips["clip"].tolist() == ["s1-anger-1", "s1-anger-1-take2", "s1-fear-1"]
    assert inventory.files[0].path == "Subject 1/anger/sentence 1/again.avi"
    misplaced, duplicates, second_takes = inventory.notes
    assert misplaced.endswith("left out: 2 (first: subject 99/fear/sentence 1/s99_fe_1.avi).")
    assert duplicates.startswith("duplicates, left out: 2 (first: whole.zip/subject 1/")
    assert second_takes.endswith("separate clips: 1 (first: Subject 1/anger/sentence 1/s1_an_1.avi).")


def make(subject):
    for emotion in ("anger", "fear"):
        (subject / emotion / "sentence 1").mkdir(parents=True)
        (subject / emotion / "sentence 1" / f"s1_{emotion[:2]}_1.avi").touch()
    return subject


def test_prepares_videos_and_loads_batches(tmp_path):
    table = write_enterface(
        tmp_path / "raw",
        subjects=(2, 6, 11),
        emotions=("anger", "disgust"),
        sentences=(1, 2),
        oddities=True,
        frames=6,
        width=320,
        height=240,
    )
    datamodule = ENTERFACEDataModule(
        tmp_path / "raw",
        frame_stride=3,
        face_size=64,
        image_size=28,
        batch_size=2,
        cache_dir=tmp_path / "cache",
        split=partial(splits.clips, val=0.25, test=0.25, seed=0),
    )
    datamodule.prepare_data()
    datamodule.setup()
    manifest = datamodule.manifest
    clips = manifest.drop_duplicates("path").set_index("path")
    table = table[table["subject"] != "6"].set_index("path").loc[clips.index]
    assert len(clips) == 8
    for column in ("subject", "emotion", "sentence"):
        assert clips[column].tolist() == table[column].tolist()
    assert len(manifest) == 8 * 2
    assert manifest["frame"].tolist() == [0, 3] * 8
    assert datamodule.failed_files == 0
    assert len(list((datamodule.prepared["image"].folder / "faces").rglob("*.jpg"))) == 16
    assert next(iter(datamodule.train_dataloader()))["image"].shape == (2, 3, 28, 28)
