"""The formats that show values whole: vertical, Markdown, HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import BinaryIO

from gaiaops.output.cells import NULL, label, safe, values, width
from gaiaops.postgres.wire import Column, Row, Wire


class _CellsWriter:
    """What the three have in common: cells in, one piece of text a row out."""

    wire = Wire.TEXT

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._columns: Sequence[Column] = ()
        self._count = 0

    def begin(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._count = 0
        self._put(self.head())

    def block(self, rows: Sequence[Row]) -> None:
        cells = values(rows) if self._columns else [[] for _ in rows]
        self._put("".join([self.row(row) for row in cells]))
        self._out.flush()

    def end(self) -> None:
        self._put(self.foot())
        self._out.flush()

    def _put(self, text: str) -> None:
        self._out.write(text.encode("utf-8", "replace"))

    def head(self) -> str:
        return ""

    def row(self, cells: Sequence[str | None]) -> str:
        raise NotImplementedError

    def foot(self) -> str:
        return ""


class VerticalWriter(_CellsWriter):
    """One line a value, as psql's expanded display; line breaks in values are kept."""

    def row(self, cells: Sequence[str | None]) -> str:
        self._count += 1
        names = [label(column.name) for column in self._columns]
        left = max(map(width, names), default=0)
        lines = [f"-[ RECORD {self._count} ]".ljust(left + 12, "-")]
        for name, cell in zip(names, cells, strict=True):
            first, *more = [safe(line) for line in (NULL if cell is None else cell).split("\n")]
            lines.append(f"{name}{' ' * (left - width(name))} |" + (first and f" {first}"))
            lines += [f"{' ' * left} |" + (line and f" {line}") for line in more]
        return "\n".join(lines) + "\n"


class MarkdownWriter(_CellsWriter):
    """A GitHub-flavoured Markdown table."""

    def head(self) -> str:
        names = [_markdown(column.name) for column in self._columns]
        rules = ["---:" if column.numeric else "---" for column in self._columns]
        return f"| {' | '.join(names)} |\n| {' | '.join(rules)} |\n"

    def row(self, cells: Sequence[str | None]) -> str:
        return f"| {' | '.join(_markdown(cell) for cell in cells)} |\n"


# What Markdown would take for the end of the cell, emphasis, code, a deletion or a link.
_MARKS = re.compile(r"[\\|*`~]|\](?=\()|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")


def _markdown(cell: str | None) -> str:
    if cell is None:
        return "*null*"
    text = safe(_MARKS.sub(r"\\\g<0>", html.escape(cell, quote=False)).replace("\t", " "))
    return text.replace("\n", "<br>")


def _html(text: str) -> str:
    """Escaped; a bare carriage return would be read as a line feed (HTML, 13.2.3.5)."""
    return html.escape(text).replace("\r", "&#13;")


class HtmlWriter(_CellsWriter):
    """A plain HTML table; NULL cells have the class `null`."""

    def head(self) -> str:
        names = "".join(f"<th>{_html(column.name)}</th>" for column in self._columns)
        return f"<table>\n<thead><tr>{names}</tr></thead>\n<tbody>\n"

    def row(self, cells: Sequence[str | None]) -> str:
        tags = ['<td class="null"></td>' if c is None else f"<td>{_html(c)}</td>" for c in cells]
        return f"<tr>{''.join(tags)}</tr>\n"

    def foot(self) -> str:
        return "</tbody>\n</table>\n"
