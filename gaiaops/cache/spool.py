"""Keys put aside between the question and the act: in memory while they are few, then in a temporary file."""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Iterator

_IN_MEMORY = 1 << 20
_KNOWN = 100_000  # hashes of keys, so that one is put aside once
_LENGTH = struct.Struct("<I")


class Spool:
    """Keys in their order, each once as long as there are not more than 100,000."""

    def __init__(self) -> None:
        # Nobody else can open it: it has no name (tempfile.TemporaryFile).
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by close()
        self._known: set[bytes] = set()
        self._digest = hashlib.sha256()
        self.exact = True
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: bytes) -> None:
        # A digest, as two keys with the same hash() would be taken for one.
        mark = hashlib.blake2b(key, digest_size=12).digest()
        if mark in self._known:
            return
        if len(self._known) < _KNOWN:
            self._known.add(mark)
        else:
            self.exact = False
        line = _LENGTH.pack(len(key)) + key
        self._digest.update(line)
        self._file.write(line)
        self._count += 1

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        while head := self._file.read(_LENGTH.size):
            yield self._file.read(_LENGTH.unpack(head)[0])

    @property
    def sha256(self) -> str:
        """What the trail keeps of the keys: they may hold personal data."""
        return self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()
