"""Configurations and weights of speech encoders of Hugging Face transformers, without executing code from them."""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fervid.errors import InputError, first_line
from fervid.schema.weights import ENDINGS

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # in the order of preference
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"

# Settings of a configuration that change the encoder. Others are those of decoders, pretraining and generation.
WHISPER_OPTIONS = (
    *("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "num_mel_bins"),
    *("max_source_positions", "activation_function", "dropout", "attention_dropout", "activation_dropout", "init_std"),
)
SPEECH_OPTIONS = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "hidden_dropout"),
    *("attention_dropout", "activation_dropout", "feat_proj_dropout", "layer_norm_eps", "initializer_range"),
    *("feat_extract_norm", "feat_extract_activation", "conv_dim", "conv_stride", "conv_kernel", "conv_bias"),
    *("num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "do_stable_layer_norm"),
)
OPTIONS = {
    "whisper": WHISPER_OPTIONS,
    "wav2vec2": (*SPEECH_OPTIONS, "adapter_attn_dim"),
    "hubert": (*SPEECH_OPTIONS, "feat_proj_layer_norm", "conv_pos_batch_norm"),
    "wavlm": (*SPEECH_OPTIONS, "num_buckets", "max_bucket_distance"),
}


@dataclass(frozen=True)
class Source:
    """The files of a model.

    Attributes:
        weights: path of the file of weights.
        config: content of ``config.json``; None if there is no such file.
        preprocessor: content of ``preprocessor_config.json``; empty if there is no such file.
        is_local: whether the files were given by a path rather than by a name on the hub.
    """

    weights: Path
    config: Mapping[str, Any] | None
    preprocessor: Mapping[str, Any]
    is_local: bool


class Unreachable(Exception):
    """Raised if files are not on this machine and cannot be downloaded."""


def check_transformers() -> None:
    """Checks that transformers is installed.

    Raises:
        InputError: if it is not.
    """
    if importlib.util.find_spec("transformers") is None:
        raise InputError(
            "this sound encoder needs transformers: install it with pip install '.[sound]' in the repository folder."
        )


def find_source(name: str) -> Source:
    """Returns the files of a model, after downloading them if necessary.

    Args:
        name: a file of weights, a folder with ``config.json`` and a file of weights, or a name on the Hugging Face hub,
            ``<owner>/<model>``.

    Raises:
        InputError: if the file or folder is missing or incomplete.
        Unreachable: if the model cannot be downloaded.
    """
    path = Path(name).expanduser()
    if path.suffix in ENDINGS or path.is_file():
        if not path.is_file():
            raise InputError(f"sound_encoder.weights={name} is not a file: give a file, a folder or a name on the hub.")
        return Source(path, _read(path.parent / CONFIG), _read(path.parent / PREPROCESSOR) or {}, True)
    if path.is_dir():
        found = next((path / file for file in WEIGHT_FILES if (path / file).is_file()), None)
        missing = CONFIG if not (path / CONFIG).is_file() else " or ".join(WEIGHT_FILES)
        if found is None or missing == CONFIG:
            raise InputError(
                f"sound_encoder.weights={name} contains no {missing}: give a folder as save_pretrained of transformers "
                "writes it, with config.json and one file of weights."
            )
        return Source(found, _read(path / CONFIG), _read(path / PREPROCESSOR) or {}, True)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(
            f"sound_encoder.weights={name} is neither a file, a folder nor a name on the Hugging Face hub: give a "
            "path, or <owner>/<model> such as openai/whisper-tiny.en."
        )
    return _download(name)


def _download(name: str) -> Source:
    from huggingface_hub import hf_hub_download  # takes time, and needs no import for local files

    def fetched(*files: str) -> Path:
        for file in files:
            try:
                return Path(hf_hub_download(name, file))
            except Exception as error:  # huggingface_hub, requests and httpx raise different exceptions
                problem = error
        raise Unreachable(first_line(problem)) from problem

    config, weights = _read(fetched(CONFIG)), fetched(*WEIGHT_FILES)
    try:
        preprocessor = _read(fetched(PREPROCESSOR)) or {}
    except Unreachable:  # not every model has one
        preprocessor = {}
    return Source(weights, config, preprocessor, False)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({first_line(error)}): download it again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} contains no settings: download it again.")
    return content


def find_architecture(architecture: str | None, config: Mapping[str, Any] | None, weights: str | None) -> str:
    """Returns the architecture: the given one, or that of the configuration.

    Raises:
        InputError: if it is unknown, missing, or not that of the configuration.
    """
    known = ", ".join(OPTIONS)
    if architecture is not None and architecture not in OPTIONS:
        raise InputError(f"sound_encoder.architecture={architecture} is unknown: choose one of {known}.")
    if config is None:
        if architecture is None:
            raise InputError(
                "sound_encoder.weights and sound_encoder.architecture are both missing: give the name of a model on "
                f"the Hugging Face hub or a folder as weights, or for random weights an architecture ({known})."
                if weights is None
                else f"sound_encoder.weights={weights} has no config.json that states its architecture: give "
                f"sound_encoder.architecture ({known}) and, if it is not the default size, sound_encoder.options."
            )
        return architecture
    stated = str(config.get("model_type"))
    if stated not in OPTIONS:
        raise InputError(f"sound_encoder.weights={weights} is a {stated} model: choose a model of one of {known}.")
    if architecture not in (None, stated):
        raise InputError(
            f"sound_encoder.weights={weights} is a {stated} model, but sound_encoder.architecture={architecture}: "
            f"give architecture={stated}, or other weights."
        )
    return stated


def find_options(
    architecture: str, config: Mapping[str, Any] | None, options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Returns the options that define the encoder: those given, and those of the configuration.

    Raises:
        InputError: if a given option is unknown.
    """
    known = OPTIONS[architecture]
    if unknown := sorted(str(name) for name in options or {} if name not in known):
        raise InputError(
            f"sound_encoder.options.{unknown[0]} is not an option of {architecture}: choose from {', '.join(known)}."
        )
    return {name: (config or {})[name] for name in known if name in (config or {})} | dict(options or {})


def build(architecture: str, options: Mapping[str, Any]) -> Any:
    """Builds an encoder with random weights.

    Returns:
        A ``WhisperEncoder``, or a ``Wav2Vec2Model``, ``HubertModel`` or ``WavLMModel``.

    Raises:
        InputError: if the options do not fit together.
    """
    import transformers

    if options.get("conv_pos_batch_norm"):
        raise InputError(
            "sound_encoder.options.conv_pos_batch_norm=true is not supported, since padding would change its "
            "statistics: choose another model."
        )
    names = {"whisper": "Whisper", "wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
    try:
        # Masks of the model's own SpecAugment and their embedding are not used.
        settings = dict(options) if architecture == "whisper" else {**options, "mask_time_prob": 0.0}
        config = getattr(transformers, f"{names[architecture]}Config")(**settings)
        # WavLM has its own attention: see fervid.models.transformers_stages.
        config._attn_implementation = "eager" if architecture == "wavlm" else "sdpa"
        if architecture == "whisper":
            from transformers.models.whisper.modeling_whisper import WhisperEncoder

            return WhisperEncoder(config)
        return getattr(transformers, f"{names[architecture]}Model")(config)
    except Exception as error:  # transformers raises different exceptions
        raise InputError(
            f"sound_encoder.options={dict(options)} cannot be used for {architecture} ({first_line(error)}): give "
            "options of its configuration in transformers that fit together."
        ) from error
