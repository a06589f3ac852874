"""`cleanup`, `runs` and `restore` of an environment with shards, as typed: one plan, one name to type, one archive."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pexpect
import psycopg
import pytest
import redis

from gaiaops.sandbox import seed
from gaiaops.sandbox.authserver.app import create_app
from gaiaops.sandbox.authserver.settings import Settings
from tests.cli.cleanup_world import HOST, KEEP, PLATFORM, clone, tagged
from tests.cli.test_cleanup import Gateway, expected_after, served, snapshot
from tests.conftest import GAIAOPS, Command, Run, Sandbox, clean_variables
from tests.integration import cleanup_shards_kit as model
from tests.integration import shard_kit
from tests.integration.cleanup_kit import database, fetch, ids, run
from tests.integration.cleanup_shards_kit import ShardKit
from tests.waiting import until

CONFIRM = ("--confirm", "production", "--max-users", "9")
KEYS = {name: f"{name * 8}-0000-4000-8000-000000000000" for name in "abcdef"}
# a, b of eu; c of us; d of both; e, f are people, whose rows stay.
EU = "".join(f"INSERT INTO users VALUES ('{KEYS[n]}', '{n}+dev@x.io', '{n}', '2020-01-01');" for n in "abd")
EU += f"""
INSERT INTO users VALUES ('{KEYS["e"]}', 'e@x.io', 'e', '2020-01-01');
INSERT INTO talks VALUES (1, '{KEYS["a"]}'), (2, '{KEYS["e"]}');
INSERT INTO messages VALUES (1, 1, '{KEYS["a"]}', 'x'), (2, 2, '{KEYS["c"]}', 'of us'), (3, 2, '{KEYS["e"]}', 'x');
"""
US = "".join(f"INSERT INTO users VALUES ('{KEYS[n]}', '{n}+dev@x.io', '{n}', '2020-01-01');" for n in "cd")
US += f"""
INSERT INTO users VALUES ('{KEYS["f"]}', 'f@x.io', 'f', '2020-01-01');
INSERT INTO prefs VALUES ('{KEYS["a"]}', 'of one of eu'), ('{KEYS["c"]}', 'x'), ('{KEYS["f"]}', 'x');
INSERT INTO documents VALUES (1, '{KEYS["b"]}', NULL, 'stays');
INSERT INTO walls VALUES (1, 'users/b+dev@x.io'); INSERT INTO likes VALUES (1, 1, 'x');
"""


class World:
    """An environment with the shards eu and us, and the command line on it."""

    def __init__(self, kit: ShardKit, gaiaops: Command) -> None:
        self.kit = kit
        self.folder = kit.folder
        self._gaiaops = gaiaops

    def __call__(self, *arguments: str) -> Run:
        return self._gaiaops(*arguments, registry=self.kit.file)

    def cleanup(self, *arguments: str) -> Run:
        return self("cleanup", "production", *CONFIRM, *arguments)

    def sql(self, shard: str, script: str) -> None:
        run(self.kit.urls[shard], script)

    def tests(self) -> set[str]:
        """The test users who are there, of all shards."""
        found = (fetch(url, "SELECT email FROM users WHERE email LIKE '%+dev@%'") for url in self.kit.urls.values())
        return {str(row[0]) for rows in found for row in rows}

    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self("runs", "--json").out)["runs"]
        return found


@pytest.fixture(scope="module")
def databases(postgres_url: str) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(database(postgres_url, model.SCHEMA)) for name in ("eu", "us")}


@pytest.fixture
def world(databases: dict[str, str], tmp_path: Path, gaiaops: Command) -> World:
    for name, script in (("eu", EU), ("us", US)):
        run(databases[name], f"TRUNCATE {', '.join(model.TABLES)}; {script}")
    return World(ShardKit(tmp_path, databases, "protected = true"), gaiaops)


def refused(done: Run, line: str, hint: str = "", code: int = 5, where: str = "production") -> None:
    """The exit code, the one line, the hint under it."""
    errors = [text for text in done.err.splitlines() if text.startswith("gaiaops: error: ")]
    assert (done.code, len(errors)) == (code, 1), done.err
    assert errors[0].startswith(f"gaiaops: error: [{where}] {line}"), done.err
    assert f"\nhint: {hint}" in re.sub(r"gaiaops --registry \S+", "gaiaops", done.err)


def test_a_clean_up_and_its_restore(world: World) -> None:
    before = world.kit.checksums()
    done = world.cleanup()
    assert done.code == 0, done.err
    assert "[production] purged 4 users: 12 rows deleted, 1 changed (" in done.err
    assert world.tests() == set()
    assert ids(world.kit.urls["eu"], "messages") == {3}
    assert fetch(world.kit.urls["us"], "SELECT user_id FROM prefs") == [(KEYS["f"],)]
    assert ids(world.kit.urls["us"], "likes") == ids(world.kit.urls["us"], "walls") == set()
    assert fetch(world.kit.urls["us"], "SELECT created_by FROM documents") == [(None,)]
    (made,) = world.runs()
    assert (made["environment"], made["users"], made["planned"], made["rows"], made["set"]) == (
        "production",
        4,
        4,
        12,
        1,
    )
    assert [(one["shard"], one["users"], one["rows"]) for one in made["shards"]] == [
        ("production/eu", 3, 6), ("production/us", 2, 6),
    ]  # fmt: skip
    assert made["state"] == "done"
    shown = world("runs", made["id"][:12])
    assert re.search(r"production/us \| +2/2 \| +6 \| +1 \| done", shown.out), shown.out
    assert world("runs").out.splitlines()[-1].split("|")[2:] == ["   4/4 ", "   12 ", " done"]
    compared = world("restore", made["id"], "--dry-run")
    assert compared.code == 0, compared.err
    assert "12 rows would come back, 1 would be set back" in compared.err
    one = world("restore", made["id"], "--user", "d+dev@x.io", "--confirm", "production")
    assert one.code == 0, one.err
    assert world.tests() == {"d+dev@x.io"}
    assert all(KEYS["d"] in map(str, ids(url, "users")) for url in world.kit.urls.values())
    assert world("restore", made["id"], "--user", "e@x.io", "--confirm", "production").code == 2
    restored = world("restore", made["id"], "--confirm", "production")
    assert restored.code == 0, restored.err
    assert world.kit.checksums() == before
    assert world.runs()[0]["state"] == "restored"
    trail = [json.loads(line) for line in (world.folder / "state/gaiaops/trail.jsonl").read_text().splitlines()]
    assert {line["environment"] for line in trail} == {"production"}
    assert [line["command"] for line in trail if line["outcome"] == "committed"] == ["cleanup", "restore", "restore"]
    assert trail[1]["server"].count(", ") == 1


def test_the_platform_in_two_shards(sandbox: Sandbox, tmp_path: Path, gaiaops: Command) -> None:
    """Everybody in both, with everything: each shard is left as the same clean-up leaves one database."""
    with ExitStack() as stack:
        urls = {name: stack.enter_context(clone(sandbox)) for name in ("eu", "us")}
        going = {name: tagged(url) - {HOST} for name, url in urls.items()}
        wanted = {name: expected_after(url, going[name]) for name, url in urls.items()}
        kit = ShardKit(tmp_path, urls)
        table = shard_kit.table("production", urls, 'tag = "production"', "protected = true")
        kit.file = shard_kit.registry(tmp_path, table, model.OTHERS, '[environments.local]\ntag = "local"',
                                      'postgres = "postgresql://nobody@127.0.0.1:1/local"', PLATFORM)  # fmt: skip
        world, before = World(kit, gaiaops), kit.checksums()
        done = world("cleanup", "production", "--confirm", "production", *KEEP)
        assert done.code == 0, done.err[-600:]
        assert {name: snapshot(url) for name, url in urls.items()} == wanted
        assert "[production] purged 27 users: 574 rows deleted, 12 changed" in done.err
        (made,) = world.runs()
        assert world("restore", made["id"], "--confirm", "production").code == 0
        assert kit.checksums() == before


# -- Redis ------------------------------------------------------------------------------------------

USER_KEYS = '[cache]\nuser_keys = ["user:session:{users.id}", "talk:{talks.id}", "message:{messages.id}"]\n'


@pytest.fixture
def cache(sandbox: Sandbox, world: World) -> Iterator[redis.Redis]:
    """A database of its own in the sandbox's Redis: everybody's session, and entries of rows."""
    url = sandbox.state.redis_url("production").removesuffix("/0") + "/9"
    world.kit.write("protected = true", f'redis = "{url}"', references=model.REFERENCES + USER_KEYS)
    with redis.Redis.from_url(url, decode_responses=True) as client:
        client.flushdb()
        client.mset({f"user:session:{key}": "s" for key in KEYS.values()})
        client.mset({f"talk:{n}": "t" for n in (1, 2)} | {f"message:{n}": "m" for n in (1, 2, 3)})
        yield client
        client.flushdb()


def test_redis_entries_of_people_gone_from_all_shards(world: World, cache: redis.Redis) -> None:
    """Who is still in one of them is logged in; what was taken out because it named them goes too."""
    plan = json.loads(world("cleanup", "production", "--dry-run", "--json", "--max-users", "9").out)["plan"]
    assert sum(sum(one["cache_keys"].values()) for one in plan["shards"]) == 5 + 1 + 2
    with psycopg.connect(world.kit.urls["us"]) as holder:
        holder.execute("SELECT FROM users WHERE email = 'd+dev@x.io' FOR UPDATE")
        done = world.cleanup()
    assert done.code == 1, done.err
    assert "skipped: d+dev@x.io: locked by another session (production/us)" in done.err
    assert cache.exists(f"user:session:{KEYS['d']}")
    assert world.runs()[0]["state"] == "unfinished"
    done = world.cleanup()
    assert done.code == 0, done.err
    assert set(cache.keys()) == {f"user:session:{KEYS[n]}" for n in "ef"} | {"talk:2", "message:3"}
    assert world.runs()[0]["state"] == "done"


def test_redis_is_down(world: World, cache: redis.Redis) -> None:
    up = world.kit.file.read_text()
    world.kit.file.write_text(re.sub(r'redis = ".*"', 'redis = "redis://127.0.0.1:1/0"', up))
    done = world.cleanup()
    assert done.code == 1, done.err
    assert "Redis entries of 5 purged users are still there: Redis: connection refused" in done.err
    assert world.tests() == set()
    assert (world.runs()[0]["state"], world.runs()[0]["cache_outstanding"]) == ("unfinished", 5)
    world.kit.file.write_text(up)
    done = world.cleanup()
    assert done.code == 0, done.err
    assert set(cache.keys()) == {f"user:session:{KEYS[n]}" for n in "ef"} | {"talk:2", "message:3"}
    assert world.runs()[0]["state"] == "done"


def test_auth_records_of_people_gone_from_all_shards(world: World, sandbox: Sandbox, postgres_url: str) -> None:
    """Once for a person of two shards."""
    with database(postgres_url) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            seed.create_auth_schema(connection)
            tokens = ("confirmation_token", "recovery_token", "email_change_token_new", "email_change")
            connection.execute(
                "INSERT INTO auth.users (id, email, instance_id, aud, role, raw_app_meta_data, raw_user_meta_data,"
                f" created_at, updated_at, {', '.join(tokens)}) SELECT k::uuid, left(k, 1) || '+dev@x.io',"
                " '00000000-0000-0000-0000-000000000000', 'authenticated', 'authenticated', '{}', '{}', now(), now(),"
                " '', '', '', '' FROM unnest(%s::text[]) AS k", [[KEYS["a"], KEYS["d"]]]
            )  # fmt: skip
        key = sandbox.state.service_key
        gateway = Gateway(create_app(Settings(dsn=url, jwt_secret=sandbox.state.jwt_secret, api_keys=(key,))))
        with served(gateway) as address:
            more = f'[supabase]\nurl = "{address}"\nservice_key = "{key}"\n'
            world.kit.write("protected = true", references=model.REFERENCES + more)
            text = world.kit.file.read_text()
            for name in ("dev", "staging"):
                text = text.replace(f"postgresql://nobody@127.0.0.1:1/nowhere_{name}", sandbox.url(name))
            world.kit.file.write_text(text)
            done = world.cleanup("--supabase")
            assert done.code == 0, done.err
            assert sorted(gateway.deleted) == [KEYS["a"], KEYS["d"]]
            assert "Supabase Auth: 2 deleted, 2 not there, 0 kept" in done.err
            assert world.runs()[0]["auth"] == {"soft-deleted": 2, "absent": 2}
            gateway.deleted.clear()
            assert world.cleanup("--supabase").code == 0
            assert gateway.deleted == []


# -- what is refused -----------------------------------------------------------------------------------------------


def test_one_shard_alone(world: World) -> None:
    for arguments in (("--dry-run",), CONFIRM, ("--confirm", "production/eu"), ("--plan", "x.plan")):
        done = world("cleanup", "production/eu", *arguments)
        refused(
            done, "cleanup takes whole environments: production has 2 shards", "gaiaops cleanup production",
            where="production/eu",
        )  # fmt: skip


def test_the_name_is_the_environments(world: World) -> None:
    for name in ("production/eu", "eu", "staging"):
        refused(world("cleanup", "production", "--max-users", "9", "--confirm", name), f'--confirm says "{name}"')


def test_the_name_and_the_number_of_people_are_typed(world: World) -> None:
    child = pexpect.spawn(
        GAIAOPS[0], [*GAIAOPS[1:], "--registry", str(world.kit.file), "cleanup", "production", "--max-users", "9"],
        cwd=str(world.folder), env=clean_variables(world.folder), encoding="utf-8", timeout=30,
    )  # fmt: skip
    child.expect("4 users and 8 rows that hang on them go from production.")
    child.expect("environment's name to go on: ")
    child.sendline("production")
    child.expect("number of users to go on: ")
    child.sendline("5")  # the rows of users in both shards
    child.expect("not confirmed; nothing was changed")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 5
    assert len(world.tests()) == 4


DOWN = "postgresql://nobody@127.0.0.1:1/nowhere_at_all"


def nowhere(world: World) -> None:
    world.kit.urls["us"] = DOWN
    world.kit.write("protected = true")


def pinned(world: World) -> None:
    text = world.kit.file.read_text().replace('name = "us", ', 'name = "us", pin = { database = "another" }, ')
    world.kit.file.write_text(text)


def without_users(world: World) -> None:
    world.sql("us", "ALTER TABLE users RENAME TO people")


STOPS: dict[str, tuple[Callable[[World], None], str, int, str]] = {
    "not reachable": (nowhere, "cannot connect", 3, "production/us"),
    "another one": (pinned, "wrong database behind the name: database is", 5, "production/us"),
    "a schema that is none": (without_users, "there is no table users", 5, "production/us"),
}


@pytest.mark.parametrize("name", STOPS)
def test_one_shard_that_cannot_stops_all(world: World, databases: dict[str, str], name: str) -> None:
    """Before anything is asked; and where it was so only after the plan, before anything is changed."""
    spoil, line, code, where = STOPS[name]
    plan = world.folder / "test.plan"
    assert world("cleanup", "production", "--save-plan", str(plan), "--max-users", "9").code == 0
    before = model.left(databases["eu"])
    spoil(world)
    try:
        for arguments in (CONFIRM, ("--plan", str(plan), "--confirm", "production")):
            done = world("cleanup", "production", *arguments)
            assert (done.code, f"[{where}] " in done.err) == (code, True), done.err
            if code == 5:
                refused(done, line, where=where)
    finally:
        run(databases["us"], "ALTER TABLE IF EXISTS people RENAME TO users")
    assert model.left(databases["eu"]) == before
    assert [one["state"] for one in world.runs()] == (["unfinished"] if code == 3 else [])


def test_a_refusal_of_one_shard_is_the_wholes(world: World) -> None:
    world.sql("us", "CREATE RULE quiet AS ON DELETE TO prefs DO INSTEAD NOTHING")
    try:
        before = world.kit.checksums()
        refused(world.cleanup(), "production/us: prefs has rewrite rules", "the plan says what would go")
        assert world.kit.checksums() == before
    finally:
        world.sql("us", "DROP RULE quiet ON prefs")


def test_a_schema_that_changed_in_one_shard(world: World) -> None:
    """The line names the shard, the command that makes a new plan the environment."""
    plan = world.folder / "test.plan"
    assert world("cleanup", "production", "--save-plan", str(plan), "--max-users", "9").code == 0
    world.sql("us", "ALTER TABLE prefs ADD more text")
    try:
        before = world.kit.checksums()
        done = world("cleanup", "production", "--plan", str(plan), "--confirm", "production")
        hint = "make a new plan: gaiaops cleanup production\n"
        refused(done, "the schema is not that of the plan", hint, where="production/us")
        assert world.kit.checksums() == before
        assert world.runs() == []
    finally:
        world.sql("us", "ALTER TABLE prefs DROP more")


def test_another_clean_up_holds_one_shard(world: World) -> None:
    before = world.kit.checksums()
    with psycopg.connect(world.kit.urls["us"]) as holder:
        holder.execute("SELECT pg_advisory_lock(1734437217, 1)")
        refused(world.cleanup(), "another clean-up or restore of this database is running", where="production/us")
    assert world.kit.checksums() == before
    assert world.runs() == []


# -- saved plans ---------------------------------------------------------------------------------------------------


def edited(text: str) -> dict[str, str]:
    """Ways to tamper with a plan's file, by name."""
    lines = text.splitlines(keepends=True)
    return {
        "a byte": text.replace("a+dev@x.io", "e+dev@x.io"),
        "a user less": "".join(line for line in lines if '"a+dev@x.io"' not in line),
        "a name more": "".join([*lines[:-1], f'{{"part":0,"harmless":"{KEYS["e"]}"}}\n', lines[-1]]),
        "no end": "".join(lines[:-1]),
        "another's end": "".join([*lines, lines[-1]]),
    }


def signed(lines: list[str]) -> str:
    """With the hash computed anew."""
    import hashlib

    body = "".join(lines)
    return body + json.dumps({"sha256": hashlib.sha256(body.encode()).hexdigest()}, separators=(",", ":")) + "\n"


def test_a_saved_plan(world: World) -> None:
    plan = world.folder / "test.plan"
    saved = world("cleanup", "production", "--save-plan", str(plan), "--max-users", "9")
    assert "plan of 4 users saved" in saved.err
    assert plan.stat().st_mode & 0o777 == 0o600
    text, before = plan.read_text(), world.kit.checksums()
    apply = ("cleanup", "production", "--plan", str(plan), "--confirm", "production")
    for content in edited(text).values():
        plan.write_text(content)
        done = world(*apply)
        assert done.code == 5, done.err
        assert "was changed after it was made" in done.err
    lines = text.splitlines(keepends=True)[:-1]
    for content in (
        signed([*lines[:-1], lines[-1].replace("a", "b")]),
        signed([line.replace('"address":"a+dev@x.io"', '"address":"e@x.io"') for line in lines]),
        signed([lines[0].replace('"users":4', '"users":3'), *lines[1:]]),
        signed([*lines, f'{{"part":0,"harmless":"{KEYS["e"]}"}}\n']),
    ):
        plan.write_text(content)
        assert world(*apply).code == 5
    assert world.kit.checksums() == before
    plan.write_text(text)
    assert world("cleanup", "staging", "--plan", str(plan), "--confirm", "staging").code == 5
    done = world(*apply)
    assert done.code == 0, done.err
    assert world.tests() == set()
    used = world(*apply)
    assert (used.code, "this plan was used" in used.err) == (5, True), used.err


@pytest.mark.first(0)
def test_shards_that_came_and_went(world: World, postgres_url: str) -> None:
    """A plan and a run are about all shards of the registry: no more, no fewer."""
    plan = world.folder / "test.plan"
    assert world("cleanup", "production", "--save-plan", str(plan), "--max-users", "9").code == 0
    apply = ("cleanup", "production", "--plan", str(plan), "--confirm", "production")
    urls = dict(world.kit.urls)
    before = world.kit.checksums()
    with database(postgres_url, model.SCHEMA) as more:
        world.kit.urls["ap"] = more
        world.kit.write()
        refused(world(*apply), "the plan is about production/eu, production/us; environments.toml has production/eu")
        world.kit.urls = {"eu": urls["eu"]}
        world.kit.write()
        refused(world(*apply), "the plan is about production/eu, production/us; environments.toml has production/eu")
        world.kit.urls = urls
        world.kit.write()
        assert world.kit.checksums() == before
        assert world(*apply).code == 0
        made = world.runs()[0]["id"]
        after = world.kit.checksums()
        put_back = ("restore", made, "--confirm", "production")
        world.kit.urls = {"eu": urls["eu"]}
        world.kit.write()
        refused(world(*put_back), "the plan is about production/eu, production/us; environments.toml has production/eu")
        world.kit.urls = {"eu": urls["eu"], "us": more}
        world.kit.write()
        refused(world(*put_back), "wrong database behind the name: expected", where="production/us")
    world.kit.urls = {"eu": urls["eu"], "us": DOWN}
    world.kit.write()
    assert world(*put_back).code == 3
    world.kit.urls = urls
    world.kit.write()
    assert world.kit.checksums() == after
    assert world(*put_back).code == 0
    assert world.kit.checksums() == before


def test_a_run_that_did_nothing_stands_in_nobodys_way(world: World) -> None:
    """Of other shards than today's; one that has begun does, until the registry has its shards again."""
    plan, urls = world.folder / "test.plan", dict(world.kit.urls)
    assert world("cleanup", "production", "--save-plan", str(plan), "--max-users", "9").code == 0
    nowhere(world)
    assert world("cleanup", "production", "--plan", str(plan), "--confirm", "production").code == 3
    begun = world.runs()[0]["id"]
    world.kit.urls = {"eu": urls["eu"]}
    world.kit.write()
    done = world.cleanup()
    assert done.code == 0, done.err
    assert f"run {begun} is not gone on with: the plan is about production/eu, production/us; " in done.err
    assert [one["id"] == begun for one in world.runs()] == [False]
    world.kit.urls = urls
    world.kit.write()
    world.sql("us", FAIL)
    world.sql("eu", f"INSERT INTO users VALUES ('{KEYS['a']}', 'a+dev@x.io', 'again', '2020-01-01')")
    try:
        assert world.cleanup().code == 1
    finally:
        world.sql("us", "DROP FUNCTION fail CASCADE")
    world.kit.urls = {"eu": urls["eu"]}
    world.kit.write()
    refused(world.cleanup(), "the plan is about production/eu, production/us; environments.toml has production/eu")


def test_an_archive_that_was_changed_in_one_part(world: World) -> None:
    assert world.cleanup().code == 0
    (made,) = world.runs()
    segment = next(Path(made["archive"]).glob("shards/1-eu/segments/*"))
    whole = segment.read_bytes()
    segment.write_bytes(whole.replace(b"@x.io", b"@y.io"))
    after = world.kit.checksums()
    refused(world("restore", made["id"], "--confirm", "production"), "the archive was changed", where="production/eu")
    assert world.kit.checksums() == after


# -- failures in the middle ------------------------------------------------------------------------------------------


FAIL = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room'; END $$;
CREATE TRIGGER fail BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION fail();
"""


def test_a_shard_that_fails_after_another_is_done(world: World) -> None:
    """Its name, its exit code; `runs` shows how far it is; the same command goes on with the same run."""
    before = world.kit.checksums()
    world.sql("us", FAIL)
    try:
        done = world.cleanup()
        assert done.code == 1, done.err
        assert "gaiaops: error: [production/us] no room" in done.err
        assert "hint: what was committed is archived; gaiaops runs " in done.err
        assert world.tests() == {"c+dev@x.io", "d+dev@x.io"}
        (made,) = world.runs()
        assert (made["state"], made["users"]) == ("unfinished", 3)
        assert [one["state"] for one in made["shards"]] == ["done", "unfinished"]
        assert fetch(world.kit.urls["us"], "SELECT count(*) FROM prefs") == [(3,)]
    finally:
        world.sql("us", "DROP FUNCTION fail CASCADE")
    # its trigger was part of the schema that the plan was made for
    again = world.cleanup()
    assert again.code == 0, again.err
    assert "is not gone on with: production/us: the schema was changed since" in again.err
    assert world.tests() == set()
    assert fetch(world.kit.urls["us"], "SELECT user_id FROM prefs") == [(KEYS["f"],)]
    for made in world.runs():
        assert world("restore", made["id"], "--confirm", "production").code == 0
    assert world.kit.checksums() == before


def test_killed_between_two_shards(world: World) -> None:
    """After the first shard, before the second: nothing is lost, the same run is gone on with."""
    before = world.kit.checksums()
    world.sql("us", """
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'gaiaops%' AND pid = pg_backend_pid())
                AND current_setting('gaiaops.quick', true) IS NULL
            THEN PERFORM pg_sleep(CASE WHEN (SELECT count(*) FROM likes) = 1 THEN 30 ELSE 0 END); END IF;
            RETURN OLD;
        END $$;
        CREATE TRIGGER dawdle BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION dawdle();
    """)  # fmt: skip
    with subprocess.Popen(
        [*GAIAOPS, "--registry", str(world.kit.file), "cleanup", "production", *CONFIRM],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd=world.folder, env=clean_variables(world.folder),
    ) as child:  # fmt: skip
        sleeping = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        assert until(lambda: fetch(world.kit.urls["us"], sleeping) != [])
        child.kill()
    fetch(world.kit.urls["us"], "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
          " AND datname = current_database()")  # fmt: skip
    assert world.tests() == {"c+dev@x.io", "d+dev@x.io"}
    world.sql("us", "INSERT INTO likes VALUES (2, 1, 'so that it is quick')")
    (made,) = world.runs()
    one = world("restore", made["id"], "--user", "a+dev@x.io", "--confirm", "production")
    refused(one, f"run {made['id']} is unfinished: one person alone", "restore all of it, or finish it first")
    text = world.kit.file.read_text(encoding="utf-8")
    eu, us = (f'"{world.kit.urls[name]}"' for name in ("eu", "us"))
    assert eu in text and us in text
    world.kit.file.write_text(text.replace(eu, "…").replace(us, eu).replace("…", us), encoding="utf-8")
    line = f"behind this name is another server than when run {made['id']} began"
    refused(world.cleanup(), line, "compare gaiaops envs production/eu, then repeat", where="production/eu")
    world.kit.file.write_text(text, encoding="utf-8")
    assert [(one["id"], one["state"]) for one in world.runs()] == [(made["id"], "unfinished")]
    done = world.cleanup()
    assert done.code == 0, done.err
    assert f"run {made['id']} was not finished (2 of 4 users are gone): going on with it" in done.err
    assert world.tests() == set()
    assert [(one["id"], one["state"], one["users"]) for one in world.runs()] == [(made["id"], "done", 4)]
    assert world("restore", made["id"], "--confirm", "production").code == 0
    world.sql("us", "DROP FUNCTION dawdle CASCADE; DELETE FROM likes WHERE id = 2")
    assert world.kit.checksums() == before


def test_old_runs_go_whole(world: World) -> None:
    assert world.cleanup().code == 0
    (made,) = world.runs()
    folder = Path(made["archive"])
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (0, 0))
    assert oct(folder.stat().st_mode & 0o077) == "0o0"
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*"))
    done = world("runs", "--expire", "1d")
    assert f"removed {made['id']}" in done.err
    assert not folder.exists()


def test_a_run_of_when_it_was_one_database(world: World) -> None:
    """It is not put back into one of the shards."""
    urls = dict(world.kit.urls)
    sharded = world.kit.file.read_text()
    one = re.sub(r"shards = .*", f'postgres = "{urls["eu"]}"', sharded)
    world.kit.file.write_text(one)
    assert world.cleanup().code == 0
    (made,) = world.runs()
    assert "shards" not in made
    world.kit.file.write_text(sharded)
    after = world.kit.checksums()
    refused(
        world("restore", made["id"], "--confirm", "production"), f"run {made['id']} is of production when it was one"
    )
    assert world.kit.checksums() == after
    shutil.rmtree(made["archive"])
