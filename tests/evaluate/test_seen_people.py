"""People of another corpus who are in the training data of a run, by face embeddings."""

import json
import shutil

import cv2
import pandas as pd
import pytest
import torch

from fervid.synthetic import rendering

EMOTIONS = ("happy", "sad")


def write_faces(root, people, take):
    """Writes rendered pictures ``<emotion>/<name>__<number>.png`` of people, given as name -> number."""
    for name, number in people.items():
        who = rendering.make_identity(number, 0)
        for emotion in EMOTIONS:
            (root / emotion).mkdir(parents=True, exist_ok=True)
            images = rendering.render_crops(who, emotion, take=take, frames=30, seed=0, times=(5, 25)).images
            for picture, face in enumerate(images):
                cv2.imwrite(str(root / emotion / f"{name}__{picture}.png"), face[..., ::-1])
    return root


@pytest.fixture(scope="module")
def trained_and_evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    training = write_faces(folder / "training", {f"s{number}": number for number in range(1, 10)}, take=0)
    return training, write_faces(folder / "evaluated", {"s1": 31, "s2": 32, "new": 33, "known": 3, "old": 4}, take=1)


@pytest.fixture
def words(trained_and_evaluated, fervid_train, tmp_path):
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(timm.create_model("mobilenetv1_100", pad_type="same").state_dict(), tmp_path / "faces.pth")
    training, evaluated = trained_and_evaluated
    corpus = ("dataset=image_folder", "dataset.subject_pattern='(.+)__'", f"cache_dir={tmp_path / 'cache'}")
    fervid_train(
        *corpus, f"dataset.root={training}", "backbone=lenet", "optimizer=sgd", "trainer=cpu", "trainer.max_epochs=1",
        "dataset.batch_size=4", "logger=none", f"hydra.run.dir={tmp_path / 'run'}",
    )  # fmt: skip
    return [
        *(*corpus, f"run={tmp_path / 'run'}", f"dataset.root={evaluated}", "resamples=100"),
        *("identity=face_mobilenetv1", f"identity.backbone.weights={tmp_path / 'faces.pth'}"),
        *("identity.backbone.image_size=64", "identity.threshold=0.7"),
    ]


def counts(results):
    seen = results["leakage"]["seen_people"]
    return seen["kind"], seen["count"], seen["total"]


def test_people_seen_in_training_are_found_and_left_out(words, fervid_command, tmp_path, capsys):
    fervid_command("evaluate", *words, f"hydra.run.dir={tmp_path / 'all'}")
    said = " ".join(capsys.readouterr().out.split())
    assert "run: 2 of 5 subjects match someone in the training or validation subset by face embeddings; some" in said
    table = pd.read_csv(tmp_path / "all" / "tables" / "seen_people.csv").set_index("evaluated")
    names = {name.split("/")[-1]: other.split("/")[-1] for name, other in table["training"].items()}
    assert names == {"known": "s3", "old": "s4"}
    assert (tmp_path / "all" / "figures" / "seen_people.png").exists()
    results = json.loads((tmp_path / "all" / "members" / "1_run" / "results.json").read_text())
    assert counts(results) == ("subjects", 2, 5)
    assert results["leakage"]["identity"]["weights"]["data"] == "VGGFace2, identities"
    assert (results["choices"]["identity"], results["config"]["identity"]["threshold"]) == ("face_mobilenetv1", 0.7)

    fervid_command("evaluate", *words, "subjects=unseen", f"hydra.run.dir={tmp_path / 'unseen'}")
    predictions = pd.read_csv(tmp_path / "unseen" / "members" / "1_run" / "predictions.csv")
    assert set(predictions["subject"]) == {"s1", "s2", "new"}
    results = json.loads((tmp_path / "unseen" / "members" / "1_run" / "results.json").read_text())
    assert counts(results) == ("subjects", 0, 3)


def test_moved_training_corpus_can_be_given(words, trained_and_evaluated, fervid_command, tmp_path, capsys):
    results = tmp_path / "run" / "results.json"
    training = trained_and_evaluated[0]
    results.write_text(results.read_text().replace(str(training), str(tmp_path / "nowhere")))
    with pytest.raises(SystemExit):
        fervid_command("evaluate", *words, f"hydra.run.dir={tmp_path / 'out'}")
    assert "if the corpus was moved, give root=<folder>" in " ".join(capsys.readouterr().err.split())
    fervid_command("evaluate", *words, f"root={training}", f"hydra.run.dir={tmp_path / 'out'}")
    assert (tmp_path / "out" / "tables" / "seen_people.csv").exists()


def test_identity_needs_another_corpus(words, fervid_command, tmp_path, capsys):
    own = [word for word in words if not word.startswith("dataset")]
    with pytest.raises(SystemExit):
        fervid_command("evaluate", *own, f"hydra.run.dir={tmp_path / 'out'}")
    assert "python -m fervid.audit" in " ".join(capsys.readouterr().err.split())


def test_threshold_does_not_depend_on_how_many_were_seen(words, trained_and_evaluated, fervid_command, tmp_path):
    """With a calibrated threshold, a corpus of nothing but the training pictures has only people seen in training."""
    words = [word for word in words if not word.startswith(("identity.threshold", "dataset.root"))]
    training = trained_and_evaluated[0]
    for root in (training, shutil.copytree(training, tmp_path / "copy")):
        folder = tmp_path / f"of_{root.name}"
        more = (f"dataset.root={root}", "identity.false_match_rate=0.01", f"hydra.run.dir={folder}")
        fervid_command("evaluate", *words, *more)
        results = json.loads((folder / "members" / "1_run" / "results.json").read_text())
        manifest = pd.read_parquet(tmp_path / "run" / "manifest.parquet")
        seen = set(manifest["subject"][manifest["split"] != "test"])
        table = pd.read_csv(folder / "tables" / "seen_people.csv")
        assert {name.split("/")[-1] for name in table["evaluated"]} >= seen
        assert results["leakage"]["seen_people"]["expected_by_chance"] == pytest.approx(9 * (1 - 0.99 ** len(seen)))
