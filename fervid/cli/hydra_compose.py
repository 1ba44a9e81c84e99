"""Composes configurations with Hydra without changing Hydra's global state.

This module has no heavy imports, so that ``--help`` responds immediately.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobRuntime
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf

from fervid.cli.overrides import quoted
from fervid.schema.config_folder import CONFIG_FOLDER, config_folders


def compose_with_hydra(command: str, words: Sequence[str]) -> DictConfig:
    """Composes the configuration of a command with its node ``hydra``; Hydra's global state is unchanged.

    Raises:
        HydraException, OmegaConfBaseException: if the configuration cannot be composed.
    """
    own = [quoted(f"file://{folder}") for folder in config_folders()[1:]]
    if own and not any(word.startswith("hydra.searchpath=") for word in words):
        words = [*words, f"hydra.searchpath=[{','.join(own)}]"]
    with _hydra_unchanged(), hydra.initialize_config_dir(CONFIG_FOLDER, job_name=command, version_base="1.3"):
        config = hydra.compose(command, list(words), return_hydra_config=True)
    OmegaConf.set_readonly(config.hydra, False)
    return config


@contextmanager
def _hydra_unchanged() -> Iterator[None]:
    """Restores the state that ``hydra.initialize_config_dir`` changes; a running application reads it for every job.

    Hydra's own backup is not sufficient: Hydra cannot be initialised twice, the backup restores a copy of the running
    application, and it does not include the job name and the version base.
    """
    application, runtime, version = GlobalHydra.instance(), JobRuntime.instance(), VersionBase.instance()
    running, job_name, version_base = application.hydra, runtime.get("name"), version.version_base
    application.clear()
    try:
        yield
    finally:
        GlobalHydra.set_instance(application)
        application.hydra = running
        runtime.set("name", job_name)
        version.version_base = version_base
