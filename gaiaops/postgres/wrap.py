"""How a statement is put to the server: alone, in a subquery, or inside COPY (… ) TO STDOUT. Pure.

Text reaches these wrappers only after the server has parsed it alone, as one statement.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gaiaops.postgres.wire import Column, Row, Wire, unique_names

_WRAPPABLE = frozenset({"SELECT", "VALUES", "TABLE", "WITH"})
# JSON never holds these two (RFC 8259 7: control characters are escaped), so CSV with them as delimiter and
# quote leaves a JSON text as it is; only `json` values written over several lines get quoted.
_JSON_COPY = r"(FORMAT csv, DELIMITER E'\x02', QUOTE E'\x01')"
# bool, int8, int2, int4, text, oid, jsonb, float4, float8, money, bpchar, varchar, date, time, timestamp,
# timestamptz, interval, timetz, numeric, uuid, inet, bytea, name, "char"; and arrays of the common ones.
_ONE_LINE_IN_JSON = frozenset(
    {16, 20, 21, 23, 25, 26, 3802, 700, 701, 790, 1042, 1043, 1082, 1083, 1114, 1184, 1186, 1266, 1700, 2950, 869, 17}
    | {19, 18, 1000, 1005, 1007, 1016, 1009, 1015, 1021, 1022, 1231, 1115, 1185, 1182, 2951, 3807}
)
_COPY_OPTIONS = {Wire.CSV: "(FORMAT csv)", Wire.TEXT: "(FORMAT text)", Wire.JSON: _JSON_COPY}


class Request(msgspec.Struct, frozen=True):
    """A statement to run: its text, `$n` values, what to encode into, and how many rows at most.

    `reserved` are keys that its columns must not have in JSON.
    """

    sql: str
    keyword: str
    wire: Wire
    values: Sequence[str] = ()
    limit: int | None = None
    wrap: bool = True
    reserved: tuple[str, ...] = ()

    @property
    def wrappable(self) -> bool:
        """Whether the server may take it as a subquery."""
        return self.wrap and self.keyword in _WRAPPABLE


def copy_sql(request: Request, columns: tuple[Column, ...]) -> str:
    """The statement inside COPY, encoded as the request wants it."""
    return f"COPY ({selection(request, columns)}) TO STDOUT {_COPY_OPTIONS[request.wire]}"


def may_break_lines(request: Request, columns: Sequence[Column]) -> bool:
    """Whether a JSON row can hold a line break as white space; the others need not be looked at."""
    return request.wire is Wire.JSON and any(column.oid not in _ONE_LINE_IN_JSON for column in columns)


def selection(request: Request, columns: tuple[Column, ...]) -> str:
    """The statement, in a subquery where its rows become JSON or are limited. The line feed ends a `--` comment."""
    inner = request.sql + "\n"
    limit = "" if request.limit is None else f" LIMIT {request.limit + 1}"
    if request.wire is Wire.JSON:
        keys = unique_names([*request.reserved, *(column.name for column in columns)])[len(request.reserved) :]
        names = ", ".join(map(_quoted, keys))
        # q.* and not q, which would be the column of that name where there is one.
        return f"SELECT row_to_json(q.*) FROM ({inner}) AS q({names}){limit}"  # noqa: S608
    return f"SELECT q.* FROM ({inner}) AS q{limit}" if limit else inner  # noqa: S608


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def json_line(values: Sequence[bytes | None]) -> bytes:
    """A row that the server made JSON of; only `json` values bring line breaks, as white space."""
    return (values[0] or b"").replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"


def one_line(row: Row) -> Row:
    """A row of JSON from COPY on one line: one with a line break in it comes quoted."""
    if row[:1] != b"\x01":
        return row
    return bytes(row)[1:-2].replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
