"""The aligned table, streaming: one line a row, memory that does not grow with the rows.

On a terminal or a pipe the first block's widths serve, and later ones widen it. In a file, where nobody
waits for the first row, the blocks are spooled to disk first, so every row is aligned: most blocks already have
the final widths and are copied, the others are widened.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO

from gaiaops.output.cells import display_lines, label, plain_cells, width
from gaiaops.postgres.wire import Column, Row, Wire

_Widths = tuple[int, ...]


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
        self._widths: _Widths = tuple(max(width(n), c.at_least) for n, c in zip(self._names, columns, strict=True))
        # What is in the spool: (bytes, the widths they are padded to; None: cells with tabs between them).
        self._spooled: list[tuple[int, _Widths | None]] = []
        self._headed = False

    def begin(self, columns: Sequence[Column]) -> None:
        self._begin(columns)
        if self._exact:
            self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives until end()

    def block(self, rows: Sequence[Row]) -> None:
        if not self._names:  # a result of zero columns has rows all the same
            return
        raw = b"".join(rows)
        cells = plain_cells(raw)
        padded_to: _Widths | None = None
        if cells is not None:
            self._widen(len, (cells[i :: len(self._names)] for i in range(len(self._names))))
            body, padded_to = self._padded_ascii(cells), self._widths
        else:
            text = display_lines(raw)
            lines = [line.split("\t") for line in text.split("\n")]
            self._widen(width, zip(*lines, strict=True))
            body = self._padded_lines(lines) if self._spool is None else text
        if self._spool is None:
            self._header()
            self._put(body)
            self._out.flush()
        else:
            self._spooled.append((self._spool.write(_encoded(body)), padded_to))

    def end(self) -> None:
        self._header()
        if self._spool is not None:
            self._spool.seek(0)
            for size, padded_to in self._spooled:
                data = self._spool.read(size)
                self._out.write(data if padded_to == self._widths else self._again(data, padded_to))
            self._spool.close()
            self._spool = None
        self._out.flush()

    def _again(self, data: bytes, padded_to: _Widths | None) -> bytes:
        """A spooled block with the final widths."""
        text = data.decode("utf-8", "surrogateescape")
        if padded_to is None:
            return _encoded(self._padded_lines([line.split("\t") for line in text.split("\n")]))
        last = len(padded_to) - 1
        # Padded cells stand at known places: blanks go behind a left-aligned one and before a right-aligned one.
        # From the right, so that the places to the left stay where they are.
        for i in range(last, -1, -1):
            blanks = " " * (self._widths[i] - padded_to[i])
            if blanks and (self._right[i] or i < last):
                place = 1 + sum(padded_to[:i]) + 3 * i + (0 if self._right[i] else padded_to[i])
                text = _inserted(text, place, blanks)
        return _encoded(text)

    def _widen(self, measure: Callable[[str], int], columns: Iterable[Sequence[str]]) -> None:
        self._widths = tuple(
            max(known, max(map(measure, column)))  # noqa: PLW3301 - unpacking a column is slower
            for known, column in zip(self._widths, columns, strict=True)
        )

    def _header(self) -> None:
        if self._headed:
            return
        self._headed = True
        self._put(self._padded_lines([self._names]))
        self._put(("+".join("-" * (w + 2) for w in self._widths) or "--") + "\n")

    def _padded_ascii(self, cells: Sequence[str]) -> str:
        """All rows of a block by one % format: the quickest way in CPython to pad many cells."""
        line = [f"%{w}s" if right else f"%-{w}s" for w, right in zip(self._widths, self._right, strict=True)]
        if not self._right[-1]:
            line[-1] = "%s"  # no trailing blanks
        template = " " + " | ".join(line) + "\n"
        return template * (len(cells) // len(self._names)) % tuple(cells)

    def _padded_lines(self, lines: Sequence[Sequence[str]]) -> str:
        """Rows with characters that are not one column wide each."""
        padded = []
        last = len(self._names) - 1
        for cells in lines:
            line = []
            for i, (cell, right, columns) in enumerate(zip(cells, self._right, self._widths, strict=True)):
                blanks = " " * (columns - width(cell))
                line.append(blanks + cell if right else cell if i == last else cell + blanks)
            padded.append(" " + " | ".join(line) + "\n")
        return "".join(padded)

    def _put(self, text: str) -> None:
        self._out.write(_encoded(text))


def _inserted(text: str, place: int, blanks: str) -> str:
    """A block with blanks at one place of every line.

    >>> _inserted("abc\\nabc\\n", 1, "_"), _inserted("abc\\nab\\n", 1, "_")
    ('a_bc\\na_bc\\n', 'a_bc\\na_b\\n')
    """
    length = text.find("\n") + 1
    count = len(text) // length
    if len(text) == count * length and text[length - 1 :: length] == "\n" * count and text.count("\n") == count:
        # Lines of one length: one slice a line, from place to place, and the blanks go in between.
        return blanks.join([text[:place], *[text[i : i + length] for i in range(place, len(text), length)]])
    return "\n".join([line[:place] + blanks + line[place:] for line in text[:-1].split("\n")]) + "\n"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
