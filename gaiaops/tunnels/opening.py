"""Opens one tunnel: starts its program, waits until the server itself answers, and says why where it does not."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence

from gaiaops.errors import ConnectError, UsageError
from gaiaops.registry.durations import show_duration
from gaiaops.registry.tunnels import Docker, Program, Tunnel
from gaiaops.registry.urls import Url
from gaiaops.tunnels import handshake, listener, programs
from gaiaops.tunnels.child import Child, finished

_PORTS = 5  # how often another port is tried
_FIRST_ATTEMPT_S, _LONGEST_ATTEMPT_S = 0.5, 5.0  # one handshake; each that is met by silence doubles it
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.25

_LONGEST_LINE = 300
_ENDED = "it ended"
_GAVE_UP = "the server cannot be reached from the other end"

Keep = Callable[[Child], None]


class Way:
    """An open tunnel: an address on this machine, and the program behind it (Docker has none)."""

    def __init__(self, url: Url, address: tuple[str, int], child: Child | None, words: Sequence[str]) -> None:
        self.url = url
        self.address = address
        self.child = child
        self.words = words  # the command, for people

    def dead(self, within: float = 0.0) -> bool:
        """Whether its program has ended, be it within so many seconds."""
        return self.child is not None and self.child.ended(within)

    def last_words(self) -> str:
        """How its program ended, with what it said, on one line."""
        return "" if self.child is None else _last_words(self.words, self.child)


class Opener:
    """One attempt. `keep` hears of every child before it is used, so that somebody ends it whatever happens.

    Raises UsageError where the program is not on this machine.
    """

    def __init__(self, tunnel: Tunnel, url: Url, connect_ms: int, keep: Keep) -> None:
        self._tunnel = tunnel
        self._url = url
        self._ready_ms = tunnel.patience(connect_ms)
        self._keep = keep
        self._deadline = time.monotonic() + self._ready_ms / 1000
        self._program = self._find()
        self._words: list[str] = []

    def open(self) -> Way:
        """The open tunnel. Raises ConnectError where it does not come up in time."""
        if isinstance(self._tunnel, Docker):
            return self._published()
        for _ in range(_PORTS):
            way = self._try(listener.free_port())
            if way is not None:
                return way
        raise self._failed("every local port that was tried was taken by another program", [])

    def _find(self) -> str:
        wanted = programs.names(self._tunnel)
        found = next(filter(None, map(shutil.which, wanted)), None)
        if found is None:
            raise UsageError(
                f"{wanted[0]} is not on PATH: the tunnel to {self._url.server} needs it",
                hint=programs.install_hint(self._tunnel),
            )
        return found

    def _start(self, port: int) -> Child:
        arguments = programs.arguments(self._tunnel, self._url, port)
        self._words = programs.shown(self._tunnel, self._url, port)
        # No window may ask for a passphrase: nobody waits for it.
        variables: Mapping[str, str] = {**os.environ, "SSH_ASKPASS_REQUIRE": "never"}
        try:
            child = Child([self._program, *arguments], variables)
        except OSError as error:
            raise self._failed(error.strerror or str(error), []) from None
        self._keep(child)
        return child

    def _try(self, port: int) -> Way | None:
        """One port; None where it was taken in the meantime."""
        child = self._start(port)
        try:
            why = self._wait(("127.0.0.1", port), child)
            # Of another program it is not known whether it listens itself (docker run does not).
            certain = not isinstance(self._tunnel, Program)
            if not why and not (certain and listener.is_strangers(port, child.session)):
                return Way(self._url, ("127.0.0.1", port), child, self._words)
            if not why or (child.ended() and programs.port_was_taken(child.said(whole=True))):
                child.stop()
                return None
        except BaseException:
            child.stop()
            raise
        child.stop()
        raise self._failed(why, child.said(whole=True))

    def _published(self) -> Way:
        """Docker says where the port is; there is no program to keep."""
        child = self._start(0)
        try:
            in_time = finished(child, self._deadline)
            said, status = child.said(whole=in_time), child.status
        finally:
            child.stop()
        if not in_time:
            raise self._failed(self._too_late("it did not end"), said)
        if status:
            raise self._failed(_ending(status), said)
        address = programs.published(said, os.environ.get("DOCKER_HOST", ""))
        if address is None:
            raise self._failed(f"the container publishes no port {programs.target(self._url)[1]}", said)
        why = self._wait(address, None)
        if why:
            raise self._failed(why, [])
        return Way(self._url, address, None, self._words)

    def _wait(self, place: tuple[str, int], child: Child | None) -> str:
        """Why the server does not answer; "" as soon as it does."""
        pause, patience, why = _FIRST_PAUSE_S, _FIRST_ATTEMPT_S, ""
        while (left := self._deadline - time.monotonic()) > 0:
            if child is not None and child.ended():
                return _ending(child.status)
            why = handshake.failure(self._url, place, min(left, patience))
            if not why:
                return _ending(child.status) if child is not None and child.ended() else ""
            if child is not None and programs.gives_up(self._tunnel, child.said()):
                return _GAVE_UP
            if why.startswith(handshake.ANOTHER):
                return why
            if why == handshake.SILENCE:
                patience = min(patience * 2, _LONGEST_ATTEMPT_S)
                continue
            time.sleep(min(pause, max(0.0, self._deadline - time.monotonic())))
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)
        return self._too_late(why)

    def _too_late(self, why: str) -> str:
        return f"not ready within {show_duration(self._ready_ms)}: {why or 'no answer'}"

    def _failed(self, why: str, said: Sequence[str]) -> ConnectError:
        """The error; what the program said goes before what we noticed."""
        name = self._words[0]
        line = programs.telling(said, ended=why.startswith(_ENDED)).removeprefix(f"{name}: ")[:_LONGEST_LINE]
        shown = f"({self._url.server} through {self._tunnel.label})"
        more = "\n".join(f"  {name}: {one[:_LONGEST_LINE]}" for one in said[-5:]) if len(said) > 1 else ""
        by_hand = shlex.join(self._words)
        if line:
            why = line if why.startswith((_ENDED, _GAVE_UP)) else f"{why}; {line}"
        return ConnectError(
            f"tunnel failed: {name}: {why} {shown}",
            detail=more,
            hint=programs.hint(self._tunnel, self._url, [*said, why], by_hand),
        )


def _ending(status: int | None) -> str:
    if status is None:
        return _ENDED
    return f"{_ENDED} by signal {-status}" if status < 0 else f"{_ENDED} with exit status {status}"


def _last_words(words: Sequence[str], child: Child) -> str:
    line = programs.telling(child.said(whole=True))
    ending = f"{words[0]} {_ending(child.status).removeprefix('it ')}"
    return f"{ending}: {line}" if line else ending
