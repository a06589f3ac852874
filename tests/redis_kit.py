"""Redis servers of a test's own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from gaiaops.sandbox import redis_server


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def redis_process(folder: Path, *lines: str) -> Iterator[redis.Redis]:
    """A server on loopback with more lines in its configuration; gives a client of its first user."""
    kind, program = redis_server.find()
    assert kind == "redis", "these tests need a real Redis"
    port = free_port()
    settings = (f"port {port}", "bind 127.0.0.1", f'dir "{folder}"', 'save ""', "appendonly no", *lines)
    child = subprocess.Popen([program, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert child.stdin is not None
    child.stdin.write("\n".join(settings).encode())
    child.stdin.close()
    try:
        with redis.Redis("127.0.0.1", port) as client:
            _wait(client)
            yield client
    finally:
        child.kill()
        child.wait()


def _wait(client: redis.Redis) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)
        except redis.ResponseError:  # it asks for a password, or is loading
            return
        else:
            return


def url_of(client: redis.Redis, login: str = "") -> str:
    return f"redis://{login}127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"
