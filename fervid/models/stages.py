"""Finds the stages of a network of torchvision or timm: a chain of submodules that gives the network's own features."""

import copy
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from fervid.errors import InputError, first_line
from fervid.models.state_dicts import CLASSIFIERS

POOLS = ("avgpool", "global_pool")
CONTAINERS = (nn.Sequential, nn.ModuleList)

# Names of stages that the library's network does not have. The first three contain it, or a part of it, as ``network``.
WHOLE, STEM, POOL, MAPS, RELU, INPUT = "network", "stem", "pool", "maps", "final_relu", "transform_input"
MADE = frozenset({WHOLE, STEM, POOL, MAPS, RELU, INPUT})

Chain = tuple[list[str], Tensor]  # names of the stages, and the output of the last one
Seen = dict[nn.Module, Tensor]  # outputs of modules


@dataclass(frozen=True)
class Stages:
    """The stages of a network.

    Attributes:
        body: module that contains the stages as submodules.
        names: names of the stages in ``body``, in the order in which they are applied.
        last_block: first stage of the last block.
    """

    body: nn.Module
    names: list[str]
    last_block: str


def find_stages(network: nn.Module, name: str, image_size: int) -> Stages:
    """Finds the stages of a network without its classifier.

    The children of the network are its stages, if running them one after the other gives the features of the network.
    Containers are replaced by their children: plain Sequentials, and modules of timm that contain several of the layers
    into which timm groups the parameters (``group_matcher``), such as the blocks of a Swin stage. A transformer whose
    own function adds the tokens and positions begins with the stage ``stem``, which is everything before the blocks.

    Features in another layout than (B, C, h, w) get one more stage: ``maps`` for (B, h, w, C), and ``pool`` for tokens
    (B, N, C), which pools them as the network does. Any other network is a single stage, ``network``, with pooled
    features (B, C, 1, 1).

    Args:
        network: the network in ``eval()`` mode, whose classifier is an identity; the stages share its submodules.
        name: name of the network in error messages.
        image_size: side of the input pictures in pixels.

    Raises:
        InputError: if the network cannot process pictures of this size.
    """
    # Two pictures show whether a stage keeps the batch in the first dimension, as cached features need it.
    pictures = torch.rand(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for gain in (1.0, 0.5):  # the features of a few networks grow beyond float32 with weights of the usual size
            with _typical_weights(network, gain):
                with _recorded(network) as seen:
                    features = _features(network, name, pictures)
                if torch.isfinite(features).all():
                    found = _chain(network, pictures, features, seen)
                    if found is not None:
                        return found
                    break
    return Stages(nn.ModuleDict({WHOLE: _Whole(network)}), [WHOLE], WHOLE)


def _features(network: nn.Module, name: str, pictures: Tensor) -> Tensor:
    """Returns the pooled features (B, C) of the network."""
    try:
        return network(pictures).flatten(1)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{name} cannot process a picture of {pictures.shape[-1]} px ({first_line(error)}): "
            "give the backbone.image_size it was designed for."
        ) from error


def _chain(network: nn.Module, pictures: Tensor, features: Tensor, seen: Seen) -> Stages | None:
    find = _timm_stages if hasattr(network, "forward_features") else _torchvision_stages
    try:
        return find(network, pictures, features, seen)
    except Exception:  # modules that are not a chain fail in any way when they are run as one
        return None


def library_name(name: str) -> str:
    """Returns the name of a tensor in the library's network for its name in :attr:`Stages.body`."""
    for stage in (WHOLE, STEM, POOL):
        name = name.removeprefix(f"{stage}.network.")
    return name


class _Whole(nn.Module):
    """A single stage for a network that is not a chain; returns pooled features (B, C, 1, 1)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x).flatten(1)[:, :, None, None]


class _Stem(nn.Module):
    """Everything before the blocks of a transformer of timm: pictures -> tokens (B, N, C) with positions."""

    def __init__(self, network: nn.Module, names: Collection[str]):
        super().__init__()
        self.network = _part(network, names)

    def forward(self, x: Tensor) -> Tensor:
        return self.network.forward_features(x)  # type: ignore[operator]


class _Pool(nn.Module):
    """Pools the tokens (B, N, C) of a network of timm as its classifier does: (B, C, 1, 1)."""

    def __init__(self, network: nn.Module, names: Collection[str]):
        super().__init__()
        self.network = _part(network, names)
        self.network._parameters, self.network._buffers = {}, {}  # those of the stem

    def forward(self, x: Tensor) -> Tensor:
        return self.network.forward_head(x, pre_logits=True).flatten(1)[:, :, None, None]  # type: ignore[operator]


class _Input(nn.Module):
    """Changes the normalisation of the pictures for GoogLeNet and Inception v3 of torchvision."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = _part(network, ())

    def forward(self, x: Tensor) -> Tensor:
        return self.network._transform_input(x)  # type: ignore[operator]


class _Maps(nn.Module):
    """(B, h, w, C) -> (B, C, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


def _part(network: nn.Module, names: Collection[str]) -> nn.Module:
    """Returns a copy of the network that shares the named children; the others are identities."""
    part = copy.copy(network)
    part._modules = {
        name: child if name in names else nn.Sequential() for name, child in network.named_children()
    }  # an empty Sequential can be called, and also iterated over
    part._parameters, part._buffers = dict(network._parameters), dict(network._buffers)
    return part


@contextmanager
def _typical_weights(network: nn.Module, gain: float) -> Iterator[None]:
    """Gives the network weights of a usual size, and restores its own afterwards.

    In a new network, residual branches and attention biases are often almost zero, so that a wrong order of its
    submodules would give almost the same features.
    """
    own = [weights.clone() for weights in network.parameters()]
    generator = torch.Generator().manual_seed(0)
    for weights in network.parameters():
        usual = gain * weights[0].numel() ** -0.5 if weights.ndim > 1 else 0.0
        if weights.ndim < 2:
            weights.uniform_(0.5, 1.5, generator=generator)
        elif float(size := weights.square().mean().sqrt()) > 0:
            weights.mul_(usual / size)
        else:
            weights.normal_(0, usual, generator=generator)
    try:
        yield
    finally:
        for weights, values in zip(network.parameters(), own, strict=True):
            weights.copy_(values)


@contextmanager
def _recorded(network: nn.Module) -> Iterator[Seen]:
    """Records the outputs of a pass, so that they need not be computed again: of modules, and of ``forward_features``.

    The search for stages of a transformer would otherwise take twice as long.
    """
    seen: Seen = {}
    hooks = [
        module.register_forward_hook(lambda module, _, output: seen.__setitem__(module, output))
        for module in network.modules()
        if any(True for _ in module.children()) and module is not network
    ]
    own = getattr(network, "forward_features", None)
    if own is not None:

        def forward_features(*arguments: Any, **settings: Any) -> Tensor:
            seen[network] = own(*arguments, **settings)
            return seen[network]

        network.forward_features = forward_features  # type: ignore[assignment]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
        if own is not None:
            del network.forward_features


def _same(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or not expected.std() > 0:
        return False
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def _torchvision_stages(network: nn.Module, pictures: Tensor, expected: Tensor, seen: Seen) -> Stages | None:
    made: dict[str, nn.Module] = {INPUT: _Input(network)} if getattr(network, INPUT, False) else {}
    children = takewhile(lambda child: child[0] not in CLASSIFIERS + POOLS, network.named_children())
    names, x = _run([*made.items(), *children], pictures, {}, seen)
    # VGG and AlexNet pool to more than one pixel. Most networks pool to one pixel in their forward function, and
    # SqueezeNet in its classifier. DenseNet applies a ReLU in its forward function.
    pool: nn.Module = getattr(network, "avgpool", nn.Identity())
    endings: list[dict[str, nn.Module]] = [{}, {RELU: nn.ReLU()}]
    for ending in endings:
        maps = ending[RELU](x) if ending else x
        if any(_same(pooled, expected) for pooled in (pool(maps).flatten(1), maps.mean((2, 3)))):
            return _stages(network, [*names, *ending], made | ending)
    return None


def _timm_stages(network: nn.Module, pictures: Tensor, expected: Tensor, seen: Seen) -> Stages | None:
    from timm.models import group_parameters  # takes a second and a half, for which torchvision need not wait

    matcher = network.group_matcher(coarse=False) if hasattr(network, "group_matcher") else {}  # type: ignore[operator]
    layers = group_parameters(network, matcher, reverse=True)
    features = seen[network] if network in seen else network.forward_features(pictures)  # type: ignore[operator]
    children = dict(network.named_children())
    blocks = next((name for name, child in children.items() if _is_container(child, name, layers)), None)
    firsts = [0, list(children).index(blocks)] if blocks else [0]  # numbers of the first child that is a stage
    if any(True for _ in network.parameters(recurse=False)):  # its own function adds something, such as positions
        firsts.reverse()
    for number in firsts:
        before, rest = list(children)[:number], list(children)[number:]
        made: dict[str, nn.Module] = {STEM: _Stem(network, before)} if before else {}
        names, x = list(made), made[STEM](pictures) if before else pictures
        try:
            while rest and not _same(x, features):
                child = rest.pop(0)
                more, x = _run([(child, children[child])], x, layers, seen)
                names += more
        except Exception:  # see _chain
            continue
        if _same(x, features):
            return _with_maps(network, names, x, made, rest, expected)
    return None


def _with_maps(
    network: nn.Module, names: list[str], x: Tensor, made: dict[str, nn.Module], rest: list[str], expected: Tensor
) -> Stages | None:
    """Adds a stage that brings the features of a network of timm to the layout (B, C, h, w)."""
    if x.dim() == 4:
        if x.shape[1] != network.num_features and x.shape[3] == network.num_features:
            return _stages(network, [*names, MAPS], {**made, MAPS: _Maps()})
        return _stages(network, names, made)
    pool = _Pool(network, rest)
    pooled = pool(x)
    if not _same(pooled[:, :, 0, 0], expected):
        return None
    return _stages(network, [*names, POOL], {**made, POOL: pool})


def _stages(network: nn.Module, names: list[str], made: dict[str, nn.Module]) -> Stages:
    """Makes the stages of a chain from the network's children and the stages made here."""
    body: nn.Module = nn.Module()
    for name in dict.fromkeys(name.split(".")[0] for name in names):
        body.add_module(name, made[name] if name in made else network.get_submodule(name))
    blocks = [name for name in names if name not in made and _is_block(body.get_submodule(name))]
    layers = [name for name in names if any(True for _ in body.get_submodule(name).parameters())]
    return Stages(body, names, (blocks or layers or names)[-1])


def _is_block(module: nn.Module) -> bool:
    """Whether the module has layers with weights, unlike a single layer."""
    return any(True for child in module.children() for _ in child.parameters())


def _is_container(module: nn.Module, name: str, layers: dict[str, int]) -> bool:
    """Whether the parameters of a Sequential or ModuleList belong to several of timm's layers."""
    return type(module) in CONTAINERS and _contains_layers(name, layers)


def _contains_layers(name: str, layers: dict[str, int]) -> bool:
    return len({layer for parameter, layer in layers.items() if parameter.startswith(f"{name}.")}) > 1


def _run(
    children: Iterable[tuple[str, nn.Module]], x: Tensor, layers: dict[str, int], seen: Seen, prefix: str = ""
) -> Chain:
    """Runs modules one after the other; returns the names of their stages and the output.

    Args:
        children: names and modules; containers are replaced by their children.
        x: input of the first module.
        layers: number of timm's layer of each parameter.
        seen: outputs of a pass of the whole network.
        prefix: prefix of the names.
    """
    names: list[str] = []
    for child, module in children:
        name = f"{prefix}{child}"
        inside = list(module.named_children())
        if type(module) in CONTAINERS and inside:
            more, x = _run(inside, x, layers, seen, f"{name}.")
            names += more
            continue
        found = None
        if inside and _contains_layers(name, layers):
            with suppress(Exception):  # see _chain
                found = _run(inside, x, layers, seen, f"{name}.")
        if found is not None and module in seen and _same(found[1], seen[module]):
            output = found[1]
        else:
            output = module(x.clone())  # a module may change its input in place
        names += found[0] if found is not None and _same(found[1], output) else [name]
        x = output
        if len(x) != 2:
            raise ValueError(f"{name} does not keep the batch in the first dimension")
    return names, x
