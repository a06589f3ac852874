"""Several sessions at once: a thread each, while the main thread waits, hears Ctrl-C and shows how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from gaiaops.postgres.session import Session

Work = Callable[[], None]
_FAREWELL_S, _AGAIN_S = 10.0, 0.5


def run(works: Sequence[tuple[Session, Work]], tick: Callable[[], None], abort: Callable[[], None]) -> None:
    """Runs each work, which keeps its errors to itself, and calls `tick` until all have ended.

    What interrupts the main thread (the second Ctrl-C) is raised again after `abort`, with what runs cancelled.
    """
    threads = [threading.Thread(target=work, daemon=True) for _, work in works]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(0.05)
            tick()
    except BaseException:
        abort()
        _end([(session, thread) for (session, _), thread in zip(works, threads, strict=True)])
        raise


def _end(running: Sequence[tuple[Session, threading.Thread]]) -> None:
    """Cancels what runs until all have ended, for a bounded time: a cancel request that comes between two statements
    hits neither."""
    end = time.monotonic() + _FAREWELL_S
    while time.monotonic() < end and any(thread.is_alive() for _, thread in running):
        for session, thread in running:
            if thread.is_alive():
                session.cancel()
                thread.join(_AGAIN_S)
