"""What the database's catalog says of the application's tables, as values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from gaiaops.postgres import queries
from gaiaops.postgres.session import Session

S = TypeVar("S")


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
    a unique index without NULLs; `indexed` the columns that an index begins with; `rows` the planner's estimate.
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

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

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
    temporal: bool
    indexed: bool


class Catalog(msgspec.Struct, frozen=True):
    """Tables by oid, and the foreign keys between them."""

    tables: dict[int, Table]
    foreign_keys: tuple[ForeignKey, ...]

    def find(self, session: Session, name: str) -> Table | None:
        """The table of a name as the search path resolves it; None where there is none."""
        row = session.fetch("SELECT to_regclass(%(name)s)::oid::bigint", {"name": name})[0]
        return self.tables.get(row[0]) if row[0] is not None else None


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

    @property
    def server(self) -> str:
        """What the trail and the archive call it."""
        return f"{self.identifier}/{self.database}"


def read(session: Session) -> Catalog:
    """Reads the catalog in the session's snapshot. Raises the error tree's errors."""
    columns: dict[int, list[Column]] = defaultdict(list)
    keys: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for relation, name, quoted, kind, required, generated, filled, place in session.fetch(
        queries.load("catalog_columns"), {}
    ):
        columns[relation].append(Column(name, quoted, kind, required, generated, filled))
        if place:
            keys[relation].append((place, name))
    indexed: dict[int, list[str]] = defaultdict(list)
    for relation, name in session.fetch(queries.load("catalog_indexes"), {}):
        indexed[relation].append(name)
    tables = {}
    for row in session.fetch(queries.load("catalog_tables"), {}):
        oid = row[0]
        key = tuple(name for _, name in sorted(keys[oid]))
        tables[oid] = _value(Table, (*row, tuple(columns[oid]), key, tuple(sorted(indexed[oid]))))
    rows = session.fetch(queries.load("catalog_foreign_keys"), {})
    return Catalog(tables, tuple(_value(ForeignKey, row) for row in rows))


def _value(shape: type[S], row: Sequence[Any]) -> S:
    """A struct of a row whose columns are in the order of its fields."""
    return shape(*(tuple(value) if isinstance(value, list) else value for value in row))


def facts(session: Session) -> Facts:
    """The server's state now."""
    return _value(Facts, session.fetch(queries.load("server_facts"), {})[0])
