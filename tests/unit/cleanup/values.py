"""Tables, columns and foreign keys as the catalog gives them, built by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gaiaops.cleanup import graph
from gaiaops.cleanup.graph import Graph
from gaiaops.postgres.shape import Catalog, Column, Facts, ForeignKey, Table
from gaiaops.registry.model import Reference

ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")
FACTS = Facts(
    identifier="7",
    database="dev",
    standby=False,
    now="2026-01-01T00:00:00Z",
    oldest_s=0.0,
    oldest_who="",
    lag_s=None,
    may_temp=True,
    deadlock_ms=1000,
    counts=True,
)


def column(name: str, kind: str = "uuid", *, required: bool = False, generated: bool = False) -> Column:
    return Column(name, name, kind, required, generated)


ID = column("id", required=True)


def table(oid: int, name: str, *columns: Column, **fields: object) -> Table:
    """A plain table with a primary key `id`."""
    values = {
        "kind": "r", "rows": 0, "rls": False, "rules": False, "heirs": False, "foreign_parts": False,
        "may": ALL, "triggers": (), "columns": (ID, *columns), "key": ("id",), "indexed": ("id",), **fields,
    }  # fmt: skip
    return Table(oid=oid, name=name, sql=f"public.{name}", **values)


USERS = table(1, "users", column("email", "text", required=True))


def key(child: int, parent: int, name: str, action: str = "c", **fields: object) -> ForeignKey:
    """A foreign key of one column, to `id`."""
    values = {
        "part": None, "parent_part": None, "columns": (name,), "parent_columns": ("id",), "set_columns": (),
        "whole": False,
        "part_condition": None,
        "enforced": True,
        "temporal": False, "indexed": True, **fields,
    }  # fmt: skip
    return ForeignKey(name=f"{child}_{name}_fkey", child=child, parent=parent, action=action, **values)


def catalog(tables: Iterable[Table], keys: Iterable[ForeignKey] = ()) -> Catalog:
    return Catalog({each.oid: each for each in tables}, tuple(keys))


def build(tables: Sequence[Table], keys: Iterable[ForeignKey] = (), references: Iterable[Reference] = ()) -> Graph:
    """The graph of these tables around `users`, which is the first; references find their tables by name."""
    by_name = {each.name: each for each in tables}
    found = [(reference, by_name.get(reference.table)) for reference in references]
    return graph.build(catalog(tables, keys), tables[0], found)
