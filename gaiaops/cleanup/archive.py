"""Runs on disk: one folder each, 0600 inside, with the plan, the segments and the journal.

A segment is a text: for each statement a header line in JSON, the rows as COPY wrote them with the user's number
in front, and a line `\\.`. It is synced before its transaction commits, and the journal's lines are synced one by
one, so that a deleted row is always in a synced segment.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from gaiaops.cleanup.journal import Section, Segment, State, fold
from gaiaops.cleanup.plan import Plan
from gaiaops.errors import RefusedError, StatementError, UsageError
from gaiaops.registry.paths import data_home

_BUFFER = 1 << 20
_CHUNK = 1 << 16
END = b"\\.\n"


def runs_folder() -> Path:
    """$XDG_DATA_HOME/gaiaops/runs"""
    return data_home() / "runs"


class SegmentWriter:
    """Writes one segment; nothing of it counts until `close` has synced it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=_BUFFER)
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
            _sync_folder(self.path.parent)
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
            raise _unwritable(self.path, error) from None


class Run:
    """One run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._noting = threading.Lock()

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def users_file(self) -> Path:
        """The plan's users: number, id and address as lines of COPY."""
        return self.folder / "users.copy"

    def plan(self) -> Plan:
        """Raises StatementError where it cannot be read."""
        try:
            return msgspec.json.decode((self.folder / "plan.json").read_bytes(), type=Plan)
        except (OSError, msgspec.MsgspecError) as error:
            raise StatementError(f"run {self.id} cannot be read: {error}", hint=f"look into {self.folder}") from None

    def state(self) -> State:
        """The journal, folded. A last line that a crash cut in two is left out: it was not yet certain."""
        events = []
        try:
            lines = (self.folder / "journal.jsonl").read_bytes().split(b"\n")
        except FileNotFoundError:
            lines = []
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                events.append(event)
        return fold(events)

    def note(self, event: str, **values: Any) -> None:
        """Appends to the journal and syncs it. Raises StatementError where that fails."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"at": at, "event": event, **values}, ensure_ascii=False).encode()
        path = self.folder / "journal.jsonl"
        try:
            with self._noting:
                _append(path, line)
        except OSError as error:
            raise _unwritable(path, error) from None

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
            raise _unwritable(path, error) from None

    def verify(self, segment: Segment) -> None:
        """Raises RefusedError where a segment's file is not what was written."""
        path, digest = self.segment_file(segment.number), hashlib.sha256()
        try:
            with path.open("rb") as file:
                while chunk := file.read(_BUFFER):
                    digest.update(chunk)
        except OSError as error:
            raise RefusedError(
                f"the archive is not whole: {path.name}: {error.strerror}", hint=f"look into {self.folder}"
            ) from None
        if digest.hexdigest() != segment.sha256:
            raise RefusedError(
                f"the archive was changed: {path.name} does not match its SHA-256", hint="nothing was restored from it"
            )

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

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One process works on a run. Raises RefusedError where another one does."""
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RefusedError(f"run {self.id} is being worked on", hint="wait for it: gaiaops runs") from None
            yield
        finally:
            os.close(handle)


def create(plan: Plan, users: Path) -> Run:
    """Makes a run's folder from a plan and the file of its users, whole or not at all.

    Raises RefusedError where the plan was used before, StatementError where the disk does not take it.
    """
    folder = runs_folder() / plan.id
    draft = runs_folder() / f".{plan.id}.{os.getpid()}"
    try:
        runs_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.mkdir(mode=0o700)
        (draft / "segments").mkdir(mode=0o700)
        with users.open("rb") as source, private_file(draft / "users.copy") as target:
            while chunk := source.read(_BUFFER):
                target.write(chunk)
        with private_file(draft / "plan.json") as target:
            target.write(msgspec.json.encode(plan))
        _sync_folder(draft)
        draft.rename(folder)  # fails where the folder is there and not empty
        _sync_folder(runs_folder())
    except OSError as error:
        remove(draft)
        if folder.exists():
            raise used_plan(plan.id) from None
        failure = _unwritable(runs_folder(), error)
        failure.hint = f"{runs_folder()} must be writable"
        raise failure from None
    return Run(folder)


def used_plan(run: str) -> RefusedError:
    """The error for a plan that was applied before."""
    return RefusedError("this plan was used: a plan is good for one run", hint=f"gaiaops runs {run}; make a new plan")


def find(name: str) -> Run:
    """The run of an id, or of the beginning of exactly one. Raises UsageError."""
    ids = [run.id for run in every()]
    matching = [name] if name in ids else [run for run in ids if run.startswith(name)]
    if len(matching) == 1 and name:
        return Run(runs_folder() / matching[0])
    what = "is the beginning of several runs" if matching else "is no run"
    raise UsageError(f'"{name}" {what}', hint="gaiaops runs lists them")


def every() -> list[Run]:
    """All runs, the newest first."""
    if not runs_folder().is_dir():
        return []
    folders = [path for path in runs_folder().iterdir() if path.is_dir() and not path.name.startswith(".")]
    return [Run(path) for path in sorted(folders, key=lambda path: path.name, reverse=True)]


def remove(folder: Path) -> None:
    """Deletes a folder, if it is there."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """A new file of mode 0600, synced at the end. Raises StatementError where the disk does not take it."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=_BUFFER) as file:
            os.fchmod(file.fileno(), 0o600)
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StatementError(f"cannot write {path}: {error.strerror}", hint="make room, and run it again") from None


def _unwritable(path: Path, error: OSError) -> StatementError:
    return StatementError(
        f"cannot write the archive {path}: {error.strerror}", hint="make room or make it writable, and run it again"
    )


def _append(path: Path, line: bytes) -> None:
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        end = os.lseek(handle, 0, os.SEEK_END)
        # What a crash cut in two must not swallow this line too.
        cut = end > 0 and os.pread(handle, 1, end - 1) != b"\n"
        data = (b"\n" if cut else b"") + line + b"\n"
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
