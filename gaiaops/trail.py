"""The append-only record of changes: one JSON line each, in the user's state folder, mode 0600."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from gaiaops.errors import DeadlineError, GaiaopsError, LostServerError, StatementError
from gaiaops.registry.paths import state_home

COMMITTING = "committing"
PARTLY = "partly"  # several transactions, of which some are committed


@dataclass
class Record:
    """Who changed what where. Statements are kept as a hash: their text may hold personal data."""

    when: str
    who: str
    environment: str
    command: str
    server: str
    statement_sha256: str
    rows: int
    outcome: str


def digest(sql: str) -> str:
    """The hash by which a statement is recorded."""
    return hashlib.sha256(sql.encode()).hexdigest()


def trail_file() -> Path:
    return state_home() / "trail.jsonl"


@contextmanager
def change(environment: str, command: str, *, sha256: str) -> Iterator[Record]:
    """Records a change, whatever its outcome. The caller fills in `server` and `rows`; `sha256` is that of the
    statements or of the plan.

    Raises StatementError before anything is changed where the trail cannot be written: a change without a
    record is not made.
    """
    record = Record(
        when=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        who=getpass.getuser(),
        environment=environment,
        command=command,
        server="",
        statement_sha256=sha256,
        rows=0,
        outcome="started",
    )
    _append(record)
    try:
        yield record
    except BaseException as error:
        # A commit whose answer was lost may have been made.
        answered = isinstance(error, GaiaopsError) and not isinstance(error, LostServerError | DeadlineError)
        unknown = record.outcome == COMMITTING and not answered
        partly = record.outcome == PARTLY and record.rows > 0
        word = "unknown" if unknown else "partly committed" if partly else "failed"
        record.outcome = f"{word}: {type(error).__name__}"
        record.rows = record.rows if unknown or partly else 0
        _append(record)
        raise
    record.outcome = "committed"
    _append(record)


def _append(record: Record) -> None:
    file = trail_file()
    line = (json.dumps(asdict(record), ensure_ascii=False) + "\n").encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line)  # one write: appends of several processes do not mix
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StatementError(
            f"cannot write the trail {file}: {error.strerror}", hint="nothing was changed; make it writable"
        ) from None
