"""Who a shard's users are: ids and names of other shards looked for, and people counted over all shards."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence

from gaiaops.cleanup.graph import Graph
from gaiaops.errors import RefusedError
from gaiaops.postgres.session import WHO, Session
from gaiaops.registry.model import Environment, Registry

_STEP = 10_000


class Shard:
    """A shard's users, read in an open session."""

    def __init__(self, env: Environment, session: Session, graph: Graph) -> None:
        self.env = env
        self.session = session
        self.graph = graph
        self._users = graph.tables[graph.users].sql

    @property
    def id_type(self) -> str:
        column = self.graph.tables[self.graph.users].column("id")
        return column.type if column else ""

    def of_ids(self, ids: Iterable[str]) -> Iterator[tuple[str, str]]:
        """(id, address) of those users who are here, of ids that are users' in another shard."""
        for step in _steps(ids):
            yield from self.session.fetch(
                f"SELECT id::text, email::text FROM {self._users} WHERE id = ANY(%(ids)s::{self.id_type}[])",
                {"ids": step},
            )

    def of_names(self, names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        """(name, id, address) of the users who are here by an id or an address, whatever its case."""
        for step in _steps(names):
            lowered = {name.lower() for name in step}
            rows = self.session.fetch(
                f"SELECT id::text, email::text FROM {self._users}"
                " WHERE lower(email::text) = ANY(%(names)s) OR lower(id::text) = ANY(%(names)s)",
                {"names": list(lowered)},
            )
            found = {name: row for row in rows for name in (row[0].lower(), row[1].lower()) if name in lowered}
            yield from ((name, *found[name.lower()]) for name in step if name.lower() in found)

    def ids(self) -> Iterator[bytes]:
        """All ids as text, in the order of their bytes."""
        sql = f'COPY (SELECT id::text FROM {self._users} ORDER BY id::text COLLATE "C") TO STDOUT'
        return (bytes(row) for block in self.session.copy_out(sql) for row in block)


def count_people(shards: Sequence[Shard]) -> int:
    """How many people are in these shards: one id is one person."""
    merged = heapq.merge(*(shard.ids() for shard in shards))
    return sum(1 for _ in itertools.groupby(merged))


def check_together(shards: Sequence[Shard]) -> None:
    """Raises RefusedError where two shards are one database, or their users' ids are of different types."""
    known: dict[tuple[str, ...], Shard] = {}
    for shard in shards:
        who = shard.session.fetch(WHO)[0]
        first = known.setdefault(who, shard)
        if first is not shard:
            raise RefusedError(
                f"{shard.env.name} and {first.env.name} are the same database ({'/'.join(who[:2])})",
                hint=f"one of the names is wrong: gaiaops envs {shard.env.whole}",
                environment=shard.env.whole,
            )
        if shard.id_type != shards[0].id_type:
            raise RefusedError(
                f"users.id is {shards[0].id_type} in {shards[0].env.name} and {shard.id_type} in {shard.env.name}",
                hint="people are told by their ids, in all shards alike",
                environment=shard.env.whole,
            )


def check_shards(registry: Registry, env: Environment, planned: Sequence[str]) -> None:
    """Raises RefusedError where the environment's shards are not those of a plan: a user is looked for in all."""
    today = [shard.name for shard in env.shards]
    if sorted(today) != sorted(planned):
        raise RefusedError(
            f"the plan is about {', '.join(planned)}; {registry.file.name} has {', '.join(today) or 'no shards'}",
            hint=f"gaiaops envs {env.name} shows them",
            environment=env.name,
        )


def _steps(values: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(values)
    while step := list(itertools.islice(remaining, _STEP)):
        yield step
