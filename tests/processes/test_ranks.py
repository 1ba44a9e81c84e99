"""Launcher variables define a rank only in distributed runs, and ranks end together."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
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
def test_run_on_one_device_ignores_launcher_variables(fervid_train, tmp_path, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    fervid_train(*SMOKE, f"hydra.run.dir={tmp_path}/run")
    assert (tmp_path / "run" / "results.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("variables", [INDEPENDENT | {"SLURM_PROCID": "1"}, {"RANK": "", "SLURM_PROCID": "abc"}])
def test_process_on_one_device_ignores_launcher_variables(tmp_path, cache, variables):
    """Lightning reads the variables when it is imported."""
    words = command(f"hydra.run.dir={tmp_path}/run", f"cache_dir={cache}")
    process = subprocess.run(words, env=environment(**variables), capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert "Results (" in process.stdout
    assert (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_second_process_never_uses_run_folder(fervid_train, tmp_path, monkeypatch, capfd, variable):
    from fervid.cli.folders import alone

    monkeypatch.setenv(variable, "1")
    with alone(tmp_path), pytest.raises(SystemExit):
        fervid_train(*SMOKE, f"hydra.run.dir={tmp_path}")
    assert "another process is using" in capfd.readouterr().err


COMPARING = """
import torch

class Compared(torch.optim.AdamW):
    def step(self, closure=None):
        loss = super().step(closure)
        own = torch.cat([p.detach().flatten() for group in self.param_groups for p in group["params"]])
        ranks = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(ranks, own)
        assert len(ranks) == 2 and torch.equal(*ranks)
        return loss
"""


@pytest.fixture
def train_on_two(tmp_path, cache):
    """Runs the command on two processes whose parameters are compared after every step."""

    def run(*words, launcher=(), **variables):
        (tmp_path / "comparing.py").write_text(COMPARING)
        start = [sys.executable, *launcher, "-m", "fervid.train", *SMOKE[:-1], "trainer.devices=2"]
        compared = ["optimizer=adamw", "optimizer._target_=comparing.Compared", f"cache_dir={cache}"]
        path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        process = subprocess.run(
            [*start, *compared, *words],
            env=environment(PYTHONPATH=path, **variables),
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
        )
        assert process.returncode == 0, process.stderr
        assert process.stdout.count("Results (") == 1
        [folder] = tmp_path.glob("runs/*")
        results = json.loads((folder / "results.json").read_text())
        assert sum(map(sum, results["confusion"])) == results["data"]["split"]["test"]  # every frame once
        return folder, process.stdout + process.stderr

    return run


def test_two_devices_without_launcher(train_on_two):
    folder, output = train_on_two("finetune=full", "trainer.max_epochs=2")
    assert [path.name for path in folder.glob("*.log")] == ["train.log"]
    assert "Traceback" not in output


VIT = ["backbone=timm", "backbone.name=vit_tiny_patch16_224", "backbone.weights=null", "backbone.image_size=32"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["recipe=[sam,mixup,averaged_weights]"], id="sam"),
        pytest.param(["recipe=[lora,drop_path,layer_decay,large_batch,averaged_weights]", *VIT], id="lora"),
    ],
)
def test_recipes_with_phases_on_two_devices(train_on_two, words):
    if "lora" in words[0]:
        pytest.importorskip("peft", reason="recipe=lora needs peft")
    phases = ["finetune.phases.0.epochs=1", "finetune.phases.1.epochs=1", "finetune.phases.1.unfreeze_from=all"]
    folder, _ = train_on_two("finetune=two_phase", *phases, *words)
    assert len(json.loads((folder / "results.json").read_text())["history"]) == 2


@pytest.mark.slow
def test_torchrun_creates_one_run_folder(train_on_two):
    """With both phases, so that frozen stages are unfrozen."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    words = ["finetune.phases.0.epochs=2", "finetune.phases.1.epochs=2", "finetune.phases.1.unfreeze_from=all"]
    folder, _ = train_on_two("finetune=two_phase", *words, launcher=torchrun)
    history = json.loads((folder / "results.json").read_text())["history"]
    assert [epoch["phase"] for epoch in history] == ["frozen", "frozen", "fine_tune", "fine_tune"]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["frozen", "last_block", "ravdess", "ised", "enterface", "hf_faces"])
def test_every_preset_trains_on_two_devices(train_on_two, preset):
    network = ["backbone=vgg16", "backbone.weights=null", "backbone.image_size=32", "head=linear"]
    train_on_two(f"finetune={preset}", *(network if preset == "ravdess" else []), "trainer.max_epochs=2")


@pytest.mark.slow
def test_slurm_tasks_are_ranks_if_number_of_devices_matches(tmp_path, cache):
    tasks = []
    for rank in "01":
        slurm = {"SLURM_JOB_ID": "1234", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NODEID": "0"}
        tasks.append(
            subprocess.Popen(
                command("trainer.devices=2", f"cache_dir={cache}"),
                env=environment(SLURM_PROCID=rank, SLURM_LOCALID=rank, **slurm),
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    output = [task.communicate(timeout=120)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0]
    assert ["Results (" in each for each in output] == [True, False]
    assert len(list(tmp_path.glob("runs/*"))) == len(list(tmp_path.glob("runs/*/results.json"))) == 1


@pytest.mark.parametrize(
    ("victim", "number", "code"),
    [
        (1, signal.SIGKILL, 1),
        pytest.param(0, signal.SIGKILL, -9, marks=pytest.mark.slow),
        pytest.param(0, signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_rank_ends_with_one_sentence_when_other_is_killed(tmp_path, cache, victim, number, code):
    folder = tmp_path / "run"
    endless = ["trainer.max_epochs=9000", "finetune.phases.0.epochs=9000", "finetune.phases.0.patience=null"]
    words = command(*endless, "trainer.devices=2", f"hydra.run.dir={folder}", f"cache_dir={cache}")
    with open(tmp_path / "output", "w+") as output:
        process = subprocess.Popen(words, env=environment(), stdout=output, stderr=output)
        wait_for(lambda: (folder / "checkpoints" / "last.ckpt").exists(), 120, process)
        [child] = psutil.Process(process.pid).children()
        os.kill([process.pid, child.pid][victim], number)
        assert process.wait(timeout=30) == code
        wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 30)
        output.seek(0)
        text = output.read()
    assert "Traceback" not in text
    assert text.count(f"hydra.run.dir={folder} ckpt_path={folder}/checkpoints/last.ckpt") == 1
    if number == signal.SIGKILL:
        assert text.count("another process of this run was killed") == 1
    assert not (folder / "results.json").exists()


def wait_for(condition, seconds, process=None):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.1)


TOGETHER = """
import sys
from fervid.data import SyntheticDataModule

data = SyntheticDataModule(identities=6, clips=1, frames=2, image_size=28, batch_size=4, cache_dir=sys.argv[1])
data.rows
print("ready", flush=True)
sys.stdin.readline()
data.prepare_data()
print(data.face_cache.path.stat().st_mtime_ns, flush=True)
"""


@pytest.mark.slow
def test_one_of_two_processes_prepares_shared_faces(tmp_path):
    words = [sys.executable, "-c", TOGETHER, str(tmp_path)]
    pair = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
        for _ in range(2)
    ]
    for process in pair:
        while process.stdout.readline() != "ready\n":
            assert process.poll() is None
    for process in pair:
        process.stdin.write("\n")
        process.stdin.flush()
    output = [process.communicate(timeout=120)[0].splitlines() for process in pair]
    assert output[0][-1] == output[1][-1]  # the file was written once
    assert sum("another process is preparing" in line for lines in output for line in lines) == 1


@pytest.mark.slow
def test_waiting_rank_prepares_nothing_and_ends_with_parent(tmp_path):
    """The first rank never starts: its parent, which simulates it, is killed."""
    code = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    words = command("trainer.devices=2", f"cache_dir={tmp_path / 'cache'}")
    variables = environment(LOCAL_RANK="1", WORLD_SIZE="2", TMPDIR=str(tmp_path))
    parent = subprocess.Popen([sys.executable, "-c", code, *words], env=variables, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: psutil.Process(parent.pid).children(), 60, parent)
    [child] = psutil.Process(parent.pid).children()
    wait_for(lambda: list(tmp_path.glob("fervid-rank-*")), 60, parent)
    time.sleep(20)  # by then it has imported torch and waits
    assert parent.poll() is None
    parent.kill()
    assert "another process of this run was killed" in parent.communicate(timeout=30)[1]
    wait_for(lambda: not child.is_running(), 10)
    assert not list(tmp_path.rglob("*.npy"))
