"""Variables of launchers mean a rank only where the run was started as one of several; ranks end together."""

import os
import subprocess
import sys

import pytest

SMOKE = ["experiment=smoke", "+trainer.enable_progress_bar=false", "logger=none", "trainer.max_epochs=2"]
INDEPENDENT = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "seeds", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_ADDR": "127.0.0.1"}


def command(*words):
    return [sys.executable, "-m", "fervid.train", *SMOKE, *words]


def environment(**variables):
    return os.environ | {"OMP_NUM_THREADS": "1"} | variables


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_PROCID": "1"},
        {"SLURM_NTASKS": "2"},
        {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "bash", "SLURM_PROCID": "1"},
        {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"},
        INDEPENDENT | {"SLURM_PROCID": "1", "SLURM_NODEID": "0", "SLURM_NTASKS_PER_NODE": "2"},
        {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"},
        {"LOCAL_RANK": "1"},
        {"GROUP_RANK": "3", "NODE_RANK": "3"},
        TORCHRUN | {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_PORT": "1"},
        {"LSB_JOBID": "7", "LSB_DJOB_RANKFILE": "nowhere"}
        | dict.fromkeys(("JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_RANK"), "1")
        | {"JSM_NAMESPACE_SIZE": "2"},
        {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMI_RANK": "1"},
        dict.fromkeys(("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"), "abc"),
        dict.fromkeys(("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "NODE_RANK"), ""),
    ],
    ids=lambda variables: " ".join(f"{name}={value}" for name, value in variables.items())[:60],
)
def test_a_run_on_one_device_is_whole_whatever_the_environment_says(fervid_train, tmp_path, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    fervid_train(*SMOKE, f"hydra.run.dir={tmp_path}/run")
    assert (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize("variables", [INDEPENDENT | {"SLURM_PROCID": "1"}, {"RANK": "", "SLURM_PROCID": "abc"}])
def test_so_it_is_in_a_process_of_its_own(tmp_path, cache, variables):
    """Lightning reads the variables when it is imported."""
    words = command(f"hydra.run.dir={tmp_path}/run", f"cache_dir={cache}")
    process = subprocess.run(words, env=environment(**variables), capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert "what was reached" in process.stdout
    assert (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_no_variable_gives_a_second_process_the_folder_of_a_run(fervid_train, tmp_path, monkeypatch, capfd, variable):
    from fervid.command_line import alone

    monkeypatch.setenv(variable, "1")
    with alone(tmp_path), pytest.raises(SystemExit):
        fervid_train(*SMOKE, f"hydra.run.dir={tmp_path}")
    assert "another process is at work" in capfd.readouterr().err
