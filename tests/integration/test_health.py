"""Health on real servers: each trouble, made for real, is named by its check with its verdict; a healthy server has
none; what cannot be seen is unknown and never good."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from gaiaops import registry
from gaiaops.inspect.health import postgres, run
from gaiaops.inspect.health.checks import ALL, BY_NAME, Measured, Result, Verdict, verdict
from gaiaops.postgres.probe import Probe, probing
from gaiaops.registry.model import Timeouts
from gaiaops.registry.urls import POSTGRES_SCHEMES, parse_url
from tests.conftest import Sandbox
from tests.integration.cleanup_kit import database
from tests.integration.redis_kit import server
from tests.waiting import soon

QUERIES = sorted(
    path.name for path in (files("gaiaops.postgres") / "queries").iterdir() if path.name.startswith("health_")
)


def health(folder: Path, url: str, *, redis: str = "", more: str = "") -> dict[str, Result]:
    """The results of one environment, by check."""
    file = folder / "environments.toml"
    cache = f'redis = "{redis}"\n' if redis else ""
    file.write_text(f'[environments.dev]\npostgres = "{url}"\n{cache}\n{more}', encoding="utf-8")
    loaded = registry.load(str(file))
    return {result.check: result for result in run.run(loaded, loaded.environments).results}


def bad(results: dict[str, Result]) -> dict[str, Verdict]:
    return {name: result.verdict for name, result in results.items() if result.verdict is not Verdict.OK}


def probe_of(url: str) -> Probe:
    return probing(parse_url(url, POSTGRES_SCHEMES), Timeouts(), "health")  # type: ignore[return-value]


@contextmanager
def role(url: str, *grants: str) -> Iterator[str]:
    """The URL of a new role that may connect and what `grants` say of ROLE."""
    name, place = f"health_{uuid.uuid4().hex[:12]}", urlsplit(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw'".encode())
        for grant in grants:
            connection.execute(grant.replace("ROLE", name).encode())
        try:
            yield place._replace(netloc=f"{name}:pw@{place.hostname}:{place.port}").geturl()
        finally:
            connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


def test_a_healthy_server_has_no_finding(postgres_url: str, tmp_path: Path) -> None:
    with database(postgres_url) as url, server(tmp_path) as cache:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE parents (id int PRIMARY KEY)")
            connection.execute(
                "CREATE TABLE children (a int, parent int REFERENCES parents); CREATE INDEX ON children (parent, a);"
                "INSERT INTO parents SELECT generate_series(1, 1000); INSERT INTO children SELECT id, id FROM parents"
            )
        results = health(tmp_path, url, redis=cache.url)
        # Only the extension that this database lacks is unknown, and says why.
        assert bad(results) == {"slow-statements": Verdict.UNKNOWN}
        assert "not installed" in results["slow-statements"].text
        assert set(results) == {spec.name for spec in ALL if spec.server in ("postgres", "redis")}


_ILL = """
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE "Children" ("Parent" int REFERENCES parents);
CREATE TABLE bloat WITH (autovacuum_enabled = off) AS SELECT g AS id FROM generate_series(1, 2010) AS g;
CREATE TABLE twins AS SELECT 1 AS id FROM generate_series(1, 2);
"""


def test_each_trouble_is_named(fresh_url: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(psycopg.connect(fresh_url, autocommit=True)) for _ in range(3))
        first.execute(_ILL)
        first.execute("DELETE FROM bloat WHERE id > 10")
        with suppress(psycopg.errors.UniqueViolation):
            first.execute("CREATE UNIQUE INDEX CONCURRENTLY twins_once ON twins (id)")
        first.execute(
            "SET work_mem = '64kB'; SELECT count(*) FROM (SELECT generate_series(1, 99999) AS g ORDER BY 1) s"
        )
        first.execute("SELECT pg_sleep(0.11)")
        _deadlock(second, third)
        for connection in (first, second, third):
            if connection.info.server_version >= 150_000:
                connection.execute("SELECT pg_stat_force_next_flush()")
            else:  # it sends its counters at most twice a second, at the end of a statement
                time.sleep(0.6)
            connection.execute("SELECT 1")
        slot = f"held_{uuid.uuid4().hex[:8]}"
        first.execute("SELECT pg_create_physical_replication_slot(%s, true)", [slot])
        stack.callback(first.execute, "SELECT pg_drop_replication_slot(%s)", [slot])
        stack.enter_context(_chain(fresh_url))
        results = health(tmp_path, fresh_url, more=(
            '[health.temporary-files]\nwarn = "1kB"\n[health.replication-slots]\nwarn = 0\ncritical = "1TB"\n'
        ))  # fmt: skip
    found = bad(results)
    assert found == {
        "blocked": Verdict.WARN,
        "deadlocks": Verdict.WARN,
        "temporary-files": Verdict.WARN,
        "replication-slots": Verdict.WARN,
        "dead-rows": Verdict.CRITICAL,
        "invalid-indexes": Verdict.WARN,
        "unindexed-foreign-keys": Verdict.WARN,
        "slow-statements": Verdict.WARN,
    }
    assert results["blocked"].value == 2
    assert results["dead-rows"].value == pytest.approx(200, abs=1)
    assert results["dead-rows"].then == "VACUUM (ANALYZE) public.bloat"
    assert "autovacuum is off" in results["dead-rows"].details[0]
    assert results["invalid-indexes"].then == "REINDEX INDEX CONCURRENTLY public.twins_once"
    assert any('public."Children" ("Parent")' in line for line in results["unindexed-foreign-keys"].details)
    assert any("pg_sleep" in line for line in results["slow-statements"].details)
    # The table that the chain holds is left out of the sizes, which do not wait for it.
    assert any("locked" in line for line in results["size"].details), results["size"]


def _deadlock(one: psycopg.Connection, other: psycopg.Connection) -> None:
    """Two sessions that wait for each other's row; the server ends one of them."""
    for connection, own in ((one, 1), (other, 2)):
        connection.execute("SET deadlock_timeout = '10ms'; BEGIN")
        connection.execute("UPDATE bloat SET id = id WHERE id = %s", [own])
    ended = []

    def cross(connection: psycopg.Connection, wanted: int) -> None:
        try:
            connection.execute("UPDATE bloat SET id = id WHERE id = %s", [wanted])
        except psycopg.errors.DeadlockDetected:
            ended.append(wanted)
        connection.execute("ROLLBACK")

    threads = [threading.Thread(target=cross, args=pair) for pair in ((one, 2), (other, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == 1


@contextmanager
def _chain(url: str) -> Iterator[None]:
    """Idle in transaction, in front of an ALTER TABLE, in front of a SELECT."""
    statements = ("ALTER TABLE chat_messages ADD COLUMN more int", "SELECT count(*) FROM chat_messages")
    with psycopg.connect(url) as root, psycopg.connect(url, autocommit=True) as watcher:
        root.execute("UPDATE chat_messages SET role = role WHERE false")
        waiters = [psycopg.connect(url) for _ in statements]

        def wait(connection: psycopg.Connection, statement: str) -> None:
            with suppress(psycopg.Error):
                connection.execute(statement.encode())

        threads = []
        for waiter, statement in zip(waiters, statements, strict=True):
            thread = threading.Thread(target=wait, args=(waiter, statement), daemon=True)
            thread.start()
            threads.append(thread)
            _until_it_waits(watcher, waiter.info.backend_pid)
        try:
            yield
        finally:
            for waiter in waiters:
                waiter.cancel()
            for thread in threads:
                thread.join()
            for waiter in waiters:
                waiter.close()


def _until_it_waits(watcher: psycopg.Connection, pid: int) -> None:
    # By the statement's beginning: since when a lock is waited for is known from 14 on.
    waiting = (
        "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE pid = %s AND NOT granted AND clock_timestamp() - query_start > '0.2 s'"
    )
    assert soon(lambda: watcher.execute(waiting, [pid]).fetchone())


def test_an_hour_idle_in_transaction(fresh_url: str) -> None:
    """The clock is the query's parameter: nobody sleeps for an hour."""
    with psycopg.connect(fresh_url) as idle, probe_of(fresh_url) as probe:
        idle.execute("SELECT 1 FROM users")
        for later, expected in ((2, Verdict.OK), (90, Verdict.WARN), (3600, Verdict.CRITICAL)):
            now = (datetime.now(UTC) + timedelta(seconds=later)).isoformat()
            found = postgres.Look(probe, now=now).measure("idle-in-transaction")
            assert verdict(BY_NAME["idle-in-transaction"], found) is expected
            assert str(idle.info.backend_pid) in found.details[0]
        oldest = postgres.Look(probe, now=now).measure("oldest-transaction")
        assert verdict(BY_NAME["oldest-transaction"], oldest) is Verdict.CRITICAL


def test_a_full_connection_table(fresh_url: str, tmp_path: Path) -> None:
    """The server's own limit, and the limit of a database."""
    with ExitStack() as stack:
        first = stack.enter_context(psycopg.connect(fresh_url, autocommit=True))
        room = int(first.execute("SHOW max_connections").fetchone()[0])  # type: ignore[index]
        for _ in range(int(room * 0.97) - 4):
            stack.enter_context(psycopg.connect(fresh_url))
        found = health(tmp_path, fresh_url)["connections"]
        assert found.verdict is Verdict.CRITICAL
        assert "by state: idle" in "\n".join(found.details)
    name = urlsplit(fresh_url).path[1:]
    with psycopg.connect(fresh_url, autocommit=True) as first:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        assert soon(lambda: first.execute(others).fetchone() == (0,))  # the last of those above are still going
        first.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 2".encode())
        found = health(tmp_path, fresh_url)["connections"]
        assert (found.verdict, found.text) == (Verdict.CRITICAL, f"2 of 2 of database {name}")


def test_roles_that_see_less(fresh_url: str, tmp_path: Path) -> None:
    """With pg_monitor everything is seen; without it nothing unseen is called good, and nothing is an error."""
    with psycopg.connect(fresh_url) as idle, ExitStack() as stack:
        idle.execute("SELECT 1 FROM users")
        monitor = stack.enter_context(role(fresh_url, "GRANT pg_monitor TO ROLE"))
        nobody = stack.enter_context(role(fresh_url))
        seen, unseen = health(tmp_path, monitor), health(tmp_path, nobody)
    assert bad(seen) == {"unindexed-foreign-keys": Verdict.WARN}
    for name in ("oldest-transaction", "idle-in-transaction"):
        assert unseen[name].verdict is Verdict.UNKNOWN
        assert "needs pg_monitor" in unseen[name].text
    assert set(bad(unseen)) == {"oldest-transaction", "idle-in-transaction", "unindexed-foreign-keys"}
    assert unseen["connections"].value == pytest.approx(seen["connections"].value, abs=3)


def test_a_check_that_takes_too_long_is_unknown(fresh_url: str, tmp_path: Path) -> None:
    for _ in range(10):  # on a busy machine our own clock may end the question before the server's does
        results = health(tmp_path, fresh_url, more='[health]\ntimeout = "1ms"\n[health.reachable]\noff = true\n')
        slow = [result for result in results.values() if "statement timeout" in result.text]
        if slow:
            break
    assert slow
    assert all(result.verdict is Verdict.UNKNOWN for result in slow)
    assert "reachable" not in results


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_takes_more_than_access_share(fresh_url: str, query: str) -> None:
    text = (files("gaiaops.postgres") / "queries" / query).read_text(encoding="utf-8").replace("SCHEMA", "public")
    with psycopg.connect(fresh_url) as connection:
        if query == "health_checkpoints.sql":
            text = postgres.checkpoints_sql(connection.info.server_version)
        connection.execute(text, {"now": None} if "%(now)s" in text else None)
        modes = connection.execute("SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid()").fetchall()
    assert {mode for (mode,) in modes} <= {"AccessShareLock", "ExclusiveLock"}  # the latter is its own virtualxid


def test_a_redis_that_evicts(sandbox: Sandbox, tmp_path: Path) -> None:
    with server(tmp_path, "maxmemory 3mb", "maxmemory-policy allkeys-lru") as cache, cache.client() as client:
        pipeline = client.pipeline(transaction=False)
        for i in range(4_000):
            pipeline.set(f"user:session:{i}", "x" * 1000)
        pipeline.execute()
        results = health(tmp_path, sandbox.url("dev"), redis=cache.url)
    assert results["redis-memory"].verdict is Verdict.CRITICAL
    assert "allkeys-lru" in results["redis-memory"].text
    assert results["redis-evictions"].verdict is Verdict.WARN


def test_a_redis_that_cannot_save_and_one_whose_primary_is_gone(sandbox: Sandbox, tmp_path: Path) -> None:
    with server(tmp_path, "replicaof 127.0.0.1 1", "user seer on >pw ~* +@all -info") as cache:
        results = health(tmp_path, sandbox.url("dev"), redis=cache.url)
        assert results["redis-replication"].verdict is Verdict.CRITICAL
        hidden = health(tmp_path, sandbox.url("dev"), redis=cache.url.replace("//", "//seer:pw@"))
    assert results["redis-reachable"].verdict is Verdict.OK
    unseen = [result for result in hidden.values() if result.server == "redis" and result.text == "needs +info"]
    assert len(unseen) == 7
    assert {result.verdict for result in unseen} == {Verdict.UNKNOWN}
    with server(tmp_path, "dir /proc") as cache, cache.client() as client:
        with suppress(Exception):
            client.bgsave()
        assert soon(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
        results = health(tmp_path, sandbox.url("dev"), redis=cache.url)
    assert results["redis-persistence"].verdict is Verdict.CRITICAL


def test_good_but_not_all_seen_is_unknown() -> None:
    assert verdict(BY_NAME["blocked"], Measured(0.0, unseen="needs pg_monitor")) is Verdict.UNKNOWN
    assert verdict(BY_NAME["blocked"], Measured(3.0, unseen="needs pg_monitor")) is Verdict.WARN


def test_checkpoints_that_nobody_requested_for_wal() -> None:
    """CREATE DATABASE requests one too: 20 of them, and next to no WAL, are none of max_wal_size's."""
    gigabyte = float(1 << 30)
    quiet, pressed = (postgres.checkpoints([(5, 20, wal, gigabyte)]) for wal in (1e6, 20 * gigabyte))
    spec = BY_NAME["checkpoints"]
    assert [verdict(spec, one) for one in (quiet, pressed)] == [Verdict.OK, Verdict.WARN]
