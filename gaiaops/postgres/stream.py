"""The streaming path: a statement's rows as blocks of encoded rows, in constant memory.

What the server can wrap goes through COPY (… ) TO STDOUT, which encodes rows in the server and hands them
over one message a row. The rest (SHOW, EXPLAIN, RETURNING) is fetched in chunks and encoded here. COPY takes no
parameters, so a statement with values is fetched too, but JSON and the limit are still the server's work.
Everything is sent through the extended protocol, so that a text is one statement or an error.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

from gaiaops.errors import GaiaopsError, LostServerError, NoAnswerError, RefusedError
from gaiaops.postgres import copytext
from gaiaops.postgres.failures import GRACE_MS, lost_connection, no_answer, statement_failure
from gaiaops.postgres.wire import Column, Encoder, Row, Wire, encoder
from gaiaops.postgres.wrap import Request, copy_sql, json_line, may_break_lines, one_line, selection

if TYPE_CHECKING:
    import psycopg
    from psycopg.pq.abc import PGconn, PGresult

_ROWS_PER_BLOCK = 1_000
_LARGE_ROW = 4_096  # bytes: 1,000 smaller ones are 4 MB at most
_PAUSE_MS = 20  # a block is filled up while the server keeps sending …
_BLOCK_SECONDS = 0.2  # … for so long at most
_ROWS_PER_CHUNK = 64  # larger chunks are no faster, and wide rows would fill the memory

Block = list[Row]


class Result(msgspec.Struct):
    """What a statement gave: columns and blocks of rows. `tag` (`SELECT 3`) is known at the end.

    `columns` is None for a statement that returns no rows.
    """

    columns: tuple[Column, ...] | None
    blocks: Iterator[Block]
    tag: str = ""
    more: bool = False  # the limit was reached and there is at least one row more


class Exchange:
    """One connection's conversation with the server, every wait bounded and open to Ctrl-C."""

    def __init__(
        self, pgconn: PGconn, statement_timeout_ms: int, grace_ms: int = GRACE_MS, *, address: str = ""
    ) -> None:
        from psycopg import pq

        self._pq = pq
        self._pgconn = pgconn
        self._timeout_ms = statement_timeout_ms
        self._grace_ms = grace_ms
        self._address = address
        self._started = time.monotonic()
        self._poll = select.poll()
        self._poll.register(pgconn.socket, select.POLLIN)

    def run(self, request: Request) -> Result:
        """Starts a statement. Raises the error tree's errors, here or while its blocks are read."""
        self._started = time.monotonic()
        columns = self._describe(request.sql) if request.wrappable else ()
        if not columns or request.values:
            return self._fetch(request, columns)
        result = Result(columns, iter(()))
        result.blocks = self._copy(copy_sql(request, columns), request, result)
        return result

    def command(self, sql: str) -> str:
        """Runs our own constant SQL (several statements at once) and gives the last command's tag."""
        self._started = time.monotonic()
        self._send(self._pgconn.send_query, sql.encode())
        last = self._drain(sql)
        return "" if last is None else (last.command_status or b"").decode()

    def answers(self, sql: str) -> list[PGresult]:
        """Runs our own SQL (several statements at once) and gives each one's result. Raises the error tree's errors."""
        self._started = time.monotonic()
        self._send(self._pgconn.send_query, sql.encode())
        given: list[PGresult] = []
        self._drain(sql, heard=given.append)
        return given

    def copy_out(self, sql: str) -> Iterator[Block]:
        """The rows of our own COPY … TO STDOUT, in blocks. Raises the error tree's errors, here or while reading.

        The server begins at once, so that several of them can work while their first rows are waited for.
        """
        self._started = time.monotonic()
        self._send(self._pgconn.send_query, sql.encode())
        self._flush()
        return self._copied(sql)

    def _copied(self, sql: str) -> Iterator[Block]:
        started = self._result()
        if started is not None and started.status != self._pq.ExecStatus.COPY_OUT:
            self._drain(sql, started)
        yield from self._copy_blocks()
        if self._drain(sql) is None and not self._alive():
            raise self._lost()

    def texts(self, sql: str, connection: psycopg.Connection) -> Iterator[list[str]]:
        """The rows of our own SELECT of one text column, in blocks; the server begins at once.

        A chunk of rows is one call into psycopg's C code: a third of what COPY costs, row by row. Raises the error
        tree's errors while reading.
        """
        if not hasattr(self._pgconn, "set_chunked_rows_mode") or self._pq.version() < 170000:
            rows = self.copy_out(f"COPY ({sql}) TO STDOUT")
            return ([copytext.decode(bytes(row)[:-1]) or "" for row in block] for block in rows)
        self._started = time.monotonic()
        self._send(self._pgconn.send_query_params, sql.encode(), None)
        self._pgconn.set_chunked_rows_mode(_ROWS_PER_BLOCK)
        self._flush()
        return self._texts(sql, connection)

    def _texts(self, sql: str, connection: psycopg.Connection) -> Iterator[list[str]]:
        from psycopg.adapt import Transformer

        transformer = Transformer(connection)
        result = self._result()
        transformer.set_pgresult(result)
        while result is not None:
            self._check(result, sql)
            transformer.set_pgresult(result, set_loaders=False)
            if result.ntuples:
                yield transformer.load_rows(0, result.ntuples, itemgetter(0))
            result.clear()
            result = self._result()
        if not self._alive():
            raise self._lost()

    def _describe(self, sql: str) -> tuple[Column, ...]:
        """Parses the statement alone, so that unbalanced text never reaches the wrapper around it."""
        self._send(self._pgconn.send_prepare, b"", sql.encode())
        self._drain(sql)
        self._send(self._pgconn.send_describe_prepared, b"")
        described = self._drain(sql)
        return () if described is None else _columns(described)

    def _drain(
        self, sql: str, result: PGresult | None = None, heard: Callable[[PGresult], None] | None = None
    ) -> PGresult | None:
        """Reads to the end, so that the connection can be used again, and gives the last result; `heard` has all.

        Raises the error of the first result that is one.
        """
        last, failure = None, None
        try:
            result = result or self._result()
            while result is not None:
                try:
                    self._check(result, sql)
                except GaiaopsError as error:
                    failure = failure or error
                if heard is not None:
                    heard(result)
                last = result
                result = self._result()
        except LostServerError:
            raise failure or self._lost() from None
        except NoAnswerError as silence:  # after the error, before the end of the answer
            raise failure or silence from None
        if failure is not None:
            raise failure
        return last

    def _copy(self, sql: str, request: Request, outcome: Result) -> Iterator[Block]:
        self._send(self._pgconn.send_query_params, sql.encode(), None)
        started = self._result()
        if started is not None:
            self._check_wrapped(started, request, sql)
        total = 0
        clean = may_break_lines(request, outcome.columns or ())
        for block in self._copy_blocks():
            if request.limit is not None and total + len(block) > request.limit:
                outcome.more = True
                del block[request.limit - total :]
            total += len(block)
            if block:
                yield [one_line(row) for row in block] if clean else block
        final = self._drain(sql)
        outcome.tag = f"SELECT {total}"
        if final is None and not self._alive():
            raise self._lost()

    def _copy_blocks(self) -> Iterator[Block]:
        from psycopg import Error

        get = self._pgconn.get_copy_data
        while True:
            block: Block = []
            append = block.append
            length = 1
            due = time.monotonic() + _BLOCK_SECONDS
            # The hot loop: a row costs one call, one comparison, one append.
            for _ in repeat(None, _ROWS_PER_BLOCK):
                try:
                    length, row = get(1)
                except Error as error:
                    raise self._copy_failure(error) from None
                if 0 < length < _LARGE_ROW:
                    append(row)
                elif length > 0:  # a block holds one large row, so that blocks stay small
                    append(row)
                    break
                elif length == 0 and time.monotonic() < due and self._poll.poll(_PAUSE_MS):
                    self._take()
                else:
                    break
            if block:  # full, or the server pauses: what is here is handed on
                yield block
            if length < 0:
                return
            if length == 0:
                self._wait()

    def _copy_failure(self, error: Exception) -> GaiaopsError:
        """A broken connection, or an error of the statement that came in the middle of its rows."""
        if not self._alive():
            return self._lost(error)
        result = self._result()
        with suppress(Exception):  # to the end: the connection is to be used again, if it is there
            while self._result() is not None:
                pass
        if result is not None and result.error_field(self._pq.DiagnosticField.SQLSTATE):
            return statement_failure(result, "", ran_ms=self._elapsed_ms(), timeout_ms=self._timeout_ms)
        return lost_connection(str(error), self._address)

    def _fetch(self, request: Request, described: tuple[Column, ...]) -> Result:
        """Without COPY: parameters bound by the server, rows fetched in chunks.

        `described` are the statement's columns where it can be a subquery.
        """
        pq = self._pq
        if request.wire is Wire.JSON and not described:
            self._iso_dates(request)
        values = [value.encode() for value in request.values]
        sql = selection(request, described) if described else request.sql
        self._send(self._pgconn.send_query_params, sql.encode(), values or None)
        if pq.version() >= 170000 and hasattr(self._pgconn, "set_chunked_rows_mode"):
            self._pgconn.set_chunked_rows_mode(_ROWS_PER_CHUNK)
        else:
            self._pgconn.set_single_row_mode()
        first = self._result()
        if first is None:
            raise self._lost()
        if described:
            self._check_wrapped(first, request, sql)
        self._check(first, sql)
        if first.status == pq.ExecStatus.COMMAND_OK:
            self._drain(request.sql)
            return Result(None, iter(()), tag=(first.command_status or b"").decode())
        result = Result(described or _columns(first), iter(()))
        in_json = request.wire is Wire.JSON and bool(described)
        encode = json_line if in_json else encoder(request.wire, result.columns or ())
        result.blocks = self._chunks(first, request.limit, result, encode)
        return result

    def _iso_dates(self, request: Request) -> None:
        """Makes the server write dates as row_to_json does; SHOW is left out, it may ask for this very setting."""
        if request.keyword != "SHOW" and not (self._pgconn.parameter_status(b"DateStyle") or b"ISO").startswith(b"ISO"):
            self.command("SET LOCAL datestyle = ISO")

    def _chunks(self, first: PGresult, limit: int | None, outcome: Result, encode: Encoder) -> Iterator[Block]:
        total, result = 0, first
        while True:
            self._check(result, "")
            rows, width = result.ntuples, range(result.nfields)
            if limit is not None and total + rows > limit:
                outcome.more, rows = True, limit - total
            total += rows
            if rows:
                get = result.get_value
                yield [encode([get(i, j) for j in width]) for i in range(rows)]
            outcome.tag = (result.command_status or b"").decode() or outcome.tag
            result.clear()
            following = self._result()
            if following is None:
                return
            result = following

    def _send(self, how: Callable[..., None], *arguments: Any) -> None:
        try:
            how(*arguments)
        except Exception as error:
            raise lost_connection(str(error), self._address) from None

    def _result(self) -> PGresult | None:
        """The next result, waiting for it with the deadline."""
        self._flush()
        while self._pgconn.is_busy():
            self._wait()
        return self._pgconn.get_result()

    def _flush(self) -> None:
        try:
            while self._pgconn.flush():
                if self._left_ms() == 0:
                    raise no_answer(self._timeout_ms, self._address)
                select.select([], [self._pgconn.socket], [], 0.1)
        except GaiaopsError:
            raise
        except Exception as error:
            raise lost_connection(str(error), self._address) from None

    def _wait(self) -> None:
        """Waits for bytes and takes them in; a dead network ends it soon after the statement timeout."""
        if not self._poll.poll(self._left_ms()):
            raise no_answer(self._timeout_ms, self._address)
        self._take()

    def _take(self) -> None:
        try:
            self._pgconn.consume_input()
        except Exception as error:
            raise lost_connection(str(error), self._address) from None

    def _left_ms(self) -> float | None:
        return max(0.0, self._timeout_ms + self._grace_ms - self._elapsed_ms()) if self._timeout_ms else None

    def _lost(self, error: Exception | str = "") -> LostServerError:
        """The error for a connection that broke, in libpq's words where it has any."""
        return lost_connection(self._pgconn.error_message.decode("utf-8", "replace") or str(error), self._address)

    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self._started) * 1000

    def _alive(self) -> bool:
        return bool(self._pgconn.status == self._pq.ConnStatus.OK)

    def _check_wrapped(self, result: PGresult, request: Request, sql: str) -> None:
        """The first answer to a statement in our wrapper, which is `sql`.

        The statement passed alone, so what the server does not support (with a position: it was read, not run)
        is WITH … DELETE in a subquery.
        """
        field = self._pq.DiagnosticField
        unsupported = result.error_field(field.SQLSTATE) == b"0A000" and result.error_field(field.STATEMENT_POSITION)
        if unsupported and request.keyword == "WITH":
            raise RefusedError(
                "refused: WITH changes data in a reading command",
                hint="reading is the default; add --write if you mean it",
            )
        self._check(result, sql)

    def _check(self, result: PGresult, sql: str) -> None:
        status = self._pq.ExecStatus
        if result.status not in (status.FATAL_ERROR, status.BAD_RESPONSE):
            return
        if not self._alive() and not result.error_field(self._pq.DiagnosticField.SQLSTATE):
            raise lost_connection(result.error_message.decode("utf-8", "replace"), self._address)
        failure: GaiaopsError = statement_failure(result, sql, ran_ms=self._elapsed_ms(), timeout_ms=self._timeout_ms)
        raise failure


def _columns(result: PGresult) -> tuple[Column, ...]:
    return tuple(
        Column((result.fname(i) or b"").decode("utf-8", "replace"), result.ftype(i)) for i in range(result.nfields)
    )
