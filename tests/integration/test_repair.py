"""Repairs on a real PostgreSQL and a real Redis: each kind does what it says and nothing else, and comes back whole;
whatever changes between the plan and the repair is left alone and named."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psycopg
import pytest

from gaiaops.audit import repair, repair_run
from gaiaops.errors import ConnectError, DeadlineError, ExitCode, GaiaopsError, PartialError, RefusedError, UsageError
from gaiaops.postgres import catalog
from tests.conftest import Sandbox
from tests.integration.repair_kit import Kit, reasons

NOBODY = "00000000-0000-4000-8000-00000000dead"


@pytest.fixture
def kit(sandbox: Sandbox, fresh_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    for kind in ("DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    made = Kit(fresh_url, tmp_path, sandbox.state.redis_url("dev")[:-1] + "7")
    with made.cache as client:
        client.flushdb()
    return made


@contextmanager
def unchanged(kit: Kit) -> Iterator[None]:
    """No table changes, and no run is left."""
    before = kit.sums()
    yield
    assert kit.sums() == before
    assert repair_run.every() == []


def drift(
    kit: Kit, before: str = "old+dev@x.io", after: str = "new+dev@x.io", kind: str = "email-drift"
) -> tuple[str, str]:
    return kind, kit.person(before, after)


# ---- each kind, there and back


@pytest.mark.first(5)
@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("email-drift", "old+dev@x.io", "new+dev@x.io"),
        ("email-drift", "o'b\"r;--%s{}\\+dev@x.io", "%(id)s+dev@x.io"),
        ("email-drift", "a" * 246 + "+dev@x.io"[-9:], "b" * 246 + "+dev@x.io"[-9:]),
        ("email-drift", "diyar+dev@x.io", "d\u0131yar+dev@x.io"),
        ("case-drift", "Mixed+DEV@X.io", "mixed+dev@x.io"),
        ("case-drift", "\u00c9lif+dev@x.io", "\u00e9lif+dev@x.io"),
        ("case-drift", "stra\u00dfe+dev@x.io", "STRASSE+dev@x.io"),
    ],
)
def test_an_address(kit: Kit, kind: str, before: str, after: str) -> None:
    own = kit.person(before, after)
    sums, stamp = kit.sums(), kit.fetch(f"SELECT updated_at FROM users WHERE id = '{own}'")
    plan = kit.plan((kind, own))
    (change,) = plan.changes
    assert (change.table, change.column, change.before, change.after) == ("users", "email", before, after)
    assert kit.sums() == sums
    done = kit.apply(plan)
    assert kit.address(own) == after
    assert kit.fetch(f"SELECT updated_at FROM users WHERE id = '{own}'") == stamp
    assert {t for t, s in kit.sums().items() if s != sums[t]} == {"public.users"}
    assert kit.phases == [("committing", 1), ("committed", 1)]
    back = kit.undo(done.run, dry_run=True)
    assert (back.set_back, kit.address(own)) == ({"users": 1}, after)
    assert kit.undo(done.run).set_back == {"users": 1}
    assert kit.sums() == sums
    again = kit.undo(done.run)
    assert (again.rows, again.present, again.not_undone) == (0, {"users": 1}, [])
    assert kit.run(done).state().word == "restored"


def test_a_missing_profile(kit: Kit) -> None:
    own = kit.auth.add("nu+dev@x.io")
    sums = kit.sums()
    done = kit.fix(("missing-profile", own))
    ((address, name, filled),) = kit.fetch(
        f"SELECT email, name, created_at IS NOT NULL AND updated_at IS NOT NULL FROM users WHERE id = '{own}'"
    )
    assert (address, name, filled) == ("nu+dev@x.io", None, True)
    assert {t for t, s in kit.sums().items() if s != sums[t]} == {"public.users"}
    assert kit.undo(done.run).removed == {"users": 1}
    assert kit.sums() == sums
    assert kit.undo(done.run).present == {"users": 1}


def test_a_missing_profile_where_the_stamps_have_no_default(kit: Kit) -> None:
    kit.sql("ALTER TABLE users ALTER created_at DROP DEFAULT, ALTER created_at SET NOT NULL")
    kit.sql("ALTER TABLE users ALTER updated_at DROP DEFAULT, ALTER updated_at TYPE timestamptz")
    own = kit.auth.add("nu+dev@x.io")
    kit.fix(("missing-profile", own))
    late = "abs(extract(epoch FROM now() AT TIME ZONE 'UTC' - created_at)) + extract(epoch FROM now() - updated_at)"
    assert kit.fetch(f"SELECT {late} < 60 FROM users WHERE id = '{own}'") == [(True,)]


@pytest.mark.parametrize("how", ["banned", "deleted", "absent", "banned, another id"])
def test_revoked_access(kit: Kit, how: str) -> None:
    own = kit.profile("ex+dev@x.io")
    if how == "banned":
        kit.auth.add("ex+dev@x.io", "b", own)
    elif how == "deleted":
        kit.auth.add("h" * 43, "d", own)
    elif how != "absent":
        kit.auth.add("EX+dev@x.io".lower(), "b")
    one, two = kit.key(own), kit.key(own, expires="now() AT TIME ZONE 'UTC' + interval '1 minute'")
    off, late = kit.key(own, active="false"), kit.key(own, expires="now() AT TIME ZONE 'UTC' - interval '1 minute'")
    other = kit.person("ok+dev@x.io", "ok+dev@x.io")
    theirs = kit.key(other)
    entries = [f"gaia:auth:apikey:v1:{digest[:32]}" for _, digest in (one, two, theirs, late)]
    kit.store(*entries, f"user:session:{own}", f"user:session:{other}")
    sums = kit.sums()
    plan = kit.plan(kit.finding("revoked-access", own, "ex+dev@x.io"))
    (change,) = plan.changes
    assert {key.id for key in change.keys} == {one[0], two[0]}
    assert all(len(key.prefix) == 8 for key in change.keys)
    done = kit.apply(plan)
    assert (done.rows, done.cache_removed) == (2, 2)
    assert kit.active(own) == [late[0]]
    assert kit.active(other) == [theirs[0]]
    assert kit.cached(*entries) == [False, False, True, True]
    assert kit.cached(f"user:session:{own}", f"user:session:{other}") == [True, True]
    assert {t for t, s in kit.sums().items() if s != sums[t]} == {"public.api_keys"}
    back = kit.undo(done.run)
    assert back.set_back == {"api_keys": 2}
    assert any("Redis" in lost for lost in back.lost)
    assert kit.sums() == sums
    assert off[0] not in kit.active(own)


def test_stale_cache(kit: Kit) -> None:
    own = kit.person("p+dev@x.io", "p+dev@x.io")
    _, gone = kit.key(own, active="false")
    _, good = kit.key(own)
    stale = [f"gaia:auth:apikey:v1:{gone[:32]}", f"user:session:{NOBODY}", "user:session:no\u2028 id*"]
    valid = [f"gaia:auth:apikey:v1:{good[:32]}", f"user:session:{own}", "persona:1"]
    kit.store(*stale, *valid)
    with unchanged_tables(kit):
        plan = kit.plan(*[("stale-cache", key) for key in [*stale, *valid]])
        assert [change.subject for change in plan.changes] == stale
        assert set(reasons(plan)) == {"the entry is valid now"}
        done = kit.apply(plan)
        assert (done.rows, done.cache_removed, len(done.done)) == (0, 3, 3)
        assert kit.cached(*stale, *valid) == [False] * 3 + [True] * 3
        assert kit.undo(done.run).rows == 0


@contextmanager
def unchanged_tables(kit: Kit) -> Iterator[None]:
    before = kit.sums()
    yield
    assert kit.sums() == before


def test_everything_at_once_and_back(kit: Kit) -> None:
    sums = kit.sums()
    people = [drift(kit, f"o{i}+dev@x.io", f"n{i}+dev@x.io") for i in range(20)]
    cases = [("case-drift", kit.person(f"C{i}+dev@x.io", f"c{i}+dev@x.io")) for i in range(20)]
    missing = [("missing-profile", kit.auth.add(f"m{i}+dev@x.io")) for i in range(20)]
    revoked = [("revoked-access", kit.person(f"r{i}+dev@x.io", f"r{i}+dev@x.io", "b")) for i in range(20)]
    for _, own in revoked:
        kit.key(own)
    planted = kit.sums()
    done = kit.fix(*people, *cases, *missing, *revoked)
    assert done.rows == 80
    assert len(done.done) == 80
    one = kit.undo(done.run, "N7+dev@x.io")
    assert (one.set_back, kit.address(people[7][1])) == ({"users": 1}, "o7+dev@x.io")
    assert kit.address(people[8][1]) == "n8+dev@x.io"
    assert kit.run(done).state().word == "partly restored"
    back = kit.undo(done.run)
    assert (back.set_back, back.removed, back.present) == ({"users": 39, "api_keys": 20}, {"users": 20}, {"users": 1})
    assert kit.sums() == planted != sums
    with pytest.raises(UsageError, match="is not in run"):
        kit.undo(done.run, "nobody@x.io")


# ---- what the plan leaves alone


def test_two_people_who_swapped_addresses(kit: Kit) -> None:
    a, b = kit.profile("a+dev@x.io"), kit.profile("b+dev@x.io")
    kit.auth.add("b+dev@x.io", own=a)
    kit.auth.add("a+dev@x.io", own=b)
    plan = kit.plan(("email-drift", a), ("email-drift", b))
    assert plan.changes == ()
    assert reasons(plan) == [
        f"another profile has the address b+dev@x.io: {b}",
        f"another profile has the address a+dev@x.io: {a}",
    ]


@pytest.mark.parametrize("other", ["new+dev@x.io", "NEW+dev@x.io", "ne\u0175+dev@x.io"])
def test_an_address_that_somebody_has(kit: Kit, other: str) -> None:
    wanted = "NE\u0174+dev@x.io" if not other.isascii() else "new+dev@x.io"
    own, theirs = kit.person("old+dev@x.io", wanted), kit.profile(other)
    record = kit.auth.add(wanted)
    plan = kit.plan(("email-drift", own), ("missing-profile", record))
    assert plan.changes == ()
    assert reasons(plan) == [f"another profile has the address {wanted}: {theirs}"] * 2


def test_two_repairs_that_want_one_address(kit: Kit) -> None:
    own = kit.person("old+dev@x.io", "Same+dev@x.io")
    record = kit.auth.add("same+DEV@x.io")
    plan = kit.plan(("email-drift", own), ("missing-profile", record), ("email-drift", own))
    assert [change.subject for change in plan.changes] == [own]
    assert reasons(plan) == ["another repair of this plan takes the address same+dev@x.io"]


def test_records_whose_address_cannot_be_taken(kit: Kit) -> None:
    cases = [
        (None, "", "the auth record is gone"),
        ("h" * 43, "d", "the auth record is deleted"),
        ("new+dev@x.io", "v", "the auth record is invisible"),
        ("", "a", "the auth record has no address"),
        ("old2+dev@x.io", "", "both sides have the same address now"),
        ("OLD3+dev@x.io", "", "it is case-drift now"),
    ]
    for number, (record, flags, why) in enumerate(cases):
        own = kit.profile(f"old{number - 2 if number > 3 else number + 10}+dev@x.io")
        if record is not None:
            kit.auth.add(record, flags, own)
        (left,) = reasons(kit.plan(("email-drift", own)))
        assert left.startswith(why)


def test_records_that_get_no_profile(kit: Kit) -> None:
    for flags in "byasdv":
        plan = kit.plan(("missing-profile", kit.auth.add(f"nu{flags}+dev@x.io", flags)))
        assert (len(plan.changes), len(plan.left)) == (0, 1), flags


def test_a_table_that_wants_more_than_anybody_knows(kit: Kit) -> None:
    kit.sql("ALTER TABLE users ADD plan text, ADD \"Or%g {x}\" text; UPDATE users SET plan = '', \"Or%g {x}\" = ''")
    kit.sql('ALTER TABLE users ALTER plan SET NOT NULL, ALTER "Or%g {x}" SET NOT NULL')
    plan = kit.plan(("missing-profile", kit.auth.add("nu+dev@x.io")))
    assert reasons(plan) == ["users has columns that must be filled: plan, Or%g {x}"]


def test_an_address_that_a_soft_reference_names(kit: Kit) -> None:
    own = kit.person("old+dev@x.io", "new+dev@x.io")
    kit.sql(
        "INSERT INTO kb_semantic_index_metadata (namespace, relative_path, content_hash, chunk_count, file_mtime,"
        " indexed_at) SELECT 'users/old+dev@x.io', i::text, 'h', 1, 1, now() FROM generate_series(1, 3) AS i"
    )
    (why,) = reasons(kit.plan(("email-drift", own)))
    assert why == "3 rows of kb_semantic_index_metadata.namespace name the address old+dev@x.io and would dangle"


def test_other_kinds(kit: Kit) -> None:
    for kind in ("orphan-profile", "duplicate-profile", "unprovisioned", "nonsense"):
        with pytest.raises(UsageError, match=f"{kind} cannot be repaired by gaiaops") as caught:
            kit.plan((kind, NOBODY))
        assert caught.value.hint
        assert caught.value.code == ExitCode.USAGE


def test_findings_of_other_environments(kit: Kit) -> None:
    kind, own = drift(kit)
    elsewhere = msgspec.structs.replace(kit.finding(kind, own), environment="production")
    assert kit.plan(elsewhere).changes == ()


# ---- what changes between the plan and the repair


def changed_since(kit: Kit, kind: str, own: str) -> list[tuple[str, object]]:
    """(reason, how) of what may happen to somebody's email-drift."""
    return [
        ("an address was changed since", lambda: kit.sql(f"UPDATE users SET email = 'z+dev@x.io' WHERE id = '{own}'")),
        ("both sides have the same", lambda: kit.sql(f"UPDATE users SET email = 'new+dev@x.io' WHERE id = '{own}'")),
        ("the profile is gone", lambda: kit.sql(f"DELETE FROM users WHERE id = '{own}'")),
        ("an address was changed since", lambda: kit.auth.add("newer+dev@x.io", own=own)),
        ("the auth record is gone", kit.auth.records.clear),
        ("the auth record is deleted", lambda: kit.auth.add("h" * 43, "d", own)),
        ("another profile has the address", lambda: kit.profile("NEW+dev@x.io")),
        ("another profile has the address", lambda: kit.profile("new+dev@x.io")),
    ]


@pytest.mark.parametrize("number", range(8))
def test_a_drift_that_changes_in_between(kit: Kit, number: int) -> None:
    kind, own = drift(kit)
    steady = drift(kit, "s+dev@x.io", "t+dev@x.io")
    plan = kit.plan((kind, own), steady)
    why, happens = changed_since(kit, kind, own)[number]
    if "auth" in why or number == 3:
        kit.auth.before_look = happens  # after the rows are locked
        kit.auth.add("t+dev@x.io", own=steady[1])
    else:
        happens()
    if number == 4:
        kit.auth.before_look = lambda: kit.auth.records.pop(own)
    before = kit.sums("public.users")
    mine = kit.address(own)
    done = kit.apply(plan)
    (left,) = reasons(done)
    assert left.startswith(why)
    assert kit.address(own) == mine
    assert kit.address(steady[1]) == "t+dev@x.io"
    assert kit.sums("public.users") == before
    assert list(kit.run(done).state().skipped) == [own]


@pytest.mark.parametrize(("flags", "under_lock"), [("", False), ("u", True)])
def test_somebody_is_unbanned_in_between(kit: Kit, flags: str, under_lock: bool) -> None:
    own = kit.person("ex+dev@x.io", "ex+dev@x.io", "b")
    key, digest = kit.key(own)
    entry = f"gaia:auth:apikey:v1:{digest[:32]}"
    kit.store(entry)
    plan = kit.plan(("revoked-access", own))

    def unban() -> None:
        kit.auth.add("ex+dev@x.io", flags, own)

    if under_lock:
        kit.auth.before_look = unban
    else:
        unban()
    with unchanged_tables(kit):
        done = kit.apply(plan)
    assert reasons(done) == ["the person may log in now"]
    assert (done.rows, kit.active(own), kit.cached(entry)) == (0, [key], [True])


@pytest.mark.parametrize("same_id", [True, False])
def test_a_record_that_reappears(kit: Kit, same_id: bool) -> None:
    own = kit.profile("ex+dev@x.io")
    kit.key(own)
    plan = kit.plan(kit.finding("revoked-access", own, auth="absent"))
    assert len(plan.changes) == 1
    kit.auth.add("ex+dev@x.io", own=own if same_id else "")
    with unchanged_tables(kit):
        assert reasons(kit.apply(plan)) == ["the person may log in now"]


def test_a_record_that_the_audit_saw_and_no_look_up_finds(kit: Kit) -> None:
    own = kit.profile("ex+dev@x.io")
    kit.key(own)
    (why,) = reasons(kit.plan(kit.finding("revoked-access", own, auth="banned")))
    assert why.startswith("the auth record is absent, and the audit found it banned")


def test_keys_that_come_and_go_in_between(kit: Kit) -> None:
    own = kit.person("ex+dev@x.io", "ex+dev@x.io", "b")
    (one, _), (two, _) = kit.key(own), kit.key(own)
    plan = kit.plan(("revoked-access", own))
    kit.sql(f"UPDATE api_keys SET is_active = false WHERE id = '{two}'")
    three, _ = kit.key(own)
    done = kit.apply(plan)
    assert (done.rows, kit.active(own)) == (1, [three])
    assert kit.undo(done.run).set_back == {"api_keys": 1}
    assert sorted(kit.active(own)) == sorted([one, three])


def test_a_profile_that_is_made_in_between(kit: Kit) -> None:
    one, two = kit.auth.add("m1+dev@x.io"), kit.auth.add("m2+dev@x.io")
    plan = kit.plan(("missing-profile", one), ("missing-profile", two))
    kit.profile("other+dev@x.io", one)
    kit.profile("M2+dev@x.io")
    with unchanged_tables(kit):
        found = reasons(kit.apply(plan))
    assert found[0] == "a profile with this id is there now"
    assert found[1].startswith("another profile has the address m2+dev@x.io")


def test_an_entry_that_becomes_valid_in_between(kit: Kit) -> None:
    own = str(uuid.uuid4())
    entry = f"user:session:{own}"
    kit.store(entry)
    plan = kit.plan(("stale-cache", entry))
    assert len(plan.changes) == 1
    kit.profile("back+dev@x.io", own)
    done = kit.apply(plan)
    assert (done.cache_removed, kit.cached(entry), len(done.skipped)) == (0, [True], 1)


# ---- locks, triggers, cascades


def test_a_row_that_somebody_holds(kit: Kit) -> None:
    busy, free = drift(kit, "a+dev@x.io", "b+dev@x.io"), drift(kit, "c+dev@x.io", "d+dev@x.io")
    held = kit.person("e+dev@x.io", "e+dev@x.io", "b")
    key, _ = kit.key(held)
    plan = kit.plan(busy, free, ("revoked-access", held))
    with psycopg.connect(kit.url) as other:
        other.execute(f"UPDATE users SET name = 'busy' WHERE id = '{busy[1]}'")
        other.execute(f"UPDATE api_keys SET last_used_at = now() WHERE id = '{key}'")
        done = kit.apply(plan)
        other.rollback()
    assert reasons(done) == ["another session holds the row; run the audit again"] * 2
    assert all(left.failed for left in done.skipped)
    assert [kit.address(own) for _, own in (busy, free)] == ["a+dev@x.io", "d+dev@x.io"]
    assert kit.active(held) == [key]


def test_a_row_that_is_changed_while_its_lock_is_waited_for(kit: Kit) -> None:
    kind, own = drift(kit)
    plan = kit.plan((kind, own))
    with psycopg.connect(kit.url) as other:
        other.execute(f"UPDATE users SET email = 'z+dev@x.io' WHERE id = '{own}'")
        threading.Timer(0.12, other.commit).start()
        done = kit.apply(plan)
        time.sleep(0.1)
    assert reasons(done)[0].startswith(("an address was changed since", "another session holds"))
    assert kit.address(own) == "z+dev@x.io"


def test_a_table_that_somebody_locks(kit: Kit) -> None:
    kind, own = drift(kit)
    plan = kit.plan((kind, own))
    with unchanged(kit), psycopg.connect(kit.url) as other:
        other.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DeadlineError, match="lock timeout") as caught:
            kit.apply(plan)
        assert caught.value.environment == "dev"
        other.rollback()


TRIGGERS = {
    "vetoes": ("BEFORE UPDATE", "RETURN NULL;", "the row was not written (its triggers: strange on update)"),
    "raises": ("BEFORE UPDATE", "RAISE EXCEPTION 'not on my watch';", "not on my watch (P0001)"),
    "rewrites": ("BEFORE UPDATE", "NEW.email := upper(NEW.email); RETURN NEW;", '"NEW+DEV@X.IO" was written instead'),
    "takes along": (
        "AFTER UPDATE",
        "UPDATE users SET name = 'x' WHERE id <> NEW.id; RETURN NEW;",
        "other rows of users would change with it",
    ),
    "takes along elsewhere": (
        "AFTER UPDATE",
        "DELETE FROM conversations; RETURN NEW;",
        "other rows of ",
    ),
}


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_trigger_that_does_something_else(kit: Kit, name: str) -> None:
    when, body, why = TRIGGERS[name]
    kind, own = drift(kit)
    spared = kit.person("k+dev@x.io", "k+dev@x.io", "b")
    key, _ = kit.key(spared)
    kit.sql(f"CREATE FUNCTION strange() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
    kit.sql(
        f"CREATE TRIGGER strange {when} ON users FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION strange()"
    )
    plan = kit.plan((kind, own), ("revoked-access", spared))
    assert plan.warnings == ("users has triggers: strange on update",)
    before = kit.sums("public.api_keys")
    done = kit.apply(plan)
    (left,) = done.skipped
    assert left.why.startswith(why), left.why
    assert left.failed
    assert kit.sums("public.api_keys") == before
    assert kit.active(spared) == []
    assert key


def test_a_trigger_that_keeps_the_time_and_a_history(kit: Kit) -> None:
    kit.sql(
        "CREATE TABLE past (id uuid, email text);"
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now();"
        " INSERT INTO past VALUES (OLD.id, OLD.email); RETURN NEW; END $$;"
        "CREATE TRIGGER keep BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION keep()"
    )
    kind, own = drift(kit)
    done = kit.fix((kind, own))
    assert kit.fetch("SELECT email FROM past") == [("old+dev@x.io",)]
    assert kit.undo(done.run).set_back == {"users": 1}
    assert kit.address(own) == "old+dev@x.io"


@pytest.mark.parametrize(("rule", "why"), [("CASCADE", "other rows of badges"), ("NO ACTION", "violates foreign key")])
def test_a_foreign_key_to_the_address(kit: Kit, rule: str, why: str) -> None:
    kind, own = drift(kit)
    kit.sql(
        "CREATE TABLE badges (owner varchar(255) REFERENCES users (email)"
        f" ON UPDATE {rule} DEFERRABLE INITIALLY DEFERRED)"
    )
    kit.sql("INSERT INTO badges VALUES ('old+dev@x.io')")
    plan = kit.plan((kind, own))
    with unchanged_tables(kit):
        (left,) = kit.apply(plan).skipped
    assert why in left.why


def test_an_address_that_is_too_long_for_the_column(kit: Kit) -> None:
    own = kit.person("old+dev@x.io", "n" * 250 + "+dev@x.io")
    plan = kit.plan(("email-drift", own))
    with unchanged_tables(kit):
        (left,) = kit.apply(plan).skipped
    assert "value too long for type character varying(255)" in left.why


def test_names_that_need_quoting(kit: Kit) -> None:
    kit.sql('ALTER TABLE users ADD "select" text DEFAULT \'%s\', ADD "a ""b"" {c} %d \'e\'" text DEFAULT \'{x}\'')
    kit.sql('ALTER TABLE api_keys ADD "Weird ""%" text')
    kit.sql('CREATE TABLE "Odd %s {t}" ("who%" uuid REFERENCES users (id), "mail {%}" text)')
    kit.write(kit.url, edit=lambda text: text)
    own = kit.auth.add("nu+dev@x.io")
    banned = kit.person("b+dev@x.io", "b+dev@x.io", "b")
    kit.key(banned)
    sums = kit.sums()
    done = kit.fix(("missing-profile", own), ("revoked-access", banned), drift(kit))
    assert done.rows == 3
    kit.sql(f"INSERT INTO \"Odd %s {{t}}\" VALUES ('{own}')")
    back = kit.undo(done.run)
    assert [one.why for one in back.not_undone] == ['1 rows of "Odd %s {t}".who% refer to it']
    kit.sql('DELETE FROM "Odd %s {t}"')
    assert kit.undo(done.run).removed == {"users": 1}
    assert {t for t, s in kit.sums().items() if s != sums[t]} == {"public.users"}  # the profile that drift() made


# ---- undoing


def test_what_was_changed_since_is_not_undone(kit: Kit) -> None:
    a, b, c, d = (kit.person(f"{n}+dev@x.io", f"{n}2+dev@x.io") for n in "abcd")
    banned = kit.person("k+dev@x.io", "k+dev@x.io", "b")
    (used, _), (on, _), (quiet, _) = kit.key(banned), kit.key(banned), kit.key(banned)
    grown, deleted, touched = (kit.auth.add(f"m{i}+dev@x.io") for i in range(3))
    drifts = [("email-drift", own) for own in (a, b, c, d)]
    missing = [("missing-profile", own) for own in (grown, deleted, touched)]
    done = kit.fix(*drifts, *missing, ("revoked-access", banned))
    kit.sql(f"UPDATE users SET email = 'new+dev@x.io' WHERE id = '{a}'")
    kit.sql(f"UPDATE users SET name = 'A name' WHERE id IN ('{b}', '{touched}')")
    kit.sql(f"DELETE FROM users WHERE id IN ('{c}', '{deleted}')")
    kit.profile("D+dev@x.io")
    kit.sql(f"INSERT INTO conversations (user_id, title) VALUES ('{grown}', 't')")
    kit.sql(f"UPDATE api_keys SET last_used_at = now() WHERE id = '{used}'")
    kit.sql(f"UPDATE api_keys SET is_active = true WHERE id = '{on}'")
    dry = kit.undo(done.run, dry_run=True)
    back = kit.undo(done.run)
    assert msgspec.to_builtins(dry) == msgspec.to_builtins(back)
    why = {one.id: one.why for one in back.not_undone}
    assert why.pop(a) == "its address is new+dev@x.io now"
    assert why.pop(c) == "the row is gone"
    assert why.pop(d).startswith("another profile has the address d+dev@x.io")
    assert why.pop(grown) == "1 rows of conversations.user_id refer to it"
    assert why.pop(touched) == "it was changed since: name"
    assert why.pop(used) == "it was changed since: last_used_at"
    assert why == {}
    assert (back.set_back, back.present) == ({"users": 1, "api_keys": 1}, {"api_keys": 1, "users": 1})
    assert (kit.address(b), kit.address(d)) == ("b+dev@x.io", "d2+dev@x.io")
    assert sorted(kit.active(banned)) == sorted([on, quiet])
    assert len(kit.fetch(f"SELECT FROM conversations WHERE user_id = '{grown}'")) == 1
    assert kit.run(done).state().word == "partly restored"


SOFT = {
    "by id": "INSERT INTO asset_usage (usage_type, user_id) VALUES ('x', '{id}')",
    "under a condition": "INSERT INTO kb_permissions (resource_path, resource_type, principal_type, principal_id,"
    " permissions) VALUES ('/', 'x', 'user', '{id}', '{{read}}')",
    "by address": "INSERT INTO kb_semantic_index_metadata (namespace, relative_path, content_hash, chunk_count,"
    " file_mtime, indexed_at) VALUES ('users/{address}', 'p', 'h', 1, 1, now())",
}


def test_an_inserted_profile_that_a_soft_reference_names(kit: Kit) -> None:
    people = {how: kit.auth.add(f"nu{number}+dev@x.io") for number, how in enumerate(SOFT)}
    done = kit.fix(*[("missing-profile", own) for own in people.values()])
    for how, own in people.items():
        kit.sql(SOFT[how].format(id=own, address=kit.address(own)))
    with unchanged_tables(kit):
        left = kit.undo(done.run).not_undone
    assert {one.id for one in left} == set(people.values())
    assert all(one.why.endswith("refer to it") for one in left)


def test_a_reference_that_is_inserted_while_the_profile_goes(kit: Kit) -> None:
    """An uncommitted child holds the profile: it is not deleted, nor is the child."""
    own = kit.auth.add("nu+dev@x.io")
    done = kit.fix(("missing-profile", own))
    with psycopg.connect(kit.url) as other:
        other.execute(f"INSERT INTO conversations (user_id, title) VALUES ('{own}', 't')")
        (left,) = kit.undo(done.run).not_undone
        other.commit()
    assert left.why.startswith("another session holds the row")
    assert kit.address(own)


def test_an_address_that_new_rows_name_does_not_go(kit: Kit) -> None:
    done = kit.fix(drift(kit))
    kit.sql(SOFT["by address"].format(address="new+dev@x.io"))
    with unchanged_tables(kit):
        (left,) = kit.undo(done.run).not_undone
    assert "name the address new+dev@x.io and would dangle" in left.why


def test_an_archive_that_was_changed(kit: Kit) -> None:
    done = kit.fix(drift(kit))
    file = kit.run(done).rows_file
    whole = file.read_bytes()
    for content in (whole.replace(b"old+dev", b"evl+dev"), whole[:-1], b"", whole * 2):
        file.write_bytes(content)
        with unchanged_tables(kit), pytest.raises(RefusedError, match="was changed"):
            kit.undo(done.run)
    file.unlink()
    with unchanged_tables(kit), pytest.raises(RefusedError, match="not whole"):
        kit.undo(done.run)
    file.write_bytes(whole)
    assert kit.undo(done.run).rows == 1


def test_another_server_and_another_schema(kit: Kit, sandbox: Sandbox) -> None:
    done = kit.fix(drift(kit))
    kit.write(sandbox.url("staging"))
    with pytest.raises(RefusedError, match="wrong database behind the name"):
        kit.undo(done.run)
    kit.write(kit.url)
    kit.sql("ALTER TABLE users RENAME TO people")
    with pytest.raises(RefusedError, match="no table users"):
        kit.undo(done.run)


# ---- refusals


def test_a_plan_of_another_server(kit: Kit, sandbox: Sandbox) -> None:
    plan = kit.plan(drift(kit))
    kit.write(sandbox.url("staging"))
    with unchanged(kit), pytest.raises(RefusedError, match="wrong database behind the name") as caught:
        kit.apply(plan)
    assert caught.value.hint
    kit.write(kit.url)
    with pytest.raises(RefusedError, match="the plan is production's"):
        kit.apply(msgspec.structs.replace(plan, environment="production"))


def test_a_plan_is_good_for_one_run(kit: Kit) -> None:
    plan = kit.plan(drift(kit))
    kit.apply(plan)
    with unchanged_tables(kit), pytest.raises(RefusedError, match="this plan was used"):
        kit.apply(plan)


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        ('pin = { database = "llm_platform" }', "wrong database behind the name"),
        ('pin = { system_identifier = "1" }', "wrong database behind the name"),
    ],
)
def test_pins(kit: Kit, edit: str, why: str) -> None:
    kind, own = drift(kit)
    plan = kit.plan((kind, own))
    kit.write(kit.url, more=edit)
    with unchanged(kit):
        for step in (lambda: kit.plan((kind, own)), lambda: kit.apply(plan)):
            with pytest.raises(RefusedError, match=why):
                step()


@pytest.mark.parametrize("spelling", ["127.0.0.1", "localhost"])
def test_two_names_of_one_database(kit: Kit, spelling: str) -> None:
    kind, own = drift(kit)
    twin = kit.url.replace("127.0.0.1", spelling)
    kit.write(kit.url, edit=lambda text: text.replace("postgresql://nobody@127.0.0.1:1/nowhere_staging", twin))
    with unchanged(kit), pytest.raises(RefusedError, match="staging is the same database"):
        kit.plan((kind, own))


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("ALTER TABLE users RENAME TO people; CREATE VIEW users AS SELECT * FROM people", "has no primary key id"),
        ("CREATE TABLE heir () INHERITS (users)", "heirs"),
        ("CREATE RULE odd AS ON UPDATE TO users DO ALSO NOTHING", "rewrite rules"),
    ],
)
def test_a_table_that_is_not_what_it_seems(kit: Kit, script: str, why: str) -> None:
    kind, own = drift(kit)
    kit.sql(script)
    with unchanged(kit), pytest.raises(RefusedError, match=why) as caught:
        kit.plan((kind, own))
    assert caught.value.hint


def test_a_role_that_may_not_write(kit: Kit) -> None:
    kind, own = drift(kit)
    missing = ("missing-profile", kit.auth.add("nu+dev@x.io"))
    name = f"r_{uuid.uuid4().hex[:8]}"
    kit.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'x'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    try:
        place = kit.url.partition("@")[2]
        kit.write(f"postgresql://{name}:x@{place}")
        with unchanged(kit), pytest.raises(RefusedError, match="this role may not UPDATE in users"):
            kit.plan((kind, own))
        kit.sql(f"GRANT UPDATE ON users TO {name}")
        banned = kit.person("b+dev@x.io", "b+dev@x.io", "b")
        kit.key(banned)
        plan = kit.plan((kind, own), missing, ("revoked-access", banned))
        assert reasons(plan) == ["this role may not UPDATE in api_keys"]
        done = kit.apply(plan)
        assert reasons(done) == ["permission denied for table users (42501)"]
        assert kit.address(own) == "new+dev@x.io"
    finally:
        kit.sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_replica(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    one = drift(kit)
    plan = kit.plan(one)
    done = kit.fix(drift(kit, "u+dev@x.io", "v+dev@x.io"))
    facts = catalog.facts
    monkeypatch.setattr(catalog, "facts", lambda session: msgspec.structs.replace(facts(session), standby=True))
    with unchanged_tables(kit):
        for step in (lambda: kit.plan(one), lambda: kit.apply(plan), lambda: kit.undo(done.run)):
            with pytest.raises(RefusedError, match="this is a replica"):
                step()


def test_a_source_that_cannot_tell(kit: Kit) -> None:
    kind, own = drift(kit)
    plan = kit.plan((kind, own))
    kit.auth.partial = True
    with unchanged(kit):
        for step in (lambda: kit.plan((kind, own)), lambda: kit.apply(plan)):
            with pytest.raises(PartialError):
                step()


def test_another_change_of_this_database_runs(kit: Kit) -> None:
    plan = kit.plan(drift(kit))
    with unchanged(kit), psycopg.connect(kit.url) as other:
        other.execute("SELECT pg_advisory_lock(1734437217, 1)")
        with pytest.raises(RefusedError, match="another clean-up or restore"):
            repair.apply(kit.registry, kit.env, plan, kit.auth.again, repair.Hooks())


# ---- Redis, and what a crash leaves


def test_redis_is_down(kit: Kit) -> None:
    own = kit.person("ex+dev@x.io", "ex+dev@x.io", "b")
    _, digest = kit.key(own)
    entry = f"gaia:auth:apikey:v1:{digest[:32]}"
    session = f"user:session:{NOBODY}"
    kit.store(entry, session)
    right = kit.redis_url
    plan = kit.plan(("revoked-access", own), ("stale-cache", session))
    alone = kit.plan(("stale-cache", session))
    kit.redis_url = "redis://127.0.0.1:1/0"
    kit.write(kit.url)
    with unchanged(kit), pytest.raises(ConnectError):
        kit.apply(alone)  # there was nothing else to do: nothing was changed
    done = kit.apply(plan)
    assert (done.rows, done.cache_left, kit.active(own)) == (1, 2, [])
    assert "refused" in done.cache_failure
    assert kit.run(done).state().word == "unfinished"
    (later,) = repair.finish(kit.registry, kit.env)
    assert later.cache_left == 1
    kit.redis_url = right
    kit.write(kit.url)
    assert kit.cached(entry, session) == [True, True]
    (later,) = repair.finish(kit.registry, kit.env)
    assert (later.cache_removed, later.cache_left) == (1, 0)
    assert kit.cached(entry, session) == [False, True]  # the other one is for the next audit to find
    assert kit.run(done).state().word == "done"
    assert list(repair.finish(kit.registry, kit.env)) == []


def test_without_redis(kit: Kit) -> None:
    kit.redis_url = ""
    kit.write(kit.url)
    own = kit.person("ex+dev@x.io", "ex+dev@x.io", "b")
    kit.key(own)
    done = kit.fix(("revoked-access", own))
    assert (done.rows, done.cache_removed, done.cache_left) == (1, 0, 0)


def journal_without(kit: Kit, run: str, *events: str) -> None:
    """Takes lines out of a journal, as a crash before them would."""
    file = next(one for one in repair_run.every() if one.id == run).folder / "journal.jsonl"
    lines = [line for line in file.read_text().splitlines() if not any(f'"event": "{e}"' in line for e in events)]
    file.write_text("".join(line + "\n" for line in lines))


AFTERWARDS = ("committed", "dropped", "ended")


def test_a_crash_after_the_commit(kit: Kit) -> None:
    own = kit.person("ex+dev@x.io", "ex+dev@x.io", "b")
    _, digest = kit.key(own)
    entry = f"gaia:auth:apikey:v1:{digest[:32]}"
    done = kit.fix(("revoked-access", own))
    journal_without(kit, done.run, *AFTERWARDS)
    kit.store(entry)
    assert kit.run(done).state().doubtful
    assert kit.run(done).state().word == "unfinished"
    (later,) = repair.finish(kit.registry, kit.env)
    assert (later.rows, later.cache_removed, kit.cached(entry)) == (1, 1, [False])
    journal_without(kit, done.run, *AFTERWARDS)
    assert kit.undo(done.run).set_back == {"api_keys": 1}


def test_a_crash_before_the_commit(kit: Kit) -> None:
    kind, own = drift(kit)
    done = kit.fix((kind, own))
    kit.undo(done.run)
    journal_without(kit, done.run, *AFTERWARDS, "restored")  # the transaction's id says committed, the rows say not
    assert [one.rows for one in repair.finish(kit.registry, kit.env)] == [0]
    assert repair_run.every() == []
    assert kit.address(own) == "old+dev@x.io"


def test_a_crash_before_anything(kit: Kit) -> None:
    repair_run.create(kit.plan(drift(kit)))
    assert [one.rows for one in repair.finish(kit.registry, kit.env)] == [0]
    assert repair_run.every() == []


def test_a_run_that_somebody_works_on_is_passed_over(kit: Kit) -> None:
    run = repair_run.create(kit.plan(drift(kit)))
    with run.lock():
        assert list(repair.finish(kit.registry, kit.env)) == []


def test_the_disk_is_full_before_the_commit(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = kit.plan(drift(kit))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with unchanged(kit), monkeypatch.context() as patch:
        patch.setattr("gaiaops.audit.repair_run.RepairRun.archive", lambda *_: full())
        with pytest.raises(OSError, match="No space"):
            kit.apply(plan)


def test_the_server_goes_away_before_the_commit(kit: Kit) -> None:
    plan = kit.plan(drift(kit))

    def kill() -> None:
        kit.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND datname = current_database()"
        )

    kit.auth.before_look = kill
    with unchanged(kit), pytest.raises(GaiaopsError) as caught:
        kit.apply(plan)
    assert caught.value.environment == "dev"
