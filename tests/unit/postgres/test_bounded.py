"""Every wait of a connection has an end, and what psycopg takes for granted is no bug of ours."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from gaiaops.errors import NoAnswerError
from gaiaops.postgres import bounded, failures
from gaiaops.postgres.bounded import Connection


class Silent:
    """As much of a server as a connection needs that is never answered (manual 54.2.1)."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._near: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        near, _ = self._listening.accept()
        self._near.append(near)
        near.recv(8192)
        near.sendall(b"R\x00\x00\x00\x08\x00\x00\x00\x00" + b"Z\x00\x00\x00\x05I")

    def close(self) -> None:
        for each in (*self._near, self._listening):
            each.close()


@pytest.fixture
def connection() -> Iterator[Connection]:
    server = Silent()
    found = Connection.connect(f"host=127.0.0.1 port={server.port} sslmode=disable gssencmode=disable", autocommit=True)
    found.statement_ms, found.address = 100, "db:5432"
    yield found
    found.close()
    server.close()


def test_silence_has_an_end(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "GRACE_MS", 100)
    with pytest.raises(NoAnswerError, match=r"no answer from the server after 100ms \(db:5432\)"):
        connection.execute("SELECT 1")


def test_nothing_more_is_waited_for_after_silence(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a COPY would wait as long again."""
    monkeypatch.setattr(bounded, "GRACE_MS", 100)
    with pytest.raises(NoAnswerError):
        connection.execute("SELECT 1")
    monkeypatch.setattr(bounded, "GRACE_MS", 60_000)
    began = time.monotonic()
    with pytest.raises(NoAnswerError):
        connection.wait(psycopg.generators.fetch(connection.pgconn))
    assert time.monotonic() - began < 30


def test_two_results_where_psycopg_takes_one_are_a_lost_server(connection: Connection) -> None:
    def end() -> Iterator[int]:
        connection.pgconn.finish()
        (_,) = [1, 2]
        yield 0

    with pytest.raises(psycopg.OperationalError):
        connection.wait(end())  # type: ignore[arg-type]


def test_the_grace_is_the_same_everywhere() -> None:
    assert bounded.GRACE_MS == failures.GRACE_MS
