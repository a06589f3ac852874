"""The statements of a repair: queries/repair_*.sql with the names of this database's tables in them. Pure.

Names come from the catalog, quoted by the server itself; values are parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gaiaops.postgres import queries
from gaiaops.postgres.quoting import literal
from gaiaops.postgres.shape import Catalog, Table
from gaiaops.postgres.softref import parts
from gaiaops.registry.model import Reference

WAIT, SKIP, LOOK = "FOR UPDATE OF t", "FOR UPDATE OF t SKIP LOCKED", ""


class Naming(msgspec.Struct, frozen=True):
    """A declared reference whose column holds an id or an address: its table's place in a statement."""

    reference: Reference
    table: str
    column: str

    @property
    def name(self) -> str:
        return self.reference.name

    @property
    def by_address(self) -> bool:
        return parts(self.reference.holds)[2]

    def value(self, user: str) -> str:
        """What the column holds of a user's id or address."""
        before, after, _ = parts(self.reference.holds)
        return f"{before}{user}{after}"


def rows(table: Table, lock: str) -> str:
    return _filled("repair_rows", table, lock=lock)


def keys(table: Table, owner: str, lock: str) -> str:
    """`owner` is the type of the users' ids."""
    column = table.column("expires_at")
    zoned = column is not None and column.type.endswith("with time zone") and "without" not in column.type
    now = "now()" if zoned else "now() AT TIME ZONE 'UTC'"
    return _filled("repair_keys", table, lock=lock, type=owner, now=now)


def taken(users: Table) -> str:
    return queries.load("repair_taken").format(users=_plain(users.sql))


def naming(one: Naming) -> str:
    where = f"AND ({one.reference.where})" if one.reference.where else ""
    return queries.load("repair_naming").format(table=_plain(one.table), column=_plain(one.column), where=_plain(where))


def update(table: Table, column: str) -> str:
    return _filled("repair_update", table, column=_plain(table.quoted[column]))


def delete(table: Table) -> str:
    return _filled("repair_delete", table)


def insert(users: Table, stamps: Sequence[str]) -> str:
    """`stamps` are columns to fill with the time."""
    quoted = users.quoted
    now = {
        c.name: "now()" if c.type.endswith("with time zone") and "without" not in c.type else "now() AT TIME ZONE 'UTC'"
        for c in users.columns
    }
    names = ", ".join(quoted[name] for name in ("id", "email", *stamps))
    values = ", ".join(["%(id)s", "%(email)s", *(now[name] for name in stamps)])
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
