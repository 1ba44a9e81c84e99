"""A Hydra launcher that runs each job in its own process, like those for joblib, Ray and SLURM."""

import sys

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra.plugins.launcher import Launcher
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from omegaconf import open_dict


def jobs_in_processes(monkeypatch: pytest.MonkeyPatch) -> str:
    """The override that selects this launcher."""
    monkeypatch.setattr(Plugins.instance(), "is_in_toplevel_plugins_module", lambda name: True)
    Plugins.instance().register(ProcessLauncher)
    return f"hydra.launcher._target_={ProcessLauncher.__module__}.{ProcessLauncher.__qualname__}"


class ProcessLauncher(Launcher):
    def __init__(self, **options):
        pass

    def setup(self, *, hydra_context, task_function, config):
        self.arguments = hydra_context, task_function, config

    def launch(self, job_overrides, initial_job_idx):
        state = Singleton.get_state()
        jobs = enumerate(job_overrides, initial_job_idx)
        try:
            return Parallel(n_jobs=2)(delayed(run_elsewhere)(sys.path, *self.arguments, state, *job) for job in jobs)
        finally:
            # Loky replaces workers whose memory has grown, possibly during the next test: stop them here.
            get_reusable_executor().shutdown(wait=True)


def run_elsewhere(path, hydra_context, task_function, config, state, number, overrides):
    sys.path[:] = path  # as PYTHONPATH would do
    setup_globals()
    Singleton.set_state(state)
    config = hydra_context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(config):
        config.hydra.job.num = number
    HydraConfig.instance().set_config(config)
    keys = {"job_dir_key": "hydra.sweep.dir", "job_subdir_key": "hydra.sweep.subdir"}
    return run_job(task_function, config, hydra_context=hydra_context, **keys)
