"""The shape of a database, and the state of its server, as values. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

STANDBY = "this is a replica: it cannot be written"


class Column(msgspec.Struct, frozen=True):
    """A column; `quoted` is its name in a statement, `required` that it cannot be NULL, `filled` that it has a
    default."""

    name: str
    quoted: str
    type: str
    required: bool
    generated: bool
    filled: bool = False


class Table(msgspec.Struct, frozen=True):
    """A table, view or foreign table; of a partitioned table the root.

    `sql` is the qualified and quoted name (the server's own quoting), `key` the columns of the primary key, or of
    a unique index without NULLs; `indexed` the columns that an index begins with, `uniques` those
    of each unique index, one of which may be `deferrable`; `rows` the planner's estimate; `distributed` that Citus
    keeps its rows on other nodes.
    """

    oid: int
    name: str
    sql: str
    kind: str
    rows: int
    rls: bool
    rules: bool
    heirs: bool
    foreign_parts: bool
    may: tuple[str, ...]
    triggers: tuple[str, ...]
    columns: tuple[Column, ...] = ()
    key: tuple[str, ...] = ()
    indexed: tuple[str, ...] = ()
    uniques: tuple[tuple[str, ...], ...] = ()
    deferrable: bool = False
    distributed: bool = False

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    def pick(self, names: Iterable[str]) -> tuple[Column, ...]:
        """The columns of these names, in their order."""
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in names)

    @property
    def quoted(self) -> dict[str, str]:
        """Name → name in a statement."""
        return {column.name: column.quoted for column in self.columns}

    @property
    def stored(self) -> tuple[Column, ...]:
        """The columns that can be written, so that an archive of them can be put back."""
        return tuple(column for column in self.columns if not column.generated)


class ForeignKey(msgspec.Struct, frozen=True):
    """A foreign key; `action` is pg_constraint.confdeltype (a, r, c, n, d: manual 53.13)."""

    name: str
    child: int
    parent: int
    part: str | None
    parent_part: str | None
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    action: str
    set_columns: tuple[str, ...]
    whole: bool
    part_condition: str | None
    enforced: bool
    temporal: bool
    indexed: bool


class Catalog(msgspec.Struct, frozen=True):
    """Tables by oid, and the foreign keys between them."""

    tables: dict[int, Table]
    foreign_keys: tuple[ForeignKey, ...]


class Facts(msgspec.Struct, frozen=True):
    """The server's state, for the checks before a change; see queries/server_facts.sql."""

    identifier: str
    database: str
    standby: bool
    now: str
    oldest_s: float
    oldest_who: str
    lag_s: float | None
    may_temp: bool
    deadlock_ms: int
    counts: bool
    lacking: tuple[str, ...] = ()

    @property
    def server(self) -> str:
        """What the trail and the archive call it."""
        return f"{self.identifier}/{self.database}"
