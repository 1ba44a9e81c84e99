"""The same people by face embeddings, from pictures to audits, splits and runs."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hydra.errors import InstantiationException

from fervid.cli import compose
from fervid.data.identity import FaceIdentity
from fervid.runs.build import make_datamodule
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


def made(words, *more):
    datamodule = make_datamodule(compose("train", [*words, "backbone=lenet", "dataset.batch_size=4", *more]))
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def test_clusters_are_the_subjects_of_a_corpus_that_knows_none(words):
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
    # Every split of subjects can use them.
    assert made(words, "identity.threshold=0.6", "split=subject_kfold", "split.k=3").audit.level == found["level"]


def test_search_does_not_change_the_weights_drawn_later(words):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    make_datamodule(compose("train", [*words, "backbone=lenet"]))
    assert torch.equal(torch.rand(3), expected)


def test_second_run_embeds_nothing_again(words, monkeypatch):
    first = made(words, "identity.threshold=0.6", "split=identity")

    def embedded(*_, **__):
        raise AssertionError("the faces were embedded again")

    monkeypatch.setattr(FaceIdentity, "embed", embedded)
    second = made(words, "identity.threshold=0.6", "split=identity", "dataset.subject_pattern='(.+)__'")
    rows = first.manifest["path"].sort_values().index
    assert len(rows) == len(second.manifest)
    assert not second.people.clustered
    assert second.audit.level == "subject-independent by name"


def test_other_weights_have_other_embeddings(words, weights, tmp_path):
    state = torch.load(weights)
    state["conv_stem.weight"] *= -1
    torch.save(state, tmp_path / "other.pth")
    one = made(words, "identity.threshold=0.6").identity.file_name
    other = made(words, "identity.threshold=0.6", f"identity.backbone.weights={tmp_path / 'other.pth'}")
    assert one != other.identity.file_name
    assert len(list((tmp_path / "cache" / "embeddings").glob("*.npy"))) >= 2


def test_names_of_one_person_stay_in_one_subset(words, faces):
    """s0 gets a second name; the copies are near-duplicates, which show one person whatever the threshold."""
    for path in faces.glob("*/s0__*.png"):
        (path.parent / path.name.replace("s0", "stranger")).write_bytes(path.read_bytes())
    datamodule = made(words, "dataset.subject_pattern='(.+)__'", "identity.threshold=0.99", "split=identity")
    splits = datamodule.manifest.groupby("subject")["split"].first()
    assert splits["s0"] == splits["stranger"]
    assert len(datamodule.manifest["person"].unique()) < 10


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
        (["identity.threshold=2"], "identity.threshold=2 is out of range"),
        (["identity.false_match_rate=0"], "identity.false_match_rate=0 is out of range"),
        (["identity.backbone.weights=null"], "identity needs face weights"),
        (["identity.calibration=/nowhere.json"], "identity.calibration=/nowhere.json cannot be read"),
    ],
)
def test_mistakes_are_reported(words, fervid_command, capsys, more, sentence, tmp_path):
    with pytest.raises(SystemExit):
        fervid_command("audit", *words, *more, f"hydra.run.dir={tmp_path / 'out'}")
    assert sentence in capsys.readouterr().err


def test_calibration_with_other_weights_is_refused(weights, tmp_path):
    from hydra.utils import instantiate

    content = {
        name: 0 for name in ("corpus", "subjects", "pictures", "same_pairs", "different_pairs", "auc",
                             "equal_error_rate", "location", "scale", "false_match", "false_non_match", "clustering")
    }  # fmt: skip
    (tmp_path / "identity.json").write_text(json.dumps({"calibration": {**content, "weights": "another"}}))
    config = compose("train", ["identity=face_mobilenetv1", f"identity.backbone.weights={weights}"]).identity
    config.calibration = str(tmp_path / "identity.json")
    with pytest.raises(InstantiationException) as raised:
        instantiate(config, _convert_="all")
    assert "measured with other weights" in str(raised.value.__cause__)


def test_split_identity_without_identity_says_what_to_give(fervid_command, capsys, tmp_path):
    with pytest.raises(SystemExit):
        fervid_command("audit", "split=identity", "dataset.identities=6", "dataset.clips=2", "dataset.frames=2",
                       f"hydra.run.dir={tmp_path}")  # fmt: skip
    assert "give identity=face_mobilenetv1 identity.backbone.weights=<file>" in capsys.readouterr().err


def test_run_with_clusters_is_trained_and_opened_again(words, fervid_train, fervid_command, weights, tmp_path, capfd):
    small = ["backbone=lenet", "dataset.batch_size=4", "trainer.max_epochs=1", "+trainer.enable_progress_bar=false"]
    fervid_train(*words, *small, "identity.threshold=0.6", "split=identity", f"hydra.run.dir={tmp_path / 'run'}")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["leakage"]["level"] == "subject-independent by clustering"
    assert results["leakage"]["subjects_clustered"]
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
