"""The rows that refer to a user, by a foreign key or a soft reference: counted, one user at a time."""

from __future__ import annotations

from collections.abc import Iterator

from gaiaops.audit import dangling
from gaiaops.audit.kinds import Finding
from gaiaops.audit.side import Side
from gaiaops.postgres import catalog, softref
from gaiaops.postgres.quoting import literal
from gaiaops.postgres.shape import Catalog, ForeignKey
from gaiaops.registry.model import Registry


class References:
    """What refers to users in one environment: its catalog is read once."""

    def __init__(self, registry: Registry, side: Side) -> None:
        self._side = side
        self._catalog = catalog.read(side.session)
        self._users = catalog.find(side.session, self._catalog, "users")
        self._soft = dangling.columns(side.session, self._catalog, registry.references)

    def of_profile(self, user: str, address: str) -> dict[str, int]:
        """`table.column` → rows that refer to a profile; columns without any are left out."""
        counts = {}
        for key in self._catalog.foreign_keys:
            if self._users is not None and key.parent == self._users.oid:
                name = f"{self._catalog.tables[key.child].name}.{', '.join(key.columns)}"
                counts[name] = int(self._side.session.fetch(_by_key(self._catalog, key), {"id": user})[0][0])
        return {name: count for name, count in {**counts, **self.by_name(user, address)}.items() if count}

    def by_name(self, user: str, address: str) -> dict[str, int]:
        """`table.column` → rows whose soft reference names an id or address, whether or not there is a profile."""
        counts = {}
        for soft in self._soft:
            named = address if soft.by_address else user
            if not named:
                continue
            where = f" AND ({soft.reference.where})" if soft.reference.where else ""
            found = softref.value(f"t.{soft.column.quoted}", soft.reference.holds)
            sql = f"SELECT count(*) FROM {soft.table.sql} AS t WHERE ({found}) = {literal(named)}{where}"
            counts[soft.name] = int(self._side.session.fetch(sql)[0][0])
        return {name: count for name, count in counts.items() if count}

    def dangling(self, user: str, address: str) -> Iterator[Finding]:
        """The findings about soft references that name an id or address nobody has."""
        for soft in self._soft:
            named = address if soft.by_address else user
            if named:
                yield from dangling.still(self._side, soft, [soft.text(named)])


def _by_key(read: Catalog, key: ForeignKey) -> str:
    child, users = read.tables[key.child], read.tables[key.parent]
    pairs = zip(child.pick(key.columns), users.pick(key.parent_columns), strict=True)
    same = " AND ".join(f"t.{column.quoted} = u.{wanted.quoted}" for column, wanted in pairs)
    return f"SELECT count(*) FROM {child.sql} AS t JOIN {users.sql} AS u ON {same} WHERE u.id = %(id)s::uuid"
