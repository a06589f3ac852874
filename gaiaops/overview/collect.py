"""Reads the overview of every environment and of the auth project, in parallel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gaiaops import emails, threads
from gaiaops.auth.interface import AuthCount
from gaiaops.cache.scan import CacheSummary, FamilyCount
from gaiaops.errors import GaiaopsError
from gaiaops.postgres import queries, session
from gaiaops.registry.model import Environment, Registry, Supabase, Timeouts

_STATEMENT_MS = 20_000  # an overview that takes longer is none
_SCAN_SECONDS = 3.0
_NEWEST = 5


@dataclass(frozen=True)
class Database:
    """PostgreSQL's part of an overview; `users` is None where there is no users table."""

    version: str
    standby: bool
    bytes: int
    latency_ms: float
    tables: tuple[str, ...]
    users: int | None
    by_tag: Mapping[str, int]


@dataclass(frozen=True)
class TableSize:
    """A table's rows (`exact` tells a count from the planner's estimate) and its bytes with indexes."""

    name: str
    rows: int
    exact: bool
    bytes: int


@dataclass(frozen=True)
class Detail:
    """What `view ENV` adds."""

    tables: tuple[TableSize, ...]
    newest: tuple[tuple[str, str], ...]
    families: FamilyCount | None


@dataclass(frozen=True)
class Overview:
    """One environment; an error stands where a server did not answer, and the other's part is still there."""

    env: Environment
    database: Database | GaiaopsError
    cache: CacheSummary | GaiaopsError | None
    detail: Detail | None = field(default=None)

    @property
    def errors(self) -> list[GaiaopsError]:
        return [part for part in (self.database, self.cache) if isinstance(part, GaiaopsError)]


def bounded(timeouts: Timeouts) -> Timeouts:
    """The environment's bounds, tightened to what an overview may take."""
    statement = min(timeouts.statement or _STATEMENT_MS, _STATEMENT_MS)
    return Timeouts(timeouts.connect, statement, timeouts.lock, timeouts.idle)


def environments(
    registry: Registry,
    chosen: Sequence[Environment],
    *,
    deep: bool,
    choose: Callable[[Environment], Environment] = lambda env: env,
) -> Iterator[Overview]:
    """Overviews in the order in which the environments answer; `choose` gives each as it is to be read."""
    yield from threads.as_completed(chosen, lambda env: environment(registry, choose(env), deep=deep))


def environment(registry: Registry, env: Environment, *, deep: bool) -> Overview:
    """One environment's overview; never raises for a server that does not answer."""
    timeouts = bounded(env.timeouts)
    detail: Detail | None = None
    database: Database | GaiaopsError
    try:
        with session.reading(env.postgres_url(), timeouts, "view") as reading:
            database = _database(reading, registry)
            if deep:
                detail = Detail(_tables(reading), _newest(reading, database), None)
    except GaiaopsError as error:
        error.environment = env.name
        database = error
    cache, families = _cache(registry, env, timeouts, deep)
    if deep:
        detail = Detail(detail.tables if detail else (), detail.newest if detail else (), families)
    return Overview(env, database, cache, detail)


def _database(reading: session.Session, registry: Registry) -> Database:
    began = time.perf_counter()
    reading.fetch("SELECT 1")
    latency = (time.perf_counter() - began) * 1000
    version, standby, size, tables, has_users = reading.fetch(queries.load("overview"))[0]
    users, by_tag = None, dict[str, int]()
    if has_users:
        users = int(reading.fetch("SELECT count(*) FROM users")[0][0])
        pattern = {"pattern": emails.prefilter(registry.tags)}
        chains = reading.fetch(queries.load("users_by_tag"), pattern)
        by_tag = emails.count_tags([(str(c), int(n)) for c, n in chains], registry.tags)
    return Database(version, standby, size, latency, tuple(tables), users, by_tag)


_COUNTED_EXACTLY = 200_000  # rows by estimate; counting more would make the overview wait


def _tables(reading: session.Session) -> tuple[TableSize, ...]:
    sizes = []
    for name, estimate, size in reading.fetch(queries.load("table_sizes")):
        exact = estimate < _COUNTED_EXACTLY
        rows = reading.count_rows(name) if exact else estimate
        sizes.append(TableSize(name, int(rows), exact, int(size)))
    return tuple(sizes)


def _newest(reading: session.Session, database: Database) -> tuple[tuple[str, str], ...]:
    if database.users is None:
        return ()
    newest = "SELECT email, created_at::text FROM users ORDER BY created_at DESC NULLS LAST LIMIT %(rows)s"
    rows = reading.fetch(newest, {"rows": _NEWEST})
    return tuple((str(email), str(created or "")) for email, created in rows)


def _cache(
    registry: Registry, env: Environment, timeouts: Timeouts, deep: bool
) -> tuple[CacheSummary | GaiaopsError | None, FamilyCount | None]:
    from gaiaops.cache import connect, scan

    try:
        url = env.redis_url()
        if url is None:
            return None, None
        with connect.connect(url, timeouts) as client:
            summary = scan.summary(client)
            families = scan.count_families(client, registry.families, _SCAN_SECONDS) if deep else None
            return summary, families
    except GaiaopsError as error:
        error.environment = env.name
        return error, None


def supabase(project: Supabase, registry: Registry) -> AuthCount | GaiaopsError:
    """The auth project by SQL where the registry has a connection string, else by the admin API."""
    from gaiaops.registry.urls import POSTGRES_SCHEMES

    timeouts = bounded(registry.environments[0].timeouts)
    try:
        if project.database is not None:
            from gaiaops.auth import sql

            return sql.count(project.database.url(POSTGRES_SCHEMES), registry.tags, timeouts)
        from gaiaops.auth import api

        return api.count(project.url.get(), project.service_key.get(), registry.tags, timeouts)
    except GaiaopsError as error:
        error.environment = "supabase"
        return error
