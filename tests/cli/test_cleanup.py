"""`cleanup`, `runs` and `restore` do what they say: the right rows go, the others stay, and all of it comes back."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import psycopg
import pytest
import redis
import uvicorn

from gaiaops.sandbox import drift, seed
from gaiaops.sandbox.authserver.app import create_app
from gaiaops.sandbox.authserver.settings import Settings
from tests.cli.cleanup_world import (
    CONFIRM,
    GUEST,
    HOST,
    KEEP,
    THEO,
    THEO_ID,
    World,
    checksums,
    clone,
    fetch,
    number,
    tagged,
    users,
)
from tests.cli.test_completion import complete
from tests.conftest import GAIAOPS, Command, Sandbox, clean_variables
from tests.waiting import until

# Where a row of a test user may be: table → condition, with :ids and :addresses of the users who went.
_THEIRS = {
    "users": "id::text = ANY(%(ids)s)",
    "api_keys": "user_id::text = ANY(%(ids)s)",
    "conversations": "user_id::text = ANY(%(ids)s)",
    "chat_messages": "user_id::text = ANY(%(ids)s)"
    " OR conversation_id IN (SELECT id FROM conversations WHERE user_id::text = ANY(%(ids)s))",
    "user_persona_preferences": "user_id = ANY(%(ids)s)",
    "asset_generations": "user_id = ANY(%(ids)s)",
    "asset_modifications": "user_id = ANY(%(ids)s)",
    "asset_usage": "user_id = ANY(%(ids)s)",
    "kb_permissions": "principal_type = 'user' AND principal_id = ANY(%(ids)s)",
    "kb_semantic_index_metadata": "namespace = ANY(%(spaces)s)",
    "kb_semantic_chunk_ids": "namespace = ANY(%(spaces)s)",
}
# Columns that name a user who did something: emptied, and the row stays.
_NULLED = {
    "personas": ("created_by", "true"),
    "kb_documents": ("locked_by", "true"),
    "kb_document_history": ("changed_by", "true"),
    "kb_permissions": ("granted_by", "true"),
    "kb_activity_log": ("actor_id", "actor_type = 'user'"),
}
_LIKE = "DELETE FROM users WHERE email LIKE '%+dev@%' OR email LIKE '%+staging@%'"


@pytest.fixture
def world(sandbox: Sandbox, tmp_path: Path, gaiaops: Command) -> Iterator[World]:
    """A clone of production under its name."""
    with clone(sandbox) as url:
        yield World(url, tmp_path, gaiaops)


def snapshot(url: str) -> dict[str, list[str]]:
    """Every row of the tables, as text."""
    with psycopg.connect(url) as connection:
        names = [row[0] for row in connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )]  # fmt: skip
        return {n: [r[0] for r in connection.execute(f"SELECT t::text FROM {n} AS t ORDER BY 1")] for n in names}


def expected_after(url: str, addresses: set[str]) -> dict[str, list[str]]:
    """What is to be left when these users go: by plain SQL, in a transaction that is rolled back."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT id::text FROM users WHERE email = ANY(%s)", [list(addresses)]).fetchall()
        ids = [row[0] for row in found]
        names = {"ids": ids, "spaces": [f"users/{address}" for address in addresses]}
        for table, (column, condition) in _NULLED.items():
            sql = f"UPDATE {table} SET {column} = NULL WHERE {condition} AND {column} = ANY(%(ids)s)"
            connection.execute(sql.encode(), names)
        for table, condition in reversed(_THEIRS.items()):
            connection.execute(f"DELETE FROM {table} WHERE {condition}".encode(), names)
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        left = {n: [r[0] for r in connection.execute(f"SELECT t::text FROM {n} AS t ORDER BY 1")] for (n,) in tables}
        connection.rollback()
    return left


# -- who and what goes --------------------------------------------------------------------------------------------


def test_the_documented_delete_fails_and_cleanup_does_it(world: World) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        world.sql(_LIKE)
    wanted = expected_after(world.url, tagged(world.url) - {HOST})
    done = world.cleanup(*KEEP)
    assert done.code == 0, done.err[-600:]
    assert snapshot(world.url) == wanted
    assert tagged(world.url) == {HOST}
    assert "[production] purged 27 users: 287 rows deleted, 6 changed" in done.err
    assert re.search(r"^archive: .*/runs/\S+-production-\S+$", done.err, re.MULTILINE)
    assert re.search(r"^restore: gaiaops restore \S+-production-\S+$", done.err, re.MULTILINE)
    assert done.out == ""


def test_what_looks_like_a_test_user_stays(world: World) -> None:
    people = [trap for trap in drift.TRAPS if trap.environment == "production" and trap.address]
    real = {trap.address for trap in people} - tagged(world.url)
    assert len(real) > 25
    before = users(world.url)
    assert real <= before
    world.purge()
    assert users(world.url) == before - tagged_before(before) | {HOST}
    assert real <= users(world.url)


def tagged_before(addresses: set[str]) -> set[str]:
    """The rule of the documentation, in a line."""
    names = {"local", "dev", "staging"}
    found = set()
    for address in addresses:
        parts = address.rpartition("@")[0].casefold().split("+")[1:]
        if parts and parts[-1] in names and len(names & set(parts)) == 1:
            found.add(address)
    return found


def test_other_peoples_rows_go_only_when_allowed(world: World) -> None:
    theirs = f"SELECT count(*) FROM chat_messages WHERE user_id = (SELECT id FROM users WHERE email = '{GUEST}')"
    before = number(world.url, theirs)
    done = world.cleanup("--allow-collateral")
    assert done.code == 0, done.err[-600:]
    assert number(world.url, theirs) == before - 2
    assert tagged(world.url) == set()
    assert world("restore", world.runs()[0], *CONFIRM).code == 0
    assert number(world.url, theirs) == before


def test_a_tag_and_its_case(world: World) -> None:
    before = tagged(world.url)
    done = world.cleanup("--tag", "DEV")
    assert done.code == 0, done.err[-600:]
    assert before - tagged(world.url) == {address for address in before if "+dev@" in address.casefold()}
    done = world.cleanup("--tag", "local", "--tag", "dev")
    assert done.code == 0, done.err[-600:]
    assert {address for address in before if "+staging@" in address} == tagged(world.url)


def test_an_own_tag_with_a_number(world: World) -> None:
    world.registry(more='tag = "prod"')
    world.sql("INSERT INTO users (email) VALUES ('a+prod@example.com'), ('b+PROD@example.com')")
    done = world.cleanup("--tag", "prod", "--max-users", "2")
    assert done.code == 0, done.err[-600:]
    assert not [address for address in users(world.url) if "+prod@" in address.casefold()]
    assert len(tagged(world.url)) == 28


def test_older_than(world: World) -> None:
    world.sql(
        f"UPDATE users SET created_at = now() - interval '3 days' WHERE email = '{THEO}';"
        f"UPDATE users SET created_at = now() WHERE email LIKE '%+%@%' AND email <> '{THEO}'"
    )
    done = world("cleanup", "production", "--dry-run", "--older-than", "2d")
    assert "plan " in done.out
    assert "1 of 693 users of production" in done.out
    assert "27 users are younger, not taken" in done.out
    done = world.cleanup("--older-than", "2d")
    assert done.code == 0, done.err[-600:]
    assert len(tagged(world.url)) == 27
    assert THEO not in users(world.url)


def test_protected_people_stay(world: World) -> None:
    world.protect(THEO.upper(), "example.org")
    stay = {address for address in tagged(world.url) if address == THEO or address.endswith("@example.org")} | {HOST}
    done = world.cleanup(*KEEP)
    assert done.code == 0, done.err[-600:]
    assert "protected, not taken: " in done.err
    assert tagged(world.url) == stay
    assert len(stay) > 3


def test_nothing_to_do(world: World) -> None:
    world.purge()
    runs, before = world.runs(), checksums(world.url)
    done = world.cleanup(*KEEP)
    assert (done.code, done.out) == (0, "")
    assert "[production] nothing to do: " in done.err
    done = world.cleanup(*KEEP, "--json")
    assert done.code == 0
    assert json.loads(done.out)["plan"]["users"] == 0
    assert (world.runs(), checksums(world.url)) == (runs, before)


# -- the plan -----------------------------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing(world: World) -> None:
    before = checksums(world.url)
    done = world("cleanup", "production", "--dry-run")
    assert done.code == 0
    assert "28 of 693 users of production, tagged local, dev, staging" in done.out
    assert f"collateral: 2 rows of {GUEST} in chat_messages, with {HOST}" in done.out
    assert "two environment tags, not taken: hugo.lind+staging+dev@example.com" in done.out
    assert "would be refused: 2 rows of other people" in done.err
    assert checksums(world.url) == before
    assert world.runs() == []
    assert not (world.state / "trail.jsonl").exists()


def test_the_plan_s_document(world: World) -> None:
    done = world("cleanup", "production", "--dry-run", "--json", *KEEP)
    assert done.code == 0
    plan = json.loads(done.out)["plan"]
    assert {"id", "environment", "server", "fingerprint", "made", "until", "tags", "older_than", "keep", "users",
            "users_in_all", "tables", "collateral", "ambiguous", "protected", "younger", "unclassified", "absent",
            "warnings", "refusals", "listed", "cache_keys"} <= set(plan)  # fmt: skip
    assert {user["address"] for user in plan["listed"]} == tagged(world.url) - {HOST}
    assert set(plan["listed"][0]) == {"n", "id", "address", "rule"}
    assert (plan["environment"], plan["users"], plan["users_in_all"]) == ("production", 27, 693)
    counted = {table["table"]: table["rows"] for table in plan["tables"] if table["action"] == "delete"}
    ids = [user["id"] for user in plan["listed"]]
    names = {"ids": ids, "spaces": [f"users/{user['address']}" for user in plan["listed"]]}
    with psycopg.connect(world.url) as connection:
        for table, condition in _THEIRS.items():
            found = connection.execute(f"SELECT count(*) FROM {table} WHERE {condition}".encode(), names).fetchone()
            assert counted.get(table, 0) == (found or [0])[0], table


def test_a_saved_plan_is_applied_as_it_is(world: World) -> None:
    plan = world.save()
    assert plan.stat().st_mode & 0o777 == 0o600
    wanted = {json.loads(line)["address"] for line in plan.read_text().splitlines() if line.startswith('{"n"')}
    assert wanted == tagged(world.url) - {HOST}
    world.sql("INSERT INTO users (email) VALUES ('later+dev@example.com')")
    shown = world("cleanup", "production", "--plan", str(plan), "--dry-run")
    assert shown.code == 0
    assert "27 of 693 users" in shown.out
    done = world.apply(plan)
    assert done.code == 0, done.err[-600:]
    assert tagged(world.url) == {HOST, "later+dev@example.com"}


def test_the_environment_is_named_by_its_alias(world: World) -> None:
    world.registry(more='aliases = ["prod"]')
    done = world("cleanup", "prod", *KEEP, *CONFIRM)
    assert done.code == 0, done.err[-600:]
    assert tagged(world.url) == {HOST}


# -- on a terminal ------------------------------------------------------------------------------------------------


def terminal(world: World, *arguments: str) -> pexpect.spawn:
    return pexpect.spawn(
        sys.executable,
        ["-m", "gaiaops", "--registry", str(world.file), *arguments],
        env=clean_variables(world.folder),
        encoding="utf-8",
        timeout=30,
        dimensions=(24, 80),
    )


def test_the_name_and_the_number_are_typed(world: World) -> None:
    child = terminal(world, "cleanup", "production", *KEEP)
    child.expect("27 of 693 users of production")
    child.expect("27 users and 260 rows that hang on them go from production.")
    child.expect("Type the environment's name to go on: ")
    assert len(tagged(world.url)) == 28
    child.sendline("production")
    child.expect("Type the number of users to go on: ")
    assert len(tagged(world.url)) == 28
    child.sendline("27")
    child.expect(r"\[production\] purged 27 users")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert tagged(world.url) == {HOST}
    child = terminal(world, "restore", world.runs()[0])
    child.expect("Type the environment's name to go on: ")
    child.sendline("production")
    child.expect("287 rows came back")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_an_unprotected_environment_asks_for_its_name_only(world: World) -> None:
    world.registry(protected=False)
    child = terminal(world, "cleanup", "production", *KEEP)
    child.expect("Type the environment's name to go on: ")
    child.sendline("production")
    child.expect("purged 27 users")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_eighty_columns(world: World) -> None:
    """The list of runs fits a terminal of 80 columns."""
    world.purge()
    child = terminal(world, "runs")
    child.expect(pexpect.EOF)
    child.close()
    lines = str(child.before).splitlines()
    assert max(map(len, lines)) <= 80, lines


# -- runs ---------------------------------------------------------------------------------------------------------


def test_runs(world: World) -> None:
    assert world("runs").err == "no clean-up has been made from this machine\n"
    assert json.loads(world("runs", "--json").out) == {"runs": []}
    devs = sum("+dev@" in address.casefold() for address in tagged(world.url))
    first = world.purge("--tag", "dev")
    time.sleep(1.1)  # an id begins with the second
    second = world.purge("--tag", "staging")
    assert first < second
    found = json.loads(world("runs", "--json").out)["runs"]
    assert [run["id"] for run in found] == [second, first]
    dev = found[1]
    assert {"id", "environment", "started", "users", "state"} <= set(dev)
    assert (dev["environment"], dev["tags"], dev["state"], dev["users"]) == ("production", ["dev"], "done", devs)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", dev["started"])
    assert dev["tables"]["public.users"] == {"deleted": devs, "changed": 0}
    listed = world("runs").out.splitlines()
    assert second in listed[2]
    assert first in listed[3]
    one = world("runs", first)
    assert one.out.startswith(f"run {first}: done\n")
    assert f"{devs} of {devs} users purged" in one.out
    assert json.loads(world("runs", first, "--json").out)["runs"] == [dev]
    world("restore", first, *CONFIRM)
    assert [run["state"] for run in json.loads(world("runs", "--json").out)["runs"]] == ["done", "restored"]


def test_everything_is_private(world: World) -> None:
    world.purge()
    for path in (world.folder / "data").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0 or path == world.data, path
    assert (world.state / "trail.jsonl").stat().st_mode & 0o077 == 0


def test_old_runs_are_removed(world: World) -> None:
    run = world.purge()
    done = world("runs", "--expire", "30d")
    assert (done.code, done.out) == (0, "")
    assert "no finished run is older than 30d" in done.err
    old = time.time() - 31 * 86400
    for path in (world.data / "runs" / run).rglob("*"):
        subprocess.run(["touch", "-d", f"@{old}", str(path)], check=True)
    done = world("runs", "--expire", "30d")
    assert f"removed {run}" in done.err
    assert world.runs() == []


# -- restore ------------------------------------------------------------------------------------------------------


def test_restore(world: World) -> None:
    before = checksums(world.url)
    run = world.purge()
    after = checksums(world.url)
    assert after != before
    done = world("restore", run, "--dry-run")
    assert done.code == 0
    assert "[production] 287 rows would come back, 6 would be set back" in done.err
    assert checksums(world.url) == after
    done = world("restore", run[:15], *CONFIRM)
    assert done.code == 0, done.err[-600:]
    assert checksums(world.url) == before
    again = world("restore", run, *CONFIRM, "--json")
    assert again.code == 0
    body = json.loads(again.out)["restore"]
    assert (body["inserted"], sum(body["present"].values()), body["differ"]) == ({}, 293, {})
    assert checksums(world.url) == before


def test_restore_one_person(world: World) -> None:
    before = {table: set(rows) for table, rows in snapshot(world.url).items()}
    run = world.purge()
    after = {table: set(rows) for table, rows in snapshot(world.url).items()}
    done = world("restore", run, "--user", THEO.upper(), *CONFIRM)
    assert done.code == 0, done.err[-600:]
    now = {table: set(rows) for table, rows in snapshot(world.url).items()}
    assert tagged(world.url) == {HOST, THEO}
    back = {table: now[table] - after[table] for table in now if now[table] != after[table]}
    assert all(rows <= before[table] for table, rows in back.items())
    assert {row for table, rows in back.items() for row in rows} == {
        row
        for table in before
        for row in before[table] - after[table]
        if THEO_ID in row or THEO in row or row in back.get(table, set())
    }
    assert json.loads(world("runs", run, "--json").out)["runs"][0]["restored_users"] == [THEO.upper()]


def test_what_is_there_again_is_not_overwritten(world: World) -> None:
    run = world.purge()
    world.sql(f"INSERT INTO users (id, email, name) VALUES ('{THEO_ID}', 'theo@new.example.com', 'New')")
    done = world("restore", run, *CONFIRM)
    assert THEO_ID in done.out, done.err[-600:]
    assert "1 rows are there otherwise and were left as they are" in done.err
    assert fetch(world.url, f"SELECT email, name FROM users WHERE id = '{THEO_ID}'") == [
        ("theo@new.example.com", "New")
    ]


def test_an_address_that_is_taken_again(world: World) -> None:
    """Registered anew under another id: that person's row cannot come back, and the command says so."""
    run = world.purge()
    world.sql(f"INSERT INTO users (email) VALUES ('{THEO}')")
    done = world("restore", run, *CONFIRM)
    assert done.code == 1
    assert "rows could not come back: a unique value is taken" in done.err
    assert fetch(world.url, f"SELECT count(*) FROM users WHERE id = '{THEO_ID}'") == [(0,)]
    assert len(tagged(world.url)) == 28


# -- Redis --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(sandbox: Sandbox, world: World) -> Iterator[redis.Redis]:
    """A database of its own in the sandbox's Redis, with the keys of everybody in the world."""
    url = sandbox.state.redis_url("production").removesuffix("/0") + "/7"
    world.registry(more=f'redis = "{url}"')
    with redis.Redis.from_url(url, decode_responses=True) as client:
        client.flushdb()
        for (key,) in fetch(world.url, "SELECT id::text FROM users"):
            client.set(f"user:session:{key}", "s")
            client.set(f"user:persona:preference:{key}", "p")
        for (key,) in fetch(world.url, "SELECT left(key_hash, 32) FROM api_keys"):
            client.set(f"gaia:auth:apikey:v1:{key}", "k")
        client.mset({"personas:list:all": "x", "rate_limit:1": "x", "gaia:auth:jwt:v1:1": "x"})
        yield client
        client.flushdb()


def keys_of(world: World, addresses: set[str]) -> set[str]:
    with psycopg.connect(world.url) as connection:
        found = connection.execute(
            "SELECT u.id::text, left(k.key_hash, 32) FROM users u LEFT JOIN api_keys k ON k.user_id = u.id"
            " WHERE email = ANY(%s)", [list(addresses)]
        ).fetchall()  # fmt: skip
    keys = {f"user:{kind}:{key}" for key, _ in found for kind in ("session", "persona:preference")}
    return keys | {f"gaia:auth:apikey:v1:{prefix}" for _, prefix in found if prefix}


def test_the_users_keys_go_and_nobody_elses(world: World, cache: redis.Redis) -> None:
    before = set(cache.keys())
    theirs = keys_of(world, tagged(world.url) - {HOST})
    assert len(theirs) == 27 * 2 + 29
    assert theirs < before
    plan = json.loads(world("cleanup", "production", "--dry-run", "--json", *KEEP).out)["plan"]
    assert set(plan["cache_entries"]) == theirs
    done = world.cleanup(*KEEP)
    assert done.code == 0, done.err[-600:]
    assert f"{len(theirs)} Redis entries removed" in done.err
    assert set(cache.keys()) == before - theirs


def test_redis_is_down(world: World, cache: redis.Redis) -> None:
    before = set(cache.keys())
    theirs = keys_of(world, tagged(world.url) - {HOST})
    up = world.file.read_text(encoding="utf-8")
    world.registry(more='redis = "redis://127.0.0.1:1/0"')
    done = world.cleanup(*KEEP)
    assert done.code == 1
    assert "Redis entries of 27 purged users are still there: Redis: connection refused" in done.err
    assert "hint: run the same command again to finish" in done.err
    assert tagged(world.url) == {HOST}
    (run,) = json.loads(world("runs", "--json").out)["runs"]
    assert (run["state"], run["cache_outstanding"]) == ("unfinished", 27)
    assert "Redis entries of 27 users are still to go" in world("runs", run["id"]).out
    assert set(cache.keys()) == before
    world.file.write_text(up, encoding="utf-8")
    done = world.cleanup(*KEEP)
    assert done.code == 0, done.err[-600:]
    assert set(cache.keys()) == before - theirs
    (run,) = json.loads(world("runs", "--json").out)["runs"]
    assert (run["state"], run["cache_outstanding"]) == ("done", 0)


def test_redis_is_down_and_the_schema_changes(world: World, cache: redis.Redis) -> None:
    """A migration in between: the entries are still finished, or at least the run that left them is named."""
    theirs = keys_of(world, tagged(world.url) - {HOST})
    up = world.file.read_text(encoding="utf-8")
    world.registry(more='redis = "redis://127.0.0.1:1/0"')
    assert world.cleanup(*KEEP).code == 1
    run = world.runs()[0]
    world.file.write_text(up, encoding="utf-8")
    world.sql("ALTER TABLE users ADD phone text")
    done = world.cleanup(*KEEP)
    left = len(theirs & set(cache.keys()))
    assert left == 0 or run in done.err, f"{left} entries are left, and nobody says so: {done.err[-600:]}"


# -- the trail ----------------------------------------------------------------------------------------------------


def test_the_trail(world: World) -> None:
    run = world.purge()
    assert world("restore", run, *CONFIRM).code == 0
    lines = [json.loads(line) for line in (world.state / "trail.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["command"], line["outcome"], line["rows"]) for line in lines] == [
        ("cleanup", "started", 0), ("cleanup", "committed", 287),
        ("restore", "started", 0), ("restore", "committed", 287),
    ]  # fmt: skip
    assert {line["environment"] for line in lines} == {"production"}
    sha = json.loads(world("runs", run, "--json").out)["runs"][0]["plan_sha256"]
    assert {line["statement_sha256"] for line in lines} == {sha}
    assert lines[1]["server"].rpartition("/")[2] == world.url.rpartition("/")[2]


def test_no_secret_is_written(world: World, sandbox: Sandbox) -> None:
    plan = world.save()
    done = world.apply(plan)
    run = world.runs()[0]
    shown = [done.out + done.err]
    for arguments in (("runs",), ("runs", run), ("runs", run, "--json"), ("restore", run, *CONFIRM)):
        again = world(*arguments)
        shown.append(again.out + again.err)
    secret = sandbox.state.password
    written = [path for path in world.folder.rglob("*") if path.is_file() and path != world.file]
    assert len(written) >= 6
    for path in written:
        assert secret.encode() not in path.read_bytes(), path
    assert not any(secret in text for text in shown)
    trail = (world.state / "trail.jsonl").read_text(encoding="utf-8")
    assert not any(address in trail for address in (THEO, GUEST))


# -- what ends it early -------------------------------------------------------------------------------------------

SLOW = """
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep({}); RETURN OLD; END $$;
CREATE TRIGGER dawdle BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION dawdle();
"""
MANY = "INSERT INTO users (email) SELECT 'm' || i || '+dev@example.com' FROM generate_series(1, 1500) AS i"
ALL = ("cleanup", "production", *KEEP, "--max-users", "2000", *CONFIRM)


@contextmanager
def begun(world: World, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command line as a child, with what it says on pipes."""
    child = subprocess.Popen(
        [*GAIAOPS, "--registry", str(world.file), *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=clean_variables(world.folder),
    )  # fmt: skip
    with child:
        try:
            yield child
        finally:
            child.kill()


def journal(world: World) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in (world.data / "runs").glob("*/journal.jsonl"))


def deleting(world: World) -> bool:
    """Whether the server sits in the trigger."""
    return number(
        world.url,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'",
    ) > 0  # fmt: skip


@pytest.mark.first(1)
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_batch(world: World, ending: int) -> None:
    before = checksums(world.url)
    world.sql(MANY + ";" + SLOW.format(0.002))
    with begun(world, *ALL) as child:
        assert until(lambda: '"committed"' in journal(world))
        child.send_signal(ending)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "ending after the current batch; once more rolls it back" in err
    assert "gaiaops: error: [production] interrupted: " in err
    assert "hint: run the same command again to finish" in err
    (run,) = json.loads(world("runs", "--json").out)["runs"]
    left = len(tagged(world.url)) - 1
    assert run["state"] == "unfinished"
    assert 0 < left < 1527
    assert run["users"] == 1527 - left
    done = world(*ALL)
    assert done.code == 0, done.err[-600:]
    assert f"run {run['id']} was not finished ({run['users']} of 1527 users are gone): going on with it" in done.err
    assert f"[production] purged {left} users" in done.err
    assert tagged(world.url) == {HOST}
    assert [(r["id"], r["state"], r["users"]) for r in json.loads(world("runs", "--json").out)["runs"]] == [
        (run["id"], "done", 1527)
    ]
    assert world("restore", run["id"], *CONFIRM).code == 0
    world.sql("DELETE FROM users WHERE email ~ '^m[0-9]+[+]dev@'")
    assert checksums(world.url) == before


def test_a_second_signal_rolls_back(world: World) -> None:
    world.sql(SLOW.format(20))
    before = checksums(world.url)
    with begun(world, *ALL) as child:
        assert until(lambda: deleting(world))
        child.send_signal(signal.SIGINT)
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    assert child.returncode == 130, err
    assert "Traceback" not in err
    assert until(lambda: not deleting(world))
    assert checksums(world.url) == before
    assert list((world.data / "runs").glob("*/segments/*")) == []
    world.sql("DROP TRIGGER dawdle ON users")
    done = world(*ALL)
    assert done.code == 0, done.err[-600:]
    assert tagged(world.url) == {HOST}


def test_head(world: World) -> None:
    run = world.purge()
    for arguments in ("runs", f"runs {run}", "runs --json", "cleanup production --dry-run --json"):
        command = f'{sys.executable} -m gaiaops --registry "$1" {arguments} | head -1; exit ${{PIPESTATUS[0]}}'
        done = subprocess.run(
            ["bash", "-c", command, "sh", str(world.file)],
            check=False, capture_output=True, text=True, timeout=60, env=clean_variables(world.folder),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "error" not in done.stderr
        assert len(done.stdout.splitlines()) == 1


def test_somebody_has_a_user_locked(world: World) -> None:
    """That one is left, named, and taken by the next try."""
    with psycopg.connect(world.url) as holder:
        holder.execute("SELECT FROM users WHERE email = %s FOR UPDATE", [THEO])
        done = world.cleanup(*KEEP)
    assert done.code == 1
    assert f"skipped: {THEO}: locked by another session" in done.err
    assert "gaiaops: error: [production] 1 users could not be purged\nhint: run the same command again" in done.err
    assert tagged(world.url) == {HOST, THEO}
    done = world.cleanup(*KEEP)
    assert done.code == 0, done.err[-600:]
    assert "[production] purged 1 users: " in done.err
    (run,) = json.loads(world("runs", "--json").out)["runs"]
    assert (run["state"], run["users"], run["skipped"]) == ("done", 27, {})


def test_the_command_for_an_unfinished_run_says_this_time_s_rows(world: World) -> None:
    """The line that says what went speaks of one thing: this time, in its total as in its tables."""
    with psycopg.connect(world.url) as holder:
        holder.execute("SELECT FROM users WHERE email LIKE '%+dev@%' FOR UPDATE")
        assert world.cleanup(*KEEP).code == 1
    done = world.cleanup(*KEEP)
    line = next(text for text in done.err.splitlines() if "purged" in text)
    total, tables = int(re.search(r"(\d+) rows deleted", line)[1]), re.findall(r"\w+ (\d+)(?=[,)])", line)  # type: ignore[index]
    assert total == sum(map(int, tables)), line


# -- completion ---------------------------------------------------------------------------------------------------


def test_completion(world: World) -> None:
    run = world.purge()
    variables = clean_variables(world.folder)

    def offered(*words: str) -> list[str]:
        return complete(world.folder, variables, "gaiaops", *words)

    assert offered("cleanup", "pro") == ["production"]
    assert offered("cleanup", "production", "--tag", "") == ["local", "dev", "staging"]
    assert offered("cleanup", "production", "--tag", "st") == ["staging"]
    assert offered("restore", run[:8]) == [run]
    assert offered("runs", "") == [run]
    assert "--older-than" in offered("cleanup", "production", "--o")


# -- Supabase Auth ------------------------------------------------------------------------------------------------


class Gateway:
    """Stands before the stand-in: counts what is deleted, and can answer 504, with or without having done it."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.failing = 0
        self.done_anyway = False
        self.deleted: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "DELETE":
            self.deleted.append(scope["path"].rpartition("/")[2])
            if self.failing:
                self.failing -= 1
                if self.done_anyway:
                    await self.app(scope, receive, self._nowhere)
                headers = [(b"content-type", b"application/json"), (b"x-sb-error-code", b"request_timeout")]
                await send({"type": "http.response.start", "status": 504, "headers": headers})
                await send({"type": "http.response.body", "body": b'{"code":"request_timeout","message":"timed out"}'})
                return
        await self.app(scope, receive, send)

    @staticmethod
    async def _nowhere(_: Any) -> None:
        return


class Auth:
    """A Supabase Auth of a test's own."""

    def __init__(self, url: str, gateway: Gateway) -> None:
        self.url = url
        self.gateway = gateway

    def people(self) -> dict[str, bool]:
        """id → whether softly deleted."""
        return {str(key): gone for key, gone in fetch(self.url, "SELECT id, deleted_at IS NOT NULL FROM auth.users")}


@pytest.fixture
def auth(sandbox: Sandbox, world: World) -> Iterator[Auth]:
    """A copy of the sandbox's auth project; the other environments are the sandbox's own, which are only read."""
    name = f"auth_{uuid.uuid4().hex[:12]}"
    url = sandbox.state.postgres_url(name)
    with psycopg.connect(sandbox.state.postgres_url("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                seed.create_auth_schema(connection)
                seed.seed_auth(connection, sandbox.state.users)
            key = sandbox.state.service_key
            gateway = Gateway(create_app(Settings(dsn=url, jwt_secret=sandbox.state.jwt_secret, api_keys=(key,))))
            with served(gateway) as address:
                more = f'\n[supabase]\nurl = "{address}"\nservice_key = "{key}"\n'
                others = {name: sandbox.url(name) for name in ("local", "dev", "staging")}
                world.registry(lambda text: text + more, **others)
                yield Auth(url, gateway)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An ASGI application on a port of its own."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def nobodys(world: World, sandbox: Sandbox, auth: Auth) -> tuple[set[str], set[str]]:
    """(ids of auth records that nobody will need, ids of those that another environment has), of who is to go."""
    there: set[str] = set()
    for name in ("local", "dev", "staging"):
        for key, address in fetch(sandbox.url(name), "SELECT id::text, lower(email) FROM users"):
            there |= {key, address}
    with psycopg.connect(world.url) as connection:
        rows = connection.execute(
            "SELECT id::text, lower(email) FROM users WHERE email = ANY(%s)", [list(tagged(world.url) - {HOST})]
        ).fetchall()
    by_address = {
        str(address).lower(): str(key) for key, address in fetch(auth.url, "SELECT id, email FROM auth.users")
    }
    records = {by_address[address]: {key, address} for key, address in rows if address in by_address}
    free = {record for record, names in records.items() if not names & there}
    return free, set(records) - free


def test_auth_records_are_left_alone(world: World, auth: Auth) -> None:
    before = auth.people()
    world.purge()
    assert auth.people() == before
    assert auth.gateway.deleted == []


@pytest.mark.first(1)
@pytest.mark.parametrize("hard", [False, True])
def test_auth_records_that_nobody_needs(world: World, sandbox: Sandbox, auth: Auth, hard: bool) -> None:
    before = auth.people()
    free, needed = nobodys(world, sandbox, auth)
    assert needed
    extra = only_here(world, auth)
    free.add(extra)
    done = world.cleanup(*KEEP, "--supabase", *(["--hard"] if hard else []))
    assert done.code == 0, done.err[-600:]
    now = auth.people()
    gone = {key for key in free if (key not in now if hard else now.get(key))}
    assert gone == free
    assert {key: state for key, state in now.items() if key not in free} == {
        key: state for key, state in before.items() if key not in free
    }
    assert set(auth.gateway.deleted) == free
    assert f"Supabase Auth: {len(free)} deleted" in done.err
    assert "a profile in " in done.err
    trail = [json.loads(line) for line in (world.state / "trail.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["environment"] for line in trail} == {"production", "supabase"}
    restored = world("restore", world.runs()[0], *CONFIRM)
    assert restored.code == 0
    assert "cannot come back: Supabase Auth: " in restored.out
    again = world.cleanup(*KEEP, "--supabase")
    assert again.code == 0, again.err[-600:]
    assert "0 deleted" in again.err


def only_here(world: World, auth: Auth) -> str:
    """A test user whom only production has, with an auth record; gives the id."""
    key = str(uuid.uuid4())
    world.sql(f"INSERT INTO users (id, email) VALUES ('{key}', 'only.here+dev@example.com')")
    with psycopg.connect(auth.url) as connection:
        stored = connection.execute(
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attrelid = 'auth.users'::regclass"
            " AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"
        ).fetchone()
        columns = str((stored or [""])[0])
        sql = (
            f"INSERT INTO auth.users ({columns}) SELECT {columns} FROM (SELECT (jsonb_populate_record(u,"
            " jsonb_build_object('id', %s::text, 'email', 'only.here+dev@example.com'))).* FROM auth.users AS u"
            " WHERE email IS NOT NULL AND deleted_at IS NULL AND NOT is_sso_user LIMIT 1) AS made"
        )
        connection.execute(sql.encode(), [key])
    return key


def test_a_timeout_that_worked_is_no_failure(world: World, auth: Auth) -> None:
    key = only_here(world, auth)
    auth.gateway.failing, auth.gateway.done_anyway = 1, True
    done = world.cleanup(*KEEP, "--supabase")
    assert done.code == 0, done.err[-600:]
    assert auth.people()[key]


def test_timeouts_and_the_same_command_again(world: World, auth: Auth) -> None:
    """What the hint says is true: the same command finishes it."""
    key = only_here(world, auth)
    auth.gateway.failing = 1_000
    done = world.cleanup(*KEEP, "--supabase")
    assert done.code == 1, done.err[-600:]
    assert "some auth records could not be deleted: " in done.err
    assert "hint: run the same command again to finish" in done.err
    assert not auth.people()[key]
    auth.gateway.failing = 0
    done = world.cleanup(*KEEP, "--supabase")
    assert done.code == 0, done.err[-600:]
    assert auth.people()[key], done.err[-600:]


def test_the_auth_service_is_down(world: World, auth: Auth) -> None:
    """The users are purged, the records are not, and the same command finishes it."""
    key = only_here(world, auth)
    up = world.file.read_text(encoding="utf-8")
    world.file.write_text(re.sub(r'url = "http://127\.0\.0\.1:\d+"', 'url = "http://127.0.0.1:1"', up))
    done = world.cleanup(*KEEP, "--supabase")
    assert done.code in (1, 3), done.err[-600:]
    assert "\nhint: " in done.err
    world.file.write_text(up)
    done = world.cleanup(*KEEP, "--supabase")
    assert done.code == 0, done.err[-600:]
    assert auth.people()[key], done.err[-600:]


def test_an_auth_record_of_a_real_person_stays(world: World, auth: Auth) -> None:
    """The rule must hold for the record itself, not only for the profile."""
    key = only_here(world, auth)
    with psycopg.connect(auth.url) as connection:
        connection.execute("UPDATE auth.users SET email = 'only.here@example.com' WHERE id = %s", [key])
    done = world.cleanup(*KEEP, "--supabase")
    assert done.code == 0, done.err[-600:]
    assert not auth.people()[key]
    assert key not in auth.gateway.deleted


def test_an_environment_that_cannot_be_asked_keeps_all(world: World, auth: Auth) -> None:
    """Who does not answer may have them: nothing is deleted in the project."""
    key = only_here(world, auth)
    text = world.file.read_text(encoding="utf-8")
    world.file.write_text(re.sub(r"/llm_platform_staging", "/no_such_database", text))
    done = world.cleanup(*KEEP, "--supabase")
    assert done.code != 0, done.err[-600:]
    assert auth.gateway.deleted == []
    assert not auth.people()[key]
