"""Backbones of torchvision and timm, by name."""

import difflib
import hashlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from fervid.errors import InputError, first_line
from fervid.models.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone
from fervid.models.encoder import Weights
from fervid.models.lora import add_lora
from fervid.models.provenance import timm_info, torchvision_info
from fervid.models.stages import find_stages, library_name
from fervid.models.state_dicts import CLASSIFIERS, converted_states
from fervid.schema.weights import ENDINGS, WeightsInfo

log = logging.getLogger(__name__)

HUB = ("hf_hub:", "hf-hub:")  # timm's prefixes of models on the Hugging Face hub
# Arguments of the libraries that choose files, downloads or the classifier rather than the network.
RESERVED = {
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "num_classes"),
    *("weights", "weights_backbone", "progress"),
}


class PretrainedBackbone(Backbone):
    """A network of torchvision or timm without its classifier.

    The stages have the names of the library (``features.26``, ``layer4.0``, ``blocks.11``);
    :func:`fervid.models.stages.find_stages` finds them. A network that is not a chain of stages is a single stage,
    ``network``, which is frozen or trained as a whole and returns pooled features.

    Args:
        name: name of the network in the library (``vgg16``, ``convnext_tiny``). With timm also a model on the Hugging
            Face hub (``hf_hub:<owner>/<model>``); its configuration is downloaded whenever the network is built.
        library: ``torchvision`` or ``timm``.
        weights: name of the weights (torchvision: ``IMAGENET1K_V1``, ``DEFAULT``, ...; timm: ``DEFAULT``, or
            ``hf_hub:<owner>/<model>``), a local file, or None for random weights. Weights that do not match a network
            of timm are converted by the library's ``checkpoint_filter_fn``, if it has one for the network.
        image_size: see :class:`Backbone`.
        last_block: see :class:`Backbone`. None: the last block, or the last layer of a network without blocks.
        last_stage: see :class:`Backbone`.
        on_missing_weights: what to do if named weights cannot be downloaded: ``error`` raises, ``warn`` continues with
            random weights.
        mean: see :class:`Backbone`. None: the value with which the network was trained according to timm, or that of
            ImageNet for torchvision.
        std: see ``mean``.
        channel_order: see :class:`Backbone`.
        freeze_batchnorm: see :class:`Backbone`.
        options: further arguments of the network's constructor in the library, such as ``{"pad_type": "same"}``.
        weights_info: see :class:`Backbone`. What is not given is filled in for weights of torchvision and timm.
        lora: arguments of :func:`fervid.models.lora.add_lora`, which is called once the weights are loaded; None: train
            the weights themselves.

    Raises:
        InputError: if the library has no such network, options or weights, or the weights cannot be downloaded or do
            not match.
    """

    def __init__(
        self,
        name: str,
        *,
        library: str = "torchvision",
        weights: str | None = "DEFAULT",
        image_size: int = 224,
        last_block: str | None = None,
        last_stage: str | None = None,
        on_missing_weights: str = "error",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        channel_order: str = "rgb",
        freeze_batchnorm: bool | None = None,
        options: Mapping[str, Any] | None = None,
        weights_info: Mapping[str, Any] | None = None,
        lora: Mapping[str, Any] | None = None,
    ):
        if library not in ("torchvision", "timm"):
            raise InputError(f"backbone.library={library} is unknown: choose torchvision or timm.")
        if on_missing_weights not in ("warn", "error"):
            raise InputError(f"on_missing_weights={on_missing_weights} is unknown: choose warn or error.")
        if name is None:
            raise InputError(f"backbone={library} needs backbone.name=<network>, such as backbone.name=resnet34.")
        network = _build(name, library, image_size, options or {}).eval()
        found = find_stages(network, name, image_size)
        super().__init__(
            found.body.train(),
            found.names,
            image_size=image_size,
            last_block=last_block or found.last_block,
            last_stage=last_stage,
            mean=mean or getattr(network, "pretrained_cfg", {}).get("mean", IMAGENET_MEAN),
            std=std or getattr(network, "pretrained_cfg", {}).get("std", IMAGENET_STD),
            channel_order=channel_order,
            freeze_batchnorm=freeze_batchnorm,
            weights_info=weights_info,
        )
        if hasattr(network, "no_weight_decay"):
            self.no_weight_decay = frozenset(network.no_weight_decay())  # type: ignore[operator]
        self.built_as = repr((library, name, sorted((options or {}).items(), key=str)))
        self._whole = [network]  # in a list, so that it is no submodule
        self._load(name, library, weights, on_missing_weights, options or {})
        self._whole.clear()  # only needed to convert weights
        if lora is not None:
            add_lora(self.network, **lora)

    def library_name(self, name: str) -> str:
        return library_name(name)

    def load_tensors(self, content: dict[str, Any], name: str) -> str | None:
        try:
            return super().load_tensors(content, name)
        except InputError:
            for state in (state for network in self._whole for state in converted_states(content, network)):
                with suppress(InputError):
                    super().load_tensors(state, name)
                    return "state dict converted by timm's checkpoint_filter_fn"
            raise

    def _load(
        self, name: str, library: str, weights: str | None, on_missing_weights: str, options: Mapping[str, Any]
    ) -> None:
        if weights is None:
            return
        if Path(weights).expanduser().is_file() or Path(weights).suffix in ENDINGS:
            self.load_file(Path(weights).expanduser())
            return
        try:
            state, sha256, known = _fetch(name, library, weights, self.image_size, options)
        except InputError:
            raise
        except Exception as error:  # urllib, huggingface_hub and torch.hub raise different exceptions
            reason = first_line(error)
            sentence = (
                f"the {library} weights {weights} of {name} cannot be downloaded ({reason}): connect to a network, "
                "or give a file with backbone.weights=<path>; backbone.weights=null uses random weights"
            )
            if on_missing_weights == "error":
                raise InputError(sentence + ".") from error
            log.warning("NO PRETRAINED WEIGHTS, training starts from RANDOM weights: %s.", sentence)
            self.weights = Weights(weights, missing=reason)
            return
        unwrapped = self.load_tensors(state, weights)
        self.weights = Weights(weights, library, sha256, unwrapped=unwrapped, info=self.weights_info.over(known))


def _timm() -> Any:
    import timm  # takes a second and a half, for which torchvision's networks need not wait

    return timm


def _build(name: str, library: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
    """Builds the network with random weights and without its classifier."""
    if reserved := sorted(RESERVED & {str(key) for key in options}):
        raise InputError(f"backbone.options.{reserved[0]} cannot be set: give backbone.weights.")
    is_on_hub = library == "timm" and name.startswith(HUB)
    known = torchvision.models.list_models(torchvision.models) if library == "torchvision" else _timm().list_models()
    if not is_on_hub and name.split(".")[0] not in known:
        similar = difflib.get_close_matches(name, known, n=3)
        raise InputError(
            f"{library} has no network {name!r}" + (f": did you mean {' or '.join(similar)}?" if similar else ".")
        )
    try:
        return (_torchvision_network if library == "torchvision" else _timm_network)(name, image_size, options)
    except Exception as error:  # whatever the libraries raise
        if is_on_hub and not isinstance(error, TypeError):
            raise InputError(
                f"backbone.name={name} cannot be read from the Hugging Face hub ({first_line(error)}): check the name, "
                "connect to a network, or give timm's name of the network and a file with backbone.weights=<path>."
            ) from error
        if options:
            raise InputError(
                f"backbone.options={dict(options)} cannot be used for {name} of {library} ({first_line(error)}): give "
                "arguments of the network's constructor."
            ) from error
        raise


def _torchvision_network(name: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
    arguments: dict[str, Any] = {"weights": None}
    if name in ("googlenet", "inception_v3"):  # their auxiliary heads are only for training on ImageNet
        arguments |= {"aux_logits": False, "init_weights": True, "transform_input": True}  # as for their weights
    network = torchvision.models.get_model(name, **{**arguments, **options})
    for classifier in CLASSIFIERS:
        if hasattr(network, classifier):
            setattr(network, classifier, nn.Identity())
    return network


def _timm_network(name: str, image_size: int, options: Mapping[str, Any], *, pretrained: bool = False) -> nn.Module:
    create = partial(_timm().create_model, name, pretrained=pretrained, num_classes=0)
    try:
        return create(**{"img_size": image_size, **options})
    except TypeError:  # convolutional networks accept any size and have no argument img_size
        return create(**options)


def _fetch(
    name: str, library: str, weights: str, image_size: int, options: Mapping[str, Any]
) -> tuple[dict[str, Tensor], str, WeightsInfo]:
    """Returns the named weights, their sha256 and their data, from the library's cache or a download."""
    if library == "timm":
        hub = name if weights == "DEFAULT" else weights
        if hub.startswith(HUB):
            # Versions of timm differ in the default of weights_only.
            state = _timm().models.load_state_dict_from_hf(hub.partition(":")[2], weights_only=True)
            known = WeightsInfo()
        elif weights == "DEFAULT":
            network = _timm_network(name, image_size, options, pretrained=True)
            state, known = network.state_dict(), timm_info(network.pretrained_cfg)  # type: ignore[arg-type]
        else:
            raise InputError(
                f"backbone.weights={weights} is neither a file nor weights of timm: choose DEFAULT, "
                "hf_hub:<owner>/<model>, a file, or null."
            )
        digest = hashlib.sha256()
        for tensor in state.values():
            digest.update(tensor.contiguous().numpy().tobytes())
        return state, digest.hexdigest(), known
    choices = torchvision.models.get_model_weights(name)
    if weights not in choices.__members__:
        raise InputError(
            f"backbone.weights={weights} is neither a file nor weights of {name}: choose "
            f"{', '.join(choices.__members__)}, a file, or null."
        )
    chosen = choices[weights]
    state = chosen.get_state_dict(progress=False, check_hash=True)
    file = Path(torch.hub.get_dir()) / "checkpoints" / chosen.url.rsplit("/", 1)[-1]
    return state, hashlib.sha256(file.read_bytes()).hexdigest(), torchvision_info(chosen.name)
