"""Fills the sandbox's servers: five databases in parallel, then the caches from what is in them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from gaiaops.sandbox import seed, seed_cache
from gaiaops.sandbox.layout import AUTH_DATABASE, ENVIRONMENTS, State, database_name

_WORKERS = 2  # the server's work, not ours, takes the time


def databases(state: State) -> None:
    """Creates and seeds all five databases."""
    import psycopg

    names = [AUTH_DATABASE, *map(database_name, ENVIRONMENTS)]
    with psycopg.connect(state.postgres_url("postgres"), autocommit=True) as connection:
        for name in names:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
    # The auth project and production are the largest: they go first.
    tasks = [None, *reversed(ENVIRONMENTS)]
    with ThreadPoolExecutor(_WORKERS) as workers:
        list(workers.map(lambda environment: _database(state, environment), tasks))


def _database(state: State, environment: str | None) -> None:
    import psycopg

    name = AUTH_DATABASE if environment is None else database_name(environment)
    with psycopg.connect(state.postgres_url(name), autocommit=True) as connection:
        if environment is None:
            seed.create_auth_schema(connection)
            seed.seed_auth(connection, state.users)
        else:
            seed.create_platform_schema(connection)
            seed.seed_environment(connection, environment, state.users)
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            connection.execute("SELECT pg_stat_statements_reset()")  # filling it is none of the platform's work


def caches(state: State) -> None:
    """Writes each environment's cache entries into its Redis, from what its database holds now."""
    import psycopg

    for environment in ENVIRONMENTS:
        with psycopg.connect(state.postgres_url(database_name(environment))) as connection:
            rows = seed_cache.read_cache_rows(connection)
        _write(state, environment, seed_cache.cache_entries(environment, rows))


def _write(state: State, environment: str, entries: Iterable[seed_cache.CacheEntry]) -> None:
    import redis

    with redis.Redis.from_url(state.redis_url(environment)) as client, client.pipeline(transaction=False) as batch:
        batch.flushdb()
        for entry in entries:
            if isinstance(entry.value, str):
                batch.set(entry.key, entry.value)
            elif isinstance(entry.value, tuple):
                batch.rpush(entry.key, *entry.value)
            elif isinstance(entry.value, frozenset):
                batch.sadd(entry.key, *sorted(entry.value))
            else:
                batch.hset(entry.key, mapping=dict(entry.value))
            if entry.ttl is not None:
                batch.expire(entry.key, entry.ttl)
        batch.execute()
