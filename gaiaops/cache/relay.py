"""A socket of this machine's behind which a shell finds a Redis: we log in, verify TLS and go through the tunnel, so
the shell is given no secret and needs no way of its own, and in a read-only shell what could change data stops here.
"""

from __future__ import annotations

import select
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaiaops.cache.connect import connect
from gaiaops.cache.read_only import Gate, NotACommandError
from gaiaops.errors import UsageError
from gaiaops.registry.model import Timeouts
from gaiaops.registry.urls import Url

if TYPE_CHECKING:
    from redis import Redis

_CHUNK = 1 << 16
_MALFORMED = b"-ERR Protocol error: a command must be an array of bulk strings\r\n"


@contextmanager
def relay(url: Url, timeouts: Timeouts, name: str, refusal: str) -> Iterator[Path]:
    """A Unix socket called `name`, in a folder that only this user can enter; each of its connections is one to the
    Redis of `url`. With a `refusal` only commands that read get through, and it is said of the others.

    Raises ConnectError and DeadlineError where the Redis cannot be reached or lets nobody in, UsageError where there is
    no place for the socket.
    """
    with connect(url, timeouts) as client, tempfile.TemporaryDirectory(prefix="gaiaops-redis-") as folder:
        client.ping()
        path = Path(folder) / name
        with socket.socket(socket.AF_UNIX) as listening:
            try:
                listening.bind(str(path))
            except OSError as error:
                raise UsageError(
                    f"cannot make a socket at {path}: {error}", hint="set TMPDIR to a short folder"
                ) from None
            listening.listen()
            threading.Thread(target=_accept, args=(listening, client, refusal), daemon=True).start()
            try:
                yield path
            finally:
                with suppress(OSError):  # not every system wakes who accepts
                    listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, client: Redis, refusal: str) -> None:
    with suppress(OSError):  # it was closed
        while True:
            shell, _ = listening.accept()
            threading.Thread(target=_serve, args=(shell, client, refusal), daemon=True).start()


def _serve(shell: socket.socket, client: Redis, refusal: str) -> None:
    """One connection of a shell's, until either end closes it."""
    import redis

    with shell:
        try:
            connection: Any = client.connection_pool.get_connection()
        except redis.RedisError as error:
            reason = " ".join(str(error).split())  # redis-py names the server in it, and no secret
            with suppress(OSError):
                shell.sendall(f"-ERR {reason}\r\n".encode())
            return
        try:
            server = connection._sock  # as in lane.py
            with suppress(OSError):
                _carry(shell, server, (lambda data: (data, b"")) if not refusal else Gate(refusal).feed)
        finally:
            connection.disconnect()


def _carry(shell: socket.socket, server: socket.socket, judged: Callable[[bytes], tuple[bytes, bytes]]) -> None:
    """Carries commands one way and answers the other. By one thread: a TLS socket is not for two."""
    while True:
        ready, _, _ = select.select([shell, server], [], [])
        if server in ready and not _answers(shell, server):
            return
        if shell in ready:
            data = shell.recv(_CHUNK)
            if not data:
                return
            try:
                passed, said = judged(data)
            except NotACommandError:
                shell.sendall(_MALFORMED)
                return
            server.settimeout(None)  # BLPOP and SUBSCRIBE wait for as long as they like
            server.sendall(passed)
            shell.sendall(said)


def _answers(shell: socket.socket, server: socket.socket) -> bool:
    """Hands over what the server has said; False where it has closed."""
    import ssl

    server.settimeout(0)  # a TLS record may hold nothing for us, or be on its way
    try:
        while data := server.recv(_CHUNK):
            shell.sendall(data)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    return False
