"""Runs that are finished already: neither trained again nor written over."""

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


def finished_score(folder: Path, config: DictConfig, look: Callable[[], str], *, resume: bool) -> float | None:
    """The score of a run that is finished in a folder, which need not be run again.

    Args:
        folder: of the run.
        config: of the run that is to be there.
        look: gives the fingerprint of its data; asked only if a run of the same settings is finished there.
        resume: whether the same run may be finished there already.

    Returns:
        Its ``best_score``; None if there is no finished run, or a checkpoint of it is to be resumed by ``ckpt_path``.

    Raises:
        InputError: if a finished run would be written over, or is of other settings or data.
    """
    if not (folder / RESULTS_FILE).exists() or (config.get("ckpt_path") is not None and not resume):
        return None
    if not resume:
        raise InputError(f"{folder} already holds a finished run: choose another hydra.run.dir, or remove it.")
    try:
        before = open_run(folder).results
    except InputError as error:
        raise InputError(
            f"{folder} cannot be opened again, {error}: choose another hydra.sweep.dir, or remove it."
        ) from error
    data = before["data"]
    there = RunIdentity.of(before["config"], data.get("fingerprint"), data.get("places"))
    here = RunIdentity.of(plain_settings(config))
    if here.settings == there.settings:
        here = replace(here, fingerprint=_look(look, folder, moved=here.places != there.places))
    if not here.is_same(there):
        other = "of other settings" if here.settings != there.settings else "on other data"
        raise InputError(
            f"{folder} already holds a finished run {other}: choose another hydra.sweep.dir, or remove it."
        )
    if (before.get("weights") or {}).get("missing") and config.get("on_missing_weights") == "error":
        raise InputError(
            f"{folder} holds a finished run that had no pretrained weights: choose another hydra.sweep.dir, or "
            "remove it."
        )
    log.info("job %s is finished already: skipped.", folder.name)
    return before["best_score"]


def _look(look: Callable[[], str], folder: Path, *, moved: bool) -> str | None:
    """The fingerprint of the data at hand; None if those of a finished run are gone from where they lay."""
    try:
        return look()
    except (InputError, HydraException) as error:
        found = mistake(error, folder)
        if moved:
            raise found from error
        log.info("job %s: whether its data are as they were cannot be told: %s", folder.name, found)
        return None
