"""A predictor reproduces the preprocessing and the predictions of its run."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import fervid
from fervid.errors import InputError
from fervid.faces.face import most_prominent
from fervid.media.decoding import read_frames
from fervid.media.sampling import Sampling
from fervid.runs.load import reopen_corpus


def test_prediction_equals_the_runs_test_prediction(trained):
    predictor = fervid.Predictor(trained.folder)
    table = pd.read_csv(trained.folder / "predictions.csv")
    expected = {(row["path"], row["frame"]): row for _, row in table.iterrows()}
    assert len(expected) == 6
    for path in table["path"].unique():
        near = None
        for frame in read_frames(trained.corpus / path, Sampling(frame_stride=8)):
            near = most_prominent(predictor.find(frame.image, near), frame.image)
            seen = predictor.predict_faces(frame.image, [near])[0]
            before = expected[path, frame.number]
            chances = [before[f"prob_{name}"] for name in predictor.class_names]
            assert seen.probabilities == pytest.approx(chances, abs=1e-5)
            assert seen.emotion == before["predicted"]
            assert seen.picture.shape == (28, 28, 3)


@pytest.mark.parametrize(
    ("part", "setting", "value", "sentence"),
    [
        ("detector", "_target_", "os.system", r"refers to os\.system"),
        ("backbone", "_target_", "os.system", r"refers to os\.system"),
        # What fervid's modules import is not fervid's.
        (
            "head",
            "dropout",
            {"_target_": "fervid.tasks.classification.torch.load", "f": "x"},
            "refers to fervid.tasks.class",
        ),
        (
            "split",
            "val",
            {"_target_": "fervid.splits.drawn.pd.read_pickle", "x": "x"},
            "refers to fervid.splits.drawn.pd",
        ),
        ("dataset", "_target_", "os.system", r"refers to os\.system"),
        ("dataset", "corpus", "os.system", r"refers to os\.system"),
        ("detector", "_args_", ["os.system"], "has _args_, which fervid never writes"),
        # Hydra would hand this on to a class that imports it.
        ("detector", "_target_", "fervid.data.CorpusDataModule", r"refers to fervid\.data\.CorpusDataModule"),
        ("task", "_target_", "os.system", r"refers to os\.system"),
        ("head", "dropout", "${loss}", "refers to"),
    ],
)
def test_foreign_run_folder_cannot_choose_code(part, setting, value, sentence, trained, tmp_path):
    folder = shutil.copytree(trained.folder, tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    results["config"][part][setting] = value
    (folder / "results.json").write_text(json.dumps(results))
    # Dataset and split are needed only where the corpus is opened again.
    opens_corpus = part in ("dataset", "split")
    with pytest.raises(InputError, match=sentence):
        reopen_corpus(folder, results, trained.cache) if opens_corpus else fervid.Predictor(folder)


def test_no_face_gives_no_prediction(trained):
    assert fervid.Predictor(trained.folder).picture(np.zeros((100, 100, 3), dtype=np.uint8)) == []
