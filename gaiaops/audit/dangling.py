"""Soft references to users who do not exist."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from gaiaops.audit.kinds import Finding
from gaiaops.audit.side import Side
from gaiaops.postgres import catalog, copytext, softref
from gaiaops.postgres.quoting import literal
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Catalog
from gaiaops.postgres.softref import SoftColumn
from gaiaops.registry.model import Reference


def columns(session: Session, read: Catalog, references: Iterable[Reference]) -> list[SoftColumn]:
    """The soft references of an environment: declared, present, and without a foreign key to users."""
    users = catalog.find(session, read, "users")
    hard = {(key.child, name) for key in read.foreign_keys if users and key.parent == users.oid for name in key.columns}
    declared = catalog.soft_columns(session, read, references)
    return [soft for soft in declared if (soft.table.oid, soft.column.name) not in hard]


def find(side: Side, soft: SoftColumn) -> Iterator[Finding]:
    """The dangling values of one column, each once. Raises the error tree's errors."""
    for block in side.session.copy_out(f"COPY ({_query(soft)}) TO STDOUT"):
        for row in block:
            value, rows = bytes(row)[:-1].split(b"\t")
            yield _finding(side.env.name, soft, copytext.decode(value) or "", int(rows))


def still(side: Side, soft: SoftColumn, values: Sequence[str]) -> Iterator[Finding]:
    """Those of the values that still dangle."""
    chosen = f"AND t.{soft.column.quoted}::text IN (SELECT unnest(%(values)s::text[]))"
    sql = _query(soft, "{chosen}").replace("%", "%%").replace("{chosen}", chosen)
    for value, rows in side.session.fetch(sql, {"values": list(values)}):
        yield _finding(side.env.name, soft, str(value), int(rows))


def _query(soft: SoftColumn, chosen: str = "") -> str:
    column, holds = f"t.{soft.column.quoted}", soft.reference.holds
    where = f"AND ({soft.reference.where})" if soft.reference.where else ""
    return (
        f"SELECT {column}::text, count(*) FROM {soft.table.sql} AS t"
        f" WHERE {softref.names_someone(column, holds)} {where} {chosen}"
        f" AND NOT EXISTS (SELECT FROM users AS u WHERE {softref.is_user('u', column, holds)}) GROUP BY 1 ORDER BY 1"
    )


def _finding(environment: str, soft: SoftColumn, value: str, rows: int) -> Finding:
    sql = f"SELECT * FROM {soft.table.sql} WHERE {soft.column.quoted}::text = {literal(value)}"
    return Finding(
        "dangling-reference",
        environment,
        f"{soft.name}={value}",
        value if soft.by_address else "",
        {"users": "nobody", soft.name: f"{value} ({rows} row{'s' if rows != 1 else ''})"},
        f"gaiaops query {environment} {shlex.quote(sql)}",
    )
