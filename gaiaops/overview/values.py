"""What an overview says, as values, and the sum of an environment's shards. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gaiaops.cache.scan import CacheSummary, FamilyCount
from gaiaops.errors import GaiaopsError
from gaiaops.registry.model import Environment

NEWEST = 5  # users that are named


@dataclass(frozen=True)
class Database:
    """PostgreSQL's part of an overview; `users` is None where there is no users table, `bytes` where the server does
    not tell."""

    version: str
    standby: bool
    bytes: int | None
    latency_ms: float
    tables: tuple[str, ...]
    users: int | None
    by_tag: Mapping[str, int]


@dataclass(frozen=True)
class TableSize:
    """A table's rows (`exact` tells a count from the planner's estimate) and its bytes with indexes (None where the
    server does not tell)."""

    name: str
    rows: int
    exact: bool
    bytes: int | None


@dataclass(frozen=True)
class Detail:
    """What `view ENV` adds of PostgreSQL; `newest` are addresses and creation times."""

    tables: tuple[TableSize, ...]
    newest: tuple[tuple[str, str], ...]


NO_DETAIL = Detail((), ())


@dataclass(frozen=True)
class Read:
    """What was read of one database; `detail` where it was asked for."""

    env: Environment
    database: Database | GaiaopsError
    detail: Detail | None = None


@dataclass(frozen=True)
class Overview:
    """One environment; an error stands where a server did not answer, and the other's part is still there.

    Where there are shards, `database` and `detail` are their sum, and `database` is None where one did not answer.
    """

    env: Environment
    database: Database | GaiaopsError | None
    cache: CacheSummary | GaiaopsError | None
    detail: Detail | None = None
    families: FamilyCount | None = None
    shards: tuple[Read, ...] = ()

    @property
    def errors(self) -> list[GaiaopsError]:
        parts = (self.database, *(shard.database for shard in self.shards), self.cache)
        return [part for part in parts if isinstance(part, GaiaopsError)]


def total(env: Environment, shards: Sequence[Read]) -> Read | None:
    """The sum of an environment's shards; None where one did not answer, for a sum of some is no number of anything.

    A table counts as there where every shard has it. A user who is in two shards counts twice.
    """
    databases = [shard.database for shard in shards if isinstance(shard.database, Database)]
    if len(databases) < len(shards):
        return None
    users = [database.users for database in databases if database.users is not None]
    by_tag = Counter[str]()
    for database in databases:
        by_tag.update(database.by_tag)
    whole = Database(
        version="/".join(dict.fromkeys(database.version for database in databases)),
        standby=any(database.standby for database in databases),
        bytes=_sum(database.bytes for database in databases),
        latency_ms=max(database.latency_ms for database in databases),
        tables=tuple(sorted(set(databases[0].tables).intersection(*(set(one.tables) for one in databases)))),
        users=sum(users) if users else None,
        by_tag=by_tag,
    )
    details = [shard.detail for shard in shards if shard.detail is not None]
    return Read(env, whole, _details(details) if details else None)


def _details(details: Sequence[Detail]) -> Detail:
    tables: dict[str, TableSize] = {}
    for one in (table for detail in details for table in detail.tables):
        known = tables.get(one.name, TableSize(one.name, 0, True, 0))
        exact = known.exact and one.exact
        tables[one.name] = TableSize(one.name, known.rows + one.rows, exact, _sum((known.bytes, one.bytes)))
    newest = sorted((one for detail in details for one in detail.newest), key=lambda one: _moment(one[1]), reverse=True)
    return Detail(tuple(sorted(tables.values(), key=lambda table: -(table.bytes or 0))), tuple(newest[:NEWEST]))


def _sum(numbers: Iterable[int | None]) -> int | None:
    """The sum, None where one is not known."""
    total = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total


def _moment(text: str) -> float:
    """Seconds of a time that PostgreSQL wrote (DateStyle ISO), so that time zones do not count.

    >>> _moment("2026-11-22 13:00:00.5+02") == _moment("2026-11-22 11:00:00.5+00"), _moment("infinity"), _moment("")
    (True, inf, -inf)
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return float("inf") if text == "infinity" else float("-inf")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
