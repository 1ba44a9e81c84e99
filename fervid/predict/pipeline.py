"""Runs the steps of a prediction in threads: decoding, detection and classification at the same time."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")
R = TypeVar("R")

READING_ERRORS = (ValueError, OSError, MemoryError)  # of a damaged or truncated file


def prefetched(items: Iterator[T], count: int) -> Generator[T]:
    """Yields the same items, computing the next ``count`` of them in a thread; decoding releases the GIL."""
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as thread:
        coming = deque(thread.submit(next, items, None) for _ in range(count))
        try:
            while (item := coming.popleft().result()) is not None:
                coming.append(thread.submit(next, items, None))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
            items.close()  # type: ignore[attr-defined]  # closes the file at once, however the loop ended


def grouped(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yields groups of ``size`` items; at a damaged frame, yields the items before it and raises the error."""
    group: list[T] = []
    try:
        for item in items:
            group.append(item)
            if len(group) == size:
                yield group
                group = []
    except READING_ERRORS:
        yield group
        raise
    yield group


def in_background(work: Callable[[T], R], jobs: Iterator[tuple[K, T]]) -> Iterator[tuple[K, R]]:
    """Yields the results of ``work``, which runs in a thread while the next job is computed.

    Args:
        work: function of the second part of a job.
        jobs: the jobs; a damaged file may end them with an error, which is raised after the results before it.

    Yields:
        The first part of each job, and its result.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="classify") as thread:
        waiting: deque[tuple[K, Future[R]]] = deque()
        try:
            for key, job in jobs:
                waiting.append((key, thread.submit(work, job)))
                if len(waiting) > 1:
                    key, future = waiting.popleft()
                    yield key, future.result()
        except READING_ERRORS:
            for key, future in waiting:
                yield key, future.result()
            raise
        for key, future in waiting:
            yield key, future.result()
