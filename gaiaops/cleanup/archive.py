"""Clean-ups on disk: what is in a run's folder besides the journal, the plan, its users and the segments.

A segment is a text: for each statement a header line in JSON, the rows as COPY wrote them with the user's number
in front, and a line `\\.`. It is synced before its transaction commits, and the journal's lines are synced one by
one, so that a deleted row is always in a synced segment.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from gaiaops import rundir
from gaiaops.cleanup.journal import Section, Segment, State, fold
from gaiaops.cleanup.plan import Plan
from gaiaops.errors import StatementError
from gaiaops.rundir import BUFFER, RunFolder, private_file, sync_folder, unwritable, was_changed

_CHUNK = 1 << 16
END = b"\\.\n"


class SegmentWriter:
    """Writes one segment; nothing of it counts until `close` has synced it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=BUFFER)
        self._hash = hashlib.sha256()
        self._size = 0
        self.sections: list[Section] = []

    def write(self, section: Section, blocks: Iterable[bytes]) -> Section:
        """One section; gives it with its place and the number of its rows."""
        with self._full_disk():
            return self._write(section, blocks)

    def _write(self, section: Section, blocks: Iterable[bytes]) -> Section:
        head = {"op": section.kind, "table": section.table, "columns": section.columns, "reason": section.reason}
        self._put(json.dumps(head, ensure_ascii=False).encode() + b"\n")
        offset = self._size
        rows = 0
        for block in blocks:
            rows += block.count(b"\n")  # a line feed inside a field is written \n
            self._put(block)
        placed = msgspec.structs.replace(section, rows=rows, offset=offset, size=self._size - offset)
        self._put(END)
        if rows:
            self.sections.append(placed)
        return placed

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)

    def close(self, number: int, xid: str, users: int) -> Segment:
        """Syncs the file and its folder. Raises StatementError where the disk does not take it."""
        with self._full_disk():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            sync_folder(self.path.parent)
        return Segment(number, self._hash.hexdigest(), self._size, xid, users, tuple(self.sections))

    def discard(self) -> None:
        """Removes what was written: nothing was committed."""
        with suppress(OSError):  # what is still in the buffer may not fit either
            self._file.close()
        self.path.unlink(missing_ok=True)

    @contextmanager
    def _full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self.path, error) from None


class Run(RunFolder):
    """One clean-up's folder, or a shard's part of one.

    `guests` where its people are other shards', and only what still names them goes.
    """

    guests = False

    @property
    def fresh(self) -> bool:
        """Whether nothing was done yet."""
        return self.state().last == 0

    @property
    def parts(self) -> Sequence[Run]:
        """The parts of which each holds one database's rows."""
        return (self,)

    def harmless(self) -> Iterator[bytes]:
        """Of a shard: the names in soft references that are nobody's who stays, as lines of COPY."""
        return iter(())

    @property
    def users_file(self) -> Path:
        """The plan's users: number, id and address as lines of COPY."""
        return self.folder / "users.copy"

    def plan(self) -> Plan:
        """Raises StatementError where it cannot be read."""
        return self.read_plan("plan.json", Plan)

    def state(self) -> State:
        """The journal, folded."""
        return fold(self.events())

    def note_segment(self, segment: Segment) -> None:
        self.note("synced", of=msgspec.to_builtins(segment))

    def segment_file(self, number: int) -> Path:
        return self.folder / "segments" / f"{number:06}.copy"

    def segment(self, number: int) -> SegmentWriter:
        """A new segment. Raises StatementError where the disk does not take it."""
        path = self.segment_file(number)
        try:
            return SegmentWriter(path)
        except OSError as error:
            raise unwritable(path, error) from None

    def verify(self, segment: Segment) -> None:
        """Raises RefusedError where a segment's file is not what was written."""
        path, digest = self.segment_file(segment.number), hashlib.sha256()
        try:
            with path.open("rb") as file:
                while chunk := file.read(BUFFER):
                    digest.update(chunk)
        except OSError as error:
            raise self.not_whole(path, error) from None
        if digest.hexdigest() != segment.sha256:
            raise was_changed(path)

    def lines(self, segment: Segment, section: Section) -> Iterator[bytes]:
        """A section's lines, in chunks that end with a line."""
        path = self.segment_file(segment.number)
        try:
            with path.open("rb") as file:
                file.seek(section.offset)
                left = section.size
                while left:
                    chunk = file.read(min(_CHUNK, left))
                    if not chunk.endswith(b"\n"):
                        chunk += file.readline()
                    left -= len(chunk)
                    if not chunk.endswith(b"\n") or left < 0:
                        raise StatementError(f"the archive is not whole: {path.name}", hint=f"look into {self.folder}")
                    yield chunk
        except OSError as error:
            raise StatementError(
                f"the archive cannot be read: {path.name}: {error.strerror}", hint=f"look into {self.folder}"
            ) from None


def create(plan: Plan, users: Path) -> Run:
    """Makes a run's folder from a plan and the file of its users, whole or not at all.

    Raises RefusedError where the plan was used before, StatementError where the disk does not take it.
    """

    return Run(rundir.create(plan.id, lambda draft: fill(draft, plan, users)))


def fill(draft: Path, plan: Plan, users: Path) -> None:
    """Writes what a run's folder begins with."""
    (draft / "segments").mkdir(mode=0o700)
    with users.open("rb") as source, private_file(draft / "users.copy") as target:
        while chunk := source.read(BUFFER):
            target.write(chunk)
    with private_file(draft / "plan.json") as target:
        target.write(msgspec.json.encode(plan))


def every() -> list[Run]:
    """All clean-ups, the newest first."""
    return [Run(run.folder) for run in rundir.every() if run.command == rundir.CLEANUP]
