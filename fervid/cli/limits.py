"""Refuses settings that are out of range before anything is loaded or prepared."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fervid.errors import InputError

Allowed = tuple[Callable[[Any], bool], str]


def _number(allowed: Callable[[float], bool], words: str) -> Allowed:
    return lambda value: _is_number(value) and allowed(value), words


def _whole(low: int, words: str, *, high: float = math.inf) -> Allowed:
    return lambda value: _is_whole(value) and low <= value <= high, words


def _one_of(*words: str) -> Allowed:
    return lambda value: str(value) in words, ", ".join(words[:-1]) + f" or {words[-1]}"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_POSITIVE = _number(lambda value: 0 < value < math.inf, "a positive number")
_NOT_NEGATIVE = _number(lambda value: 0 <= value < math.inf, "0 or more")
_BATCHES = _number(
    lambda value: value > 0 and (isinstance(value, int) or value <= 1), "a number of batches, or a fraction such as 0.1"
)
_SWITCH: Allowed = (lambda value: isinstance(value, bool), "true or false")

LIMITS: dict[str, Allowed] = {
    "seed": _whole(0, "0 to 2^32 - 1", high=2**32 - 1),
    "threads": (lambda value: value == "auto" or (_is_whole(value) and 1 <= value <= 1024), "auto, or 1 to 1024"),
    "smoothing": _number(lambda value: 0 <= value < math.inf, "a number of seconds, 0 for no smoothing"),
    "part": _whole(0, "0 to parts - 1"),
    "parts": _whole(1, "1 or more"),
    "dataset.num_workers": _whole(0, "0 to 256 processes", high=256),
    "optimizer.lr": _POSITIVE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.momentum": _NOT_NEGATIVE,
    "finetune.patience_steps": _whole(0, "0 or more"),
    "finetune.cache_gb": _number(lambda value: value >= 0, "0 or more GiB"),
    "scheduler.warmup": _number(lambda value: 0 <= value < 1, "0 to below 1"),
    "scheduler.min_factor": _number(lambda value: 0 <= value <= 1, "0 to 1"),
    "scheduler.total_steps": _whole(1, "1 or more, or null for all steps of the phase"),
    "task.vote_mode": _one_of("cross_entropy", "probability"),
    "task.layer_decay": _number(lambda value: 0 < value <= 1, "above 0 to 1"),
    "task.decay_norms": _SWITCH,
    "task.mixup": _NOT_NEGATIVE,
    "task.cutmix": _NOT_NEGATIVE,
    "task.test_flips": _SWITCH,
    "task.sam": _NOT_NEGATIVE,
    "task.loss.class_weights": _one_of("none", "balanced"),
    "task.loss.label_smoothing": _number(lambda value: 0 <= value < 1, "0 to below 1"),
    "task.loss.focal_gamma": _NOT_NEGATIVE,
    "backbone.lora.r": _whole(1, "1 or more"),
    "backbone.lora.alpha": _POSITIVE,
    "backbone.lora.dropout": _number(lambda value: 0 <= value < 1, "0 to below 1"),
    "callbacks.averaged_weights.decay": _number(lambda value: 0 < value < 1, "above 0 to below 1"),
    "trainer.precision": _one_of("32-true", "32", "64-true", "64", "16-mixed", "16", "bf16-mixed", "bf16"),
    "trainer.accelerator": _one_of("cpu", "gpu", "cuda", "mps", "auto"),
    "trainer.max_epochs": _whole(1, "1 or more, or null for all phases"),
    "trainer.max_steps": (lambda value: _is_number(value) and (value == -1 or value >= 1), "1 or more, or -1"),
    "trainer.limit_train_batches": _BATCHES,
    "trainer.limit_val_batches": _BATCHES,
    "trainer.limit_test_batches": _BATCHES,
    "trainer.accumulate_grad_batches": _whole(1, "1 or more"),
    "trainer.gradient_clip_val": _number(lambda value: value > 0, "a positive number, or null for no clipping"),
    "trainer.val_check_interval": _number(lambda value: 0 < value <= 1, "a fraction of an epoch, such as 0.5"),
    "trainer.check_val_every_n_epoch": _whole(1, "1, since every epoch must be validated", high=1),
    "trainer.log_every_n_steps": _whole(0, "0 or more"),
    "trainer.detect_anomaly": _SWITCH,
    "trainer.inference_mode": _SWITCH,
    "trainer.enable_progress_bar": _SWITCH,
    "trainer.benchmark": _SWITCH,
    "trainer.deterministic": _one_of("True", "False", "warn"),
}


def check_limits(config: DictConfig) -> None:
    """Checks that all settings are within their ranges.

    Args:
        config: the configuration of any command; settings that are missing or null are skipped.

    Raises:
        InputError: with the name and value of the first invalid setting and the allowed values.
    """
    for name, (allowed, words) in LIMITS.items():
        value = OmegaConf.select(config, name, throw_on_missing=False)
        if value is not None and not allowed(value):
            raise InputError(f"{name}={value} is out of range: use {words}.")
    for name, value in _values(OmegaConf.to_container(config)):
        if isinstance(value, float) and math.isnan(value):
            raise InputError(f"{name}={value} is not a number: use a finite number.")


def _values(config: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields all settings at any depth with their dotted names."""
    if isinstance(config, dict | list):
        for key, value in config.items() if isinstance(config, dict) else enumerate(config):
            yield from _values(value, f"{name}.{key}".lstrip("."))
    else:
        yield name, config
