"""A connection with one transaction on it: read-only under the guard, or writing until commit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from gaiaops.errors import RefusedError
from gaiaops.postgres import guard
from gaiaops.postgres.connect import connect
from gaiaops.postgres.stream import Exchange, Request, Result
from gaiaops.registry.model import Environment, Timeouts
from gaiaops.registry.urls import Url

if TYPE_CHECKING:
    import psycopg


class Session:
    """Runs statements one by one in the open transaction."""

    def __init__(self, connection: psycopg.Connection, timeouts: Timeouts) -> None:
        self.connection = connection
        self.exchange = Exchange(connection.pgconn, timeouts.statement)

    @property
    def superuser(self) -> bool:
        """Whether the role is a superuser (the server reports it on its own: manual 54.2.7)."""
        return self.connection.pgconn.parameter_status(b"is_superuser") == b"on"

    @property
    def role(self) -> str:
        return (self.connection.pgconn.parameter_status(b"session_authorization") or b"").decode()

    def run(self, request: Request) -> Result:
        """Starts a statement; see Exchange.run. Raises RefusedError where the transaction is gone."""
        self._check_open("")
        result = self.exchange.run(request)
        if result.columns is None:
            self._check_open(result.tag)
        return result

    def _check_open(self, tag: str) -> None:
        """The second lock on the door: whatever ended the transaction, nothing runs after it."""
        from psycopg.pq import TransactionStatus

        open_states = (TransactionStatus.INTRANS, TransactionStatus.ACTIVE)
        if tag in guard.ENDING_TAGS or self.connection.pgconn.transaction_status not in open_states:
            self.connection.close()
            raise RefusedError("refused: a statement ended the transaction; nothing more was run")


@contextmanager
def reading(url: Url, timeouts: Timeouts, command: str) -> Iterator[Session]:
    """A guarded read-only transaction with its snapshot taken, rolled back at the end."""
    with connect(url, timeouts, command) as connection, _cancelled_on_exit(connection):
        session = Session(connection, timeouts)
        session.exchange.command(guard.begin_read_sql(timeouts))
        yield session
        session.exchange.command("ROLLBACK")


@contextmanager
def writing(url: Url, timeouts: Timeouts, command: str) -> Iterator[Session]:
    """One writing transaction; rolled back unless the caller commits."""
    with connect(url, timeouts, command) as connection, _cancelled_on_exit(connection):
        session = Session(connection, timeouts)
        session.exchange.command(guard.begin_write_sql(timeouts))
        yield session


@contextmanager
def _cancelled_on_exit(connection: psycopg.Connection) -> Iterator[None]:
    """Whatever ends the block early, Ctrl-C or a closed pipe, also ends the statement on the server.

    The cancel request is a connection of its own and bounded; closing the connection alone would leave the
    server working until it next writes.
    """
    from psycopg.pq import TransactionStatus

    try:
        yield
    except BaseException:
        if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
            with suppress(Exception):
                connection.cancel_safe(timeout=3)
        connection.close()
        raise


def environment_timeouts(env: Environment, statement_ms: int | None) -> Timeouts:
    """The environment's bounds, with `--timeout` in place of its statement timeout."""
    return env.timeouts if statement_ms is None else replace(env.timeouts, statement=statement_ms)
