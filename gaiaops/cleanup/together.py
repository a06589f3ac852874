"""Several sessions at once: a thread each, while the main thread waits, hears Ctrl-C and shows how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from gaiaops.postgres.session import Session

Work = Callable[[], None]


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
        for session, _ in works:
            session.cancel()
        for thread in threads:
            thread.join(10)
        raise
