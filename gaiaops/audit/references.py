"""The rows that refer to a user, by a foreign key or a soft reference: counted, one user at a time, in each of an
environment's databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gaiaops.audit import dangling
from gaiaops.audit.kinds import Finding
from gaiaops.audit.side import Database, Side
from gaiaops.postgres import catalog, softref
from gaiaops.postgres.quoting import literal
from gaiaops.postgres.shape import Catalog, ForeignKey
from gaiaops.registry.model import Registry

Rows = dict[str, int]


class References:
    """What refers to users in one environment: its catalogs are read once. Rows are given by the shard's name, "" where
    there are none: `table.column` → rows, without those that have none."""

    def __init__(self, registry: Registry, side: Side) -> None:
        self._side = side
        self._each = side.each(lambda one: _OfDatabase(registry, one))

    def of_profile(self, user: str, address: str) -> dict[str, Rows]:
        """What refers to a profile."""
        return self._of_each(lambda one: one.of_profile(user, address))

    def by_name(self, user: str, address: str) -> dict[str, Rows]:
        """What names an id or address by a soft reference, whether or not there is a profile."""
        return self._of_each(lambda one: one.by_name(user, address))

    def dangling(self, user: str, address: str) -> Iterator[Finding]:
        """The findings about soft references that name an id or address nobody has."""
        for one in dangling.gathered(self._side, [each.soft for each in self._each]):
            named = address if one.soft.by_address else user
            if named:
                yield from dangling.still(self._side, one, [one.soft.text(named)])

    def _of_each(self, count: Callable[[_OfDatabase], Rows]) -> dict[str, Rows]:
        by_database = {one.database.env.shard: one for one in self._each}
        found = self._side.each(lambda database: count(by_database[database.env.shard]))
        return {shard: rows for shard, rows in zip(by_database, found, strict=True) if rows}


class _OfDatabase:
    """What refers to users in one database."""

    def __init__(self, registry: Registry, database: Database) -> None:
        self.database = database
        self._session = database.session
        self._catalog = catalog.read(self._session)
        self._users = catalog.find(self._session, self._catalog, "users")
        self.soft = dangling.columns(self._session, self._catalog, registry.references)

    def of_profile(self, user: str, address: str) -> Rows:
        """`table.column` → rows that refer to a profile; columns without any are left out."""
        counts = {}
        for key in self._catalog.foreign_keys:
            if self._users is not None and key.parent == self._users.oid:
                name = f"{self._catalog.tables[key.child].name}.{', '.join(key.columns)}"
                counts[name] = int(self._session.fetch(_by_key(self._catalog, key), {"id": user})[0][0])
        return {name: count for name, count in {**counts, **self.by_name(user, address)}.items() if count}

    def by_name(self, user: str, address: str) -> Rows:
        """`table.column` → rows whose soft reference names an id or address, whether or not there is a profile."""
        counts = {}
        for soft in self.soft:
            named = address if soft.by_address else user
            if not named:
                continue
            where = f" AND ({soft.reference.where})" if soft.reference.where else ""
            found = softref.value(f"t.{soft.column.quoted}", soft.reference.holds)
            sql = f"SELECT count(*) FROM {soft.table.sql} AS t WHERE ({found}) = {literal(named)}{where}"
            counts[soft.name] = int(self._session.fetch(sql)[0][0])
        return {name: count for name, count in counts.items() if count}


def _by_key(read: Catalog, key: ForeignKey) -> str:
    child, users = read.tables[key.child], read.tables[key.parent]
    pairs = zip(child.pick(key.columns), users.pick(key.parent_columns), strict=True)
    same = " AND ".join(f"t.{column.quoted} = u.{wanted.quoted}" for column, wanted in pairs)
    return f"SELECT count(*) FROM {child.sql} AS t JOIN {users.sql} AS u ON {same} WHERE u.id = %(id)s::uuid"
