"""A way to a server that goes wrong as told: a small TCP proxy of the tests' own, and its faults as values.

All proxies of a test process live in one thread with one event loop, so that a fault strikes at an exact byte.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")

_CHUNK = 1 << 16


class To(Enum):
    """Which way bytes go."""

    CLIENT = "to client"
    SERVER = "to server"


@dataclass(frozen=True)
class Fault:
    """What strikes when so many bytes have gone one way, over all connections of the proxy; `again` lets the
    connections that come later through."""

    after: int = 0
    way: To = To.CLIENT
    again: bool = False

    def __str__(self) -> str:
        return f"{type(self).__name__} after {self.after} bytes {self.way.value}"


class Cut(Fault):
    """Everything is closed in good order (FIN both ways), and so is what comes later."""


class Reset(Fault):
    """Everything is closed by RST, and so is what comes later."""


class HalfClose(Fault):
    """Whom the bytes went to hears the end (FIN), on every connection; the other way stays open."""


class Stall(Fault):
    """Nothing goes either way any more, and nothing is closed; who comes later is accepted and hears nothing."""


@dataclass(frozen=True)
class Slow:
    """Every answer comes so many seconds late; or goes, both ways, `piece` bytes at a time."""

    seconds: float = 0.0
    piece: int = _CHUNK


def latency(milliseconds: int) -> Slow:
    return Slow(milliseconds / 1000)


DRIBBLE = Slow(piece=1)


class Proxy:
    """A port that leads to a server, through a fault where one is set. Made by `Network.proxy`."""

    def __init__(self, network: Network, server: tuple[str, int], fault: Fault | Slow | None) -> None:
        self._network = network
        self._server = server
        self._fault = fault
        self._writers: dict[asyncio.StreamWriter, To] = {}
        self._struck = False
        self.passed = dict.fromkeys(To, 0)
        self.local_ports: set[int] = set()  # by which the server knows the connections

    async def open(self) -> None:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK)
        self.port = int(self._listening.sockets[0].getsockname()[1])

    def meet(self, fault: Fault | Slow | None) -> None:
        """Another fault from now on, counted anew."""

        async def change() -> None:
            self._fault, self._struck = fault, False
            self.passed = dict.fromkeys(To, 0)

        self._network.run(change())

    @property
    def struck(self) -> bool:
        return self._struck

    def close(self) -> None:
        """The port and every connection are gone: whoever still waits hears of it."""

        async def end() -> None:
            self._listening.close()
            self._struck, self._fault = True, Cut()
            for writer in list(self._writers):
                writer.transport.abort()

        self._network.run(end())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers[writer] = To.CLIENT
        if self._fault_is_due(To.CLIENT, 0):  # nothing at all is let through
            self._strike()
        if self._struck and not self._lets_again():
            if isinstance(self._fault, Cut | HalfClose):
                writer.close()
            elif isinstance(self._fault, Reset):
                _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._server, limit=_CHUNK)
        except OSError:
            writer.close()
            return
        self._writers[far_writer] = To.SERVER
        self.local_ports.add(far_writer.get_extra_info("sockname")[1])
        ways = (self._pass(reader, far_writer, To.SERVER), self._pass(far_reader, writer, To.CLIENT))
        await asyncio.gather(*ways)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: To) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._hand_on(data, writer, way)
        if not self._stalls():
            with suppress(OSError, RuntimeError):
                if writer.can_write_eof():
                    writer.write_eof()

    async def _hand_on(self, data: bytes, writer: asyncio.StreamWriter, way: To) -> None:
        fault = self._fault
        if isinstance(fault, Slow):
            if way is To.CLIENT and fault.seconds:
                await asyncio.sleep(fault.seconds)
            for start in range(0, len(data), fault.piece):
                writer.write(data[start : start + fault.piece])
                await writer.drain()
        elif isinstance(fault, Fault) and not self._lets_again():
            if self._struck:
                if not isinstance(fault, HalfClose) or fault.way is way:
                    return
            elif fault.way is way and self.passed[way] + len(data) >= fault.after:
                data = data[: fault.after - self.passed[way]]
                self.passed[way] += len(data)
                writer.write(data)
                with suppress(OSError):
                    await asyncio.wait_for(writer.drain(), 5)
                self._strike()
                return
            writer.write(data)
            await writer.drain()
        else:
            writer.write(data)
            await writer.drain()
        self.passed[way] += len(data)

    def _fault_is_due(self, way: To, passed: int) -> bool:
        return isinstance(self._fault, Fault) and self._fault.way is way and self._fault.after <= passed

    def _lets_again(self) -> bool:
        return self._struck and isinstance(self._fault, Fault) and self._fault.again

    def _stalls(self) -> bool:
        return self._struck and isinstance(self._fault, Stall) and not self._fault.again

    def _strike(self) -> None:
        """The fault happens, to every connection there is."""
        fault, self._struck = self._fault, True
        for writer, way in list(self._writers.items()):
            with suppress(OSError, RuntimeError):
                if isinstance(fault, Reset):
                    _reset(writer)
                elif isinstance(fault, Cut):
                    writer.close()
                elif isinstance(fault, HalfClose) and fault.way is way:
                    writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Closes by RST (SO_LINGER with no time, socket(7))."""
    end: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Network:
    """The thread that all proxies live in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._proxies: list[Proxy] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    @contextmanager
    def proxy(self, host: str, port: int, fault: Fault | Slow | None = None) -> Iterator[Proxy]:
        """A new way to a server, gone at the end with everything on it."""
        made = Proxy(self, (host, port), fault)
        self.run(made.open())
        try:
            yield made
        finally:
            made.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


@contextmanager
def network() -> Iterator[Network]:
    made = Network()
    try:
        yield made
    finally:
        made.close()
