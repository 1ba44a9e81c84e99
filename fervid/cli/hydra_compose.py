"""Hydra's compose, which leaves Hydra's global state as it was.

Nothing heavy is imported here, so that ``--help`` answers at once.
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
    """The configuration of a command with its node ``hydra``; Hydra's global state stays as it is.

    Raises:
        HydraException, OmegaConfBaseException: if something cannot be composed.
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
    """Puts back what ``hydra.initialize_config_dir`` changes: a running application reads it for every job.

    Its own backup does not do: Hydra refuses to be initialized twice, what it gives back is a copy of the running
    application, and the name of the job and the version of the behaviour are not in it.
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
