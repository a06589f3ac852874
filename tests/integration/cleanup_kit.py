"""What the tests of cleanup and restore share: databases of their own, one call a step, and checksums of everything."""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from gaiaops import registry
from gaiaops.cleanup import apply, archive, planner, restore
from gaiaops.cleanup.apply import Outcome
from gaiaops.cleanup.archive import Run
from gaiaops.cleanup.plan import Plan
from gaiaops.cleanup.undo import Restored

_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
ORDER BY 1
"""
_SEQUENCES = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
_LOCKED = """
SELECT FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
WHERE l.locktype = 'advisory' AND d.datname = current_database()
"""
_ELSEWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"

USERS = """
CREATE TABLE users (id int PRIMARY KEY, email varchar(255) NOT NULL UNIQUE, name text);
INSERT INTO users VALUES (1, 't1+dev@x.io', 'test'), (2, 't2+staging@x.io', 'test'), (3, 't3+Local@x.io', 'test'),
    (11, 'r1@x.io', 'real'), (12, 'r2+alice@x.io', 'real'), (13, 'r3+production@x.io', 'real');
"""


@contextmanager
def database(postgres_url: str, *scripts: str) -> Iterator[str]:
    """A new database with these scripts run in it, dropped at the end; gives its URL."""
    name = f"kit_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            url = urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
            for script in scripts:
                run(url, script)
            yield url
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def run(url: str, script: str) -> None:
    """Runs a script in one transaction, without what an old server has not: generated columns are stored where none is
    virtual (18), SET NULL takes all of a key's columns where it takes no list (15)."""
    with psycopg.connect(url) as connection:
        if connection.info.server_version < 180_000:
            script = script.replace(" VIRTUAL", " STORED")
        if connection.info.server_version < 150_000:
            script = re.sub(r"(ON DELETE SET (?:NULL|DEFAULT)) \([^)]*\)", r"\1", script)
        connection.execute(script.encode())


def fetch(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def ids(url: str, table: str, column: str = "id") -> set[object]:
    """The values of one column."""
    return {row[0] for row in fetch(url, f"SELECT {column} FROM {table}")}


def contents(url: str) -> dict[str, bytes]:
    """Each table of each schema of users as COPY writes it, in an order of its own; and the sequences."""
    found = {}
    with psycopg.connect(url) as connection:
        for (table,) in connection.execute(_TABLES.encode()).fetchall():
            with connection.cursor().copy(f"COPY (SELECT * FROM {table} AS t ORDER BY t::text) TO STDOUT") as copy:
                found[table] = b"".join(copy)
        found["sequences"] = repr(connection.execute(_SEQUENCES).fetchall()).encode()
    return found


def checksums(url: str) -> dict[str, str]:
    """As `contents`, hashed."""
    return {table: hashlib.sha256(data).hexdigest() for table, data in contents(url).items()}


class Kit:
    """One database under the name production, and what may be done with it. Its registry lies in `folder`."""

    def __init__(self, folder: Path, url: str, references: Mapping[str, str] | None = None, more: str = "") -> None:
        self.folder = folder
        self.url = url
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "environments.toml"
        tables = [f'[environments.production]\npostgres = "{url}"\ntag = "production"\n']
        tables += [
            f'[environments.{name}]\npostgres = "{_ELSEWHERE}_{name}"\ntag = "{name}"\n'
            for name in ("local", "dev", "staging")
        ]
        lines = [f"{key} = {value}\n" for key, value in (references or {}).items()]
        self.file.write_text("\n".join([*tables, more, "[references]\n", *lines]), encoding="utf-8")
        self.notices: list[str] = []

    def settle(self) -> None:
        """Waits until no session of an earlier step holds the database's one place for clean-ups."""
        end = time.monotonic() + 5
        while fetch(self.url, _LOCKED) and time.monotonic() < end:
            time.sleep(0.01)

    @property
    def hooks(self) -> apply.Hooks:
        return apply.Hooks(lambda *_: None, lambda: False, self.notices.append)

    def plan(self, **options: object) -> Plan:
        """A plan for everything that may go; no cap but the one that is given."""
        loaded = registry.load(str(self.file))
        chosen = planner.Options(**{"max_users": 1_000_000, **options})
        return planner.make(loaded, loaded.environment("production"), chosen, self.folder / "users.copy")

    def apply(self, plan: Plan) -> tuple[Run, Outcome]:
        """Makes the plan's run, and applies it."""
        made = archive.create(plan, self.folder / "users.copy")
        return made, self.again(made)

    def again(self, made: Run) -> Outcome:
        """Applies a run, once more perhaps."""
        self.settle()
        loaded = registry.load(str(self.file))
        return apply.apply(loaded, loaded.environment("production"), made, self.hooks)

    def clean(self, **options: object) -> tuple[Plan, Run, Outcome]:
        """Plans and applies. The plan must have nothing against it."""
        plan = self.plan(**options)
        assert plan.refusals == (), plan.refusals
        return plan, *self.apply(plan)

    def restore(self, made: Run, user: str | None = None, *, dry_run: bool = False, wait: bool = True) -> Restored:
        if wait:
            self.settle()
        loaded = registry.load(str(self.file))
        options = restore.Options(user, dry_run)
        return restore.restore(loaded, loaded.environment("production"), made, options, self.hooks)


def planned(plan: Plan, action: str) -> dict[str, int]:
    """Table → rows of one action."""
    found: dict[str, int] = {}
    for table in plan.tables:
        if table.action == action:
            found[table.table] = found.get(table.table, 0) + table.rows
    return found


def collateral(plan: Plan) -> dict[tuple[str, str], int]:
    """(table, owner) → rows of people who are not in the plan."""
    found: dict[tuple[str, str], int] = {}
    for entry in plan.collateral:
        found[entry.table, entry.owner] = found.get((entry.table, entry.owner), 0) + entry.rows
    return found
