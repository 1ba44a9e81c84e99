"""Unusual names of subjects and emotions, through all commands."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from rendered_corpora.enterface import write_enterface
from rendered_corpora.ised import write_ised
from rendered_corpora.ravdess import write_ravdess

from fervid.runs.run import open_run

SUBJECTS = ("NA", "nan", "null", "None", "N/A", "-")
EMOTIONS = ("None", "NA", "happy")


def write_pictures(root: Path, subjects, emotions=EMOTIONS, each=1) -> Path:
    rng = np.random.default_rng(0)
    for number, emotion in enumerate(emotions):
        (root / emotion).mkdir(parents=True)
        for subject in subjects:
            for picture in range(each):
                image = rng.integers(0, 60, (40, 32, 3), dtype=np.uint8)
                image[..., number] += 150
                cv2.imwrite(str(root / emotion / f"{subject.replace('/', '')}__{picture}.png"), image)
    return root


def words(root: Path, run: Path, *more: str) -> tuple[str, ...]:
    return (
        *("dataset=image_folder", f"dataset.root={root}", "backbone=lenet", "dataset.batch_size=4", "logger=none"),
        *("trainer.max_epochs=1", "+trainer.enable_progress_bar=false", f"hydra.run.dir={run}", *more),
    )


PATTERN = 'dataset.subject_pattern="(.+)__"'


def audited(fervid_command, folder: Path, root: Path, *more: str) -> dict:
    fervid_command("audit", "dataset=image_folder", f"dataset.root={root}", f"hydra.run.dir={folder}", *more)
    return json.loads((folder / "audit.json").read_text())


def test_names_such_as_na_and_none_survive_every_command(fervid_command, tmp_path):
    subjects = {subject.replace("/", "") for subject in SUBJECTS}
    root, run = write_pictures(tmp_path / "pictures", SUBJECTS), tmp_path / "run"
    fervid_command("prepare", "dataset=image_folder", f"dataset.root={root}", PATTERN)
    fervid_command("train", *words(root, run, PATTERN))
    opened = open_run(run)
    assert opened.class_names == sorted(EMOTIONS)
    assert opened.results["data"]["subjects"] == len(subjects)
    for table in (opened.predictions, opened.validation):
        assert set(table["label"]) == set(EMOTIONS)
        assert set(table["subject"]) < subjects
    fervid_command("evaluate", f"run={run}", f"hydra.run.dir={tmp_path / 'evaluation'}", "resamples=100")
    (evaluation,) = (tmp_path / "evaluation" / "members").glob("*")
    assert open_run(evaluation).predictions[["subject", "label"]].equals(opened.predictions[["subject", "label"]])
    assert open_run(evaluation).results["data"]["subjects"] == opened.predictions["subject"].nunique()
    fervid_command("report", f"runs={run}", f"hydra.run.dir={tmp_path / 'report'}", "resamples=100")
    text = (tmp_path / "report" / "tables" / "classes.csv").read_text()
    assert all(f",{emotion}," in text for emotion in EMOTIONS)


def test_csv_may_list_names_such_as_na_and_none(fervid_command, tmp_path):
    root = write_pictures(tmp_path / "pictures", ["a", "b", "c", "d"])
    names = dict(zip("abcd", ("NA", "null", "nan", "None"), strict=True))
    rows = [f"{emotion}/{subject}__0.png,{emotion},{name}" for emotion in EMOTIONS for subject, name in names.items()]
    (tmp_path / "list.csv").write_text("\n".join(["path,emotion,subject", *rows]))
    run = tmp_path / "run"
    fervid_command("train", *words(root, run, f"dataset.csv={tmp_path / 'list.csv'}"))
    assert open_run(run).results["data"]["subjects"] == 4
    assert open_run(run).class_names == sorted(EMOTIONS)


@pytest.mark.parametrize("odd", ["{} ", " {}", "{}\u00a0", "{}\u200b", "\ufeff{}"])
def test_spaces_and_invisible_characters_do_not_make_a_new_subject(fervid_command, tmp_path, odd):
    """Otherwise 9 subjects become 18, and 6 of them are in two subsets of a supposedly subject-independent split."""
    emotions = ("angry", "happy", "sad")
    subjects = [f"S{number:03d}" for number in range(1, 10)]
    root = write_pictures(tmp_path / "pictures", subjects, emotions)
    rows = [
        f"{emotion}/{subject}__0.png,{emotion},{odd.format(subject) if emotion == 'sad' else subject}"
        for emotion in emotions
        for subject in subjects
    ]
    (tmp_path / "list.csv").write_text("\n".join(["path,emotion,subject", *rows]), encoding="utf-8")
    found = audited(fervid_command, tmp_path / "audit", root, f"dataset.csv={tmp_path / 'list.csv'}")
    assert found["subjects"]["total"] == 9
    assert found["subjects"]["count"] == 0


def test_subjects_that_differ_in_case_or_zeros_are_reported(fervid_command, tmp_path, capfd):
    root = write_pictures(tmp_path / "pictures", ["S1", "S2", "S3", "S4"], ("happy", "sad"))
    shutil.move(root / "sad" / "S1__0.png", root / "sad" / "S01__0.png")
    shutil.move(root / "sad" / "S2__0.png", root / "sad" / "s2__0.png")
    found = audited(fervid_command, tmp_path / "audit", root, PATTERN)
    assert "S01, S1" in found["doubts"][0]
    assert "S2, s2" in found["doubts"][0]
    assert "differ only in blanks, case, leading zeros" in " ".join(capfd.readouterr().out.split())


def test_subjects_from_file_names_are_not_verified(fervid_command, tmp_path, capfd):
    """Film stills named by actor and number: 30 names of three people."""
    stills = [f"unknown-{actor}-{number}" for actor in ("Ann", "Ben", "Cy") for number in range(10)]
    root, run = write_pictures(tmp_path / "pictures", [*stills, "Eve"], ("happy",)), tmp_path / "run"
    (root / "sad").mkdir()
    for number, path in enumerate(sorted((root / "happy").iterdir())):
        if number % 2:
            path.rename(root / "sad" / path.name)
    fervid_command("train", *words(root, run, PATTERN))
    output = " ".join(capfd.readouterr().out.split())
    results = json.loads((run / "results.json").read_text())
    assert results["leakage"]["level"] == "subject-independent by name"
    assert results["leakage"]["subjects_from"] == "file names (dataset.subject_pattern)"
    numbers, singles = results["leakage"]["doubts"]
    assert numbers.startswith("30 of 31 subjects have names that differ only in a trailing number (unknown-Ann-0, ")
    assert singles.startswith("there are 31 subjects for 31 clips, and 31 subjects have only one clip")
    assert "subject-independent by name" in output
    assert "30 of 31 subjects have names that differ only in a trailing number" in output
    assert any("trailing number" in warning for warning in results["warnings"])
    fervid_command("report", f"runs={run}", f"hydra.run.dir={tmp_path / 'report'}", "resamples=100")
    report = (tmp_path / "report" / "report.md").read_text()
    assert "subject-independent by name" in report
    assert (
        "Subject names of image_folder may be unreliable: 30 of 31 subjects have names that differ only in a trailing "
        "number" in report
    )
    fervid_command("export", f"run={run}", "format=safetensors")
    card = (run / "export" / "model_card.md").read_text()
    assert "Leakage level: **subject-independent by name**" in card
    assert "30 of 31 subjects have names that differ only in a trailing number" in card

    # With the right pattern there are three subjects and Eve.
    right = r'dataset.subject_pattern="(?:unknown-)?(.+?)(?:-\d+)?__"'
    found = audited(fervid_command, tmp_path / "audit", root, right)
    assert found["subjects"]["total"] == 4
    assert found["doubts"] == []


def test_verified_subjects_give_no_doubts(fervid_command, tmp_path):
    small = ("dataset.identities=6", "dataset.clips=1", "dataset.frames=1", f"hydra.run.dir={tmp_path}")
    fervid_command("audit", "dataset=synthetic", *small)
    found = json.loads((tmp_path / "audit.json").read_text())
    assert (found["level"], found["subjects_from"], found["doubts"]) == ("subject-independent", None, [])


def test_misspelt_column_is_refused(fervid_command, tmp_path, capfd):
    root = write_pictures(tmp_path / "pictures", ["a", "b", "c", "d"], ("happy", "sad"))
    rows = [f"{emotion}/{subject}__0.png,{emotion},{subject}" for emotion in ("happy", "sad") for subject in "abcd"]
    (tmp_path / "list.csv").write_text("\n".join(["path,emotion,Subject", *rows]))
    with pytest.raises(SystemExit):
        audited(fervid_command, tmp_path / "audit", root, f"dataset.csv={tmp_path / 'list.csv'}", "split=stratified")
    assert "has the column 'Subject': write 'subject'" in " ".join(capfd.readouterr().err.split())


def test_pictures_without_detection_have_no_detection_rate(fervid_command, tmp_path, capfd):
    root = write_pictures(tmp_path / "pictures", ["a", "b"], ("happy", "sad"))
    fervid_command("prepare", "dataset=image_folder", f"dataset.root={root}", f"dataset.prepared_dir={tmp_path / 'p'}")
    output = " ".join(capfd.readouterr().out.split())
    assert "(no face detection: whole pictures are used)" in output
    (folder,) = (tmp_path / "p").glob("image_folder-*/")
    card, text = json.loads((folder / "card.json").read_text()), (folder / "card.md").read_text()
    assert card["detection_rate"] is card["by_emotion"]["happy"]["detection_rate"] is None
    assert "detection rate" not in output + text
    assert "100.0%" not in output + text


SMALL_VIDEOS = {"frames": 2, "width": 160, "height": 120}


@pytest.mark.parametrize(
    ("dataset", "named", "sentence"),
    [
        (
            "ravdess",
            "dataset.emotions=[happy,sad,fearful]",
            "dataset.emotions selects fearful, which has no clips",
        ),
        ("ravdess", "dataset.subjects=[1,2,7]", "dataset.subjects selects 07, which has no clips"),
        ("enterface", "dataset.emotions=[anger,fear,sad]", "dataset.emotions selects sadness, which has no clips"),
        ("ised", "dataset.emotions=[happy,surprise,sad]", "dataset.emotions selects sadness, which has no clips"),
        ("ised", "dataset.subjects=[1,2]", "dataset.subjects selects 2, which has no clips"),
        ("enterface", "dataset.subjects=[1,3]", "dataset.subjects selects 3, which has no clips"),
    ],
)
def test_selected_emotions_and_subjects_must_exist(fervid_command, tmp_path, capfd, dataset, named, sentence):
    if dataset == "ravdess":
        write_ravdess(tmp_path / "raw", subjects=(1, 2), emotions=("happy", "sad"), **SMALL_VIDEOS)
    elif dataset == "ised":
        write_ised(tmp_path / "raw", subjects=(1, 2), emotions=("happiness", "surprise"), **SMALL_VIDEOS)
        if "subjects" in named:
            shutil.rmtree(tmp_path / "raw" / "videos" / "PS 2")
    else:
        some = {"subjects": (1, 2), "emotions": ("anger", "fear"), "sentences": (1,)}
        write_enterface(tmp_path / "raw", **some, **SMALL_VIDEOS)
    with pytest.raises(SystemExit):
        fervid_command("prepare", f"dataset={dataset}", f"dataset.root={tmp_path / 'raw'}", named)
    assert sentence in " ".join(capfd.readouterr().err.split())


def test_emotion_without_any_face_is_an_error(fervid_command, tmp_path, capfd):
    root = write_pictures(tmp_path / "pictures", [f"p{number}" for number in range(10)], ("happy", "sad"))
    (root / "afraid").mkdir()
    (root / "afraid" / "p1__0.png").write_bytes(b"not a picture")
    with pytest.raises(SystemExit):
        audited(fervid_command, tmp_path / "audit", root, PATTERN)
    assert "no face of afraid was found in any file" in " ".join(capfd.readouterr().err.split())


def test_csv_split_with_look_alike_names_warns(fervid_command, tmp_path, capfd):
    root = write_pictures(tmp_path / "pictures", ["S1", "S2", "S3", "S4"], ("happy", "sad"))
    (tmp_path / "split.csv").write_text("subject ,split\nS1,train\nS2 , Train\nS03,train\nS3,val\nS4,test\n")
    found = audited(
        fervid_command, tmp_path / "audit", root, PATTERN, "split=csv", f"split.path={tmp_path / 'split.csv'}"
    )
    assert found["subjects"]["total"] == 4
    output = " ".join(capfd.readouterr().out.split())
    assert (
        "has the subject S03 where the corpus has S3: these are different names, so use the spelling of the corpus"
        in output
    )


def test_csv_split_without_an_emotion_warns(fervid_command, tmp_path, capfd):
    root = write_pictures(tmp_path / "pictures", ["a", "b", "c"], ("fear", "happy", "sad"))
    rows = [
        f"{emotion}/{subject}__0.png,{subset}"
        for emotion in ("happy", "sad")
        for subject, subset in (("a", "train"), ("b", "val"), ("c", "test"))
    ]
    (tmp_path / "split.csv").write_text("\n".join(["path,split", *rows]))
    audited(fervid_command, tmp_path / "audit", root, PATTERN, "split=csv", f"split.path={tmp_path / 'split.csv'}")
    assert "left out, including all frames of fear" in " ".join(capfd.readouterr().out.split())
