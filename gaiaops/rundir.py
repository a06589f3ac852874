"""Folders of runs: what a change leaves on this machine so that it can be told, gone on with and undone.

One folder a run, 0600 inside: the plan, the archive of what was changed, and a journal of which every line is
synced on its own. Whose plan it is tells what the run was: `plan.json` a clean-up's, `repair.json` a repair's.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from gaiaops.errors import GaiaopsError, RefusedError, StatementError, UsageError
from gaiaops.registry.paths import data_home

BUFFER = 1 << 20
REPAIR_PLAN = "repair.json"
CLEANUP, REPAIR = "cleanup", "audit --fix"
P = TypeVar("P")


def runs_folder() -> Path:
    """$XDG_DATA_HOME/gaiaops/runs"""
    return data_home() / "runs"


class RunFolder:
    """One run's folder: its journal and its lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._noting = threading.Lock()

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def command(self) -> str:
        """Which command made it: CLEANUP or REPAIR."""
        return REPAIR if (self.folder / REPAIR_PLAN).exists() else CLEANUP

    def events(self) -> list[dict[str, Any]]:
        """The journal. A line that a crash cut in two is left out: it was not yet certain."""
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
        return events

    def read_plan(self, name: str, shape: type[P]) -> P:
        """The plan in a file of the folder. Raises StatementError where it cannot be read."""
        try:
            return msgspec.json.decode((self.folder / name).read_bytes(), type=shape)
        except (OSError, msgspec.MsgspecError) as error:
            raise StatementError(f"run {self.id} cannot be read: {error}", hint=f"look into {self.folder}") from None

    def not_whole(self, path: Path, error: OSError) -> RefusedError:
        """The error for a file of the archive that cannot be read."""
        return RefusedError(f"the archive is not whole: {path.name}: {error.strerror}", hint=f"look into {self.folder}")

    def note(self, event: str, **values: Any) -> None:
        """Appends to the journal and syncs it. Raises StatementError where that fails."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"at": at, "event": event, **values}, ensure_ascii=False).encode()
        path = self.folder / "journal.jsonl"
        try:
            with self._noting:
                _append(path, line)
        except OSError as error:
            raise unwritable(path, error) from None

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

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    @property
    def changed(self) -> float:
        """When the last of its files was written, in seconds since 1970."""
        return max((path.stat().st_mtime for path in self.folder.rglob("*")), default=0.0)


def new_id(environment: str) -> str:
    """The id of a plan, which becomes its run's: the second, the environment or shard, and something random."""
    name = environment.replace("/", "-")  # it names a folder
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{name}-{secrets.token_hex(2)}"


def create(run: str, fill: Callable[[Path], None]) -> Path:
    """Makes the folder of a run, whole or not at all: `fill` writes its files into a draft.

    Raises RefusedError where the plan was used before, StatementError where the disk does not take it.
    """
    folder = runs_folder() / run
    draft = runs_folder() / f".{run}.{os.getpid()}"
    try:
        runs_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.mkdir(mode=0o700)
        fill(draft)
        sync_folder(draft)
        draft.rename(folder)  # fails where the folder is there and not empty
        sync_folder(runs_folder())
    except OSError as error:
        remove(draft)
        if folder.exists():
            raise used_plan(run) from None
        failure = unwritable(runs_folder(), error)
        failure.hint = f"{runs_folder()} must be writable"
        raise failure from None
    except GaiaopsError:
        remove(draft)
        raise
    return folder


def used_plan(run: str) -> RefusedError:
    """The error for a plan that was applied before."""
    return RefusedError("this plan was used: a plan is good for one run", hint=f"gaiaops runs {run}; make a new plan")


def find(name: str) -> RunFolder:
    """The run of an id, or of the beginning of exactly one. Raises UsageError."""
    ids = [run.id for run in every()]
    matching = [name] if name in ids else [run for run in ids if run.startswith(name)]
    if len(matching) == 1 and name:
        return RunFolder(runs_folder() / matching[0])
    what = "is the beginning of several runs" if matching else "is no run"
    raise UsageError(f'"{name}" {what}', hint="gaiaops runs lists them")


def every() -> list[RunFolder]:
    """All runs, the newest first."""
    if not runs_folder().is_dir():
        return []
    folders = [path for path in runs_folder().iterdir() if path.is_dir() and not path.name.startswith(".")]
    return [RunFolder(path) for path in sorted(folders, key=lambda path: path.name, reverse=True)]


def expire(milliseconds: int, unfinished: Callable[[RunFolder], bool]) -> tuple[list[str], list[str]]:
    """Removes the runs older than this that are finished; gives the ids removed and those kept.

    A run's age is counted from its last change.
    """
    before = time.time() - milliseconds / 1000
    removed, kept = [], []
    for run in every():
        if run.changed > before:
            continue
        if unfinished(run):
            kept.append(run.id)
            continue
        try:
            with run.lock():
                remove(run.folder)
                removed.append(run.id)
        except RefusedError:
            kept.append(run.id)
    return removed, kept


def remove(folder: Path) -> None:
    """Deletes a folder, if it is there."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """A new file of mode 0600, synced at the end. Raises StatementError where the disk does not take it."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=BUFFER) as file:
            os.fchmod(file.fileno(), 0o600)
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StatementError(f"cannot write {path}: {error.strerror}", hint="make room, and run it again") from None


def was_changed(path: Path) -> RefusedError:
    """The error for a file of the archive that is not what was written."""
    return RefusedError(
        f"the archive was changed: {path.name} does not match its SHA-256", hint="nothing was restored from it"
    )


def unwritable(path: Path, error: OSError) -> StatementError:
    """The error for an archive that the disk does not take."""
    return StatementError(
        f"cannot write the archive {path}: {error.strerror}", hint="make room or make it writable, and run it again"
    )


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder certain."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
