"""A clean-up over shards takes what the same clean-up of one database with all the rows takes, nothing else, and all
of it comes back; and whoever is somebody else in another shard stays."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import psycopg
import pytest

from gaiaops.cleanup import apply, auth_users
from gaiaops.cleanup.auth_users import Person
from gaiaops.cleanup.plan import Plan
from gaiaops.cleanup.shards import guests
from gaiaops.errors import RefusedError
from gaiaops.postgres.identity import Namesakes
from tests.integration import cleanup_shards_kit as model
from tests.integration.cleanup_kit import Kit, database, fetch, ids, run
from tests.integration.cleanup_shards_kit import ShardKit
from tests.integration.purge_kit import STRESS

NAMES = ("eu", "us", "ap")
ALLOWED = {"allow_collateral": True}
REFERENCES = dict(line.split(" = ", 1) for line in model.REFERENCES.strip().splitlines()[1:])


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users who are locked get their further chances at once."""
    monkeypatch.setattr(apply, "time", SimpleNamespace(sleep=lambda _: None))


@pytest.fixture(scope="module")
def databases(postgres_url: str) -> Iterator[dict[str, str]]:
    """Three shards, and `one` for all of them, with the model's tables."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(database(postgres_url, model.SCHEMA)) for name in (*NAMES, "one")}


@pytest.fixture
def two(databases: dict[str, str], tmp_path: Path) -> ShardKit:
    """Two empty shards, eu and us."""
    kit = ShardKit(tmp_path, {name: databases[name] for name in ("eu", "us")})
    for url in kit.urls.values():
        run(url, f"TRUNCATE {', '.join(model.TABLES)}")
    return kit


def merged(kit: ShardKit) -> dict[str, list[str]]:
    """The rows of all shards together; one who is in several is one."""
    found: dict[str, Counter[str]] = {}
    for url in kit.urls.values():
        for table, rows in model.left(url).items():
            counted = found.setdefault(table, Counter())
            counted.update(rows if table != "users" else set(rows) - set(counted))
    return {table: sorted(rows.elements()) for table, rows in found.items()}


def counted(*plans: Plan) -> Counter[tuple[str, str]]:
    """(table, action) → rows; users are counted by their number, for one may be in several shards."""
    found: Counter[tuple[str, str]] = Counter()
    for table in (table for plan in plans for table in plan.tables if table.table != "users"):
        found[table.table, table.action] += table.rows
    return found


@pytest.mark.parametrize("seed", range(40 if STRESS else 2))
def test_it_takes_what_one_database_would_lose(databases: dict[str, str], tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - rows, no secret
    names = NAMES[: 2 + seed % 2]
    world = model.people(rng, names, 12)
    kit = ShardKit(tmp_path / "shards", {name: databases[name] for name in names})
    for name, url in kit.urls.items():
        model.fill(url, world.of(name))
    model.fill(databases["one"], world.of())
    one = Kit(tmp_path / "one", databases["one"], REFERENCES)
    before = kit.checksums()

    assert bool(kit.plan().refusals) == bool(one.plan().refusals)
    wanted, _, alone = one.clean(**ALLOWED)
    plan, made, done = kit.clean(**ALLOWED)

    assert merged(kit) == model.left(databases["one"])
    assert (done.skipped, done.left) == ({}, 0)
    assert plan.users == done.users == alone.users == wanted.users
    assert plan.users_in_all == wanted.users_in_all
    assert counted(*plan.plans) == counted(wanted)
    assert made.word == "done"

    restored = kit.restore(made)
    assert restored.problems == 0
    assert kit.checksums() == before
    assert made.word == "restored"


# -- somebody else in another shard ---------------------------------------------------------------------------------

A, B, C = (f"{letter * 8}-0000-4000-8000-000000000000" for letter in "abc")


def user(url: str, key: str, address: str, created: str = "2020-01-01") -> None:
    run(url, f"INSERT INTO users VALUES ('{key}', '{address}', 'x', '{created}')")


def test_an_id_that_is_somebody_elses_in_another_shard(two: ShardKit) -> None:
    """Real in one, a test user in the other: nobody of that id goes, from any shard."""
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(us, A, "a@x.io")
    user(us, B, "b+dev@x.io")
    user(eu, B, "b2+dev@x.io")
    user(eu, C, "c+dev@x.io")
    plan, _, done = two.clean()
    assert plan.users == done.users == 1
    assert plan.conflicting == (
        "a+dev@x.io (in production/us the id is that of a@x.io, who stays)",
        "b2+dev@x.io and b+dev@x.io have one id",
    )
    assert {str(key) for key in ids(eu, "users")} == {A, B}
    assert {str(key) for key in ids(us, "users")} == {A, B}


@pytest.mark.parametrize("options", [{"keep": ("a+dev@x.io",)}, {"older_than": 86_400_000, "older_text": "1d"}])
def test_who_stays_in_one_shard_stays_in_all(two: ShardKit, options: dict[str, object]) -> None:
    """Kept, or too young in one shard."""
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(us, A, "a+dev@x.io", "now")
    before = two.checksums()
    assert two.plan(**options).users == 0
    assert two.checksums() == before


def test_an_address_that_changed_in_one_shard_after_the_plan(two: ShardKit) -> None:
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(us, A, "a+dev@x.io")
    user(eu, B, "b+dev@x.io")
    user(eu, C, "c+dev@x.io")
    run(us, f"INSERT INTO prefs VALUES ('{A}', 'his')")
    plan = two.plan()
    made = two.create(plan)
    run(us, f"UPDATE users SET email = 'a@x.io' WHERE id = '{A}'")
    user(us, B, "real@x.io")  # an id that only a test user of another shard had
    before = two.checksums()["us"]
    done = two.apply(made)
    assert done.users == 1
    assert done.skipped == {
        "a+dev@x.io": "in production/us the id is that of a@x.io (production/us)",
        "b+dev@x.io": "in production/us the id is that of real@x.io (production/eu)",
    }
    assert {str(key) for key in ids(eu, "users")} == {A, B}
    assert two.checksums()["us"] == before
    assert made.word == "done"


def test_rows_of_somebody_of_another_shard_are_collateral(two: ShardKit) -> None:
    """A message that a real person of eu wrote in a test user's talk in us."""
    eu, us = two.urls.values()
    user(eu, A, "a@x.io")
    user(us, B, "b+dev@x.io")
    run(us, f"INSERT INTO talks VALUES (1, '{B}'); INSERT INTO messages VALUES (1, 1, '{A}', 'hers')")
    run(us, f"INSERT INTO messages VALUES (2, 1, '{B}', 'his'), (4, 1, '{C}', 'nobody is C')")
    plan = two.plan()
    assert plan.refusals == (
        "production/us: 1 rows of other people would go too (--keep b+dev@x.io, or --allow-collateral)",
    )
    assert [(entry.owner, entry.rows) for entry in plan.plans[1].collateral] == [(A, 1)]
    run(us, "DELETE FROM messages WHERE id = 1")
    made = two.create(two.plan())
    run(us, f"INSERT INTO messages VALUES (3, 1, '{A.upper()}', 'hers, written after the plan')")
    before = two.checksums()
    done = two.apply(made)
    assert done.skipped == {"b+dev@x.io": "rows of somebody else in messages (production/us)"}
    assert two.checksums() == before
    plan, made, done = two.clean(**ALLOWED)
    assert ids(us, "messages") == set()
    two.restore(made)
    assert two.checksums() == before


@pytest.mark.usefixtures("hasty")
def test_what_names_somebody_who_was_skipped_stays(two: ShardKit) -> None:
    """Locked all along in eu: what us says of them is left, until they are gone."""
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(eu, B, "b+dev@x.io")
    run(us, f"INSERT INTO prefs VALUES ('{A}', 'of a'), ('{B}', 'of b')")
    made = two.create(two.plan())
    with psycopg.connect(eu) as holder:
        holder.execute("SELECT FROM users WHERE id = %s FOR UPDATE", [A])
        done = two.apply(made)
    assert (done.users, done.left) == (1, 1)
    assert made.word == "unfinished"
    assert fetch(us, "SELECT what FROM prefs") == [("of a",)]
    done = two.apply(made)
    assert (done.users, done.left) == (1, 0)
    assert fetch(us, "SELECT what FROM prefs") == []
    assert made.word == "done"
    assert len(made.guests_of(2)) == 2


def test_what_names_somebody_who_came_back_stays(two: ShardKit) -> None:
    """Between the shards and what names them: the address is registered again, under another id."""
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    run(us, "INSERT INTO walls VALUES (1, 'users/a+dev@x.io')")
    made = two.create(two.plan())

    def stop() -> bool:
        if not ids(eu, "users"):  # they have just gone
            user(eu, B, "a+dev@x.io")
        return False

    hooks = two.hooks
    hooks.stop = stop
    two.apply(made, hooks)
    assert ids(us, "walls") == {1}


@pytest.mark.usefixtures("hasty")
def test_what_names_somebody_whom_another_shard_still_has_stays(databases: dict[str, str], tmp_path: Path) -> None:
    """In eu and us, locked in us: what ap says of them is left until they are gone from both."""
    kit = ShardKit(tmp_path, {name: databases[name] for name in NAMES})
    for url in kit.urls.values():
        run(url, f"TRUNCATE {', '.join(model.TABLES)}")
    eu, us, ap = kit.urls.values()
    user(eu, A, "a+dev@x.io")
    user(us, A, "a+dev@x.io")
    run(ap, f"INSERT INTO prefs VALUES ('{A}', 'of a'); INSERT INTO walls VALUES (1, 'users/a+dev@x.io')")
    made = kit.create(kit.plan())
    before = kit.checksums()
    with psycopg.connect(us) as holder:
        holder.execute("SELECT FROM users WHERE id = %s FOR UPDATE", [A])
        done = kit.apply(made)
    assert (done.left, ids(eu, "users")) == (1, set())
    assert kit.checksums()["ap"] == before["ap"]
    kit.apply(made)
    assert ids(ap, "walls") | ids(ap, "prefs", "what") | ids(us, "users") == set()
    kit.restore(made)
    assert kit.checksums() == before


def test_what_names_somebody_who_comes_at_the_last_moment_stays(two: ShardKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """After all shards were asked, before the batch: the batch looks again."""
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(eu, B, "b+dev@x.io")
    run(us, f"INSERT INTO prefs VALUES ('{A}', 'of a'); INSERT INTO walls VALUES (1, 'users/b+dev@x.io')")
    made = two.create(two.plan())
    find = guests.Gone.find

    def then(*arguments: Any) -> guests.Gone:
        found = find(*arguments)
        user(us, A, "back@x.io")
        user(us, C, "b+dev@x.io")
        return found

    monkeypatch.setattr(guests.Gone, "find", then)
    done = two.apply(made)
    assert set(done.skipped.values()) == {"the id or the address is in use again (production/us)"}
    assert (ids(us, "walls"), ids(us, "prefs", "what")) == ({1}, {"of a"})


def test_a_name_that_was_nobodys_and_is_somebodys(two: ShardKit) -> None:
    """Whoever a message in a test user's talk names may have come to another shard since the plan."""
    eu, us = two.urls.values()
    user(us, B, "b+dev@x.io")
    run(us, f"INSERT INTO talks VALUES (1, '{B}'); INSERT INTO messages VALUES (1, 1, '{A}', 'nobody wrote it')")
    made = two.create(two.plan())
    user(eu, A, "a@x.io")
    before = two.checksums()
    assert two.apply(made).skipped == {"b+dev@x.io": "rows of somebody else in messages (production/us)"}
    assert two.checksums() == before


def test_a_text_that_is_nobodys_id_is_no_reference(two: ShardKit) -> None:
    """An address of one in the columns of another, the system, an empty text: nothing goes with them."""
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    run(us, "INSERT INTO prefs VALUES ('', 'x'), ('system', 'x'), ('a+dev@x.io', 'x'), (NULL, 'x')")
    run(us, "INSERT INTO walls VALUES (1, 'users/'), (2, 'users/A+dev@x.io'), (3, 'team/a+dev@x.io')")
    run(us, f"INSERT INTO grants VALUES (1, 'team', '{A}')")
    before = two.checksums()["us"]
    two.clean()
    assert two.checksums()["us"] == before


def test_it_stops_between_two_shards_and_goes_on(two: ShardKit) -> None:
    """Told to stop after the first: the second is as it was, and so is what names somebody of the first."""
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(us, B, "b+dev@x.io")
    run(us, f"INSERT INTO prefs VALUES ('{A}', 'of a')")
    before = two.checksums()
    made = two.create(two.plan())
    hooks = two.hooks
    hooks.stop = lambda: not ids(eu, "users")
    done = two.apply(made, hooks)
    assert (done.users, done.left, done.interrupted, made.word) == (1, 1, True, "unfinished")
    assert two.checksums()["us"] == before["us"]
    until = made.plan().until
    for path in made.folder.rglob("*.json"):  # a run that has begun is good for longer than a plan
        path.write_text(re.sub(r'"until":"[^"]*"', '"until":"2020-01-01T00:00:00Z"', path.read_text()))
    assert made.plan().until < until
    done = two.apply(made)
    assert (done.users, done.left, done.interrupted, made.word) == (1, 0, False, "done")
    assert ids(us, "prefs", "what") == set()
    two.restore(made)
    assert two.checksums() == before


def test_behind_transaction_poolers(two: ShardKit) -> None:
    """Each transaction has its own temporary tables, the names that are nobody's among them."""
    two.write('pooler = "transaction"')
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(us, B, "b+dev@x.io")
    user(us, C, "c@x.io")
    run(us, f"INSERT INTO prefs VALUES ('{A}', 'of a'), ('{C}', 'of c')")
    run(
        us,
        f"INSERT INTO talks VALUES (1, '{B}'); INSERT INTO messages VALUES (1, 1, '{A}', 'x'), (2, 1, 'nobody', 'x')",
    )
    before = two.checksums()
    _, made, done = two.clean()
    assert (done.skipped, done.users) == ({}, 2)
    assert fetch(us, "SELECT what FROM prefs") == [("of c",)]
    assert ids(us, "messages") == set()
    two.restore(made)
    assert two.checksums() == before


# -- plans -----------------------------------------------------------------------------------------------------------


def test_the_cap_counts_people_of_all_shards(two: ShardKit) -> None:
    """Three of sixty are 5 %, whatever shard they are in; who is in both is one."""
    eu, us = two.urls.values()
    for url in (eu, us):
        for number in (1, 2, 3):
            user(url, f"{number:08d}-0000-4000-8000-000000000000", f"t{number}+dev@x.io")
    run(us, "INSERT INTO users SELECT gen_random_uuid(), 'r' || i || '@x.io', 'x' FROM generate_series(1, 57) AS i")
    plan = two.plan(max_users=None)
    assert (plan.users, plan.users_in_all, plan.refusals) == (3, 60, ())
    run(us, "DELETE FROM users WHERE email = 'r1@x.io'")
    assert two.plan(max_users=None).refusals == (
        "3 of 59 users would go; 5 % or 1,000 of them allow 2 (--max-users 3 if you mean it)",
    )
    made = two.create(plan)
    before = two.checksums()
    with pytest.raises(RefusedError, match="the plan takes 3 users, more than it may"):
        two.apply(made)
    assert two.checksums() == before
    assert not made.folder.exists()


def test_keep_names_somebody_of_any_shard(two: ShardKit) -> None:
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(us, B, "b+dev@x.io")
    assert two.plan(keep=("b+dev@x.io",)).users == 1
    with pytest.raises(RefusedError, match="no user has this address"):
        two.plan(keep=("b+dev@x.io", "bb+dev@x.io"))


def test_the_environments_own_people_stay(two: ShardKit) -> None:
    """A shard's name is not the environment's: its tag is its own all the same."""
    for url in two.urls.values():
        user(url, A, "a+production@x.io")
    assert two.plan().users == 0


@pytest.mark.parametrize("namesakes", [True, False])
def test_two_shards_that_are_one_database(two: ShardKit, monkeypatch: pytest.MonkeyPatch, namesakes: bool) -> None:
    """Also where the one that asks all databases of the registry had no answer in time."""
    if not namesakes:
        monkeypatch.setattr(Namesakes, "check", lambda *_: None)
    two.urls["us"] = two.urls["eu"].replace("127.0.0.1", "localhost")
    two.write()
    with pytest.raises(RefusedError, match="the same database"):
        two.plan()


def test_ids_of_two_types(two: ShardKit) -> None:
    us = two.urls["us"]
    run(us, "ALTER TABLE talks DROP CONSTRAINT talks_user_id_fkey; ALTER TABLE users ALTER id TYPE text")
    try:
        with pytest.raises(RefusedError, match=r"users.id is uuid in production/eu and text in production/us"):
            two.plan()
    finally:
        run(us, "ALTER TABLE users ALTER id TYPE uuid USING id::uuid")
        run(us, "ALTER TABLE talks ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE")


def test_an_auth_record_that_a_shard_needs_is_kept(two: ShardKit) -> None:
    """By its id or its address, in whichever shard."""
    eu, us = two.urls.values()
    user(eu, A, "a@x.io")
    user(us, B, "b@x.io")
    loaded = two.registry
    only = msgspec.structs.replace(loaded, environments=loaded.environments[:1])
    people = [Person(A, "other@x.io"), Person(C, "B@x.io"), Person(C, "c@x.io")]
    found = auth_users._still_there(only, people)
    assert (found[A], found["b@x.io"]) == ("a profile in production/eu has it", "a profile in production/us has it")
    assert not found.keys() & {C, "c@x.io"}
