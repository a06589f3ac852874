"""Several requests in flight."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_flight(items: Iterable[Item], work: Callable[[Item], Result], width: int) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, as they are done, `width` at a time; an exception of `work` is raised here.

    The threads are daemons: whoever leaves early does not wait for answers that nobody wants any more.
    """
    todo = deque(items)
    done: queue.SimpleQueue[tuple[Item, Result] | BaseException] = queue.SimpleQueue()

    def fly() -> None:
        while True:
            try:
                item = todo.popleft()
            except IndexError:
                return
            try:
                done.put((item, work(item)))
            except BaseException as error:
                done.put(error)

    count = len(todo)
    for _ in range(min(width, count)):
        threading.Thread(target=fly, daemon=True).start()
    try:
        for _ in range(count):
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        todo.clear()
