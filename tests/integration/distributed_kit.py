"""A real PostgreSQL made to lack what distributed servers lack, or to call itself one of them.

A stand-in: it shows what gaiaops does where a function is missing, and where version() or a catalog of Citus says who
the server is. It cannot show that such a server takes gaiaops' statements, or answers them as its documentation says.
What is changed is the system catalog of one database, which is dropped afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

VERSIONS = {
    "CockroachDB 25.1.4": "CockroachDB CCL v25.1.4 (x86_64-pc-linux-gnu, built 2025/04/09 00:00:00, go1.22.8)",
    "YugabyteDB 2.25.0.0": "PostgreSQL 15.2-YB-2.25.0.0-b0 on x86_64-pc-linux-gnu, compiled by clang version 17.0.6",
}
_CATALOG = "SET allow_system_table_mods = on"
_RENAME = "UPDATE pg_proc SET proname = %s WHERE proname = %s AND pronamespace = 'pg_catalog'::regnamespace"
_READ_ONLY = """
CREATE FUNCTION pg_catalog.current_setting(text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE $1 WHEN 'transaction_read_only' THEN 'off' ELSE current_setting($1, true) END
$$
"""


def rename(url: str, before: str, after: str) -> None:
    """Renames the system's functions of a name."""
    with psycopg.connect(url) as connection:
        connection.execute(_CATALOG)
        assert connection.execute(_RENAME, (after, before)).rowcount > 0


@contextmanager
def without(url: str, *functions: str) -> Iterator[None]:
    """The database without these functions of the system, as long as the block runs."""
    for name in functions:
        rename(url, name, f"gone_{name}")
    try:
        yield
    finally:
        for name in functions:
            rename(url, f"gone_{name}", name)


def claim(url: str, version: str) -> None:
    """Makes version() say this."""
    rename(url, "version", "real_version")
    with psycopg.connect(url) as connection:
        connection.execute(_CATALOG)
        body = psycopg.sql.Literal(version).as_string(connection)
        connection.execute(
            f"CREATE FUNCTION pg_catalog.version() RETURNS text LANGUAGE sql AS $$ SELECT {body} $$".encode()
        )


def never_read_only(url: str) -> None:
    """Makes the server say that its transactions are read-write, as one does that takes READ ONLY for a comment."""
    with psycopg.connect(url) as connection:
        connection.execute(_CATALOG)
        rename_one = (
            "UPDATE pg_proc SET proname = 'real_setting' WHERE oid = 'pg_catalog.current_setting(text)'::regprocedure"
        )
        connection.execute(rename_one)
        connection.execute(_READ_ONLY.encode())


def citus(url: str, *tables: str) -> None:
    """The catalog in which Citus keeps its distributed tables, with these in it."""
    with psycopg.connect(url) as connection:
        connection.execute(_CATALOG)
        connection.execute('CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod "char")')
        for table in tables:
            connection.execute("INSERT INTO pg_dist_partition VALUES (%s::text::regclass, 'h')", (table,))
