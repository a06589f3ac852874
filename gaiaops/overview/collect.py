"""Reads the overview of every environment and of the auth project, in parallel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gaiaops import emails, threads
from gaiaops.auth.interface import AuthCount
from gaiaops.cache.scan import CacheSummary, FamilyCount
from gaiaops.errors import GaiaopsError
from gaiaops.overview.values import NEWEST, NO_DETAIL, Database, Detail, Overview, Read, TableSize, total
from gaiaops.postgres import queries, session
from gaiaops.registry import trust
from gaiaops.registry.model import Environment, Registry, Supabase, Timeouts

_STATEMENT_MS = 20_000  # an overview that takes longer is none
_SCAN_SECONDS = 3.0
Choose = Callable[[Environment], Environment]


def bounded(timeouts: Timeouts) -> Timeouts:
    """The environment's bounds, tightened to what an overview may take."""
    statement = min(timeouts.statement or _STATEMENT_MS, _STATEMENT_MS)
    return Timeouts(timeouts.connect, statement, timeouts.lock, timeouts.idle)


def environments(
    registry: Registry, chosen: Sequence[Environment], *, deep: bool, choose: Choose
) -> Iterator[Overview]:
    """Overviews in the order in which the environments answer; `choose` gives each database as it is to be read."""
    yield from threads.as_completed(chosen, lambda env: environment(registry, env, deep=deep, choose=choose))


def environment(registry: Registry, env: Environment, *, deep: bool, choose: Choose) -> Overview:
    """One environment's overview; never raises for a server that does not answer."""
    shards: tuple[Read, ...] = ()
    whole: Read | None
    if env.shards:
        reads = {
            one.env.name: one for one in threads.as_completed(env.shards, lambda s: _read(registry, choose(s), deep))
        }
        shards = tuple(reads[shard.name] for shard in env.shards)
        whole = total(env, shards)
    else:
        whole = _read(registry, choose(env), deep)
    cache, families = _cache(registry, env, bounded(env.timeouts), deep)
    database, detail = (whole.database, whole.detail) if whole else (None, NO_DETAIL if deep else None)
    return Overview(env, database, cache, detail, families, shards)


def _read(registry: Registry, env: Environment, deep: bool) -> Read:
    try:
        with session.reading(env.postgres_url(), bounded(env.timeouts), "view") as reading:
            database = _database(reading, registry, env)
            return Read(env, database, Detail(_tables(reading, env), _newest(reading, database)) if deep else None)
    except GaiaopsError as error:
        error.environment = env.name
        return Read(env, error, NO_DETAIL if deep else None)


def _partly(reading: session.Session, query: str, env: Environment) -> list[tuple[Any, ...]]:
    """The rows of a query, without what the server has no function for, of which a line tells."""
    rows, lacking = reading.fetch_partly(queries.load(query))
    for name in lacking:
        trust.tell(f"[{env.name}] {reading.server.name}: no {name}: what it gives is not shown")
    return rows


def _database(reading: session.Session, registry: Registry, env: Environment) -> Database:
    began = time.perf_counter()
    reading.fetch("SELECT 1")
    latency = (time.perf_counter() - began) * 1000
    version, standby, size, tables, has_users = _partly(reading, "overview", env)[0]
    version = version if reading.server.plain else reading.server.name
    users, by_tag = None, dict[str, int]()
    if has_users:
        users = int(reading.fetch("SELECT count(*) FROM users")[0][0])
        pattern = {"pattern": emails.prefilter(registry.tags)}
        chains = reading.fetch(queries.load("users_by_tag"), pattern)
        by_tag = emails.count_tags([(str(c), int(n)) for c, n in chains], registry.tags)
    return Database(version, standby, size, latency, tuple(tables), users, by_tag)


_COUNTED_EXACTLY = 200_000  # rows by estimate; counting more would make the overview wait


def _tables(reading: session.Session, env: Environment) -> tuple[TableSize, ...]:
    sizes = []
    for name, estimate, size in _partly(reading, "table_sizes", env):
        exact = estimate < _COUNTED_EXACTLY
        rows = reading.count_rows(name) if exact else estimate
        sizes.append(TableSize(name, int(rows), exact, size))
    return tuple(sizes)


def _newest(reading: session.Session, database: Database) -> tuple[tuple[str, str], ...]:
    if database.users is None:
        return ()
    newest = "SELECT email, created_at::text FROM users ORDER BY created_at DESC NULLS LAST LIMIT %(rows)s"
    rows = reading.fetch(newest, {"rows": NEWEST})
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
    timeouts = bounded(registry.environments[0].timeouts)
    try:
        url = project.database_url()
        if url is not None:
            from gaiaops.auth import sql

            return sql.count(url, registry.tags, timeouts)
        from gaiaops.auth import api

        return api.count(project.url.get(), project.service_key.get(), registry.tags, timeouts)
    except GaiaopsError as error:
        error.environment = "supabase"
        return error
