"""What a repair would change, as values. Pure.

A plan is kept in its run's folder as `repair.json`; what was changed is archived as JSON lines beside it.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from gaiaops.audit.kinds import KINDS
from gaiaops.errors import UsageError

FORMAT = 1
USERS, KEYS = "users", "api_keys"
FIXABLE = tuple(name for name, kind in KINDS.items() if kind.fixable)

# What to do about the kinds that a program cannot decide.
_INSTEAD = {
    "orphan-profile": "is the person gone for good? gaiaops whois shows what hangs on the profile",
    "duplicate-profile": "somebody must say which profile is the person's: gaiaops whois shows both",
    "foreign-profile": "gaiaops cleanup ENV --dry-run shows what a clean-up would take",
    "id-mismatch": "an id cannot be changed where rows refer to it; list the kind in agree if it is meant so",
    "dangling-reference": "the finding's command shows the rows",
}

Row = dict[str, str | None]
Action = Literal["update", "insert", "deactivate", "unlink"]


class ApiKey(msgspec.Struct, frozen=True):
    """A working API key: its row's id, and the beginning of its hash, by which people know it."""

    id: str
    prefix: str


class Wanted(msgspec.Struct, frozen=True):
    """A finding to repair: its id, kind, subject and address, and what the audit said of the auth side."""

    finding: str
    kind: str
    subject: str
    address: str = ""
    said: str = ""


class Change(msgspec.Struct, frozen=True):
    """One finding's repair.

    update: `column` of the row `id` of `table` from `before` to `after`. insert: `row` into `table`, under `id`.
    deactivate: `keys` of the profile `id`. unlink: nothing but `cache_keys`, the exact Redis keys that go.
    `said` is what the audit said of the auth side.
    """

    finding: str
    kind: str
    subject: str
    address: str
    said: str
    action: Action
    table: str = ""
    id: str = ""
    column: str = ""
    before: str | None = None
    after: str | None = None
    row: Row = {}
    keys: tuple[ApiKey, ...] = ()
    cache_keys: tuple[str, ...] = ()

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.finding, self.kind, self.subject, self.address, self.said)

    @property
    def addresses(self) -> frozenset[str]:
        """The addresses by which the person may be named, folded."""
        named = (self.address, self.before or "", self.after or "", self.row.get("email") or "")
        return frozenset(name.casefold() for name in named if "@" in name)


class Left(msgspec.Struct, frozen=True):
    """A finding that is not repaired, and why; `failed` where it should have been, and the server would not."""

    finding: str
    kind: str
    subject: str
    address: str
    why: str
    failed: bool = False


class Repair(msgspec.Struct, frozen=True):
    """Everything a repair would do in one environment. `made` is the server's time, in UTC."""

    id: str
    environment: str
    server: str
    made: str
    kinds: tuple[str, ...]
    changes: tuple[Change, ...]
    left: tuple[Left, ...] = ()
    warnings: tuple[str, ...] = ()
    format: int = FORMAT

    @property
    def sha256(self) -> str:
        """The digest by which the trail knows it."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    @property
    def rows(self) -> int:
        """Rows that would be written."""
        return sum(rows_of(change) for change in self.changes)

    @property
    def entries(self) -> int:
        """Redis keys that would go, where they are there."""
        return sum(len(change.cache_keys) for change in self.changes)


class Archived(msgspec.Struct, frozen=True):
    """One row as it was (None: it was not there) and as the repair left it, every stored column as text."""

    finding: str
    table: str
    id: str
    before: Row | None
    after: Row

    @property
    def addresses(self) -> frozenset[str]:
        """The addresses of the row before and after, folded."""
        named = ((self.before or {}).get("email"), self.after.get("email"))
        return frozenset(name.casefold() for name in named if name)


def rows_of(change: Change) -> int:
    """Rows that a change writes."""
    return {"update": 1, "insert": 1, "deactivate": len(change.keys), "unlink": 0}[change.action]


def check_kinds(kinds: tuple[str, ...]) -> None:
    """Raises UsageError for a kind that gaiaops cannot repair, with what to do instead."""
    for kind in kinds:
        if kind not in FIXABLE:
            hint = _INSTEAD.get(kind, "the finding's command looks closer") if kind in KINDS else ""
            raise UsageError(
                f"{kind} cannot be repaired by gaiaops", hint=hint or f"these can be: {', '.join(FIXABLE)}"
            )
