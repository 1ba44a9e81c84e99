import json

import pandas as pd
import pytest
from rendered_corpora.enterface import write_enterface
from rendered_corpora.hf_faces import write_hf_parquet
from rendered_corpora.ised import write_ised
from rendered_corpora.ravdess import write_ravdess

SMALL = {"frames": 6, "width": 480, "height": 360}


@pytest.fixture
def raw(tmp_path):
    root = tmp_path / "raw"
    options = {"emotions": ["neutral", "happy"], "frames": 9, "width": 480, "height": 270}
    write_ravdess(root, subjects=(1, 2, 3, 4, 5), **options)
    return root


def test_prepares_then_trains(fervid_command, raw, tmp_path, capsys):
    """The two commands of the README use the same prepared folder."""
    words = ["dataset=ravdess", f"dataset.root={raw}", "dataset.frame_stride=4", f"cache_dir={tmp_path / 'cache'}"]
    fervid_command("prepare", *words)
    text = capsys.readouterr().out
    assert "Inventory of ravdess" in text
    assert "subjects missing: 19 of 24" in text
    assert "45 frames of 15 files" in text
    (folder,) = (tmp_path / "cache" / "prepared").glob("ravdess-*/")
    assert str(folder) in text
    fervid_command("prepare", *words)
    assert "already prepared:" in capsys.readouterr().out
    run = ["backbone=lenet", "trainer.max_epochs=1", "dataset.batch_size=4", "+trainer.enable_progress_bar=false"]
    fervid_command("train", *words, *run, "logger=none", f"hydra.run.dir={tmp_path / 'run'}")
    text = capsys.readouterr().out
    assert "Inventory of" not in text
    assert list((tmp_path / "cache" / "prepared").glob("ravdess-*/")) == [folder]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    faces = pd.read_parquet(folder / "manifest.parquet")["face"].notna().sum()
    assert results["data"]["frames"] == faces
    assert results["data"]["clips"] == 15
    assert results["leakage"]["level"] == "subject-independent"
    assert set(results["recall"]) == {"neutral", "happy"}


@pytest.mark.slow
def test_training_prepares_the_corpus_and_cross_validates(fervid_command, raw, tmp_path, capsys):
    fervid_command(
        "train",
        *(
            "-m",
            "dataset=ravdess",
            f"dataset.root={raw}",
            "dataset.frames_per_clip=2",
            "split=subject_kfold",
            "split.k=3",
        ),
        *("split.fold=range(3)", "backbone=lenet", "trainer.max_epochs=1", "dataset.batch_size=4", "logger=none"),
        *(
            "+trainer.enable_progress_bar=false",
            f"cache_dir={tmp_path / 'cache'}",
            f"hydra.sweep.dir={tmp_path / 'sweep'}",
        ),
    )
    assert capsys.readouterr().out.count("Inventory of") == 1
    tested = []
    for fold in range(3):
        manifest = pd.read_parquet(tmp_path / "sweep" / str(fold) / "manifest.parquet")
        assert (manifest.groupby("subject")["split"].nunique() == 1).all()
        tested += manifest.loc[manifest["split"] == "test", "subject"].unique().tolist()
    assert sorted(tested) == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize(
    ("dataset", "write", "words", "expected"),
    [
        # Subject 6 is unsegmented, files of 11 are named after 12: 3 subjects x 2 emotions x 1 sentence remain.
        (
            "enterface",
            lambda root: write_enterface(
                root, subjects=(1, 6, 11, 16), emotions=("anger", "fear"), sentences=(1,), oddities=True, **SMALL
            ),
            ["dataset.frames_per_clip=2", "split=loso", "split.fold=2"],
            {"clips": 6, "frames": 12, "subjects": 3, "classes": ["anger", "fear"]},
        ),
        (
            "ised",
            lambda root: write_ised(root, subjects=(1, 2, 3), clips=1, **SMALL),
            ["dataset.peak=1"],
            {"clips": 12, "frames": 36, "subjects": 3, "classes": ["disgust", "happiness", "sadness", "surprise"]},
        ),
        (
            "ised",
            lambda root: write_ised(root, subjects=(1, 2, 3), emotions=("happiness", "disgust"), clips=2, **SMALL),
            ["dataset.frame_stride=3", "split=clips", "split.val=0.34", "split.test=0.34"],
            {"clips": 12, "frames": 24, "subjects": 3, "classes": ["disgust", "happiness"]},
        ),
        (
            "hf_faces",
            lambda root: write_hf_parquet(root / "train-00000-of-00001.parquet", rows=40, bad_rows=True),
            ["split=stratified"],
            {"clips": 40, "frames": 40, "subjects": 0, "classes": 8},
        ),
    ],
    ids=["enterface", "ised peak", "ised", "hf_faces"],
)
def test_every_corpus_layout_can_be_trained(fervid_train, tmp_path, dataset, write, words, expected):
    """Includes irregular files. All rendered faces of these subjects are found, so every count is exact."""
    write(tmp_path / "raw")
    fervid_train(
        *(f"dataset={dataset}", f"dataset.root={tmp_path / 'raw'}", *words, "dataset.batch_size=2", "logger=none"),
        *("backbone=lenet", "trainer.max_epochs=1", "+trainer.enable_progress_bar=false"),
        *(f"cache_dir={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'run'}"),
    )
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    found = {key: results["data"][key] for key in ("clips", "frames", "subjects")}
    classes = results["class_names"] if isinstance(expected["classes"], list) else len(results["class_names"])
    assert found | {"classes": classes} == expected
    assert (results["data"]["unreadable"] > 0) == (dataset == "hf_faces")
    assert (
        results["leakage"]["level"]
        == {
            "enterface": "subject-independent",
            "ised": "subject-dependent" if "split=clips" in words else "subject-independent",
            "hf_faces": "unknown-subjects",
        }[dataset]
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "nothing to prepare: give dataset="),
        (["dataset=ravdess"], "dataset=ravdess needs dataset.root=<folder>"),
        (["dataset=synthetic"], "needs no preparation"),
        (["dataset=ravdess", "dataset.root=/nowhere"], "dataset.root=/nowhere is not a folder"),
        (["dataset=ravdes"], "Did you mean dataset=ravdess?"),
        (["dataset=ravdess", "dataset.frame_strid=3"], "Did you mean dataset.frame_stride?"),
        (["dataset=ravdess", "dataset.frame_stride=often"], "dataset.frame_stride=often is not a number"),
        (
            ["dataset=ravdess", "dataset.root=.", "dataset.frame_stride=0"],
            "dataset.frame_stride=0 is not a number of frames",
        ),
        (["dataset=ravdess", "dataset.root=.", "detector=yunet"], "detector=yunet needs its ONNX file"),
        (["dataset=ravdess", "dataset.root=.", "dataset.max_failures=2"], "dataset.max_failures=2 is out of range"),
    ],
)
def test_mistakes_are_reported_in_one_sentence(fervid_command, capsys, words, sentence):
    with pytest.raises(SystemExit) as end:
        fervid_command("prepare", *words)
    assert end.value.code == 1
    text = capsys.readouterr().err.strip()
    assert text.startswith("fervid: ")
    assert sentence in text
    assert "\n" not in text


def test_pictures_are_used_whole_without_a_detector(fervid_command, pictures, tmp_path, capsys):
    words = ["dataset=image_folder", f"dataset.root={pictures}", f"cache_dir={tmp_path / 'cache'}"]
    fervid_command("prepare", *words)
    assert "30 faces in 30 frames of 30 files" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        fervid_command("prepare", *words, "detector=haar")  # noise has no faces
    assert "no face" in capsys.readouterr().err
