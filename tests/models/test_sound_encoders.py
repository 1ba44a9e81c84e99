"""Encoders of sound: independence of padding, equality with transformers, layers, weights and configuration."""

import copy
import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from safetensors.torch import save_file
from torch import nn

from fervid.errors import InputError
from fervid.models.log_mel import LogMel
from fervid.models.sequences import lengths, padded
from fervid.models.sound_encoders import SoundCNN, TransformersEncoder
from fervid.models.transformers_weights import build
from fervid.schema.config_folder import CONFIG_FOLDER

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
WHISPER = SHARED / "weights" / "whisper_tiny_en_encoder"
needs_transformers = pytest.mark.skipif(find_spec("transformers") is None, reason="needs transformers")

SPEECH = {
    **{"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48},
    **{"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4},
    **{"num_buckets": 32, "max_bucket_distance": 40},
}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
TINY = {"d_model": 32, "encoder_layers": 3, "encoder_attention_heads": 4, "encoder_ffn_dim": 48}
SMALL = {
    "whisper": ("whisper", TINY),
    **{
        name: (name, {k: v for k, v in SPEECH.items() if name == "wavlm" or "bucket" not in k})
        for name in ("wav2vec2", "hubert", "wavlm")
    },
}
SMALL |= {f"{name} stable": (name, SMALL[name][1] | STABLE) for name in ("wav2vec2", "hubert", "wavlm")}


def randomize(module):
    """Weights far from their initial values, with which a missing bias or norm shows."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def small(name, **options):
    torch.manual_seed(0)
    architecture, settings = SMALL[name]
    encoder = TransformersEncoder(weights=None, architecture=architecture, options=settings, **options).eval()
    randomize(encoder)
    return encoder


def made(name):
    if name == "cnn":
        torch.manual_seed(0)
        encoder = SoundCNN(widths=(4, 8, 8, 16)).eval()
        randomize(encoder)
        return encoder
    return small(name, layers=[0, 2, "final"])


def sounds(*counts):
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(count, generator=generator) for count in counts]


ALL = ["cnn", *(pytest.param(name, marks=needs_transformers) for name in SMALL)]


@torch.no_grad()
@pytest.mark.parametrize("name", ALL)
def test_features_do_not_depend_on_padding_or_other_sounds(name):
    encoder, batch = made(name), sounds(16_000, 9_001, 400)
    alone = [encoder(sound[None])[0] for sound in batch]
    together = encoder(padded(batch, 17_000))
    assert lengths(together).tolist() == [len(features) for features in alone]
    for row, features in zip(together, alone, strict=True):
        assert torch.isfinite(features).all()
        torch.testing.assert_close(row[: len(features)], features, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", ALL)
def test_stages_run_one_by_one_give_the_same_output(name):
    encoder, x = made(name), padded(sounds(8_000, 5_000))
    whole, features = encoder(x).nan_to_num(), x
    for number in range(len(encoder.stages)):
        features = encoder(features, number, number + 1)
        assert features.dim() == 3
        assert torch.equal(encoder(features, number + 1).nan_to_num(), whole)
    assert encoder.output_shape() == (encoder(encoder.example()).shape[1], whole.shape[2])


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_finite_and_reach_every_weight(name):
    encoder = made(name).train()
    encoder(padded(sounds(8_000, 401))).nan_to_num().square().sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert "k_proj.bias" in key or (parameter.grad != 0).any(), key  # attention ignores a constant of all keys


@pytest.mark.parametrize("name", ALL)
def test_short_sounds_and_other_shapes_are_errors(name):
    encoder = made(name)
    with pytest.raises(InputError, match=r"a sound of 399 samples is too short: .* at least 400 samples \(25.0 ms\)"):
        encoder(padded(sounds(8_000, 399)))
    with pytest.raises(InputError, match=r"shape \(1, 2, 8000\) instead of \(B, S\)"):
        encoder(torch.zeros(1, 2, 8_000))


class TestSoundCNN:
    def test_size(self):
        encoder = SoundCNN()
        assert 500_000 < sum(parameter.numel() for parameter in encoder.parameters()) < 1_000_000
        assert encoder.stages == ["log_mel", "block1", "block2", "block3", "block4"]
        assert encoder.output_shape() == (13, 256)  # 12.5 per second

    def test_padding_does_not_change_the_statistics_of_batchnorm(self):
        x, statistics = padded(sounds(8_000, 5_000)), []
        for batch in (x, torch.cat([x, torch.full((2, 9_000), torch.nan)], dim=1)):
            encoder = made("cnn").train()
            encoder(batch)
            statistics.append([b.clone() for name, b in encoder.named_buffers() if "running" in name])
        assert len(statistics[0]) == 8
        for one, other in zip(*statistics, strict=True):
            torch.testing.assert_close(one, other)

    def test_training_on_equal_lengths_is_that_of_plain_batchnorm(self):
        encoder, x = made("cnn").train(), torch.stack(sounds(8_000, 8_000))
        maps = encoder.network.log_mel(x).unsqueeze(1)
        plain = nn.BatchNorm2d(4)
        plain.load_state_dict(encoder.network.block1.norm.state_dict())
        expected = plain(encoder.network.block1.conv(maps)).relu()
        expected = nn.functional.max_pool2d(expected, 2, ceil_mode=True).transpose(1, 2).flatten(2)
        torch.testing.assert_close(encoder(x, stop=2), expected, rtol=1e-4, atol=1e-5)

    def test_last_stage(self):
        encoder = SoundCNN(last_stage="block2")
        assert encoder.stages == ["log_mel", "block1", "block2"]
        assert encoder.output_shape() == (25, 96 * 16)

    def test_too_few_bands(self):
        with pytest.raises(InputError, match=r"sound_encoder.bands=8 is too small for 4 blocks: give 16 or more"):
            SoundCNN(bands=8)


@needs_transformers
class TestAgainstTransformers:
    """The hidden states of the models' own forward functions, for one sound."""

    @torch.no_grad()
    @pytest.mark.parametrize("name", [name for name in SMALL if name != "whisper"])
    def test_speech_models(self, name):
        architecture, options = SMALL[name]
        torch.manual_seed(0)
        model = build(architecture, options).eval()
        randomize(model)
        encoder = small(name, layers=[0, 1, 2, 3], normalize=False)
        encoder.load_tensors(model.state_dict(), "test")
        (sound,) = sounds(16_000)
        result = model(sound[None], output_hidden_states=True)
        expected = [*result.hidden_states[:3]]
        found = encoder(sound[None])[0].split(32, dim=1)
        for own, library in zip(found, expected, strict=False):
            assert library.std() > 0.1
            torch.testing.assert_close(own, library[0], rtol=1e-5, atol=1e-5)
        final = small(name, layers="final", normalize=False)
        final.load_tensors(model.state_dict(), "test")
        torch.testing.assert_close(final(sound[None])[0], result.last_hidden_state[0], rtol=1e-5, atol=1e-5)
        assert ("norm" in final.stages) == ("stable" in name)

    @torch.no_grad()
    def test_normalisation_of_a_sound(self):
        transformers = pytest.importorskip("transformers")
        (sound,) = sounds(16_000)
        sound = 0.3 + 0.2 * sound
        normalized = transformers.Wav2Vec2FeatureExtractor()(sound.numpy(), sampling_rate=16_000, return_tensors="pt")
        raw, own = small("wav2vec2", normalize=False), small("wav2vec2", normalize=True)
        torch.testing.assert_close(own(sound[None]), raw(normalized.input_values), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(own(sound[None]), raw(sound[None]), atol=1e-2)

    @torch.no_grad()
    def test_whisper_of_full_length(self):
        """A sound of exactly as many positions as Whisper has needs no cut, so that all hidden states are equal."""
        options = TINY | {"max_source_positions": 100}
        torch.manual_seed(0)
        model = build("whisper", options).eval()
        randomize(model)
        encoder = TransformersEncoder(weights=None, architecture="whisper", options=options, layers=[0, 1, 2, "final"])
        encoder.eval().load_tensors(model.state_dict(), "test")
        (sound,) = sounds(32_000)
        spectrogram = LogMel()(sound[None]).transpose(1, 2)
        result = model(spectrogram, output_hidden_states=True)
        # At the very end, Whisper's convolutions see zeros, whereas ours see silence.
        model_stem, own_stem = result.hidden_states[0][0], encoder(sound[None], stop=2)[0]
        torch.testing.assert_close(own_stem[:-2], model_stem[:-2], rtol=1e-5, atol=1e-5)
        found = encoder(model_stem[None], start=2)[0].split(32, dim=1)
        expected = [*result.hidden_states[:3], result.last_hidden_state]
        for own, library in zip(found, expected, strict=True):
            torch.testing.assert_close(own, library[0], rtol=1e-5, atol=1e-5)


@needs_transformers
class TestLayers:
    @torch.no_grad()
    @pytest.mark.parametrize("name", ["whisper", "wavlm stable"])
    def test_any_choice_is_a_selection_of_all_layers(self, name):
        every, x = small(name, layers=[0, 1, 2, 3, "final"]), padded(sounds(8_000, 5_000))
        state = every.network.state_dict()
        states = every(x).split(32, dim=2)
        for choice, numbers in (([1, 3], [1, 3]), ([3, 0], [0, 3]), (2, [2]), ("final", [4]), (None, [4])):
            encoder = small(name, layers=choice)
            encoder.network.load_state_dict({key: state[key] for key in encoder.network.state_dict()})
            expected = torch.cat([states[number] for number in numbers], dim=2)
            torch.testing.assert_close(encoder(x), expected, equal_nan=True, rtol=1e-4, atol=1e-5)

    def test_stages_after_the_last_layer_are_removed(self):
        encoder = small("whisper", layers=[1, 2])
        assert encoder.stages == ["log_mel", "stem", "layers.0", "layers.1"]
        assert not any("layers.2" in key or "norm.block" in key for key in encoder.network.state_dict())
        assert encoder.last_block == "layers.1"
        assert small("whisper", layers=0).stages == ["log_mel", "stem"]

    @torch.no_grad()
    def test_last_channels_of_every_stage_are_the_hidden_state(self):
        encoder, x = small("wav2vec2", layers=[1, 3]), torch.stack(sounds(8_000))
        widths = [encoder(x, stop=number).shape[2] for number in range(1, 7)]
        assert widths == [16, 32, 32, 32, 64, 64]
        one, two = encoder(x, stop=4), encoder(x, stop=5)
        assert torch.equal(two[..., :32], one)

    @torch.no_grad()
    def test_learned_weights(self):
        joined, x = small("whisper", layers="all"), padded(sounds(8_000, 5_000))
        encoder = small("whisper", layers="all", combine="weights")
        assert encoder.stages[-1] == "layer_weights"
        assert encoder.last_block == "layers.2"
        encoder.load_tensors({joined.library_name(k): v for k, v in joined.network.state_dict().items()}, "test")
        states = joined(x).split(32, dim=2)
        encoder.network.layer_weights.weights.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
        shares = torch.tensor([0.0, 1.0, 2.0, 3.0]).exp() / torch.tensor([0.0, 1.0, 2.0, 3.0]).exp().sum()
        expected = sum(share * state for share, state in zip(shares, states, strict=True))
        torch.testing.assert_close(encoder(x), expected, equal_nan=True)
        assert encoder.output_shape()[1] == 32

    @pytest.mark.parametrize("layers", [[4], [-1], [], ["last"], [1.5]])
    def test_unknown_layers(self, layers):
        with pytest.raises(
            InputError, match=r"sound_encoder.layers=.* cannot be used: .* from 0 to 3 and final, or all"
        ):
            small("wav2vec2", layers=layers)


@needs_transformers
class TestTraining:
    def test_relative_positions_of_wavlm_belong_to_its_first_layer(self):
        encoder = small("wavlm")
        assert [key for key in encoder.network.state_dict() if "rel_attn_embed" in key] == [
            "layers.0.block.attention.rel_attn_embed.weight"
        ]
        assert encoder.library_name("layers.0.block.attention.rel_attn_embed.weight") in encoder.no_weight_decay
        twin, x = copy.deepcopy(encoder), torch.stack(sounds(8_000))
        with torch.no_grad():
            encoder.network.layers[0].block.attention.rel_attn_embed.weight.zero_()
            middle = encoder(x, stop=4)
            assert not torch.allclose(encoder(middle, start=4), twin(middle, start=4))

    def test_positions_of_whisper_are_not_trained(self):
        encoder = small("whisper")
        assert not any("positions" in name for name, _ in encoder.named_parameters())
        assert encoder.library_name("stem.positions") == "embed_positions.weight"

    @pytest.mark.parametrize("name", ["whisper", "hubert"])
    def test_spec_augment_masks_only_in_training(self, name):
        encoder = small(name, spec_augment={"freq_masks": 2, "freq_width": 8, "time_masks": 1})
        plain, x = small(name), torch.stack(sounds(8_000))
        assert torch.equal(encoder(x, stop=2), plain(x, stop=2))
        number = 0 if name == "whisper" else 1  # the stage with the masks
        (stage,) = encoder.stage_modules(number, number + 1)
        before = plain(x, stop=number) if number else x
        assert not torch.equal(stage.train()(before), plain(before, number, number + 1))

    @pytest.mark.parametrize("name", ["whisper", "wavlm"])
    def test_lora_trains_additions_to_attention(self, name):
        pytest.importorskip("peft")
        encoder, x = small(name, lora={"r": 2}), torch.stack(sounds(8_000))
        trained = {key: parameter for key, parameter in encoder.named_parameters() if parameter.requires_grad}
        assert trained
        assert all(".lora_" in key and ("q_proj" in key or "v_proj" in key) for key in trained)
        encoder(x).square().sum().backward()
        assert all((parameter.grad != 0).any() for key, parameter in trained.items() if "lora_B" in key)


@needs_transformers
class TestWeights:
    @pytest.fixture
    def folder(self, tmp_path):
        """A folder as transformers saves it, with the names of the parts of a larger model."""
        architecture, options = SMALL["wav2vec2"]
        torch.manual_seed(1)
        model = build(architecture, options)
        state = {f"wav2vec2.{key}": tensor for key, tensor in model.state_dict().items()}
        save_file({**state, "quantizer.codevectors": torch.ones(2)}, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2", **options}))
        (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
        return tmp_path

    def test_a_folder(self, folder):
        encoder = TransformersEncoder(weights=str(folder), layers=[2])
        state = build("wav2vec2", SMALL["wav2vec2"][1]).state_dict()
        assert encoder.library_name("positions.pos_conv_embed.conv.bias") in state
        assert encoder.weights.source == "file"
        assert encoder.weights.requested == str(folder)
        assert encoder.weights.sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        assert encoder.weights.unwrapped == "prefix wav2vec2."
        assert not encoder.network.features.normalize
        twin = TransformersEncoder(weights=None, layers=[2], **encoder.settings)
        twin.network.load_state_dict(encoder.network.state_dict())
        x = torch.stack(sounds(8_000))
        assert torch.equal(encoder.eval()(x), twin.eval()(x))
        assert twin.built_as == encoder.built_as

    def test_older_names_of_weight_norm_and_pickled_weights(self, folder):
        expected = TransformersEncoder(weights=str(folder)).network.state_dict()
        state = {}
        for key, tensor in build("wav2vec2", SMALL["wav2vec2"][1]).state_dict().items():
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
        architecture, options = SMALL["wav2vec2"]
        encoder = TransformersEncoder(
            weights="facebook/wav2vec2-base", architecture=architecture, options=options, on_missing_weights="warn"
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


@needs_transformers
def test_sounds_of_more_than_30_seconds_are_an_error_of_whisper():
    encoder = small("whisper")
    assert encoder(torch.zeros(1, 480_000)).shape == (1, 1500, 32)
    with pytest.raises(InputError, match=r"a sound of 31.0 s is too long for Whisper, which accepts up to 30 s"):
        encoder(torch.zeros(1, 496_000))
    long = padded([torch.zeros(8_000)], 500_000)
    assert lengths(encoder(long)).tolist() == [25]


@needs_transformers
@pytest.mark.skipif(not WHISPER.exists(), reason="needs the weights of Whisper in ../shared")
class TestRealWhisper:
    @torch.no_grad()
    def test_positions_are_cut(self):
        """Whisper's own layers give the same hidden states if its positions are cut to the length of the sound."""
        transformers = pytest.importorskip("transformers")
        encoder = TransformersEncoder(weights=str(WHISPER), layers=[0, 1, 2, 3, 4, "final"]).eval()
        model = transformers.WhisperForAudioClassification.from_pretrained(WHISPER, dtype=torch.float32).eval().encoder
        (sound,) = sounds(40_001)
        sound[-400:] = 0  # so that the first frame after the end, which is missing in ours, is silent
        extracted = transformers.WhisperFeatureExtractor()(sound.numpy(), sampling_rate=16_000, return_tensors="pt")
        hidden = model(extracted.input_features, output_hidden_states=True).hidden_states[0][:, :126]
        expected = [hidden]
        for layer in model.layers:
            found = layer(expected[-1], None)
            expected.append(found[0] if isinstance(found, tuple) else found)
        expected.append(model.layer_norm(expected[-1]))
        found = encoder(sound[None]).split(384, dim=2)
        assert len(found) == len(expected)
        for own, library in zip(found, expected, strict=True):
            torch.testing.assert_close(own, library, rtol=1e-3, atol=1e-3)

    def test_weights_are_those_of_the_file(self):
        encoder = TransformersEncoder(weights=str(WHISPER), layers=[2, 3, 4])
        assert encoder.output_shape() == (50, 1152)
        assert encoder.weights.source == "file"
        assert encoder.weights.sha256 == hashlib.sha256((WHISPER / "model.safetensors").read_bytes()).hexdigest()


class TestConfiguration:
    OPTIONS = sorted(path.stem for path in (Path(CONFIG_FOLDER) / "sound_encoder").glob("[!_]*.yaml"))

    def config(self, option, *words):
        GlobalHydra.instance().clear()
        with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
            known = "sound_encoder" in compose("train")
            return compose("train", [f"{'' if known else '+'}sound_encoder={option}", *words]).sound_encoder

    @pytest.mark.parametrize("option", OPTIONS)
    def test_every_option_can_be_instantiated(self, option):
        if option != "log_mel_cnn":
            pytest.importorskip("transformers")
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
        assert config.normalize is not None
        assert "/" in config.weights
