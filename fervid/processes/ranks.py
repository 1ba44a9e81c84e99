"""Rank detection for distributed runs, and joint termination of their processes.

Launchers pass the rank of a process in environment variables. The variables alone are not reliable: SLURM sets them in
every task of a job, whether or not the tasks belong together, and child processes inherit them. They are used only if
they agree with the number of devices that the run trains on.

This module must not import large libraries, since Lightning reads the variables as soon as it is imported.
"""

import atexit
import importlib.util
import logging
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from fervid.errors import InputError
from fervid.processes.lifetime import POLL_SECONDS, end_with_parent, exit_now

log = logging.getLogger(__name__)

GRACE_SECONDS = 5.0  # time for a process to notice by itself that another one has ended
PROCESS_ENDED = "another process of this run was killed or failed"


class Launcher(NamedTuple):
    """A program that starts all processes of a run, with the names of its environment variables.

    Attributes:
        marker: variable that only this launcher sets.
        rank: rank of the process.
        size: number of processes.
        local_rank: rank of the process on its machine.
        extra: further variables that Lightning reads if this launcher is used.
    """

    marker: str
    rank: str
    size: str
    local_rank: str
    extra: tuple[str, ...] = ()


ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
NODE = ("NODE_RANK", "GROUP_RANK")  # the first one that is set is used
TORCHRUN = Launcher(
    *("TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK"),
    ("GROUP_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_USE_AGENT_STORE"),
)
SLURM = Launcher(
    *("SLURM_NTASKS", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"), ("SLURM_NODEID", "SLURM_NTASKS_PER_NODE")
)
LSF = Launcher("LSB_DJOB_RANKFILE", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_LOCAL_RANK")
MPI = Launcher(
    *("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
)
LAUNCHERS = (TORCHRUN, SLURM, LSF, MPI)  # in the order in which Lightning checks them


class RankInfo(NamedTuple):
    """Position of a process in its run.

    Attributes:
        rank: rank of the process; 0 for the first or only process.
        launcher: program that started all processes; None if the run starts them itself.
        variables: names of the environment variables that refer to this run.
    """

    rank: int = 0
    launcher: Launcher | None = None
    variables: tuple[str, ...] = ()


def detect_rank(devices: Any = 1, num_nodes: Any = 1) -> RankInfo:
    """Detects the position of this process in a run.

    Args:
        devices: the Trainer's ``devices``.
        num_nodes: the Trainer's ``num_nodes``.
    """
    count, nodes = count_devices(devices), count_devices(num_nodes) or 1
    size = count and count * nodes
    for launcher in LAUNCHERS:
        rank, local, processes = (_number(name) for name in (launcher.rank, launcher.local_rank, launcher.size))
        if not _is_used(launcher) or rank is None or local is None or processes is None:
            continue
        # A single SLURM task is also accepted, since Lightning can requeue it.
        if rank < processes == (size or processes) and (processes > 1 or launcher is SLURM):
            return RankInfo(rank, launcher, (*launcher[:4], *launcher.extra, *ADDRESS))
    # Lightning's default: one process per machine starts the others there.
    local, processes = _number("LOCAL_RANK"), _number("WORLD_SIZE")
    node = next((rank for rank in map(_number, NODE) if rank is not None), 0)
    if local is not None and processes is not None and processes > 1 and processes == (size or processes):
        count = processes // nodes
        if local < count:
            return RankInfo(node * count + local, None, ("LOCAL_RANK", "WORLD_SIZE", *NODE, *ADDRESS))
    return RankInfo(node * (count or 1), None, (*NODE, *ADDRESS)) if nodes > 1 else RankInfo()


def set_up_rank(devices: Any = 1, num_nodes: Any = 1) -> RankInfo:
    """Like :func:`detect_rank`, but removes variables that do not refer to this run, which Lightning would use."""
    info, processes = detect_rank(devices, num_nodes), _number(TORCHRUN.size)
    if _is_used(TORCHRUN) and info.launcher is None and processes is not None and processes > 1:
        log.warning(
            "torchrun started %d processes, but each of them trains independently on trainer.devices=%s: use "
            "trainer.devices=%d for one distributed run, or start the command without torchrun.",
            *(processes, devices, processes),
        )
    for launcher in LAUNCHERS:
        for name in (*launcher[:4], *launcher.extra, *NODE, *ADDRESS):
            if name not in info.variables:
                os.environ.pop(name, None)
    if info.launcher is SLURM:  # srun sets it only with --ntasks-per-node, but Lightning requires it
        os.environ.setdefault(
            "SLURM_NTASKS_PER_NODE", str((_number(SLURM.size) or 1) // (count_devices(num_nodes) or 1))
        )
    if info.rank:
        end_with_parent(os.getppid(), grace=GRACE_SECONDS, message=f"fervid: {PROCESS_ENDED}.")
    return info


def rank_folder(folder: str, devices: Any, num_nodes: Any) -> str:
    """Returns the output folder of this rank: the run folder for the first rank, a temporary folder for the others.

    Args:
        folder: run folder. Its name contains the time, which differs between the processes of a launcher.
        devices: the Trainer's ``devices``.
        num_nodes: the Trainer's ``num_nodes``.
    """
    if detect_rank(devices, num_nodes).rank == 0:
        return folder
    temporary = tempfile.mkdtemp(prefix="fervid-rank-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary


@contextmanager
def ending_together(trainer: Any, next_step: Callable[[], str]) -> Iterator[None]:
    """Ends distributed training within seconds, and with a message, when one of its processes has ended.

    Args:
        trainer: Lightning's Trainer. For training in a single process the context manager does nothing.
        next_step: returns how to resume, for the message.

    Raises:
        InputError: if another process was killed or failed.
    """
    if trainer.world_size == 1:
        yield
        return
    stop = threading.Event()
    processes: list[subprocess.Popen] = []

    def take_over() -> None:
        launched = getattr(trainer.strategy.launcher, "procs", [])
        while launched:  # Lightning's watcher would kill this process without a message
            processes.append(launched.pop())

    def watch() -> None:
        while not stop.wait(POLL_SECONDS):
            take_over()
            if any(process.poll() for process in processes):
                # An exception cannot interrupt a process that waits for another one inside NCCL or gloo.
                if not stop.wait(GRACE_SECONDS):
                    _kill(processes)
                    exit_now(f"fervid: {PROCESS_ENDED}: {next_step()}")
                return

    watcher = threading.Thread(target=watch, name="watch the other processes", daemon=True)
    watcher.start()
    try:
        yield
    except BaseException as error:
        stop.set()
        watcher.join()
        take_over()
        _kill(processes)
        if isinstance(error, RuntimeError) and _is_connection_error(error):
            raise InputError(f"{PROCESS_ENDED}: {next_step()}") from error
        raise
    finally:
        stop.set()


def _kill(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        process.kill()  # does nothing if the process has already ended


def _is_connection_error(error: RuntimeError) -> bool:
    """Whether a collective operation failed because another process has ended."""
    return "gloo" in str(error) or "NCCL" in str(error) or type(error).__name__.startswith("Dist")


def _is_used(launcher: Launcher) -> bool:
    if launcher is SLURM and os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return False  # an interactive shell, in which programs are started by hand
    if launcher is MPI and importlib.util.find_spec("mpi4py") is None:
        return False  # Lightning uses mpi4py, not the variables
    return launcher.marker in os.environ


def _number(name: str) -> int | None:
    """Returns a non-negative integer from the environment; None if the variable is absent or has another value."""
    value = os.environ.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else None


def count_devices(devices: Any) -> int | None:
    """Returns the number of devices that a Trainer setting selects; None if it depends on the machine."""
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return len(devices)
    words = [word for word in str(devices).split(",") if word.strip()]
    if len(words) > 1:
        return len(words)
    try:
        return max(0, int(words[0])) or None
    except (IndexError, ValueError):
        return None
