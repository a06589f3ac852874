"""A connection with one transaction on it: read-only under the guard, or writing until commit."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

import msgspec

from gaiaops.errors import LostServerError, RefusedError, StatementError
from gaiaops.postgres import guard
from gaiaops.postgres.connect import connect
from gaiaops.postgres.failures import lost_connection, statement_failure
from gaiaops.postgres.features import COCKROACHDB, announced, missing, without
from gaiaops.postgres.opening import Opening, opened
from gaiaops.postgres.stream import Block, Exchange, Result
from gaiaops.postgres.wrap import Request
from gaiaops.registry.model import Environment, Timeouts
from gaiaops.registry.urls import Url

if TYPE_CHECKING:
    import psycopg

    from gaiaops.postgres.bounded import Connection


# What is behind a connection: system identifier and database; and the server's start, which a copy of a volume has of
# its own.
IDENTITY: LiteralString = "SELECT (SELECT system_identifier::text FROM pg_control_system()), current_database()::text"
WHO: LiteralString = f"{IDENTITY}, pg_postmaster_start_time()::text"
_CLUSTER: LiteralString = "SELECT crdb_internal.cluster_id()::text, current_database()::text"
# A schema change would commit the transaction before it runs (CockroachDB, session variables).
_NO_AUTOCOMMIT: LiteralString = (
    "SELECT set_config(name, 'off', false) FROM pg_settings WHERE name = 'autocommit_before_ddl'"
)


class Session:
    """Runs statements one by one in the open transaction.

    `pooled` where nothing may be kept from one transaction to the next: a transaction pooler may give each another
    session of the server, and what was left in one to somebody else. `server` is who answers, `isolation` what it
    calls the first transaction's level.
    """

    def __init__(self, connection: Connection, timeouts: Timeouts, opening: Opening | None = None) -> None:
        self.connection = connection
        self.pooled = opening is not None and opening.pooled
        self.server = opening.server if opening else announced(connection.pgconn.parameter_status)
        self.isolation = opening.isolation if opening else ""
        self.use(timeouts)

    def use(self, timeouts: Timeouts) -> None:
        """Other bounds from the next transaction on."""
        self.timeouts = timeouts
        self.connection.statement_ms = timeouts.statement
        self.exchange = Exchange(self.connection.pgconn, timeouts.statement, address=self.connection.address)

    @property
    def superuser(self) -> bool:
        """Whether the role is a superuser."""
        return self._reported("is_superuser") == "on"

    @property
    def role(self) -> str:
        return self._reported("session_authorization")

    def _reported(self, name: str) -> str:
        """A setting that the server reports on its own (manual 54.2.7). A pooler may leave it out, or repeat what was
        so when its first client came: then it is asked for."""
        status = None if self.pooled else self.connection.pgconn.parameter_status(name.encode())
        if status is not None:
            return status.decode()
        return str(self.fetch("SELECT current_setting(%(name)s)", {"name": name})[0][0])

    def run(self, request: Request) -> Result:
        """Starts a statement; see Exchange.run. Raises RefusedError where the transaction is gone."""
        self._check_open("")
        self._check_parsing()
        result = self.exchange.run(request)
        if result.columns is None:
            self._check_open(result.tag)
        return result

    def fetch(self, sql: LiteralString, values: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """All rows of one of our own statements, with values as parameters. Raises StatementError and such."""
        with self._translated(sql):
            return self.connection.execute(sql, values).fetchall()

    def fetch_partly(self, sql: LiteralString) -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
        """As `fetch` in a reading transaction, with NULL for what the server has no function for; and their names.

        Where one is missing the transaction is begun anew: with another snapshot.
        """
        lacking: list[str] = []
        while True:
            try:
                # Safe: one of our own statements, from which only calls were taken.
                return self.fetch(sql), tuple(lacking)
            except StatementError as error:
                name = missing(error)
                less = without(sql, name) if name else sql
                if less == sql:
                    raise
            lacking.append(name)
            sql = less
            self.renew()

    def execute(self, sql: str, values: Mapping[str, object] | None = None) -> int:
        """Runs one of our own statements and gives the number of rows it changed. Raises as `fetch`."""
        with self._translated(sql):
            return self.connection.execute(sql.encode(), values).rowcount

    def copy_in(self, sql: str, chunks: Iterable[bytes]) -> int:
        """COPY … FROM STDIN with data in whole or part lines; gives the number of rows. Raises as `fetch`."""
        with self._translated(sql), self.connection.cursor() as cursor:
            with cursor.copy(sql.encode()) as copy:
                for chunk in chunks:
                    copy.write(chunk)
            return cursor.rowcount

    def copy_file(self, sql: str, path: Path) -> int:
        """As `copy_in`, from a file."""
        with path.open("rb") as file:
            return self.copy_in(sql, iter(lambda: file.read(1 << 18), b""))

    def copy_out(self, sql: str) -> Iterator[Block]:
        """The blocks of COPY … TO STDOUT: lists of rows, each ending with a line feed. Raises as `fetch`."""
        return self.exchange.copy_out(sql)

    def texts(self, sql: str) -> Iterator[list[str]]:
        """The rows of a SELECT of ours with one text column that is never NULL, in blocks. Raises as `fetch`."""
        return self.exchange.texts(sql, self.connection)

    def begin(self, *settings: str) -> None:
        """Opens a writing transaction under the session's timeouts, with more settings in the same round trip."""
        self.exchange.command("; ".join([guard.begin_write_sql(self.timeouts), *settings]))

    def renew(self) -> None:
        """A reading transaction's end and the next one's beginning: a new snapshot."""
        self.exchange.command("ROLLBACK")
        self.exchange.command(guard.begin_read_sql(self.timeouts))

    def commit(self) -> None:
        """Commits. Raises LostServerError where the answer was lost: then it may have been committed."""
        if self.exchange.command("COMMIT") != "COMMIT":
            raise StatementError("the transaction had failed; the server rolled it back")

    def rollback(self) -> None:
        """Rolls back; where rows are still on their way (we could not take them), by closing the connection."""
        from psycopg.pq import TransactionStatus

        if self.connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
            self.connection.close()
            return
        self.exchange.command("ROLLBACK")

    @contextmanager
    def _translated(self, sql: str) -> Iterator[None]:
        import psycopg

        began = time.monotonic()
        try:
            yield
        except psycopg.Error as error:
            ran = (time.monotonic() - began) * 1000
            if error.pgresult is None:
                raise lost_connection(str(error), self.connection.address) from None
            raise statement_failure(error.pgresult, sql, ran_ms=ran, timeout_ms=self.timeouts.statement) from None

    def count_rows(self, table: str) -> int:
        """Rows of a table, whose name is as regclass writes it: quoted and qualified where it must be."""
        # Safe: the text comes from the catalog's own output function, not from a user.
        return int(self.fetch(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608

    def cancel(self) -> None:
        """Ends the running statement, from any thread; bounded, and no error where there is none."""
        with suppress(Exception):
            self.connection.cancel_safe(timeout=3)

    def identity(self) -> tuple[str, str]:
        """(system identifier, database) of the server behind the name (manual 9.27.11, pg_control_system)."""
        row = self.fetch(_CLUSTER if self.server.product == COCKROACHDB else IDENTITY)[0]
        return str(row[0]), str(row[1])

    def _check_parsing(self) -> None:
        """What was checked is what the server will read: a function may have changed how it reads text.

        Both settings are reported by the server whenever they change (manual 54.2.7).
        """
        status = self.connection.pgconn.parameter_status
        if status(b"standard_conforming_strings") != b"on" or status(b"client_encoding") != b"UTF8":
            self.connection.close()
            raise RefusedError("refused: a statement changed how the server reads text; nothing more was run")

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
        opening = opened(connection, url, timeouts, guard.begin_read_sql(timeouts))
        if not opening.read_only:
            connection.close()
            raise RefusedError(
                f"{opening.server.name} opens no read-only transaction: nothing was run ({url.address})",
                hint="gaiaops reads under such a transaction only",
            )
        session = Session(connection, timeouts, opening)
        yield session
        _leave(session)


def _leave(session: Session) -> None:
    """Ends a reading transaction. What was wanted is read: a server that is gone by now is no error, and rows that
    are still on their way are nobody's."""
    from psycopg.pq import TransactionStatus

    if session.connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
        session.cancel()
        session.connection.close()
        return
    try:
        session.exchange.command("ROLLBACK")
    except LostServerError:
        session.connection.close()


@contextmanager
def writing(url: Url, timeouts: Timeouts, command: str) -> Iterator[Session]:
    """One writing transaction; rolled back unless the caller commits. Raises RefusedError for a replica."""
    _check_primary(url)
    with connect(url, timeouts, command) as connection, _cancelled_on_exit(connection):
        begin = f"{guard.begin_write_sql(timeouts)}; {guard.WHICH}"
        session = Session(connection, timeouts, opened(connection, url, timeouts, begin))
        if session.server.product == COCKROACHDB:
            session.fetch(_NO_AUTOCOMMIT)
        yield session


@contextmanager
def changing(url: Url, timeouts: Timeouts, command: str) -> Iterator[Session]:
    """A connection for several writing transactions, which the caller begins and ends. Raises RefusedError for a
    replica."""
    _check_primary(url)
    with connect(url, timeouts, command) as connection, _cancelled_on_exit(connection):
        yield Session(connection, timeouts, opened(connection, url, timeouts))


def _check_primary(url: Url) -> None:
    if url.replica:
        raise RefusedError(f"a change never goes to a replica ({url.address}); nothing was changed")


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
    return env.timeouts if statement_ms is None else msgspec.structs.replace(env.timeouts, statement=statement_ms)
