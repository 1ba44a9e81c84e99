import shutil
import zipfile
from collections import Counter
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from rendered_corpora.ravdess import write_ravdess

from fervid import splits
from fervid.audit.leakage import audit
from fervid.corpora.ravdess import EMOTIONS, RAVDESS
from fervid.data import RAVDESSDataModule
from fervid.errors import InputError
from fervid.faces.detection import HaarDetector
from fervid.media.decoding import read_picture

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "ravdess"


def names(channel, modalities=("01", "02", "03")):
    """The names in Zenodo's archives of one vocal channel, generated independently of the reader."""
    for modality, actor in product(modalities, range(1, 25)):
        for emotion, intensity, statement, repetition in product(range(1, 9), (1, 2), (1, 2), (1, 2)):
            if (emotion == 1 and intensity == 2) or (channel == "02" and (emotion > 6 or actor == 18)):
                continue
            yield f"{modality}-{channel}-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}.mp4"


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """Every video and audio-only file of the corpus as an empty file, in four common layouts."""
    root = tmp_path_factory.mktemp("ravdess")
    for name in [*names("01"), *names("02")]:
        actor, song = name[18:20], name[3:5] == "02"
        folder = [f"Actor_{actor}", f"Video_Speech_Actor_{actor}/Actor_{actor}", f"ACTOR{actor}", ""][int(actor) % 4]
        path = root / ("song" if song else "speech") / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert sum(path.suffix == ".mp4" for path in root.rglob("*")) == 7356
    return root


def read(root, **options):
    return RAVDESS(root, **options).inventory


def test_complete_speech_is_read(complete):
    inventory = read(complete)
    assert inventory.clips["emotion"].value_counts().to_dict() == {
        "neutral": 96, **dict.fromkeys(EMOTIONS[1:], 192)
    }  # fmt: skip
    assert len(inventory.clips) == sum(inventory.expected.values()) == 1440
    assert inventory.clips["subject"].value_counts().to_dict() == {f"{actor:02d}": 60 for actor in range(1, 25)}
    assert inventory.missing == []
    assert inventory.sentences() == []
    assert inventory.clips["clip"].is_unique
    assert set(inventory.clips["modality"]) == {"video-only"}


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"emotions": "six"}, 1056),
        ({"channel": "song"}, 1012),
        ({"channel": "both"}, 2452),
        ({"modality": "both"}, 2880),
        ({"modality": "audio-video"}, 1440),
        ({"modality": "audio-only"}, 1440),
        ({"modality": "audio-only", "channel": "both"}, 2452),
        ({"intensity": "strong"}, 672),
        ({"intensity": "normal"}, 768),
        ({"subjects": [1, 18]}, 120),
        ({"emotions": ["happy", "Fear"]}, 384),
        ({"emotions": "six", "channel": "song"}, 1012),
    ],
)
def test_options_select_clips(complete, options, count):
    inventory = read(complete, **options)
    assert len(inventory.clips) == count
    assert inventory.sentences() == []
    assert Counter(inventory.clips["emotion"]) == inventory.expected


def test_file_name_gives_labels(complete):
    clips = read(complete).clips.set_index("clip")
    row = clips.loc["02-01-06-02-01-02-12"]
    assert row[["subject", "emotion", "sex", "intensity", "channel", "statement", "repetition"]].tolist() == [
        *("12", "fearful", "female", "strong", "speech", "01", "02")
    ]
    assert row["recording"] == "01-06-02-01-02-12"


def test_missing_clips_are_reported(complete, tmp_path):
    root = shutil.copytree(complete, tmp_path / "r")
    gone = next(root.rglob("02-01-08-02-02-02-03.mp4"))
    gone.unlink()
    for path in root.rglob("02-01-*-07.mp4"):
        path.unlink()
    sentences = read(root).sentences()
    assert sentences[:2] == ["subjects missing: 1 of 24 (07).", "subjects incomplete: 1 (03 has 59 of 60 clips)."]
    assert sentences[2].startswith("clips missing: 61 of 1440 (02-01-08-02-02-02-03, 02-01-01-01-01-01-07,")


def test_zips_are_read_and_duplicates_left_out(complete, tmp_path):
    some = [path for path in complete.rglob("*-05.mp4") if path.name[3:5] == "01"]
    with zipfile.ZipFile(tmp_path / "Video_Speech_Actor_05.zip", "w") as archive:
        for path in some:
            archive.write(path, f"Actor_05/{path.name}")
    inventory = read(tmp_path)
    assert len(inventory.clips) == 60
    assert inventory.clips["path"][0].startswith("Video_Speech_Actor_05.zip/Actor_05/02-01-01-")
    shutil.copy(next(path for path in some if path.name.startswith("02")), tmp_path)
    inventory = read(tmp_path)
    assert len(inventory.clips) == 60
    assert inventory.sentences()[0].startswith("duplicates, left out: 1 (first: Video_Speech")


def test_other_file_names_are_left_out(tmp_path):
    write_ravdess(tmp_path, emotions=["happy", "sad"], subjects=[1], frames=2, width=64, height=48)
    for name in ("02-01-09-01-01-01-01.mp4", "02-01-03-01-01-01-99.mp4", "02-01-03-01-01-01.mp4", "holiday.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "02-01-03-01-01-01-01.txt").touch()
    inventory = read(tmp_path)
    assert len(inventory.clips) == 4
    assert "without a RAVDESS file name, left out: 4 (first: 02-01-03-01-01-01-99.mp4)." in inventory.notes
    assert len(inventory.left_out) == 5
    for path in tmp_path.rglob("*-0[12].mp4"):
        path.unlink()
    with pytest.raises(InputError, match=r"no clips of ravdess were found .* RAVDESS file name, left out: 2 "):
        _ = RAVDESS(root=tmp_path).inventory


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"modality": "video"},
            "dataset.modality=video is unknown: choose audio-video, video-only, audio-only or",
        ),
        ({"channel": "sung"}, "dataset.channel=sung"),
        ({"intensity": "weak"}, "dataset.intensity=weak"),
        ({"emotions": "seven"}, "dataset.emotions=seven"),
        ({"emotions": ["happy", "bored"]}, "'bored' is unknown"),
        ({"emotions": ["happy"]}, "at least two emotions"),
        ({"emotions": [3, 4]}, "is not a list of names"),
        (
            {"subjects": [25]},
            r"dataset.subjects=\[25\] cannot be used: give a list such as \[1,2\] of the numbers 1 to 24",
        ),
        ({"subjects": []}, "cannot be used"),
        ({"subjects": [1.5]}, "cannot be used"),
        ({"subjects": 1}, "cannot be used"),
        ({"subjects": ["a"]}, "cannot be used"),
    ],
)
def test_invalid_options_are_refused(complete, options, match):
    with pytest.raises(InputError, match=match):
        read(complete, **options)


def test_missing_selection_lists_what_was_found(tmp_path):
    write_ravdess(tmp_path, emotions=["happy"], modalities=["01"], frames=2, width=64, height=48)
    with pytest.raises(
        InputError, match=r"files of RAVDESS \(4: audio-video speech\), but none that dataset.modality=video-only"
    ):
        read(tmp_path)
    with pytest.raises(InputError, match=r"select: give dataset.modality=audio-video to use the sound of the videos"):
        _ = RAVDESS(tmp_path).for_sound().inventory
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no clips of ravdess were found"):
        read(tmp_path / "empty")


def ready(root, folder, **options):
    made = RAVDESSDataModule(
        root, **{"frame_stride": 6, "face_size": 64, "image_size": 28, "batch_size": 2, "cache_dir": folder, **options}
    )
    made.prepare_data()
    made.setup()
    return made


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    """4 subjects x (happy, sad) x 2 intensities x 2 repetitions, in both modalities: 64 videos of 12 frames."""
    root = tmp_path_factory.mktemp("miniature")
    options = {"repetitions": ("01", "02"), "modalities": ("01", "02"), "frames": 12, "width": 480, "height": 270}
    write_ravdess(root, subjects=(1, 2, 3, 4), emotions=["happy", "sad"], **options)
    return root


def test_prepares_videos_and_loads_batches(miniature, tmp_path):
    made = ready(miniature, tmp_path)
    assert made.class_names == ["happy", "sad"]
    assert made.rows["clip"].nunique() == 32
    assert len(made.manifest) >= 60  # of 64 frames
    assert made.audit.level == "subject-independent"
    batch = next(iter(made.train_dataloader()))
    assert batch["image"].shape == (2, 3, 28, 28)


def test_recordings_split_across_subsets_are_found(miniature, tmp_path, caplog):
    made = ready(miniature, tmp_path, modality="both", split=lambda m: [
        {"01": "train", "02": "test"}[clip[:2]] for clip in m["clip"]
    ])  # fmt: skip
    assert made.audit.level == "leaky"
    assert made.audit.recordings.count == made.audit.recordings.total == 32
    assert made.audit.near_duplicates.count >= 32
    assert made.audit.near_duplicates.examples[0]["distance"] == 0
    assert "this split leaks" in caplog.text


@pytest.fixture
def sounds(tmp_path):
    """The speech of two subjects in the layout of ``Audio_Speech_Actors_01-24.zip``, as empty files."""
    path = tmp_path / "Audio_Speech_Actors_01-24.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names("01", ("03",)):
            if name[18:20] in ("01", "02"):
                archive.writestr(f"Actor_{name[18:20]}/{name[:20]}.wav", b"")
    return path


def test_sound_is_read_from_the_published_zip(sounds):
    corpus = RAVDESS(sounds).for_sound()
    assert corpus.modality == "audio-only"
    assert len(corpus.inventory.clips) == 120
    assert set(corpus.inventory.clips["modality"]) == {"audio-only"}
    assert corpus.inventory.clips["recording"][0] == "01-01-01-01-01-01"
    assert sum(corpus.inventory.expected.values()) == 1440
    assert len(read(sounds, modality="audio-only").clips) == 120
    with pytest.raises(InputError, match=r"no clips of ravdess were found.*\.wav 120"):
        read(sounds)


def test_sound_of_videos_is_chosen_by_modality(complete):
    assert set(RAVDESS(complete, modality="audio-video").for_sound().inventory.clips["modality"]) == {"audio-video"}
    seen = RAVDESS(complete)
    _ = seen.inventory
    assert set(seen.for_sound().inventory.clips["modality"]) == {"audio-only"}
    assert (seen.modality, seen.with_sound) == ("video-only", False)
    with pytest.raises(InputError, match=r"dataset.modality=both includes videos without sound"):
        RAVDESS(complete, modality="both").for_sound()


def test_sound_has_no_faces(sounds, tmp_path):
    made = RAVDESSDataModule(sounds, modality="audio-only", cache_dir=tmp_path)
    with pytest.raises(InputError, match=r"dataset=ravdess have only sound and show no faces: .*sample=sound"):
        made.prepared["image"].prepare()


def test_audio_only_clips_are_versions_of_the_same_recordings(complete):
    """An audio-only file has the sound of the audio-video file, so the audit counts recordings in two subsets."""
    clips = pd.concat([read(complete, modality=name).clips for name in ("video-only", "audio-only")])
    subsets = ["train" if name == "video-only" else "test" for name in clips["modality"]]
    found = audit(clips.reset_index(drop=True).assign(split=subsets, frame=0))
    assert (found.recordings.count, found.recordings.total) == (1440, 1440)
    assert found.level == "leaky"


def test_repetitions_split_across_subsets_are_found(miniature, tmp_path):
    made = ready(miniature, tmp_path)
    manifest = made.manifest.assign(split=["test" if r == "02" else "train" for r in made.manifest["repetition"]])
    found = audit(manifest)
    assert (found.repetitions.count, found.repetitions.total) == (16, 16)
    assert found.level == "subject-dependent"


@pytest.mark.parametrize("fold", range(2))
def test_published_folds_on_the_complete_corpus(complete, fold):
    clips = read(complete).clips
    split = splits.published_folds(clips, folds="ravdess_5", fold=fold, val=0.2, seed=0)
    subjects = {subset: set(clips.loc[split == subset, "subject"]) for subset in ("train", "val", "test")}
    assert subjects["test"] == [{"02", "05", "14", "15", "16"}, {"03", "06", "07", "13", "18"}][fold]
    assert len(subjects["train"] | subjects["val"] | subjects["test"]) == 24
    assert not subjects["train"] & subjects["val"]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real videos in {SHARED}")
def test_real_clips(tmp_path):
    made = RAVDESSDataModule(SHARED, modality="both", face_size=224, cache_dir=tmp_path, prepared_dir=tmp_path)
    card = made.prepared["image"].prepare()
    assert card["counts"]["files"] == 10
    assert card["counts"]["failures"] == 0
    assert card["counts"]["frames"] == 101
    assert card["detection_rate"] >= 0.98
    assert card["counts"]["aligned_by"] == {"eyes": 101}
    # In the crops the eyes are level: their height differs by less than a tenth of their distance.
    tilts = []
    for face in made.rows["face"]:
        found = HaarDetector(min_size=0.3).find(read_picture(made.prepared["image"].folder / face))
        if found and found[0].eyes is not None:
            across, down = found[0].eyes[1] - found[0].eyes[0]
            tilts.append(abs(down / across))
    assert len(tilts) >= 90
    assert sorted(tilts)[len(tilts) // 2] < 0.03
    assert max(tilts) < 0.1
