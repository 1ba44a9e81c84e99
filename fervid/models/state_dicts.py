"""Finds the weights of a network in shared checkpoints with arbitrary wrappers and prefixes."""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from fervid.errors import InputError

MAX_DEPTH = 3  # levels of nested dictionaries
WRAPPERS = ("module.", "_orig_mod.")  # prefixes of DataParallel and torch.compile, which may also occur inside a name
CLASSIFIERS = ("classifier", "fc", "head", "heads")
MAX_NAMES = 3  # names quoted in an error message


def find_weights(
    content: Any, expected: Mapping[str, Tensor], ignored: Sequence[str] = ()
) -> tuple[dict[str, Tensor], str | None]:
    """Extracts the tensors of a network from a checkpoint.

    Args:
        content: content of the file: a state dict, or dictionaries that contain one, such as
            ``{"model": ..., "epoch": 3}``.
        expected: the network's tensors by their names in its library.
        ignored: modules that the network does not have, although its checkpoints do.

    Returns:
        The tensors by these names, and a description of the entry and prefix under which they were found; None if there
        is neither.

    Raises:
        InputError: if the checkpoint contains no state dict, that of another network, several networks of this kind, or
            weights that are not finite. The message is a reason without the name of the file.
    """
    dicts = dict(_state_dicts(content))
    if not dicts:
        raise InputError("it contains no state dict: save torch.save(model.state_dict(), 'weights.pt') instead")
    found: list[tuple[str, str, dict[str, Tensor]]] = []
    best: tuple[int, str, dict[str, Tensor]] = (-1, "", {})
    for entry, state in dicts.items():
        prefixes = {}
        for named in (state, {_unwrapped(key): tensor for key, tensor in state.items()}):
            for prefix in _prefixes(named, expected):
                inside = {key.removeprefix(prefix): value for key, value in named.items() if key.startswith(prefix)}
                matching = len(expected) - len(_mismatched(inside, expected))
                if matching == len(expected) and not _unexpected(inside, expected, ignored):
                    prefixes[prefix] = inside
                if matching > best[0]:
                    best = (matching, prefix, inside)
            if prefixes:
                break
        if len(prefixes) > 1 and "" not in prefixes:
            raise InputError(
                f"it contains several networks of this kind, under {' and '.join(prefixes)}: save one of them as a "
                "separate state dict"
            )
        if prefixes:
            prefix = min(prefixes, key=len)
            found.append((entry, prefix, prefixes[prefix]))
    if not found:
        raise InputError(_difference(best[2], expected, ignored))
    entry, prefix, inside = found[0]
    tensors = {key: inside.get(key, expected[key]) for key in expected}
    not_finite = [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if not_finite:
        raise InputError(f"it contains weights that are not finite (first: {prefix}{not_finite[0]})")
    words = ([f"entry {entry}"] if entry else []) + ([f"prefix {prefix}"] if prefix else [])
    if len(found) > 1:
        words.append(f"not {' or '.join(other for other, _, _ in found[1:])}, which also matches")
    return tensors, ", ".join(words) or None


def converted_states(content: Any, network: nn.Module) -> Iterator[dict[str, Any]]:
    """Yields the state dicts of a checkpoint as timm converts them to the names and shapes of a network.

    Args:
        content: as for :func:`find_weights`.
        network: whole network of a library. Those of timm may have a function ``checkpoint_filter_fn`` in their module;
            without it, nothing is yielded.
    """
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return
    for _, state in _state_dicts(content):
        with suppress(Exception):  # the function fails in any way on the weights of another network
            yield convert({_unwrapped(key): tensor for key, tensor in state.items()}, network)


def _state_dicts(content: Any, entry: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yields all dictionaries with tensors and their dotted entry names, starting with the outermost."""
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


def _prefixes(state: Collection[str], expected: Mapping[str, Tensor]) -> list[str]:
    """Returns candidate prefixes: none, and everything that precedes one of the network's first names in a key."""
    prefixes = [""]
    for name in list(expected)[:5]:
        prefixes += [key.removesuffix(name) for key in state if key.endswith(f".{name}")]
    return list(dict.fromkeys(prefixes))


def _mismatched(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Returns the network's names that are missing or have another shape, except counters that older files lack."""
    return [
        key
        for key, tensor in expected.items()
        if (key not in state or state[key].shape != tensor.shape) and not key.endswith("num_batches_tracked")
    ]


def _unexpected(state: Collection[str], expected: Collection[str], ignored: Sequence[str]) -> list[str]:
    """Returns names that the network's parts do not have, as in the file of a larger network of the same family."""
    parts = {key.split(".")[0] for key in expected} - set(CLASSIFIERS)
    return [
        key
        for key in state
        if key not in expected
        and key.split(".")[0] in parts
        and key.endswith((".weight", ".bias"))
        and not key.startswith(tuple(f"{name}." for name in ignored))
    ]


def _difference(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], ignored: Sequence[str]) -> str:
    mismatched, unexpected = _mismatched(state, expected), _unexpected(state, expected, ignored)
    kinds = {
        "are missing": [key for key in mismatched if key not in state],
        "have another shape": [key for key in mismatched if key in state],
        "are unexpected": unexpected or ([key for key in state if key not in expected] if mismatched else []),
    }
    parts = [f"{len(keys)} {kind} ({_quoted(keys)})" for kind, keys in kinds.items() if keys]
    return f"it belongs to another network: of {len(expected)} tensors {', '.join(parts)}; choose the matching backbone"


def _quoted(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
