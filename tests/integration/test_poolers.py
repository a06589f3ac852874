"""Every command through a real PgBouncer in transaction mode: it works or says why it cannot, and leaves nothing on
the connections that other clients get next."""

from __future__ import annotations

import re
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from gaiaops.sandbox.layout import AUTH_DATABASE
from tests.cli.cleanup_world import CONFIRM, HOST, KEEP, World, checksums, clone, fetch, run_sql, tagged, users
from tests.conftest import GAIAOPS, Command, Sandbox, clean_variables, registry_for
from tests.integration import guard_corpus as corpus
from tests.integration import test_repair_cli as repairs
from tests.integration.pooler_kit import Pooler, pgbouncer
from tests.integration.test_guard import FORMATS, Target, target_at
from tests.waiting import until

_PLACE = (1734437217, 1)  # the advisory lock of a clean-up


@pytest.fixture(scope="module")
def pooler(sandbox: Sandbox) -> Iterator[Pooler]:
    """In front of the sandbox's PostgreSQL: a pool of two for each database."""
    with pgbouncer(sandbox.url("dev"), query_wait_timeout=20) as running:
        yield running


@pytest.fixture
def everything(sandbox: Sandbox, pooler: Pooler, tmp_path: Path) -> Iterator[Path]:
    """The sandbox's registry with every PostgreSQL, the auth project's too, behind the pooler."""
    direct = f"@127.0.0.1:{urlsplit(sandbox.url('dev')).port}/"
    file = tmp_path / "environments.toml"
    file.write_text(sandbox.layout.registry.read_text().replace(direct, f"@127.0.0.1:{pooler.port}/"))
    yield file
    for database in {row["database"] for row in pooler.admin("SHOW SERVERS")}:
        pooler.forget(database)  # one that somebody is connected to cannot be cloned


def behind(pooler: Pooler, sandbox: Sandbox, folder: Path, run: Command) -> Iterator[World]:
    with clone(sandbox) as url:
        name = urlsplit(url).path[1:]
        made = World(pooler.to(name).url, folder, run)
        yield made
        pooler.forget(name)


@pytest.fixture
def world(sandbox: Sandbox, tmp_path: Path, gaiaops: Command, pooler: Pooler) -> Iterator[World]:
    """A clone of production, reached through the pooler."""
    yield from behind(pooler, sandbox, tmp_path, gaiaops)


@pytest.fixture(scope="module")
def single(sandbox: Sandbox) -> Iterator[Pooler]:
    """One connection for each database."""
    with pgbouncer(sandbox.url("dev"), pool=1) as running:
        yield running


@pytest.fixture
def narrow(sandbox: Sandbox, tmp_path: Path, gaiaops: Command, single: Pooler) -> Iterator[World]:
    """A clone of production behind one connection."""
    yield from behind(single, sandbox, tmp_path, gaiaops)


def of(world: World, pooler: Pooler) -> Pooler:
    return pooler.to(urlsplit(world.url).path[1:])


def free(url: str) -> bool:
    """Whether nobody has the database's one place."""
    with psycopg.connect(url) as direct:
        return direct.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", _PLACE).fetchone() == (True,)


# ---- what the kit sees


def test_the_kit_sees_what_a_client_leaves(pooler: Pooler, sandbox: Sandbox) -> None:
    there = pooler.to("llm_platform_local")
    with psycopg.connect(there.url, autocommit=True, prepare_threshold=None) as client:
        for sql in (
            "SET work_mem = '1MB'", "PREPARE left_over AS SELECT 1", "LISTEN others", "CREATE TEMP TABLE heap (a int)",
            "SELECT pg_advisory_lock(5)", "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT",
            "SET ROLE pg_monitor",
        ):  # fmt: skip
            client.execute(sql.encode())
    found = there.left(patience=0)
    there.forget("llm_platform_local")
    assert {line.split()[0] for line in found} == {
        "setting", "prepared", "listens", "temporary", "lock", "cursor", "role"
    }  # fmt: skip
    assert there.left() == []


# ---- what reads


READING: dict[str, tuple[str, ...]] = {
    "query": ("query", "dev"),
    "query with a value": (
        "query",
        "dev",
        "select id, email from users where email > :x order by 2 limit 5",
        "-p",
        "x=k",
    ),
    "query many": ("query", "dev", "--csv", "select * from chat_messages order by id; show work_mem; table personas"),
    "query all": ("query", "all", "--json"),
    "schema verify": ("schema", "verify", "all"),
    "schema diff": ("schema", "diff", "dev", "production"),
    "audit": ("audit", "production", "--json"),
    "cleanup --dry-run": ("cleanup", "production", "--dry-run", *KEEP),
    "whois": ("whois", "theo.test+dev@example.com"),
}
# What they say is never twice the same.
ALIVE: dict[str, tuple[str, ...]] = {
    "view": ("view", "all"),
    "health": ("health", "all", "--fail-on", "never"),
    "activity": ("activity", "dev"),
    "envs --check": ("envs", "--check"),
}


@pytest.mark.parametrize("name", [*READING, *ALIVE])
def test_a_reading_command(name: str, everything: Path, sandbox: Sandbox, pooler: Pooler, gaiaops: Command) -> None:
    arguments = {**READING, **ALIVE}[name]
    run = gaiaops(*arguments, registry=everything)
    if name in READING:
        direct = gaiaops(*arguments, registry=sandbox.layout.registry)
        assert (run.code, _timeless(run.out)) == (direct.code, _timeless(direct.out)), run.err
    else:
        assert run.code == 0, run.err
    assert run.out
    for database in ("dev", "production"):
        assert pooler.to(f"llm_platform_{database}").left() == []
    assert pooler.to(AUTH_DATABASE).left() == []


def _timeless(text: str) -> list[str]:
    """The lines of a text, without what is never twice the same: times, ids of plans, the order of environments."""
    text = re.sub(
        r"\d{8}-\d{6}-\w+-\w+|\d{4}-\d\d-\d\dT[\d:.]+\d(Z|\+00:00)?|/\S*/environments.toml|\b\d+ s\b",
        "*",
        text,
    )
    return sorted(re.split(r"[\n,{}]", text))


def test_a_superuser_is_warned_of(pooler: Pooler, gaiaops: Command, tmp_path: Path) -> None:
    run = gaiaops("query", "production", registry=registry_for(tmp_path, production=pooler.url))
    assert run.code == 0
    assert 'role "postgres" is a superuser' in run.err


# ---- what changes


def test_a_clean_up_and_its_restore(world: World, pooler: Pooler) -> None:
    direct, before = of(world, pooler).behind, checksums(of(world, pooler).behind)
    gone = tagged(direct) - {HOST}
    run = world.purge()
    assert of(world, pooler).left() == []
    assert not gone & users(direct)
    back = world("restore", run, *CONFIRM)
    assert back.code == 0, back.err
    assert checksums(direct) == before
    assert of(world, pooler).left() == []
    assert free(direct)


def test_rows_of_others_need_the_whole_plan_in_each_batch(world: World, pooler: Pooler) -> None:
    direct = of(world, pooler).behind
    gone = tagged(direct)
    done = world.cleanup("--allow-collateral")
    assert done.code == 0, done.err
    assert not gone & users(direct)
    assert of(world, pooler).left() == []


SLOW = """
CREATE OR REPLACE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep({0}); RETURN NULL; END $$;
DROP TRIGGER IF EXISTS slowly ON users;
CREATE TRIGGER slowly AFTER DELETE ON users FOR EACH STATEMENT EXECUTE FUNCTION slowly();
"""
MANY = "INSERT INTO users (email) SELECT format('many.%s+dev@example.com', n) FROM generate_series(1, 900) AS n"


@contextmanager
def begun(world: World, tmp_path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A clean-up in a process of its own, in the middle of deleting."""
    run = [*GAIAOPS, "--registry", str(world.file), "cleanup", "production", *KEEP, *CONFIRM, *arguments]
    with subprocess.Popen(run, env=clean_variables(tmp_path), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert until(lambda: deleting(world.url) or child.poll() is not None)
            assert child.poll() is None, child.communicate()
            yield child
        finally:
            child.kill()


def deleting(url: str) -> bool:
    """Whether one of ours deletes users of the database; asked of another one, for the pool may be full."""
    url, _, name = url.rpartition("/")
    query = "state = 'active' AND query LIKE '%DELETE FROM public.users%' AND application_name LIKE 'gaiaops%'"
    return bool(fetch(f"{url}/postgres", f"SELECT FROM pg_stat_activity WHERE datname = '{name}' AND {query}"))


def test_a_clean_up_that_is_killed_leaves_nothing_and_goes_on(world: World, pooler: Pooler, tmp_path: Path) -> None:
    there, direct = of(world, pooler), of(world, pooler).behind
    gone = tagged(direct) - {HOST}
    run_sql(direct, SLOW.format(0.5))
    before = checksums(direct)
    with begun(world, tmp_path) as child:
        child.send_signal(signal.SIGKILL)
    assert there.left() == []
    assert checksums(direct) == before
    run_sql(direct, SLOW.format(0))
    again = world.cleanup(*KEEP)
    assert again.code == 0, again.err
    assert "was not finished" in again.err
    assert not gone & users(direct)
    assert there.left() == []


def test_somebody_has_the_place(world: World, pooler: Pooler) -> None:
    """A session's lock on a direct connection, and a transaction's through the pooler, exclude each other."""
    there = of(world, pooler)
    before = checksums(there.behind)
    with psycopg.connect(there.behind, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", _PLACE)
        refused = world.cleanup(*KEEP)
    assert refused.code == 5
    assert "another clean-up or restore of this database is running" in refused.err
    assert checksums(there.behind) == before
    assert world.runs() == []
    assert there.left() == []


def test_somebody_takes_the_place_between_two_batches(world: World, pooler: Pooler, tmp_path: Path) -> None:
    """What is under way is committed, the next batch is refused, and the same command goes on afterwards."""
    there, direct = of(world, pooler), of(world, pooler).behind
    run_sql(direct, MANY + ";" + SLOW.format(0.3))
    gone = tagged(direct) - {HOST}
    with begun(world, tmp_path, "--max-users", "2000") as child, psycopg.connect(direct, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", _PLACE)  # waits for the batch, and comes before the next
        err = child.communicate(timeout=30)[1]
    assert child.returncode == 5, err
    assert "another clean-up or restore of this database is running" in err
    left = gone & users(direct)
    assert 0 < len(left) < len(gone)
    assert there.left() == []
    run_sql(direct, SLOW.format(0))
    again = world.cleanup(*KEEP, "--max-users", "2000")
    assert again.code == 0, again.err
    assert not gone & users(direct)
    assert there.left() == []


def test_two_at_once_on_one_connection(narrow: World, single: Pooler, tmp_path: Path) -> None:
    """Neither waits for the other for ever, and nobody waits for himself."""
    there = of(narrow, single)
    gone = tagged(there.behind) - {HOST}
    folders = [tmp_path / name for name in ("one", "two")]
    run = [*GAIAOPS, "--registry", str(narrow.file), "cleanup", "production", *KEEP, *CONFIRM]
    children = []
    for folder in folders:
        folder.mkdir()
        children.append(subprocess.Popen(run, env=clean_variables(folder), stderr=subprocess.PIPE, text=True))
    ends = [(child.communicate(timeout=60)[1], child.returncode) for child in children]
    assert 0 in {code for _, code in ends}, ends
    assert {code for _, code in ends} <= {0, 5}, ends
    assert not gone & users(there.behind)
    assert there.left() == []


def test_audit_fix_and_its_undoing(
    sandbox: Sandbox, single: Pooler, fresh_url: str, tmp_path: Path, gaiaops: Command
) -> None:
    """On one connection: the transaction that repairs holds it while the auth side is asked again."""
    there = single.to(urlsplit(fresh_url).path[1:])
    found = repairs.World(there.url, tmp_path, sandbox, gaiaops)
    before = checksums(fresh_url)
    done = found.repair(*repairs.CONFIRM, kinds="email-drift,case-drift,missing-profile,revoked-access")
    assert done.code == 0, done.err
    assert there.left() == []
    assert {name for name, sum_ in checksums(fresh_url).items() if sum_ != before[name]} == repairs.CHANGED
    back = found("restore", found.runs()[0]["id"], *repairs.CONFIRM)
    assert back.code == 0, back.err
    assert checksums(fresh_url) == before
    assert there.left() == []
    with psycopg.connect(fresh_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", _PLACE)
        refused = found.repair(*repairs.CONFIRM, kinds="email-drift")
    assert (refused.code, checksums(fresh_url) == before) == (5, True)
    assert "another clean-up or restore" in refused.err
    there.forget(urlsplit(fresh_url).path[1:])


@pytest.mark.parametrize("said", ["", "session"])
def test_in_session_mode(said: str, sandbox: Sandbox, tmp_path: Path, gaiaops: Command) -> None:
    with clone(sandbox) as direct, pgbouncer(direct, mode="session") as there:
        world = World(there.url, tmp_path, gaiaops)
        world.registry(more=f'pooler = "{said}"' if said else "")
        gone = tagged(direct) - {HOST}
        world.purge()
        assert not gone & users(direct)
        assert there.left() == []
        assert free(direct)


# ---- what a statement leaves


ROLLED_BACK = (
    "set work_mem = '1MB'", "set session characteristics as transaction isolation level serializable",
    "select set_config('search_path', 'nowhere', false)", "declare c cursor with hold for select 1; fetch c",
    "set session authorization pg_monitor", "set role pg_monitor", "unlisten nothing", "reset work_mem",
)  # fmt: skip
REFUSED = (
    "prepare p as select 1", "deallocate all", "select setseed(0.5)",
    "with x as (select pg_catalog.setseed(1)) table x",
    "listen here", "load 'plpgsql'", "discard plans", "select pg_advisory_lock(1)", "create temp table t (a int)",
)  # fmt: skip
KEPT = (
    "set work_mem = '1MB'", "set session search_path = nowhere", "reset work_mem", "set role pg_monitor",
    "select set_config('work_mem', '1MB', false)", "create temp table t (a int)", "listen here",
    "create local temporary table t (a int)",
    "create or replace temp view v as select 1", "create table pg_temp.t (a int)", "select 1 as a into temp t",
    "declare c cursor with hold for select 1", "prepare p as select 1", "select pg_try_advisory_lock_shared(1)",
)  # fmt: skip
ENDING = (
    "set local work_mem = '1MB'", "set constraints all deferred",
    "select set_config('work_mem', '1MB', true)",
    "create temp table t (a int) on commit drop; insert into t values (1)",
    "select pg_advisory_xact_lock(1)", "declare c cursor for select 1", "create table temp (a int); drop table temp",
)  # fmt: skip


def test_what_a_reading_statement_sets_is_undone(pooler: Pooler, gaiaops: Command, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, dev=pooler.url)
    for sql in ROLLED_BACK:
        run = gaiaops("query", "dev", sql, registry=registry)
        assert run.code == 0, (sql, run.err)
        assert pooler.left() == [], sql


def test_what_it_would_leave_is_refused(pooler: Pooler, gaiaops: Command, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, dev=pooler.url)
    for sql in REFUSED:
        assert gaiaops("query", "dev", sql, registry=registry).code in (1, 5), sql
    assert pooler.left() == []
    told = gaiaops("query", "dev", "prepare p as select 1", registry=registry)
    assert "refused: PREPARE through a transaction pooler: the statement stays there" in told.err
    assert "hint: use the direct or the session port" in told.err


def test_what_a_writing_statement_would_leave_is_refused(world: World, pooler: Pooler) -> None:
    there = of(world, pooler)
    for sql in KEPT:
        run = world("query", "production", "--write", *CONFIRM, f"update users set name = 'X'; {sql}")
        assert (run.code, "through a transaction pooler" in run.err) == (5, True), (sql, run.err)
    assert fetch(there.behind, "SELECT count(*) FROM users WHERE name = 'X'") == [(0,)]
    for sql in ENDING:
        run = world("query", "production", "--write", *CONFIRM, f"{sql}; update users set name = 'X'")
        assert run.code == 0, (sql, run.err)
    assert there.left() == []
    assert fetch(there.behind, "SELECT count(*) FROM users WHERE name <> 'X'") == [(0,)]


SAMPLE = [*list(corpus.ATTEMPTS)[::20], *corpus.ATTEMPTS]


@pytest.fixture(scope="module")
def target(sandbox: Sandbox) -> Iterator[Target]:
    with target_at(sandbox.state.postgres_url("postgres"), "template_dev") as found:
        yield found


@pytest.mark.first(len(corpus.ATTEMPTS) // 20)
@pytest.mark.parametrize(("number", "name"), list(enumerate(dict.fromkeys(SAMPLE))))
def test_the_guard_holds(
    number: int, name: str, target: Target, pooler: Pooler, gaiaops: Command, tmp_path: Path
) -> None:
    there, attempt = pooler.to(urlsplit(target.url).path[1:]), corpus.ATTEMPTS[name]
    file = tmp_path / "script.sql"
    file.write_text(target.fill(attempt.sql), encoding="utf-8")
    given = [part for value in attempt.params for part in ("-p", value)]
    arguments = ("--format", FORMATS[number % len(FORMATS)], *attempt.options, *given)
    registry = registry_for(tmp_path, dev=there.url, production=there.url)
    run = gaiaops("query", attempt.env, *arguments, "-f", str(file), registry=registry)
    assert run.code in (*attempt.codes, 5), run
    assert there.left() == []
    there.forget(urlsplit(target.url).path[1:])
    assert target.changes() == {}


# ---- when it does not work


@pytest.fixture
def quick(tmp_path: Path) -> Callable[..., Path]:
    """A registry with short connect timeouts."""

    def write(url: str, *more: str) -> Path:
        file = registry_for(tmp_path, dev=url)
        lines = "\n".join(['timeouts = { connect = "1s" }', *more])
        file.write_text(file.read_text() + lines, encoding="utf-8")
        return file

    return write


@pytest.mark.parametrize(
    "arguments",
    [("query", "dev"), ("query", "dev", "--write", "update users set name = 'X'"), ("view", "dev"), ("health", "dev"),
     ("activity", "dev"), ("schema", "verify", "dev"), ("connect", "dev")],
    ids=" ".join,
)  # fmt: skip
def test_every_connection_is_in_use(
    arguments: tuple[str, ...], single: Pooler, quick: Callable[..., Path], gaiaops: Command
) -> None:
    file = quick(single.url, "[tables.core]", 'tables = ["users"]')
    with psycopg.connect(single.url) as holder:
        holder.execute("SELECT 1")
        run = gaiaops(*arguments, registry=file)
    assert run.code in (3, 4, 7), run
    assert "no answer" in run.out + run.err
    assert single.left() == []


def refusal(how: str, pooler: Pooler) -> str:
    """Makes PgBouncer refuse; gives the URL to try."""
    base, _, database = pooler.url.rpartition("/")
    if how == "disabled":
        pooler.admin(f"DISABLE {database}")
    return {
        "option": f"{pooler.url}?options=-cwork_mem=1MB",
        "database": f"{base}/nosuch",
        "user": pooler.url.replace("//postgres:", "//nobody:"),
        "password": pooler.url.replace(":keeper@", ":wrong@").replace("//postgres:", "//postgres:x"),
        "down": f"{base}/nowhere",
    }.get(how, pooler.url)


SAID = {
    "option": (3, "the pooler refused: unsupported startup parameter: options", "use the direct port"),
    "database": (3, 'database "nosuch" does not exist', "check the database"),
    "user": (3, 'password authentication failed for user "nobody"', "check the password"),
    "password": (3, 'password authentication failed for user "postgres"', "check the password"),
    "disabled": (3, "the pooler has closed the database", "try again in a moment"),
    "down": (3, "the pooler had no connection for us in time: query_wait_timeout", "SHOW POOLS"),
}


@pytest.mark.parametrize("how", SAID)
def test_the_pooler_refuses(how: str, sandbox: Sandbox, gaiaops: Command, tmp_path: Path) -> None:
    with pgbouncer(sandbox.url("local"), query_wait_timeout=1) as there:
        run = gaiaops("query", "dev", "select 1", registry=registry_for(tmp_path, dev=refusal(how, there)))
    code, line, hint = SAID[how]
    assert run.code == code, run
    assert f"gaiaops: error: [dev] {line}" in run.err
    assert hint in run.err.partition("hint: ")[2]


def test_no_more_clients_and_statement_mode(sandbox: Sandbox, gaiaops: Command, tmp_path: Path) -> None:
    with pgbouncer(sandbox.url("local"), mode="statement", max_client_conn=2) as there:
        file = registry_for(tmp_path, dev=there.url)
        run = gaiaops("query", "dev", "select 1", registry=file)
        assert (run.code, "the pooler is in statement mode" in run.err, "pool_mode" in run.err) == (3, True, True)
        with psycopg.connect(there.url), psycopg.connect(there.url):
            run = gaiaops("query", "dev", "select 1", registry=file)
        assert (run.code, "the pooler takes no more clients" in run.err) == (3, True)


def test_the_pooler_s_own_timeouts(sandbox: Sandbox, gaiaops: Command, tmp_path: Path) -> None:
    with pgbouncer(sandbox.url("local"), pool=1, query_timeout=1) as there:
        file = registry_for(tmp_path, dev=there.url)
        run = gaiaops("query", "dev", "select pg_sleep(20)", registry=file)
        assert (run.code, "its query_timeout is shorter than ours" in run.err) == (4, True), run
        there.admin("SET query_timeout = 0")
        there.admin("SET query_wait_timeout = 1")
        with psycopg.connect(there.url) as holder:
            holder.execute("SELECT 1")
            run = gaiaops("query", "dev", "select 1", registry=file)
        assert (run.code, "the pooler had no connection for us in time" in run.err) == (4, True), run


# ---- cancelling


def test_a_timeout_and_ctrl_c_end_the_statement(pooler: Pooler, gaiaops: Command, tmp_path: Path) -> None:
    file = registry_for(tmp_path, dev=pooler.url)
    run = gaiaops("query", "dev", "--timeout", "200ms", "select pg_sleep(60), 'late'", registry=file)
    assert (run.code, "statement timeout" in run.err) == (4, True)
    mark = uuid.uuid4().hex
    arguments = [*GAIAOPS, "--registry", str(file), "query", "dev", f"select pg_sleep(60), '{mark}'"]
    watched = f"SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(60), ''{mark}%'"
    with subprocess.Popen(arguments, env=clean_variables(tmp_path), stderr=subprocess.PIPE) as child:
        assert until(lambda: bool(fetch(pooler.behind, watched)))
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 130
    assert until(lambda: not fetch(pooler.behind, watched), 5)
    assert pooler.left() == []


# ---- the shell


def test_the_shell_never_says_read_only_where_it_is_not(
    sandbox: Sandbox, pooler: Pooler, gaiaops: Command, tmp_path: Path
) -> None:
    file = registry_for(tmp_path, dev=pooler.url)
    with pgbouncer(sandbox.url("dev"), mode="session", ignore_startup_parameters="options") as deaf:
        run = gaiaops("connect", "dev", "--shell", "psql", registry=registry_for(tmp_path, dev=deaf.url))
        assert (run.code, run.out) == (5, ""), run
    registry_for(tmp_path, dev=pooler.url)
    with psycopg.connect(pooler.url, autocommit=True, prepare_threshold=None) as other:  # left by somebody
        other.execute("SET default_transaction_read_only = on")
        run = gaiaops("connect", "dev", "--shell", "psql", registry=file)
        other.execute("RESET default_transaction_read_only")
    assert (run.code, run.out) == (5, ""), run
    assert "[dev] a pooler keeps no shell read-only" in run.err
    assert "gaiaops query dev reads under the guard" in run.err
    wide = gaiaops("connect", "dev", "--shell", "psql", "--write", registry=file, stdin="SELECT 6 * 7;\n")
    assert (wide.code, "42" in wide.out) == (0, True), wide
    assert pooler.left() == []


def test_a_role_that_only_reads_opens_the_shell(world: World, pooler: Pooler) -> None:
    there = of(world, pooler)
    name = urlsplit(world.url).path[1:]
    run_sql(there.behind, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    there.forget(name)
    run = world("connect", "production", "--shell", "psql", stdin="DELETE FROM users;\n")
    assert "cannot execute DELETE in a read-only transaction" in run.err, run
    assert "this shell is read-only" in run.err
