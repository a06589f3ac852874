"""What a result must look like in each format, worked out without a line of gaiaops.

The values are the server's own text output, by way of psycopg. CSV is read back by Python's csv module, JSON by
its json module, HTML by its html.parser, TSV and Markdown by the small parsers here; a table and the vertical
format are laid out here a second time, since to be right is to be equal to the character.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import psycopg

Cell = str | None
RIGHT = {"int2", "int4", "int8", "float4", "float8", "numeric", "oid", "money", "xid"}


@dataclass(frozen=True)
class Expected:
    """A result as the server gives it: names, types and values in its text output, and the rows as JSON."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    objects: tuple[tuple[tuple[str, Any], ...], ...]


def ask(connection: psycopg.Connection, sql: str) -> Expected | None:
    """A statement's result; None where it returns none."""
    cursor = connection.execute(sql)
    result = cursor.pgresult
    assert result is not None
    if cursor.description is None and not sql.lstrip().startswith("SELECT"):
        return None
    width = range(result.nfields)
    names = tuple((result.fname(i) or b"").decode() for i in width)
    oids = [result.ftype(i) for i in width]
    rows = tuple(tuple(_text(result.get_value(i, j)) for j in width) for i in range(result.ntuples))
    known = dict(connection.execute("SELECT oid, typname FROM pg_type WHERE oid = ANY(%s)", [oids]).fetchall())
    types = tuple(known[oid] for oid in oids)
    keys = numbered(names)
    values = _as_json(connection, sql, len(names), rows, types)
    return Expected(names, types, rows, tuple(tuple(zip(keys, row, strict=True)) for row in values))


def _text(value: bytes | None) -> Cell:
    return None if value is None else bytes(value).decode()


def _as_json(
    connection: psycopg.Connection, sql: str, width: int, rows: Sequence[Sequence[Cell]], types: Sequence[str]
) -> list[tuple[Any, ...]]:
    """Each value by to_json on its own: the keys and the row around them are not the server's."""
    if not sql.lstrip(" \n(").startswith(("SELECT", "VALUES", "TABLE", "WITH")):
        return [
            tuple(
                cell if cell is None or kind != "json" else loads(cell) for cell, kind in zip(row, types, strict=True)
            )
            for row in rows
        ]
    if not width:
        return [() for _ in rows]
    columns = [f"c{i}" for i in range(width)]
    asked = ", ".join(f"to_json({name})::text" for name in columns)
    found = connection.execute(f"SELECT {asked} FROM ({sql}\n) AS q ({', '.join(columns)})").fetchall()
    return [tuple(None if value is None else loads(value) for value in row) for row in found]


def loads(text: str) -> Any:
    """JSON without losing anything: numbers as written, objects as lists of pairs."""
    return json.loads(text, parse_float=str, parse_int=str, object_pairs_hook=tuple)


def numbered(names: Sequence[str]) -> list[str]:
    """Names as keys: the second `a` is `a_2`, or the next number that is free, and fits into 63 bytes."""
    keys: list[str] = []
    for name in names:
        key, number = name, 1
        while key in keys:
            number += 1
            stem = name
            while len(f"{stem}_{number}".encode()) > 63:
                stem = stem[:-1]
            key = f"{stem}_{number}"
        keys.append(key)
    return keys


# -- reading back -----------------------------------------------------------------------------------------------


def read_csv(text: str) -> list[list[Cell]]:
    """RFC 4180, strictly, NULL told from "". Python's module must read the same but for that."""
    rows: list[list[Cell]] = []
    row: list[Cell] = []
    position = 0
    token = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\n)')
    while position < len(text):
        match = token.match(text, position)
        assert match, f"not CSV at {text[position : position + 60]!r}"
        quoted, plain, separator = match.groups()
        row.append(quoted.replace('""', '"') if quoted is not None else plain or None)
        if separator == "\n":
            rows.append(row)
            row = []
        position = match.end()
    assert not row, "the last line is not ended"
    pythons = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert pythons == [[] if row == [None] else [cell or "" for cell in row] for row in rows]
    return rows


_ESCAPES = {"\\": "\\", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def read_tsv(text: str) -> list[list[Cell]]:
    """COPY's text format (manual, COPY, "Text Format")."""
    assert text.endswith("\n")
    return [[read_text_cell(cell) for cell in line.split("\t")] for line in text[:-1].split("\n")]


def read_text_cell(cell: str) -> Cell:
    assert not set(cell) & set("\b\f\r\v")
    return None if cell == "\\N" else re.sub(r"\\(.)", lambda m: _ESCAPES[m[1]], cell)


def read_markdown(text: str) -> list[list[Cell]]:
    """A GFM table's cells, rendered: `\\|` is a pipe, a backslash takes the meaning from punctuation."""
    rows: list[list[Cell]] = []
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        assert line.startswith("| "), line
        assert line.endswith(" |"), line
        rows.append([_markdown_cell(cell) for cell in line[2:-2].split(" | ")])
    return rows


def _markdown_cell(cell: str) -> Cell:
    if cell == "*null*":
        return None
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", cell)
    assert not re.search(r"[*`~|]|\]\(|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])|<(?!br>)", bare), f"markup left in {cell!r}"
    lines = [re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", line) for line in cell.split("<br>")]
    return html.unescape("\n".join(lines))


class _Html(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[Cell]] = []
        self.seen: list[str] = []
        self._cell: str | None = None
        self._null = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._cell, self._null = "", ("class", "null") in attrs

    def handle_data(self, data: str) -> None:
        if self._cell is None:
            assert not data.strip()
        else:
            self._cell += data

    def handle_endtag(self, tag: str) -> None:
        self.seen.append("/" + tag)
        if tag in ("td", "th"):
            assert not (self._null and self._cell)
            self.rows[-1].append(None if self._null else self._cell)
            self._cell = None


def read_html(text: str) -> list[list[Cell]]:
    """The cells of an HTML table; everything that was opened was closed. As HTML reads it: a bare CR is an LF."""
    reader = _Html()
    reader.feed(text.replace("\r\n", "\n").replace("\r", "\n"))
    reader.close()
    assert [reader.seen.count(tag) for tag in ("table", "thead", "tbody", "tr")] == [
        reader.seen.count("/" + tag) for tag in ("table", "thead", "tbody", "tr")
    ]
    assert set(reader.seen) <= {t for tag in ("table", "thead", "tbody", "tr", "th", "td") for t in (tag, "/" + tag)}
    return reader.rows


# -- laid out again ---------------------------------------------------------------------------------------------


def columns_of(text: str) -> int:
    """Columns on a terminal, by Unicode's own tables."""
    return sum(
        0
        if unicodedata.category(c) in ("Mn", "Me") or c == "\u200b"
        else 2
        if unicodedata.east_asian_width(c) in ("W", "F")
        else 1
        for c in text
    )


def _spelled(char: str) -> str:
    code = ord(char)
    if char in "\n\t":
        return char
    turns_the_line = unicodedata.bidirectional(char) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    marks = char in "\u200e\u200f\u061c\u2028\u2029"
    if unicodedata.category(char) == "Cc" or turns_the_line or marks:
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    return char


def spelled(text: str) -> str:
    """Nothing in it drives a terminal: controls and what turns the line are spelled out."""
    return "".join(map(_spelled, text))


_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v"}


def on_one_line(cell: Cell) -> str:
    return "<null>" if cell is None else "".join(_SHORT.get(c) or _spelled(c) for c in cell)


def name_on_one_line(name: str) -> str:
    return spelled(name.replace("\n", "\\n").replace("\t", "\\t"))


def table(expected: Expected) -> str:
    """One line a row, numbers to the right, no blanks after the last cell."""
    head = [name_on_one_line(name) for name in expected.names]
    body = [[on_one_line(cell) for cell in row] for row in expected.rows] if head else []
    widths = [max(map(columns_of, column)) for column in zip(head, *body, strict=True)]
    rule = "+".join("-" * (w + 2) for w in widths) or "--"
    right = [False] * len(head), [kind in RIGHT for kind in expected.types]

    def line(cells: list[str], is_head: bool) -> str:
        padded = []
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            blanks = " " * (width - columns_of(cell))
            to_right = right[1][i]
            padded.append(blanks + cell if to_right else cell + (blanks if i + 1 < len(cells) else ""))
        return " " + " | ".join(padded) + "\n"

    return line(head, True) + rule + "\n" + "".join(line(row, False) for row in body)


def vertical(expected: Expected) -> str:
    names = [name_on_one_line(name) for name in expected.names]
    left = max(map(columns_of, names), default=0)
    text = ""
    for number, row in enumerate(expected.rows, 1):
        text += f"-[ RECORD {number} ]".ljust(left + 12, "-") + "\n"
        for name, cell in zip(names, row, strict=True):
            lines = spelled("<null>" if cell is None else cell).split("\n")
            heads = [name + " " * (left - columns_of(name))] + [" " * left] * (len(lines) - 1)
            for head, line in zip(heads, lines, strict=True):
                text += f"{head} | {line}\n" if line else f"{head} |\n"
    return text
