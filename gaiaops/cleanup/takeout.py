"""The statements that take rows out, set columns, and look whether anything is left. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from gaiaops.cleanup.conditions import foreign, in_keyset, match, same_key
from gaiaops.cleanup.graph import Graph, columns_sql
from gaiaops.cleanup.links import Action, Link
from gaiaops.postgres.shape import Table


class Step(msgspec.Struct, frozen=True):
    """One statement that takes rows out (`delete`) or sets columns (`update`), and streams what it took.

    Each line begins with the user's number in the plan, then, where `checked`, whether the row is somebody else's
    (t or f), then `columns`. An update's columns are the key, the old and the new values: `keys` and `sets` of them.
    A step that `reads` leaves the deleting to its group's one statement.
    """

    kind: str
    table: int
    reason: str
    sql: str
    columns: tuple[str, ...]
    checked: bool = False
    indexed: bool = True
    keys: int = 0
    sets: int = 0
    reads: bool = False


class Group(msgspec.Struct, frozen=True):
    """Steps, then, for tables in a circle, the one statement that deletes the rows the steps have read."""

    steps: tuple[Step, ...]
    delete: str = ""
    tables: tuple[int, ...] = ()


def takes(graph: Graph, link: Link) -> Step:
    """Deletes a leaf's rows by one link."""
    table = graph.tables[link.child]
    others = foreign(graph, link.child, link)
    sql = (
        f"DELETE FROM {table.sql} AS t USING {graph.keysets[link.parent].name} AS d"
        f" WHERE {match(graph, link, 't', 'd')} RETURNING {_line(table, others)}"
    )
    return Step("delete", table.oid, link.name, _copy(sql), _names(table), bool(others), link.indexed)


def takes_keyed(graph: Graph, oid: int) -> Step:
    """Deletes the rows of a key set."""
    table, others = graph.tables[oid], _foreign_keyed(graph, oid)
    sql = (
        f"DELETE FROM {table.sql} AS t USING {graph.keysets[oid].name} AS d WHERE {same_key(graph, oid)}"
        f" RETURNING {_line(table, others)}"
    )
    return Step("delete", oid, "", _copy(sql), _names(table), bool(others))


def reads_keyed(graph: Graph, oid: int) -> Step:
    """Reads the rows of a key set; they are locked, so that what is deleted later is what was read."""
    table, others = graph.tables[oid], _foreign_keyed(graph, oid)
    sql = f"SELECT {_line(table, others)} FROM {table.sql} AS t JOIN {graph.keysets[oid].name} AS d"
    sql += f" ON {same_key(graph, oid)}"
    return Step("delete", oid, "", _copy(sql), _names(table), bool(others), reads=True)


def deletes_group(graph: Graph, group: Iterable[int]) -> str:
    """One statement for tables in a circle: foreign keys are checked at its end (manual 5.5.5), so it may be.

    Gives one row with the number of rows deleted from each.
    """
    parts = [
        f"x{i} AS (DELETE FROM {graph.tables[oid].sql} AS t USING {graph.keysets[oid].name} AS d"
        f" WHERE {same_key(graph, oid)} RETURNING 1)"
        for i, oid in enumerate(group)
    ]
    return f"WITH {', '.join(parts)} SELECT {', '.join(f'(SELECT count(*) FROM x{i})' for i in range(len(parts)))}"


def sets(graph: Graph, link: Link) -> Step:
    """Sets a link's columns to NULL or their default in rows that stay; streams the key, old and new values."""
    table = graph.tables[link.child]
    key = table.pick(table.key)
    value = "DEFAULT" if link.action is Action.DEFAULT else "NULL"
    inner = [f"x.{c.quoted} AS g_k{i}" for i, c in enumerate(key)]
    inner += [f"x.{c.quoted} AS g_o{i}" for i, c in enumerate(link.set_columns)]
    old = [f"s.g_o{i}" for i in range(len(link.set_columns))]
    sql = (
        f"UPDATE {table.sql} AS t SET {', '.join(f'{c.quoted} = {value}' for c in link.set_columns)} FROM ("
        f"SELECT d.g_n AS g_user, {', '.join(inner)} FROM {table.sql} AS x JOIN {graph.keysets[link.parent].name} AS d"
        f" ON {match(graph, link, 'x', 'd')}{_survives(graph, link.child)} FOR UPDATE OF x) AS s"
        f" WHERE {' AND '.join(f't.{c.quoted} = s.g_k{i}' for i, c in enumerate(key))}"
        f" RETURNING s.g_user, {columns_sql(key, 't')}, {', '.join(old)}, {columns_sql(link.set_columns, 't')}"
    )
    names = tuple(c.name for c in (*key, *link.set_columns))
    return Step(
        "update", table.oid, link.name, _copy(sql), names,
        indexed=link.indexed, keys=len(key), sets=len(link.set_columns),
    )  # fmt: skip


def blocked(graph: Graph, link: Link) -> str:
    """The numbers of the users whom a row of a link that blocks refers to."""
    return (
        f"SELECT DISTINCT d.g_n FROM {graph.tables[link.child].sql} AS t"
        f" JOIN {graph.keysets[link.parent].name} AS d ON {match(graph, link, 't', 'd')}"
    )


def remaining(graph: Graph, oid: int) -> Iterator[tuple[str, bool]]:
    """Queries that find a row that should have been deleted, each with whether an index serves it."""
    table = graph.tables[oid]
    if oid in graph.keysets:
        yield (
            f"SELECT FROM {table.sql} AS t JOIN {graph.keysets[oid].name} AS d ON {same_key(graph, oid)} LIMIT 1",
            True,
        )
        return
    for link in graph.takers(oid):
        keyset = graph.keysets[link.parent].name
        on = match(graph, link, "t", "d")
        yield f"SELECT FROM {table.sql} AS t JOIN {keyset} AS d ON {on} LIMIT 1", link.indexed


def _survives(graph: Graph, child: int) -> str:
    """Leaves out rows that go themselves, where the child is one of a circle (else they are gone already)."""
    if child not in graph.keysets:
        return ""
    return f" WHERE NOT {in_keyset(graph, child, 'x')}"


def _foreign_keyed(graph: Graph, oid: int) -> str:
    """As `foreign`, for a key set: a single link that says whose the rows are needs no check."""
    links = graph.out_of(oid, Action.DELETE)
    if oid == graph.users and not links:
        return ""
    return foreign(graph, oid, links[0] if len(links) == 1 else None)


def _line(table: Table, others: str) -> str:
    return f"d.g_n, {f'{others}, ' if others else ''}{columns_sql(table.stored, 't')}"


def _names(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.stored)


def _copy(sql: str) -> str:
    return f"COPY ({sql}) TO STDOUT"
