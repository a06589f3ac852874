"""Rows on their way out: one of three encodings, made by the server where it can, else here. Pure.

CSV   as COPY … (FORMAT csv): NULL is empty, an empty string is "".
TEXT  as COPY … (FORMAT text): tab-separated, backslash escapes, NULL is \\N.
JSON  one object a line, as row_to_json.
A row ends with a line feed (but in CSV and TEXT one of no columns at all is empty); a block is a list of rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum

import msgspec

Row = bytes | memoryview


class Wire(Enum):
    """How rows are encoded between the server and a writer."""

    CSV = "csv"
    TEXT = "text"
    JSON = "json"


class Column(msgspec.Struct, frozen=True):
    """A result column; `oid` is its type's (pg_type.oid), `at_least` the width a table gives it from the start."""

    name: str
    oid: int
    at_least: int = 0

    @property
    def numeric(self) -> bool:
        """Whether it is shown right-aligned, as psql does: int2/4/8, float4/8, numeric, oid, money, xid."""
        return self.oid in {20, 21, 23, 26, 28, 700, 701, 790, 1700}


_NAME_BYTES = 63  # a longer name would be cut by the server (NAMEDATALEN - 1), the number first


def unique_names(names: Iterable[str]) -> list[str]:
    """Names fit for object keys: a repeated one gets a number.

    >>> unique_names(["a", "b", "a", "a_2", "a"])
    ['a', 'b', 'a_2', 'a_2_2', 'a_3']
    """
    seen: set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 1
        while candidate in seen:
            number += 1
            suffix = f"_{number}"
            candidate = name.encode()[: _NAME_BYTES - len(suffix)].decode("utf-8", "ignore") + suffix
        seen.add(candidate)
        unique.append(candidate)
    return unique


Cells = Sequence[tuple[str, str | None]]


def prefixed(rows: Sequence[Row], wire: Wire, cells: Cells) -> list[bytes]:
    """Every row with these cells, (name, value), in front: what tells one database's rows from another's.

    Values are names of the registry, which need no escaping; None is NULL.

    >>> prefixed([b'{"a":1}\\n', b"{}\\n"], Wire.JSON, [("env", "dev"), ("shard", None)])
    [b'{"env":"dev","shard":null,"a":1}\\n', b'{"env":"dev","shard":null}\\n']
    >>> prefixed([b"1\\n", b"\\n"], Wire.CSV, [("env", "dev"), ("shard", None)])
    [b'dev,,1\\n', b'dev,,\\n']
    >>> prefixed([b""], Wire.TEXT, [("env", "dev"), ("shard", None)])
    [b'dev\\t\\\\N\\n']
    """
    if wire is Wire.JSON:
        pairs = ",".join(f'"{name}":null' if value is None else f'"{name}":"{value}"' for name, value in cells)
        head = b"{" + pairs.encode()
        return [head + (bytes(row[1:]) if row[:2] == b"{}" else b"," + row[1:]) for row in rows]
    cell, separator = (csv_cell, ",") if wire is Wire.CSV else (text_cell, "\t")
    head = separator.join(cell(value) for _, value in cells).encode()
    if rows and not rows[0]:  # no columns
        return [head + b"\n"] * len(rows)
    return [head + separator.encode() + row for row in rows]


_TEXT_ESCAPES = {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_TEXT_SPECIAL = re.compile("[\\\\\b\f\n\r\t\v]")
_CSV_SPECIAL = re.compile('[",\n\r]')


def text_cell(value: str | None) -> str:
    """A value as COPY's text format writes it (manual, COPY, "Text Format")."""
    return "\\N" if value is None else _TEXT_SPECIAL.sub(lambda m: _TEXT_ESCAPES[m[0]], value)


def csv_cell(value: str | None) -> str:
    """A value as COPY's CSV format writes it: NULL empty, an empty string quoted (manual, COPY, "CSV Format")."""
    if value is None:
        return ""
    if value in ("", "\\.") or _CSV_SPECIAL.search(value):
        return '"' + value.replace('"', '""') + '"'
    return value


Encoder = Callable[[Sequence[bytes | None]], bytes]


def encoder(wire: Wire, columns: Sequence[Column]) -> Encoder:
    """A function from one row's values, in the server's text output, to one encoded row."""
    if wire is Wire.JSON:
        from gaiaops.postgres.jsonvalues import json_encoder

        return json_encoder(columns)
    if not columns:
        return lambda _: b""
    cell, separator = (csv_cell, ",") if wire is Wire.CSV else (text_cell, "\t")

    def encode(values: Sequence[bytes | None]) -> bytes:
        decoded = (None if v is None else v.decode("utf-8", "surrogateescape") for v in values)
        return (separator.join(map(cell, decoded)) + "\n").encode("utf-8", "surrogateescape")

    return encode
