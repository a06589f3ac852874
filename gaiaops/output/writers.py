"""The writer every format is, and the formats that pass encoded rows on as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Protocol

from gaiaops.postgres.wire import Column, Row, Wire, csv_cell, text_cell


class Writer(Protocol):
    """Takes one result: its columns, then blocks of rows in the format's wire encoding, then the end."""

    wire: Wire

    def begin(self, columns: Sequence[Column]) -> None: ...
    def block(self, rows: Sequence[Row]) -> None: ...
    def end(self) -> None: ...


class LinesWriter:
    """CSV, TSV and JSON Lines: the server's encoding is the format; a header where there is one."""

    def __init__(self, out: BinaryIO, wire: Wire) -> None:
        self.wire = wire
        self._out = out
        self._empty = False

    def begin(self, columns: Sequence[Column]) -> None:
        self._empty = not columns and self.wire is not Wire.JSON
        if self.wire is Wire.CSV:
            self._out.write((",".join(csv_cell(c.name) for c in columns) + "\n").encode())
        elif self.wire is Wire.TEXT:
            self._out.write(("\t".join(text_cell(c.name) for c in columns) + "\n").encode())

    def block(self, rows: Sequence[Row]) -> None:
        self._out.write(b"\n" * len(rows) if self._empty else b"".join(rows))
        self._out.flush()

    def end(self) -> None:
        self._out.flush()


class JsonWriter:
    """One JSON array a result; it is closed at the end only, so a broken one does not look whole."""

    wire = Wire.JSON

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lead = b"[\n"

    def begin(self, columns: Sequence[Column]) -> None:
        self._lead = b"[\n"

    def block(self, rows: Sequence[Row]) -> None:
        # An encoded row holds one line feed, its last byte.
        self._out.write(self._lead + b"".join(rows)[:-1].replace(b"\n", b",\n"))
        self._out.flush()
        self._lead = b",\n"

    def end(self) -> None:
        self._out.write(b"[]\n" if self._lead == b"[\n" else b"\n]\n")
        self._out.flush()
