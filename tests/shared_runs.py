"""Trains the runs that several tests share."""

import logging

import pytest


def train_shared_run(words: list[str]) -> None:
    """Runs ``fervid.train`` with some settings in this process, and closes its log."""
    from hydra.core.global_hydra import GlobalHydra

    from fervid import train

    GlobalHydra.instance().clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["fervid.train", *words])
        train.main()
    for handler in logging.root.handlers[:]:  # its log handler, which would be closed during some later test
        logging.root.removeHandler(handler)
        handler.close()
