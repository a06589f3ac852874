# ruff: noqa: E501 - SQL and tables of values read better unbroken
"""Restoring a purge: every table byte for byte as it was, nothing that is there overwritten, nothing else trusted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gaiaops.errors import RefusedError, UsageError
from tests.integration import hard_schema as hard
from tests.integration.cleanup_kit import USERS, Kit, checksums, contents, database, fetch, ids, run
from tests.integration.type_values import types_script

PEOPLE = """
CREATE TABLE talks (id int PRIMARY KEY, user_id int NOT NULL REFERENCES users ON DELETE CASCADE, title text DEFAULT '');
CREATE TABLE messages (
    id int PRIMARY KEY, user_id int NOT NULL REFERENCES users, talk int NOT NULL REFERENCES talks ON DELETE CASCADE,
    created_by int REFERENCES users);
CREATE TABLE seen (user_id text, what text);
INSERT INTO talks VALUES (1, 1), (2, 2), (11, 11);
INSERT INTO messages VALUES (1, 1, 1, 1), (2, 2, 1, 2), (3, 1, 2, 2), (4, 2, 2, 11), (11, 11, 11, 1), (12, 12, 11, 2), (13, 11, 11, 11);
INSERT INTO seen VALUES ('1', 'a'), ('1', 'a'), ('2', 'b'), ('11', 'a');
"""
SEEN = {'"seen.user_id"': "{}"}


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def empty(postgres_url: str) -> Iterator[str]:
    with database(postgres_url, USERS) as url:
        yield url


@pytest.fixture
def people(empty: str, tmp_path: Path) -> Kit:
    run(empty, PEOPLE)
    return Kit(tmp_path, empty, SEEN)


# ---------------------------------------------------------------- everything back, byte for byte


def test_the_deployed_schema(fresh_url: str, tmp_path: Path) -> None:
    references = """
"user_persona_preferences.user_id" = {}
"personas.created_by" = {}
"asset_generations.user_id" = {}
"asset_modifications.user_id" = {}
"asset_usage.user_id" = {}
"kb_documents.locked_by" = {}
"kb_document_history.changed_by" = {}
"kb_permissions.principal_id" = { where = "principal_type = 'user'" }
"kb_permissions.granted_by" = {}
"kb_activity_log.actor_id" = { where = "actor_type = 'user'" }
"kb_semantic_index_metadata.namespace" = { holds = "users/{address}" }
"""
    entries = dict(line.split(" = ", 1) for line in references.strip().splitlines())
    kit, before = Kit(tmp_path, fresh_url, entries), checksums(fresh_url)
    plan, made, outcome = kit.clean(tags=("dev", "staging", "local"), allow_collateral=True)
    assert (outcome.users, outcome.skipped) == (plan.users, {})
    assert plan.users > 50
    restored = kit.restore(made)
    assert restored.problems == 0
    assert restored.rows == outcome.rows
    assert checksums(fresh_url) == before


SETTINGS = {
    "plain": (),
    "another text": (
        "datestyle = 'German'", "intervalstyle = 'sql_standard'", "bytea_output = 'escape'", "extra_float_digits = -3",
        "lc_monetary = 'C.UTF-8'", "timezone = 'America/St_Johns'", "xmloption = 'document'",
        "standard_conforming_strings = off", "default_transaction_isolation = 'serializable'",
    ),
    "iso": ("datestyle = 'SQL, DMY'", "intervalstyle = 'iso_8601'", "timezone = 'Asia/Kathmandu'", "quote_all_identifiers = on"),
    "array_nulls": ("array_nulls = off",),
}  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_type(empty: str, tmp_path: Path, settings: str) -> None:
    run(empty, types_script(empty))
    before = contents(empty)
    for setting in SETTINGS[settings]:
        run(empty, f"ALTER DATABASE {empty.rpartition('/')[2]} SET {setting}")
    kit = Kit(tmp_path, empty)
    _, made, outcome = kit.clean()
    assert outcome.skipped == {}
    assert ids(empty, "everything", "user_id") == {11}
    restored = kit.restore(made)
    assert restored.problems == 0
    _reset(empty)
    assert contents(empty) == before


def test_every_type_is_compared_and_put_back_for_one_user(empty: str, tmp_path: Path) -> None:
    """Rows that are there are recognised, whatever their type; what is staged is byte for byte the same too."""
    run(empty, types_script(empty))
    kit, before = Kit(tmp_path, empty), contents(empty)
    _, made, outcome = kit.clean()
    for address in ("t1+dev@x.io", "t2+staging@x.io", "t3+Local@x.io"):
        assert kit.restore(made, address).problems == 0
    assert contents(empty) == before
    again = kit.restore(made)
    assert (again.problems, again.rows, again.set_back) == (0, 0, {})
    assert sum(again.present.values()) == outcome.rows + outcome.set
    assert contents(empty) == before


def _reset(url: str) -> None:
    run(url, f"ALTER DATABASE {url.rpartition('/')[2]} RESET ALL")


def test_identities_sequences_and_generated_columns(empty: str, tmp_path: Path) -> None:
    run(
        empty,
        """
        CREATE TABLE a (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE,
            n int DEFAULT 7, twice int GENERATED ALWAYS AS (n * 2) STORED, thrice int GENERATED ALWAYS AS (n * 3) VIRTUAL);
        CREATE TABLE b (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE);
        CREATE TABLE c (id serial PRIMARY KEY, a bigint REFERENCES a ON DELETE CASCADE, mood text, created_by int REFERENCES users);
        INSERT INTO a (user_id, n) VALUES (1, 1), (11, 2), (2, NULL);
        INSERT INTO b (user_id) VALUES (1), (11), (2);
        INSERT INTO c (a, created_by) VALUES (1, 1), (2, 1), (3, 11);
    """,
    )
    kit, before = Kit(tmp_path, empty), contents(empty)
    _, made, _ = kit.clean()
    kit.restore(made)
    assert contents(empty) == before
    run(empty, "DELETE FROM users WHERE id = 2")
    assert kit.restore(made, "t2+staging@x.io").problems == 0
    assert contents(empty) == before


@pytest.mark.parametrize("by", ["all at once", "one by one"])
def test_columns_with_our_own_names(empty: str, tmp_path: Path, by: str) -> None:
    run(
        empty,
        """
        CREATE TABLE "we ird" (g_n int, g_o0 int, g_w0 int, g_1 int, g_k0 int, g_user int, g_id int, g_email text, g_foreign bool,
            id int, user_id int REFERENCES users ON DELETE CASCADE, "%s" text, "%(x)s" text, t int, s int, d int, p int, x int,
            parent int, PRIMARY KEY (g_n, g_o0, g_w0));
        ALTER TABLE "we ird" ADD UNIQUE (g_n);
        ALTER TABLE "we ird" ADD FOREIGN KEY (parent) REFERENCES "we ird" (g_n);
        CREATE TABLE other (g_n int PRIMARY KEY, g_user int, created_by int REFERENCES users, g_o0 int);
        INSERT INTO "we ird" VALUES (1, 2, 3, 4, 5, 6, 7, 'e', true, 8, 1, '%s', '%', 1, 2, 3, 4, 5, 2),
            (2, 3, 4, 5, 6, 7, 8, 'f', false, 9, 11, '%%', NULL, 1, 2, 3, 4, 5, 1);
        INSERT INTO other VALUES (1, 1, 1, 1), (2, 2, 11, 2);
    """,
    )
    kit, before = Kit(tmp_path, empty), contents(empty)
    _, made, _ = kit.clean()
    assert ids(empty, '"we ird"', "g_n") == {2}
    for user in (None,) if by == "all at once" else ("t1+dev@x.io", "t2+staging@x.io", "t3+Local@x.io"):
        assert kit.restore(made, user).problems == 0
    assert contents(empty) == before


@pytest.mark.parametrize("by", ["all at once", "one by one"])
@pytest.mark.parametrize("script", [
    pytest.param("""CREATE TABLE a (id int PRIMARY KEY, payload text NOT NULL,
        who int GENERATED ALWAYS AS (payload::int) STORED REFERENCES users);
        INSERT INTO a VALUES (1, '1'), (2, '2'), (3, '11')""", id="a generated column that refers"),
    pytest.param("""CREATE TABLE a (raw int NOT NULL, id int GENERATED ALWAYS AS (raw + 1) STORED PRIMARY KEY,
        user_id int REFERENCES users ON DELETE CASCADE, created_by int REFERENCES users);
        CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE);
        INSERT INTO a (raw, user_id, created_by) VALUES (1, 1, 11), (2, 11, 1), (3, 2, 2);
        INSERT INTO b VALUES (1, 2), (2, 3), (3, 4)""", id="a generated key"),
    pytest.param("""CREATE TABLE a (id int PRIMARY KEY, no int UNIQUE DEFERRABLE INITIALLY DEFERRED,
        user_id int REFERENCES users ON DELETE CASCADE, next int);
        CREATE TABLE b (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE,
            a int NOT NULL REFERENCES a ON DELETE CASCADE);
        ALTER TABLE a ADD FOREIGN KEY (next) REFERENCES b ON DELETE SET NULL;
        INSERT INTO a VALUES (1, 1, 1, NULL), (2, 2, 11, NULL), (3, 3, 2, NULL);
        INSERT INTO b VALUES (1, 1, 1), (2, 11, 2), (3, 2, 3); UPDATE a SET next = id""", id="a deferrable unique constraint"),
    pytest.param("""CREATE TABLE a (id int PRIMARY KEY DEFERRABLE, user_id int REFERENCES users ON DELETE CASCADE, what text);
        INSERT INTO a VALUES (1, 1, 'a'), (2, 11, 'b'), (3, 2, 'c')""", id="a deferrable key"),
    pytest.param("""CREATE TABLE a (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE, b int);
        CREATE TABLE b (id int PRIMARY KEY);
        ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b NOT ENFORCED;
        INSERT INTO a VALUES (1, 1, 99), (2, 11, 98), (3, 2, NULL)""", id="a key that is not enforced"),
    pytest.param("""CREATE TABLE x (id int PRIMARY KEY);
        CREATE TABLE a (id int, kind text, user_id int REFERENCES users ON DELETE CASCADE, x int, PRIMARY KEY (id, kind))
            PARTITION BY LIST (kind);
        CREATE TABLE a1 PARTITION OF a FOR VALUES IN ('1');
        CREATE TABLE a2 PARTITION OF a FOR VALUES IN ('2');
        ALTER TABLE a1 ADD FOREIGN KEY (x) REFERENCES x;
        INSERT INTO x VALUES (1);
        INSERT INTO a VALUES (1, '1', 1, 1), (2, '2', 1, 77), (3, '2', 11, 77), (4, '2', 2, 78)""", id="a key of one partition"),
    pytest.param("""CREATE EXTENSION citext;
        CREATE TABLE a (code citext PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE);
        CREATE TABLE b (id int PRIMARY KEY, code citext REFERENCES a ON DELETE CASCADE, c citext REFERENCES a);
        INSERT INTO a VALUES ('Abc', 1), ('Def', 11), ('Ghi', 2);
        INSERT INTO b VALUES (1, 'ABC', 'dEf'), (2, 'dEf', 'abC'), (3, 'ghI', NULL)""", id="keys without case"),
    pytest.param("""CREATE TABLE a (id char(5) PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE);
        CREATE TABLE b (id numeric PRIMARY KEY, a char(5) REFERENCES a, z timestamptz);
        CREATE TABLE c (id int PRIMARY KEY, b numeric REFERENCES b ON DELETE CASCADE, user_id int REFERENCES users ON DELETE CASCADE);
        INSERT INTO a VALUES ('x', 1), ('y ', 11), ('z', 2);
        INSERT INTO b VALUES (1.0, 'x', 'infinity'), (1.10, 'y', NULL), (-0.00, 'z', '2020-01-01 BC');
        INSERT INTO c VALUES (1, 1.000, 1), (2, 1.1, 11), (3, 0, 2)""", id="keys whose equals look different"),
])  # fmt: skip
def test_shapes_that_are_hard_to_put_back(empty: str, tmp_path: Path, script: str, by: str) -> None:
    if "NOT ENFORCED" in script and not fetch(
        empty, "SELECT 1 WHERE current_setting('server_version_num') >= '180000'"
    ):
        pytest.skip("NOT ENFORCED came with 18, where this runs in the suite")
    run(empty, script)
    kit, before = Kit(tmp_path, empty), contents(empty)
    _, made, outcome = kit.clean()
    assert outcome.skipped == {}
    for user in (None,) if by == "all at once" else ("t1+dev@x.io", "t2+staging@x.io", "t3+Local@x.io"):
        assert kit.restore(made, user).problems == 0
    assert contents(empty) == before


# ---------------------------------------------------------------- again, in part, and not at all


def test_twice(people: Kit) -> None:
    before = checksums(people.url)
    _, made, outcome = people.clean()
    first, second = people.restore(made), people.restore(made)
    assert (first.rows, sum(first.set_back.values())) == (outcome.rows, outcome.set)
    assert (second.rows, second.set_back, second.problems) == (0, {}, 0)
    assert sum(second.present.values()) == outcome.rows + outcome.set
    assert checksums(people.url) == before


def test_twice_with_rows_that_have_no_key(people: Kit) -> None:
    """A row without a key is there or not: a second restore adds none, even where the user is gone again."""
    before = checksums(people.url)
    _, made, _ = people.clean()
    people.restore(made)
    run(
        people.url,
        """
        UPDATE messages SET created_by = NULL WHERE id IN (11, 12); DELETE FROM messages WHERE id < 10;
        DELETE FROM users WHERE id IN (1, 2, 3);
        """,
    )
    people.restore(made)
    assert fetch(people.url, "SELECT * FROM seen ORDER BY 1, 2") == [("1", "a"), ("1", "a"), ("11", "a"), ("2", "b")]
    assert checksums(people.url)["public.seen"] == before["public.seen"]


def test_one_after_the_other(people: Kit) -> None:
    """The session of one command is no obstacle to the next, however soon it comes."""
    _, made, _ = people.clean()
    for _ in range(12):
        people.restore(made, dry_run=True, wait=False)


def test_a_dry_run_changes_nothing_and_counts_right(people: Kit) -> None:
    _, made, _ = people.clean()
    after = checksums(people.url)
    told = people.restore(made, dry_run=True)
    assert checksums(people.url) == after
    done = people.restore(made)
    assert (told.inserted, told.set_back, told.problems) == (done.inserted, done.set_back, done.problems)


def test_a_run_knows_how_far_it_is(people: Kit) -> None:
    _, made, _ = people.clean()
    assert made.state().word == "done"  # there is no Redis to clean up after
    people.restore(made)
    assert made.state().word == "restored"


def test_one_user_then_the_other(people: Kit) -> None:
    before = checksums(people.url)
    _, made, _ = people.clean()
    one = people.restore(made, "T1+DEV@x.io")
    assert ids(people.url, "users") == {1, 11, 12, 13}
    assert one.inserted["users"] == 1
    assert 1 in ids(people.url, "talks")
    assert 2 not in ids(people.url, "talks")
    assert fetch(people.url, "SELECT created_by FROM messages WHERE id IN (11, 12) ORDER BY id") == [(1,), (None,)]
    assert made.state().word == "partly restored"
    people.restore(made, "t2+staging@x.io")
    people.restore(made)
    assert checksums(people.url) == before


def test_a_user_who_is_not_in_the_run(people: Kit) -> None:
    _, made, _ = people.clean()
    with pytest.raises(UsageError, match=r"r1@x\.io is not in run"):
        people.restore(made, "r1@x.io")


def test_a_row_that_is_there_again_is_never_overwritten(people: Kit) -> None:
    _, made, outcome = people.clean()
    run(
        people.url,
        """
        INSERT INTO users VALUES (1, 't1+dev@x.io', 'somebody new'), (2, 't2+staging@x.io', 'test');
        INSERT INTO talks VALUES (1, 1, 'changed'), (2, 2, '');
    """,
    )
    told = people.restore(made)
    assert told.present == {"users": 1, "talks": 1}
    assert told.differ == {"users": 1, "talks": 1}
    assert told.differing == {"users": ["1"], "talks": ["1"]}
    assert told.problems == 2
    assert told.rows == outcome.rows - 4
    assert fetch(people.url, "SELECT name FROM users WHERE id = 1") == [("somebody new",)]
    assert fetch(people.url, "SELECT title FROM talks ORDER BY id") == [("changed",), ("",), ("",)]
    assert ids(people.url, "messages") == {1, 2, 3, 4, 11, 12, 13}


def test_an_address_that_somebody_registered_again(people: Kit) -> None:
    """The new person keeps the address; what hung on the old one has nobody to hang on, and is reported."""
    _, made, _ = people.clean()
    run(people.url, "INSERT INTO users VALUES (99, 't1+dev@x.io', 'new')")
    told = people.restore(made)
    assert told.conflicting == {"users": 1}
    assert told.orphaned == {"talks": 1, "messages": 4}  # talk 1; messages 1 to 3; and created_by of 11
    assert told.problems == 6
    assert fetch(people.url, "SELECT id FROM users WHERE name = 'new'") == [(99,)]
    assert ids(people.url, "users") == {2, 3, 99, 11, 12, 13}
    assert ids(people.url, "talks") == {2, 11}
    assert ids(people.url, "messages") == {4, 11, 12, 13}
    assert fetch(people.url, "SELECT id, created_by FROM messages WHERE id > 10 ORDER BY 1") == [
        (11, None), (12, 2), (13, 11),
    ]  # fmt: skip


def test_a_column_is_set_back_only_where_it_is_still_null(people: Kit) -> None:
    _, made, _ = people.clean()
    run(people.url, "UPDATE messages SET created_by = 13 WHERE id = 11; DELETE FROM messages WHERE id = 12")
    told = people.restore(made)
    assert told.differ == {"messages": 1}
    assert fetch(people.url, "SELECT id, created_by FROM messages WHERE id > 10 ORDER BY 1") == [(11, 13), (13, 11)]


def test_what_others_wrote_meanwhile_stays(people: Kit) -> None:
    _, made, _ = people.clean()
    run(
        people.url,
        """
        INSERT INTO users VALUES (50, 'new@x.io', 'new');
        INSERT INTO talks VALUES (50, 50, 'new'); INSERT INTO messages VALUES (50, 50, 50, 50), (51, 11, 50, NULL);
        UPDATE users SET name = 'renamed' WHERE id = 11;
    """,
    )
    assert people.restore(made).problems == 0
    assert fetch(people.url, "SELECT name FROM users WHERE id IN (11, 50) ORDER BY 1") == [("new",), ("renamed",)]
    assert {50, 51, 1, 2, 3, 4} <= ids(people.url, "messages")


# ---------------------------------------------------------------- what is not trusted


@pytest.mark.parametrize("place", [0, 0.3, 0.6, -1])
def test_an_archive_with_another_byte(people: Kit, place: float) -> None:
    _, made, _ = people.clean()
    after = checksums(people.url)
    for file in sorted((made.folder / "segments").iterdir())[-1:]:
        data = bytearray(file.read_bytes())
        data[int(place * len(data)) if place >= 0 else -1] ^= 1
        file.write_bytes(data)
    with pytest.raises(RefusedError, match="does not match its SHA-256"):
        people.restore(made)
    assert checksums(people.url) == after


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\n", lambda _: None])
def test_an_archive_that_is_shorter_longer_or_gone(people: Kit, change: Callable[[bytes], bytes | None]) -> None:
    _, made, _ = people.clean()
    after = checksums(people.url)
    file = next((made.folder / "segments").iterdir())
    data = change(file.read_bytes())
    if data is None:
        file.unlink()
    else:
        file.write_bytes(data)
    with pytest.raises(RefusedError, match="archive"):
        people.restore(made)
    assert checksums(people.url) == after


def test_a_journal_that_lost_a_segment(people: Kit) -> None:
    """A segment that the journal does not know any more is not left out in silence."""
    _, made, _ = people.clean()
    after = checksums(people.url)
    journal = made.folder / "journal.jsonl"
    lines = journal.read_bytes().split(b"\n")
    place = next(i for i, line in enumerate(lines) if b'"synced"' in line)
    lines[place] = lines[place].replace(b'"synced"', b'"sunced"')
    journal.write_bytes(b"\n".join(lines))
    with pytest.raises(RefusedError):
        people.restore(made)
    assert checksums(people.url) == after


def test_users_of_a_run_that_were_edited(people: Kit) -> None:
    _, made, _ = people.clean()
    after = checksums(people.url)
    made.users_file.write_bytes(made.users_file.read_bytes().replace(b"t1+dev", b"t9+dev"))
    with pytest.raises(RefusedError):
        people.restore(made, "t9+dev@x.io")
    assert checksums(people.url) == after


def test_an_archive_of_another_database(people: Kit, postgres_url: str, tmp_path: Path) -> None:
    _, made, _ = people.clean()
    with database(postgres_url, USERS, PEOPLE) as url:
        other, before = Kit(tmp_path / "other", url, SEEN), checksums(url)
        with pytest.raises(RefusedError, match="wrong database behind the name"):
            other.restore(made)
        assert checksums(url) == before


@pytest.mark.parametrize(("script", "why"), [
    ("ALTER TABLE talks DROP COLUMN title", "public.talks has no column title that can be written"),
    ("ALTER TABLE talks ALTER title TYPE varchar(10)", "public.talks.title was text and is character varying(10)"),
    ("ALTER TABLE talks RENAME title TO name", "public.talks has no column title"),
    ("ALTER TABLE talks ADD colour text NOT NULL DEFAULT 'x'; ALTER TABLE talks ALTER colour DROP DEFAULT",
     "public.talks.colour is new, NOT NULL and without a default"),
    ("DROP TABLE seen", "there is no table public.seen"),
    ("ALTER TABLE messages RENAME TO letters", "there is no table public.messages"),
    ("ALTER TABLE messages DROP COLUMN created_by", "public.messages has no column created_by"),
])  # fmt: skip
def test_a_schema_that_does_not_fit_any_more(people: Kit, script: str, why: str) -> None:
    _, made, _ = people.clean()
    run(people.url, script)
    after = checksums(people.url)
    with pytest.raises(RefusedError, match="the schema is not the archive's") as refused:
        people.restore(made)
    assert why in str(refused.value)
    assert checksums(people.url) == after


def test_a_schema_that_has_more(people: Kit) -> None:
    _, made, _ = people.clean()
    run(
        people.url,
        """
        ALTER TABLE talks ADD colour text; ALTER TABLE talks ADD size int NOT NULL DEFAULT 3;
        CREATE INDEX ON messages (talk); ALTER TABLE messages ADD no int GENERATED ALWAYS AS IDENTITY;
    """,
    )
    assert people.restore(made).problems == 0
    assert fetch(people.url, "SELECT * FROM talks ORDER BY id") == [
        (1, 1, "", None, 3), (2, 2, "", None, 3), (11, 11, "", None, 3),
    ]  # fmt: skip
    assert ids(people.url, "messages") == {1, 2, 3, 4, 11, 12, 13}


# ---------------------------------------------------------------- at random


@pytest.mark.parametrize("seed", range(2))
def test_random_rows_come_back_user_by_user(postgres_url: str, tmp_path: Path, seed: int) -> None:
    """In an order of chance, then all: nothing is refused for good, nothing is there twice."""
    with database(postgres_url, hard.SQL.replace("USERID", "bigint").replace("GHOSTID", "0")) as url:
        rng = random.Random(seed)  # noqa: S311 - rows, no secret
        rows = hard.random_rows(rng, "bigint", 12)
        hard.fill(url, rows)
        kit, before = Kit(tmp_path, url, hard.REFERENCES), contents(url)
        _, made, _ = kit.clean(allow_collateral=True)
        addresses = [row["email"] for row in rows["users"] if hard.is_test(row["email"])]
        for address in rng.sample(addresses, min(3, len(addresses))):
            assert (told := kit.restore(made, address)).differ == {} == told.conflicting
        assert kit.restore(made).problems == 0
        assert contents(url) == before


def test_many_segments_of_two_workers(postgres_url: str, tmp_path: Path) -> None:
    """Rows that link users of different batches with each other: every segment has its part, all of them the whole."""
    with database(
        postgres_url, hard.SQL.replace("USERID", "uuid").replace("GHOSTID", str(hard.KINDS["uuid"][1]))
    ) as url:
        rng = random.Random(7)  # noqa: S311 - rows, no secret
        rows = hard.random_rows(rng, "uuid", 80)
        hard.fill(url, rows)
        run(url, "ANALYZE")
        fate = hard.fate(rows, hard.KINDS["uuid"][1])
        kit, before = Kit(tmp_path, url, hard.REFERENCES), contents(url)
        _, made, outcome = kit.clean(allow_collateral=True)
        assert hard.left(url, rows) == fate.left
        assert (outcome.rows, outcome.skipped, outcome.left) == (len(fate.gone), {}, 0)
        assert len(made.state().committed) > 2
        assert kit.restore(made).problems == 0
        assert contents(url) == before
