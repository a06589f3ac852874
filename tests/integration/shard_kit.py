"""Environments whose databases are several: clones of the seeded dev, or empty ones, as shards in a registry."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.conftest import Sandbox


@contextmanager
def databases(sandbox: Sandbox, *names: str, template: str = "template_dev") -> Iterator[dict[str, str]]:
    """The URL of a new database for each name; they go with the block."""
    made = {name: f"shard_{uuid.uuid4().hex[:10]}" for name in names}
    with psycopg.connect(sandbox.state.postgres_url("postgres"), autocommit=True) as connection:
        try:
            for database in made.values():
                connection.execute(f"CREATE DATABASE {database} TEMPLATE {template}".encode())
            yield {name: sandbox.state.postgres_url(database) for name, database in made.items()}
        finally:
            for database in made.values():
                connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)".encode())


def table(environment: str, shards: Mapping[str, str], *lines: str) -> str:
    """The registry's table of an environment with these shards, name → URL, and further lines in it."""
    listed = ", ".join(f'{{ name = "{name}", url = "{url}" }}' for name, url in shards.items())
    return "\n".join([f"[environments.{environment}]", f"shards = [{listed}]", *lines, ""])


def registry(folder: Path, *tables: str) -> Path:
    """A registry of these tables."""
    file = folder / "environments.toml"
    file.write_text("\n".join(tables), encoding="utf-8")
    return file
