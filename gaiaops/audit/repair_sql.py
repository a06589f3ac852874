"""The statements of a repair: queries/repair_*.sql with the names of this database's tables in them. Pure.

Names come from the catalog, quoted by the server itself; values are parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

from gaiaops.postgres import queries
from gaiaops.postgres.quoting import literal
from gaiaops.postgres.shape import Catalog, Column, Table
from gaiaops.postgres.softref import SoftColumn

WAIT, SKIP, LOOK = "FOR UPDATE OF t", "FOR UPDATE OF t SKIP LOCKED", ""


def rows(table: Table, lock: str) -> str:
    return _filled("repair_rows", table, lock=lock)


def keys(table: Table, owner: str, lock: str) -> str:
    """`owner` is the type of the users' ids."""
    return _filled("repair_keys", table, lock=lock, type=owner, now=_now(table.column("expires_at")))


def keys_alike(table: Table, users: Table) -> str:
    """The working keys of some users, and those with some hashes."""
    owner = next(column.type for column in users.columns if column.name == "id")
    return queries.load("repair_keys_alike").format(
        table=_plain(table.sql), type=_plain(owner), now=_now(table.column("expires_at"))
    )


def taken(users: Table) -> str:
    return queries.load("repair_taken").format(users=_plain(users.sql))


def naming(soft: SoftColumn) -> str:
    where = f"AND ({soft.reference.where})" if soft.reference.where else ""
    table, column = soft.table.sql, soft.column.quoted
    return queries.load("repair_naming").format(table=_plain(table), column=_plain(column), where=_plain(where))


def update(table: Table, column: str) -> str:
    return _filled("repair_update", table, column=_plain(table.quoted[column]))


def delete(table: Table) -> str:
    return _filled("repair_delete", table)


def insert(users: Table, stamps: Sequence[str]) -> str:
    """`stamps` are columns to fill with the time."""
    quoted = users.quoted
    names = ", ".join(quoted[name] for name in ("id", "email", *stamps))
    values = ", ".join(["%(id)s", "%(email)s", *(_now(users.column(name)) for name in stamps)])
    return _filled("repair_insert", users, names=_plain(names), values=values)


def referring(catalog: Catalog, users: Table) -> list[tuple[str, str, str]]:
    """(reference, statement, column of users) for each foreign key to users; its value is the parameter `value`.

    A key over several columns is compared by its first one alone, which finds no row too few.
    """
    found = []
    for key in catalog.foreign_keys:
        if key.parent != users.oid:
            continue
        child = catalog.tables[key.child]
        column, wanted = child.quoted[key.columns[0]], key.parent_columns[0]
        kind = next(c.type for c in users.columns if c.name == wanted)
        sql = queries.load("repair_referring").format(
            table=_plain(child.sql), match=f"t.{_plain(column)} = %(value)s::{_plain(kind)}"
        )
        found.append((f"{child.name}.{key.columns[0]}", sql, wanted))
    return found


def _now(column: Column | None) -> str:
    """The time as a column holds it: UTC where it has no time zone."""
    zoned = column is not None and column.type.endswith("with time zone") and "without" not in column.type
    return "now()" if zoned else "now() AT TIME ZONE 'UTC'"


def _filled(name: str, table: Table, **more: str) -> str:
    key = table.column("id")
    given = {"type": _plain(key.type) if key else "text", **more}
    return queries.load(name).format(table=_plain(table.sql), row=_row(table), **given)


def _row(table: Table) -> str:
    """The writable columns as text, by name, in one json object."""
    names = ", ".join(literal(column.name) for column in table.stored)
    values = ", ".join(f"t.{column.quoted}::text" for column in table.stored)
    return _plain(f"json_object(ARRAY[{names}]::text[], ARRAY[{values}]::text[])")


def _plain(text: str) -> str:
    """Text of ours in a statement with parameters: a percent sign is one."""
    return text.replace("%", "%%")
