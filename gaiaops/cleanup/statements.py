"""The SQL of a purge, from its graph. Pure: names come from the catalog, quoted by the server itself.

`t` is the table, `d` the key set of the table it refers to, `p` the plan's users. Columns of our temporary tables
begin with `g_`, so that a registry's condition, whose columns are unqualified, means the table's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from gaiaops.cleanup.graph import Graph, KeySet, columns_sql
from gaiaops.cleanup.links import Action, Link
from gaiaops.postgres.catalog import Column, Table

PLAN, BATCH = "gaiaops_plan", "gaiaops_batch"
_UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_TEXTS = ("text", "character varying", "citext", "name")


class Step(msgspec.Struct, frozen=True):
    """One statement that takes rows out (`delete`) or sets columns (`update`), and streams what it took.

    Each line begins with the user's number in the plan, then, where `checked`, whether the row is somebody else's
    (t or f), then `columns`. An update's columns are the key, the old and the new values: `keys` and `sets` of them.
    `counted` is the statement that deletes what a group's steps have only read.
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


def literal(text: str) -> str:
    """An SQL string literal (standard_conforming_strings is on: manual 4.1.2.1).

    >>> literal("o'brien")
    "'o''brien'"
    """
    return "'" + text.replace("'", "''") + "'"


def create_plan(users: Table, name: str = PLAN, on_commit: str = "PRESERVE ROWS") -> str:
    """The temporary table of the plan's users, or of a batch's: number, id and address."""
    column = users.column("id")
    assert column is not None  # noqa: S101 - graph.build checked it
    columns = f"g_n integer NOT NULL, g_id {column.type} NOT NULL, g_email text NOT NULL"
    return f"CREATE TEMPORARY TABLE {name} ({columns}) ON COMMIT {on_commit}"


def create_for_plan(graph: Graph) -> list[str]:
    """The temporary tables for making a plan. Where nothing but the plan puts users into their key set, that is the
    plan's table too: the users were read in the same snapshot."""
    keysets = create_keysets(graph, on_commit="PRESERVE ROWS")
    if not _plan_is_keyset(graph):
        return [create_plan(graph.tables[graph.users]), keysets]
    keyset = graph.keysets[graph.users]
    key, email = keyset.columns["id"], keyset.columns["email"]
    view = f"SELECT g_n, {key} AS g_id, {email}::text AS g_email FROM {keyset.name}"
    return [*keysets.split("; "), f"CREATE TEMPORARY VIEW {PLAN} AS {view}"]


def fill_plan(graph: Graph) -> str:
    """COPY of (number, id, address) into the plan's table, after create_for_plan."""
    keyset = graph.keysets[graph.users]
    key, email = keyset.columns["id"], keyset.columns["email"]
    return (
        f"COPY {keyset.name} (g_n, {key}, {email}) FROM STDIN" if _plan_is_keyset(graph) else f"COPY {PLAN} FROM STDIN"
    )


def fill_keyset(graph: Graph) -> str:
    """Fills the users' key set from the plan's table; empty where they are the same."""
    return "" if _plan_is_keyset(graph) else collect_users(graph, lock=False)


def _plan_is_keyset(graph: Graph) -> bool:
    keyset = graph.keysets[graph.users]
    return set(keyset.columns) == {"id", "email"} and not _many(graph, keyset)


def index_plan() -> str:
    """Run after it is filled."""
    return f"CREATE INDEX ON {PLAN} (g_id); CREATE INDEX ON {PLAN} (g_n); ANALYZE {PLAN}"


def create_keysets(graph: Graph, *, on_commit: str) -> str:
    """The key sets; `on_commit` is DELETE ROWS for batches, PRESERVE ROWS for a plan."""
    statements = []
    for keyset in graph.keysets.values():
        table = graph.tables[keyset.table]
        types = {column.name: column.type for column in table.columns}
        columns = ", ".join(f"{ours} {types[name]}" for name, ours in keyset.columns.items())
        statements.append(
            f"CREATE TEMPORARY TABLE {keyset.name} (g_n integer NOT NULL, {columns},"
            f" g_foreign boolean NOT NULL DEFAULT false) ON COMMIT {on_commit}"
        )
        if _many(graph, keyset):
            key = ", ".join(keyset.columns[name] for name in keyset.key)
            statements.append(f"CREATE UNIQUE INDEX ON {keyset.name} ({key})")
    return "; ".join(statements)


def collect_users(graph: Graph, *, lock: bool) -> str:
    """Fills the users' key set from the plan; with `lock`, from the batch, those that nobody else has locked.

    SKIP LOCKED: a purge never waits for a user, so it cannot be what somebody waits for in a circle.
    """
    users, keyset = graph.tables[graph.users], graph.keysets[graph.users]
    ours, theirs = ", ".join(keyset.columns.values()), columns_sql(_keyset_columns(users, keyset), "t")
    return (
        f"INSERT INTO {keyset.name} (g_n, {ours}, g_foreign) SELECT p.g_n, {theirs}, false"
        f" FROM {BATCH if lock else PLAN} AS p JOIN {users.sql} AS t ON t.id = p.g_id"
        f" WHERE {same_address('t', 'p')}{' FOR UPDATE OF t SKIP LOCKED' if lock else ''}"
    )


def missing_users(graph: Graph) -> str:
    """(number, reason) of those of the batch who are not in the users' key set."""
    users, keyset = graph.tables[graph.users], graph.keysets[graph.users]
    return (
        f"SELECT p.g_n, CASE WHEN u.id IS NULL THEN 'gone' WHEN {same_address('u', 'p')} THEN 'locked'"
        f" ELSE 'the address changed' END FROM {BATCH} AS p LEFT JOIN {users.sql} AS u ON u.id = p.g_id"
        f" WHERE NOT EXISTS (SELECT FROM {keyset.name} AS d WHERE d.{keyset.columns['id']} = p.g_id)"
    )


def remaining(graph: Graph, oid: int) -> Iterator[tuple[str, bool]]:
    """Queries that find a row that should have been deleted, each with whether an index serves it."""
    table = graph.tables[oid]
    if oid in graph.keysets:
        yield (
            f"SELECT FROM {table.sql} AS t JOIN {graph.keysets[oid].name} AS d ON {_same_key(graph, oid)} LIMIT 1",
            True,
        )
        return
    for link in graph.takers(oid):
        keyset = graph.keysets[link.parent].name
        on = match(graph, link, "t", "d")
        yield f"SELECT FROM {table.sql} AS t JOIN {keyset} AS d ON {on} LIMIT 1", link.indexed


def same_address(user: str, plan: str) -> str:
    """Byte for byte, whatever the column's collation or type (citext)."""
    return f'{user}.email::text COLLATE "C" = {plan}.g_email COLLATE "C"'


def collect(graph: Graph, link: Link, *, lock: bool) -> str:
    """Adds to the child's key set the rows that a link takes."""
    child, keyset = graph.tables[link.child], graph.keysets[link.child]
    ours, theirs = ", ".join(keyset.columns.values()), columns_sql(_keyset_columns(child, keyset), "t")
    foreign = "false" if lock else inherited(graph, link)
    return (
        f"INSERT INTO {keyset.name} (g_n, {ours}, g_foreign) SELECT d.g_n, {theirs}, {foreign}"
        f" FROM {child.sql} AS t JOIN {graph.keysets[link.parent].name} AS d ON {match(graph, link, 't', 'd')}"
        f"{' FOR UPDATE OF t' if lock else ''}{' ON CONFLICT DO NOTHING' if _many(graph, keyset) else ''}"
    )


def inherited(graph: Graph, link: Link) -> str:
    """Whether a row is somebody else's, with the parent's row in `d`: it hangs on one that is, or says so itself."""
    if graph.owners(link.child) or link.child == graph.users:
        return foreign(graph, link.child, link) or "false"
    return "d.g_foreign"


def foreign(graph: Graph, child: int, link: Link | None = None) -> str:
    """A condition on `t`: the row belongs to a user who is not in the plan. Empty where it cannot.

    A row that is reached by the link that says whose it is belongs to a user of the plan.
    """
    parts = [_foreign_owner(graph, owner) for owner in graph.owners(child, but=link)]
    if child == graph.users:
        parts.append(f"NOT EXISTS (SELECT FROM {PLAN} AS p WHERE p.g_id = t.id AND {same_address('t', 'p')})")
    return f"({' OR '.join(parts)})" if parts else ""


def match(graph: Graph, link: Link, child: str, parent: str) -> str:
    """The condition under which a row of the child refers to a row of the parent's key set."""
    names = graph.keysets[link.parent].columns
    if link.holds is None:
        pairs = zip(link.columns, link.parent_columns, strict=True)
        parts = [f"{child}.{column.quoted} = {parent}.{names[wanted]}" for column, wanted in pairs]
    else:
        parts = [_soft_match(graph, link, child, f"{parent}.{names[link.parent_columns[0]]}")]
    return " AND ".join([*parts, *_conditions(link, child)])


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
        f"DELETE FROM {table.sql} AS t USING {graph.keysets[oid].name} AS d WHERE {_same_key(graph, oid)}"
        f" RETURNING {_line(table, others)}"
    )
    return Step("delete", oid, "", _copy(sql), _names(table), bool(others))


def reads_keyed(graph: Graph, oid: int) -> Step:
    """Reads the rows of a key set; they are locked, so that what is deleted later is what was read."""
    table, others = graph.tables[oid], _foreign_keyed(graph, oid)
    sql = f"SELECT {_line(table, others)} FROM {table.sql} AS t JOIN {graph.keysets[oid].name} AS d"
    sql += f" ON {_same_key(graph, oid)}"
    return Step("delete", oid, "", _copy(sql), _names(table), bool(others), reads=True)


def deletes_group(graph: Graph, group: Iterable[int]) -> str:
    """One statement for tables in a circle: foreign keys are checked at its end (manual 5.5.5), so it may be.

    Gives one row with the number of rows deleted from each.
    """
    parts = [
        f"x{i} AS (DELETE FROM {graph.tables[oid].sql} AS t USING {graph.keysets[oid].name} AS d"
        f" WHERE {_same_key(graph, oid)} RETURNING 1)"
        for i, oid in enumerate(group)
    ]
    return f"WITH {', '.join(parts)} SELECT {', '.join(f'(SELECT count(*) FROM x{i})' for i in range(len(parts)))}"


def sets(graph: Graph, link: Link) -> Step:
    """Sets a link's columns to NULL or their default in rows that stay; streams the key, old and new values."""
    table = graph.tables[link.child]
    by_name = {column.name: column for column in table.columns}
    key = [by_name[name] for name in table.key]
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


def owner_address(graph: Graph, oid: int) -> str:
    """The address of the user a row of `t` belongs to, who is not in the plan; NULL where it names nobody."""
    if oid == graph.users:
        return "t.email::text"
    users, found = graph.tables[graph.users].sql, []
    by_name = {column.name: column for column in graph.tables[graph.users].columns}
    for owner in graph.owners(oid):
        if owner.holds is not None:
            same = _names_user(graph, owner)
        else:
            pairs = zip(owner.columns, owner.parent_columns, strict=True)
            same = " AND ".join(f"u.{by_name[wanted].quoted} = t.{column.quoted}" for column, wanted in pairs)
        found.append(f"(SELECT u.email::text FROM {users} AS u WHERE {same} AND {_not_planned('u.id')} LIMIT 1)")
    return f"coalesce({', '.join(found)})" if found else "NULL::text"


def _survives(graph: Graph, child: int) -> str:
    """Leaves out rows that go themselves, where the child is one of a circle (else they are gone already)."""
    if child not in graph.keysets:
        return ""
    keyset = graph.keysets[child]
    table = graph.tables[child]
    key = " AND ".join(f"k.{keyset.columns[c.name]} = x.{c.quoted}" for c in table.columns if c.name in keyset.key)
    return f" WHERE NOT EXISTS (SELECT FROM {keyset.name} AS k WHERE {key})"


def _many(graph: Graph, keyset: KeySet) -> bool:
    """Whether a row may be collected twice: several links lead to it, or to users besides the plan."""
    return len(graph.out_of(keyset.table, Action.DELETE)) > (0 if keyset.table == graph.users else 1)


def _foreign_keyed(graph: Graph, oid: int) -> str:
    """As `foreign`, for a key set: a single link that says whose the rows are needs no check."""
    links = graph.out_of(oid, Action.DELETE)
    if oid == graph.users and not links:
        return ""
    return foreign(graph, oid, links[0] if len(links) == 1 else None)


def _foreign_owner(graph: Graph, owner: Link) -> str:
    users = graph.tables[owner.parent].sql
    present = [f"t.{column.quoted} IS NOT NULL" for column in owner.columns]
    if owner.holds is not None:
        named = f"EXISTS (SELECT FROM {users} AS u WHERE {_names_user(graph, owner)} AND {_not_planned('u.id')})"
        return "(" + " AND ".join([*present, *_conditions(owner, "t"), named]) + ")"
    if owner.parent_columns == ("id",):
        return (
            "(" + " AND ".join([*present, *_conditions(owner, "t"), _not_planned(f"t.{owner.columns[0].quoted}")]) + ")"
        )
    by_name = {column.name: column for column in graph.tables[owner.parent].columns}
    pairs = zip(owner.columns, owner.parent_columns, strict=True)
    same = " AND ".join(f"u.{by_name[wanted].quoted} = t.{column.quoted}" for column, wanted in pairs)
    planned = f"NOT EXISTS (SELECT FROM {users} AS u JOIN {PLAN} AS p ON p.g_id = u.id WHERE {same})"
    return "(" + " AND ".join([*present, *_conditions(owner, "t"), planned]) + ")"


def _not_planned(expression: str) -> str:
    return f"NOT EXISTS (SELECT FROM {PLAN} AS p WHERE p.g_id = {expression})"


def _names_user(graph: Graph, link: Link) -> str:
    """`u` is the user that a soft reference in `t` names; a text that is no id names nobody."""
    before, _, after = _split(link.holds or "")
    value = f"t.{link.columns[0].quoted}::text"
    if before or after:
        start, end = literal(before), len(before) + len(after)
        fits = f"left({value}, {len(before)}) = {start} AND right({value}, {len(after)}) = {literal(after)}"
        value = f"CASE WHEN {fits} THEN substr({value}, {len(before) + 1}, length({value}) - {end}) END"
    if link.parent_columns == ("email",):
        return f'u.email::text COLLATE "C" = {value} COLLATE "C"'
    column = graph.tables[graph.users].column("id")
    if column is not None and column.type == "uuid":  # so that the index on id can be used
        return f"u.id = CASE WHEN ({value}) ~ {literal(_UUID)} THEN ({value})::uuid END"
    return f"u.id::text = {value}"


def _soft_match(graph: Graph, link: Link, child: str, wanted: str) -> str:
    column, parent = link.columns[0], graph.tables[link.parent].column(link.parent_columns[0])
    before, _, after = _split(link.holds or "")
    if parent is not None and parent.type == column.type and not before and not after:
        return f"{child}.{column.quoted} = {wanted}"
    text = " || ".join(
        part for part in (before and literal(before), f"{wanted}::text", after and literal(after)) if part
    )
    cast = "" if column.type.startswith(_TEXTS) else "::text"
    return f"{child}.{column.quoted}{cast} = ({text})"


def _split(holds: str) -> tuple[str, str, str]:
    """What stands before and after `{id}` or `{address}`."""
    name = "{address}" if "{address}" in holds else "{id}"
    return holds.partition(name)


def _conditions(link: Link, child: str) -> list[str]:
    part = [f"{child}.tableoid = {literal(link.part)}::regclass"] if link.part else []
    return [*part, *([f"({link.where})"] if link.where else [])]


def _same_key(graph: Graph, oid: int) -> str:
    keyset, table = graph.keysets[oid], graph.tables[oid]
    by_name = {column.name: column for column in table.columns}
    return " AND ".join(f"t.{by_name[name].quoted} = d.{keyset.columns[name]}" for name in keyset.key)


def _keyset_columns(table: Table, keyset: KeySet) -> list[Column]:
    by_name = {column.name: column for column in table.columns}
    return [by_name[name] for name in keyset.columns]


def _line(table: Table, others: str) -> str:
    return f"d.g_n, {f'{others}, ' if others else ''}{columns_sql(table.stored, 't')}"


def _names(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.stored)


def _copy(sql: str) -> str:
    return f"COPY ({sql}) TO STDOUT"
