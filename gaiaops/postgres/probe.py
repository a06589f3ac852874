"""Questions about a running server: each is one round trip and a read-only transaction of its own, so that one which
fails or takes too long takes nothing else with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from gaiaops.errors import ConnectError, GaiaopsError, LostServerError, NoAnswerError
from gaiaops.postgres.connect import connect
from gaiaops.postgres.features import announced, missing
from gaiaops.postgres.opening import opened
from gaiaops.postgres.stream import Exchange
from gaiaops.registry.model import Timeouts
from gaiaops.registry.urls import Url

if TYPE_CHECKING:
    from gaiaops.postgres.bounded import Connection

_LOCK_MS = 100  # nobody waits behind us for longer
CONNECT_MS = 3_000
_GRACE_MS = 1_000  # the server's own timeout should speak first
_IDLE_MS = 60_000


class Probe:
    """An open connection. `version` is the server's, as 180006 for 18.6; `server` who answers, by what it said when
    the connection began, until it is asked; `lacks` what it was found not to have, by what asked for it."""

    def __init__(self, connection: Connection, statement_ms: int) -> None:
        self._connection = connection
        self._statement_ms = statement_ms
        self._exchange = Exchange(connection.pgconn, statement_ms, _GRACE_MS, address=connection.address)
        self._in_snapshot = False
        self.version: int = connection.info.server_version
        self.server = announced(connection.pgconn.parameter_status)
        self.lacks: dict[str, str] = {}

    def ask(
        self, sql: str, values: Mapping[str, object] | None = None, *, snapshot: bool = False
    ) -> list[tuple[Any, ...]]:
        """The rows of one of our own queries; the last one's where there are several, all in one `snapshot` then.

        Names are looked up in pg_catalog alone, so that nothing of the database's own can stand in for them, and
        what the server writes out is qualified (manual 5.10.6). Raises the error tree's errors; the connection can be
        used again unless it is lost.
        """
        import psycopg
        from psycopg.adapt import Transformer
        from psycopg.pq import ExecStatus, TransactionStatus

        text = psycopg.ClientCursor(self._connection).mogrify(sql, values) if values else sql
        # A failed transaction is still open.
        failed = self._connection.pgconn.transaction_status == TransactionStatus.INERROR
        text = text.rstrip().rstrip(";")
        if self._in_snapshot:
            before = "ROLLBACK TO question; " if failed else ""
            script = f"{before}SAVEPOINT question; {text}; ROLLBACK TO question; RELEASE question"
        else:
            script = f"{'ROLLBACK; ' if failed else ''}{self._begin(snapshot)}; {text}; COMMIT"
        answers = self._exchange.answers(script)
        rows = [answer for answer in answers if answer.status == ExecStatus.TUPLES_OK][-1]
        transformer = Transformer(self._connection)
        transformer.set_pgresult(rows)
        return transformer.load_rows(0, rows.ntuples, tuple)

    def _begin(self, snapshot: bool) -> str:
        level = "REPEATABLE READ" if snapshot else "READ COMMITTED"
        return (
            f"BEGIN ISOLATION LEVEL {level} READ ONLY; SET LOCAL statement_timeout = {self._statement_ms};"
            f" SET LOCAL lock_timeout = {_LOCK_MS}; SET LOCAL search_path = pg_catalog; SET LOCAL jit = off"
        )

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All questions within see the same moment. Each still stands alone: it gives back its locks when it is
        answered, and one that fails takes nothing with it (savepoints)."""
        from psycopg.pq import TransactionStatus

        idle = f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE_MS}"  # where we are stopped (Ctrl-Z)
        self._exchange.answers(f"{self._begin(snapshot=True)}; {idle}")
        self._in_snapshot = True
        try:
            yield
        finally:
            self._in_snapshot = False
            if self._connection.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                with suppress(GaiaopsError):  # what was wanted is read: a server that is gone by now is no error
                    self._exchange.answers("ROLLBACK")

    def cancel(self) -> None:
        """Ends the running question, from any thread; bounded, and no error where there is none."""
        with suppress(Exception):
            self._connection.cancel_safe(timeout=1)


def bounded(timeouts: Timeouts, statement_ms: int) -> Timeouts:
    """The environment's bounds, tightened to what somebody on call waits for."""
    return msgspec.structs.replace(
        timeouts,
        connect=min(timeouts.connect, CONNECT_MS),
        statement=min(timeouts.statement or statement_ms, statement_ms),
        lock=min(timeouts.lock or _LOCK_MS, _LOCK_MS),
    )


@contextmanager
def probing(url: Url, timeouts: Timeouts, command: str, *, statement_ms: int = 1_000) -> Iterator[Probe]:
    """A connection for questions, each with `statement_ms` at most; closed at the end, whatever happens.

    Raises ConnectError where it cannot be opened.
    """
    from psycopg.pq import TransactionStatus

    limits = bounded(timeouts, statement_ms)
    with connect(url, limits, command) as connection:
        probe = Probe(connection, limits.statement)
        if limits.statement > limits.connect:  # a question's own bound is shorter: it may find out
            probe.server = opened(connection, url, limits).server
        try:
            yield probe
        except BaseException:
            if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
                probe.cancel()
                connection.close()  # what is still on its way is nobody's
            raise


def unseen(error: GaiaopsError) -> str:
    """Why a question has no answer, in a few words.

    >>> from gaiaops.errors import DeadlineError
    >>> unseen(DeadlineError("statement timeout: cancelled after 1s"))
    'statement timeout: cancelled after 1s'
    """
    if error.sqlstate == "42501":  # insufficient_privilege
        return f"needs a privilege: {error.message.removesuffix(' (42501)')}"
    if what := missing(error):
        return f"this server has no {what}"
    return error.message


def is_gone(error: GaiaopsError) -> bool:
    """Whether the connection, and not only the question, failed."""
    return isinstance(error, ConnectError | LostServerError | NoAnswerError) or error.sqlstate.startswith(("57P", "08"))
