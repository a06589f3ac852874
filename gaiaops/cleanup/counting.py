"""Counts what a plan would touch, in the plan's snapshot, with the plan's users in a temporary table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from gaiaops.cache import templates
from gaiaops.cleanup import conditions, keysets
from gaiaops.cleanup.graph import Graph
from gaiaops.cleanup.links import Action, Link
from gaiaops.cleanup.plan import Collateral, Reason, TablePlan
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Table

_STAYS = (Action.NULL, Action.DEFAULT, Action.KEEP, Action.BLOCK)
_HEAVY = 1_000  # rows of one user in one table that are worth a look when batches are made
_LISTED = 1_000  # Redis keys in a plan; of more only the number
_NAMED = 20  # people whose rows are collateral, named in a plan


class Counts(msgspec.Struct):
    """What was counted: `deleted` is table oid → rows, `heavy` user number → rows."""

    tables: list[TablePlan]
    collateral: list[Collateral]
    deleted: dict[int, int]
    heavy: dict[int, int]
    cache_keys: dict[str, int]
    cache_entries: list[str]


def count(
    session: Session, graph: Graph, user_keys: Sequence[str], elsewhere: Callable[[set[str]], Iterable[bytes]] | None
) -> Counts:
    """Fills the key sets and counts along every link. Needs the plan's temporary tables, filled.

    `user_keys` are the templates of Redis keys; the keys themselves are given where they are few. Of a shard
    `elsewhere` tells which names are nobody's who stays in another one, as lines of COPY.
    """
    counter = _Counter(session, graph)
    counter.collect()
    if elsewhere is not None:
        names = counter.unknown()
        session.copy_in(keysets.fill_absent(), elsewhere(names))
        session.execute(f"ANALYZE {conditions.ABSENT}")
        if names:  # whose a row is, is told while it is collected
            for sql in keysets.empty_keysets(graph):
                session.execute(sql)
            counter = _Counter(session, graph)
            counter.collect()
    counts = counter.counts()
    by_name = {graph.tables[oid].name: oid for oid in counts.deleted}
    for text in user_keys:
        template = templates.parse(text)
        oid = by_name.get(template.table)
        if oid is not None and graph.tables[oid].column(template.column):
            counts.cache_keys[text] = counts.deleted[oid]
    if sum(counts.cache_keys.values()) <= _LISTED:
        for text in counts.cache_keys:
            template = templates.parse(text)
            values = counter.values(by_name[template.table], template.column)
            counts.cache_entries += [template.key(value).decode() for value in values]
    return counts


def _merged(found: Iterable[Iterable[Collateral]]) -> list[Collateral]:
    """One entry for each table and owner, whatever ways lead to the rows."""
    entries: dict[tuple[str, str], Collateral] = {}
    for entry in (entry for some in found for entry in some):
        key = (entry.table, entry.owner)
        if key in entries:
            before = entries[key]
            users = tuple(dict.fromkeys([*before.users, *entry.users]))
            entries[key] = Collateral(entry.table, entry.owner, before.rows + entry.rows, users)
        else:
            entries[key] = entry
    return list(entries.values())


class _Counter:
    def __init__(self, session: Session, graph: Graph) -> None:
        self.session = session
        self.graph = graph
        self.reasons: dict[int, list[Reason]] = defaultdict(list)
        self.foreign: dict[int, int] = defaultdict(int)
        self.heavy: dict[int, int] = defaultdict(int)

    def collect(self) -> None:
        """Fills the key sets, parents first; a circle is walked until it gives nothing new."""
        graph = self.graph
        for fill in keysets.fill_keyset(graph):
            self.session.execute(fill)
        self.session.execute(f"ANALYZE {graph.keysets[graph.users].name}")
        for group in reversed(graph.groups):
            keyed = [oid for oid in group if oid in graph.keysets]
            inside = [link for oid in keyed for link in graph.out_of(oid, Action.DELETE) if link.parent in group]
            outside = [link for oid in keyed for link in graph.out_of(oid, Action.DELETE) if link.parent not in group]
            for link in outside:
                self._add(link)
            while sum(self._add(link) for link in inside):
                pass
            for oid in keyed if graph.users not in keyed else ():
                self.session.execute(f"ANALYZE {graph.keysets[oid].name}")

    def unknown(self) -> set[str]:
        """The names in soft references of the rows that go which are none of this database's users."""
        graph = self.graph
        found: set[str] = set()
        for oid in graph.doomed:
            keyed = oid in graph.keysets
            ways = [(None, source) for source, _ in self._ways(oid)] if keyed else self._sources(oid)
            for link, source in ways:
                for owner in conditions.softly(graph, oid, but=link):
                    condition = conditions.unknown(graph, owner)
                    sql = f"SELECT DISTINCT {conditions.named(owner)} FROM {source} WHERE {condition}"
                    found.update(row[0] for row in self.session.fetch(sql))
        return found

    def _add(self, link: Link) -> int:
        rows = self.session.execute(keysets.collect(self.graph, link, lock=False))
        if rows:
            self._because(link, rows)
        return rows

    def _because(self, link: Link, rows: int) -> None:
        reasons = self.reasons[link.child]
        for i, reason in enumerate(reasons):
            if reason.reference == link.name and reason.why == link.why:
                reasons[i] = Reason(link.name, link.why, reason.rows + rows)
                return
        reasons.append(Reason(link.name, link.why, rows))

    def counts(self) -> Counts:
        graph, plans, deleted = self.graph, [], {}
        for group in reversed(graph.groups):
            for oid in group:
                rows = self._keyed(oid) if oid in graph.keysets else self._leaf(oid)
                deleted[oid] = rows
                if rows:
                    reasons = self.reasons[oid]
                    if oid == graph.users:
                        ruled = rows - sum(reason.rows for reason in reasons)
                        reasons = [Reason("users", "the rule on the address", ruled), *reasons]
                    plans.append(TablePlan(graph.tables[oid].name, "delete", rows, self.foreign[oid], tuple(reasons)))
        plans += self._others()
        found = [self._owners(oid, link) for oid, number in self.foreign.items() if number for link in self._ways(oid)]
        return Counts(plans, _merged(found), deleted, dict(self.heavy), {}, [])

    def _keyed(self, oid: int) -> int:
        source = f"{self.graph.keysets[oid].name} AS d"
        if oid == self.graph.users and self.graph.sharded:  # those of other shards are in it too
            source += f" JOIN {self.graph.tables[oid].sql} AS t ON {conditions.same_key(self.graph, oid)}"
        rows, foreign = self.session.fetch(f"SELECT count(*), count(*) FILTER (WHERE d.g_foreign) FROM {source}")[0]
        self.foreign[oid] = foreign
        if oid != self.graph.users and rows >= _HEAVY:
            self._weigh(
                f"SELECT g_n, count(*) FROM {self.graph.keysets[oid].name} GROUP BY 1 HAVING count(*) >= {_HEAVY}"
            )
        return int(rows)

    def _leaf(self, oid: int) -> int:
        """Rows by each link, those that an earlier link takes left out."""
        total = 0
        for sql, link in self._leaf_parts(oid):
            rows, foreign, heavy = self.session.fetch(sql)[0]
            total += rows
            self.foreign[oid] += foreign
            for number, weight in (heavy or {}).items():
                self.heavy[int(number)] += weight
            if rows:
                self._because(link, rows)
        return total

    def _leaf_parts(self, oid: int) -> list[tuple[str, Link]]:
        graph, parts = self.graph, []
        for link, source in self._sources(oid):
            per_user = (
                f"SELECT d.g_n, count(*) AS rows, count(*) FILTER (WHERE {conditions.inherited(graph, link)}) AS others"
                f" FROM {source} GROUP BY 1"
            )
            sql = (
                "SELECT coalesce(sum(rows), 0)::bigint, coalesce(sum(others), 0)::bigint,"
                f" jsonb_object_agg(g_n, rows) FILTER (WHERE rows >= {_HEAVY}) FROM ({per_user}) AS per_user"
            )
            parts.append((sql, link))
        return parts

    def _sources(self, oid: int) -> list[tuple[Link, str]]:
        """For each deleting link, `t` joined with its key set `d`, without the rows of the links before it."""
        graph, found = self.graph, []
        earlier: list[str] = []
        for link in graph.takers(oid):
            source = (
                f"{graph.tables[oid].sql} AS t JOIN {graph.keysets[link.parent].name} AS d"
                f" ON {conditions.match(graph, link, 't', 'd')}{''.join(earlier)}"
            )
            found.append((link, source))
            keyset = graph.keysets[link.parent].name
            earlier.append(
                f" AND NOT EXISTS (SELECT FROM {keyset} AS e WHERE {conditions.match(graph, link, 't', 'e')})"
            )
        return found

    def _weigh(self, sql: str) -> None:
        for number, rows in self.session.fetch(sql):
            self.heavy[number] += rows

    def _others(self) -> list[TablePlan]:
        """Rows that stay and are changed, or that block, and those that a soft reference keeps."""
        found: list[TablePlan] = []
        earlier: list[Link] = []
        order = [link for group in self.graph.groups for oid in group for link in self.graph.into(oid, *_STAYS)]
        for link in order:
            table = self.graph.tables[link.child]
            left_out = self._staying(link.child) + self._set_before(link, earlier)
            rows = self.session.fetch(
                f"SELECT count(*) FROM {table.sql} AS t JOIN {self.graph.keysets[link.parent].name} AS d"
                f" ON {conditions.match(self.graph, link, 't', 'd')}{left_out}"
            )[0][0]
            earlier.append(link)
            if rows:
                reason = Reason(link.name, link.why, rows)
                found.append(TablePlan(table.name, link.action.value, rows, 0, (reason,)))
        return found

    def _set_before(self, link: Link, earlier: Sequence[Link]) -> str:
        """Leaves out rows that a link before this one has set to NULL already: they share a column."""
        columns = {column.name for column in link.columns}
        return "".join(
            f" AND NOT EXISTS (SELECT FROM {self.graph.keysets[before.parent].name} AS e"
            f" WHERE {conditions.match(self.graph, before, 't', 'e')})"
            for before in earlier
            if before.child == link.child and columns & {column.name for column in before.set_columns}
        )

    def _staying(self, child: int) -> str:
        """Leaves out rows that are deleted anyhow."""
        graph = self.graph
        if child in graph.keysets:
            return f" AND NOT {conditions.in_keyset(graph, child, 't')}"
        return "".join(
            f" AND NOT EXISTS (SELECT FROM {graph.keysets[link.parent].name} AS e"
            f" WHERE {conditions.match(graph, link, 't', 'e')})"
            for link in graph.out_of(child, Action.DELETE)
            if child in graph.doomed
        )

    def values(self, oid: int, column: str) -> list[str]:
        """A column of the rows that go."""
        found = self.graph.tables[oid].column(column)
        if found is None:
            return []
        rows = [
            row
            for source, _ in self._ways(oid)
            for row in self.session.fetch(f"SELECT t.{found.quoted}::text FROM {source}")
        ]
        return [row[0] for row in rows if row[0]]

    def _ways(self, oid: int) -> list[tuple[str, str]]:
        """(source, condition) under which `t` with `d.g_n` is somebody else's row."""
        graph = self.graph
        if oid in graph.keysets:
            table, keyset = graph.tables[oid], graph.keysets[oid]
            same = conditions.same_key(graph, oid)
            return [(f"{table.sql} AS t JOIN {keyset.name} AS d ON {same}", "d.g_foreign")]
        return [(source, conditions.inherited(graph, link)) for link, source in self._sources(oid)]

    def _owners(self, oid: int, way: tuple[str, str]) -> list[Collateral]:
        """Whose rows would go with whom; a row that names nobody hangs on one that does."""
        table: Table = self.graph.tables[oid]
        source, condition = way
        rows = self.session.fetch(
            f"SELECT {conditions.owner_address(self.graph, oid)} AS owner, count(*),"
            f" (array_agg(DISTINCT p.g_email))[1:{_NAMED}] FROM {source}"
            f" JOIN {conditions.PLAN} AS p ON p.g_n = d.g_n WHERE {condition} GROUP BY 1 ORDER BY 2 DESC LIMIT {_NAMED}"
        )
        return [Collateral(table.name, owner or "", number, tuple(users)) for owner, number, users in rows]
