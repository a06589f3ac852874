"""Attacks on a clean-up over shards: whoever stays in one shard stays in all with what is theirs, also where it is only
known after the first shard is done, and whatever ids and addresses look like."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from gaiaops.cleanup import apply
from gaiaops.cleanup.shards import guests
from gaiaops.errors import RefusedError
from tests.integration import cleanup_shards_kit as model
from tests.integration.cleanup_kit import database, fetch, ids, run
from tests.integration.cleanup_shards_kit import ShardKit

A, B, C = (f"{letter * 8}-0000-4000-8000-000000000000" for letter in "abc")
DAY = {"older_than": 86_400_000, "older_text": "1d"}
BLOCK = model.REFERENCES.replace('where = "kind', 'on_delete = "block", where = "kind LIKE \'u%\' AND kind')


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
    with ExitStack() as stack:
        yield {name: stack.enter_context(database(postgres_url, model.SCHEMA)) for name in ("eu", "us", "ap")}


@pytest.fixture(scope="module")
def _plain(postgres_url: str) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(database(postgres_url)) for name in ("eu", "us")}


@pytest.fixture
def plain(_plain: dict[str, str]) -> dict[str, str]:
    """Two databases without tables."""
    for url in _plain.values():
        run(url, "DROP TABLE IF EXISTS talks, users")
    return _plain


@pytest.fixture
def three(databases: dict[str, str], tmp_path: Path) -> ShardKit:
    """Three empty shards."""
    for url in databases.values():
        run(url, f"TRUNCATE {', '.join(model.TABLES)}")
    return ShardKit(tmp_path, databases)


@pytest.fixture
def two(three: ShardKit) -> ShardKit:
    """Two empty shards, eu and us."""
    del three.urls["ap"]
    three.write()
    return three


def user(url: str, key: str, address: str, created: str = "2020-01-01") -> None:
    run(url, f"INSERT INTO users VALUES ('{key}', '{address}', 'x', '{created}')")


def talk(url: str, owner: str, author: str) -> None:
    run(url, f"INSERT INTO talks VALUES (1, '{owner}'); INSERT INTO messages VALUES (1, 1, '{author}', 'x')")


# -- known when the first shard is done ------------------------------------------------------------------------------


def test_who_was_left_in_the_first_shard_stays_in_the_second(two: ShardKit) -> None:
    """A real person wrote in their talk after the plan: they stay in eu, in us, and so does what they wrote in us."""
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(us, A, "a+dev@x.io")
    user(us, B, "b+dev@x.io")
    user(eu, C, "c@x.io")
    talk(us, B, A)
    made = two.create(two.plan())
    talk(eu, A, C)
    before = two.checksums()
    done = two.apply(made)
    assert two.checksums() == before
    assert done.skipped == {
        "a+dev@x.io": "they are left in production/eu (production/us)",
        "b+dev@x.io": "rows of somebody else in messages (production/us)",
    }
    assert made.own[0].state().skipped == {"a+dev@x.io": "rows of somebody else in messages"}


@pytest.mark.usefixtures("hasty")
def test_who_is_locked_in_the_first_shard_waits_in_the_second(two: ShardKit) -> None:
    """The same run takes them from both, when they can go."""
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(us, A, "a+dev@x.io")
    user(us, B, "b+dev@x.io")
    talk(us, B, A)
    made = two.create(two.plan())
    before = two.checksums()
    with psycopg.connect(eu) as holder:
        holder.execute("SELECT FROM users WHERE id = %s FOR UPDATE", [A])
        done = two.apply(made)
    assert (done.left, made.word) == (1, "unfinished")
    assert two.checksums() == before
    done = two.apply(made)
    assert (done.left, done.users, done.skipped, made.word) == (0, 2, {}, "done")
    assert ids(eu, "users") | ids(us, "users") | ids(us, "messages") == set()
    two.restore(made)
    assert two.checksums() == before


def test_only_who_is_gone_from_all_shards_is_counted_as_gone(two: ShardKit) -> None:
    """What is left of an unfinished run is what is asked for, and what --max-users holds against."""
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(eu, B, "b+dev@x.io")
    user(us, B, "b+dev@x.io")
    made = two.create(two.plan())
    hooks = two.hooks
    hooks.stop = lambda: not ids(eu, "users")
    two.apply(made, hooks)
    assert guests.people_left(made) == {B}
    two.apply(made)
    assert guests.people_left(made) == set()


def test_who_comes_to_the_first_shard_when_it_is_done(two: ShardKit) -> None:
    """As a real person, with the id of a test user of the other one: that id stays there too."""
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(us, B, "b+dev@x.io")
    made = two.create(two.plan())
    before = two.checksums()["us"]

    def stop() -> bool:
        if not ids(eu, "users"):
            user(eu, B, "b@x.io")
        return False

    hooks = two.hooks
    hooks.stop = stop
    done = two.apply(made, hooks)
    assert done.skipped == {"b+dev@x.io": "in production/eu the id is that of b@x.io (production/us)"}
    assert two.checksums()["us"] == before


# -- references that block -------------------------------------------------------------------------------------------


def test_a_reference_that_blocks_in_another_shard(two: ShardKit) -> None:
    """Written after the plan: nobody goes from eu whom a row of us does not let go."""
    two.write(references=BLOCK)
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(eu, B, "b+dev@x.io")
    user(us, B, "b+dev@x.io")
    user(eu, C, "c+dev@x.io")
    made = two.create(two.plan())
    run(us, f"INSERT INTO grants VALUES (1, 'user', '{A}'), (2, 'user', '{B}'), (3, 'team', '{C}')")
    done = two.apply(made)
    assert {str(key) for key in ids(eu, "users")} == {A, B}
    assert {str(key) for key in ids(us, "users")} == {B}
    why = "in production/us grants.principal refers to them, and the registry says block"
    assert done.skipped == {"a+dev@x.io": f"{why} (production/eu)", "b+dev@x.io": f"{why} (production/us)"}


def test_a_reference_that_blocks_where_another_one_has_the_address(two: ShardKit) -> None:
    """What names them in us is not theirs to take along, but it does block."""
    two.write(references=BLOCK)
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(us, B, "a+dev@x.io", "now")
    assert two.plan(**DAY).refusals == ()
    run(us, f"INSERT INTO grants VALUES (1, 'user', '{A}')")
    assert two.plan(**DAY).refusals == (
        "production/us: grants.principal refers to 1 of them, and the registry says block",
    )


# -- ids and addresses that look alike, or do not --------------------------------------------------------------------


def test_one_name_of_two_people(plain: dict[str, str], tmp_path: Path) -> None:
    """Ids that differ by their case only: what may name the one who stays is collateral, whoever is found first."""
    for url in plain.values():
        run(url, "CREATE TABLE users (id text PRIMARY KEY, email text)")
        run(url, "CREATE TABLE talks (id int PRIMARY KEY, user_id text NOT NULL REFERENCES users ON DELETE CASCADE)")
        run(url, "ALTER TABLE talks ADD author text")
    kit = ShardKit(tmp_path, plain, references='[references]\n"talks.author" = { on_delete = "delete" }\n')
    eu, us = plain.values()
    run(us, "INSERT INTO users VALUES ('c', 'c+dev@x.io'); INSERT INTO talks VALUES (1, 'c', 'aB')")
    for people in ("('Ab', 'a+dev@x.io'), ('aB', 'a@x.io')", "('aB', 'a@x.io'), ('Ab', 'a+dev@x.io')"):
        run(eu, f"TRUNCATE users CASCADE; INSERT INTO users VALUES {people}")
        assert kit.plan().refusals == (
            "production/us: 1 rows of other people would go too (--keep c+dev@x.io, or --allow-collateral)",
        )


@pytest.mark.parametrize(("kind", "one", "other"), [("character(40)", "1", "1"), ("numeric", "1", "1.0")])
def test_one_id_in_two_texts(plain: dict[str, str], tmp_path: Path, kind: str, one: str, other: str) -> None:
    """It is the server that says what is equal: in the plan, and once more before the first batch."""
    kit = ShardKit(tmp_path, plain, references="")
    eu, us = plain.values()
    for url in plain.values():
        run(url, f"CREATE TABLE users (id {kind} PRIMARY KEY, email text)")
    run(eu, f"INSERT INTO users VALUES ('{one}', 'a+dev@x.io')")
    made = kit.create(kit.plan())
    run(us, f"INSERT INTO users VALUES ('{other}', 'a@x.io')")
    before = kit.checksums()
    assert kit.apply(made).skipped == {"a+dev@x.io": "in production/us the id is that of a@x.io (production/eu)"}
    assert kit.plan().users == 0
    assert kit.checksums() == before


def test_an_address_whose_case_python_and_the_server_fold_otherwise(three: ShardKit) -> None:
    """Somebody in us has the address, so what names it in ap stays."""
    eu, us, ap = three.urls.values()
    user(eu, A, "İlker+dev@x.io")
    user(us, B, "İlker+dev@x.io", "now")
    run(ap, "INSERT INTO walls VALUES (1, 'users/İlker+dev@x.io')")
    plan, _, done = three.clean(**DAY)
    assert (plan.users, done.users, ids(ap, "walls")) == (1, 1, {1})


def test_somebody_without_an_address(two: ShardKit) -> None:
    """One who logs in by telephone is somebody."""
    eu, us = two.urls.values()
    run(eu, f"ALTER TABLE users ALTER email DROP NOT NULL; INSERT INTO users VALUES ('{A}', NULL, 'telephone')")
    try:
        user(us, B, "b+dev@x.io")
        talk(us, B, A)
        (refusal,) = two.plan().refusals
        assert refusal.startswith("production/us: 1 rows of other people would go too")
    finally:
        run(eu, "DELETE FROM users; ALTER TABLE users ALTER email SET NOT NULL")


# -- a shard that takes no writes ------------------------------------------------------------------------------------


def test_a_shard_that_was_set_read_only(two: ShardKit) -> None:
    """As a host does when the disk is full: it is known before the first shard is changed."""
    eu, us = two.urls.values()
    user(eu, A, "a+dev@x.io")
    user(us, B, "b+dev@x.io")
    before = two.checksums()
    made = two.create(two.plan())
    ((name,),) = fetch(us, "SELECT current_database()")
    with psycopg.connect(eu, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        try:
            with pytest.raises(RefusedError, match=r"\[production/us\] default_transaction_read_only is on"):
                two.apply(made)
        finally:
            connection.execute(f"ALTER DATABASE {name} RESET ALL".encode())
    assert two.checksums() == before
    assert not made.folder.exists()
