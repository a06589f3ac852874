"""Reads what the database's catalog says of the application's tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from gaiaops.errors import StatementError
from gaiaops.postgres import features, queries
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Catalog, Column, Facts, ForeignKey, Table
from gaiaops.postgres.softref import SoftColumn
from gaiaops.registry.model import Reference

S = TypeVar("S")
# Citus: distributed, reference and managed local tables (its API reference, "Partition table").
_DISTRIBUTED = "SELECT logicalrelid::oid::bigint FROM pg_catalog.pg_dist_partition"


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
    uniques: dict[int, list[tuple[tuple[str, ...], bool]]] = defaultdict(list)
    for relation, names, deferrable in session.fetch(queries.load("catalog_uniques"), {}):
        uniques[relation].append((tuple(names), deferrable))
    distributed = {row[0] for row in session.fetch(_DISTRIBUTED)} if session.server.citus else set[int]()
    tables = {}
    for row in session.fetch(queries.load("catalog_tables"), {}):
        oid = row[0]
        key = tuple(name for _, name in sorted(keys[oid]))
        unique, deferrable = tuple(names for names, _ in uniques[oid]), any(late for _, late in uniques[oid])
        more = (tuple(columns[oid]), key, tuple(sorted(indexed[oid])), unique, deferrable, oid in distributed)
        tables[oid] = _value(Table, (*row, *more))
    rows = session.fetch(queries.load("catalog_foreign_keys"), {})
    return Catalog(tables, tuple(_value(ForeignKey, row) for row in rows))


def _value(shape: type[S], row: Sequence[Any]) -> S:
    """A struct of a row whose columns are in the order of its fields."""
    return shape(*(tuple(value) if isinstance(value, list) else value for value in row))


def find(session: Session, read: Catalog, name: str) -> Table | None:
    """The table of a name as the search path resolves it; None where there is none."""
    row = session.fetch("SELECT to_regclass(%(name)s)::oid::bigint", {"name": name})[0]
    return read.tables.get(row[0]) if row[0] is not None else None


def soft_columns(session: Session, read: Catalog, references: Iterable[Reference]) -> list[SoftColumn]:
    """The declared references whose table and column are there."""
    found = []
    for reference in references:
        table = find(session, read, reference.table)
        column = table.column(reference.column) if table else None
        if table is not None and column is not None:
            found.append(SoftColumn(reference, table, column))
    return found


def facts(session: Session) -> Facts:
    """The server's state now. Raises RefusedError for a server on which a change of many rows cannot be made safe."""
    features.refuse_change(session.server)
    try:
        row = session.fetch(queries.load("server_facts"), {"needed": list(features.NEEDED)})[0]
    except StatementError as error:
        features.refuse_without(session.server, tuple(filter(None, [features.missing(error)])))
        raise
    found = _value(Facts, row)
    features.refuse_without(session.server, found.lacking)
    return found
