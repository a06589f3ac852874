"""Redis servers of a test's own, and the command line in this process, on a registry that names them."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path

import pytest
import redis

from gaiaops.sandbox import redis_server
from tests.conftest import Run
from tests.forked import in_process

PLATFORM = (files("gaiaops.sandbox") / "platform.toml").read_text(encoding="utf-8")
NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"


_HIGHEST = 55_535  # a cluster's node listens 10,000 above its port too


def free_port() -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port <= _HIGHEST:
            return port


class Server:
    """A running redis-server."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], password: str) -> None:
        self.port = port
        self.process = process
        self.password = password

    @property
    def url(self) -> str:
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    def client(self, db: int = 0) -> redis.Redis:
        return redis.Redis("127.0.0.1", self.port, db=db, password=self.password or None)

    def names(self) -> list[str]:
        """The names of the connections that are open, but for the asker's own."""
        with self.client() as client:
            own = client.client_id()
            return [one["name"] for one in client.client_list() if int(one["id"]) != own]


@contextmanager
def server(folder: Path, *settings: str, password: str = "", ready: bool = True) -> Iterator[Server]:
    """A redis-server with these lines of configuration; it is gone at the end. `ready` waits for PONG."""
    kind, program = redis_server.find()
    assert kind == "redis", "these tests need a real redis-server"
    place = folder / f"redis-{time.monotonic_ns()}"
    place.mkdir()
    for dump in folder.glob("*.rdb"):
        shutil.copy(dump, place / "dump.rdb")
    port = free_port()
    lines = [f"port {port}", "bind 127.0.0.1", 'save ""', f"dir {place}", "daemonize no", *settings]
    lines += [f"requirepass {password}"] if password else []
    config = "\n".join(lines).encode()
    process = subprocess.Popen([program, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(config)
    process.stdin.close()
    here = Server(port, process, password)
    try:
        _wait(here, ready)
        yield here
    finally:
        process.kill()
        process.wait()


def _wait(here: Server, ready: bool) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with suppress(OSError, redis.exceptions.ConnectionError):
            socket.create_connection(("127.0.0.1", here.port), timeout=1).close()
            if ready:
                with here.client() as client:
                    client.ping()
            return
        time.sleep(0.01)
    raise AssertionError("redis-server did not start")


class Cache:
    """`gaiaops cache` in this process; what is set here is the registry."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.file = folder / "environments.toml"

    def register(self, urls: Mapping[str, str | None], *, postgres: str = NOWHERE, platform: str = PLATFORM) -> None:
        """Environments and their Redis; production is protected. Each has a PostgreSQL URL of its own."""
        parts = []
        for number, (name, url) in enumerate(urls.items()):
            place = postgres if number == 0 else f"{NOWHERE}_{name}"
            parts.append(f'[environments.{name}]\npostgres = "{place}"\ntimeouts = {{ connect = "2s" }}')
            parts += [f'redis = "{url}"'] if url is not None else []
            parts += ["protected = true"] if name == "production" else []
        self.file.write_text("\n".join([*parts, platform]), encoding="utf-8")

    def __call__(self, *arguments: str, command: str = "cache") -> Run:
        self._capsys.readouterr()
        words = ["--registry", str(self.file), command, *arguments]
        code = in_process(words)
        shown = self._capsys.readouterr()
        return Run(code, shown.out, shown.err)

    @property
    def trail(self) -> list[dict[str, object]]:
        import json

        file = self.folder / "state" / "gaiaops" / "trail.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@contextmanager
def certificate(folder: Path, *options: str, name: str = "localhost") -> Iterator[tuple[Path, Path]]:
    """A self-signed certificate and its key, by openssl."""
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
         str(key), "-out", str(chain), "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
         *(options or ("-days", "2"))],
        check=True, capture_output=True,
    )  # fmt: skip
    yield chain, key


@contextmanager
def tls_in_front(port: int, chain: Path, key: Path, alpn: Sequence[str] = ()) -> Iterator[int]:
    """A port that takes TLS and hands what comes to another port in clear."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(alpn)
    context.load_cert_chain(chain, key)
    with listening() as listener:
        threading.Thread(target=_serve, args=(listener, context, port), daemon=True).start()
        yield int(listener.getsockname()[1])


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A port that accepts, as its backlog does, and says nothing unless somebody serves it."""
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        yield listener
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _serve(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):
        while True:
            raw, _ = listener.accept()
            threading.Thread(target=_forward, args=(raw, context, port), daemon=True).start()


def _forward(raw: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with (
        suppress(OSError),
        context.wrap_socket(raw, server_side=True) as near,
        socket.create_connection(("127.0.0.1", port)) as far,
    ):
        back = threading.Thread(target=_pump, args=(far, near), daemon=True)
        back.start()
        _pump(near, far)
        back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def answering(text: bytes) -> Iterator[int]:
    """A port whose server answers everything with one text."""
    with listening() as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    one, _ = listener.accept()
                    with one:
                        one.recv(1 << 12)
                        one.sendall(text)

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])


def fill(client: redis.Redis, commands: Sequence[tuple[object, ...]]) -> None:
    with client.pipeline(transaction=False) as batch:
        for command in commands:
            batch.execute_command(*command)
        batch.execute()
