"""What a purge would do, as a value, and the file that keeps it. Pure but for reading and writing that file.

A plan's file is a text of JSON lines: the plan, then one line a user, then the SHA-256 of all before it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from gaiaops.errors import RefusedError, UsageError
from gaiaops.postgres import copytext

FORMAT = 1
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*")


class User(msgspec.Struct, frozen=True):
    """A user of a plan: number, id and address, and the rule that matched."""

    n: int
    id: str
    address: str
    rule: str


class Reason(msgspec.Struct, frozen=True):
    """Why rows of a table are touched: by which reference, and what kind it is."""

    reference: str
    why: str
    rows: int


class TablePlan(msgspec.Struct, frozen=True):
    """What happens to the rows of one table; `action` is delete, null, default, keep or block."""

    table: str
    action: str
    rows: int
    collateral: int
    reasons: tuple[Reason, ...]


class Collateral(msgspec.Struct, frozen=True):
    """Rows of somebody who is not in the plan, which would go with a user who is."""

    table: str
    owner: str
    rows: int
    users: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True):
    """Everything a purge would do. Times are the server's, in UTC; `heavy` gives the rows of users with many.

    `cache_keys` is Redis key template → number, `cache_entries` the keys themselves where there are at most 1,000:
    whether they are in Redis is not asked.
    """

    id: str
    environment: str
    server: str
    fingerprint: str
    made: str
    until: str
    tags: tuple[str, ...]
    older_than: str
    keep: tuple[str, ...]
    users: int
    users_in_all: int
    tables: tuple[TablePlan, ...]
    collateral: tuple[Collateral, ...]
    allow_collateral: bool
    max_users: int | None
    cache_keys: dict[str, int]
    ambiguous: tuple[str, ...]
    protected: tuple[str, ...]
    younger: int
    unclassified: tuple[str, ...]
    absent: tuple[str, ...]
    warnings: tuple[str, ...]
    refusals: tuple[str, ...]
    heavy: dict[str, int]
    sha256: str
    cache_entries: tuple[str, ...] = ()
    format: int = FORMAT

    @property
    def deletes(self) -> int:
        """Rows that go, the users among them."""
        return sum(table.rows for table in self.tables if table.action == "delete")


def users_of(file: Path) -> Iterator[tuple[int, str, str]]:
    """(number, id, address) of each line of a users file (COPY's text)."""
    with file.open("rb") as lines:
        for line in lines:
            number, key, address = line.rstrip(b"\n").split(b"\t")
            yield int(number), copytext.decode(key) or "", copytext.decode(address) or ""


def save(plan: Plan, users: Iterable[User], out: IO[bytes]) -> None:
    """Writes a plan's file."""
    digest = hashlib.sha256()

    def put(value: object) -> None:
        line = msgspec.json.encode(value) + b"\n"
        digest.update(line)
        out.write(line)

    put({"gaiaops_plan": plan})
    for user in users:
        put(user)
    out.write(_seal(digest.hexdigest()))


def load(file: Path, users: IO[bytes]) -> Plan:
    """Reads a plan's file and writes its users to `users`, as lines of COPY.

    Raises UsageError where it cannot be read or is no plan, RefusedError where it was changed.
    """
    digest = hashlib.sha256()
    edited = RefusedError(
        f"{file} was changed after it was made", hint="make a new plan: gaiaops cleanup ENV --save-plan FILE"
    )
    try:
        with file.open("rb") as lines:
            first = lines.readline()
            plan = _header(file, first)
            digest.update(first)
            number = 0
            for line in lines:
                if line.startswith(b'{"sha256"'):
                    break
                digest.update(line)
                user = msgspec.json.decode(line, type=User)
                number += 1
                if user.n != number:
                    raise edited
                users.write(b"%d\t%s\t%s\n" % (number, copytext.encode(user.id), copytext.encode(user.address)))
            else:
                raise edited
            if line != _seal(digest.hexdigest()) or lines.read(1) or number != plan.users:
                raise edited
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint="check the path after --plan") from None
    except (msgspec.MsgspecError, ValueError):
        raise edited from None
    return plan


def _seal(sha256: str) -> bytes:
    """The last line of a plan's file."""
    return msgspec.json.encode({"sha256": sha256}) + b"\n"


def _header(file: Path, line: bytes) -> Plan:
    try:
        raw = json.loads(line)["gaiaops_plan"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        raise UsageError(f"{file} is no plan", hint="gaiaops cleanup ENV --save-plan FILE makes one")
    if raw.get("format") != FORMAT:
        raise RefusedError(f"{file} was made by another version of gaiaops", hint="make a new plan")
    plan = msgspec.convert(raw, Plan)
    if not _ID.fullmatch(plan.id):  # it names a folder
        raise RefusedError(f"{file} has an id that no plan has", hint="make a new plan")
    return plan
