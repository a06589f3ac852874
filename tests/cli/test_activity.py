"""`gaiaops activity`: real sessions that run, idle, wait and block; and every way to hit the wrong one."""

from __future__ import annotations

import json
import re
import signal as os_signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pexpect
import psycopg
import pytest

from gaiaops.errors import GaiaopsError, RefusedError, StatementError
from gaiaops.inspect.activity import look, stop
from gaiaops.output import activity as output
from gaiaops.output import activity_document as documents
from gaiaops.postgres import queries
from gaiaops.postgres.probe import Probe, probing
from gaiaops.registry.model import Timeouts
from gaiaops.registry.urls import POSTGRES_SCHEMES, parse_url
from gaiaops.sandbox import postgres_server
from gaiaops.sandbox.layout import Layout, State
from tests.conftest import GAIAOPS, Command, Run, Sandbox, clean_variables, private_folder, registry_for
from tests.waiting import soon

CONFIRM = ("--confirm", "dev")
MARK = "2020-01-01 00:00:00+00"


class Place:
    """A database of this module's own, sessions in it, and a superuser who looks at them."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name = url, name
        self._stack = ExitStack()
        self._boss = self._stack.enter_context(closing(psycopg.connect(url, autocommit=True)))

    def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = self._boss.execute(text.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    def session(self, url: str = "", **options: Any) -> Sitter:
        """Opens a session, which is ended with the test."""
        return Sitter(
            self, self._stack.enter_context(closing(psycopg.connect(url or self.url, autocommit=True, **options)))
        )

    def state(self, pid: int) -> str:
        rows = self.sql("SELECT coalesce(state, '?') FROM pg_stat_activity WHERE pid = %s", pid)
        return str(rows[0][0]) if rows else "gone"

    def clear(self) -> None:
        """Ends every session and prepared transaction."""
        others = ("FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                  " AND backend_type = 'client backend'")  # fmt: skip
        self.sql(f"SELECT pg_terminate_backend(pid) {others}")
        for (gid,) in self.sql("SELECT quote_literal(gid) FROM pg_prepared_xacts WHERE database = current_database()"):
            self.sql(f"ROLLBACK PREPARED {gid}")
        assert soon(lambda: not self.sql(f"SELECT 1 {others}"))

    def close(self) -> None:
        self._stack.close()


class Sitter:
    """One session."""

    def __init__(self, place: Place, connection: psycopg.Connection) -> None:
        self._place, self.connection = place, connection
        self.pid = connection.info.backend_pid

    def do(self, sql: str) -> Sitter:
        """Runs SQL to its end."""
        self.connection.execute(sql.encode())
        return self

    def start(self, sql: str) -> Sitter:
        """Begins a statement, and returns when it runs."""
        self.connection.pgconn.send_query(sql.encode())
        self.connection.pgconn.flush()
        assert soon(lambda: self._place.sql("SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
                                           " AND query = %s", self.pid, sql))  # fmt: skip
        return self

    def wait(self, sql: str) -> Sitter:
        """Begins a statement, and returns when it waits for a lock (or another transaction)."""
        self.start(sql)
        assert soon(lambda: self._place.sql("SELECT 1 FROM pg_stat_activity WHERE pid = %s AND (wait_event_type ="
                                           " 'Lock' OR wait_event = 'SafeSnapshot')", self.pid))  # fmt: skip
        return self

    def end(self) -> None:
        """Ends the running statement and takes its answer."""
        self.connection.cancel_safe()
        while self.connection.pgconn.get_result() is not None:
            pass

    @property
    def state(self) -> str:
        return self._place.state(self.pid)

    def works(self) -> bool:
        """Whether it can still run something, which it has not lost its transaction for."""
        return bool(self.connection.execute("SELECT 1").fetchone())


@pytest.fixture(scope="module")
def database(sandbox: Sandbox) -> Iterator[tuple[str, str]]:
    name = f"activity_{uuid.uuid4().hex[:10]}"
    with psycopg.connect(sandbox.state.postgres_url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        url = sandbox.state.postgres_url(name)
        with psycopg.connect(url) as inside:
            inside.execute("CREATE TABLE people (id int PRIMARY KEY, name text)")
            inside.execute("INSERT INTO people SELECT i, 'p' || i FROM generate_series(1, 10) AS i")
        yield url, name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def small() -> Iterator[str]:
    """A server of this module's own, with few slots and with prepared transactions: its URL."""
    with private_folder() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        layout = Layout.at(folder / "small")
        state = State(0, uuid.uuid4().hex, "", "", "", postgres_port=port)
        postgres_server.initialise(layout, state)
        with (layout.pgdata / "postgresql.conf").open("a") as file:
            file.write("max_connections = 9\nsuperuser_reserved_connections = 2\nreserved_connections = 2\n"
                       "max_prepared_transactions = 5\nmax_wal_senders = 0\nshared_buffers = 1MB\n")  # fmt: skip
        process = postgres_server.start(layout, state)
        try:
            yield state.postgres_url("postgres")
        finally:
            postgres_server.stop(process)


@pytest.fixture
def place(database: tuple[str, str]) -> Iterator[Place]:
    made = Place(*database)
    try:
        yield made
    finally:
        made.clear()
        made.close()


@contextmanager
def probe_of(url: str) -> Iterator[Probe]:
    with probing(parse_url(url, POSTGRES_SCHEMES), Timeouts(), "activity", statement_ms=5_000) as probe:
        yield probe


@pytest.fixture
def probe(place: Place) -> Iterator[Probe]:
    with probe_of(place.url) as opened:
        yield opened


@pytest.fixture
def here(place: Place, gaiaops: Command, tmp_path: Path) -> Command:
    """The command line with the place as dev, and as a protected production on its own in another registry."""
    file = registry_for(tmp_path, dev=place.url)

    def run(*arguments: str, **options: Any) -> Run:
        return gaiaops("activity", *arguments, registry=options.pop("registry", file), **options)

    return run


def seen(probe: Probe, **options: Any) -> dict[str, Any]:
    """The document of a look."""
    now = options.pop("now", None)
    activity = look.arranged(look.take(probe, now), **options)
    return documents.document(activity, "dev", "gaiaops", all_databases=options.get("all_databases", False))


def trail_of(tmp_path: Path) -> list[dict[str, Any]]:
    file = tmp_path / "state" / "gaiaops" / "trail.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


# --- the wrong one is never hit -----------------------------------------------------------------------------------


def _next_statement(one: Sitter) -> None:
    one.end()
    one.start("SELECT pg_sleep(61)")


def _same_text_again(one: Sitter) -> None:
    one.end()
    one.start("SELECT pg_sleep(60)")


def _no_statement(one: Sitter) -> None:
    one.end()


@pytest.mark.parametrize("moves_on", [_next_statement, _same_text_again, _no_statement])
@pytest.mark.parametrize("action", [stop.CANCEL, stop.TERMINATE])
def test_a_session_that_went_on_is_left_alone(
    place: Place, probe: Probe, action: str, moves_on: Callable[[Sitter], None]
) -> None:
    one = place.session().start("SELECT pg_sleep(60)")
    target = stop.aim(look.take(probe), one.pid, action)
    moves_on(one)
    before = one.state
    with pytest.raises(RefusedError, match=f"session {one.pid} no longer runs this statement; nothing was done"):
        stop.act(probe, target)
    assert one.state == before


def _new_transaction(one: Sitter) -> None:
    one.do("COMMIT").do("BEGIN").do("SELECT 1")


def _committed(one: Sitter) -> None:
    one.do("COMMIT")


def _at_work(one: Sitter) -> None:
    one.start("SELECT pg_sleep(60)")


@pytest.mark.parametrize("moves_on", [_new_transaction, _committed, _at_work])
def test_a_transaction_that_went_on_is_left_alone(
    place: Place, probe: Probe, moves_on: Callable[[Sitter], None]
) -> None:
    one = place.session().do("BEGIN").do("SELECT 1")
    target = stop.aim(look.take(probe), one.pid, stop.TERMINATE)
    moves_on(one)
    before = one.state
    with pytest.raises(RefusedError, match="no longer is idle in this transaction"):
        stop.act(probe, target)
    assert one.state == before


def test_another_session_with_the_same_pid_is_left_alone(place: Place, probe: Probe) -> None:
    """A reused pid differs in when its session began, and in nothing else that must count."""
    import msgspec

    one = place.session().start("SELECT pg_sleep(60)")
    target = stop.aim(look.take(probe), one.pid, stop.TERMINATE)
    older = msgspec.structs.replace(target, session=msgspec.structs.replace(target.session, backend_start=MARK))
    with pytest.raises(RefusedError, match="nothing was done"):
        stop.act(probe, older)
    assert one.state == "active"
    stop.act(probe, target)  # so that the refusal was for the pid's sake
    assert stop.settle(probe, target).ended


def test_a_statement_of_several_transactions_is_one_statement(place: Place, probe: Probe) -> None:
    """VACUUM, CREATE INDEX CONCURRENTLY and CALL begin transaction after transaction within one statement."""
    place.sql("CREATE OR REPLACE PROCEDURE work() LANGUAGE plpgsql AS $$ BEGIN"
              " LOOP PERFORM pg_sleep(0.01); COMMIT; END LOOP; END $$")  # fmt: skip
    one = place.session().start("CALL work()")
    target = stop.aim(look.take(probe), one.pid, stop.CANCEL)
    begun = target.session.xact_start
    assert soon(lambda: (found := look.take(probe).session(one.pid)) and found.xact_start != begun)
    stop.act(probe, target)
    assert stop.settle(probe, target).ended


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 5, "a change to an environment needs its name"),
        (("--confirm", "staging"), 5, '--confirm says "staging", this is dev'),
        (("--confirm", "yes"), 5, '--confirm says "yes"'),
        (("--confirm", "dev", "--watch", "1"), 2, "not both"),
        (("--confirm", "dev", "--terminate", "1"), 2, "one session at a time"),
    ],
)
def test_without_its_name_nothing_is_done(
    here: Command, place: Place, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    one = place.session().start("SELECT pg_sleep(60)")
    run = here("dev", "--cancel", str(one.pid), *arguments, stdin="dev\n")
    assert run.code == code
    assert said in run.err
    assert (run.out, one.state, trail_of(tmp_path)) == ("", "active", [])


def test_all_is_no_environment(here: Command, place: Place) -> None:
    one = place.session().start("SELECT pg_sleep(60)")
    run = here("all", "--cancel", str(one.pid), "--confirm", "all")
    assert (run.code, one.state) == (2, "active")
    assert "activity takes one environment, not all" in run.err


@pytest.mark.parametrize(("more", "said"), [
    ('pin = { system_identifier = "1" }', "wrong database behind the name: system_identifier is"),
    ('pin = { database = "llm_platform" }', "wrong database behind the name: database is"),
    ('[environments.staging]\npostgres = "{url}"', "staging is the same database"),
    ('[environments.staging]\npostgres = "{alias}"', "staging is the same database"),
])  # fmt: skip
def test_the_wrong_server_behind_the_name(here: Command, place: Place, tmp_path: Path, more: str, said: str) -> None:
    one = place.session().start("SELECT pg_sleep(60)")
    file = registry_for(tmp_path, dev=place.url)
    alias = place.url.replace("127.0.0.1", "localhost")
    file.write_text(file.read_text() + more.replace("{url}", place.url).replace("{alias}", alias))
    run = here("dev", "--cancel", str(one.pid), *CONFIRM)
    assert (run.code, one.state) == (5, "active")
    assert said in run.err


@pytest.mark.parametrize(
    ("answer", "goes_on", "code", "state"),
    [("dev", True, 5, "active"), ("dev", False, 0, "idle"), ("y", False, 5, "active")],
)
def test_on_a_terminal_it_shows_and_asks(
    place: Place, here: Command, tmp_path: Path, answer: str, goes_on: bool, code: int, state: str
) -> None:
    """The statement is read again after the name was typed, however long that took."""
    one = place.session(application_name="web-1").start("SELECT pg_sleep(60)")
    registry = str(tmp_path / "environments.toml")
    child = pexpect.spawn(
        sys.executable,
        ["-m", "gaiaops", "--registry", registry, "activity", "dev", "--cancel", str(one.pid)],
        env=clean_variables(tmp_path), encoding="utf-8", timeout=30, dimensions=(40, 120),
    )  # fmt: skip
    child.expect(rf"session {one.pid} of dev: runs [0-9.]+s already; postgres, web-1, 127.0.0.1")
    child.expect(r"SELECT pg_sleep\(60\)")
    child.expect("Type the environment's name to go on: ")
    assert one.state == "active"
    if goes_on:
        _next_statement(one)
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == code
    assert one.state == state


# --- what may not be signalled, and why ---------------------------------------------------------------------------


def refusal(probe: Probe, pid: int, action: str, **options: Any) -> GaiaopsError:
    with pytest.raises((RefusedError, StatementError)) as caught:
        stop.aim(look.take(probe), pid, action, **options)
    assert "nothing was done" in caught.value.message
    return caught.value


def test_who_runs_nothing_cannot_be_cancelled(place: Place, probe: Probe) -> None:
    one = place.session().do("BEGIN").do("SELECT 1")
    error = refusal(probe, one.pid, stop.CANCEL)
    assert (error.code, f"session {one.pid} is idle in transaction: there is no statement" in error.message) == (
        5,
        True,
    )
    assert f"--terminate {one.pid}" in error.hint
    one.do("COMMIT")
    assert "runs nothing (it is idle)" in refusal(probe, one.pid, stop.CANCEL).message


def test_what_is_no_session(place: Place, probe: Probe) -> None:
    taken = look.take(probe)
    assert "gaiaops's own" in refusal(probe, taken.own, stop.TERMINATE).message
    assert "there is no session 99999999" in refusal(probe, 99999999, stop.CANCEL).message
    kinds = {one.kind: one.pid for one in taken.sessions}
    for kind in ("checkpointer", "walwriter", "background writer", "autovacuum launcher"):
        for action in (stop.CANCEL, stop.TERMINATE):
            assert f"is a {kind}" in refusal(probe, kinds[kind], action, all_databases=True).message


def test_another_database_s_session(place: Place, probe: Probe, sandbox: Sandbox) -> None:
    with psycopg.connect(sandbox.url("dev"), autocommit=True) as other:
        pid = other.info.backend_pid
        error = refusal(probe, pid, stop.TERMINATE)
        assert 'is of database "llm_platform_dev"' in error.message
        assert "--all-databases" in error.hint
        assert stop.aim(look.take(probe), pid, stop.TERMINATE, all_databases=True).session.pid == pid


@pytest.fixture
def role(place: Place) -> Iterator[tuple[str, str]]:
    """A role without any privilege: (its name, its URL)."""
    name = f"role_{uuid.uuid4().hex[:10]}"
    place.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    yield name, place.url.replace("://postgres:", f"://{name}:").replace(_password(place.url), "secret", 1)
    place.clear()
    place.sql(f"DROP OWNED BY {name}")
    place.sql(f"DROP ROLE {name}")


def _password(url: str) -> str:
    return url.split("://", 1)[1].split("@", maxsplit=1)[0].split(":")[1]


def test_whom_the_role_may_not_signal(place: Place, role: tuple[str, str], here: Command, tmp_path: Path) -> None:
    one = place.session().start("SELECT pg_sleep(60)")
    file = registry_for(tmp_path, dev=role[1])
    run = here("dev", "--cancel", str(one.pid), *CONFIRM, registry=file)
    assert (run.code, one.state) == (5, "active")
    assert f"cannot tell what session {one.pid} does" in run.err
    assert "hint: the role needs pg_monitor" in run.err
    place.sql(f"GRANT pg_monitor TO {role[0]}")
    run = here("dev", "--cancel", str(one.pid), *CONFIRM, registry=file)
    assert (run.code, one.state) == (1, "active")
    assert "hint: needs pg_signal_backend" in run.err
    assert [record["outcome"] for record in trail_of(tmp_path)] == ["started", "failed: StatementError"]


# --- what it does, and says ---------------------------------------------------------------------------------------


def test_cancel(place: Place, here: Command, tmp_path: Path) -> None:
    one = place.session().do("BEGIN").start("SELECT pg_sleep(60) /* 'ann@example.com' */")
    run = here("dev", "--cancel", str(one.pid), *CONFIRM)
    assert (run.code, run.out) == (0, "")
    said = f"[dev] cancelled: session {one.pid} is idle in transaction (aborted) until its client ends the transaction"
    assert run.err.splitlines()[-1] == said
    records = trail_of(tmp_path)
    assert [(r["command"], r["rows"], r["outcome"]) for r in records] == [
        ("activity cancel", 0, "started"), ("activity cancel", 1, "committed"),
    ]  # fmt: skip
    assert records[1]["server"].endswith(f"/{place.name}")
    assert "ann@" not in json.dumps(records)


def test_terminate_in_json(place: Place, here: Command) -> None:
    root = place.session().do("BEGIN").do("UPDATE people SET name = 'x' WHERE id = 1")
    place.session().wait("UPDATE people SET name = 'y' WHERE id = 1")
    run = here("dev", "--terminate", str(root.pid), *CONFIRM, "--json")
    assert run.code == 0, run.err
    done = json.loads(run.out)["signal"]
    assert (done["action"], done["pid"], done["ended"], done["state"]) == ("terminate", root.pid, True, None)
    assert done["session"]["statement"] == "UPDATE people SET name = 'x' WHERE id = 1"
    assert "1 wait behind it" in run.err
    assert root.state == "gone"


def test_a_statement_that_is_deaf(place: Place, here: Command, tmp_path: Path) -> None:
    one = place.session().start("DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN"
                                " END; END LOOP; END $$")  # fmt: skip
    run = here("dev", "--cancel", str(one.pid), *CONFIRM)
    assert run.code == 4
    assert f"[dev] the signal was sent, but session {one.pid} still runs the statement after 3s" in run.err
    assert f"activity dev --terminate {one.pid}" in run.err
    assert [record["outcome"] for record in trail_of(tmp_path)] == ["started", "committed"]
    assert here("dev", "--terminate", str(one.pid), *CONFIRM).code == 0
    assert one.state == "gone"


def test_an_idle_session_is_terminated_only_while_it_does_nothing(place: Place, probe: Probe) -> None:
    one = place.session().do("SELECT pg_advisory_lock(7)")
    waiter = place.session().wait("SELECT pg_advisory_lock(7)")
    root = seen(probe)["blocking"][0]
    assert (root["pid"], root["state"], root["blocks"][0]["pid"]) == (one.pid, "idle", waiter.pid)
    assert root["blocks"][0]["waits_for"]["lock"] == "ExclusiveLock on advisory lock 7"
    assert root["command"] == f"gaiaops activity dev --terminate {one.pid}"
    target = stop.aim(look.take(probe), one.pid, stop.TERMINATE)
    one.do("SELECT 2")
    with pytest.raises(RefusedError, match="no longer is as it was shown"):
        stop.act(probe, target)
    target = stop.aim(look.take(probe), one.pid, stop.TERMINATE)
    stop.act(probe, target)
    assert stop.settle(probe, target).state is None


# --- the report ---------------------------------------------------------------------------------------------------


def test_a_chain_of_three_is_shown_whole(place: Place, here: Command, tmp_path: Path) -> None:
    root = place.session(application_name="web").do("BEGIN").do("SELECT count(*) FROM people")
    alter = place.session().wait("ALTER TABLE people ADD COLUMN more int")
    reader = place.session().wait("SELECT * FROM\n  people")
    run = here("dev", "--json")
    assert run.code == 0, run.err
    document = json.loads(run.out)
    assert [(one["pid"], one["blocked_by"]) for one in document["activity"]] == [
        (alter.pid, [root.pid]), (reader.pid, [alter.pid]),
    ]  # fmt: skip
    assert [one["pid"] for one in document["idle_in_transaction"]] == [root.pid]
    (first,) = document["blocking"]
    (second,) = first["blocks"]
    (third,) = second["blocks"]
    assert [node["pid"] for node in (first, second, third)] == [root.pid, alter.pid, reader.pid]
    assert (first["statement"], first["behind"], first["frees"], first["waits_for"]) == (
        "SELECT count(*) FROM people", 2, 1, None,
    )  # fmt: skip
    assert second["waits_for"]["lock"] == "AccessExclusiveLock on public.people"
    assert third["waits_for"]["lock"] == "AccessShareLock on public.people"
    assert third["statement"] == "SELECT * FROM\n  people"
    assert 0 <= third["waits_for"]["waiting_s"] <= second["waits_for"]["waiting_s"] < 60
    registry = tmp_path / "environments.toml"
    assert first["command"] == f"gaiaops --registry {registry} activity dev --terminate {root.pid}"
    assert first["why"] == "idle: there is no statement to cancel"
    assert second["command"] == f"gaiaops --registry {registry} activity dev --cancel {alter.pid}"
    assert third["command"] == ""
    text = here("dev", COLUMNS="80").out.splitlines()
    tree = text[text.index("blocking") + 1 :]
    assert tree[0].startswith(f"{root.pid} idle in transaction ")
    assert tree[1] == "│  last: SELECT count(*) FROM people"
    assert tree[2] == "│  2 behind it, 1 of them waiting for it alone; idle: there is no statement to cancel"
    assert tree[3] == f"│  {first['command']}"
    assert tree[4].startswith(f"└─ {alter.pid} waits ")
    assert tree[6:8] == ["   │  1 behind it", f"   │  {second['command']}"]
    assert tree[8].startswith(f"   └─ {reader.pid} waits ")
    assert tree[9].strip() == "SELECT * FROM people"
    assert len(tree) == 10


def test_an_hour_idle_in_a_transaction(place: Place, probe: Probe) -> None:
    """The clock is the query's parameter."""
    one = place.session().do("BEGIN").do("SELECT 'x'")
    later = place.sql("SELECT (clock_timestamp() + interval '1 hour')::text")[0][0]
    (found,) = seen(probe, now=later)["idle_in_transaction"]
    assert found["pid"] == one.pid
    assert 3600 <= found["state_s"] <= found["transaction_s"] <= found["session_s"] < 3660
    text = output.text(seen(probe, now=later), 100)
    assert re.search(rf" {one.pid} \| +1h \| +1h \| ", text)


def test_a_prepared_transaction_blocks_too(small: str) -> None:
    """pg_blocking_pids says 0; which one it is follows from the locks."""
    place = Place(small, "postgres")
    place.sql("CREATE TABLE IF NOT EXISTS people (id int PRIMARY KEY)")
    try:
        with probe_of(small) as probe:
            other, gid = f"other {uuid.uuid4().hex[:8]}", f"it's {uuid.uuid4().hex[:8]}"
            place.session().do("BEGIN").do("SELECT 1 FROM people").do(f"PREPARE TRANSACTION '{other}'")
            escaped = gid.replace("'", "''")
            one = place.session().do("BEGIN").do("LOCK TABLE people IN SHARE MODE")
            one.do(f"PREPARE TRANSACTION '{escaped}'")
            waiter = place.session().wait("DELETE FROM people")
            document = seen(probe)
            assert {one["gid"] for one in document["prepared"]} == {gid, other}
            assert [one["tables"] for one in document["prepared"]] == [["public.people"]] * 2
            (root,) = document["blocking"]
            assert (root["pid"], root["prepared"], root["blocks"][0]["pid"]) == (None, gid, waiter.pid)
            assert f"ROLLBACK PREPARED '{escaped}'" in root["command"]
            assert document["activity"][0]["blocked_by_prepared"] == [gid]
            assert f"prepared transaction '{escaped}'" in output.text(document, 100)
    finally:
        place.clear()
        place.close()


def test_who_waits_for_two_stands_under_both(place: Place, probe: Probe) -> None:
    roots = [place.session().do("BEGIN").do("SELECT count(*) FROM people") for _ in range(2)]
    alter = place.session().wait("ALTER TABLE people ADD COLUMN more int")
    reader = place.session().wait("SELECT 1 FROM people")
    trees = seen(probe)["blocking"]
    assert {tree["pid"] for tree in trees} == {root.pid for root in roots}
    below = [tree["blocks"][0] for tree in trees]
    assert [node["pid"] for node in below] == [alter.pid] * 2
    assert [node["again"] for node in below] == [False, True]
    assert [len(node["blocks"]) for node in below] == [1, 0]
    assert below[0]["blocks"][0]["pid"] == reader.pid
    assert [tree["behind"] for tree in trees] == [2, 2]
    assert [tree["frees"] for tree in trees] == [0, 0]
    assert f"also waiting for this one, and shown elsewhere: {alter.pid}\n" in output.text(seen(probe), 100)


def test_a_deadlock_is_a_circle(place: Place, probe: Probe) -> None:
    first, second = (
        place.session(options="-c deadlock_timeout=1h").do("BEGIN").do(f"UPDATE people SET name = '' WHERE id = {i}")
        for i in (1, 2)
    )
    first.wait("UPDATE people SET name = '' WHERE id = 2")
    second.wait("UPDATE people SET name = '' WHERE id = 1")
    (root,) = seen(probe)["blocking"]
    assert root["circle"]
    assert root["behind"] == 1
    assert root["blocks"][0]["pid"] == second.pid
    assert root["blocks"][0]["blocks"] == [{"pid": first.pid, "prepared": None, "again": True, "blocks": []}]
    assert root["waits_for"]["lock"].endswith("(a row of public.people)")
    assert "in a circle" in output.text(seen(probe), 100)


def test_a_safe_snapshot_is_waited_for(place: Place, probe: Probe) -> None:
    writer = place.session().do("BEGIN ISOLATION LEVEL SERIALIZABLE").do("UPDATE people SET name = '' WHERE id = 1")
    reader = place.session().do("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE").wait("SELECT 1 FROM people")
    (root,) = seen(probe)["blocking"]
    assert (root["pid"], root["blocks"][0]["pid"]) == (writer.pid, reader.pid)
    assert root["blocks"][0]["waits_for"]["lock"] == "a safe snapshot"


def test_parallel_workers_count_for_their_leader(place: Place, probe: Probe) -> None:
    leader = place.session().do("SET debug_parallel_query = on").start("SELECT pg_sleep(60) FROM people")
    assert soon(lambda: place.sql("SELECT 1 FROM pg_stat_activity WHERE leader_pid = %s", leader.pid))
    (found,) = seen(probe)["activity"]
    assert (found["pid"], found["workers"]) == (leader.pid, 1)
    worker = place.sql("SELECT pid FROM pg_stat_activity WHERE leader_pid = %s", leader.pid)[0][0]
    assert f"--cancel {leader.pid}" in refusal(probe, worker, stop.CANCEL).hint


def test_other_databases_are_counted_and_left_out(place: Place, probe: Probe, sandbox: Sandbox) -> None:
    with psycopg.connect(sandbox.url("dev")) as other:
        other.execute("SELECT 1")
        pid = other.info.backend_pid
        assert pid not in {one["pid"] for one in seen(probe)["idle_in_transaction"]}
        assert seen(probe)["elsewhere"] >= 1
        everything = seen(probe, all_databases=True)
        assert [one["database"] for one in everything["idle_in_transaction"] if one["pid"] == pid] == [
            "llm_platform_dev"
        ]
        assert "llm_platform_dev" in output.text(everything, 100)


def test_another_encoding(place: Place, probe: Probe) -> None:
    """A statement of a LATIN1 database comes as its bytes, which are no UTF-8."""
    name = f"latin_{uuid.uuid4().hex[:8]}"
    libc = "LOCALE_PROVIDER libc" if probe.version >= 150_000 else ""  # before, there was no other
    place.sql(f"CREATE DATABASE {name} ENCODING 'LATIN1' {libc} LOCALE 'C' TEMPLATE template0")
    with closing(psycopg.connect(place.url.replace(place.name, name), autocommit=True)) as other:
        other.execute("BEGIN")
        other.execute("SELECT 'caf\xe9 \u00df'")
        found = [one["statement"] for one in seen(probe, all_databases=True)["idle_in_transaction"]]
        assert found == ["SELECT 'caf\ufffd \ufffd'"]
    place.sql(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_role_that_sees_nothing(place: Place, role: tuple[str, str], here: Command, tmp_path: Path) -> None:
    root = place.session().do("BEGIN").do("SELECT count(*) FROM people")
    alter = place.session().wait("ALTER TABLE people ADD COLUMN more int")
    file = registry_for(tmp_path, dev=role[1])
    run = here("dev", "--json", registry=file)
    assert run.code == 0, run.err
    document = json.loads(run.out)
    assert document["hidden"] >= 3
    assert document["activity"] == document["idle_in_transaction"] == []
    assert "idle" not in document["connections_by_state"]
    (tree,) = document["blocking"]
    assert (tree["pid"], tree["state"], tree["statement"], tree["command"]) == (root.pid, "?", None, "")
    assert (tree["blocks"][0]["pid"], tree["blocks"][0]["waits_for"]["mode"]) == (alter.pid, "AccessExclusiveLock")
    run = here("dev", registry=file)
    assert "sessions of other users cannot be seen: needs pg_monitor" in run.err
    assert f"{root.pid} ?" in run.out
    assert "idle" not in run.out.partition("blocking\n")[2]


def test_secrets_and_escapes_never_reach_the_screen(place: Place, here: Command) -> None:
    one = place.session().do("BEGIN")
    one.do("SELECT '\x1b[31mred', 'postgresql://me:hunter2@db/x'")
    text = here("dev").out
    assert "\x1b" not in text
    assert "\\x1b[31mred" in text
    assert "hunter2" not in text + here("dev", "--json").out


def test_it_fits_80_columns(place: Place, here: Command) -> None:
    place.session(application_name="a-rather-long-name-of-an-application").start(f"SELECT pg_sleep(60), '{'x' * 200}'")
    place.session().do("BEGIN").do(f"SELECT '{'漢' * 100}'")
    run = here("dev", COLUMNS="80")
    assert run.code == 0
    assert max(output.width(line) for line in run.out.splitlines()) <= 80
    assert "SELECT pg_sleep(60), 'xxx" in run.out
    wide = here("dev", COLUMNS="200").out
    assert " | SELECT pg_sleep(60), 'xxx" in wide


def test_it_takes_no_lock_of_weight_and_leaves_nothing(place: Place, probe: Probe) -> None:
    root = place.session().do("BEGIN").do("LOCK TABLE people IN ACCESS EXCLUSIVE MODE")
    place.session().wait("SELECT 1 FROM people")
    taken = look.take(probe)  # the locked table is named, not opened
    assert (place.state(taken.own), root.state) == ("idle", "idle in transaction")
    assert place.sql("SELECT mode FROM pg_locks WHERE pid = %s", taken.own) == []
    target = stop.aim(taken, root.pid, stop.TERMINATE).condition()
    one = place.session().do("BEGIN READ ONLY")
    for name in ("activity_look", "activity_signal", "activity_after"):
        one.connection.execute(queries.load(name), {**target, "pid": 0, "now": None, "action": "cancel"})
    locks = "SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype <> 'virtualxid'"
    assert one.connection.execute(locks).fetchall() == [("AccessShareLock",)]


def test_watch(place: Place, tmp_path: Path, here: Command) -> None:
    """A document a line; a server that ends our session is shown, and asked again; after Ctrl-C nobody is left."""
    child = subprocess.Popen(
        [*GAIAOPS, "--registry", str(tmp_path / "environments.toml"), "activity", "dev", "--json", "--watch", "0.2"],
        env=clean_variables(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    ours = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'gaiaops/%%activity' AND datname = %s"
    assert json.loads(child.stdout.readline())["environment"] == "dev"
    place.sql(f"SELECT pg_terminate_backend(pid) FROM ({ours}) AS s", place.name)
    lines = (json.loads(child.stdout.readline()) for _ in range(50))
    assert "error" in next(line for line in lines if "error" in line)
    assert "activity" in next(line for line in lines if "error" not in line)
    child.send_signal(os_signal.SIGINT)
    assert child.wait(timeout=20) == 130
    child.stdout.close()
    assert soon(lambda: not place.sql(ours, place.name))


def test_what_fails_at_the_start_ends_a_watch(here: Command, tmp_path: Path) -> None:
    file = registry_for(tmp_path, dev="postgresql://nobody@127.0.0.1:1/nowhere")
    run = here("dev", "--watch", "1", registry=file)
    assert run.code == 3
    assert "[dev] connection refused" in run.err


def test_a_full_connection_table(small: str, gaiaops: Command, tmp_path: Path) -> None:
    """Four walls, one after the other, and who gets past each."""
    name = f"role_{uuid.uuid4().hex[:10]}"
    with psycopg.connect(small, autocommit=True) as boss:
        boss.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret' CONNECTION LIMIT 0".encode())
    url = small.replace("://postgres:", f"://{name}:").replace(_password(small), "secret", 1)

    def told(url: str) -> str:
        run = gaiaops("activity", "dev", registry=registry_for(tmp_path, dev=url))
        assert (run.code, run.out) == (3, "")
        return run.err

    assert "binds no superuser: connect as one" in told(url)
    with ExitStack() as stack:
        boss = stack.enter_context(psycopg.connect(small, autocommit=True))

        def fill(url: str) -> None:
            with pytest.raises(psycopg.OperationalError, match=r"slots|clients"):
                for _ in range(20):
                    stack.enter_context(psycopg.connect(url))

        boss.execute(f"ALTER ROLE {name} CONNECTION LIMIT -1".encode())
        fill(url)
        assert "hint: a role with pg_use_reserved_connections still gets in" in told(url)
        boss.execute(f"GRANT pg_use_reserved_connections TO {name}".encode())
        fill(url)
        assert "[dev] too many connections: remaining connection slots are reserved" in told(url)
        assert "hint: the slots that are left (superuser_reserved_connections) are for superusers" in told(url)
        run = gaiaops("activity", "dev", "--json", registry=registry_for(tmp_path, dev=small))
        assert json.loads(run.out)["connections"] >= 6
        fill(small)
        assert "hint: every slot is taken, the reserved ones too" in told(small)
    assert soon(lambda: _gets_in(small))
    with psycopg.connect(small, autocommit=True) as boss:
        boss.execute(f"DROP ROLE {name}".encode())


def _gets_in(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def test_typos_and_wrong_words(here: Command) -> None:
    run = here("devv")
    assert run.code == 2
    assert 'did you mean "dev"?' in run.err
    run = here("dev", "--confirm", "dev")
    assert run.code == 2
    assert "--confirm belongs to" in run.err
    assert here("dev", "--cancel", "x").code == 2
    assert here("dev", "--cancel", "0").code == 2


def test_nothing_to_see(here: Command, place: Place) -> None:
    run = here("dev")
    assert run.code == 0
    assert run.out.splitlines()[-3:] == ["running: none", "idle in transaction: none", "blocking: none"]
