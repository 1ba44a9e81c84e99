"""Finds the weights of a network in a checkpoint that somebody shared, under whatever wrappers and prefix."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fervid.errors import InputError

MAX_DEPTH = 3  # of dictionaries in dictionaries
WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and torch.compile, which may also stand inside a name
CLASSIFIERS = ("classifier", "fc", "head", "heads")
MAX_NAMES = 3  # quoted in an error


def find_weights(content: Any, own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str | None]:
    """Picks the tensors of a network out of a checkpoint.

    Args:
        content: of the file: a state dict, or dictionaries that hold one, such as ``{"model": ..., "epoch": 3}``.
        own: the network's tensors by the names that its library gives them.

    Returns:
        The tensors by these names, and in words which entry and prefix they were found under; None if neither.

    Raises:
        InputError: if there is no state dict, it is of another network, it holds several networks of the kind, or
            weights that are not finite. The message is a reason that does not name the file.
    """
    dicts = dict(_state_dicts(content))
    if not dicts:
        raise InputError("it holds no state dict: save torch.save(model.state_dict(), 'weights.pt') instead")
    found: list[tuple[str, str, dict[str, Tensor]]] = []
    best: tuple[int, str, dict[str, Tensor]] = (-1, "", {})
    for entry, state in dicts.items():
        prefixes = {}
        for named in (state, {_unwrapped(key): tensor for key, tensor in state.items()}):
            for prefix in _prefixes(named, own):
                inside = {key.removeprefix(prefix): value for key, value in named.items() if key.startswith(prefix)}
                fitting = len(own) - len(_wrong(inside, own))
                if fitting == len(own) and not _unexpected(inside, own):
                    prefixes[prefix] = inside
                if fitting > best[0]:
                    best = (fitting, prefix, inside)
            if prefixes:
                break
        if len(prefixes) > 1 and "" not in prefixes:
            raise InputError(
                f"it holds several networks of this kind, under {' and '.join(prefixes)}: save the one you want as a "
                "state dict of its own"
            )
        if prefixes:
            prefix = min(prefixes, key=len)
            found.append((entry, prefix, prefixes[prefix]))
    if not found:
        raise InputError(_difference(best[2], own))
    entry, prefix, inside = found[0]
    tensors = {key: inside.get(key, own[key]) for key in own}
    broken = [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise InputError(f"it holds weights that are not finite (first: {prefix}{broken[0]})")
    words = ([f"entry {entry}"] if entry else []) + ([f"prefix {prefix}"] if prefix else [])
    if len(found) > 1:
        words.append(f"not {' or '.join(other for other, _, _ in found[1:])}, which fits too")
    return tensors, ", ".join(words) or None


def _state_dicts(content: Any, entry: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """All dictionaries that hold tensors, by where they lie; the outermost first."""
    if not isinstance(content, dict) or depth > MAX_DEPTH:
        return
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if tensors:
        yield entry, tensors
    for key, value in content.items():
        yield from _state_dicts(value, f"{entry}.{key}" if entry else str(key), depth + 1)


def _unwrapped(key: str) -> str:
    for wrapper in WRAPPERS:
        key = key.replace(f".{wrapper}", ".").removeprefix(wrapper)
    return key


def _prefixes(state: Collection[str], own: Mapping[str, Tensor]) -> list[str]:
    """What may stand before the network's names: nothing, or whatever stands before one of its first names."""
    prefixes = [""]
    for name in list(own)[:5]:
        prefixes += [key.removesuffix(name) for key in state if key.endswith(f".{name}")]
    return list(dict.fromkeys(prefixes))


def _wrong(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """The network's names that are missing or of another shape; counters that older files lack say nothing."""
    return [
        key
        for key, tensor in own.items()
        if (key not in state or state[key].shape != tensor.shape) and not key.endswith("num_batches_tracked")
    ]


def _unexpected(state: Collection[str], own: Collection[str]) -> list[str]:
    """Names that the network lacks inside its own parts: it is a smaller one of the same family."""
    parts = {key.split(".")[0] for key in own} - set(CLASSIFIERS)
    return [
        key for key in state if key not in own and key.split(".")[0] in parts and key.endswith((".weight", ".bias"))
    ]


def _difference(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    wrong, unexpected = _wrong(state, own), _unexpected(state, own)
    kinds = {
        "are missing": [key for key in wrong if key not in state],
        "have another shape": [key for key in wrong if key in state],
        "are unexpected": unexpected or ([key for key in state if key not in own] if wrong else []),
    }
    told = [f"{len(keys)} {kind} ({_quoted(keys)})" for kind, keys in kinds.items() if keys]
    return f"it is of another network: of {len(own)} tensors {', '.join(told)}; choose the backbone it was made for"


def _quoted(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
