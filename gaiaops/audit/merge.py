"""Several sorted streams of lines, cut into ranges of keys: of each range every stream's lines are there at once. Pure.

Lines are those of auth/interface.py, in the order of their keys, which no locale changes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

from gaiaops.auth.interface import key_of
from gaiaops.errors import GaiaopsError

Lines = list[str]
_FIRST = "\0"  # the first key after the empty one


def group(lines: Lines, key: str) -> Lines:
    """The lines of a key in sorted lines."""
    start = end = bisect_left(lines, key, key=key_of)
    while end < len(lines) and key_of(lines[end]) == key:
        end += 1
    return lines[start:end]


class _Stream:
    """One stream's lines that are read and not yet given out."""

    def __init__(self, blocks: Iterator[Lines], key: Callable[[str], str]) -> None:
        self._blocks = blocks
        self._key = key
        self.lines: Lines = []
        self.ended = False

    def read(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            self.ended = True
        else:
            self.lines += block

    def end(self) -> None:
        """Forgets it: it broke."""
        self.lines, self.ended = [], True

    def take(self, limit: str | None) -> Lines:
        """The lines with keys below the limit, or all of them."""
        if limit is None:
            taken, self.lines = self.lines, []
            return taken
        place = bisect_left(self.lines, limit, key=self._key)
        taken = self.lines[:place]
        del self.lines[:place]
        return taken


def ranges(
    streams: Mapping[str, Iterator[Lines]],
    failed: Callable[[str, GaiaopsError], None],
    key: Callable[[str], str] = key_of,
) -> Iterator[dict[str, Lines]]:
    """Name → lines sorted by `key`, range by range, each line once; all lines of a key are in one range.

    But for the empty key: nobody is found by it, and there may be as many as there are anonymous users, so its lines
    are given out as they come. A stream that raises is told to `failed`, which may raise; else it counts as ended.
    """
    readers = {name: _Stream(blocks, key) for name, blocks in streams.items()}
    while True:
        _read(readers, failed)
        open_ones = [reader for reader in readers.values() if not reader.ended]
        limit = min((key(reader.lines[-1]) for reader in open_ones), default=None)
        limit = _FIRST if limit == "" else limit
        yield {name: reader.take(limit) for name, reader in readers.items()}
        if limit is None:
            break
        for reader in open_ones:
            # What is left of the stream that set the limit is one key's lines: the next block follows.
            if reader.lines and key(reader.lines[-1]) == limit:
                _read_one(readers, reader, failed)


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
