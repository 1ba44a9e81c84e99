"""Exported networks give the same predictions as the original, also without fervid."""

import errno
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from PIL import Image
from safetensors import safe_open

import fervid
from fervid.data.targets import ClassTarget
from fervid.errors import InputError
from fervid.export.exporting import CLIP_EXAMPLE, EXAMPLES, export_run, write_format
from fervid.export.formats import FORMATS
from fervid.export.metadata import describe
from fervid.export.networks import FaceNetwork, random_faces
from fervid.runs.build import make_model
from fervid.runs.load import load_classifier, load_run
from fervid.schema.config_folder import CONFIG_FOLDER

RESULTS = {
    "data": {
        "corpora": [{"name": "ravdess", "root": "RAVDESS", "licence": "CC BY-NC-SA 4.0", "published": True}],
        **{"corpus": "ravdess", "rendered": False},
    },
    "choices": {},
    "leakage": {"level": "subject-independent"},
    "metrics": {},
}


def made(*words):
    """A classifier with random weights and plausible BatchNorm statistics, and its configuration."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
        config = compose("train", [*words, "backbone.weights=null", "dataset=ravdess"])
    torch.manual_seed(0)
    model = make_model(config, ClassTarget(["angry", "happy", "sad"]))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    # Of the same kind as the pictures that are compared: on others, deep networks amplify rounding errors.
    faces = random_faces(8, config.backbone.image_size, torch.Generator().manual_seed(1))
    with torch.no_grad():  # otherwise the logits, and any difference, would vanish or explode
        FaceNetwork(model).train()(faces)
        last = model.eval().head.layers[-1]
        last.weight /= model(faces * torch.linspace(0, 1, 8)[:, None, None, None]).std()
    return model, config


def written(name, model, config, folder):
    return write_format(name, model, config, describe(RESULTS, config, model), folder)


@pytest.fixture
def run(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained.folder, folder)
    return folder


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """The folder with all formats, and the differences."""
    folder = tmp_path_factory.mktemp("exported") / "all"
    return export_run(trained.folder, list(FORMATS), folder)


def test_all_formats_match_the_run_for_any_batch_size(trained, exported):
    folder, differences, of_pictures, outputs = exported
    assert outputs == ("logits",)
    assert of_pictures
    assert set(differences) == set(FORMATS)
    assert max(differences.values()) < 1e-4
    model = load_run(trained.folder)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 3, 8, 13):
        faces = torch.rand(batch, 3, 28, 28)
        with torch.inference_mode():
            expected = model(faces).numpy()
        assert expected.std() > 0.01
        assert session.run(["logits"], {"faces": faces.numpy()})[0] == pytest.approx(expected, abs=1e-4)


def test_metadata_describe_the_network(trained, exported):
    folder = exported.folder
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    about = dict(session.get_modelmeta().custom_metadata_map)
    assert session.get_inputs()[0].shape == ["batch", 3, 28, 28]
    assert json.loads(about["class_names"]) == ["angry", "happy", "sad"]
    assert json.loads(about["image_size"]) == 28
    assert json.loads(about["mean"]) == [0.5] * 3
    assert json.loads(about["std"]) == [0.25] * 3
    assert json.loads(about["grayscale"]) is False
    assert (about["channel_order"], about["corpus"], about["leakage"]) == ("rgb", "ravdess", "subject-independent")
    assert (about["split"], about["fervid_version"]) == ("subject", fervid.__version__)
    assert "Haar" in about["faces"]
    assert "margin of 15%" in about["faces"]
    results = json.loads((trained.folder / "results.json").read_text())
    assert json.loads(about["test_uar"]) == results["metrics"]["test/uar"]
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == about


def test_no_file_contains_a_path_of_this_machine(trained, exported):
    folder = exported.folder
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    libraries = [Path(module.__file__).parent for module in (fervid, torch)]
    for place in (trained.corpus, trained.folder, *libraries):
        assert [name for name, content in contents.items() if str(place).encode() in content] == []


def run_example(example, folder, *pictures):
    """The output of an example script, run in another folder by an interpreter that cannot import fervid."""
    block = "import runpy, sys; sys.modules['fervid'] = None; sys.argv = sys.argv[1:]; "
    words = [block + "runpy.run_path(sys.argv[0], run_name='__main__')", str(folder / example), *map(str, pictures)]
    done = subprocess.run(
        [sys.executable, "-I", "-c", *words], cwd=Path(pictures[0]).parent, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return [dict(re.findall(r"(\w+) (0\.\d+|1\.0+)", line.split(": ", 1)[1])) for line in done.stdout.splitlines()[1:]]


def test_example_matches_the_predictor_without_fervid(trained, exported, tmp_path):
    predictor = fervid.Predictor(trained.folder)
    video = next(trained.corpus.rglob("*.mp4"))
    from fervid.media.decoding import read_frames
    from fervid.media.sampling import Sampling

    faces = [predictor.picture(frame.image)[0] for frame in read_frames(video, Sampling(frame_stride=8))]
    files = [tmp_path / f"face {number}.png" for number in range(len(faces))]
    for face, file in zip(faces, files, strict=True):
        Image.fromarray(face.picture).save(file)
    rows = run_example("run_onnx.py", exported.folder, *files)
    assert len(rows) == len(faces) == 2
    for row, face in zip(rows, faces, strict=True):
        assert next(iter(row)) == face.emotion
        probabilities = [float(row[emotion]) for emotion in predictor.class_names]
        assert probabilities == pytest.approx(face.probabilities.tolist(), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("flips", ["false", "true"])
def test_pretrained_network_runs_in_onnx_and_torchvision_without_fervid(tmp_path, flips):
    words = [
        "backbone=mobilenet_v2",
        "backbone.image_size=64",
        "backbone.channel_order=bgr",
        f"task.test_flips={flips}",
    ]
    model, config = made(*words)
    for name in ("onnx", "safetensors"):
        assert written(name, model, config, tmp_path) < 1e-4
    face = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(face).save(tmp_path / "face.png")
    with torch.inference_mode():
        expected = model(torch.from_numpy(face).permute(2, 0, 1)[None]).softmax(dim=1)[0].tolist()
    assert max(expected) - min(expected) > 0.01
    for name in ("onnx", "safetensors"):
        row = run_example(FORMATS[name].example, tmp_path, tmp_path / "face.png")[0]
        assert [float(row[emotion]) for emotion in model.class_names] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("words", [["backbone=lenet"], ["backbone=timm", "backbone.name=vit_tiny_patch16_224"]])
def test_new_training_starts_from_safetensors(words, tmp_path):
    model, config = made(*words, "backbone.image_size=32")
    written("safetensors", model, config, tmp_path)
    assert not (tmp_path / "run_safetensors.py").exists()  # torchvision alone cannot
    config.backbone.weights = str(tmp_path / "model.safetensors")
    started = instantiate(config.backbone, _convert_="all")
    assert started.weights.source == "file"
    before = model.backbone.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in started.state_dict().items())


def test_deviating_export_raises_and_keeps_the_old_files(run, monkeypatch):
    export_run(run, ["onnx"])
    kept = (run / "export" / "model.onnx").read_bytes()
    form = FORMATS["safetensors"]

    def wrong(network, about):
        with torch.no_grad():
            network.head.layers[-1].bias += 0.001
        try:
            return form.serialise(network, about)
        finally:
            with torch.no_grad():
                network.head.layers[-1].bias -= 0.001

    monkeypatch.setitem(FORMATS, "safetensors", replace(form, serialise=wrong))
    with pytest.raises(InputError, match=r"deviates from the run's by 0\.001 in a logit"):
        export_run(run, ["onnx", "safetensors"])
    assert (run / "export" / "model.onnx").read_bytes() == kept
    assert not list(run.rglob(".fervid-partial-*"))


def test_full_disk_and_unwritable_folder_raise_one_sentence(run, monkeypatch, tmp_path):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match=r"cannot be written \(no space left on device\): free disk space"):
            export_run(run, ["safetensors"])
    assert not (run / "export").exists()
    assert not list(run.rglob(".fervid-partial-*"))
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"file is a file: give another folder"):
            export_run(run, ["safetensors"], folder)


def test_folder_with_other_files_is_refused(run, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"already contains thesis\.tex"):
        export_run(run, ["safetensors"], tmp_path / "home")
    assert (tmp_path / "home" / "thesis.tex").exists()


def test_baseline_cannot_be_exported(run):
    results = json.loads((run / "results.json").read_text())
    del results["config"]["head"]
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match="classical baseline and has no network"):
        export_run(run, ["onnx"])


def test_missing_onnxruntime_falls_back_to_the_onnx_reference(trained, exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    model = load_run(trained.folder)
    answers = FORMATS["onnx"].open(exported.folder / "model.onnx", None, model)
    assert type(answers.__closure__[0].cell_contents) is onnx.reference.ReferenceEvaluator
    faces = torch.rand(2, 3, model.backbone.image_size, model.backbone.image_size)
    with torch.no_grad():
        assert np.abs(answers({"faces": faces.numpy()})[0] - model(faces).numpy()).max() < 1e-4


def test_examples_are_short_and_do_not_import_fervid():
    for name in (*(form.example for form in FORMATS.values()), CLIP_EXAMPLE):
        lines = (EXAMPLES / name).read_text().splitlines()
        assert len(lines) <= (75 if name == CLIP_EXAMPLE else 32)
        assert not any(re.match(r"\s*(import|from) fervid", line) for line in lines)


BACKBONES = sorted(path.stem for path in Path(CONFIG_FOLDER, "backbone").glob("[!_]*.yaml"))
NAMES = {"torchvision": "densenet121", "timm": "convnext_atto"}


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_exports_to_every_format(backbone, tmp_path):
    words = [f"backbone={backbone}"] + ([f"backbone.name={NAMES[backbone]}"] if backbone in NAMES else [])
    smaller = [] if backbone in ("lenet", "cnn", "alexnet_ised") else ["backbone.image_size=96"]
    model, config = made(*words, *smaller)
    for name in FORMATS:
        written(name, model, config, tmp_path)  # raises if the exported network deviates


def test_network_that_depends_on_the_batch_is_not_exported(run, monkeypatch):
    """A head whose BatchNorm always uses the statistics of the batch."""

    def load(folder, **options):
        model = load_classifier(folder, **options)
        model.head.layers = torch.nn.Sequential(
            model.head.layers, torch.nn.BatchNorm1d(3, track_running_stats=False)
        ).eval()
        return model

    monkeypatch.setattr("fervid.export.exporting.load_task", load)
    with pytest.raises(InputError, match="Outputs depend on the other pictures of a batch"):
        export_run(run, ["onnx"])
    assert not (run / "export").exists()


def test_export_says_that_batches_do_not_matter(run, caplog):
    with caplog.at_level("INFO", "fervid"):
        export_run(run, ["safetensors"])
    assert "Outputs do not depend on the batch: those of 16 pictures" in caplog.text
