"""Weights of encoders of transformers: files, folders and the hub; and the configuration of sound encoders."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from safetensors.torch import load_file, save_file
from torch import nn

from fervid.errors import InputError
from fervid.models.sound_encoders import TransformersEncoder
from fervid.models.transformers_weights import build
from fervid.schema.config_folder import CONFIG_FOLDER

pytest.importorskip("transformers", reason="needs transformers")

SMALL = {
    **{"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48},
    **{"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4},
}
SOUND = 0.1 * torch.randn(1, 8_000, generator=torch.Generator().manual_seed(0))


class TestWeights:
    @pytest.fixture
    def folder(self, tmp_path):
        """A folder as transformers saves it, with the names of the parts of a larger model."""
        torch.manual_seed(1)
        model = build("wav2vec2", SMALL)
        state = {f"wav2vec2.{key}": tensor for key, tensor in model.state_dict().items()}
        save_file({**state, "quantizer.codevectors": torch.ones(2)}, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2", **SMALL}))
        (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
        return tmp_path

    def test_a_folder(self, folder):
        encoder = TransformersEncoder(weights=str(folder), layers=[2])
        state = load_file(folder / "model.safetensors")
        for key, tensor in encoder.network.state_dict().items():
            assert torch.equal(tensor, state[f"wav2vec2.{encoder.library_name(key)}"]), key
        assert encoder.weights.source == "file"
        assert encoder.weights.requested == str(folder)
        assert encoder.weights.sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        assert encoder.weights.unwrapped == "prefix wav2vec2."
        assert not encoder.network.features.normalize
        twin = TransformersEncoder(weights=None, layers=[2], **encoder.settings)
        twin.network.load_state_dict(encoder.network.state_dict())
        assert torch.equal(encoder.eval()(SOUND), twin.eval()(SOUND))
        assert twin.built_as == encoder.built_as

    def test_older_names_of_weight_norm_and_pickled_weights(self, folder):
        expected = TransformersEncoder(weights=str(folder)).network.state_dict()
        state = {}
        for key, tensor in build("wav2vec2", SMALL).state_dict().items():
            name = key.replace("parametrizations.weight.original0", "weight_g")
            state[name.replace("parametrizations.weight.original1", "weight_v")] = tensor
        (folder / "model.safetensors").unlink()
        torch.save(state, folder / "pytorch_model.bin")
        encoder = TransformersEncoder(weights=str(folder))
        assert torch.equal(
            encoder.network.state_dict()["positions.pos_conv_embed.conv.parametrizations.weight.original1"],
            state["encoder.pos_conv_embed.conv.weight_v"],
        )
        assert encoder.network.state_dict().keys() == expected.keys()

    def test_a_file_that_would_run_code(self, folder):
        (folder / "model.safetensors").unlink()
        torch.save(nn.Linear(1, 1), folder / "pytorch_model.bin")
        with pytest.raises(InputError, match="pickled Python objects"):
            TransformersEncoder(weights=str(folder))

    def test_a_file_as_fervid_exports_it(self, folder, tmp_path):
        trained = TransformersEncoder(weights=str(folder), layers="all", combine="weights")
        nn.init.normal_(trained.network.layer_weights.weights)
        state = {trained.library_name(key): tensor.clone() for key, tensor in trained.network.state_dict().items()}
        save_file({**state, "head.bias": torch.ones(1)}, tmp_path / "exported.safetensors")
        loaded = TransformersEncoder(
            weights=str(tmp_path / "exported.safetensors"), layers="all", combine="weights", **trained.settings
        )
        for key, tensor in trained.network.state_dict().items():
            assert torch.equal(loaded.network.state_dict()[key], tensor), key

    def test_transformers_is_not_installed(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(InputError, match=r"needs transformers: install it with pip install '.\[sound\]'"):
            TransformersEncoder(weights=None, architecture="whisper")

    def test_incomplete_folders(self, folder):
        (folder / "config.json").unlink()
        with pytest.raises(InputError, match=r"contains no config.json: give a folder as save_pretrained"):
            TransformersEncoder(weights=str(folder))
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").unlink()
        with pytest.raises(InputError, match=r"contains no model.safetensors or pytorch_model.bin"):
            TransformersEncoder(weights=str(folder))

    def test_of_another_architecture(self, folder):
        with pytest.raises(InputError, match=r"is a wav2vec2 model, but sound_encoder.architecture=hubert"):
            TransformersEncoder(weights=str(folder), architecture="hubert")
        (folder / "config.json").write_text(json.dumps({"model_type": "clap"}))
        with pytest.raises(InputError, match=r"is a clap model: choose a model of one of whisper, wav2vec2"):
            TransformersEncoder(weights=str(folder))

    def test_of_another_size(self, folder):
        with pytest.raises(InputError, match="belongs to another network"):
            TransformersEncoder(weights=str(folder), options={"intermediate_size": 24})

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"weights": None}, "sound_encoder.weights and sound_encoder.architecture are both missing"),
            ({"weights": None, "architecture": "bert"}, "sound_encoder.architecture=bert is unknown"),
            ({"weights": "whisper"}, "weights=whisper is neither a file, a folder nor a name"),
            ({"weights": "gone.safetensors"}, "weights=gone.safetensors is not a file"),
            (
                {"weights": None, "architecture": "whisper", "options": {"hidden_size": 3}},
                "sound_encoder.options.hidden_size is not an option of whisper: choose from d_model",
            ),
            (
                {"weights": None, "architecture": "whisper", "options": {"d_model": 31}},
                r"sound_encoder.options=\{'d_model': 31\} cannot be used for whisper",
            ),
            ({"weights": None, "architecture": "whisper", "combine": "sum"}, "combine=sum is unknown"),
            ({"weights": None, "architecture": "whisper", "on_missing_weights": "x"}, "on_missing_weights=x is unkn"),
            (
                {"weights": None, "architecture": "hubert", "options": {"conv_pos_batch_norm": True}},
                "conv_pos_batch_norm=true is not supported",
            ),
        ],
    )
    def test_unknown_settings(self, arguments, match):
        with pytest.raises(InputError, match=match):
            TransformersEncoder(**arguments)

    @pytest.fixture
    def offline(self, tmp_path, monkeypatch):
        """An empty cache of the hub, and no network; returns the folder of the cache."""
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        return tmp_path / "hub"

    def test_no_network(self, offline, caplog):
        with pytest.raises(InputError, match=r"facebook/wav2vec2-base cannot be downloaded .*: connect to a network"):
            TransformersEncoder(weights="facebook/wav2vec2-base")
        with pytest.raises(InputError, match="cannot be downloaded"):  # what network should the random weights be of?
            TransformersEncoder(weights="facebook/wav2vec2-base", on_missing_weights="warn")
        encoder = TransformersEncoder(
            weights="facebook/wav2vec2-base", architecture="wav2vec2", options=SMALL, on_missing_weights="warn"
        )
        assert "NO PRETRAINED WEIGHTS" in caplog.text
        assert encoder.weights.source == "random"
        assert encoder.weights.requested == "facebook/wav2vec2-base"
        assert encoder.weights.missing
        assert not encoder.pretrained

    def test_of_the_hub(self, folder, offline):
        snapshot = offline / "models--facebook--wav2vec2-base" / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
        for file in ("config.json", "model.safetensors"):
            (folder / file).rename(snapshot / file)
        encoder = TransformersEncoder(weights="facebook/wav2vec2-base", weights_info={"licence": "mine"})
        assert encoder.weights.source == "transformers"
        assert encoder.weights.requested == "facebook/wav2vec2-base"
        assert encoder.weights.info.data.startswith("LibriSpeech")
        assert encoder.weights.info.licence == "mine"
        assert encoder.network.features.normalize  # the default without preprocessor_config.json


class TestConfiguration:
    OPTIONS = sorted(path.stem for path in (Path(CONFIG_FOLDER) / "sound_encoder").glob("[!_]*.yaml"))

    def config(self, option, *words):
        GlobalHydra.instance().clear()
        with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
            return compose("train", [f"sound_encoder={option}", *words]).sound_encoder

    @pytest.mark.parametrize("option", OPTIONS)
    def test_every_option_can_be_instantiated(self, option):
        words = ["sound_encoder.weights=null"]
        if option == "transformers":
            words += ["sound_encoder.architecture=hubert"]
        if option not in ("log_mel_cnn", "whisper_tiny"):  # 12 or 24 layers of full width would take seconds
            sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32, "num_conv_pos_embeddings": 8}
            words += [f"+sound_encoder.options.{key}={value}" for key, value in sizes.items()]
            words = [word.removeprefix("+") if option == "xlsr" and "conv_pos" not in word else word for word in words]
            if option != "xlsr":
                words.insert(1, "sound_encoder.options={}")
        encoder = instantiate(self.config(option, *words), _convert_="all")
        assert encoder.stages
        assert encoder.output_shape()[0] in (13, 49, 50)

    @pytest.mark.parametrize("option", [option for option in OPTIONS if option not in ("log_mel_cnn", "transformers")])
    def test_options_state_the_architecture_that_checkpoints_need(self, option):
        """A run is loaded with weights=null, so that its configuration alone must define the network."""
        config = self.config(option)
        assert config.architecture
        assert config.architecture == "whisper" or config.normalize is not None
        assert "/" in config.weights
