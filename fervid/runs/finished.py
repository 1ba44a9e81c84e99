"""Finished runs, which are neither trained again nor overwritten."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import DictConfig

from fervid.cli.mistakes import mistake
from fervid.errors import InputError
from fervid.runs.record import plain_settings
from fervid.runs.run import open_run
from fervid.schema.results import RESULTS_FILE
from fervid.schema.same_system import RunIdentity

log = logging.getLogger(__name__)


def finished_score(
    folder: Path, config: DictConfig, compute_fingerprint: Callable[[], str], *, resume: bool
) -> float | None:
    """Returns the score of a finished run, which need not be run again.

    Args:
        folder: run folder.
        config: configuration of the current run.
        compute_fingerprint: returns the fingerprint of the data of the current run; only called if the folder contains
            a finished run with the same settings.
        resume: whether the folder may already contain the same run.

    Returns:
        The ``best_score`` of the finished run. None if there is none, or if ``ckpt_path`` is set and the run is to be
        resumed from that checkpoint.

    Raises:
        InputError: if a finished run would be overwritten, or has other settings or other data.
    """
    if not (folder / RESULTS_FILE).exists() or (config.get("ckpt_path") is not None and not resume):
        return None
    if not resume:
        raise InputError(f"{folder} already contains a finished run: choose another hydra.run.dir, or remove it.")
    try:
        stored = open_run(folder).results
    except InputError as error:
        raise InputError(
            f"{folder} cannot be opened, {error}: choose another hydra.sweep.dir, or remove it."
        ) from error
    data = stored["data"]
    finished = RunIdentity.of(stored["config"], data.get("fingerprint"), data.get("places"))
    current = RunIdentity.of(plain_settings(config))
    if current.settings == finished.settings:
        fingerprint = _fingerprint(compute_fingerprint, folder, moved=current.places != finished.places)
        current = replace(current, fingerprint=fingerprint)
    if not current.is_same(finished):
        difference = "with other settings" if current.settings != finished.settings else "on other data"
        raise InputError(
            f"{folder} already contains a finished run {difference}: choose another hydra.sweep.dir, or remove it."
        )
    if (stored.get("weights") or {}).get("missing") and config.get("on_missing_weights") == "error":
        raise InputError(
            f"{folder} contains a finished run without pretrained weights: choose another hydra.sweep.dir, or remove "
            "it."
        )
    log.info("job %s is already finished: skipped.", folder.name)
    return stored["best_score"]


def _fingerprint(compute_fingerprint: Callable[[], str], folder: Path, *, moved: bool) -> str | None:
    """Returns the fingerprint of the current data; None if the data of a finished run no longer exist."""
    try:
        return compute_fingerprint()
    except (InputError, HydraException) as error:
        problem = mistake(error, folder)
        if moved:
            raise problem from error
        log.info("job %s: cannot check whether its data are unchanged: %s", folder.name, problem)
        return None
