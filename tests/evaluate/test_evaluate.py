"""``python -m fervid.evaluate``: stored runs on their own test subset and on other corpora."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rendered_corpora.enterface import write_enterface
from rich.console import Console

from fervid import splits
from fervid.report.report import make_report
from fervid.runs.run import open_run
from fervid.tasks.classification import EmotionClassifier

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def enterface(tmp_path_factory):
    """Anger, fear, happiness and sadness of two eNTERFACE'05 subjects."""
    root = tmp_path_factory.mktemp("enterface")
    emotions = ("anger", "fear", "happiness", "sadness")
    write_enterface(root, subjects=(1, 2), emotions=emotions, sentences=(1,), frames=11, width=320, height=240)
    return root


def members(folder):
    return [open_run(path.parent) for path in sorted((folder / "members").glob("*/results.json"))]


def test_own_test_subset_reproduces_the_scores(fervid_evaluate, trained, tmp_path, capfd):
    folder = fervid_evaluate(f"run={trained.folder}")
    (asked,), before = members(folder), open_run(trained.folder)
    for name in ("accuracy", "uar", "f1", "clip_uar"):
        assert asked.metric(f"test/{name}") == before.metric(f"test/{name}")
    assert asked.results["confusion"] == before.results["confusion"]
    assert asked.results["leakage"] == before.results["leakage"]
    chances = [f"prob_{name}" for name in before.class_names]
    np.testing.assert_allclose(asked.predictions[chances], before.predictions[chances], atol=1e-5)
    known_columns = [column for column in before.predictions if column not in chances]
    pd.testing.assert_frame_equal(asked.predictions[known_columns], before.predictions[known_columns])
    said = " ".join(capfd.readouterr().out.split())
    assert f"the UAR of {before.metric('test/uar'):.1%} on frames equals the value recorded by the run" in said
    assert "report.html" in said
    # fervid.report reads it as a run, with calibration.
    again = {"runs": str(folder), "paper": None, "title": "again", "resamples": 100, "seed": 0}
    make_report(tmp_path / "again", Console(quiet=True), **again)
    assert (tmp_path / "again" / "tables" / "calibration.csv").exists()


def test_another_corpus_is_scored_on_shared_emotions(fervid_evaluate, trained, enterface, capfd):
    folder = fervid_evaluate(f"run={trained.folder}", "dataset=enterface", f"dataset.root={enterface}")
    (asked,) = members(folder)
    assert asked.class_names == ["angry", "happy", "sad"]
    assert asked.level == "subject-independent"
    assert asked.setting("dataset") == "enterface"
    table = asked.predictions
    assert set(table["label"]) == {"angry", "happy", "sad"}  # fear is not in the model
    assert len(table) == 2 * 3 * 2  # subjects, emotions, frames 0 and 10
    np.testing.assert_allclose(table[["prob_angry", "prob_happy", "prob_sad"]].sum(axis=1), 1)
    emotions = pd.read_csv(folder / "tables" / "emotions.csv").set_index("emotion")
    assert emotions.loc["fear", ["use", "frames"]].tolist() == ["dropped: not in the model", 4]
    said = " ".join(capfd.readouterr().out.split())
    assert "shared by model and corpus: angry, happy, sad. - Omitted emotions of the corpus: fear (4 frames)." in said
    assert "were not searched for" in said
    assert "all emotions" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_faces_are_cropped_as_in_the_run_unless_overridden(fervid_evaluate, copy, enterface):
    other = copy("other", config__dataset__margin=0.3, config__dataset__grayscale=True, config__dataset__face_size=64)
    corpus = ("dataset=enterface", f"dataset.root={enterface}", "dataset.margin=0.2")
    (asked,) = members(fervid_evaluate(f"run={other}", *corpus))
    settings = asked.results["config"]["dataset"]
    assert (settings["margin"], settings["grayscale"], settings["face_size"]) == (0.2, True, 64)


def test_seen_subjects_are_reported_and_can_be_omitted(fervid_evaluate, trained, copy, capfd):
    unrelated = copy("unrelated", seed=7, config__seed=7)
    manifest = pd.read_parquet(unrelated / "manifest.parquet")
    manifest.assign(corpus="elsewhere").to_parquet(unrelated / "manifest.parquet")
    corpus = (
        "dataset=ravdess",
        f"dataset.root={trained.corpus}",
        "dataset.emotions=[angry,happy]",
        "dataset.frame_stride=10",
    )
    folder = fervid_evaluate(f"run=[{unrelated},{trained.folder}]", *corpus)
    independent, leaky = members(folder)
    assert independent.level == "subject-independent"
    assert (leaky.level, open_run(folder / "ensemble").level) == ("leaky", "leaky")
    assert leaky.results["leakage"]["subjects"]["count"] == 3
    assert leaky.results["leakage"]["clips"]["count"] == 6
    said = " ".join(capfd.readouterr().out.split())
    assert "run was trained or validated on 3 of these 4 subjects and on 6 of these 8 clips of ravdess" in said

    (asked,) = members(fervid_evaluate(f"run={trained.folder}", *corpus, "subjects=unseen", name="unseen"))
    assert set(asked.predictions["subject"]) == set(manifest.loc[manifest["split"] == "test", "subject"])
    assert asked.level == "subject-independent"


def reversed_classes(folder):
    """Reverses the order of the classes of a run and its network."""
    results = json.loads((folder / "results.json").read_text())
    names = results["class_names"]
    results["class_names"] = names[::-1]
    results["choices"]["optimizer"] = "sgd"  # makes it another system
    (folder / "results.json").write_text(json.dumps(results))
    path = folder / "checkpoints" / "best.ckpt"
    state = torch.load(path, weights_only=True)
    turned = 0
    for key, value in state["state_dict"].items():
        if key.startswith("network.head.") and len(value) == len(names):
            state["state_dict"][key] = value.flip(0)
            turned += 1
    assert turned == 2  # weight and bias
    torch.save(state, path)
    return folder


def test_an_ensemble_aligns_classes_and_frames(fervid_evaluate, trained, copy, capfd):
    other = reversed_classes(copy("other"))
    folder = fervid_evaluate(f"run=[{trained.folder},{other}]", "weights=[3,1]", drawn=True)
    first, second = members(folder)
    whole = open_run(folder / "ensemble")
    chances = [f"prob_{name}" for name in first.class_names]
    for run in (second, whole):
        np.testing.assert_allclose(run.predictions[chances], first.predictions[chances], atol=1e-6)
        pd.testing.assert_series_equal(run.predictions["clip"], first.predictions["clip"])
    assert whole.results["ensemble"]["weights"] == [0.75, 0.25]
    np.testing.assert_allclose(whole.validation[chances], open_run(trained.folder).validation[chances], atol=1e-6)
    said = " ".join(capfd.readouterr().out.split())
    assert "equal to its best member" in said
    table = pd.read_csv(folder / "tables" / "members.csv")
    assert set(table["model"]) == {"run", "other", "ensemble"}
    assert set(pd.read_csv(folder / "tables" / "summary.csv")["runs"]) == {1}  # three systems, none pooled
    assert "ensemble" in (folder / "report.html").read_text()


def test_members_tested_on_different_frames_are_rejected(fervid_evaluate, trained, copy, capfd):
    manifest = pd.read_parquet(trained.folder / "manifest.parquet")
    split = partial(splits.subject, val=0.25, test=0.25)
    seed = next(
        s for s in range(20) if not (split(manifest, seed=s) == manifest["split"])[manifest["split"] == "test"].any()
    )
    other = copy("other", config__split__seed=seed)
    manifest["split"] = split(manifest, seed=seed)
    manifest.to_parquet(other / "manifest.parquet")
    refused(
        fervid_evaluate,
        capfd,
        "each may have been trained on test frames of the other",
        f"run=[{trained.folder},{other}]",
    )


def refused(fervid_evaluate, capfd, sentence, *words):
    with pytest.raises(SystemExit):
        fervid_evaluate(*words)
    said = capfd.readouterr().err
    assert sentence in said
    assert "Traceback" not in said


def test_a_moved_corpus_is_found_by_root(fervid_evaluate, copy, trained, tmp_path, capfd):
    gone = copy("gone", config__dataset__root=str(tmp_path / "nowhere"))
    refused(fervid_evaluate, capfd, "if the corpus was moved, give root=<folder>", f"run={gone}")
    shutil.copytree(trained.corpus, tmp_path / "moved")
    (asked,) = members(fervid_evaluate(f"run={gone}", f"root={tmp_path / 'moved'}"))
    assert asked.metric("test/uar") == open_run(trained.folder).metric("test/uar")


def test_changed_corpus_is_rejected(fervid_evaluate, copy, capfd):
    other = copy("other")
    manifest = pd.read_parquet(other / "manifest.parquet")
    manifest.loc[0, "emotion"] = "sad"
    manifest[:-1].to_parquet(other / "manifest.parquet")
    sentence = "of its 23 frames 1 are missing or have another emotion, subject or subset, and 2 are new"
    refused(fervid_evaluate, capfd, sentence, f"run={other}")


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("nothing to evaluate", []),
        ("nothing to evaluate", ["run=[]"]),
        ("nowhere is not a folder", ["run=nowhere"]),
        ("give each member once", ["run=[{run},{run}]"]),
        ("is unknown: choose all or unseen", ["run={run}", "subjects=some"]),
        ("give cpu or cuda", ["run={run}", "device=abacus"]),
        ("give cpu or cuda", ["run={run}", "device=meta"]),
        ("too small for a 95% interval", ["run={run}", "resamples=3"]),
        ("give one number per run", ["run={run}", "weights=[1,2]"]),
        ("give dataset.root for another corpus", ["run={run}", "dataset=synthetic", "root=there"]),
        ("needs dataset.root", ["run={run}", "dataset=enterface"]),
    ],
)
def test_invalid_settings(sentence, words, fervid_evaluate, trained, capfd):
    refused(fervid_evaluate, capfd, sentence, *[word.format(run=trained.folder) for word in words])


def test_runs_without_network_or_manifest_are_rejected(fervid_evaluate, copy, capfd):
    baseline = copy("baseline")
    results = json.loads((baseline / "results.json").read_text())
    del results["config"]["head"]
    (baseline / "results.json").write_text(json.dumps(results))
    refused(fervid_evaluate, capfd, "is a run of the classical baseline", f"run={baseline}")
    torn = copy("torn")
    (torn / "manifest.parquet").write_bytes(b"PAR1")
    refused(fervid_evaluate, capfd, "it records what the run was trained on", f"run={torn}")


def test_too_few_shared_emotions_list_both_vocabularies(fervid_evaluate, trained, pictures, capfd):
    (pictures / "neutral").rename(pictures / "fear")
    shutil.rmtree(pictures / "sad")
    corpus = ("dataset=image_folder", f"dataset.root={pictures}")
    refused(
        fervid_evaluate,
        capfd,
        "only happy, but at least two are needed: the model has angry, happy, sad; the corpus has fear, happy",
        f"run={trained.folder}",
        *corpus,
    )


def test_existing_output_is_not_overwritten(fervid_evaluate, trained, tmp_path, capfd):
    (tmp_path / "out" / "members" / "1_mine").mkdir(parents=True)
    (tmp_path / "out" / "members" / "1_mine" / "results.json").write_text("{}")
    refused(fervid_evaluate, capfd, "already contains files", f"run={trained.folder}")


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "muxspace").is_dir(), reason=f"no real pictures in {SHARED}")
def test_real_photographs_of_unknown_people(fervid_evaluate, trained):
    words = ("dataset=image_folder", f"dataset.root={SHARED / 'muxspace'}")
    (asked,) = members(fervid_evaluate(f"run={trained.folder}", *words))
    assert asked.level == "unknown-subjects"
    assert asked.class_names == ["angry", "happy", "sad"]
    assert len(asked.predictions) == 252 + 420 + 268


def test_batches_do_not_matter(fervid_evaluate, trained, capfd):
    folder = fervid_evaluate(f"run={trained.folder}")
    (asked,) = members(folder)
    assert asked.results["batch_invariance"]["holds"] is True
    assert asked.results["batch_invariance"]["pictures"] == len(asked.predictions)
    assert "Outputs do not depend on the batch" in " ".join(capfd.readouterr().out.split())


def test_dependence_on_the_batch_is_recorded(fervid_evaluate, trained, monkeypatch, capfd):
    """A network whose probabilities are shifted by the mean of the batch, as by BatchNorm in training mode."""
    forward = EmotionClassifier.forward

    def shifted(self, inputs):
        found = forward(self, inputs)
        return found + 10 * found.mean(dim=0)

    monkeypatch.setattr(EmotionClassifier, "forward", shifted)
    (asked,) = members(fervid_evaluate(f"run={trained.folder}"))
    assert asked.results["batch_invariance"]["holds"] is False
    assert asked.results["batch_invariance"]["difference"] > asked.results["batch_invariance"]["tolerance"]
    assert "Outputs depend on the other pictures of a batch" in " ".join(capfd.readouterr().out.split())
    assert any("Outputs depend on the other pictures" in text for text in asked.results["warnings"])
