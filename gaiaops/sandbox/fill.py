"""Fills the sandbox's servers: five databases in parallel, then the caches from what is in them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from gaiaops.sandbox import seed
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


def caches(state: State) -> None:
    """Writes each environment's cache entries into its Redis, in one pipeline."""
