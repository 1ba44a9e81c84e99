"""Backbones of torchvision and timm, by name."""

import difflib
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from fervid.errors import InputError, first_line
from fervid.models.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone, Weights
from fervid.models.stages import find_stages, library_name
from fervid.models.state_dicts import CLASSIFIERS

log = logging.getLogger(__name__)


class PretrainedBackbone(Backbone):
    """A network of torchvision or timm without its classifier.

    The stages have the names of the library (``features.26``, ``layer4.0``, ``blocks.11``);
    :func:`fervid.models.stages.find_stages` finds them. A network that is not a chain of stages is a single stage,
    ``network``, which is frozen or trained as a whole and returns pooled features.

    Args:
        name: name of the network in the library (``vgg16``, ``convnext_tiny``).
        library: ``torchvision`` or ``timm``.
        weights: name of the weights (torchvision: ``IMAGENET1K_V1``, ``DEFAULT``, ...; timm: ``DEFAULT``), a local
            file, or None for random weights.
        image_size: see :class:`Backbone`.
        last_block: see :class:`Backbone`. None: the last block, or the last layer of a network without blocks.
        on_missing_weights: what to do if named weights cannot be downloaded: ``error`` raises, ``warn`` continues with
            random weights.
        mean: see :class:`Backbone`. None: the value with which the network was trained according to timm, or that of
            ImageNet for torchvision.
        std: see ``mean``.
        channel_order: see :class:`Backbone`.
        freeze_batchnorm: see :class:`Backbone`.

    Raises:
        InputError: if the library has no such network or weights, or the weights cannot be downloaded or do not match.
    """

    def __init__(
        self,
        name: str,
        *,
        library: str = "torchvision",
        weights: str | None = "DEFAULT",
        image_size: int = 224,
        last_block: str | None = None,
        on_missing_weights: str = "error",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        channel_order: str = "rgb",
        freeze_batchnorm: bool | None = None,
    ):
        if library not in ("torchvision", "timm"):
            raise InputError(f"backbone.library={library} is unknown: choose torchvision or timm.")
        if on_missing_weights not in ("warn", "error"):
            raise InputError(f"on_missing_weights={on_missing_weights} is unknown: choose warn or error.")
        if name is None:
            raise InputError(f"backbone={library} needs backbone.name=<network>, such as backbone.name=resnet34.")
        network = _build(name, library, image_size).eval()
        found = find_stages(network, name, image_size)
        super().__init__(
            found.body.train(),
            found.names,
            num_features=found.num_features,
            image_size=image_size,
            last_block=last_block or found.last_block,
            mean=mean or getattr(network, "pretrained_cfg", {}).get("mean", IMAGENET_MEAN),
            std=std or getattr(network, "pretrained_cfg", {}).get("std", IMAGENET_STD),
            channel_order=channel_order,
            freeze_batchnorm=freeze_batchnorm,
        )
        if hasattr(network, "no_weight_decay"):
            self.no_weight_decay = frozenset(network.no_weight_decay())  # type: ignore[operator]
        self._load(name, library, weights, on_missing_weights)

    def library_name(self, name: str) -> str:
        return library_name(name)

    def _load(self, name: str, library: str, weights: str | None, on_missing_weights: str) -> None:
        if weights is None:
            return
        if Path(weights).expanduser().is_file() or Path(weights).suffix in (".pth", ".pt", ".safetensors"):
            self.load_file(Path(weights).expanduser())
            return
        try:
            state, sha256 = _fetch(name, library, weights, self.image_size)
        except InputError:
            raise
        except Exception as error:  # urllib, huggingface_hub and torch.hub raise different exceptions
            reason = first_line(error)
            sentence = (
                f"the {library} weights {weights} of {name} cannot be downloaded ({reason}): connect to a network, "
                "give a file with backbone.weights=<path>, or use random weights with backbone.weights=null"
            )
            if on_missing_weights == "error":
                raise InputError(sentence + ".") from error
            log.warning("NO PRETRAINED WEIGHTS, training starts from RANDOM weights: %s.", sentence)
            self.weights = Weights(weights, missing=reason)
            return
        self.load_tensors(state, weights)
        self.weights = Weights(weights, library, sha256)


def _timm() -> Any:
    import timm  # takes a second and a half, for which torchvision's networks need not wait

    return timm


def _build(name: str, library: str, image_size: int) -> nn.Module:
    """Builds the network with random weights and without its classifier."""
    known = torchvision.models.list_models(torchvision.models) if library == "torchvision" else _timm().list_models()
    if name.split(".")[0] not in known:
        similar = difflib.get_close_matches(name, known, n=3)
        raise InputError(
            f"{library} has no network {name!r}" + (f": did you mean {' or '.join(similar)}?" if similar else ".")
        )
    if library == "torchvision":
        options: dict[str, Any] = {"weights": None}
        if name in ("googlenet", "inception_v3"):  # their auxiliary heads are only for training on ImageNet
            options |= {"aux_logits": False, "init_weights": True, "transform_input": True}  # as for their weights
        network = torchvision.models.get_model(name, **options)
        for classifier in CLASSIFIERS:
            if hasattr(network, classifier):
                setattr(network, classifier, nn.Identity())
        return network
    return _timm_network(name, image_size, pretrained=False)


def _timm_network(name: str, image_size: int, *, pretrained: bool) -> nn.Module:
    try:
        return _timm().create_model(name, pretrained=pretrained, num_classes=0, img_size=image_size)
    except TypeError:  # convolutional networks accept any size and have no argument img_size
        return _timm().create_model(name, pretrained=pretrained, num_classes=0)


def _fetch(name: str, library: str, weights: str, image_size: int) -> tuple[dict[str, Tensor], str]:
    """Returns the named weights and their sha256, from the library's cache or a download."""
    if library == "timm":
        state = _timm_network(name, image_size, pretrained=True).state_dict()
        digest = hashlib.sha256()
        for tensor in state.values():
            digest.update(tensor.contiguous().numpy().tobytes())
        return state, digest.hexdigest()
    choices = torchvision.models.get_model_weights(name)
    if weights not in choices.__members__:
        raise InputError(
            f"backbone.weights={weights} is neither a file nor weights of {name}: choose "
            f"{', '.join(choices.__members__)}, a file, or null."
        )
    chosen = choices[weights]
    state = chosen.get_state_dict(progress=False, check_hash=True)
    file = Path(torch.hub.get_dir()) / "checkpoints" / chosen.url.rsplit("/", 1)[-1]
    return state, hashlib.sha256(file.read_bytes()).hexdigest()
