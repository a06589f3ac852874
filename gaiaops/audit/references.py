"""The rows that refer to a user, by a foreign key or a soft reference: counted, one user at a time."""

from __future__ import annotations

from collections.abc import Iterator

from gaiaops.audit.dangling import columns, still
from gaiaops.audit.kinds import Finding
from gaiaops.audit.side import Side
from gaiaops.postgres import catalog, softref
from gaiaops.postgres.quoting import literal
from gaiaops.postgres.shape import Catalog, ForeignKey
from gaiaops.registry.model import Registry


def of_profile(registry: Registry, side: Side, user: str, address: str) -> dict[str, int]:
    """`table.column` → rows that refer to a profile; columns without any are left out."""
    read = catalog.read(side.session)
    users = catalog.find(side.session, read, "users")
    counts = {}
    for key in read.foreign_keys:
        if users is not None and key.parent == users.oid:
            name = f"{read.tables[key.child].name}.{', '.join(key.columns)}"
            counts[name] = int(side.session.fetch(_by_key(read, key), {"id": user})[0][0])
    return {name: count for name, count in {**counts, **by_name(registry, side, user, address)}.items() if count}


def dangling(registry: Registry, side: Side, user: str, address: str) -> Iterator[Finding]:
    """The findings about soft references that name an id or address nobody has."""
    for soft in columns(registry, side):
        holds = soft.reference.holds
        if "{id}" in holds and user:
            yield from still(side, soft, [holds.replace("{id}", user)])
        elif "{address}" in holds and address:
            yield from still(side, soft, [holds.replace("{address}", address)])


def by_name(registry: Registry, side: Side, user: str, address: str) -> dict[str, int]:
    """`table.column` → rows whose soft reference names an id or address, whether or not there is a profile."""
    counts = {}
    for soft in columns(registry, side):
        reference = soft.reference
        named = address if softref.parts(reference.holds)[2] else user
        if not named:
            continue
        where = f" AND ({reference.where})" if reference.where else ""
        found = softref.value(f"t.{soft.column}", reference.holds)
        sql = f"SELECT count(*) FROM {soft.table} AS t WHERE ({found}) = {literal(named)}{where}"
        counts[reference.name] = int(side.session.fetch(sql)[0][0])
    return {name: count for name, count in counts.items() if count}


def _by_key(read: Catalog, key: ForeignKey) -> str:
    child, users = read.tables[key.child], read.tables[key.parent]
    pairs = zip(child.pick(key.columns), users.pick(key.parent_columns), strict=True)
    same = " AND ".join(f"t.{column.quoted} = u.{wanted.quoted}" for column, wanted in pairs)
    return f"SELECT count(*) FROM {child.sql} AS t JOIN {users.sql} AS u ON {same} WHERE u.id = %(id)s::uuid"
