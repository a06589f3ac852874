"""The aligned table, streaming: one line a row, memory that does not grow with the rows.

On a terminal or a pipe the first block's widths serve, and later ones widen it. In a file, where nobody
waits for the first row, the blocks are spooled to disk first, so every row is aligned.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import BinaryIO

from gaiaops.output.cells import display_lines, label, width
from gaiaops.postgres.wire import Column, Row, Wire


class TableWriter:
    """Writes ` a | b` lines under a header and a rule, as psql and tabulate's `presto` do."""

    wire = Wire.TEXT

    def __init__(self, out: BinaryIO, *, exact: bool = False) -> None:
        self._out = out
        self._exact = exact
        self._spool: BinaryIO | None = None
        self._begin([])

    def _begin(self, columns: Sequence[Column]) -> None:
        self._names = [label(column.name) for column in columns]
        self._right = [column.numeric for column in columns]
        self._widths = [max(width(name), c.at_least) for name, c in zip(self._names, columns, strict=True)]
        self._sizes: list[int] = []
        self._headed = False

    def begin(self, columns: Sequence[Column]) -> None:
        self._begin(columns)
        if self._exact:
            self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives until end()

    def block(self, rows: Sequence[Row]) -> None:
        if not self._names:  # a result of zero columns has rows all the same
            return
        text = display_lines(rows)
        lines = [line.split("\t") for line in text.split("\n")]
        measure = len if text.isascii() else width
        self._widths = [
            max(known, *map(measure, column))
            for known, column in zip(self._widths, zip(*lines, strict=True), strict=True)
        ]
        if self._spool is None:
            self._header()
            self._write(text, lines)
            self._out.flush()
        else:
            self._sizes.append(self._spool.write(text.encode("utf-8", "surrogateescape")))

    def end(self) -> None:
        self._header()
        if self._spool is not None:
            self._spool.seek(0)
            for size in self._sizes:
                text = self._spool.read(size).decode("utf-8", "surrogateescape")
                self._write(text, [line.split("\t") for line in text.split("\n")])
            self._spool.close()
            self._spool = None
        self._out.flush()

    def _header(self) -> None:
        if self._headed:
            return
        self._headed = True
        self._out.write((self._padded(self._names) + "\n").encode("utf-8", "surrogateescape"))
        self._out.write(("+".join("-" * (w + 2) for w in self._widths) or "--").encode() + b"\n")

    def _write(self, text: str, lines: list[list[str]]) -> None:
        if text.isascii():
            template = self._template()
            body = "".join([template % tuple(cells) for cells in lines])
        else:
            body = "".join([self._padded(cells) + "\n" for cells in lines])
        self._out.write(body.encode("utf-8", "surrogateescape"))

    def _template(self) -> str:
        """One % format a row: the quickest way in CPython to pad all cells at once."""
        cells = [f"%{w}s" if right else f"%-{w}s" for w, right in zip(self._widths, self._right, strict=True)]
        if not self._right[-1]:
            cells[-1] = "%s"  # no trailing blanks
        return " " + " | ".join(cells) + "\n"

    def _padded(self, cells: Sequence[str]) -> str:
        padded = []
        last = len(cells) - 1
        for i, (cell, right, columns) in enumerate(zip(cells, self._right, self._widths, strict=True)):
            blanks = " " * (columns - width(cell))
            padded.append(blanks + cell if right else cell if i == last else cell + blanks)
        return " " + " | ".join(padded)
