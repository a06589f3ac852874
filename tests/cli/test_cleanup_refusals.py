"""Ways to make a clean-up hurt: each is refused, says why and what to do, and leaves every row as it was."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import psycopg
import pytest

from tests.cli.cleanup_world import (
    CONFIRM,
    ELSEWHERE,
    GUEST,
    HOST,
    KEEP,
    THEO,
    THEO_ID,
    Sheet,
    World,
    checksums,
    clone,
    fetch,
    number,
    renew,
    tagged,
    users,
)
from tests.conftest import GAIAOPS, Command, Run, Sandbox, clean_variables

pytestmark = pytest.mark.first(1)

_LOCK = "SELECT pg_advisory_lock(1734437217, 1)"


@pytest.fixture
def world(sandbox: Sandbox, tmp_path: Path, gaiaops: Command) -> Iterator[World]:
    """A clone of production under its name."""
    with clone(sandbox) as url:
        yield World(url, tmp_path, gaiaops)


@pytest.fixture(scope="module")
def planned(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A database that no test here changes, and a plan for it."""
    folder = tmp_path_factory.mktemp("planned")

    def command(*arguments: str, registry: Path) -> Run:
        done = subprocess.run(
            [*GAIAOPS, "--registry", str(registry), *arguments],
            check=False, capture_output=True, text=True, cwd=folder, env=clean_variables(folder), timeout=60,
        )  # fmt: skip
        return Run(done.returncode, done.stdout, done.stderr)

    with clone(sandbox) as url:
        yield url, World(url, folder, command).save()


@pytest.fixture
def sheet(planned: tuple[str, Path]) -> Sheet:
    """The plan, to be tampered with."""
    return Sheet(planned[1])


@pytest.fixture
def still(planned: tuple[str, Path], sandbox: Sandbox, tmp_path: Path, gaiaops: Command) -> Iterator[World]:
    """The world that no test changes; held to it at the end, and made anew for the next one where it was."""
    world = World(planned[0], tmp_path, gaiaops)
    before = checksums(world.url)
    yield world
    after = checksums(world.url)
    if after != before:
        renew(sandbox, world.url)
    assert after == before


@contextmanager
def unchanged(world: World) -> Iterator[None]:
    before = checksums(world.url)
    yield
    assert checksums(world.url) == before


def tail(done: Run) -> str:
    """The end of what was said: the plan before it says little about a failure."""
    return f"exit {done.code}: …{done.err[-600:]}"


def copied(done: Run) -> str:
    """What was said, with commands as one types them without --registry."""
    return re.sub(r"gaiaops --registry \S+", "gaiaops", done.err)


def assert_refused(done: Run, line: str, hint: str = "", code: int = 5, env: str = "production") -> None:
    """The exit code, the one line, the hint under it."""
    assert done.code == code, tail(done)
    where = f"[{env}] " if env else ""
    errors = [text for text in done.err.splitlines() if text.startswith("gaiaops: error: ")]
    assert len(errors) == 1, tail(done)
    assert errors[0].startswith(f"gaiaops: error: {where}{line}"), errors[0]
    if hint:
        assert f"\nhint: {hint}" in copied(done), done.err
    assert done.out == ""


def assert_not_stuck(world: World) -> None:
    """What was refused does not stand in the way of the ordinary command."""
    wanted = users(world.url) - tagged(world.url) | {HOST}
    done = world.cleanup(*KEEP)
    assert done.code == 0, tail(done)
    assert users(world.url) == wanted


# -- a plan that was edited ----------------------------------------------------------------------

NEW_PLAN = "make a new plan: gaiaops cleanup"


def test_one_byte_anywhere(still: World, planned: tuple[str, Path]) -> None:
    """In the header, in a user, in the digest, at the very end."""
    data = planned[1].read_bytes()
    users_at = data.index(b"\n") + 1
    target = still.folder / "edited.plan"
    places = [data.index(b'"until"') + 12, users_at + 8, users_at + 40, len(data) - 20, data.index(b"+dev@") + 1]
    for place in places:
        target.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert_refused(still.apply(target), f"{target} was changed after it was made", NEW_PLAN, env="")
    for edited in (data + b"x", data + b"\n", data[: len(data) // 2], data[:users_at]):
        target.write_bytes(edited)
        assert still.apply(target).code == 5
    assert still.runs() == []


def test_a_byte_beside_the_digest(world: World) -> None:
    plan = world.save()
    with unchanged(world):
        plan.write_bytes(plan.read_bytes()[:-1] + b" \n")
        assert_refused(world.apply(plan), f"{plan} was changed after it was made", NEW_PLAN, env="")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("until", "2099-01-01T00:00:00Z"),
        ("environment", "staging"),
        ("max_users", 1_000_000),
        ("refusals", ["no"]),
        ("allow_collateral", True),
    ],
)
def test_a_header_that_was_edited(still: World, sheet: Sheet, name: str, value: object) -> None:
    sheet.head[name] = value
    target = sheet.write(still.folder / "edited.plan", signed=False)
    assert_refused(still.apply(target), f"{target} was changed after it was made", NEW_PLAN, env="")
    assert still.runs() == []


def test_a_user_removed_or_added(still: World, sheet: Sheet) -> None:
    line = f"{still.folder / 'edited.plan'} was changed after it was made"
    last = sheet.users.pop()
    assert_refused(still.apply(sheet.write(still.folder / "edited.plan", signed=False)), line, NEW_PLAN, env="")
    sheet.users += [last, {"n": last["n"] + 1, "id": THEO_ID, "address": "x+dev@example.com", "rule": "+dev"}]
    assert_refused(still.apply(sheet.write(still.folder / "edited.plan", signed=False)), line, NEW_PLAN, env="")


SIGNED = {
    "an own tag": ("tags", ["alice"], '"alice" is no environment\'s tag', "the registry's tags: local, dev, staging"),
    "no tags": ("tags", [], "the plan names no tag that may be taken", ""),
    "fewer tags": ("tags", ["dev"], "the plan takes ", NEW_PLAN),
    "another server": ("server", "1/llm_platform", "wrong database behind the name: expected 1/llm_platform", ""),
    "another schema": ("fingerprint", "0" * 64, "the schema is not that of the plan", NEW_PLAN),
    "a day ago": ("until", "2026-01-01T00:00:00Z", "the plan was good until 2026-01-01T00:00:00Z", NEW_PLAN),
    "fewer users allowed": ("max_users", 3, "the plan takes 27 users, more than --max-users allowed", ""),
    "a refusal": ("refusals", ["no"], "no", ""),
}


@pytest.mark.parametrize("case", SIGNED)
def test_a_header_that_was_edited_and_signed(still: World, sheet: Sheet, case: str) -> None:
    """The digest is no secret: whoever computes it anew gets no further than the rules do."""
    name, value, line, hint = SIGNED[case]
    sheet.head[name] = value
    done = still.apply(sheet.write(still.folder / "edited.plan", signed=True))
    # The plan itself may have been shown on stderr.
    assert_refused(done, line, hint)


def test_another_version_of_the_format(still: World, sheet: Sheet) -> None:
    sheet.head["format"] = 2
    target = sheet.write(still.folder / "edited.plan", signed=True)
    assert_refused(still.apply(target), f"{target} was made by another version of gaiaops", "make a new plan", env="")


def test_a_real_user_added_and_signed(still: World, sheet: Sheet) -> None:
    key = fetch(still.url, f"SELECT id FROM users WHERE email = '{GUEST}'")[0][0]
    sheet.users.append({"n": len(sheet.users) + 1, "id": str(key), "address": GUEST, "rule": "+dev"})
    done = still.apply(sheet.write(still.folder / "edited.plan", signed=True))
    assert_refused(done, f"the plan takes {GUEST}, whom the rule does not (other)", NEW_PLAN)


def test_an_ambiguous_user_added_and_signed(still: World, sheet: Sheet) -> None:
    address = "hugo.lind+staging+dev@example.com"
    key = fetch(still.url, f"SELECT id FROM users WHERE email = '{address}'")[0][0]
    sheet.users.append({"n": len(sheet.users) + 1, "id": str(key), "address": address, "rule": "+dev"})
    done = still.apply(sheet.write(still.folder / "edited.plan", signed=True))
    assert_refused(done, f"the plan takes {address}, whom the rule does not (ambiguous)", NEW_PLAN)


def test_a_real_user_under_a_test_address(world: World) -> None:
    """Signed, and with an address that the rule takes: under lock the address is another one."""
    sheet = Sheet(world.save())
    key = fetch(world.url, f"SELECT id FROM users WHERE email = '{GUEST}'")[0][0]
    sheet.users.append({"n": len(sheet.users) + 1, "id": str(key), "address": "x+dev@example.com", "rule": "+dev"})
    wanted = users(world.url) - tagged(world.url) | {HOST}
    done = world.apply(sheet.write(world.folder / "edited.plan", signed=True))
    assert done.code == 0, tail(done)
    assert "skipped: x+dev@example.com: the address changed" in done.err
    assert users(world.url) == wanted
    assert number(world.url, f"SELECT count(*) FROM conversations WHERE user_id = '{key}'") > 0


def test_refusals_taken_out(world: World) -> None:
    """A plan that was to be refused for collateral: those users are skipped, the others' rows stay."""
    target = world.folder / "bad.plan"
    done = world("cleanup", "production", "--save-plan", str(target))
    assert "would be refused: 2 rows of other people would go too" in done.err
    assert_refused(world.apply(target), "2 rows of other people would go too", "the plan says what would go")
    sheet = Sheet(target)
    sheet.head |= {"refusals": [], "collateral": []}
    theirs = (
        "SELECT m::text FROM chat_messages AS m WHERE user_id = (SELECT id FROM users WHERE email = '{}') ORDER BY 1"
    )
    before = fetch(world.url, theirs.format(GUEST))
    done = world.apply(sheet.write(target, signed=True))
    assert done.code == 0, tail(done)
    assert f"skipped: {HOST}: rows of somebody else in chat_messages" in done.err
    assert {HOST, GUEST} <= users(world.url)
    assert fetch(world.url, theirs.format(GUEST)) == before


def test_the_size_of_the_table_is_not_taken_from_the_plan(world: World) -> None:
    """The cap is of the users there are, not of those that a signed plan says there are."""
    world.sql("INSERT INTO users (email) SELECT i || '+dev@example.com' FROM generate_series(1, 60) AS i")
    sheet = Sheet(world.save())
    sheet.head |= {"users_in_all": 1_000_000, "refusals": []}
    with unchanged(world):
        assert_refused(world.apply(sheet.write(world.folder / "edited.plan", signed=True)), "")


def test_a_list_of_users_that_is_not_the_header_s(world: World) -> None:
    sheet = Sheet(world.save())
    sheet.users.pop()
    sheet.head["users"] -= 1
    with unchanged(world):
        done = world.apply(sheet.write(world.folder / "edited.plan", signed=True, listed=False))
        assert done.code == 5, tail(done)
    assert_not_stuck(world)


@pytest.mark.parametrize("name", ["../../evil", "..", "", "a\nb", ".hidden"])
def test_a_plan_cannot_choose_a_folder(still: World, sheet: Sheet, name: str) -> None:
    sheet.head["id"] = name
    done = still.apply(sheet.write(still.folder / "edited.plan", signed=True))
    assert done.code in (2, 5), tail(done)
    assert still.runs() == []
    assert not (still.folder / "data" / "evil").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"\x00\xff\xfe", b"5\n", b"[]\n", b'{"gaiaops_plan": 5}\n', b'{"gaiaops_plan": []}\n',
     b'{"gaiaops_plan": {"format": 1}}\n', b"[" * 100_000, b"SELECT 1;\n", b"\xef\xbb\xbf{}\n"],
)  # fmt: skip
def test_what_is_no_plan(still: World, content: bytes) -> None:
    target = still.folder / "no.plan"
    target.write_bytes(content)
    done = still.apply(target)
    assert done.code in (2, 5), tail(done)
    assert f"gaiaops: error: {target} " in done.err
    assert "\nhint: " in done.err


def test_a_folder_and_nothing(still: World) -> None:
    (still.folder / "folder").mkdir()
    assert_refused(still.apply(still.folder / "folder"), f"cannot read {still.folder / 'folder'}", code=2, env="")
    assert_refused(still.apply(still.folder / "none"), f"cannot read {still.folder / 'none'}", code=2, env="")


# -- a plan that does not fit any more ----------------------------------------------------------------------


def test_stale(world: World) -> None:
    """Refused, and the next ordinary clean-up is not held up by it."""
    sheet = Sheet(world.save())
    sheet.head["until"] = "2026-01-01T00:00:00Z"
    target = sheet.write(world.folder / "old.plan", signed=True)
    with unchanged(world):
        for _ in range(2):
            assert_refused(world.apply(target), "the plan was good until 2026-01-01T00:00:00Z", NEW_PLAN)
    assert_not_stuck(world)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE users ADD phone text",
        "ALTER TABLE chat_messages ADD secret text",
        "ALTER TABLE personas ADD owner_id uuid REFERENCES users (id)",
        "CREATE TABLE badges (id int PRIMARY KEY, user_id uuid REFERENCES users (id) ON DELETE CASCADE)",
        "CREATE TRIGGER t BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION kb_documents_touch()",
        "CREATE SCHEMA other; CREATE TABLE other.logins (user_id uuid REFERENCES users (id))",
    ],
    ids=["column", "column-below", "foreign-key", "table", "trigger", "schema"],
)
def test_the_schema_changed(world: World, change: str) -> None:
    plan = world.save()
    world.sql(change)
    with unchanged(world):
        assert_refused(world.apply(plan), "the schema is not that of the plan", NEW_PLAN)


def test_a_plan_of_another_environment(still: World, planned: tuple[str, Path]) -> None:
    done = still("cleanup", "staging", "--plan", str(planned[1]), "--confirm", "staging")
    assert_refused(done, "the plan is production's, not staging's", "gaiaops cleanup production --plan", env="staging")


def test_a_plan_used_twice(world: World) -> None:
    plan = world.save()
    assert world.apply(plan).code == 0
    with unchanged(world):
        assert_refused(world.apply(plan), "this plan was used: a plan is good for one run", "gaiaops runs ", env="")


def test_a_plan_used_restored_and_used_again(world: World) -> None:
    plan = world.save()
    assert world.apply(plan).code == 0
    assert world("restore", world.runs()[0], *CONFIRM).code == 0
    with unchanged(world):
        assert_refused(world.apply(plan), "this plan was used", env="")


@pytest.mark.parametrize("entry", [THEO, THEO.upper(), "@example.com", "example.com"])
def test_somebody_is_protected_since(still: World, planned: tuple[str, Path], entry: str) -> None:
    still.protect(entry)
    done = still.apply(planned[1])
    assert_refused(done, "the plan takes ", NEW_PLAN)
    assert "whom the rule does not (protected)" in done.err


@pytest.mark.first(0)
def test_protected_while_a_run_is_unfinished(world: World) -> None:
    """Going on with a run is a clean-up like any other: who is protected by now, or kept, stays."""
    with psycopg.connect(world.url) as holder:
        holder.execute("SELECT FROM users WHERE email LIKE '%+dev@%' FOR UPDATE")
        assert world.cleanup(*KEEP).code == 1
    world.protect(THEO)
    done = world.cleanup(*KEEP)
    assert THEO in users(world.url), done.err
    assert THEO_ID in {row[0] for row in fetch(world.url, "SELECT user_id FROM asset_usage")}


def test_a_lower_cap_while_a_run_is_unfinished(world: World) -> None:
    with psycopg.connect(world.url) as holder:
        holder.execute("SELECT FROM users WHERE email LIKE '%+dev@%' FOR UPDATE")
        assert world.cleanup(*KEEP).code == 1
    with unchanged(world):
        assert world.cleanup(*KEEP, "--max-users", "0").code == 5


# -- the wrong database ----------------------------------------------------------------------


def test_the_name_leads_elsewhere_now(still: World, planned: tuple[str, Path], fresh_url: str) -> None:
    before = checksums(fresh_url)
    still.registry(production=fresh_url)
    assert_refused(still.apply(planned[1]), "wrong database behind the name: expected ", "gaiaops envs production")
    assert checksums(fresh_url) == before


@pytest.mark.parametrize("pin", ['database = "llm_platform"', 'system_identifier = "1"'])
def test_a_pin(still: World, planned: tuple[str, Path], pin: str) -> None:
    still.registry(more=f"pin = {{ {pin} }}")
    for done in (still.cleanup(*KEEP), still.apply(planned[1])):
        assert_refused(done, "wrong database behind the name: ", "gaiaops envs production")


def test_two_names_for_one_url(still: World, planned: tuple[str, Path]) -> None:
    still.registry(staging=still.url)
    for done in (still.cleanup(*KEEP), still.apply(planned[1])):
        assert_refused(done, "staging is the same database (", "compare gaiaops envs production and gaiaops envs")


def test_two_spellings_of_one_host(still: World, planned: tuple[str, Path]) -> None:
    still.registry(staging=still.url.replace("127.0.0.1", "localhost"))
    for done in (still.cleanup(*KEEP), still.apply(planned[1])):
        assert_refused(done, "staging is the same database (", "compare gaiaops envs production and gaiaops envs")


@pytest.mark.first(0)
def test_two_spellings_while_a_run_is_unfinished(world: World) -> None:
    with psycopg.connect(world.url) as holder:
        holder.execute("SELECT FROM users WHERE email LIKE '%+dev@%' FOR UPDATE")
        assert world.cleanup(*KEEP).code == 1
    world.registry(staging=world.url.replace("127.0.0.1", "localhost"))
    with unchanged(world):
        assert_refused(world.cleanup(*KEEP), "staging is the same database (")


def test_a_replica(world: World) -> None:
    """Faked: the server's function is shadowed. A real one refuses each write anyway."""
    world.sql(
        "CREATE FUNCTION pg_is_in_recovery() RETURNS boolean LANGUAGE sql RETURN true;"
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());"
        " END $$"
    )
    with unchanged(world):
        assert_refused(world.cleanup(*KEEP), "this is a replica: it cannot be written", "name the primary")


# -- at the same time ----------------------------------------------------------------------


def test_two_clean_ups_at_once(world: World) -> None:
    with psycopg.connect(world.url, autocommit=True) as other, unchanged(world):
        other.execute(_LOCK)
        assert_refused(world.cleanup(*KEEP), "another clean-up or restore of this database is running")
    assert_not_stuck(world)


def test_a_restore_while_a_clean_up_runs(world: World) -> None:
    run = world.purge()
    with psycopg.connect(world.url, autocommit=True) as other, unchanged(world):
        other.execute(_LOCK)
        done = world("restore", run, *CONFIRM)
        assert_refused(done, "another clean-up or restore of this database is running", "pg_stat_activity")


def test_a_run_that_is_worked_on(world: World) -> None:
    run = world.purge()
    with (world.data / "runs" / run / "lock").open("w") as lock, unchanged(world):
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_refused(world("restore", run, *CONFIRM), f"run {run} is being worked on", "wait for it: gaiaops runs")


def test_collateral_that_appears_after_the_plan(world: World) -> None:
    plan = world.save()
    world.sql(
        "INSERT INTO chat_messages (user_id, conversation_id, role, content) SELECT (SELECT id FROM users WHERE"
        f" email = '{GUEST}'), id, 'user', 'late' FROM conversations WHERE user_id = '{THEO_ID}' LIMIT 1"
    )
    mine = f"SELECT c::text FROM conversations AS c WHERE user_id = '{THEO_ID}' ORDER BY 1"
    before = fetch(world.url, mine)
    done = world.apply(plan)
    assert done.code == 0, tail(done)
    assert f"skipped: {THEO}: rows of somebody else in chat_messages" in done.err
    assert tagged(world.url) == {HOST, THEO}
    assert number(world.url, "SELECT count(*) FROM chat_messages WHERE content = 'late'") == 1
    assert fetch(world.url, mine) == before
    shown = world("runs", world.runs()[0])
    assert f"skipped: {THEO}: rows of somebody else in chat_messages" in shown.out


def test_changed_and_gone_after_the_plan(world: World) -> None:
    plan = world.save()
    gone = "milo.gone+dev@example.com"
    world.sql(f"UPDATE users SET email = 'theo@example.com' WHERE id = '{THEO_ID}'")
    first = min(tagged(world.url) - {HOST, THEO, gone})
    world.sql(f"SELECT 1; UPDATE users SET email = '{first.capitalize()}' WHERE email = '{first}'")
    second = max(tagged(world.url) - {HOST})
    world.sql(
        f"CREATE TEMP TABLE gone AS SELECT id FROM users WHERE email = '{second}';"
        "DELETE FROM chat_messages WHERE user_id IN (SELECT id FROM gone);"
        "DELETE FROM chat_messages WHERE conversation_id IN"
        " (SELECT id FROM conversations WHERE user_id IN (SELECT id FROM gone));"
        "DELETE FROM users WHERE id IN (SELECT id FROM gone)"
    )
    done = world.apply(plan)
    assert done.code == 0, tail(done)
    assert f"skipped: {THEO}: the address changed" in done.err
    assert f"skipped: {first}: the address changed" in done.err
    assert "1 users were gone already" in done.err
    assert {"theo@example.com", first.capitalize()} <= users(world.url)
    assert "[production] purged 24 users" in done.err


# -- whom it may take ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "line", "hint"),
    [
        ("", "the tag is empty", "the registry's tags: local, dev, staging"),
        ("alice", '"alice" is no environment\'s tag', "the registry's tags: local, dev, staging"),
        ("production", '"production" is no environment\'s tag', "the registry's tags:"),
        ("dev,staging", '"dev,staging" is no environment\'s tag', "the registry's tags:"),
        ("%", '"%" is no environment\'s tag', "the registry's tags:"),
        (" dev", '" dev" is no environment\'s tag', "the registry's tags:"),
    ],
)
def test_a_tag_that_is_none(still: World, tag: str, line: str, hint: str) -> None:
    assert_refused(still.cleanup("--tag", tag), line, hint)


def test_the_environment_s_own_tag(still: World) -> None:
    still.registry(more='tag = "prod"')
    for tags in (("prod",), ("PROD",), ("dev", "prod")):
        arguments = [part for tag in tags for part in ("--tag", tag)]
        assert_refused(
            still.cleanup(*arguments), "prod is production's own tag", "if you mean them, say how many at most"
        )


@pytest.mark.parametrize("cap", ["0", "1", "26"])
def test_a_cap(still: World, cap: str) -> None:
    done = still.cleanup(*KEEP, "--max-users", cap)
    assert_refused(done, f"27 of 693 users would go; --max-users allows {cap} (--max-users 27 if you mean it)")


def test_five_per_cent(world: World) -> None:
    world.sql("INSERT INTO users (email) SELECT i || '+dev@example.com' FROM generate_series(1, 60) AS i")
    with unchanged(world):
        assert_refused(world.cleanup(*KEEP), "87 of 753 users would go; 5 % or 1,000 of them allow 37")


def test_a_thousand(world: World) -> None:
    world.sql(
        "INSERT INTO users (email) SELECT i || CASE WHEN i <= 974 THEN '+dev' ELSE '' END || '@example.org'"
        " FROM generate_series(1, 21000) AS i"
    )
    with unchanged(world):
        assert_refused(world.cleanup(*KEEP), "1001 of 21693 users would go; 5 % or 1,000 of them allow 1000")


def test_collateral(still: World) -> None:
    done = still.cleanup()
    assert_refused(done, f"2 rows of other people would go too (--keep {HOST}, or --allow-collateral)", "the plan says")
    assert f"collateral: 2 rows of {GUEST} in chat_messages, with {HOST}" in done.err


@pytest.mark.parametrize("entry", ["nobody+dev@example.com", "theo.test+dev@exmaple.com", "", " ", "@nowhere.example"])
def test_nobody_is_kept(still: World, entry: str) -> None:
    """A --keep that names nobody is a typing mistake, of a domain as of an address."""
    assert_refused(still.cleanup(*KEEP, "--keep", entry), f"--keep {entry}")


def test_rows_that_block(still: World) -> None:
    still.reference('"api_keys.user_id" = { on_delete = "block" }')
    done = still.cleanup(*KEEP)
    assert_refused(done, "29 rows of api_keys.user_id refer to them, and the registry says block")


def test_rows_that_block_and_came_after_the_plan(world: World) -> None:
    world.reference('"conversations.user_id" = { on_delete = "block" }')
    world.sql(
        "DELETE FROM chat_messages WHERE conversation_id IN (SELECT c.id FROM conversations c JOIN users u"
        " ON u.id = c.user_id WHERE email IN (SELECT email FROM users WHERE email ~ '[+](dev|local|staging)@'));"
        "DELETE FROM conversations WHERE user_id IN (SELECT id FROM users WHERE email ~ '[+](dev|local|staging)@')"
    )
    plan = world.save()
    world.sql(f"INSERT INTO conversations (user_id, title) VALUES ('{THEO_ID}', 'late')")
    done = world.apply(plan)
    assert done.code == 0, tail(done)
    assert f"skipped: {THEO}: conversations.user_id refers to them, and the registry says block" in done.err
    assert number(world.url, "SELECT count(*) FROM conversations WHERE title = 'late'") == 1
    assert THEO in users(world.url)


def test_a_foreign_key_cannot_be_kept(still: World) -> None:
    still.reference('"api_keys.user_id" = { on_delete = "keep" }')
    assert_refused(still.cleanup(*KEEP), "api_keys.user_id: a foreign key cannot be kept")


def test_what_is_not_null_cannot_be_nulled(still: World) -> None:
    still.reference('"chat_messages.user_id" = { on_delete = "null" }')
    assert_refused(still.cleanup(*KEEP), "chat_messages.user_id: it is NOT NULL, so it cannot be nulled")


# -- confirming ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["staging", "prod", "Production", "production ", "", "yes", "y"])
def test_the_wrong_name(still: World, planned: tuple[str, Path], name: str) -> None:
    for arguments in (KEEP, ("--plan", str(planned[1]))):
        done = still("cleanup", "production", *arguments, "--confirm", name)
        assert_refused(done, f'--confirm says "{name}", this is production', "--confirm production")


def test_no_name_off_a_terminal(still: World, planned: tuple[str, Path]) -> None:
    for arguments in (KEEP, ("--plan", str(planned[1]))):
        for typed in ("", "production\n27\n"):
            done = still("cleanup", "production", *arguments, stdin=typed)
            assert_refused(done, "a change to a protected environment needs its name", "add --confirm production")


def test_no_name_off_a_terminal_for_an_unprotected_one(still: World) -> None:
    still.registry(protected=False)
    done = still("cleanup", "production", *KEEP, stdin="production\n")
    assert_refused(done, "a change to an environment needs its name", "add --confirm production")


def test_no_name_for_a_restore(world: World) -> None:
    run = world.purge()
    with unchanged(world):
        assert_refused(world("restore", run), "a change to a protected environment needs its name", "add --confirm")
        done = world("restore", run, "--confirm", "staging")
        assert_refused(done, '--confirm says "staging", this is production')


def asked(world: World, *arguments: str) -> pexpect.spawn:
    return pexpect.spawn(
        sys.executable,
        ["-m", "gaiaops", "--registry", str(world.file), *arguments],
        env=clean_variables(world.folder),
        encoding="utf-8",
        timeout=30,
        dimensions=(40, 120),
    )


@pytest.mark.parametrize(
    "answers",
    [("staging",), ("",), ("production", "28"), ("production", "production")],
)
def test_the_prompt_of_a_protected_environment(still: World, answers: tuple[str, ...]) -> None:
    child = asked(still, "cleanup", "production", *KEEP)
    child.expect("27 users and 260 rows that hang on them go from production.")
    for answer, what in zip(answers, ("the environment's name", "the number of users"), strict=False):
        child.expect(f"Type {what} to go on: ")
        child.sendline(answer)
    child.expect("not confirmed; nothing was changed")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 5
    assert still.runs() == []


@pytest.mark.parametrize("answer", ["27", "yes"])
def test_the_prompt_of_an_unprotected_environment(still: World, answer: str) -> None:
    still.registry(protected=False)
    child = asked(still, "cleanup", "production", *KEEP)
    child.expect("Type the environment's name to go on: ")
    child.sendline(answer)
    child.expect("not confirmed; nothing was changed")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 5


def test_ctrl_c_and_the_end_of_input_at_the_prompt(still: World) -> None:
    for key, code in (("\x03", 130), ("\x04", 5)):
        child = asked(still, "cleanup", "production", *KEEP)
        child.expect("Type the environment's name to go on: ")
        child.send(key)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == code
    assert still.runs() == []


# -- what the server does not allow ----------------------------------------------------------------------


@pytest.fixture
def plain(world: World) -> Iterator[World]:
    """The world through a role that is no superuser and may do what a clean-up needs."""
    url = world.role()
    world.registry(production=url)
    yield world
    world.drop_role()


def role_of(world: World) -> str:
    return f"role_{world.url.rpartition('/')[2]}"


def test_a_plain_role_is_enough(plain: World) -> None:
    plain.purge()
    assert tagged(plain.url) == {HOST}


@pytest.mark.parametrize(
    ("privilege", "table"),
    [("DELETE", "users"), ("DELETE", "api_keys"), ("UPDATE", "users"), ("UPDATE", "kb_activity_log"),
     ("UPDATE", "conversations"), ("SELECT", "asset_usage"), ("SELECT", "users")],
)  # fmt: skip
def test_a_missing_privilege(plain: World, privilege: str, table: str) -> None:
    plain.sql(f"REVOKE {privilege} ON {table} FROM {role_of(plain)}")
    with unchanged(plain):
        done = plain.cleanup(*KEEP)
        assert done.code in (1, 5), done.err
        assert table in done.err.partition("gaiaops: error: ")[2]
        assert (done.code == 5) == (privilege != "SELECT") or "may not SELECT" in done.err, done.err


def test_no_temporary_tables(plain: World) -> None:
    name = plain.url.rpartition("/")[2]
    plain.sql(f"REVOKE TEMP ON DATABASE {name} FROM {role_of(plain)}; REVOKE TEMP ON DATABASE {name} FROM PUBLIC")
    with unchanged(plain):
        done = plain.cleanup(*KEEP)
        assert_refused(done, "this role may not create temporary tables (GRANT TEMP ON DATABASE)")


@pytest.mark.parametrize("table", ["users", "chat_messages", "kb_activity_log"])
def test_row_level_security(plain: World, table: str) -> None:
    plain.sql(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; CREATE POLICY all_of_it ON {table} USING (true)")
    with unchanged(plain):
        done = plain.cleanup(*KEEP)
        assert_refused(done, f"row-level security hides rows of {table} from this role")


def test_row_level_security_that_came_after_the_plan(plain: World) -> None:
    plan = plain.save()
    plain.sql("ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY all_of_it ON users USING (true)")
    with unchanged(plain):
        assert_refused(plain.apply(plan), "row-level security hides rows of users from this role")


def test_users_is_a_view(world: World) -> None:
    world.sql("ALTER TABLE users RENAME TO people; CREATE VIEW users AS SELECT * FROM people")
    with unchanged(world):
        done = world.cleanup(*KEEP)
        assert done.code == 5, tail(done)
        assert "gaiaops: error: [production] " in done.err
        assert "users" in done.err.partition("gaiaops: error: ")[2]


def test_there_are_no_users(world: World) -> None:
    world.sql("ALTER TABLE users RENAME TO people")
    with unchanged(world):
        assert world.cleanup(*KEEP).code == 5


@pytest.mark.parametrize(
    "made",
    [
        "CREATE VIEW logins AS SELECT id, id::text AS who FROM users",
        "CREATE MATERIALIZED VIEW logins AS SELECT id, id::text AS who FROM users",
        "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;"
        "CREATE FOREIGN TABLE logins (id int, who text) SERVER files OPTIONS (filename '/dev/null')",
    ],
    ids=["view", "materialized", "foreign"],
)
def test_a_declared_reference_in_no_table(world: World, made: str) -> None:
    world.sql(made)
    world.reference('"logins.who" = {}')
    with unchanged(world):
        assert_refused(world.cleanup(*KEEP), "logins is no table (a view or a foreign table)")


@pytest.mark.parametrize("table", ["users", "api_keys"])
def test_a_rewrite_rule(world: World, table: str) -> None:
    world.sql(f"CREATE RULE nothing AS ON DELETE TO {table} DO INSTEAD NOTHING")
    with unchanged(world):
        assert_refused(world.cleanup(*KEEP), f"{table} has rewrite rules, which change what DELETE and UPDATE do")


def test_a_table_that_inherits(world: World) -> None:
    world.sql("CREATE TABLE vips () INHERITS (users); INSERT INTO vips (email) VALUES ('v+dev@example.com')")
    with unchanged(world):
        assert_refused(world.cleanup(*KEEP), "other tables inherit from users, and foreign keys do not reach them")


TRIGGERS = {
    "veto": ("BEFORE DELETE", "api_keys", "RETURN NULL;"),
    "veto-users": ("BEFORE DELETE", "users", "RETURN NULL;"),
    "soft-delete": ("BEFORE DELETE", "users", "UPDATE users SET name = 'deleted' WHERE id = OLD.id; RETURN NULL;"),
    "reinsert": ("AFTER DELETE", "users", "INSERT INTO users VALUES (OLD.*); RETURN NULL;"),
    "reinsert-child": (
        "AFTER DELETE", "api_keys",
        "INSERT INTO api_keys (user_id, key_hash) VALUES ((SELECT id FROM users LIMIT 1), OLD.key_hash); RETURN NULL;",
    ),
    "others": ("AFTER DELETE", "users", "DELETE FROM kb_context_cache; DELETE FROM kb_search_index; RETURN NULL;"),
    "others-before": ("BEFORE DELETE", "users", "DELETE FROM kb_context_cache; RETURN OLD;"),
    "changes-others": ("AFTER DELETE", "users", "UPDATE personas SET is_active = false; RETURN NULL;"),
    "truncates-others": ("AFTER DELETE", "users", "TRUNCATE kb_search_index; RETURN NULL;"),
    "raises": ("BEFORE DELETE", "api_keys", "RAISE EXCEPTION 'not today';"),
}  # fmt: skip


@pytest.mark.parametrize("case", TRIGGERS)
def test_a_trigger_in_the_way(world: World, case: str) -> None:
    """It failed on the server, so the code is 1; the batch was rolled back, and the run can be looked at."""
    when, table, body = TRIGGERS[case]
    world.sql(
        f"CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;"
        f"CREATE TRIGGER meddle {when} ON {table} FOR EACH ROW EXECUTE FUNCTION meddle()"
    )
    with unchanged(world):
        done = world.cleanup(*KEEP)
        assert done.code == 1, tail(done)
        assert f"warning: {table} has triggers: meddle on delete" in done.err
        assert ("not today" if case == "raises" else "; the batch was rolled back") in done.err
        assert "\nhint: " in done.err
    assert list((world.data / "runs").glob("*/segments/*")) == []


def test_a_trigger_that_vetoes_one_person_s_rows(world: World) -> None:
    """Who has such a row stays whole and is named; the others go."""
    world.sql(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF OLD.user_id = '{THEO_ID}' THEN RETURN NULL; END IF; RETURN OLD; END $$;"
        "CREATE TRIGGER meddle BEFORE DELETE ON chat_messages FOR EACH ROW EXECUTE FUNCTION meddle()"
    )
    rows = f"SELECT t::text FROM {{}} AS t WHERE user_id::text = '{THEO_ID}' ORDER BY 1"
    tables = ("chat_messages", "conversations", "api_keys", "asset_usage", "user_persona_preferences")
    before = [fetch(world.url, rows.format(table)) for table in tables]
    assert before[0]
    done = world.cleanup(*KEEP)
    assert done.code == 1, tail(done)
    assert f"skipped: {THEO}: " in done.err
    assert tagged(world.url) == {HOST, THEO}
    assert [fetch(world.url, rows.format(table)) for table in tables] == before


def test_a_trigger_of_the_statement_that_deletes_others(world: World) -> None:
    world.sql(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " DELETE FROM kb_search_index; RETURN NULL; END $$;"
        "CREATE TRIGGER meddle AFTER DELETE ON users FOR EACH STATEMENT EXECUTE FUNCTION meddle()"
    )
    with unchanged(world):
        assert world.cleanup(*KEEP).code == 1


# -- what the machine does not allow ----------------------------------------------------------------------


def blocked_folder(path: Path) -> None:
    """A file where a folder should be: even root cannot write there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("not a folder", encoding="utf-8")


@pytest.mark.parametrize("place", ["data", "data/gaiaops", "data/gaiaops/runs"])
def test_nowhere_to_archive(still: World, planned: tuple[str, Path], place: str) -> None:
    blocked_folder(still.folder / place)
    for done in (still.cleanup(*KEEP), still.apply(planned[1])):
        assert_refused(done, "cannot write the archive ", f"{still.data / 'runs'} must be writable", code=1, env="")


def test_no_trail(world: World) -> None:
    blocked_folder(world.folder / "state")
    with unchanged(world):
        done = world.cleanup(*KEEP)
        assert_refused(done, "cannot write the trail ", "nothing was changed; make it writable", code=1, env="")
    (world.folder / "state").unlink()
    assert_not_stuck(world)


@pytest.mark.parametrize("limit", [600, 5_000, 30_000], ids=["plan", "segment", "buffer"])
def test_a_full_disk(world: World, limit: int) -> None:
    """A limit on each file stands in for it. What is missing is room, not a bug; the next one finds all in order."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with unchanged(world):
        done = subprocess.run(
            [*GAIAOPS, "--registry", str(world.file), "cleanup", "production", *KEEP, *CONFIRM],
            check=False, capture_output=True, text=True, timeout=60, preexec_fn=limited,
            env={**clean_variables(world.folder), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    assert "\nhint: " in done.stderr
    assert list((world.data / "runs").glob("*/segments/*")) == []
    assert_not_stuck(world)


# -- an archive ----------------------------------------------------------------------


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (flipped, "the archive was changed: 000001.copy does not match its SHA-256"),
    "cut": (lambda path: os.truncate(path, 100), "the archive was changed: 000001.copy does not match its SHA-256"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "the archive was changed: 000001.copy"),
    "gone": (lambda path: path.unlink(), "the archive is not whole: 000001.copy"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_an_archive_that_was_changed(world: World, case: str) -> None:
    run = world.purge()
    tamper, line = TAMPERED[case]
    tamper(world.data / "runs" / run / "segments" / "000001.copy")
    with unchanged(world):
        for more in ((), ("--user", THEO), ("--dry-run",)) if case == "flipped" else ((),):
            assert_refused(world("restore", run, *CONFIRM, *more), line)


def test_a_restore_on_another_server(world: World, fresh_url: str) -> None:
    run = world.purge()
    world.registry(production=fresh_url)
    before = checksums(fresh_url)
    done = world("restore", run, *CONFIRM)
    assert_refused(done, "wrong database behind the name: expected ", "gaiaops envs production")
    assert checksums(fresh_url) == before


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("ALTER TABLE api_keys DROP name", "the schema is not the archive's: public.api_keys has no column name"),
        ("ALTER TABLE users ADD phone text NOT NULL DEFAULT ''; ALTER TABLE users ALTER phone DROP DEFAULT",
         "the schema is not the archive's: public.users.phone is new, NOT NULL and without a default"),
        ("DROP TABLE asset_usage", "the schema is not the archive's: there is no table public.asset_usage"),
        ("ALTER TABLE chat_messages ALTER content TYPE varchar(9000)", "the schema is not the archive's: "),
    ],
    ids=["column", "new-column", "table", "type"],
)  # fmt: skip
def test_a_restore_into_another_schema(world: World, change: str, line: str) -> None:
    run = world.purge()
    world.sql(change)
    with unchanged(world):
        assert_refused(world("restore", run, *CONFIRM), line, "nothing was restored")


def test_a_restore_into_a_pinned_environment(world: World) -> None:
    run = world.purge()
    world.registry(more='pin = { database = "llm_platform" }')
    with unchanged(world):
        assert_refused(world("restore", run, *CONFIRM), "wrong database behind the name: ")


@pytest.mark.first(0)
def test_a_run_that_is_none(world: World) -> None:
    run = world.purge()
    with unchanged(world):
        for name in ("nothing", "", "../runs", run + "x", "*"):
            for arguments in (("restore", name, *CONFIRM), ("runs", name)):
                if arguments != ("runs", ""):
                    done = world(*arguments)
                    assert_refused(done, f'"{name}" is', "gaiaops runs lists them", code=2, env="")


def test_a_beginning_of_two_runs(world: World) -> None:
    run = world.purge("--tag", "dev")
    world.purge("--tag", "staging")
    with unchanged(world):
        done = world("restore", run[:4], *CONFIRM)
        assert_refused(done, f'"{run[:4]}" is the beginning of several runs', "gaiaops runs lists them", code=2, env="")


def test_a_person_who_is_not_in_the_run(world: World) -> None:
    run = world.purge()
    with unchanged(world):
        for address in (GUEST, "", "theo.test+dev"):
            done = world("restore", run, "--user", address, *CONFIRM)
            assert_refused(done, f"{address} is not in run {run}", f"gaiaops runs {run}", code=2)


# -- how it is called ----------------------------------------------------------------------

NO_EMPTY = [("--plan", ""), ("--save-plan", "")]


@pytest.mark.parametrize(
    "arguments",
    [("--tag", "dev"), ("--older-than", "7d"), ("--keep", HOST), ("--max-users", "9"), ("--max-users", "0"),
     ("--allow-collateral",), ("--save-plan", "other.plan")],
    ids="=".join,
)  # fmt: skip
def test_a_saved_plan_takes_no_options(still: World, planned: tuple[str, Path], arguments: tuple[str, ...]) -> None:
    done = still.cleanup("--plan", str(planned[1]), *arguments)
    assert_refused(done, f"{arguments[0]} belongs to making a plan", "a saved plan has it in it", code=2, env="")


@pytest.mark.parametrize("arguments", NO_EMPTY, ids=["plan", "save-plan"])
def test_a_variable_that_was_empty(world: World, arguments: tuple[str, ...]) -> None:
    """`--plan "$PLAN"` in a script where PLAN is not set must not purge what nobody has looked at."""
    with unchanged(world):
        done = world.cleanup(*arguments)
        assert done.code == 2, tail(done)
        done = world.cleanup(*arguments, *KEEP)
        assert done.code == 2, tail(done)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("cleanup", "production", "--hard", *CONFIRM), "--hard is for --supabase"),
        (("cleanup", "all", "--confirm", "all"), 'unknown environment "all"'),
        (("cleanup", "supabase", "--confirm", "supabase"), 'unknown environment "supabase"'),
        (("cleanup", "prodution", *CONFIRM), 'unknown environment "prodution"'),
        (("cleanup", "production", "--max-users", "-1", *CONFIRM), "Invalid value for '--max-users'"),
        (("cleanup", "production", "--older-than", "", *CONFIRM), "Invalid value for '--older-than'"),
        (("cleanup", "production", "--older-than", "-1d", *CONFIRM), "Invalid value for '--older-than'"),
        (("cleanup", "production", "--yes"), "No such option"),
        (("runs", "--expire", "soon"), "Invalid value for '--expire'"),
        (("cleanup",), "Missing argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_how_it_is_called(still: World, arguments: tuple[str, ...], line: str) -> None:
    assert_refused(still(*arguments), line, code=2, env="")


def test_auth_records_without_a_project(still: World) -> None:
    """Said before anything is purged, not after."""
    done = still.cleanup(*KEEP, "--supabase")
    assert_refused(done, "the registry has no [supabase]", code=2, env="")


def test_nobody_answers(still: World, planned: tuple[str, Path]) -> None:
    still.registry(production=ELSEWHERE)
    for done in (still.cleanup(*KEEP), still.apply(planned[1])):
        assert done.code == 3, done.err
        assert "[production] " in done.err


def test_the_trail_of_what_was_refused(world: World) -> None:
    """Refused before it began: no line. Refused while it began: two lines, no row."""
    plan = world.save()
    world.cleanup()
    assert not (world.state / "trail.jsonl").exists()
    world.sql("ALTER TABLE users ADD phone text")
    world.apply(plan)
    lines = [json.loads(line) for line in (world.state / "trail.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["outcome"] for line in lines] == ["started", "failed: RefusedError"]
    assert [line["rows"] for line in lines] == [0, 0]
