"""The streaming path: a statement's rows as blocks of encoded rows, in constant memory.

What the server can wrap goes through COPY (… ) TO STDOUT, which encodes rows in the server and hands them
over one message a row. The rest (SHOW, EXPLAIN, parameters, RETURNING) is fetched in chunks and encoded here.
Everything is sent through the extended protocol, so that a text is one statement or an error.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from gaiaops.errors import DeadlineError, GaiaopsError
from gaiaops.postgres.failures import lost_connection, statement_failure
from gaiaops.postgres.wire import Column, Row, Wire, encoder, unique_names
from gaiaops.registry.durations import show_duration

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

_ROWS_PER_BLOCK = 2_000
_BYTES_PER_BLOCK = 1 << 19
_GRACE_MS = 5_000  # the server's own timeout should speak first
_WRAPPABLE = frozenset({"SELECT", "VALUES", "TABLE", "WITH"})
# JSON never holds these two (RFC 8259 7: control characters are escaped), so CSV with them as delimiter and
# quote leaves a JSON text as it is; only `json` values written over several lines get quoted.
_JSON_COPY = r"(FORMAT csv, DELIMITER E'\x02', QUOTE E'\x01')"
_COPY_OPTIONS = {Wire.CSV: "(FORMAT csv)", Wire.TEXT: "(FORMAT text)", Wire.JSON: _JSON_COPY}

Block = list[Row]


class Result(msgspec.Struct):
    """What a statement gave: columns and blocks of rows. `tag` (`SELECT 3`) is known at the end.

    `columns` is None for a statement that returns no rows.
    """

    columns: tuple[Column, ...] | None
    blocks: Iterator[Block]
    tag: str = ""
    more: bool = False  # the limit was reached and there is at least one row more


class Request(msgspec.Struct, frozen=True):
    """A statement to run: its text, `$n` values, what to encode into, and how many rows at most."""

    sql: str
    keyword: str
    wire: Wire
    values: Sequence[str] = ()
    limit: int | None = None
    wrap: bool = True


class Exchange:
    """One connection's conversation with the server, every wait bounded and open to Ctrl-C."""

    def __init__(self, pgconn: PGconn, statement_timeout_ms: int) -> None:
        from psycopg import pq

        self._pq = pq
        self._pgconn = pgconn
        self._timeout_ms = statement_timeout_ms
        self._started = time.monotonic()
        self._poll = select.poll()
        self._poll.register(pgconn.socket, select.POLLIN)

    def run(self, request: Request) -> Result:
        """Starts a statement. Raises the error tree's errors, here or while its blocks are read."""
        self._started = time.monotonic()
        wrappable = request.wrap and request.keyword in _WRAPPABLE and not request.values
        columns = self._describe(request.sql) if wrappable else ()
        if columns:
            result = Result(columns, iter(()))
            result.blocks = self._copy(_wrapped(request, columns), request, result)
            return result
        return self._fetch(request)

    def command(self, sql: str) -> str:
        """Runs our own constant SQL (several statements at once) and gives the last command's tag."""
        self._started = time.monotonic()
        self._pgconn.send_query(sql.encode())
        tag = ""
        while (result := self._result()) is not None:
            self._check(result, sql)
            tag = (result.command_status or b"").decode()
        return tag

    def _describe(self, sql: str) -> tuple[Column, ...]:
        """Parses the statement alone, so that unbalanced text never reaches the wrapper around it."""
        self._pgconn.send_prepare(b"", sql.encode())
        self._drain(sql)
        self._pgconn.send_describe_prepared(b"")
        described = self._drain(sql)
        return () if described is None else _columns(described)

    def _drain(self, sql: str) -> PGresult | None:
        last = None
        while (result := self._result()) is not None:
            self._check(result, sql)
            last = result
        return last

    def _copy(self, sql: str, request: Request, outcome: Result) -> Iterator[Block]:
        self._pgconn.send_query_params(sql.encode(), None)
        started = self._result()
        if started is not None:
            self._check(started, sql)
        total, clean = 0, request.wire is Wire.JSON
        for block in self._copy_blocks():
            if request.limit is not None and total + len(block) > request.limit:
                outcome.more = True
                del block[request.limit - total :]
            total += len(block)
            if block:
                yield [_one_line(row) for row in block] if clean else block
        final = self._drain(sql)
        outcome.tag = f"SELECT {total}"
        if final is None and not self._alive():
            raise lost_connection(self._pgconn.error_message.decode("utf-8", "replace"))

    def _copy_blocks(self) -> Iterator[Block]:
        from psycopg import Error

        get = self._pgconn.get_copy_data
        block: Block = []
        size = 0
        append = block.append
        while True:
            try:
                length, row = get(1)
            except Error as error:
                raise self._copy_failure(error) from None
            if length > 0:
                append(row)
                size += length
                if size < _BYTES_PER_BLOCK and len(block) < _ROWS_PER_BLOCK:
                    continue
            if block:  # full, or the server is slow: what is here is handed on
                yield block
                block = []
                append, size = block.append, 0
            if length < 0:
                return
            if length == 0:
                self._wait()

    def _copy_failure(self, error: Exception) -> GaiaopsError:
        """A broken connection, or an error of the statement that came in the middle of its rows."""
        if not self._alive():
            return lost_connection(self._pgconn.error_message.decode("utf-8", "replace") or str(error))
        result = self._pgconn.get_result()
        if result is not None and result.error_field(self._pq.DiagnosticField.SQLSTATE):
            return statement_failure(result, "", ran_ms=self._elapsed_ms(), timeout_ms=self._timeout_ms)
        return lost_connection(str(error))

    def _fetch(self, request: Request) -> Result:
        """Without COPY: parameters bound by the server, rows fetched in chunks."""
        pq = self._pq
        values = [value.encode() for value in request.values]
        self._pgconn.send_query_params(request.sql.encode(), values or None)
        if pq.version() >= 170000 and hasattr(self._pgconn, "set_chunked_rows_mode"):
            self._pgconn.set_chunked_rows_mode(_ROWS_PER_BLOCK // 4)
        else:
            self._pgconn.set_single_row_mode()
        first = self._result()
        if first is None:
            raise lost_connection(self._pgconn.error_message.decode("utf-8", "replace"))
        self._check(first, request.sql)
        if first.status == pq.ExecStatus.COMMAND_OK:
            self._drain(request.sql)
            return Result(None, iter(()), tag=(first.command_status or b"").decode())
        result = Result(_columns(first), iter(()))
        result.blocks = self._chunks(first, request, result)
        return result

    def _chunks(self, first: PGresult, request: Request, outcome: Result) -> Iterator[Block]:
        encode = encoder(request.wire, outcome.columns or ())
        total, result = 0, first
        while True:
            self._check(result, request.sql)
            rows, width = result.ntuples, range(result.nfields)
            if request.limit is not None and total + rows > request.limit:
                outcome.more, rows = True, request.limit - total
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

    def _result(self) -> PGresult | None:
        """The next result, waiting for it with the deadline."""
        self._flush()
        while self._pgconn.is_busy():
            self._wait()
        return self._pgconn.get_result()

    def _flush(self) -> None:
        try:
            while self._pgconn.flush():
                select.select([], [self._pgconn.socket], [], 0.1)
        except Exception as error:
            raise lost_connection(str(error)) from None

    def _wait(self) -> None:
        """Waits for bytes and takes them in; a dead network ends it soon after the statement timeout."""
        deadline = self._timeout_ms + _GRACE_MS if self._timeout_ms else None
        left = None if deadline is None else max(0.0, deadline - self._elapsed_ms())
        if not self._poll.poll(left):
            raise DeadlineError(
                f"no answer from the server after {show_duration(self._timeout_ms)}",
                hint="give it more with --timeout, or look: gaiaops activity ENV",
            )
        try:
            self._pgconn.consume_input()
        except Exception as error:
            raise lost_connection(str(error)) from None

    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self._started) * 1000

    def _alive(self) -> bool:
        return bool(self._pgconn.status == self._pq.ConnStatus.OK)

    def _check(self, result: PGresult, sql: str) -> None:
        status = self._pq.ExecStatus
        if result.status not in (status.FATAL_ERROR, status.BAD_RESPONSE):
            return
        if not self._alive() and not result.error_field(self._pq.DiagnosticField.SQLSTATE):
            raise lost_connection(result.error_message.decode("utf-8", "replace"))
        failure: GaiaopsError = statement_failure(result, sql, ran_ms=self._elapsed_ms(), timeout_ms=self._timeout_ms)
        raise failure


def _columns(result: PGresult) -> tuple[Column, ...]:
    return tuple(
        Column((result.fname(i) or b"").decode("utf-8", "replace"), result.ftype(i)) for i in range(result.nfields)
    )


def _wrapped(request: Request, columns: tuple[Column, ...]) -> str:
    """The statement inside COPY. The line feed ends a trailing `--` comment."""
    inner = request.sql + "\n"
    limit = "" if request.limit is None else f" LIMIT {request.limit + 1}"
    if request.wire is Wire.JSON:
        names = ", ".join(_quoted(name) for name in unique_names(column.name for column in columns))
        inner = f"SELECT row_to_json(q) FROM ({inner}) AS q({names}){limit}"  # noqa: S608
    elif limit:
        inner = f"SELECT q.* FROM ({inner}) AS q{limit}"  # noqa: S608
    return f"COPY ({inner}) TO STDOUT {_COPY_OPTIONS[request.wire]}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _one_line(row: Row) -> Row:
    if row[:1] != b"\x01":
        return row
    return bytes(row)[1:-2].replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
