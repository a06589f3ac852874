"""Reading from a real streaming replica: which one is taken, which is not and why; and nothing else ever goes there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from gaiaops.errors import RefusedError
from gaiaops.inspect.health import run as health
from gaiaops.inspect.health.checks import Measured
from gaiaops.inspect.health.postgres import Look
from gaiaops.postgres import replicas, session
from gaiaops.postgres.probe import probing
from gaiaops.registry.load import parse
from gaiaops.registry.model import Environment, Registry, Timeouts
from gaiaops.registry.settings import Variables
from gaiaops.registry.urls import POSTGRES_SCHEMES, parse_url
from tests.conftest import Command, Run
from tests.integration.redis_kit import free_port
from tests.integration.replica_kit import Pair, silence, streaming, until
from tests.integration.tunnel_kit import Programs

WHERE = "SELECT pg_is_in_recovery() AS standby, count(*) AS users FROM users"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with streaming() as pair:
        yield pair


@pytest.fixture
def ops(pair: Pair, gaiaops: Command, tmp_path: Path) -> Callable[..., Run]:
    """The command line on a registry of one environment; `replicas` and `lines` are what it says of replicas."""

    def run(*arguments: str, replicas: list[str] | None = None, lines: str = "", **options: object) -> Run:
        named = [pair.standby.url] if replicas is None else replicas
        file = tmp_path / "environments.toml"
        file.write_text(
            f'[environments.production]\npostgres = "{pair.primary.url}"\nreplicas = {json.dumps(named)}\n{lines}\n'
            '[environments.production.timeouts]\nconnect = "2s"\n'
            '[tables.core]\ntables = ["users"]\n',
            encoding="utf-8",
        )
        return gaiaops(*arguments, registry=file, **options)

    return run


def read(run: Run) -> str:
    """Which server was read, by its own words."""
    assert run.code == 0, run.err
    return "standby" if json.loads(run.out)[0]["standby"] else "primary"


CHANGES = {
    "query --write": ("query", "production", "DELETE FROM users", "--write", "--confirm", "production"),
    "connect --write": ("connect", "production", "--write", "--shell", "psql"),
    "connect --redis": ("connect", "production", "--redis"),
    "activity --cancel": ("activity", "production", "--cancel", "1", "--confirm", "production"),
    "activity --terminate": ("activity", "production", "--terminate", "1", "--confirm", "production"),
    "cleanup": ("cleanup", "production", "--tag", "dev", "--confirm", "production"),
    "cleanup --plan": ("cleanup", "production", "--plan", "plan.jsonl"),
    "restore": ("restore", "x"),
    "audit": ("audit", "production"),
    "audit --fix": ("audit", "production", "--fix"),
    "whois": ("whois", "b@example.com"),
    "cache invalidate": ("cache", "production", "invalidate", "--user", "b@example.com"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.first(4)
def test_a_change_never_goes_to_a_replica(ops: Callable[..., Run], pair: Pair, change: str) -> None:
    run = ops(*CHANGES[change], "--replica")
    assert run.code == 2, run.err
    assert "replica" in run.err and run.out == ""
    assert pair.primary.fetch("SELECT count(*) FROM users") == 3


def test_where_reading_prefers_a_replica_a_change_goes_to_the_primary(ops: Callable[..., Run], pair: Pair) -> None:
    run = ops("query", "production", "SELECT pg_is_in_recovery() AS standby", "--write", "--json",
              lines='read_from = "replica"')  # fmt: skip
    assert read(run) == "primary"


def registry(primary: str, *replicas: str, **more: object) -> Registry:
    """A registry of one environment."""
    one = {"postgres": primary, "replicas": list(replicas), **more}
    return parse(Path("environments.toml"), {"environments": {"production": one}}, Variables({}, {}))


def environment(primary: str, *replicas: str, **more: object) -> Environment:
    """An environment as the registry gives it."""
    return registry(primary, *replicas, **more).environments[0]


def test_what_was_chosen_to_read_from_opens_no_writing_transaction(pair: Pair) -> None:
    """Whatever a command does with it, and even where the server behind it has been promoted and would let us."""
    promoted = pair.primary.url.replace("127.0.0.1", "localhost")
    env = environment(pair.primary.url, pair.standby.url, promoted)
    for number in (1, 2):
        url = env.from_replica(number).postgres_url()
        for opening in (session.writing, session.changing):
            with pytest.raises(RefusedError, match="never goes to a replica"), opening(url, env.timeouts, "test"):
                pass


def test_it_is_read_where_somebody_says_so(ops: Callable[..., Run], pair: Pair) -> None:
    pair.caught_up()
    sql = ("query", "production", WHERE, "--json")
    assert read(ops(*sql)) == "primary"
    run = ops("-v", *sql, "--replica")
    assert read(run) == "standby"
    assert f"[production] reading from replica 1 (127.0.0.1:{pair.standby.port}), up to date" in run.err
    run = ops(*sql, lines='read_from = "replica"')
    assert (read(run), run.err) == ("standby", "")  # what was asked for needs no word
    run = ops("-v", *sql, "--primary", lines='read_from = "replica"')
    assert read(run) == "primary" and "reading from the primary" in run.err


def test_where_there_is_none_it_is_a_mistake_to_ask_for_one(ops: Callable[..., Run]) -> None:
    for command in (("query", "production"), ("query", "all"), ("activity", "production")):
        run = ops(*command, "--replica", replicas=[])
        assert run.code == 2 and run.out == ""
        assert "no replicas in the registry" in run.err and "hint: add replicas" in run.err


def test_every_reading_command_reads_it(ops: Callable[..., Run], pair: Pair) -> None:
    """What only the standby is: in recovery, and the only one that is asked for the users."""
    pair.caught_up()
    every = ops("query", "all", WHERE, "--json", "--replica")
    assert json.loads(every.out) == [{"env": "production", "standby": True, "users": 3}]
    view = json.loads(ops("view", "production", "--json", "--replica").out)["environments"][0]
    assert (view["standby"], view["read_from"], view["users"]) == (True, "replica 1", 3)
    shell = ops("connect", "production", "--replica", "--shell", "psql",
                stdin="\\echo :PROMPT1\nSELECT pg_is_in_recovery();")  # fmt: skip
    assert "production replica 1 read-only" in shell.out and "\n t\n" in shell.out


def test_the_schema_is_read_from_it(ops: Callable[..., Run], pair: Pair) -> None:
    pair.caught_up()
    run = ops("-v", "schema", "verify", "production", "--replica")
    assert run.code == 0 and "reading from replica 1" in run.err, run.err


def test_one_that_is_too_far_behind_is_not_read(ops: Callable[..., Run], pair: Pair) -> None:
    """Really behind: it does not replay, and the primary has committed. What it would have said is not shown."""
    pair.primary.fetch("INSERT INTO users (email) VALUES ('seen@example.com')")
    pair.caught_up()
    with pair.paused():
        pair.primary.fetch("INSERT INTO users (email) VALUES ('unseen@example.com')")
        until(lambda: pair.standby.fetch(
            "SELECT clock_timestamp() - pg_last_xact_replay_timestamp() > interval '150 ms'"), "the lag")  # fmt: skip
        run = ops("query", "production", WHERE, "--json", "--replica", lines='max_lag = "100ms"')
        assert read(run) == "primary" and json.loads(run.out)[0]["users"] == 5
        assert run.err.count("\n") == 1
        assert "[production] read from the primary: replica 1 (127.0.0.1:" in run.err
        assert " behind (max_lag is 100ms)" in run.err
        # Somebody who allows it gets what it has.
        run = ops("query", "production", WHERE, "--json", "--replica", lines='max_lag = "1h"')
        assert read(run) == "standby" and json.loads(run.out)[0]["users"] == 4
        checks = json.loads(ops("envs", "production", "--check", "--json", lines='max_lag = "100ms"').out)["checks"]
        notes = {check["server"]: (check["ok"], check["note"]) for check in checks}
        assert notes["postgres"] == (True, None)
        assert notes["replica 1"][0] and notes["replica 1"][1].startswith("not read from: is ")
    pair.primary.fetch("DELETE FROM users WHERE email LIKE '%seen@%'")
    pair.caught_up()


def test_half_a_record_is_no_lag(pair: Pair) -> None:
    """A primary with nothing to commit writes to the end of a page, in the middle of a record, and rests there."""
    known = registry(pair.primary.url, pair.standby.url, max_lag="0ms")
    env = known.environments[0]
    rests = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::int8"
    with psycopg.connect(pair.primary.url) as writer:
        writer.execute("CREATE TABLE never_committed (x text)")

        def half() -> bool:
            writer.execute("INSERT INTO never_committed SELECT repeat('x', 700) FROM generate_series(1, 50)")
            time.sleep(0.03)  # longer than wal_writer_delay: without a commit nothing else makes it write
            written, shown = pair.primary.fetch(rests), pair.standby.fetch("SELECT pg_last_wal_replay_lsn() - '0/0'")
            return bool(written % 8192 == 0 and shown < written)

        until(half, "half a record")
        choice = replicas.choose(env, env.max_lag)
        checks = health.run(known, (env,)).results
        writer.rollback()
    assert choice.taken is not None and choice.taken.lag == 0, choice.text()
    assert [check.value for check in checks if check.replica and check.check == "replication-lag"] == [0.0]


def test_the_primary_need_not_answer(ops: Callable[..., Run], pair: Pair) -> None:
    """It is why somebody reads from a replica; who is streaming from it still has all there is."""
    pair.caught_up()
    with pair.primary.frozen():
        run = ops("query", "production", WHERE, "--json", "--replica")
    assert read(run) == "standby"


def test_one_that_is_down_or_silent_is_not_waited_for(ops: Callable[..., Run], pair: Pair) -> None:
    pair.caught_up()
    nobody = f"postgresql://postgres@127.0.0.1:{free_port()}/app"
    sql = ("query", "production", WHERE, "--json", "--replica")
    run = ops(*sql, replicas=[nobody])
    assert read(run) == "primary"
    assert "read from the primary: replica 1 (127.0.0.1:" in run.err and "connection refused" in run.err
    # The first in the registry's order that is good enough: the second here, and then nobody waits for the third.
    with silence() as silent:
        run = ops("-v", *sql, replicas=[nobody, pair.standby.url, silent])
        assert read(run) == "standby"
        assert "reading from replica 2" in run.err and "connection refused" in run.err and "replica 3" not in run.err
        run = ops(*sql, replicas=[silent])
        assert read(run) == "primary" and "no answer within 2s" in run.err


def test_what_cannot_be_used_is_passed_over(ops: Callable[..., Run], pair: Pair) -> None:
    sql = ("query", "production", WHERE, "--json", "--replica")
    run = ops(*sql, replicas=["${NOT_SET_ANYWHERE}"])
    assert read(run) == "primary"
    assert "warning: [production] read from the primary: replica 1 cannot be used" in run.err
    assert "variable NOT_SET_ANYWHERE is not set" in run.err
    run = ops(*sql, replicas=["${TWICE}"], TWICE=pair.primary.url)
    assert read(run) == "primary" and "is the primary itself by its connection string" in run.err


def test_a_server_that_is_no_replica_of_this_primary_is_not_read(pair: Pair, tmp_path: Path) -> None:
    pair.caught_up()
    promoted = environment(pair.primary.url, pair.primary.url.replace("127.0.0.1", "localhost"))
    state = replicas.choose(promoted, promoted.max_lag).passed[0]
    assert state.wrong and "is no replica: it was promoted, or the registry is wrong" in state.problem
    database = environment(pair.primary.url, pair.standby.url.replace("/app", "/postgres"))
    state = replicas.choose(database, database.max_lag).passed[0]
    assert state.wrong and state.problem == "is of another database (postgres, not app)"
    pinned = environment(pair.primary.url, pair.standby.url, pin={"system_identifier": "4711"})
    state = replicas.choose(pinned, pinned.max_lag).passed[0]
    assert state.wrong and state.problem.startswith("is of another system (") and "not 4711" in state.problem


def test_a_tunnel_to_any_host_leads_to_the_replica_too(ops: Callable[..., Run], pair: Pair, tmp_path: Path) -> None:
    pair.caught_up()
    programs = Programs(tmp_path, ("my-tunnel",))
    way = 'tunnel = { command = ["my-tunnel", "{local_port}", "{host}:{port}"] }'
    to = {"replica.internal:5432": pair.standby.port, f"127.0.0.1:{pair.primary.port}": pair.primary.port}
    run = ops("-v", "query", "production", WHERE, "--json", "--replica",
              replicas=["postgresql://postgres@replica.internal:5432/app"],
              lines=way, **programs.variables(to))  # fmt: skip
    assert read(run) == "standby"
    assert "reading from replica 1 (replica.internal:5432 through my-tunnel), up to date" in run.err
    assert len(programs.started()) == 2 and programs.gone()


def test_a_role_that_may_see_little_reads_it_too(pair: Pair) -> None:
    """It sees neither the receiver's state nor the system's processes."""
    pair.primary.fetch("CREATE ROLE reader_of_replicas LOGIN; GRANT SELECT ON users TO reader_of_replicas")
    pair.caught_up()
    url = pair.standby.url.replace("postgres@", "reader_of_replicas@")
    env = environment(pair.primary.url.replace("postgres@", "reader_of_replicas@"), url)
    until(lambda: replicas.choose(env, env.max_lag).taken, "the replica")
    pair.primary.fetch("DROP OWNED BY reader_of_replicas; DROP ROLE reader_of_replicas")


def test_a_statement_that_stands_in_the_way_of_replaying(ops: Callable[..., Run], pair: Pair) -> None:
    """The primary locks the table and the replica must follow: it cancels whoever reads it."""
    pair.standby.fetch("ALTER SYSTEM SET max_standby_streaming_delay = '10ms'")
    pair.standby.fetch("SELECT pg_reload_conf()")
    pair.caught_up()
    reading = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(ops, "query", "production", "SELECT id, pg_sleep(30) FROM users", "--replica")
        until(lambda: pair.standby.fetch(reading), "the query on the standby")
        pair.primary.fetch("ALTER TABLE users ALTER COLUMN email TYPE text")
        done = run.result()
    assert done.code == 1
    assert "the replica cancelled it, to go on replaying: canceling statement due to conflict with recovery" in done.err
    assert "hint: run it on the primary: --primary; or the replica needs hot_standby_feedback" in done.err
    pair.standby.fetch("ALTER SYSTEM RESET max_standby_streaming_delay")
    pair.standby.fetch("SELECT pg_reload_conf()")


def test_health_has_rows_of_each_replica(ops: Callable[..., Run], pair: Pair) -> None:
    pair.caught_up()
    nobody = f"postgresql://postgres@127.0.0.1:{free_port()}/app"
    run = ops("health", "production", "--json", replicas=[pair.standby.url, nobody])
    assert run.code == 3 and "connection refused" in run.err
    rows = {(one["replica"], one["check"]): one for one in json.loads(run.out)["checks"]}
    assert rows[None, "replication-lag"]["message"] == "1 replica" and (None, "replica") not in rows
    follows = rows[1, "replica"]
    assert (follows["verdict"], follows["server"], follows["environment"]) == ("ok", "postgres", "production")
    assert follows["message"] == "follows the primary, up to date"
    assert rows[1, "replication-lag"]["message"].startswith("this server is a replica")
    assert rows[1, "connections"]["next"] == "gaiaops activity production --replica --all-databases"
    assert (1, "dead-rows") not in rows  # the primary's
    assert rows[2, "reachable"]["verdict"] == "critical" and rows[2, "replica"]["verdict"] == "unknown"


def test_a_replica_behind_an_environments_name_is_not_called_free_of_dead_rows(pair: Pair) -> None:
    url = parse_url(pair.standby.url, POSTGRES_SCHEMES)
    with probing(url, Timeouts(), "health") as probe:
        look = Look(probe)
        for check in ("dead-rows", "last-vacuum"):
            assert look.measure(check) == Measured(None, "a replica does not count them: its primary does")


def test_activity_is_of_the_server_that_is_named(ops: Callable[..., Run], pair: Pair) -> None:
    """The registry's choice is for data. A replica's pid is another session on the primary: no command to copy."""
    pair.caught_up()
    lock = "SELECT pg_advisory_lock(47)"
    with psycopg.connect(pair.standby.url) as one, psycopg.connect(pair.standby.url) as other:
        one.execute(lock)
        pid = one.info.backend_pid
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(other.execute, lock)
            until(lambda: pair.standby.fetch("SELECT 1 FROM pg_locks WHERE NOT granted"), "the lock")
            found = json.loads(ops("activity", "production", "--json", "--replica").out)
            primary = ops("activity", "production", "--json", lines='read_from = "replica"')
            one.rollback()
            one.execute("SELECT pg_advisory_unlock_all()")
            waiting.result()
    blocking = found["blocking"][0]
    assert (found["replica"], blocking["pid"]) == (1, pid)
    assert blocking["command"] == (f"on replica 1 (127.0.0.1:{pair.standby.port}): SELECT pg_terminate_backend({pid});")
    assert json.loads(primary.out)["replica"] is None and json.loads(primary.out)["blocking"] == []


def test_another_systems_replica_and_what_was_promoted_are_not_read(ops: Callable[..., Run], pair: Pair) -> None:
    with streaming() as others:
        run = ops("query", "production", WHERE, "--json", "--replica", replicas=[others.standby.url])
        assert read(run) == "primary"
        assert "warning: [production] read from the primary: replica 1" in run.err
        assert "is of another system (" in run.err
        others.standby.fetch("SELECT pg_promote()")
        env = environment(others.primary.url, others.standby.url)
        choice = replicas.choose(env, env.max_lag)
        assert choice.taken is None and choice.wrong
        assert "is no replica: it was promoted, or the registry is wrong" in choice.text()
        run = ops("health", "production", "--json", replicas=[others.standby.url])
        assert run.code == 7 and "replica (production replica 1)" in run.err
