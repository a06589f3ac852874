"""Soft references to users who do not exist: in none of the environment's databases."""

from __future__ import annotations

import heapq
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby

import msgspec

from gaiaops.audit.kinds import Finding
from gaiaops.audit.pile import Pile
from gaiaops.audit.side import Database, Side
from gaiaops.errors import located
from gaiaops.postgres import catalog, copytext, softref
from gaiaops.postgres.quoting import literal
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Catalog
from gaiaops.postgres.softref import SoftColumn
from gaiaops.postgres.stream import Block
from gaiaops.registry.model import Reference

_BATCH = 20_000


class Declared(msgspec.Struct, frozen=True):
    """A declared reference with its column in each database that has one, by the shard's name."""

    reference: Reference
    columns: Mapping[str, SoftColumn]

    @property
    def name(self) -> str:
        return self.reference.name

    @property
    def soft(self) -> SoftColumn:
        """One of the columns: what they hold, and how they are named, is the same."""
        return next(iter(self.columns.values()))


class _Candidate(msgspec.Struct, frozen=True):
    """A value that names nobody of the shards that hold it, and how many rows each has."""

    value: str
    rows: dict[str, int]


def declared(side: Side, references: Iterable[Reference]) -> list[Declared]:
    """The soft references of an environment. Raises the error tree's errors."""
    asked = list(references)
    return gathered(side, side.each(lambda one: columns(one.session, catalog.read(one.session), asked)))


def gathered(side: Side, found: Iterable[Collection[SoftColumn]]) -> list[Declared]:
    """The soft references of an environment, of those of each of its databases."""
    by_reference: dict[Reference, dict[str, SoftColumn]] = {}
    for database, some in zip(side.databases, found, strict=True):
        for soft in some:
            by_reference.setdefault(soft.reference, {})[database.env.shard] = soft
    return [Declared(reference, there) for reference, there in by_reference.items()]


def columns(session: Session, read: Catalog, references: Iterable[Reference]) -> list[SoftColumn]:
    """The soft references of a database: declared, present, and without a foreign key to users."""
    users = catalog.find(session, read, "users")
    hard = {(key.child, name) for key in read.foreign_keys if users and key.parent == users.oid for name in key.columns}
    declared = catalog.soft_columns(session, read, references)
    return [soft for soft in declared if (soft.table.oid, soft.column.name) not in hard]


def find(side: Side, one: Declared) -> Iterator[Finding]:
    """The dangling values of one reference, each once. Raises the error tree's errors."""
    started = []
    for database in side.databases:  # the servers begin at once
        soft = one.columns.get(database.env.shard)
        if soft is not None:
            order = f'{_text(soft)} COLLATE "C"' if side.env.shards else "1"
            blocks = database.session.copy_out(f"COPY ({_query(soft)} ORDER BY {order}) TO STDOUT")
            started.append(_values(database, blocks))
    if not side.env.shards:
        for value, _, rows in started[0]:
            yield _finding(side, one, value, {"": rows})
        return
    with closing(Pile(_Candidate)) as candidates:
        for value, held in groupby(heapq.merge(*started), key=lambda row: row[0]):
            candidates.add(_Candidate(value, {shard: rows for _, shard, rows in held}))
        # A shard can be asked about the others' values when it has given its own.
        for batch in candidates.batches(_BATCH):
            yield from _of_nobody(side, one, batch)


def still(side: Side, one: Declared, values: Sequence[str]) -> Iterator[Finding]:
    """Those of the values that still dangle."""
    held: dict[str, dict[str, int]] = {}
    for database, found in zip(side.databases, side.each(lambda each: _chosen(each, one, values)), strict=True):
        for value, rows in found:
            held.setdefault(value, {})[database.env.shard] = rows
    yield from _of_nobody(side, one, [_Candidate(value, rows) for value, rows in held.items()])


def _chosen(database: Database, one: Declared, values: Sequence[str]) -> list[tuple[str, int]]:
    """Those of the values that one database holds without having the user, and how many rows."""
    soft = one.columns.get(database.env.shard)
    if soft is None:
        return []
    chosen = f"AND {_text(soft)} IN (SELECT unnest(%(values)s::text[]))"
    sql = f"{_query(soft, '{chosen}')} ORDER BY 1".replace("%", "%%").replace("{chosen}", chosen)
    return [(str(value), int(rows)) for value, rows in database.session.fetch(sql, {"values": list(values)})]


def _of_nobody(side: Side, one: Declared, candidates: Sequence[_Candidate]) -> Iterator[Finding]:
    """Those of the values that name a user of no other shard either."""

    def somebody(database: Database) -> set[str]:
        asked = [each.value for each in candidates if database.env.shard not in each.rows]
        sql = _users(one.reference.holds).replace("%", "%%").replace("{values}", "%(values)s")
        return {value for (value,) in database.session.fetch(sql, {"values": asked})} if asked else set()

    known = set[str]().union(*side.each(somebody))
    for each in candidates:
        if each.value not in known:
            yield _finding(side, one, each.value, each.rows)


def _values(database: Database, blocks: Iterator[Block]) -> Iterator[tuple[str, str, int]]:
    """(value, shard, rows) of COPY's lines."""
    with located(database.env.name):
        for block in blocks:
            for row in block:
                value, rows = bytes(row)[:-1].split(b"\t")
                yield copytext.decode(value) or "", database.env.shard, int(rows)


def _query(soft: SoftColumn, chosen: str = "") -> str:
    """The values of a column that name nobody of its database, with their rows."""
    column, holds = f"t.{soft.column.quoted}", soft.reference.holds
    where = f"AND ({soft.reference.where})" if soft.reference.where else ""
    return (
        f"SELECT {_text(soft)}, count(*) FROM {soft.table.sql} AS t"
        f" WHERE {softref.names_someone(column, holds)} {where} {chosen}"
        f" AND NOT EXISTS (SELECT FROM users AS u WHERE {softref.is_user('u', column, holds)}) GROUP BY 1"
    )


def _users(holds: str) -> str:
    """Those of {values} that name a user. The address is compared twice, once so that its index can be used."""
    user = softref.is_user("u", "w.value", holds)
    if softref.parts(holds)[2]:
        user += f" AND u.email = ({softref.value('w.value', holds)})"
    there = f"EXISTS (SELECT FROM users AS u WHERE {user})"
    return f"SELECT w.value FROM unnest({{values}}::text[]) AS w (value) WHERE {there}"


def _text(soft: SoftColumn) -> str:
    return f"t.{soft.column.quoted}::text"


def _finding(side: Side, one: Declared, value: str, held: Mapping[str, int]) -> Finding:
    soft, rows = one.soft, sum(held.values())
    sql = f"SELECT * FROM {soft.table.sql} WHERE {soft.column.quoted}::text = {literal(value)}"
    shards = tuple(shard for shard in held if shard)
    where = f"{side.env.name}/{shards[0]}" if len(shards) == 1 else side.env.name
    return Finding(
        "dangling-reference",
        side.env.name,
        f"{one.name}={value}",
        value if soft.by_address else "",
        {"users": "nobody", one.name: f"{value} ({rows} row{'s' if rows != 1 else ''})"},
        f"gaiaops query {where} {shlex.quote(sql)}",
        shards,
    )
