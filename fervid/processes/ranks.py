"""Which process of a distributed run this is, and how its processes end together.

Launchers tell a process its rank in environment variables, but the variables alone prove nothing: SLURM sets them in
every task of a job, related or not, and whatever a rank starts inherits them. They are believed only where they agree
with the number of devices that this run trains on.

Nothing heavy is imported here: Lightning reads the variables as soon as it is imported.
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

GRACE_SECONDS = 5.0  # for a process to notice by itself that another one is gone
GONE = "another process of this run was killed or failed"


class Launcher(NamedTuple):
    """A program that starts all processes of a run, and the variables in which it tells each where it stands.

    Attributes:
        mark: set by this launcher alone.
        rank: number of the process.
        size: number of processes.
        local_rank: number of the process on its machine.
        others: what else Lightning reads where this launcher is used.
    """

    mark: str
    rank: str
    size: str
    local_rank: str
    others: tuple[str, ...] = ()


ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
NODE = ("NODE_RANK", "GROUP_RANK")  # the first that is set counts
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
LAUNCHERS = (TORCHRUN, SLURM, LSF, MPI)  # in the order in which Lightning looks for them


class Place(NamedTuple):
    """Where a process stands in its run.

    Attributes:
        rank: 0 for the first, or only, process.
        launcher: what started all processes; None if the run starts its own.
        variables: those that mean this run.
    """

    rank: int = 0
    launcher: Launcher | None = None
    variables: tuple[str, ...] = ()


def find_place(devices: Any = 1, num_nodes: Any = 1) -> Place:
    """Where this process stands in a run on so many devices.

    Args:
        devices: as Lightning's Trainer takes it.
        num_nodes: likewise.
    """
    count, nodes = count_devices(devices), count_devices(num_nodes) or 1
    size = count and count * nodes
    for launcher in LAUNCHERS:
        rank, local, processes = (_number(name) for name in (launcher.rank, launcher.local_rank, launcher.size))
        if not _is_used(launcher) or rank is None or local is None or processes is None:
            continue
        # One task alone matters to SLURM, which can put it back into the queue.
        if rank < processes == (size or processes) and (processes > 1 or launcher is SLURM):
            return Place(rank, launcher, (*launcher[:4], *launcher.others, *ADDRESS))
    # Lightning's own way: one process a machine starts the others there.
    local, processes = _number("LOCAL_RANK"), _number("WORLD_SIZE")
    node = next((rank for rank in map(_number, NODE) if rank is not None), 0)
    if local is not None and processes is not None and processes > 1 and processes == (size or processes):
        count = processes // nodes
        if local < count:
            return Place(node * count + local, None, ("LOCAL_RANK", "WORLD_SIZE", *NODE, *ADDRESS))
    return Place(node * (count or 1), None, (*NODE, *ADDRESS)) if nodes > 1 else Place()


def take_place(devices: Any = 1, num_nodes: Any = 1) -> Place:
    """As :func:`find_place`; removes the variables that do not mean this run, since Lightning would believe them."""
    place, processes = find_place(devices, num_nodes), _number(TORCHRUN.size)
    if _is_used(TORCHRUN) and place.launcher is None and processes is not None and processes > 1:
        log.warning(
            "torchrun started %d processes, but each of them trains by itself on trainer.devices=%s: use "
            "trainer.devices=%d for one run on all of them, or start it without torchrun.",
            *(processes, devices, processes),
        )
    for launcher in LAUNCHERS:
        for name in (*launcher[:4], *launcher.others, *NODE, *ADDRESS):
            if name not in place.variables:
                os.environ.pop(name, None)
    if place.launcher is SLURM:  # srun sets it only if it was asked for, but Lightning insists on it
        os.environ.setdefault(
            "SLURM_NTASKS_PER_NODE", str((_number(SLURM.size) or 1) // (count_devices(num_nodes) or 1))
        )
    if place.rank:
        end_with_parent(os.getppid(), grace=GRACE_SECONDS, message=f"fervid: {GONE}.")
    return place


def rank_folder(folder: str, devices: Any, num_nodes: Any) -> str:
    """The folder of a run for its first process; for the others one that is removed when they end.

    Args:
        folder: of the run. Its name holds a date, which processes that a launcher starts do not share.
        devices: as Lightning's Trainer takes it.
        num_nodes: likewise.
    """
    if find_place(devices, num_nodes).rank == 0:
        return folder
    own = tempfile.mkdtemp(prefix="fervid-rank-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


@contextmanager
def ending_together(trainer: Any, next_step: Callable[[], str]) -> Iterator[None]:
    """Around distributed training: when one process is gone, the others end within seconds and say so.

    Args:
        trainer: Lightning's; one that trains in a single process needs nothing.
        next_step: says how to resume.

    Raises:
        InputError: if another process is gone.
    """
    if trainer.world_size == 1:
        yield
        return
    over = threading.Event()
    processes: list[subprocess.Popen] = []

    def take_over() -> None:
        launched = getattr(trainer.strategy.launcher, "procs", [])
        while launched:  # Lightning's own watcher would kill this process without a word
            processes.append(launched.pop())

    def watch() -> None:
        while not over.wait(POLL_SECONDS):
            take_over()
            if any(process.poll() for process in processes):
                # A process that waits for another one inside NCCL or gloo cannot be told by an exception.
                if not over.wait(GRACE_SECONDS):
                    _kill(processes)
                    exit_now(f"fervid: {GONE}: {next_step()}")
                return

    watcher = threading.Thread(target=watch, name="watch the other processes", daemon=True)
    watcher.start()
    try:
        yield
    except BaseException as error:
        over.set()
        watcher.join()
        take_over()
        _kill(processes)
        if isinstance(error, RuntimeError) and _is_of_connection(error):
            raise InputError(f"{GONE}: {next_step()}") from error
        raise
    finally:
        over.set()


def _kill(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        process.kill()  # does nothing to one that has ended


def _is_of_connection(error: RuntimeError) -> bool:
    """Whether a collective operation failed for want of another process."""
    return "gloo" in str(error) or "NCCL" in str(error) or type(error).__name__.startswith("Dist")


def _is_used(launcher: Launcher) -> bool:
    if launcher is SLURM and os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return False  # a shell in which programs are started by hand
    if launcher is MPI and importlib.util.find_spec("mpi4py") is None:
        return False  # Lightning asks it, not the variables
    return launcher.mark in os.environ


def _number(name: str) -> int | None:
    """A non-negative integer from the environment; None if the variable is absent or holds anything else."""
    value = os.environ.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else None


def count_devices(devices: Any) -> int | None:
    """How many devices a setting of Lightning's Trainer names; None if that depends on the machine."""
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return len(devices)
    words = [word for word in str(devices).split(",") if word.strip()]
    if len(words) > 1:
        return len(words)
    try:
        return max(0, int(words[0])) or None
    except (IndexError, ValueError):
        return None
