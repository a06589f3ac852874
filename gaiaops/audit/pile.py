"""Values put aside: in memory while they are few, then in a temporary file. Their number does not grow the memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)
_IN_MEMORY = 1 << 20


class Pile(Generic[T]):
    """Structs of one type, given back in their order, any number of times."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by close()
        self._count = 0
        self._moved = False  # somebody read: the next value still goes to the end

    def __len__(self) -> int:
        return self._count

    def add(self, value: T) -> None:
        if self._moved:
            self._file.seek(0, 2)
            self._moved = False
        self._file.write(msgspec.json.encode(value) + b"\n")  # JSON never holds a line feed
        self._count += 1

    def __iter__(self) -> Iterator[T]:
        self._moved = True
        self._file.seek(0)
        for line in self._file:
            yield self._decoder.decode(line)

    def batches(self, size: int) -> Iterator[list[T]]:
        """Lists of at most `size` values."""
        batch: list[T] = []
        for value in self:
            batch.append(value)
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch

    def clear(self) -> None:
        """Forgets everything."""
        self._file.seek(0)
        self._file.truncate()
        self._count = 0

    def close(self) -> None:
        self._file.close()
