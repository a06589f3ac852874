"""Connections to the database: a handful, kept open, replaced when they are lost."""

from __future__ import annotations

import functools
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.types.string import TextLoader

Connection = psycopg.Connection[tuple[object, ...]]
Statement = sql.SQL | sql.Composed

MAX_CONNECTIONS = 10
_QUERIES = Path(__file__).with_name("queries")


class _InstantLoader(Loader):
    """A timestamptz as the API writes it. PostgreSQL's text in UTC is RFC 3339 but for two characters."""

    def load(self, data: Buffer) -> str:
        text = bytes(data).decode()
        return text.removesuffix("+00").replace(" ", "T", 1) + "Z"


class _RawJsonLoader(Loader):
    """A jsonb handed on as it is; nobody between PostgreSQL and the client reads it."""

    def load(self, data: Buffer) -> msgspec.Raw:
        return msgspec.Raw(bytes(data))


class Database:
    """A small pool. The server's handlers run in threads; each takes a connection for one request."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection in autocommit; a change opens its own transaction on it."""
        with self._slots:
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)

    def close(self) -> None:
        """Close every connection and cancel what still runs, so that the process can end at once."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for connection in idle:
            connection.close()
        for connection in busy:
            connection.cancel_safe(timeout=1.0)

    def _take(self) -> Connection:
        with self._lock:
            if self._closed:
                raise psycopg.OperationalError("the server is stopping")
            while self._idle:
                connection = self._idle.pop()
                if _is_alive(connection):
                    self._busy.add(connection)
                    return connection
                connection.close()
        connection = self._open()
        with self._lock:
            self._busy.add(connection)
        return connection

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            self._busy.discard(connection)
            status = connection.info.transaction_status
            usable = status == psycopg.pq.TransactionStatus.IDLE and not self._closed
            if usable:
                self._idle.append(connection)
        if not usable:
            connection.close()

    def _open(self) -> Connection:
        # UTC makes the text of a timestamptz end in +00, which _InstantLoader relies on. Statements are never
        # prepared, so each is planned with its own values.
        connection = psycopg.connect(self._dsn, autocommit=True, prepare_threshold=None, connect_timeout=5)
        connection.execute("SET TimeZone = 'UTC'")
        connection.adapters.register_loader("timestamptz", _InstantLoader)
        connection.adapters.register_loader("jsonb", _RawJsonLoader)
        connection.adapters.register_loader("uuid", TextLoader)
        return connection


@functools.cache
def query(name: str) -> sql.SQL:
    """A statement from queries/*.sql. They are part of the program, so as good as literals."""
    return sql.SQL((_QUERIES / f"{name}.sql").read_text("utf-8"))


def _is_alive(connection: Connection) -> bool:
    """An idle connection has nothing to read; a lost one has the server's last words, or the end."""
    if connection.closed:
        return False
    return not select.select([connection.fileno()], [], [], 0)[0]
