"""Who a shard's users are: ids and names of other shards looked for, and people counted over all shards."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gaiaops.cleanup import conditions
from gaiaops.cleanup.graph import Graph
from gaiaops.cleanup.links import Action
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
        """(id, address) of those users who are here, of ids that are users' in another shard. An id is given as it was
        asked for: equal ones need not look alike (numeric, character)."""
        sql = (
            "SELECT asked.key, u.id::text, u.email::text FROM unnest(%(ids)s::text[]) AS asked (key)"
            f" JOIN {self._users} AS u ON u.id = asked.key::{self.id_type}"
        )
        for step in _steps(ids):
            yield from ((key, address) for key, _, address in self.session.fetch(sql, {"ids": step}))

    def of_names(self, names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
        """(name, id, address) of all users who are here by an id or an address, whatever its case: one name may be
        several people's. The server alone lowers, both sides alike, for its locale's rules are its own."""
        sql = " UNION ALL ".join(
            "SELECT asked.name, u.id::text, coalesce(u.email::text, '') FROM unnest(%(names)s::text[]) AS asked (name)"
            f' JOIN {self._users} AS u ON lower(u.{column}::text COLLATE "default") = lower(asked.name)'
            for column in ("email", "id")
        )
        for step in _steps(names):
            yield from self.session.fetch(sql, {"names": step})

    def blocked(self, people: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """(id, reference) of those people (id → address, of any shard) whom rows here name by a soft reference that the
        registry lets block."""
        keyset, links = self.graph.keysets[self.graph.users], self.graph.into(self.graph.users, Action.BLOCK)
        for link in (link for link in links if link.holds is not None):
            names = conditions.match(self.graph, link, "t", "d").replace("%", "%%")  # no placeholder of ours
            sql = (
                f"SELECT DISTINCT d.key FROM (SELECT key, key::{self.id_type} AS {keyset.columns['id']},"
                f" address AS {keyset.columns['email']} FROM unnest(%(ids)s::text[], %(addresses)s::text[])"
                f" AS asked (key, address)) AS d JOIN {self.graph.tables[link.child].sql} AS t ON {names}"
            )
            for step in _steps(people):
                asked = {"ids": step, "addresses": [people[key] for key in step]}
                yield from ((key, link.name) for (key,) in self.session.fetch(sql, asked))

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
