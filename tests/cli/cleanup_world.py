"""A world to clean up in: a clone of production as it was seeded, a registry of its own, plans that were tampered
with, and checksums of every table."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from gaiaops.sandbox.drift_model import seed_uuid
from tests.conftest import Command, Run, Sandbox

ELSEWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"
TEMPLATE = "template_production"
PLATFORM = (files("gaiaops.sandbox") / "platform.toml").read_text(encoding="utf-8")
CONFIRM = ("--confirm", "production")

# Of the seed: a test user in whose conversation another person wrote, and that person; an ordinary test user.
HOST, GUEST = "quinn.tester+staging@example.com", "dana.real@example.com"
THEO, THEO_ID = "theo.test+dev@example.com", seed_uuid("case:theo")
KEEP = ("--keep", HOST)

_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
"""
# Who is to go: what the documentation says in words, written anew.
TAGGED = r"email ~* '^[^\"]*\+(local|dev|staging)@[^@]*$' AND email !~* '\+(local|dev|staging)\+(local|dev|staging)@'"


def run_sql(url: str, script: str) -> None:
    """Runs a script in one transaction."""
    with psycopg.connect(url) as connection:
        connection.execute(script.encode())


def fetch(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def number(url: str, query: str) -> int:
    return int(fetch(url, query)[0][0])


def users(url: str) -> set[str]:
    """The addresses that are there."""
    return {row[0] for row in fetch(url, "SELECT email FROM users")}


def tagged(url: str) -> set[str]:
    """The addresses of the test users of production."""
    return {row[0] for row in fetch(url, f"SELECT email FROM users WHERE {TAGGED}")}


def checksums(url: str) -> dict[str, str]:
    """Each table of each schema, its rows as text in an order of their own, hashed."""
    with psycopg.connect(url) as connection:
        tables = [row[0] for row in connection.execute(_TABLES.encode()).fetchall()]
        each = " UNION ALL ".join(
            f"SELECT '{table}', md5(string_agg(t::text, '|' ORDER BY t::text COLLATE \"C\")) FROM {table} AS t"
            for table in tables
        )
        return dict(connection.execute(each.encode()).fetchall())


@contextmanager
def clone(sandbox: Sandbox) -> Iterator[str]:
    """A new database like production as it was seeded; gives its URL."""
    name = f"clone_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(sandbox.state.postgres_url("postgres"), autocommit=True) as connection:
        _template(connection)
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}".encode())
        try:
            yield sandbox.state.postgres_url(name)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def renew(sandbox: Sandbox, url: str) -> None:
    """Makes a clone anew under its name."""
    name = urlsplit(url).path[1:]
    with psycopg.connect(sandbox.state.postgres_url("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}".encode())


def _template(connection: psycopg.Connection) -> None:
    """Made once in a session, and never connected to: a database in use cannot be cloned."""
    for _ in range(50):
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone():
            return
        with suppress(psycopg.errors.ObjectInUse, psycopg.errors.DuplicateDatabase):
            connection.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE llm_platform_production".encode())
        time.sleep(0.1)
    raise AssertionError("production is in use for too long")


def text_of_registry(production: str, *, more: str = "", protected: bool = True, **others: str) -> str:
    """A registry: production at this URL, the others where nobody listens unless told otherwise; `more` belongs to
    production."""
    parts = [f'[environments.production]\npostgres = "{production}"\n{"protected = true" if protected else ""}\n{more}']
    for name in ("local", "dev", "staging"):
        url = others.pop(name, f"{ELSEWHERE}_{name}")
        parts.append(f'[environments.{name}]\ntag = "{name}"\npostgres = "{url}"')
    parts += [f'[environments.{name}]\npostgres = "{url}"' for name, url in others.items()]
    return "\n".join([*parts, PLATFORM])


class World:
    """One database behind the name production, the command line on it, and a folder of its own."""

    def __init__(self, url: str, folder: Path, gaiaops: Command) -> None:
        self.url = url
        self.folder = folder
        self.gaiaops = gaiaops
        self.file = folder / "environments.toml"
        self.registry()

    def registry(self, edit: Callable[[str], str] = lambda text: text, **settings: Any) -> None:
        """Writes the registry anew."""
        settings.setdefault("production", self.url)
        self.file.write_text(edit(text_of_registry(**settings)), encoding="utf-8")

    def protect(self, *entries: str) -> None:
        self.registry(lambda text: f"{text}\n[cleanup]\nprotected = {json.dumps(entries)}\n")

    def reference(self, line: str) -> None:
        """Adds a line to [references]."""
        self.registry(lambda text: text.replace("[references]\n", f"[references]\n{line}\n"))

    def __call__(self, *arguments: str, **options: Any) -> Run:
        return self.gaiaops(*arguments, registry=self.file, **options)

    def cleanup(self, *arguments: str, **options: Any) -> Run:
        """With the confirmation."""
        return self("cleanup", "production", *arguments, *CONFIRM, **options)

    def purge(self, *arguments: str) -> str:
        """Cleans up, everything but the host, and gives the run's id."""
        done = self.cleanup(*KEEP, *arguments)
        assert done.code == 0, done.err
        return self.runs()[0]

    def save(self, *arguments: str, name: str = "test.plan") -> Path:
        """Saves a plan."""
        target = self.folder / name
        done = self("cleanup", "production", "--save-plan", str(target), *(arguments or KEEP))
        assert done.code == 0, done.err
        return target

    def apply(self, plan: Path, **options: Any) -> Run:
        return self.cleanup("--plan", str(plan), **options)

    def runs(self) -> list[str]:
        """The folders of runs, the newest first."""
        folder = self.data / "runs"
        return sorted((path.name for path in folder.iterdir()), reverse=True) if folder.is_dir() else []

    @property
    def data(self) -> Path:
        return self.folder / "data" / "gaiaops"

    @property
    def state(self) -> Path:
        return self.folder / "state" / "gaiaops"

    def sql(self, script: str) -> None:
        run_sql(self.url, script)

    def role(self) -> str:
        """The URL of a role that may do all a clean-up needs and is no superuser. Roles are the cluster's: the name
        is the database's."""
        name, password = f"role_{urlsplit(self.url).path[1:]}", uuid.uuid4().hex
        self.sql(
            f"DO $$ BEGIN CREATE ROLE {name} LOGIN PASSWORD '{password}'; END $$;"
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name};"
            f"GRANT TEMP ON DATABASE {urlsplit(self.url).path[1:]} TO {name}"
        )
        place = urlsplit(self.url)
        return place._replace(netloc=f"{name}:{password}@{place.hostname}:{place.port}").geturl()

    def drop_role(self) -> None:
        name = f"role_{urlsplit(self.url).path[1:]}"
        self.sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


class Sheet:
    """A saved plan, to be tampered with."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_bytes().splitlines(keepends=True)
        self.head: dict[str, Any] = json.loads(lines[0])["gaiaops_plan"]
        self.users: list[dict[str, Any]] = [json.loads(line) for line in lines[1:-1]]
        self._end = lines[-1]

    def write(self, target: Path, *, signed: bool, listed: bool = True) -> Path:
        """`signed` computes the digest anew; `listed` the number of users and the digest of their list too."""
        if listed:
            rows = "".join(f"{user['n']}\t{user['id']}\t{user['address']}\n" for user in self.users)
            self.head["users"] = len(self.users)
            self.head["sha256"] = hashlib.sha256(rows.encode()).hexdigest()
        lines = [self._line({"gaiaops_plan": self.head}), *map(self._line, self.users)]
        body = b"".join(lines)
        end = self._line({"sha256": hashlib.sha256(body).hexdigest()}) if signed else self._end
        target.write_bytes(body + end)
        return target

    @staticmethod
    def _line(value: object) -> bytes:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def literal(text: str) -> str:
    """An SQL string literal."""
    return sql.Literal(text).as_string(None)
