"""One thread for each server: results as they come, or all of them when the last one has ended. Pure of drivers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def as_completed(items: Sequence[T], work: Callable[[T], R]) -> Iterator[R]:
    """Results of `work` on every item, one thread each, as they come; an exception is raised here."""
    done: queue.Queue[R | BaseException] = queue.Queue()

    def run(item: T) -> None:
        try:
            done.put(work(item))
        except BaseException as error:
            done.put(error)

    for item in items:
        threading.Thread(target=run, args=(item,), daemon=True).start()
    for _ in items:
        result = done.get()
        if isinstance(result, BaseException):
            raise result
        yield result


def each(items: Sequence[T], work: Callable[[T], None]) -> None:
    """`work` on every item, one thread each; the first exception is raised when all have ended."""
    failures: list[BaseException] = []

    def run(item: T) -> None:
        try:
            work(item)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(item,), daemon=True) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
