"""Blocks in COPY's text encoding into cells for people to read. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gaiaops.postgres.wire import Row

NULL = "<null>"
# Everything below 0x20 but tab and line feed (which separate), and DEL: a value must not drive the terminal.
_CONTROLS = bytes(set(range(32)) - {9, 10}) + b"\x7f"
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_UNESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "N": NULL}


def safe(text: str) -> str:
    """Text with everything that could move the cursor or reorder the line spelled out.

    >>> safe("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    return _UNSAFE.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else f"\\u{ord(m[0]):04x}", text)


def label(name: str) -> str:
    """A column's name on one line, fit for a screen."""
    return safe(name.replace("\n", "\\n").replace("\t", "\\t"))


# Cells end with a tab or a line feed: both become tabs, and whatever must not reach a terminal becomes \x01.
_TO_CELLS = bytes.maketrans(b"\n" + _CONTROLS, b"\t" + b"\x01" * len(_CONTROLS))


def plain_cells(raw: bytes) -> list[str] | None:
    """All cells of a block, row after row, where every character is one column wide; else None.

    >>> plain_cells(b"a\\\\tb\\t\\\\N\\nc\\t1\\n")
    ['a\\\\tb', '<null>', 'c', '1']
    """
    if not raw.isascii():
        return None
    cells = raw.translate(_TO_CELLS)
    if b"\x01" in cells:
        return None
    text = cells[:-1].decode("ascii")
    return (_unescaped(text) if "\\" in text else text).split("\t")


def _unescaped(text: str) -> str:
    """NULL as <null>, a doubled backslash as one; what stands for a line break or tab stays as it is."""
    if "\\\\" in text:
        return _ESCAPE.sub(lambda m: NULL if m[1] == "N" else "\\" if m[1] == "\\" else m[0], text)
    return text.replace("\\N", NULL)


def display_lines(raw: bytes) -> str:
    """A block as lines of tab-separated cells, one line a row, fit for a screen.

    A line break or tab within a value stays as COPY wrote it (backslash n, backslash t), NULL is <null>, and
    a doubled backslash becomes one.
    """
    text = raw.decode("utf-8", "surrogateescape")
    if len(raw.translate(None, _CONTROLS)) != len(raw) or not raw.isascii():
        text = safe(text)
    return _unescaped(text)[:-1]


def values(rows: Iterable[Row]) -> list[list[str | None]]:
    """A block's cells as they are: escapes undone, NULL as None.

    >>> values([b"a\\\\tb\\t\\\\N\\n"])
    [['a\\tb', None]]
    """
    decoded = (bytes(row)[:-1].decode("utf-8", "replace").split("\t") for row in rows)
    return [[None if cell == "\\N" else _plain(cell) for cell in row] for row in decoded]


def _plain(cell: str) -> str:
    return _ESCAPE.sub(lambda m: _UNESCAPED.get(m[1], m[1]), cell) if "\\" in cell else cell


def width(text: str) -> int:
    """Columns a text takes on a terminal: wide characters take two, combining ones none (UAX #11)."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth

    columns = wcswidth(text)
    return columns if columns >= 0 else len(text)
