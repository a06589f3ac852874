"""Fills the sandbox's databases: the shared auth project and one environment at a time.

The ordinary people are made on the server from their row number (`sql/seed_*.sql`), so a million take
seconds; the planted ones come from `drift.py`. Nothing is random and nothing reads the clock: seeding twice
gives the same bytes. The SQL reads its values from settings of the transaction, not from text pasted in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from gaiaops.sandbox import drift

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from psycopg import Connection

    AnyConnection = Connection[Any]

DEFAULT_USERS = 1200

# Keys, conversations and the rest for at most so many people of an environment: --users scales the users.
ACTIVE_PEOPLE = 2000

_AUTH_FILES = ("seed_people", "seed_auth", "seed_drift_auth")
_ENVIRONMENT_FILES = (
    "seed_people",
    "seed_platform",
    "seed_drift_platform",
    "seed_activity",
    "seed_library",
    "seed_knowledge",
    "seed_drift_links",
)


def script(name: str) -> str:
    """The text of one of the sandbox's SQL files, by its name without `.sql`."""
    return (files("gaiaops.sandbox") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def create_auth_schema(conn: AnyConnection) -> None:
    """Create the schema `auth` in an empty database, in one transaction."""
    with conn.transaction():
        _execute(conn, "auth")


def create_platform_schema(conn: AnyConnection, *, planned: bool = False) -> None:
    """Create the 19 deployed tables in an empty database; with `planned` the 16 planned ones too."""
    with conn.transaction():
        _execute(conn, "platform")
        if planned:
            _execute(conn, "planned")


def seed_auth(conn: AnyConnection, users: int = DEFAULT_USERS) -> None:
    """Fill auth.users with `users` records (at least the planted ones), in one transaction, and analyze."""
    settings = {"people": str(drift.ordinary_people(users)), "accounts": _rows(drift.ACCOUNTS)}
    _seed(conn, _AUTH_FILES, settings)


def seed_environment(conn: AnyConnection, environment: str, users: int = DEFAULT_USERS) -> None:
    """Fill one environment's tables with its share of `users` auth records, in one transaction, and analyze.

    `users` must be what `seed_auth` was given: it is the total over all environments.
    """
    if environment not in drift.ENVIRONMENTS:
        raise ValueError(f"no such sandbox environment: {environment}")
    settings = {
        "profiles": _rows(row for row in drift.PROFILES if row.environment == environment),
        "keys": _rows(row for row in drift.KEYS if row.environment == environment),
        "references": _rows(row for row in drift.REFERENCES if row.environment == environment),
        "messages": _rows(row for row in drift.MESSAGES if row.environment == environment),
        "people": str(drift.ordinary_people(users)),
        "environment": environment,
        "active": str(ACTIVE_PEOPLE),
    }
    _seed(conn, _ENVIRONMENT_FILES, settings)


def _rows(rows: Iterable[DataclassInstance]) -> str:
    return json.dumps([asdict(row) for row in rows])


def _seed(conn: AnyConnection, names: Iterable[str], settings: Mapping[str, str]) -> None:
    """Run SQL files in one transaction that sees `settings` as gaia_seed.NAME."""
    with conn.transaction():
        # JIT would compile for longer than these statements run.
        conn.execute("SET LOCAL jit = off")
        # The sandbox commits asynchronously; what it was seeded with survives even a SIGKILL a moment later.
        conn.execute("SET LOCAL synchronous_commit = on")
        for name, value in settings.items():
            conn.execute("SELECT set_config('gaia_seed.' || %s, %s, true)", (name, value))
        for name in names:
            _execute(conn, name)
        conn.execute("DROP FUNCTION pg_temp.seed_people(bigint), pg_temp.seed_uuid(text)")
        # Plans and estimates are right from the first statement on, not from autovacuum's next round.
        conn.execute("ANALYZE")


def _execute(conn: AnyConnection, name: str) -> None:
    # Bytes: the files are ours and hold no placeholders, and psycopg types literal text only.
    conn.execute(script(name).encode())
