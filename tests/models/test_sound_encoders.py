"""Encoders of sound: independence of padding, equality with transformers, layers and training."""

import copy
import hashlib
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from padding import padded
from torch import nn

from fervid.errors import InputError
from fervid.models.log_mel import LogMel
from fervid.models.sequences import lengths
from fervid.models.sound_encoders import SoundCNN, TimeBatchNorm, TransformersEncoder
from fervid.models.transformers_weights import build

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
        maps, block = encoder.network.log_mel(x).unsqueeze(1), copy.deepcopy(encoder.network.block1)
        plain = nn.BatchNorm2d(4)
        plain.load_state_dict(block.norm.state_dict())
        expected = plain(block.conv(maps)).relu()
        assert expected.shape == (2, 4, 25, 32)  # half as many frames and bands
        torch.testing.assert_close(encoder(x, stop=2), expected.permute(0, 2, 3, 1).flatten(2), rtol=1e-4, atol=1e-5)

    def test_batchnorm_of_padded_maps_is_that_of_their_valid_positions(self):
        torch.manual_seed(0)
        norm, plain, maps = TimeBatchNorm(3), nn.BatchNorm2d(3), torch.randn(2, 3, 5, 4)
        valid = torch.tensor([[True] * 5, [True, True, False, False, False]])
        normed = norm(maps, valid)
        rows = maps.transpose(1, 2)[valid]  # (7, 3, 4)
        torch.testing.assert_close(normed.transpose(1, 2)[valid], plain(rows[..., None, :])[..., 0, :])
        assert (normed.transpose(1, 2)[~valid] == 0).all()
        torch.testing.assert_close(norm.running_var, plain.running_var)

    def test_convolutions_of_a_short_sound_are_cheap(self):
        """Counts the multiplications for 2 s; maps of full resolution in each block would need 359 million."""
        counts, encoder = [], SoundCNN().eval()
        for module in encoder.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda conv, _, y: counts.append(conv.weight[0].numel() * y[0].numel()))
        encoder(torch.zeros(1, 32_000))
        assert len(counts) == 4
        assert sum(counts) < 150e6

    def test_last_stage(self):
        encoder = SoundCNN(last_stage="block2")
        assert encoder.stages == ["log_mel", "block1", "block2"]
        assert encoder.output_shape() == (25, 16 * 96)

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

    def test_learned_weights(self):
        joined, x = small("whisper", layers="all"), padded(sounds(8_000, 5_000))
        encoder = small("whisper", layers="all", combine="weights")
        assert encoder.stages[-1] == "layer_weights"
        assert encoder.last_block == "layers.2"
        encoder.load_tensors({joined.library_name(k): v for k, v in joined.network.state_dict().items()}, "test")
        states = joined(x).split(32, dim=2)
        encoder.network.layer_weights.weights.data.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
        shares = torch.tensor([0.0, 1.0, 2.0, 3.0]).exp() / torch.tensor([0.0, 1.0, 2.0, 3.0]).exp().sum()
        expected = sum(share * state for share, state in zip(shares, states, strict=True))
        torch.testing.assert_close(encoder(x), expected, equal_nan=True)
        assert encoder.output_shape()[1] == 32
        encoder(x).nan_to_num().square().sum().backward()
        gradient = encoder.network.layer_weights.weights.grad
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).all()

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
