"""Soft references to users who do not exist."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import msgspec

from gaiaops.audit.kinds import Finding
from gaiaops.audit.side import Side
from gaiaops.postgres import catalog, copytext, softref
from gaiaops.postgres.quoting import literal
from gaiaops.registry.model import Reference, Registry


class SoftColumn(msgspec.Struct, frozen=True):
    """A declared reference that is there: the table and the column as they stand in a statement."""

    reference: Reference
    table: str
    column: str


def columns(registry: Registry, side: Side) -> list[SoftColumn]:
    """The soft references of an environment: declared, present, and without a foreign key to users."""
    read = catalog.read(side.session)
    users = catalog.find(side.session, read, "users")
    hard = {(key.child, name) for key in read.foreign_keys if users and key.parent == users.oid for name in key.columns}
    found = []
    for reference in registry.references:
        table = catalog.find(side.session, read, reference.table)
        column = table.column(reference.column) if table else None
        if table and column and (table.oid, column.name) not in hard:
            found.append(SoftColumn(reference, table.sql, column.quoted))
    return found


def find(side: Side, soft: SoftColumn) -> Iterator[Finding]:
    """The dangling values of one column, each once. Raises the error tree's errors."""
    for block in side.session.copy_out(f"COPY ({_query(soft)}) TO STDOUT"):
        for row in block:
            value, rows = bytes(row)[:-1].split(b"\t")
            yield _finding(side.env.name, soft, copytext.decode(value) or "", int(rows))


def still(side: Side, soft: SoftColumn, values: Sequence[str]) -> Iterator[Finding]:
    """Those of the values that still dangle."""
    chosen = f"AND t.{soft.column}::text IN (SELECT unnest(%(values)s::text[]))"
    sql = _query(soft, "{chosen}").replace("%", "%%").replace("{chosen}", chosen)
    for value, rows in side.session.fetch(sql, {"values": list(values)}):
        yield _finding(side.env.name, soft, str(value), int(rows))


def _query(soft: SoftColumn, chosen: str = "") -> str:
    column, holds = f"t.{soft.column}", soft.reference.holds
    where = f"AND ({soft.reference.where})" if soft.reference.where else ""
    return (
        f"SELECT {column}::text, count(*) FROM {soft.table} AS t"
        f" WHERE {softref.names_someone(column, holds)} {where} {chosen}"
        f" AND NOT EXISTS (SELECT FROM users AS u WHERE {softref.is_user('u', column, holds)}) GROUP BY 1 ORDER BY 1"
    )


def _finding(environment: str, soft: SoftColumn, value: str, rows: int) -> Finding:
    reference = soft.reference
    sql = f"SELECT * FROM {soft.table} WHERE {soft.column}::text = {literal(value)}"
    return Finding(
        "dangling-reference",
        environment,
        f"{reference.name}={value}",
        value if softref.parts(reference.holds)[2] else "",
        {"users": "nobody", reference.name: f"{value} ({rows} row{'s' if rows != 1 else ''})"},
        f"gaiaops query {environment} {shlex.quote(sql)}",
    )
