"""Ways to servers that cannot be reached from here: opened when they are needed, shared by one run, closed with it.

Environments without a tunnel are the rule and start-up is a feature, so nothing is imported until there is one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gaiaops.registry.model import Timeouts
    from gaiaops.registry.urls import Url
    from gaiaops.tunnels.run import Place

__all__ = ["Place", "close", "death", "tell", "through"]


def through(url: Url, timeouts: Timeouts) -> AbstractContextManager[Place | None]:
    """Where to connect to for a connection string's server; None where it needs no tunnel.

    A connection that breaks within, or cannot be opened, because the tunnel died says so. The tunnel stays open for the
    next one. Raises ConnectError where it cannot be opened, UsageError where its program is missing.
    """
    if url.tunnel is None:
        return nullcontext()
    from gaiaops.tunnels import run

    return run.through(url, url.tunnel, timeouts)


def death(url: Url) -> str:
    """How the program of an opened tunnel ended, with its last words; "" while it runs, or where there is none."""
    run = sys.modules.get("gaiaops.tunnels.run")
    return "" if run is None or url.tunnel is None else str(run.tunnels.death(url.tunnel, url))


def tell(how: Callable[[str], None]) -> None:
    """Says how to tell of every tunnel that is opened, for `-v`."""
    from gaiaops.tunnels import run

    run.tunnels.tell = how


def close() -> None:
    """Closes all that were opened; from now on nothing is. A second Ctrl-C leaves the rest to the guards."""
    run = sys.modules.get("gaiaops.tunnels.run")
    if run is not None:
        run.tunnels.close()
