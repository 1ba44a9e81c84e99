"""Synchronises the ranks of a distributed run while the first rank prepares the data.

The first rank signals that it is working through a small heartbeat file in the cache, which all machines of a run
share, and which it changes every few seconds. The other ranks only check that the file changes, since the clocks of
machines differ. They cannot rely on the launcher to end them when the first rank fails: ``srun``, for example, does so
only with ``--kill-on-bad-exit``.
"""

import atexit
import hashlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fervid.errors import InputError, first_line
from fervid.processes.lifetime import POLL_SECONDS
from fervid.storage.atomic import write_text

log = logging.getLogger(__name__)

PREFIX = ".rank-"  # start of the heartbeat file's name
MAX_AGE_SECONDS = 7 * 86_400  # after which the heartbeat file of a killed run is removed
HEARTBEAT_SECONDS = 5.0
# NFS may show a new file a minute late, and the processes of a large job do not start at the same time.
TIMEOUT_SECONDS = 120.0
WORKING, DONE, FAILED = "working", "done", "failed"
# Variables that distinguish simultaneous runs with the same settings. They have the same value in all ranks of a run.
RUN_VARIABLES = (
    *("SLURM_JOB_ID", "SLURM_STEP_ID", "TORCHELASTIC_RUN_ID", "LSB_JOBID", "PMIX_NAMESPACE"),
    *("MASTER_ADDR", "MASTER_PORT"),
)


def heartbeat_file(cache: Path, settings: Mapping[str, Any]) -> Path:
    """Returns the path of the heartbeat file, through which the first rank signals that it is working.

    Args:
        cache: folder that all ranks share.
        settings: JSON-serialisable settings of the run, the same in all ranks.
    """
    parts = [json.dumps(settings, sort_keys=True), *(os.environ.get(name, "") for name in RUN_VARIABLES)]
    return cache / f"{PREFIX}{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}.json"


@contextmanager
def heartbeat(file: Path) -> Iterator[None]:
    """Signals to the other ranks that the first rank is working, while they wait (:func:`wait_for_first`).

    Args:
        file: path from :func:`heartbeat_file`. After a failure the file is kept, since the other ranks may read it
            after this process has ended.
    """
    stop, token = threading.Event(), os.urandom(8).hex()

    def write(state: str, count: int = 0, error: str = "") -> None:
        with suppress(OSError):  # if the cache must be writable, the preparation itself fails
            write_text(file, json.dumps({"state": state, "error": error, "change": f"{token} {count}"}))

    def repeat() -> None:
        count = 0
        while not stop.wait(HEARTBEAT_SECONDS):
            count += 1
            write(WORKING, count)

    for leftover in file.parent.glob(f"{PREFIX}*.json"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > MAX_AGE_SECONDS:
                leftover.unlink()
    write(WORKING)
    thread = threading.Thread(target=repeat, name="heartbeat for other ranks", daemon=True)
    thread.start()
    try:
        yield
    except BaseException as error:
        stop.set()
        thread.join()
        write(FAILED, error=first_line(error))
        raise
    stop.set()
    thread.join()
    write(DONE)
    atexit.register(file.unlink, missing_ok=True)  # by then all ranks have finished training


def wait_for_first(is_ready: Callable[[], bool], file: Path) -> None:
    """Waits until the first rank has prepared the corpus, which may take hours; called in the other ranks.

    Args:
        is_ready: returns whether the prepared files are visible to this process.
        file: path from :func:`heartbeat_file`.

    Raises:
        InputError: if the first rank failed or ended, or its files are not visible to this process.
    """
    if is_ready():
        return
    log.info("waiting for the first process of this run, which prepares the corpus.")
    # The current content may be a leftover of an earlier start and is ignored until it changes.
    last, state, changed_at = _read(file), {}, time.monotonic()
    while not is_ready():
        time.sleep(POLL_SECONDS)
        current = _read(file)
        if current and current != last:
            last, state, changed_at = current, current, time.monotonic()
        if state.get("state") == FAILED:
            raise InputError(
                f"the first process of this run failed ({state.get('error')}): see its output, and run the same "
                "command again."
            )
        if time.monotonic() - changed_at > TIMEOUT_SECONDS:
            raise InputError(_timeout_message(file.parent, state.get("state")))


def _timeout_message(cache: Path, state: str | None) -> str:
    folder = f"{cache} on {socket.gethostname()}"
    if state == DONE:
        return (
            f"the first process of this run has prepared the corpus, but its files are not in {folder}: give a "
            "cache_dir=<folder> (and dataset.prepared_dir, if it is set) that all machines share."
        )
    if state == WORKING:
        return (
            "the first process of this run was killed or its machine failed while it prepared the corpus: there has "
            f"been no sign of it for {TIMEOUT_SECONDS:.0f} s; run the same command again to resume the preparation."
        )
    return (
        f"there has been no sign of the first process of this run in {folder} for {TIMEOUT_SECONDS:.0f} s: it was "
        "killed or failed early (see its output), or the machines do not share this folder: give "
        "cache_dir=<shared folder>."
    )


def _read(file: Path) -> dict[str, str]:
    """Returns the content of the heartbeat file; empty if it cannot be read."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
