"""Exported networks of clips, sounds and features: any lengths, missing modalities, and the program that runs them."""

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from safetensors import safe_open

from fervid import load_run
from fervid.data.targets import ClassTarget
from fervid.errors import InputError
from fervid.export import traceable
from fervid.export.exporting import export_run
from fervid.export.formats import FORMATS
from fervid.export.networks import ClipNetwork, checks
from fervid.media.sound import read_sound
from fervid.runs.build import make_model
from fervid.schema.config_folder import CONFIG_FOLDER

SPEECH = "{hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 48, "
SPEECH += "conv_dim: [16,16,16,16,16,16,16], num_conv_pos_embeddings: 16, num_conv_pos_embedding_groups: 4"
STABLE = ", do_stable_layer_norm: true, feat_extract_norm: layer, conv_bias: true"
ARCHITECTURES = {
    "whisper": "{d_model: 32, encoder_layers: 2, encoder_attention_heads: 4, encoder_ffn_dim: 48}",
    "wav2vec2": SPEECH + "}",
    "hubert": SPEECH + STABLE + "}",
    "wavlm": SPEECH + ", num_buckets: 32, max_bucket_distance: 40}",
}
SMALL = ["sound_encoder.widths=[8,8,16,16]", "sound_encoder.bands=16"]
PARTS = {
    "sound": ["sample=sound", *SMALL],
    "flipped clips": ["sample=clip", "task.test_flips=true", "backbone=lenet", "pooling=attention"],
    "features": ["sample=features", "pooling=tcn"],
    "late": ["sample=clip_sound", *SMALL, "backbone=lenet", "pooling=gru", "fusion.rule=mean"],
    "concatenation": ["sample=clip_sound", *SMALL, "backbone=lenet", "fusion=concatenation", "pooling=transformer"],
    "gated": ["sample=sound_features", *SMALL, "fusion=gated"],
    "cross attention": ["sample=sound_features", *SMALL, "fusion=cross_attention"],
    **{
        name: [
            *("sample=sound", "sound_encoder=transformers", f"sound_encoder.architecture={name}"),
            *(f"sound_encoder.options={options}", "sound_encoder.layers=[1,2]", "sound_encoder.combine=weights"),
        ]
        for name, options in ARCHITECTURES.items()
    },
}
needs_transformers = pytest.mark.skipif(find_spec("transformers") is None, reason="needs transformers")
ALL = [pytest.param(name, marks=needs_transformers if name in ARCHITECTURES else ()) for name in PARTS]


def made(*words):
    """A classifier with random weights, whose outputs depend on its inputs, and its configuration."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
        config = compose("train", [*words, "dataset=ravdess"])
    torch.manual_seed(0)
    model = make_model(config, ClassTarget(["angry", "happy", "sad"]), ["AU01", "AU02"]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model, config


@pytest.fixture(scope="module")
def exported(clip_run, tmp_path_factory):
    return export_run(clip_run.folder, list(FORMATS), tmp_path_factory.mktemp("exported") / "all")


@pytest.fixture(scope="module")
def session(exported):
    return onnxruntime.InferenceSession(exported.folder / "model.onnx", providers=["CPUExecutionProvider"])


@torch.no_grad()
@pytest.mark.parametrize("name", ALL)
def test_padded_batches_and_missing_modalities_give_the_answers_of_single_clips(name):
    model, _ = made(*PARTS[name])
    network, spread = ClipNetwork(model), []
    for inputs, expected in checks(model):
        for own, found in zip(expected, network(**inputs), strict=True):
            torch.testing.assert_close(found, own, rtol=1e-4, atol=1e-5, equal_nan=True)
            spread.append(own[~own.isnan()].std().item())
    assert max(spread) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_all_parts_are_exported_to_all_formats(name, tmp_path):
    model, config = made(*PARTS[name])
    for form in FORMATS.values():
        path = tmp_path / form.file
        path.write_bytes(form.serialise(ClipNetwork(model), {}))
        compute = form.open(path, config, model)
        for inputs, expected in checks(model):
            found = compute({entry: x.numpy() for entry, x in inputs.items()})
            for own, other in zip(expected, found, strict=True):
                np.testing.assert_allclose(other, own.numpy(), atol=1e-5)


def test_onnx_file_answers_as_the_run_for_lengths_that_were_not_checked(clip_run, exported, session):
    assert not exported.of_pictures
    assert set(exported.differences) == {"onnx", "safetensors"}
    assert max(exported.differences.values()) < 1e-4
    model, rng = load_run(clip_run.folder), np.random.default_rng(0)
    whole = {
        "image": rng.random((2, 4, 3, 28, 28), dtype=np.float32),
        "sound": 0.1 * rng.standard_normal((2, 9_999), dtype=np.float32),
        "features": rng.random((2, 7, 2), dtype=np.float32),
    }
    assert [entry.name for entry in session.get_inputs()] == list(whole)
    names = [output.name for output in session.get_outputs()]
    assert names == ["probabilities", "logits", *(f"probabilities_{name}" for name in whole)]
    padded = {name: x.copy() for name, x in whole.items()}
    padded["sound"][1, 5_000:] = padded["features"][1, 3:] = padded["image"][1] = np.nan
    found = dict(zip(names, session.run(None, padded), strict=True))
    with torch.no_grad():
        first = model({name: torch.from_numpy(x[:1]) for name, x in whole.items()}).softmax(1)
        given = {"sound": whole["sound"][1:, :5_000], "features": whole["features"][1:, :3]}
        second = model({name: torch.from_numpy(x) for name, x in given.items()}).softmax(1)
        sound = model({"sound": torch.from_numpy(given["sound"])}).softmax(1)
    assert found["probabilities"] == pytest.approx(torch.cat([first, second]).numpy(), abs=1e-4)
    assert found["probabilities_sound"][1:] == pytest.approx(sound.numpy(), abs=1e-4)
    assert np.isnan(found["probabilities_image"]).tolist() == [[False] * 3, [True] * 3]


def test_metadata_and_card_describe_the_inputs(exported, session, clip_run):
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["modalities"]) == ["image", "sound", "features"]
    assert json.loads(about["features"]) == ["AU01_r", "AU02_r"]
    assert (json.loads(about["rate"]), json.loads(about["frames"]), json.loads(about["min_samples"])) == (
        16_000,
        3,
        400,
    )
    with safe_open(exported.folder / "model.safetensors", "pt") as file:
        assert file.metadata() == dict(about)
        assert {name.split(".")[0] for name in file.keys()} == {"image", "sound", "features", "head"}
    assert {path.name for path in exported.folder.iterdir()} == {
        *("model.onnx", "model.safetensors", "model_card.md", "run_onnx.py"),
    }
    card = (exported.folder / "model_card.md").read_text()
    for words in (
        "| input `image` | float32 (B, T, 3, 28, 28): T face crops",
        "| input `sound` | float32 (B, S): mono sound with 16,000 samples per second, from -1 to 1",
        "| input `features` | float32 (B, R, 2): R rows of each clip, not standardised, with the columns AU01",
        "| output `probabilities_features` |",
        "ends with NaN; a modality that a clip lacks is NaN throughout",
        "on 6 clips (subject-independent)",
        "the test UAR of image alone is 33.3%",
        "python run_onnx.py clip.mp4",
        "Voices and recordings that differ from the data",
    ):
        assert words in card
    assert not re.search(r"\bnan\b|None|\{\{|\n\n\n|frames are classified", card)
    for place in (clip_run.folder, clip_run.corpus):
        assert str(place) not in card


def run_example(folder, *files):
    """The probabilities that the example program prints, by output, run by an interpreter without fervid."""
    block = "import runpy, sys; sys.modules['fervid'] = None; sys.argv = sys.argv[1:]; "
    words = [block + "runpy.run_path(sys.argv[0], run_name='__main__')", str(folder / "run_onnx.py"), *map(str, files)]
    done = subprocess.run([sys.executable, "-I", "-c", *words], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("probabilities")]
    printed = dict(line.split(": ", 1) for line in lines)
    return {name: dict(re.findall(r"(\w+) (0\.\d+|1\.0+)", words)) for name, words in printed.items()}, done.stderr


def test_example_program_reads_sound_and_table_without_fervid(exported, clip_run, tmp_path):
    model = load_run(clip_run.folder)
    sound = sorted(clip_run.corpus.rglob("03-*.wav"))[0]
    table = pd.read_csv(clip_run.table)
    own = table[table["name"] == sound.stem]
    own.to_csv(tmp_path / "own.csv", index=False)
    printed, error = run_example(exported.folder, sound, tmp_path / "own.csv")
    assert not error
    given = {
        "sound": torch.from_numpy(read_sound(sound).samples)[None],
        "features": torch.from_numpy(own[["AU01_r", "AU02_r"]].to_numpy(np.float32))[None],
    }
    with torch.no_grad():
        expected = {"": model(given), "_sound": model({"sound": given["sound"]})}
    for ending, logits in expected.items():
        found = [float(printed[f"probabilities{ending}"][name]) for name in model.class_names]
        assert found == pytest.approx(logits.softmax(1)[0].tolist(), abs=1e-3)
    assert printed["probabilities_image"] == {}  # missing

    video = sorted(clip_run.corpus.rglob("02-*.mp4"))[0]
    printed, error = run_example(exported.folder, video)
    assert not error
    assert len(printed["probabilities_image"]) == 3
    assert printed["probabilities_sound"] == {}


def test_command_prints_how_to_run_the_network_of_clips(clip_run, tmp_path, fervid_command, capsys):
    run = shutil.copytree(clip_run.folder, tmp_path / "run")
    fervid_command("export", f"run={run}", "format=safetensors")
    output = capsys.readouterr().out
    assert "largest output difference" in output
    assert "random clips of different lengths, alone and in batches, with and without each modality" in output
    assert "The weights in model.safetensors require fervid" in output


def test_deviating_export_is_refused(clip_run, tmp_path, monkeypatch):
    monkeypatch.setattr(traceable._LogMel, "_waves", lambda self: torch.ones(402, 1, 400))
    with pytest.raises(InputError, match=r"exported to safetensors deviates from the run's by .* in an output"):
        export_run(clip_run.folder, ["safetensors"], tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_run_normalised_by_subject_is_refused(clip_run, tmp_path):
    run = shutil.copytree(clip_run.folder, tmp_path / "run")
    results = json.loads((run / "results.json").read_text())
    results["config"]["finetune"]["subject_normalisation"] = True
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match="normalised by subject"):
        export_run(run, ["onnx"])
