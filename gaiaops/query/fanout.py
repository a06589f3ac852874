"""Several databases at once: one worker each, events as they answer, nobody waits for the slowest."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from gaiaops.errors import GaiaopsError
from gaiaops.postgres.stream import Block
from gaiaops.postgres.wire import Column, Wire
from gaiaops.query import run
from gaiaops.query.statements import Script
from gaiaops.registry.model import Environment

_BLOCKS_AHEAD = 8  # bounds memory: a worker waits until the writer has caught up
_FAREWELL_S = 5.0  # what cancelling may take at the end


@dataclass(frozen=True)
class Started:
    """A result begins; `columns` is None for a statement without rows."""

    env: Environment
    index: int
    columns: tuple[Column, ...] | None
    warning: str = ""


@dataclass(frozen=True)
class Rows:
    """A block of a result's rows."""

    env: Environment
    block: Block


@dataclass(frozen=True)
class Ended:
    """A result is complete."""

    env: Environment
    tag: str
    more: bool


@dataclass(frozen=True)
class Finished:
    """An environment is through, with or without an error."""

    env: Environment
    error: Exception | None


Event = Started | Rows | Ended | Finished


def read_all(
    environments: Sequence[Environment],
    script: Script,
    wire: Wire,
    statement_ms: int | None,
    choose: Callable[[Environment], Environment] = lambda env: env,
) -> Generator[Event, None, None]:
    """Events of all environments or shards, as they come. Closing the iterator cancels what still runs.

    `choose` gives each environment as it is to be read, from its own thread: it may have to ask.
    """
    events: queue.Queue[Event] = queue.Queue(_BLOCKS_AHEAD)
    stop = threading.Event()
    running: dict[str, run.Reading] = {}

    def put(event: Event) -> None:
        while not stop.is_set():
            try:
                return events.put(event, timeout=0.2)
            except queue.Full:
                continue
        raise _StoppedError("stopped")

    def work(env: Environment) -> None:
        error: Exception | None = None
        try:
            with run.read(choose(env), script, wire, statement_ms) as reading:
                running[env.name] = reading
                for index, result in enumerate(reading.results):
                    put(Started(env, index, result.columns, reading.warning if index == 0 else ""))
                    for block in result.blocks:
                        put(Rows(env, block))
                    put(Ended(env, result.tag, result.more))
        except _StoppedError:
            return
        except Exception as caught:
            error = caught
        finally:
            running.pop(env.name, None)
        try:
            put(Finished(env, error))
        except _StoppedError:
            return

    workers = [threading.Thread(target=work, args=(env,), daemon=True, name=env.name) for env in environments]
    for worker in workers:
        worker.start()
    left = len(workers)
    try:
        while left:
            event = events.get()
            left -= isinstance(event, Finished)
            yield event
    finally:
        stop.set()
        _cancel(list(running.values()), [worker for worker in workers if worker.name in running])


def _cancel(readings: Sequence[run.Reading], workers: Sequence[threading.Thread]) -> None:
    """Cancels on all servers at once and waits, for a bounded time, until the workers have rolled back."""
    cancels = [threading.Thread(target=reading.cancel, daemon=True) for reading in readings]
    for thread in cancels:
        thread.start()
    end = time.monotonic() + _FAREWELL_S
    for thread in (*cancels, *workers):
        thread.join(max(0.0, end - time.monotonic()))


class _StoppedError(GaiaopsError):
    """The reader has gone; the worker rolls back and ends."""
