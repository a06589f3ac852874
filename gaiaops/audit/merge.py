"""Several sorted streams of lines, cut into ranges of keys: of each range every stream's lines are there at once. Pure.

A line begins with its key and a tab. Keys are ordered by their bytes, which no locale changes; a line with a
backslash holds escaped characters (COPY's text), so its place is not where its bytes say: such lines are kept for a
last range of their own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

from gaiaops.errors import GaiaopsError

Lines = list[bytes]


def key_of(line: bytes) -> bytes:
    """
    >>> key_of(b"a@b\\t1\\t\\t")
    b'a@b'
    """
    return line.partition(b"\t")[0]


def group(lines: Lines, key: bytes) -> Lines:
    """The lines of a key in sorted lines."""
    start = end = bisect_left(lines, key, key=key_of)
    while end < len(lines) and key_of(lines[end]) == key:
        end += 1
    return lines[start:end]


class _Stream:
    """One stream's lines that are read and not yet given out."""

    def __init__(self, blocks: Iterator[Lines]) -> None:
        self._blocks = blocks
        self.lines: Lines = []
        self.odd: Lines = []
        self.ended = False

    def read(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            self.ended = True
            return
        if any(b"\\" in line for line in block):
            self.odd += [line for line in block if b"\\" in line]
            block = [line for line in block if b"\\" not in line]
        self.lines += block

    def end(self) -> None:
        """Forgets it: it broke."""
        self.lines, self.odd, self.ended = [], [], True

    def take(self, limit: bytes | None) -> Lines:
        """The lines with keys below the limit, or all of them."""
        if limit is None:
            taken, self.lines = self.lines, []
            return taken
        place = bisect_left(self.lines, limit, key=key_of)
        taken = self.lines[:place]
        del self.lines[:place]
        return taken


def ranges(
    streams: Mapping[str, Iterator[Lines]], failed: Callable[[str, GaiaopsError], None]
) -> Iterator[dict[str, Lines]]:
    """Name → sorted lines, range by range, each line once.

    A stream that raises is told to `failed`, which may raise; else it counts as ended.
    """
    readers = {name: _Stream(blocks) for name, blocks in streams.items()}
    while True:
        _read(readers, failed)
        open_ones = [reader for reader in readers.values() if not reader.ended]
        limit = min((key_of(reader.lines[-1]) for reader in open_ones), default=None)
        yield {name: reader.take(limit) for name, reader in readers.items()}
        if limit is None:
            break
        for reader in open_ones:
            # What is left of the stream that set the limit is one key's lines: the next block follows.
            if key_of(reader.lines[-1]) == limit:
                _read_one(readers, reader, failed)
    if any(reader.odd for reader in readers.values()):
        yield {name: sorted(reader.odd, key=lambda line: (key_of(line), line)) for name, reader in readers.items()}


def _read(readers: Mapping[str, _Stream], failed: Callable[[str, GaiaopsError], None]) -> None:
    """Until each stream has a line or has ended."""
    for reader in readers.values():
        while not reader.ended and not reader.lines:
            _read_one(readers, reader, failed)


def _read_one(readers: Mapping[str, _Stream], reader: _Stream, failed: Callable[[str, GaiaopsError], None]) -> None:
    try:
        reader.read()
    except GaiaopsError as error:
        reader.end()
        failed(next(name for name, one in readers.items() if one is reader), error)
