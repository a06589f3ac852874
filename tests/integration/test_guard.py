"""Nothing that `gaiaops query` runs without --write changes anything, and honest reading works.

Every attempt goes through the command line in a process of its own, as a superuser; what might have changed is
compared from another connection. PostgreSQL 18 always; GAIAOPS_TEST_POSTGRES_BIN names another server's bin folder.
"""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from gaiaops.sandbox.postgres_server import owner
from tests.conftest import Run, Sandbox, private_folder, registry_for

from . import guard_corpus as corpus

FORMATS = ("csv", "json", "table")
OTHER_SERVER = os.environ.get("GAIAOPS_TEST_POSTGRES_BIN", "")
SERVERS = ("18", "other") if OTHER_SERVER else ("18",)

# Everything a statement could leave behind that is not a table's content. Physical counters that autovacuum may
# move are compared for our own tables only, where it is off.
CATALOG = r"""
SELECT 'relations', (SELECT sum(hashtextextended(concat_ws(' ', oid, relname, relkind, relowner, relfilenode, relacl,
           reloptions, relnatts), 0)) FROM pg_class)::text
UNION ALL SELECT 'planner statistics', (SELECT string_agg(concat_ws(' ', relname, relpages, reltuples, relfilenode),
           ',' ORDER BY oid) FROM pg_class WHERE relname ~ '^(victims|journal|counted)')
UNION ALL SELECT 'statistics rows', (SELECT count(*)::text FROM pg_statistic s JOIN pg_class c ON c.oid = starelid
           WHERE relname IN ('victims', 'journal'))
UNION ALL SELECT 'columns', (SELECT sum(hashtextextended(concat_ws(' ', attrelid, attname, atttypid, attacl), 0))
           FROM pg_attribute)::text
UNION ALL SELECT 'functions', (SELECT sum(hashtextextended(ctid::text || xmin, 0)) FROM pg_proc)::text
UNION ALL SELECT 'types', (SELECT sum(hashtextextended(ctid::text || xmin, 0)) FROM pg_type)::text
UNION ALL SELECT 'enums', (SELECT count(*) FROM pg_enum)::text
UNION ALL SELECT 'rules', (SELECT sum(hashtextextended(ctid::text || xmin, 0)) FROM pg_rewrite)::text
UNION ALL SELECT 'schemas', (SELECT string_agg(n::text, ',' ORDER BY oid) FROM pg_namespace n)
UNION ALL SELECT 'extensions', (SELECT string_agg(extname, ',' ORDER BY extname) FROM pg_extension)
UNION ALL SELECT 'comments', (SELECT sum(hashtextextended(ctid::text || xmin, 0)) FROM pg_description)::text
UNION ALL SELECT 'collations', (SELECT count(*) FROM pg_collation)::text
UNION ALL SELECT 'statistics objects', (SELECT count(*) FROM pg_statistic_ext)::text
UNION ALL SELECT 'event triggers', (SELECT count(*) FROM pg_event_trigger)::text
UNION ALL SELECT 'security labels', (SELECT count(*) FROM pg_seclabels)::text
UNION ALL SELECT 'sequences', (SELECT string_agg(sequencename || last_value, ',' ORDER BY sequencename)
           FROM pg_sequences WHERE last_value IS NOT NULL)
UNION ALL SELECT 'counter', (SELECT concat_ws(' ', last_value, log_cnt, is_called) FROM counter)
UNION ALL SELECT 'large objects', (SELECT string_agg(m::text, ',' ORDER BY oid) FROM pg_largeobject_metadata m)
UNION ALL SELECT 'large data', (SELECT sum(hashtextextended(l::text, 0)) FROM pg_largeobject l)::text
UNION ALL SELECT 'roles', (SELECT string_agg(r::text, ',' ORDER BY oid) FROM pg_authid r)
UNION ALL SELECT 'members', (SELECT sum(hashtextextended(m::text, 0)) FROM pg_auth_members m)::text
UNION ALL SELECT 'role settings', (SELECT string_agg(s::text, ',' ORDER BY s::text) FROM pg_db_role_setting s)
UNION ALL SELECT 'databases', (SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database)
UNION ALL SELECT 'tablespaces', (SELECT string_agg(spcname, ',' ORDER BY spcname) FROM pg_tablespace)
UNION ALL SELECT 'publications', (SELECT count(*) FROM pg_publication)::text
UNION ALL SELECT 'subscriptions', (SELECT count(*) FROM pg_subscription)::text
UNION ALL SELECT 'foreign', (SELECT count(*) FROM pg_foreign_table)::text
UNION ALL SELECT 'origins', (SELECT count(*) FROM pg_replication_origin)::text
UNION ALL SELECT 'slots', (SELECT string_agg(concat_ws(' ', slot_name, restart_lsn, confirmed_flush_lsn), ',')
           FROM pg_replication_slots)
UNION ALL SELECT 'prepared', (SELECT string_agg(gid, ',') FROM pg_prepared_xacts)
UNION ALL SELECT 'advisory locks', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')::text
UNION ALL SELECT 'settings file', md5(pg_read_file('postgresql.auto.conf'))
UNION ALL SELECT 'settings read', pg_conf_load_time()::text
UNION ALL SELECT 'server files', (SELECT string_agg(f, ',' ORDER BY f) FROM pg_ls_dir('.') f)
UNION ALL SELECT 'snapshot files', (SELECT string_agg(f, ',' ORDER BY f) FROM pg_ls_dir('pg_snapshots') f)
UNION ALL SELECT 'counters reset', (SELECT string_agg(concat_ws(' ', datname, stats_reset), ',' ORDER BY datid)
           FROM pg_stat_database)
UNION ALL SELECT 'shared counters reset', (SELECT stats_reset FROM pg_stat_bgwriter)::text
"""


@dataclass
class Target:
    """A database with something to lose, seen from connections that the attempts do not use."""

    url: str
    folder: Path
    watcher: psycopg.Connection[Any]
    bystander: psycopg.Connection[Any]
    places: dict[str, str]
    contents: str
    before: dict[str, str | None]

    def fill(self, sql: str) -> str:
        for place, value in self.places.items():
            sql = sql.replace(f"<{place}>", value)
        return sql

    def state(self) -> dict[str, str | None]:
        """All that must stay as it is."""
        found = dict(self.watcher.execute(CATALOG).fetchall())
        found |= dict(self.watcher.execute(self.contents).fetchall())
        found["files"] = ",".join(sorted(path.name for path in self.folder.iterdir()))
        try:
            alive = self.bystander.execute("SELECT pg_backend_pid()").fetchone()
            heard = list(self.bystander.notifies(timeout=0))
            found["bystander"] = f"{alive} {heard}"
        except psycopg.Error as error:
            found["bystander"] = str(error)
        return found

    def changes(self) -> dict[str, tuple[str | None, str | None]]:
        """What is not as it was at the last look."""
        before, self.before = self.before, self.state()
        return {what: (before.get(what), now) for what, now in self.before.items() if before.get(what) != now}


@contextmanager
def other_server(binaries: Path) -> Iterator[str]:
    """A PostgreSQL of the machine's own, on loopback, run by a user that is not root."""
    who = owner()
    with private_folder() as folder:
        data = folder / "data"
        data.mkdir(mode=0o700)
        if who:
            os.chown(data, who["user"], who["group"])

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [str(binaries / program), "-D", str(data), *arguments],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the server keeps it open
                cwd="/",
                **who,
            )

        run("initdb", "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        run("pg_ctl", "-w", "-s", "-l", str(data / "log"), "-o", settings, "start")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-w", "-s", "-m", "immediate", "stop")


@contextmanager
def database(admin_url: str, template: str) -> Iterator[str]:
    """A database of this module's own."""
    name = f"guard_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield admin_url.rpartition("/")[0] + f"/{name}"
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def set_up(connection: psycopg.Connection[Any], url: str) -> dict[str, str]:
    """Fills the database; gives the values of the corpus's places."""
    available = {row[0] for row in connection.execute("SELECT name FROM pg_available_extensions")}
    for name in set(corpus.EXTENSIONS) & available:
        connection.execute(f"CREATE EXTENSION IF NOT EXISTS {name}")
    connection.execute(corpus.SETUP)
    parts = {"password": "none", **conninfo_to_dict(url)}
    foreign = corpus.FOREIGN
    for key in ("host", "port", "dbname", "user", "password"):
        foreign = foreign.replace(f"<{key}>", str(parts[key]))
    connection.execute(foreign)
    row = connection.execute("SELECT lo_from_bytea(0, 'large')").fetchone()
    connection.execute("SELECT pg_create_physical_replication_slot('kept', true)")
    return {"dsn": make_conninfo(**parts), "oid": str(row[0] if row else 0)}


@contextmanager
def target_at(admin_url: str, template: str) -> Iterator[Target]:
    with (
        database(admin_url, template) as url,
        private_folder() as folder,
        psycopg.connect(url, autocommit=True) as watcher,
        psycopg.connect(url, autocommit=True) as bystander,
    ):
        folder.chmod(0o777)  # the server could write there
        places = {**set_up(watcher, url), "folder": str(folder), "pid": str(bystander.info.backend_pid)}
        bystander.execute("LISTEN guard")
        tables = watcher.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        contents = " UNION ALL ".join(
            f"SELECT '{name.replace(chr(39), chr(39) * 2)}', "
            f"concat(count(*), ' ', sum(hashtextextended(t::text || ctid::text, 0))) FROM {name} t"
            for (name,) in tables
        )
        target = Target(url, folder, watcher, bystander, places, contents, {})
        target.before = target.state()
        try:
            yield target
        finally:
            watcher.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
            watcher.execute("RESET ALL; DROP OWNED BY guard_victim; DROP ROLE guard_victim")


@pytest.fixture(scope="module", params=SERVERS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """PostgreSQL 18 with a clone of dev; the other server with a small database."""
    if request.param == "18":
        sandbox: Sandbox = request.getfixturevalue("sandbox")
        with target_at(sandbox.state.postgres_url("postgres"), "template_dev") as found:
            yield found
    else:
        with other_server(Path(OTHER_SERVER)) as url, target_at(url, "template0") as found:
            yield found


@pytest.fixture
def query(target: Target, gaiaops: Callable[..., Run], tmp_path: Path) -> Callable[..., Run]:
    """`gaiaops query` on the target, under the names dev and production."""
    registry = registry_for(tmp_path, dev=target.url, production=target.url)

    def run(attempt: corpus.Attempt, format_: str) -> Run:
        sql = target.fill(attempt.sql)
        arguments = ["query", attempt.env, "--format", format_, *attempt.options]
        for parameter in attempt.params:
            arguments += ["-p", parameter]
        if attempt.way == "file":
            file = tmp_path / "script.sql"
            file.write_bytes(sql.encode())
            return gaiaops(*arguments, "-f", str(file), registry=registry, timeout=30)
        if attempt.way == "stdin":
            return gaiaops(*arguments, "-f", "-", registry=registry, stdin=sql, timeout=30)
        return gaiaops(*arguments, "--", sql, registry=registry, timeout=30)

    return run


NUMBERED = [(name, FORMATS[number % len(FORMATS)]) for number, name in enumerate(corpus.ATTEMPTS)]
NUMBERED += [(name, format_) for name in corpus.EVERY_FORMAT for format_ in FORMATS if (name, format_) not in NUMBERED]


@pytest.mark.parametrize(("name", "format_"), NUMBERED)
def test_changes_nothing(name: str, format_: str, target: Target, query: Callable[..., Run]) -> None:
    attempt = corpus.ATTEMPTS[name]
    run = query(attempt, format_)
    assert target.changes() == {}, run
    assert run.code in attempt.codes, run


@pytest.mark.parametrize(("number", "name"), list(enumerate(corpus.READING)))
def test_reading_works(number: int, name: str, target: Target, query: Callable[..., Run]) -> None:
    run = query(corpus.Attempt(corpus.READING[name], (0,)), FORMATS[number % len(FORMATS)])
    assert run.code == 0, run
    assert run.out, run
    assert target.changes() == {}


@pytest.mark.parametrize("format_", FORMATS)
def test_reading_works_in_every_format(format_: str, target: Target, query: Callable[..., Run]) -> None:
    script = "\n;\n".join(corpus.READING.values())
    run = query(corpus.Attempt(script, (0,), way="file"), format_)
    assert run.code == 0, run.err[-2000:]
    assert target.changes() == {}


def test_corpus_is_large() -> None:
    assert len(corpus.ATTEMPTS) >= 80
    assert len(corpus.READING) >= 40
    assert len({attempt.sql for attempt in corpus.ATTEMPTS.values()}) >= 80
