"""The same people by face embeddings, from pictures to audits, splits and runs."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from fervid.cli import compose
from fervid.data.identity import FaceIdentity
from fervid.export.model_card import model_card
from fervid.runs.build import make_datamodule
from fervid.runs.load import stored_config
from fervid.runs.run import open_run
from fervid.synthetic import rendering

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
FACE_WEIGHTS = SHARED / "weights" / "face_vggface2_mobilenetv1_100_timm.pth"


@pytest.fixture(scope="session")
def weights(tmp_path_factory, worker_id):
    """A file of random weights, which already tell rendered people apart by their hair and background."""
    import timm

    path = tmp_path_factory.mktemp("weights") / "faces.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(timm.create_model("mobilenetv1_100", pad_type="same").state_dict(), path)
    return path


@pytest.fixture
def faces(tmp_path):
    """Rendered pictures ``<emotion>/<subject>__<number>.png``: 9 subjects x 2 emotions x 2 pictures."""
    root = tmp_path / "faces"
    for number in range(9):
        who = rendering.make_identity(number + 1, 0)
        for emotion in ("happy", "sad"):
            (root / emotion).mkdir(parents=True, exist_ok=True)
            images = rendering.render_crops(who, emotion, take=0, frames=30, seed=0, times=(5, 25)).images
            for picture, face in enumerate(images):
                cv2.imwrite(str(root / emotion / f"s{number}__{picture}.png"), face[..., ::-1])
    return root


@pytest.fixture
def words(faces, weights, tmp_path):
    return [
        *("dataset=image_folder", f"dataset.root={faces}", f"cache_dir={tmp_path / 'cache'}"),
        *("identity=face_mobilenetv1", f"identity.backbone.weights={weights}", "identity.backbone.image_size=64"),
    ]


@pytest.fixture
def calibration(words, fervid_command, tmp_path):
    """The setting of a calibration on the same pictures with their subjects, as a corpus without subjects needs it."""
    folder = tmp_path / "calibrated"
    fervid_command(
        "audit", *words, "dataset.subject_pattern='(.+)__'", "identity.threshold=0.6", f"hydra.run.dir={folder}"
    )
    return f"identity.calibration={folder / 'identity.json'}"


def made(words, *more):
    datamodule = make_datamodule(compose("train", [*words, "backbone=lenet", "dataset.batch_size=4", *more]))
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def test_clusters_are_the_subjects_of_a_corpus_that_knows_none(words, calibration):
    words = [*words, calibration]
    datamodule = made(words, "identity.threshold=0.6", "split=identity")
    manifest = datamodule.manifest
    assert datamodule.people.clustered
    assert manifest["subject"].str.match(r"person \d+$").all()
    assert (manifest.groupby("subject")["split"].nunique() == 1).all()
    assert set(manifest["split"]) == {"train", "val", "test"}
    true = manifest["path"].str.extract(r"/(s\d)__")[0]
    assert (manifest.groupby("subject")["path"].nunique() > 1).any()
    assert true.groupby(manifest["subject"]).nunique().mean() < 2
    found = datamodule.audit.as_dict()
    assert found["level"] == "subject-independent by clustering"
    assert found["identity"]["threshold"] == 0.6
    assert found["identity"]["weights"]["data"] == "VGGFace2, identities"
    # The errors of clustering are stated at the threshold at which they were measured, and at no other.
    assert found["identity"]["measured"]["clustering"]["threshold"] == 0.6
    other = made(words, "identity.threshold=0.7", "split=identity").audit.as_dict()["identity"]["measured"]
    assert other["clustering"] == {}
    assert other["false_non_match_rate"] is not None
    # Every split of subjects can use them.
    assert made(words, "identity.threshold=0.6", "split=subject_kfold", "split.k=3").audit.level == found["level"]


def test_search_does_not_change_the_weights_drawn_later(words):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    make_datamodule(compose("train", [*words, "backbone=lenet"]))
    assert torch.equal(torch.rand(3), expected)


def test_second_run_embeds_nothing_again(words, calibration, monkeypatch):
    words = [*words, calibration]
    first = made(words, "identity.threshold=0.6", "split=identity")

    def embedded(*_, **__):
        raise AssertionError("the faces were embedded again")

    monkeypatch.setattr(FaceIdentity, "embed", embedded)
    second = made(words, "identity.threshold=0.6", "split=identity", "dataset.subject_pattern='(.+)__'")
    rows = first.manifest["path"].sort_values().index
    assert len(rows) == len(second.manifest)
    assert not second.people.clustered
    assert second.audit.level == "subject-independent by name"


def test_other_networks_have_other_embeddings(words, weights, tmp_path):
    words = [*words, "dataset.subject_pattern='(.+)__'"]
    state = torch.load(weights)
    state["conv_stem.weight"] *= -1
    torch.save(state, tmp_path / "other.pth")
    one = made(words, "identity.threshold=0.6").identity.file_name
    other = made(words, "identity.threshold=0.6", f"identity.backbone.weights={tmp_path / 'other.pth'}")
    earlier = made(words, "identity.threshold=0.6", "identity.backbone.last_stage=blocks.4.0")
    assert len({one, other.identity.file_name, earlier.identity.file_name}) == 3
    assert len(list((tmp_path / "cache" / "embeddings").glob("*.npy"))) >= 2


def test_names_of_one_person_stay_in_one_subset(words, faces):
    """s0 gets a second name; the copies are near-duplicates, which show one person whatever the threshold."""
    for path in faces.glob("*/s0__*.png"):
        (path.parent / path.name.replace("s0", "stranger")).write_bytes(path.read_bytes())
    datamodule = made(words, "dataset.subject_pattern='(.+)__'", "identity.threshold=0.99", "split=identity")
    splits = datamodule.manifest.groupby("subject")["split"].first()
    assert splits["s0"] == splits["stranger"]
    assert len(datamodule.manifest["face_cluster"].unique()) < 10


def test_audit_writes_pairs_and_a_calibration_for_other_corpora(words, fervid_command, tmp_path, capsys):
    fervid_command(
        "audit", *words, "dataset.subject_pattern='(.+)__'", "identity.false_match_rate=0.05",
        f"hydra.run.dir={tmp_path / 'known'}",
    )  # fmt: skip
    said = " ".join(capsys.readouterr().out.split())
    assert "Measured on 9 subjects of image_folder, as labelled: false-match rate" in said
    assert "VGGFace2 may be used only for non-commercial research" in said
    assert "Research only" in said
    record = json.loads((tmp_path / "known" / "identity.json").read_text())
    assert record["calibration"]["subjects"] == 9
    assert 0 < record["calibration"]["auc"] <= 1
    assert record["calibration"]["clustering"]["subjects"] == 9
    table = pd.read_csv(tmp_path / "known" / "identity.csv")
    assert list(table) == [
        *("person", "names", "subject_a", "subject_b", "subsets_a", "subsets_b", "similarity", "path_a", "path_b")
    ]
    assert (tmp_path / "known" / "identity.png").exists() == bool(len(table))
    # The record gives the threshold and the errors of a corpus without subjects.
    calibration = f"identity.calibration={tmp_path / 'known' / 'identity.json'}"
    datamodule = made(words, calibration, "identity.false_match_rate=0.05", "split=identity")
    evidence = datamodule.audit.as_dict()["identity"]
    assert evidence["threshold"] == pytest.approx(record["threshold"])
    assert evidence["measured"]["clustering"] == record["calibration"]["clustering"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["split=identity"], "identity needs at least 8 known subjects to calibrate its threshold, and 0 are known"),
        (["identity.threshold=1", "split=identity"], "identity.threshold=1 has no measured errors, because no subject"),
        (["identity.backbone.weights=none.pth"], "identity.backbone.weights=none.pth is not a file: give the path"),
        (["identity.threshold=2"], "identity.threshold=2 is out of range"),
        (["identity.false_match_rate=0"], "identity.false_match_rate=0 is out of range"),
        (
            ["dataset.subject_pattern='(.+)__'", "identity.false_match_rate=1e-200"],
            "identity.false_match_rate=1e-200 needs a similarity of",
        ),
        (["identity.backbone.weights=null"], "identity needs face weights"),
        (["identity.calibration=/nowhere.json"], "identity.calibration=/nowhere.json cannot be read"),
    ],
)
def test_mistakes_are_reported(words, fervid_command, capsys, more, sentence, tmp_path):
    with pytest.raises(SystemExit):
        fervid_command("audit", *words, *more, f"hydra.run.dir={tmp_path / 'out'}")
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("identity.backbone.image_size=96", "was measured with image_size=64, but identity.backbone has 96"),
        ("identity.backbone.last_stage=blocks.4.0", "was measured with last_stage="),
        ("identity.backbone.mean=[0,0,0]", "was measured with mean="),
        ("identity.backbone.weights=other.pth", "was measured with other weights than"),
    ],
)
def test_calibration_of_another_network_is_refused(
    words, calibration, weights, fervid_command, capsys, change, sentence, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    torch.save(torch.load(weights) | {"conv_stem.weight": torch.zeros(32, 3, 3, 3)}, "other.pth")
    with pytest.raises(SystemExit):
        fervid_command("audit", *words, calibration, change, f"hydra.run.dir={tmp_path / 'out'}")
    assert sentence in capsys.readouterr().err


def test_split_identity_without_identity_says_what_to_give(fervid_command, capsys, tmp_path):
    with pytest.raises(SystemExit):
        fervid_command("audit", "split=identity", "dataset.identities=6", "dataset.clips=2", "dataset.frames=2",
                       f"hydra.run.dir={tmp_path}")  # fmt: skip
    assert "give identity=face_mobilenetv1 identity.backbone.weights=<file>" in capsys.readouterr().err


def test_run_with_clusters_is_trained_and_opened_again(
    words, calibration, fervid_train, fervid_command, weights, tmp_path, capfd
):
    small = ["backbone=lenet", "dataset.batch_size=4", "trainer.max_epochs=1", "+trainer.enable_progress_bar=false"]
    fervid_train(
        *words, calibration, *small, "identity.threshold=0.6", "split=identity", f"hydra.run.dir={tmp_path / 'run'}"
    )
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["leakage"]["level"] == "subject-independent by clustering"
    assert results["leakage"]["subjects_clustered"]
    said = " ".join(capfd.readouterr().out.split())
    assert "Threshold: similarity 0.600, as given. Measured on 9 subjects of image_folder" in said
    run = open_run(tmp_path / "run")
    text = model_card(run, stored_config(run.results, run.folder), ())
    assert "Subjects are clusters of face embeddings (threshold: similarity 0.600). Measured on 9 subjects" in text
    assert "VGGFace2 may be used only for non-commercial research" in text
    assert "Subjects are identified by the names" not in text
    fervid_command("report", f"runs={tmp_path / 'run'}", f"hydra.run.dir={tmp_path / 'report'}")
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Subjects are clusters of face embeddings (threshold: similarity 0.600). Measured on 9 subjects" in page
    # The people come from the manifest: neither weights nor faces are needed.
    weights.rename(tmp_path / "away.pth")
    try:
        fervid_command("evaluate", f"run={tmp_path / 'run'}", f"hydra.run.dir={tmp_path / 'again'}",
                       f"cache_dir={tmp_path / 'cache'}")  # fmt: skip
    finally:
        (tmp_path / "away.pth").rename(weights)
    again = json.loads(next((tmp_path / "again" / "members").glob("*/results.json")).read_text())
    assert again["leakage"]["level"] == results["leakage"]["level"]
    assert again["leakage"]["identity"] == results["leakage"]["identity"]
    assert again["metrics"]["test/uar"] == pytest.approx(results["metrics"]["test/uar"])


@pytest.mark.slow
@pytest.mark.skipif(not (FACE_WEIGHTS.exists() and (SHARED / "muxspace").exists()), reason="needs ../shared")
def test_numbered_film_stills_are_eight_people(tmp_path, fervid_command):
    """425 names of the form ``unknown-<actor>-<n>``; all other names are left out, but for some press photographs."""
    rows = []
    for path in sorted((SHARED / "muxspace").glob("*/*.jpg")):
        name = path.stem.split("__")[0]
        if name.startswith("unknown-") or np.random.default_rng(abs(hash_of(name))).random() < 0.3:
            rows.append({"path": f"{path.parent.name}/{path.name}", "emotion": path.parent.name, "subject": name})
    pd.DataFrame(rows).to_csv(tmp_path / "list.csv", index=False)
    fervid_command(
        "audit", "dataset=image_folder", f"dataset.root={SHARED / 'muxspace'}", f"dataset.csv={tmp_path / 'list.csv'}",
        "dataset.face_size=192", "identity=face_mobilenetv1", f"identity.backbone.weights={FACE_WEIGHTS}",
        "identity.backbone.image_size=160", "identity.threshold=0.538", f"cache_dir={tmp_path}",
        f"hydra.run.dir={tmp_path / 'out'}",
    )  # fmt: skip
    table = pd.read_csv(tmp_path / "out" / "identity.csv")
    large = table[(table["names"] >= 8) & table["subject_a"].str.startswith("unknown-")]
    actors = large["subject_a"].str.extract(r"unknown-([A-Za-z]+)-\d+$")[0]
    others = large["subject_b"].str.extract(r"unknown-([A-Za-z]+)-\d+$")[0]
    assert (actors == others).mean() > 0.95
    assert actors.nunique() == 8
    assert (tmp_path / "out" / "identity.png").stat().st_size > 100_000


def hash_of(name):
    return sum(ord(letter) * 31**place for place, letter in enumerate(name)) % 2**32
