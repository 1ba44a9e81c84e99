"""Adapts the normalisation layers of a network to the samples of an evaluation, without their labels."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fervid.data.inputs import Batch
from fervid.errors import InputError
from fervid.runs.run import Run
from fervid.tasks.task import Task

STATISTICS_BATCH = 128  # samples per batch of new statistics; each batch is normalised with its own
ENTROPY_BATCH = 64  # samples per optimizer step, as in the paper's experiments on ImageNet
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


def shuffled_parts(samples: int, size: int, seed: int) -> list[np.ndarray]:
    """Divides samples into random batches of nearly equal size, so that each of them is typical of all samples.

    Args:
        samples: number of samples.
        size: largest size of a batch.
        seed: seed of the order.

    Returns:
        Positions of the samples of each batch.
    """
    order = np.random.default_rng(seed).permutation(samples)
    return np.array_split(order, -(-samples // size))


def learned_batch_norms(run: Run, model: Task) -> list[_BatchNorm]:
    """Returns the BatchNorm layers whose stored statistics are those of the training subset of a run.

    Frozen layers keep the statistics of the initial weights. The layers after them were fitted to these, whatever the
    statistics of the training subset were, and would not fit those of other samples.

    Args:
        run: the run.
        model: its classifier.
    """
    initial = run.results.get("weights") or {}
    parts: list[nn.Module] = [branch.pooling for branch in model.network.branches.values()]
    parts.append(model.network.head)
    for name, encoder in model.network.encoders.items():
        settings = run.results["config"].get(encoder.group) or {}
        is_frozen = settings.get("freeze_batchnorm")
        if is_frozen is None:
            is_frozen = settings.get("weights") is not None and not initial.get("missing")
        phases = (run.results["config"].get("finetune") or {}).get("phases") or []
        names = [str(phase.get("unfreeze_from", "head")) for phase in phases]
        first = min((model.network.stage_numbers(each)[name] for each in names), default=len(encoder.stages))
        parts += [] if is_frozen else encoder.stage_modules(first)
    found = [module for part in parts for module in part.modules() if isinstance(module, _BatchNorm)]
    return [layer for layer in found if layer.running_mean is not None]


def check_layers(method: str, run: Run, model: Task) -> None:
    """Checks that a network has the layers that an adaptation changes.

    Args:
        method: one of :data:`fervid.evaluate.adaptation.METHODS`.
        run: the run.
        model: its classifier.

    Raises:
        InputError: if it has none, or, for ``batch_norm``, only frozen ones.
    """
    if method == "entropy" and not _weighted_norms(model):
        raise InputError(
            f"adapt=entropy trains the weights of normalisation layers, and the network of {run.folder} has none: use "
            "adapt=class_prior."
        )
    if method != "batch_norm" or learned_batch_norms(run, model):
        return
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise InputError(
            f"adapt=batch_norm replaces the statistics of BatchNorm, and the network of {run.folder} has none: use "
            "adapt=class_prior."
        )
    raise InputError(
        f"adapt=batch_norm cannot be used: the BatchNorm of {run.folder} was frozen or folded in training, so layers "
        "after it expect the statistics of the initial weights; use adapt=class_prior or adapt=entropy, or train with "
        "finetune=full backbone.freeze_batchnorm=false."
    )


def replace_statistics(model: nn.Module, layers: Sequence[_BatchNorm], batches: Iterable[Batch]) -> dict[str, int]:
    """Replaces the stored statistics of BatchNorm by those of other samples (Schneider et al. 2020, Nado et al. 2020).

    Mean and variance are those over all samples. While they are computed, each batch is normalised with its own
    statistics, so the result is exact if there is a single batch, and otherwise depends slightly on their size.

    Args:
        model: network in ``eval()`` mode; changed.
        layers: its layers of BatchNorm to adapt.
        batches: inputs of all samples, in batches that are typical of them.

    Returns:
        The number of adapted ``layers``.

    Raises:
        InputError: if a batch is too small for its variance.
    """
    momenta = [layer.momentum for layer in layers]
    sums = [(torch.zeros_like(_mean(layer)), torch.zeros_like(_mean(layer))) for layer in layers]
    total = 0
    for layer in layers:
        layer.train()
        layer.momentum = None  # the mean over several calls: a picture and its mirror image
    with torch.no_grad():
        for batch in batches:
            for layer in layers:
                layer.reset_running_stats()
            _forward(model, batch)
            size = len(next(iter(batch.values())))
            total += size
            for layer, (first, second) in zip(layers, sums, strict=True):
                first += size * _mean(layer)
                second += size * (_variance(layer) + _mean(layer).square())
        for layer, momentum, (first, second) in zip(layers, momenta, sums, strict=True):
            _mean(layer).copy_(first / total)
            _variance(layer).copy_((second / total - (first / total).square()).clamp_min(0))
            layer.momentum = momentum
            layer.eval()
    return {"layers": len(layers)}


def minimise_entropy(
    model: Task,
    batch_norms: Sequence[_BatchNorm],
    passes: Iterable[Callable[[], Iterable[Batch]]],
    *,
    lr: float,
) -> dict[str, int]:
    """Trains weights and biases of normalisation layers for a low entropy of the predictions (Tent, Wang et al. 2021).

    The layers are BatchNorm, LayerNorm and GroupNorm. The optimizer is Adam. No other weights change, and nothing is
    dropped out.

    Args:
        model: network in ``eval()`` mode; changed.
        batch_norms: layers that normalise with the statistics of the batch, as in the paper; replace their stored
            statistics afterwards (:func:`replace_statistics`).
        passes: for each pass over the samples, a function that returns their inputs in batches.
        lr: learning rate.

    Returns:
        The number of adapted ``layers`` and of optimizer ``steps``.

    Raises:
        InputError: if a batch is too small, or the outputs become infinite.
    """
    layers = _weighted_norms(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    trained = [p.requires_grad_() for layer in layers for p in layer.parameters(recurse=False)]
    optimizer = torch.optim.Adam(trained, lr=lr)
    for layer in batch_norms:
        layer.train()
    steps = 0
    for batches in passes:
        for batch in batches():
            entropy = mean_entropy(_forward(model, batch))
            if not torch.isfinite(entropy):
                raise InputError(f"the outputs became infinite with entropy.lr={lr}: use a smaller learning rate.")
            optimizer.zero_grad()
            entropy.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            steps += 1
    model.eval()
    return {"layers": len(layers), "steps": steps}


def mean_entropy(logits: Tensor) -> Tensor:
    """Returns the mean entropy of predictions (B, C) in nats."""
    return -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1).mean()


def _weighted_norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, NORMS) and module.weight is not None]


def _mean(layer: _BatchNorm) -> Tensor:
    assert layer.running_mean is not None
    return layer.running_mean


def _variance(layer: _BatchNorm) -> Tensor:
    assert layer.running_var is not None
    return layer.running_var


def _forward(model: nn.Module, batch: Batch) -> Tensor:
    try:
        return model(batch).float()
    except ValueError as error:  # of BatchNorm, for which one value has no variance
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            "a single sample has no statistics for BatchNorm: evaluate more samples, or use adapt=class_prior."
        ) from error
