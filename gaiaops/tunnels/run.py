"""The tunnels of this run: opened when they are needed, one for all connections that go the same way.

They belong to the process, as its standard streams do: whichever thread comes first opens one, and the end of the run
closes all (see cli/base.py; should it not, the guards of their programs do).
"""

from __future__ import annotations

import copy
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

import msgspec

from gaiaops.errors import ConnectError, GaiaopsError, LostServerError
from gaiaops.registry.model import Timeouts
from gaiaops.registry.tunnels import Tunnel
from gaiaops.registry.urls import Url
from gaiaops.tunnels import programs
from gaiaops.tunnels.child import Child
from gaiaops.tunnels.opening import Opener, Way

_NOTICED_S = 0.5  # a connection breaks a moment before its program is seen to have ended …
_REFUSED_S = 0.05  # … but a wrong password is no reason to wait


class Place(msgspec.Struct, frozen=True):
    """Where to connect to, instead of the connection string's host and port."""

    host: str
    port: int


_Key = tuple[Tunnel, tuple[str, int], str]


class Tunnels:
    """What is open, and who is opening."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ways: dict[_Key, Future[Way]] = {}
        self._children: list[Child] = []
        self._closed = False
        self.tell: Callable[[str], None] = lambda _: None

    def way(self, tunnel: Tunnel, url: Url, connect_ms: int) -> Way:
        """The open tunnel; who comes second waits for the first. Raises the opening's errors."""
        key = _key(tunnel, url)
        fresh: Future[Way] = Future()
        with self._lock:
            known = self._ways.get(key)
            found = fresh if known is None or _is_of_no_use(known) else known
            self._ways[key] = found
        if found is fresh:
            self._open(fresh, tunnel, url, connect_ms)
        try:
            return found.result()
        except GaiaopsError as error:
            raise copy.copy(error) from None  # each thread puts its own environment's name on it

    def _open(self, future: Future[Way], tunnel: Tunnel, url: Url, connect_ms: int) -> None:
        began = time.monotonic()
        try:
            way = Opener(tunnel, url, connect_ms, self._keep).open()
        except Exception as error:
            future.set_exception(error)
            return
        except BaseException:
            future.set_exception(ConnectError(f"interrupted while the tunnel was opened ({url.address})"))
            raise
        future.set_result(way)
        self.tell(f"tunnel to {url.server} open after {time.monotonic() - began:.1f}s: {shlex.join(way.words)}")

    def _keep(self, child: Child) -> None:
        with self._lock:
            for gone in [one for one in self._children if one.ended()]:
                gone.stop()
                self._children.remove(gone)
            self._children.append(child)
            closed = self._closed
        if closed:
            child.stop()

    def forget(self, way: Way) -> None:
        """The next connection opens it anew."""
        with self._lock:
            self._ways = {key: one for key, one in self._ways.items() if not _leads(one, way)}
        if way.child is not None:
            way.child.stop()

    def death(self, tunnel: Tunnel, url: Url) -> str:
        """How the tunnel's program ended; "" while it runs."""
        with self._lock:
            known = self._ways.get(_key(tunnel, url))
        if known is None or not known.done() or known.exception() is not None or not known.result().dead():
            return ""
        return known.result().last_words()

    def close(self) -> None:
        """Ends them all; a second Ctrl-C leaves the rest to the guards."""
        with suppress(KeyboardInterrupt), self._lock:
            self._closed = True
            for child in self._children:  # all are asked before the first is waited for
                child.ask_to_end()
            for child in self._children:
                child.stop()


def _key(tunnel: Tunnel, url: Url) -> _Key:
    return tunnel, programs.target(url), url.scheme + url.path * (url.scheme == "unix")


def _is_of_no_use(future: Future[Way]) -> bool:
    return future.done() and (future.exception() is not None or future.result().dead())


def _leads(future: Future[Way], way: Way) -> bool:
    return future.done() and future.exception() is None and future.result() is way


tunnels = Tunnels()


@contextmanager
def through(url: Url, tunnel: Tunnel, timeouts: Timeouts) -> Iterator[Place]:
    """See the package."""
    way = tunnels.way(tunnel, url, timeouts.connect)
    try:
        yield Place(*way.address)
    except (LostServerError, ConnectError) as error:
        if way.dead(within=_NOTICED_S if isinstance(error, LostServerError) else _REFUSED_S):
            error.message += f"; the tunnel died: {way.last_words()}"
            tunnels.forget(way)
        elif way.child is None and isinstance(error, ConnectError):
            tunnels.forget(way)  # a container that was started anew publishes another port
        raise
