"""What stands in the way of a purge, and what one should know before it. Pure: from facts to sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from gaiaops.cleanup.graph import Graph
from gaiaops.cleanup.links import Action, Link
from gaiaops.postgres import features
from gaiaops.postgres.shape import STANDBY, Facts, Table

_LARGE = 100_000  # rows: a scan of such a table for every deleted row is felt
_TOO_SLOW = 5_000_000_000  # rows visited: some ten minutes, on a machine that does ten million a second
_LONG_S, _BEHIND_S = 300, 10
_WRITES = (Action.NULL, Action.DEFAULT)


def refusals(graph: Graph, facts: Facts, deleted: Mapping[int, int]) -> Iterator[str]:
    """What forbids it. `deleted` is table oid → rows that go."""
    yield from graph.problems
    if facts.standby:
        yield STANDBY
    if not facts.may_temp:
        yield "this role may not create temporary tables (GRANT TEMP ON DATABASE)"
    if not facts.counts:
        yield "track_counts is off: what was deleted could not be verified"
    watched = [graph.tables[link.child] for link in graph.links if link.action is Action.BLOCK]
    for table in {table.oid: table for table in [*graph.touched, *watched]}.values():
        yield from _forbidden(graph, table)
    for link, visited in _unindexed(graph, deleted):
        if visited > _TOO_SLOW:
            yield f"{_missing_index(graph, link)}; some {visited:,} rows would be visited"


def warnings(graph: Graph, facts: Facts, deleted: Mapping[int, int], changed: Collection[str]) -> Iterator[str]:
    """What does not forbid it. `changed` are the names of tables with rows that go or are changed."""
    for link, visited in _unindexed(graph, deleted):
        if visited <= _TOO_SLOW and graph.tables[link.child].rows >= _LARGE:
            yield f"{_missing_index(graph, link)}: slow, and it blocks for longer"
    for table in graph.touched:
        if table.triggers and table.name in changed:
            yield f"{table.name} has triggers: {', '.join(table.triggers)}"
        if "INSERT" not in table.may:
            yield f"this role may not INSERT into {table.name}: it could not restore"
    if facts.oldest_s > _LONG_S:
        yield f"a transaction is open since {facts.oldest_s / 60:.0f} min ({facts.oldest_who}): vacuum waits for it"
    if facts.lag_s is not None and facts.lag_s > _BEHIND_S:
        yield f"a replica is {facts.lag_s:.0f} s behind: the purge pauses until it catches up"


def _forbidden(graph: Graph, table: Table) -> Iterator[str]:
    if table.kind not in ("r", "p"):
        yield f"{table.name} is no table (a view or a foreign table), and the registry declares a reference in it"
        return
    needed = {"SELECT"}
    if table.oid in graph.doomed:
        needed.add("DELETE")
    if table.oid in graph.keysets or graph.out_of(table.oid, *_WRITES):
        needed.add("UPDATE")  # FOR UPDATE asks for it too
    missing = sorted(needed - set(table.may))
    if missing:
        yield f"this role may not {' or '.join(missing)} in {table.name}"
    if table.distributed:
        yield features.distributed(table.name)
    if table.rls:
        yield f"row-level security hides rows of {table.name} from this role"
    if table.rules:
        yield f"{table.name} has rewrite rules, which change what DELETE and UPDATE do"
    if table.heirs:
        yield f"other tables inherit from {table.name}, and foreign keys do not reach them"
    if table.foreign_parts:
        yield f"a partition of {table.name} is a foreign table"


def _unindexed(graph: Graph, deleted: Mapping[int, int]) -> Iterator[tuple[Link, int]]:
    """Foreign keys without an index: the server scans the table once for every row that is deleted."""
    for link in graph.links:
        if link.holds is None and not link.indexed:
            yield link, deleted.get(link.parent, 0) * graph.tables[link.child].rows


def _missing_index(graph: Graph, link: Link) -> str:
    columns = ", ".join(column.quoted for column in link.columns)
    table = graph.tables[link.child]
    return f"no index for the foreign key {link.name} (CREATE INDEX CONCURRENTLY ON {table.sql} ({columns}))"
