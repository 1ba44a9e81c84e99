"""How the processes of a run wait for the first one, which prepares the data, and learn what became of it.

The first process shows that it is at work by a small file in the cache, which the machines of a run share; it changes
every few seconds. Nobody compares clocks, which differ between machines: what counts is that the file changes. A
launcher need not end the other processes when one fails: ``srun`` does so with ``--kill-on-bad-exit`` alone.
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

PREFIX = ".rank-"  # of the file in the cache, which every user of a shared one may write to
MAX_AGE_SECONDS = 7 * 86_400  # of a file that a killed run left
BEAT_SECONDS = 5.0
# NFS may show a new file a minute late, and processes of a large job do not start in the same second.
SILENT_SECONDS = 120.0
WORKING, DONE, FAILED = "working", "done", "failed"
# What tells two runs of the same settings apart that are started at once; the same in all processes of each.
RUN_VARIABLES = (
    *("SLURM_JOB_ID", "SLURM_STEP_ID", "TORCHELASTIC_RUN_ID", "LSB_JOBID", "PMIX_NAMESPACE"),
    *("MASTER_ADDR", "MASTER_PORT"),
)


def sign_file(cache: Path, settings: Mapping[str, Any]) -> Path:
    """The file by which the first process of a run shows that it is at work.

    Args:
        cache: a folder that all processes share.
        settings: of the run, as JSON has them; the same in all of its processes.
    """
    told = [json.dumps(settings, sort_keys=True), *(os.environ.get(name, "") for name in RUN_VARIABLES)]
    return cache / f"{PREFIX}{hashlib.sha256(' '.join(told).encode()).hexdigest()[:16]}.json"


@contextmanager
def showing_work(sign: Path) -> Iterator[None]:
    """Around what the first process of a run does while the others wait (:func:`wait_for_first`).

    Args:
        sign: of :func:`sign_file`. After a failure it stays: the others may read it when this process has ended.
    """
    over, token = threading.Event(), os.urandom(8).hex()

    def show(state: str, beat: int = 0, error: str = "") -> None:
        with suppress(OSError):  # a cache that cannot be written ends the work itself, if it must be written
            write_text(sign, json.dumps({"state": state, "error": error, "change": f"{token} {beat}"}))

    def beat() -> None:
        number = 0
        while not over.wait(BEAT_SECONDS):
            number += 1
            show(WORKING, number)

    for left in sign.parent.glob(f"{PREFIX}*.json"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > MAX_AGE_SECONDS:
                left.unlink()
    show(WORKING)
    thread = threading.Thread(target=beat, name="show the other ranks that this one works", daemon=True)
    thread.start()
    try:
        yield
    except BaseException as error:
        over.set()
        thread.join()
        show(FAILED, error=first_line(error))
        raise
    over.set()
    thread.join()
    show(DONE)
    atexit.register(sign.unlink, missing_ok=True)  # by then all have trained together


def wait_for_first(is_ready: Callable[[], bool], sign: Path) -> None:
    """Waits in another process than the first until that one has prepared the corpus, which may take hours.

    Args:
        is_ready: whether the files are there.
        sign: of :func:`sign_file`.

    Raises:
        InputError: if the first process failed or is gone, or its files cannot be seen from here.
    """
    if is_ready():
        return
    log.info("waiting for the first process of this run, which prepares the corpus.")
    # What lies there now may be left of an earlier start: it says nothing before it changes.
    seen, state, changed = _read(sign), {}, time.monotonic()
    while not is_ready():
        time.sleep(POLL_SECONDS)
        now = _read(sign)
        if now and now != seen:
            seen, state, changed = now, now, time.monotonic()
        if state.get("state") == FAILED:
            raise InputError(
                f"the first process of this run failed ({state.get('error')}): see what it said, and run the same "
                "command again."
            )
        if time.monotonic() - changed > SILENT_SECONDS:
            raise InputError(_why_silent(sign.parent, state.get("state")))


def _why_silent(cache: Path, state: str | None) -> str:
    here = f"{cache} on {socket.gethostname()}"
    if state == DONE:
        return (
            f"the first process of this run has prepared the corpus, but {here} does not show its files: give a "
            "cache_dir=<folder> (and dataset.prepared_dir, if it is set) that all machines share."
        )
    if state == WORKING:
        return (
            "the first process of this run was killed or lost its machine while it prepared the corpus: nothing was "
            f"heard of it for {SILENT_SECONDS:.0f} s; run the same command again, it resumes where it stopped."
        )
    return (
        f"nothing is heard of the first process of this run in {here} for {SILENT_SECONDS:.0f} s: it was killed or "
        "failed early (see what it said), or the machines do not share this folder: give cache_dir=<shared folder>."
    )


def _read(sign: Path) -> dict[str, str]:
    """What the first process says; empty if that cannot be read for now."""
    try:
        return json.loads(sign.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
