"""What the named weights of torchvision, timm and transformers were trained on."""

from collections.abc import Mapping
from typing import Any

from fervid.schema.weights import WeightsInfo

IMAGENET_TERMS = "ImageNet may be used only for non-commercial research and education"

# Parts of timm's tags, such as augreg_in21k_ft_in1k, that name data.
TAG_DATA = {
    "in1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
    "jft": "JFT-300M",
    "ig1b": "Instagram (1 billion pictures)",
    "swag": "Instagram (SWAG)",
    "yfcc100m": "YFCC100M",
    "laion2b": "LAION-2B",
    "openai": "OpenAI's image-text pairs (CLIP)",
    "lvd142m": "LVD-142M",
}

LIBRISPEECH = "LibriSpeech (960 hours), without transcripts"
LIBRI_LIGHT = "Libri-Light (60,000 hours)"
WAVLM_DATA = f"{LIBRI_LIGHT}, GigaSpeech (10,000 hours) and VoxPopuli (24,000 hours), without transcripts"
WHISPER_DATA = "680,000 hours of sound with transcripts from the web, collected by OpenAI"
# By name on the Hugging Face hub. The licence is that of the weights; None if the model card leaves it open.
TRANSFORMERS_INFO = {
    "facebook/wav2vec2-base": WeightsInfo(LIBRISPEECH, "Apache-2.0"),
    "facebook/wav2vec2-large-xlsr-53": WeightsInfo(
        "MLS, Common Voice and BABEL (56,000 hours in 53 languages), without transcripts", "Apache-2.0"
    ),
    "facebook/hubert-base-ls960": WeightsInfo(LIBRISPEECH, "Apache-2.0"),
    "facebook/hubert-large-ll60k": WeightsInfo(f"{LIBRI_LIGHT}, without transcripts", "Apache-2.0"),
    "microsoft/wavlm-base": WeightsInfo(LIBRISPEECH),
    "microsoft/wavlm-base-plus": WeightsInfo(WAVLM_DATA),
    "microsoft/wavlm-large": WeightsInfo(WAVLM_DATA),
    **{f"openai/whisper-{size}": WeightsInfo(WHISPER_DATA, "MIT") for size in ("tiny", "base", "small", "medium")},
    **{
        f"openai/whisper-{size}.en": WeightsInfo(f"the English part of {WHISPER_DATA}", "MIT")
        for size in ("tiny", "base", "small", "medium")
    },
}


def transformers_info(name: str) -> WeightsInfo:
    """Returns what weights of transformers were trained on.

    Args:
        name: name on the Hugging Face hub.

    Examples:
        >>> transformers_info("facebook/hubert-base-ls960").data
        'LibriSpeech (960 hours), without transcripts'
    """
    return TRANSFORMERS_INFO.get(name, WeightsInfo())


def torchvision_info(name: str) -> WeightsInfo:
    """Returns what weights of torchvision were trained on.

    Args:
        name: name of the weights, such as ``IMAGENET1K_V1``.
    """
    if "SWAG" in name:
        return WeightsInfo("Instagram (SWAG) and ImageNet-1k", f"CC BY-NC 4.0; {IMAGENET_TERMS}")
    if name.startswith("IMAGENET1K"):
        return WeightsInfo("ImageNet-1k", f"not stated by torchvision; {IMAGENET_TERMS}")
    return WeightsInfo()


def timm_info(config: Mapping[str, Any]) -> WeightsInfo:
    """Returns what weights of timm were trained on, according to the tag of their name.

    Args:
        config: the ``pretrained_cfg`` of the network.

    Examples:
        >>> timm_info({"tag": "augreg_in21k_ft_in1k", "license": "apache-2.0"}).data
        "ImageNet-21k and ImageNet-1k (timm's tag augreg_in21k_ft_in1k)"
    """
    tag = str(config.get("tag") or "")
    data = [TAG_DATA[part] for part in tag.split("_") if part in TAG_DATA]
    terms = [str(config["license"])] if config.get("license") else []
    terms += [IMAGENET_TERMS] if any(name.startswith("ImageNet") for name in data) else []
    return WeightsInfo(f"{' and '.join(data)} (timm's tag {tag})" if data else None, "; ".join(terms) or None)
