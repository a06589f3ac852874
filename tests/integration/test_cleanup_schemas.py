# ruff: noqa: E501 - SQL and tables of values read better unbroken
"""What a clean-up takes on hard schemas: exactly the rows that a fixpoint written by hand says, and no others."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from gaiaops.errors import GaiaopsError
from gaiaops.sandbox import seed
from tests.integration import hard_schema as hard
from tests.integration.cleanup_kit import (
    USERS,
    Kit,
    checksums,
    collateral,
    database,
    fetch,
    ids,
    planned,
    run,
)

ROUNDS = 4


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def empty(postgres_url: str) -> Iterator[str]:
    with database(postgres_url, USERS) as url:
        yield url


def hard_kit(postgres_url: str, folder: Path, kind: str) -> Iterator[Kit]:
    ghost = str(hard.KINDS[kind][1])
    with database(postgres_url, hard.SQL.replace("USERID", kind).replace("GHOSTID", ghost)) as url:
        yield Kit(folder, url, hard.REFERENCES)


@pytest.fixture(params=hard.KINDS)
def hard_one(postgres_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Kit, str]]:
    for kit in hard_kit(postgres_url, tmp_path, request.param):
        yield kit, request.param


@pytest.mark.first(1)
def test_random_rows_go_as_the_oracle_says_and_come_back(hard_one: tuple[Kit, str]) -> None:
    kit, kind = hard_one
    for seed_ in range(ROUNDS):
        rng = random.Random(f"{kind} {seed_}")  # noqa: S311 - rows, no secret
        rows = hard.random_rows(rng, kind, 4 + 5 * seed_)
        hard.fill(kit.url, rows)
        fate = hard.fate(rows, hard.KINDS[kind][1])
        before = checksums(kit.url)
        plan, made, outcome = kit.clean(allow_collateral=True)

        assert hard.left(kit.url, rows) == fate.left
        assert outcome.skipped == {}
        assert outcome.left == 0
        assert planned(plan, "delete") == fate.deleted()
        assert planned(plan, "null") == fate.changed("null")
        assert planned(plan, "default") == fate.changed("default")
        assert outcome.rows == len(fate.gone)
        changed = sum(counted.total() for counted in fate.changes.values())
        if len(made.state().committed) == 1:
            assert outcome.set == changed
        else:  # a row may be changed in one batch and go in a later one
            assert outcome.set >= changed
        for table in plan.tables:
            assert sum(reason.rows for reason in table.reasons) == table.rows
        _assert_collateral(kit, plan.tables, collateral(plan), fate)

        restored = kit.restore(made)
        assert restored.problems == 0
        assert checksums(kit.url) == before


def _assert_collateral(
    kit: Kit, tables: tuple[object, ...], named: dict[tuple[str, str], int], fate: hard.Fate
) -> None:
    """Rows that name an owner are counted exactly; those that name nobody may be, with what they hang on."""
    wanted = dict(fate.foreign)
    assert {key: rows for key, rows in named.items() if key[1]} == wanted
    counted = {entry.table: entry.collateral for entry in tables if entry.action == "delete"}
    for table, rows in counted.items():
        known = sum(found for (name, _), found in wanted.items() if name == table)
        assert known <= rows <= known + fate.unowned[table]


@pytest.mark.parametrize("seed_", range(2))
def test_without_leave_nobody_elses_row_goes(postgres_url: str, tmp_path: Path, seed_: int) -> None:
    for kit in hard_kit(postgres_url, tmp_path, "bigint"):
        rng = random.Random(seed_)  # noqa: S311 - rows, no secret
        rows = hard.random_rows(rng, "bigint", 14)
        hard.fill(kit.url, rows)
        before, fate = checksums(kit.url), hard.fate(rows, 0)
        plan = kit.plan()
        others = sum(table.collateral for table in plan.tables)
        assert others >= fate.foreign.total() > 0
        assert [text for text in plan.refusals if text.startswith(f"{others} rows of other people")] != []

        made, outcome = kit.apply(plan)
        assert set(outcome.skipped) <= {row["email"] for row in rows["users"] if hard.is_test(row["email"])}
        present = hard.left(kit.url, rows)
        for table in hard.TABLES:
            lost = Counter(hard.keys(rows, table)) - Counter(hard.keys_of(present[table], rows, table))
            allowed = Counter(hard.keys(rows, table, fate.gone - fate.theirs))
            assert not lost - allowed, table
        assert kit.restore(made).problems == 0
        assert checksums(kit.url) == before


def test_what_goes_and_what_stays_by_name(empty: str, tmp_path: Path) -> None:
    run(
        empty,
        """
        CREATE TABLE talks (id text PRIMARY KEY, user_id int NOT NULL REFERENCES users ON DELETE CASCADE);
        CREATE TABLE messages (
            id text PRIMARY KEY, user_id int NOT NULL REFERENCES users, talk text NOT NULL REFERENCES talks ON DELETE CASCADE,
            quoted text REFERENCES messages ON DELETE SET NULL, created_by int REFERENCES users);
        CREATE TABLE reactions (message text REFERENCES messages ON DELETE CASCADE, what text);
        INSERT INTO talks VALUES ('of t1', 1), ('of r1', 11);
        INSERT INTO messages VALUES
            ('t1 in t1', 1, 'of t1', NULL, NULL), ('t2 in t1', 2, 'of t1', 't1 in t1', 2), ('t1 in r1', 1, 'of r1', NULL, 11),
            ('r1 in r1', 11, 'of r1', 't1 in r1', 1), ('r2 in r1', 12, 'of r1', 'r1 in r1', 12);
        INSERT INTO reactions VALUES ('t1 in t1', 'a'), ('t1 in t1', 'a'), ('r1 in r1', 'b');
    """,
    )
    plan, _, outcome = Kit(tmp_path, empty).clean()
    assert planned(plan, "delete") == {"users": 3, "talks": 1, "messages": 3, "reactions": 2}
    assert planned(plan, "null") == {"messages": 2}
    assert (plan.collateral, plan.users, plan.users_in_all) == ((), 3, 6)
    assert (outcome.users, outcome.rows, outcome.set, outcome.skipped) == (3, 9, 2, {})
    assert ids(empty, "users") == {11, 12, 13}
    assert ids(empty, "talks") == {"of r1"}
    assert fetch(empty, "SELECT id, quoted, created_by FROM messages ORDER BY id") == [
        ("r1 in r1", None, None), ("r2 in r1", "r1 in r1", 12),
    ]  # fmt: skip
    assert fetch(empty, "SELECT * FROM reactions") == [("r1 in r1", "b")]


def test_rows_of_others_block_and_are_named(empty: str, tmp_path: Path) -> None:
    run(
        empty,
        """
        CREATE TABLE talks (id text PRIMARY KEY, user_id int NOT NULL REFERENCES users ON DELETE CASCADE);
        CREATE TABLE messages (
            id int PRIMARY KEY, user_id int NOT NULL REFERENCES users, talk text REFERENCES talks ON DELETE CASCADE);
        CREATE TABLE notes (id int PRIMARY KEY, message int NOT NULL REFERENCES messages ON DELETE CASCADE);
        CREATE TABLE invites (
            id int PRIMARY KEY, member_id int NOT NULL REFERENCES users ON DELETE CASCADE, granted_by int NOT NULL REFERENCES users);
        INSERT INTO talks VALUES ('of t1', 1), ('of t2', 2);
        INSERT INTO messages VALUES (1, 1, 'of t1'), (2, 11, 'of t1'), (3, 11, 'of t1'), (4, 12, 'of t1'), (5, 1, 'of t2');
        INSERT INTO notes VALUES (1, 1), (2, 2);
        INSERT INTO invites VALUES (1, 13, 3), (2, 2, 11);
    """,
    )
    kit, before = Kit(tmp_path, empty), checksums(empty)
    plan = kit.plan()
    assert len(plan.refusals) == 1
    assert plan.refusals[0].startswith("5 rows of other people would go too")
    assert collateral(plan) == {
        ("messages", "r1@x.io"): 2, ("messages", "r2+alice@x.io"): 1, ("notes", ""): 1, ("invites", "r3+production@x.io"): 1,
    }  # fmt: skip
    assert {entry.table: entry.users for entry in plan.collateral} == {
        "messages": ("t1+dev@x.io",), "notes": ("t1+dev@x.io",), "invites": ("t3+Local@x.io",),
    }  # fmt: skip
    assert checksums(empty) == before

    _, outcome = kit.apply(plan)  # as if the refusal had been overlooked
    assert set(outcome.skipped) == {"t1+dev@x.io", "t3+Local@x.io"} | ({"t2+staging@x.io"} & set(outcome.skipped))
    assert {11, 12, 13, 1, 3} <= ids(empty, "users")
    assert {1, 2, 3, 4} <= ids(empty, "messages")
    assert 1 in ids(empty, "invites")


def test_rows_of_others_go_where_that_is_allowed(empty: str, tmp_path: Path) -> None:
    run(
        empty,
        """
        CREATE TABLE talks (id int PRIMARY KEY, user_id int NOT NULL REFERENCES users ON DELETE CASCADE);
        CREATE TABLE messages (
            id int PRIMARY KEY, user_id int NOT NULL REFERENCES users, talk int REFERENCES talks ON DELETE CASCADE);
        INSERT INTO talks VALUES (1, 1), (2, 11);
        INSERT INTO messages VALUES (1, 11, 1), (2, 11, 2);
    """,
    )
    kit, before = Kit(tmp_path, empty), checksums(empty)
    plan, made, outcome = kit.clean(allow_collateral=True)
    assert collateral(plan) == {("messages", "r1@x.io"): 1}
    assert outcome.rows == 5
    assert ids(empty, "messages") == {2}
    kit.restore(made)
    assert checksums(empty) == before


@pytest.mark.timeout(15, func_only=True)
@pytest.mark.parametrize("action", ["CASCADE", "NO ACTION", "RESTRICT"])
def test_a_circle_that_only_one_link_leads_into(empty: str, tmp_path: Path, action: str) -> None:
    run(
        empty,
        f"""
        CREATE TABLE teams (id int PRIMARY KEY, user_id int NOT NULL REFERENCES users ON DELETE CASCADE, lead int NOT NULL);
        CREATE TABLE leads (id int PRIMARY KEY, team int NOT NULL REFERENCES teams ON DELETE {action});
        ALTER TABLE teams ADD FOREIGN KEY (lead) REFERENCES leads ON DELETE {action} DEFERRABLE INITIALLY IMMEDIATE;
        SET CONSTRAINTS ALL DEFERRED;
        INSERT INTO teams VALUES (1, 1, 1), (2, 2, 2), (3, 11, 3);
        INSERT INTO leads VALUES (1, 1), (2, 2), (3, 3);
    """.replace("RESTRICT DEFERRABLE INITIALLY IMMEDIATE", "RESTRICT DEFERRABLE"),
    )
    kit, before = Kit(tmp_path, empty), checksums(empty)
    plan, made, _ = kit.clean()
    assert planned(plan, "delete") == {"users": 3, "teams": 2, "leads": 2}
    assert (ids(empty, "teams"), ids(empty, "leads")) == ({3}, {3})
    kit.restore(made)
    assert checksums(empty) == before


@pytest.mark.timeout(15, func_only=True)
def test_users_in_a_circle_with_what_they_own(empty: str, tmp_path: Path) -> None:
    run(
        empty,
        """
        CREATE TABLE homes (id int PRIMARY KEY, user_id int NOT NULL REFERENCES users ON DELETE CASCADE);
        ALTER TABLE users ADD home int REFERENCES homes ON DELETE CASCADE;
        INSERT INTO homes VALUES (1, 1), (11, 11);
        UPDATE users SET home = id WHERE id IN (1, 11);
    """,
    )
    kit, before = Kit(tmp_path, empty), checksums(empty)
    plan, made, _ = kit.clean()
    assert planned(plan, "delete") == {"users": 3, "homes": 1}
    assert ids(empty, "homes") == {11}
    kit.restore(made)
    assert checksums(empty) == before


def test_a_default_that_must_not_be_null_names_the_ghost(empty: str, tmp_path: Path) -> None:
    run(
        empty,
        """
        INSERT INTO users VALUES (0, 'ghost@x.io');
        CREATE TABLE posts (id int PRIMARY KEY, owner_id int NOT NULL DEFAULT 0 REFERENCES users ON DELETE SET DEFAULT);
        INSERT INTO posts VALUES (1, 1), (2, 11);
    """,
    )
    kit, before = Kit(tmp_path, empty), checksums(empty)
    plan, made, _ = kit.clean()
    assert planned(plan, "default") == {"posts": 1}
    assert fetch(empty, "SELECT * FROM posts ORDER BY 1") == [(1, 0), (2, 11)]
    kit.restore(made)
    assert checksums(empty) == before


def test_a_composite_default_is_written_whole(empty: str, tmp_path: Path) -> None:
    run(
        empty,
        """
        CREATE TABLE boards (tenant int, no int, user_id int REFERENCES users ON DELETE CASCADE, PRIMARY KEY (tenant, no));
        CREATE TABLE cards (
            id int PRIMARY KEY, tenant int NOT NULL DEFAULT 0, no int DEFAULT 0,
            FOREIGN KEY (tenant, no) REFERENCES boards ON DELETE SET DEFAULT);
        INSERT INTO boards VALUES (0, 0, 11), (7, 1, 1);
        INSERT INTO cards VALUES (1, 7, 1), (2, 0, 0);
    """,
    )
    kit, before = Kit(tmp_path, empty), checksums(empty)
    _, made, _ = kit.clean()
    assert fetch(empty, "SELECT * FROM cards ORDER BY 1") == [(1, 0, 0), (2, 0, 0)]
    kit.restore(made)
    assert checksums(empty) == before


def test_a_default_that_goes_itself_changes_nothing(empty: str, tmp_path: Path) -> None:
    run(
        empty,
        """
        CREATE TABLE posts (id int PRIMARY KEY, owner_id int DEFAULT 1 REFERENCES users ON DELETE SET DEFAULT);
        INSERT INTO posts VALUES (1, 1), (2, 2), (3, 11);
    """,
    )
    kit = Kit(tmp_path, empty)
    plan = kit.plan()
    if plan.refusals:
        return
    with suppress(GaiaopsError):
        kit.apply(plan)
    assert fetch(
        empty, "SELECT count(*) FROM posts AS p LEFT JOIN users AS u ON u.id = owner_id WHERE u.id IS NULL"
    ) == [(0,)]
    assert 3 not in ids(empty, "users")  # the user whom nothing hinders goes


def test_match_full_cannot_be_nulled_in_part(empty: str, tmp_path: Path) -> None:
    run(
        empty,
        """
        CREATE TABLE boards (tenant int, no int, user_id int REFERENCES users ON DELETE CASCADE, PRIMARY KEY (tenant, no));
        CREATE TABLE cards (
            id int PRIMARY KEY, tenant int NOT NULL, no int, FOREIGN KEY (tenant, no) REFERENCES boards MATCH FULL);
        INSERT INTO boards VALUES (0, 0, 11), (7, 1, 1);
        INSERT INTO cards VALUES (1, 7, 1), (2, 0, 0);
    """,
    )
    kit, before = Kit(tmp_path, empty), checksums(empty)
    plan, made, outcome = kit.clean()
    assert outcome.skipped == {}
    assert planned(plan, "delete") == {"users": 3, "boards": 1, "cards": 1}
    assert ids(empty, "cards") == {2}
    kit.restore(made)
    assert checksums(empty) == before


def test_two_keys_that_share_a_column_are_nulled_once(empty: str, tmp_path: Path) -> None:
    run(
        empty,
        """
        CREATE TABLE boards (tenant int, no int, user_id int REFERENCES users ON DELETE CASCADE, PRIMARY KEY (tenant, no));
        CREATE TABLE moves (
            id int PRIMARY KEY, tenant int, a int, b int,
            FOREIGN KEY (tenant, a) REFERENCES boards ON DELETE SET NULL,
            FOREIGN KEY (tenant, b) REFERENCES boards ON DELETE SET NULL);
        INSERT INTO boards VALUES (7, 0, 11), (7, 1, 1), (7, 2, 1);
        INSERT INTO moves VALUES (1, 7, 1, 2), (2, 7, 0, 1), (3, 7, 0, 0);
    """,
    )
    kit, before = Kit(tmp_path, empty), checksums(empty)
    plan, made, outcome = kit.clean()
    assert planned(plan, "null") == {"moves": outcome.set}
    kit.restore(made)
    assert checksums(empty) == before


PARTS = """
    CREATE TABLE notes (id int PRIMARY KEY, user_id int NOT NULL REFERENCES users ON DELETE CASCADE);
    CREATE TABLE events (id int, kind text, year int, note int, PRIMARY KEY (id, kind, year)) PARTITION BY LIST (kind);
    CREATE TABLE events_a PARTITION OF events FOR VALUES IN ('a') PARTITION BY RANGE (year);
    CREATE TABLE events_a_old PARTITION OF events_a FOR VALUES FROM (0) TO (2000);
    CREATE TABLE events_a_new PARTITION OF events_a FOR VALUES FROM (2000) TO (3000);
    CREATE TABLE events_b PARTITION OF events FOR VALUES IN ('b');
    INSERT INTO notes VALUES (1, 1), (11, 11);
    INSERT INTO events VALUES
        (1, 'a', 1999, 1), (2, 'a', 2001, 1), (3, 'a', 2001, 11), (4, 'b', 2001, 1), (5, 'b', 2001, 99), (6, 'b', 2001, 1);
"""


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "NO ACTION"])
def test_a_reference_of_a_partition_that_has_partitions(empty: str, tmp_path: Path, action: str) -> None:
    run(empty, PARTS + f"ALTER TABLE events_a ADD FOREIGN KEY (note) REFERENCES notes ON DELETE {action}")
    kit, before = Kit(tmp_path, empty), checksums(empty)
    plan, made, outcome = kit.clean()
    assert outcome.skipped == {}
    if action == "CASCADE":
        assert planned(plan, "delete") == {"users": 3, "notes": 1, "events": 2}
        assert ids(empty, "events") == {3, 4, 5, 6}
    else:
        assert planned(plan, "null") == {"events": 2}
        assert fetch(empty, "SELECT id, note FROM events ORDER BY 1") == [
            (1, None), (2, None), (3, 11), (4, 1), (5, 99), (6, 1)
        ]  # fmt: skip
    kit.restore(made)
    assert checksums(empty) == before


def test_a_null_moves_a_row_to_another_partition(empty: str, tmp_path: Path) -> None:
    """No such table has a primary key, as a partition's key is part of it, so it is refused, not half done."""
    run(
        empty,
        """
        CREATE TABLE jobs (id int NOT NULL, worker int REFERENCES users ON DELETE SET NULL) PARTITION BY LIST (worker);
        CREATE TABLE jobs_1 PARTITION OF jobs FOR VALUES IN (1);
        CREATE TABLE jobs_other PARTITION OF jobs DEFAULT;
        INSERT INTO jobs VALUES (1, 1), (2, 11);
        """,
    )
    plan = Kit(tmp_path, empty).plan()
    assert plan.refusals == ("jobs.worker is to be nulled, but the table has no primary key to put it back by",)


def test_a_default_moves_a_row_to_another_partition(empty: str, tmp_path: Path) -> None:
    run(
        empty,
        """
        INSERT INTO users VALUES (0, 'ghost@x.io');
        CREATE TABLE jobs (id int, worker int DEFAULT 0 REFERENCES users ON DELETE SET DEFAULT, PRIMARY KEY (id, worker))
            PARTITION BY LIST (worker);
        CREATE TABLE jobs_1 PARTITION OF jobs FOR VALUES IN (1);
        CREATE TABLE jobs_other PARTITION OF jobs DEFAULT;
        INSERT INTO jobs VALUES (1, 1), (2, 11);
        """,
    )
    kit, before = Kit(tmp_path, empty), checksums(empty)
    plan = kit.plan()
    if plan.refusals:
        return
    made, _ = kit.apply(plan)
    assert fetch(empty, "SELECT * FROM jobs ORDER BY 1") == [(1, 0), (2, 11)]
    kit.restore(made)
    assert checksums(empty) == before


def test_a_row_that_somebody_locks_is_waited_for(empty: str, tmp_path: Path) -> None:
    run(
        empty,
        f"""
        CREATE TABLE keys (id int PRIMARY KEY, user_id int NOT NULL REFERENCES users ON DELETE CASCADE);
        INSERT INTO keys VALUES (1, 1), (2, 2);
        ALTER DATABASE {empty.rpartition("/")[2]} SET deadlock_timeout = '1ms';
        """,
    )
    kit = Kit(tmp_path, empty)
    plan = kit.plan()
    with psycopg.connect(empty) as holder:
        holder.execute("SELECT FROM keys WHERE id = 1 FOR UPDATE")
        timer = threading.Timer(0.5, holder.rollback)
        timer.start()
        _, outcome = kit.apply(plan)
        timer.join()
    assert (outcome.users, outcome.skipped, outcome.left) == (3, {}, 0)
    assert ids(empty, "keys") == set()


def test_a_user_under_another_user(empty: str, tmp_path: Path) -> None:
    """A test user under a real one is no collateral; a real one under a test user is, with all that is theirs."""
    run(
        empty,
        """
        ALTER TABLE users ADD parent_id int REFERENCES users ON DELETE CASCADE;
        CREATE TABLE keys (id int PRIMARY KEY, user_id int NOT NULL REFERENCES users ON DELETE CASCADE);
        UPDATE users SET parent_id = 11 WHERE id = 1;
        INSERT INTO keys VALUES (1, 1), (11, 11), (12, 12);
    """,
    )
    kit, before = Kit(tmp_path, empty), checksums(empty)
    plan, made, outcome = kit.clean()
    assert (plan.collateral, outcome.skipped) == ((), {})
    assert ids(empty, "users") == {11, 12, 13}
    kit.restore(made)
    assert checksums(empty) == before

    run(empty, "UPDATE users SET parent_id = 2 WHERE id = 12")
    before = checksums(empty)
    plan = kit.plan(allow_collateral=True)
    assert collateral(plan) == {("users", "r2+alice@x.io"): 1, ("keys", "r2+alice@x.io"): 1}
    for table in plan.tables:
        assert sum(reason.rows for reason in table.reasons) == table.rows
    made, _ = kit.apply(plan)
    assert ids(empty, "users") == {11, 13}
    kit.restore(made)
    assert checksums(empty) == before


@pytest.mark.parametrize(
    ("script", "refusal"),
    [
        (
            "CREATE TABLE a (x int REFERENCES users ON DELETE SET NULL)",
            "a.x is to be nulled, but the table has no primary key",
        ),
        (
            "CREATE TABLE a (x int UNIQUE, y int REFERENCES users ON DELETE CASCADE); CREATE TABLE b (a int REFERENCES a (x))",
            "a has no primary key, and others refer to it",
        ),
        (
            "CREATE TABLE a (id int, user_id int REFERENCES users ON DELETE CASCADE, PRIMARY KEY (id)) PARTITION BY LIST (id);"
            "CREATE TABLE a1 PARTITION OF a FOR VALUES IN (1); CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL REFERENCES a1)",
            "b.a: it references the partition a1 alone",
        ),
        (
            "CREATE TABLE a (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE); CREATE TABLE b () INHERITS (a)",
            "other tables inherit from a, and foreign keys do not reach them",
        ),
        ("CREATE VIEW soft AS SELECT id AS user_id FROM users", "soft is no table (a view or a foreign table)"),
        (
            "CREATE TABLE a (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE);"
            "CREATE RULE r AS ON DELETE TO a DO INSTEAD NOTHING",
            "a has rewrite rules",
        ),
    ],
)
def test_what_cannot_be_purged_is_refused(empty: str, tmp_path: Path, script: str, refusal: str) -> None:
    run(empty, script)
    plan = Kit(tmp_path, empty, {'"soft.user_id"': "{}"}).plan()
    assert [text for text in plan.refusals if text.startswith(refusal)] != [], plan.refusals


def test_the_registry_decides(empty: str, tmp_path: Path) -> None:
    run(
        empty,
        """
        CREATE TABLE a (id int PRIMARY KEY, owner_id int REFERENCES users ON DELETE CASCADE);
        CREATE TABLE b (id int PRIMARY KEY, created_by int REFERENCES users);
        CREATE TABLE c (id int PRIMARY KEY, user_id int);
        CREATE TABLE d (id int PRIMARY KEY, x int, y text, CONSTRAINT both_of_them FOREIGN KEY (x, y) REFERENCES e (id, k));
        INSERT INTO a VALUES (1, 1), (2, 11);
        INSERT INTO b VALUES (1, 1), (2, 11);
        INSERT INTO c VALUES (1, 1), (2, 11);
        INSERT INTO d VALUES (1, 1, 'k'), (2, 2, 'k');
    """.replace(
            "CREATE TABLE d",
            """
        CREATE TABLE e (id int PRIMARY KEY, k text, user_id int REFERENCES users ON DELETE CASCADE, UNIQUE (id, k));
        INSERT INTO e VALUES (1, 'k', 1), (2, 'k', 11);
        CREATE TABLE d""",
        ),
    )
    references = {
        '"a.owner_id"': '{ on_delete = "null" }',
        '"b.created_by"': '{ on_delete = "delete" }',
        '"c.user_id"': '{ on_delete = "keep" }',
        '"d.both_of_them"': '{ on_delete = "delete" }',
    }
    kit, before = Kit(tmp_path, empty, references), checksums(empty)
    plan, made, _ = kit.clean()
    assert planned(plan, "delete") == {"users": 3, "b": 1, "d": 1, "e": 1}
    assert planned(plan, "null") == {"a": 1}
    assert planned(plan, "keep") == {"c": 1}
    assert fetch(empty, "SELECT * FROM a ORDER BY 1") == [(1, None), (2, 11)]
    assert (ids(empty, "b"), ids(empty, "c"), ids(empty, "d"), ids(empty, "e")) == ({2}, {1, 2}, {2}, {2})
    kit.restore(made)
    assert checksums(empty) == before

    blocking = Kit(tmp_path / "block", empty, {'"b.created_by"': '{ on_delete = "block" }'})
    plan = blocking.plan()
    assert plan.refusals == ("1 rows of b.created_by refer to them, and the registry says block",)
    _, outcome = blocking.apply(plan)
    assert outcome.skipped == {"t1+dev@x.io": "b.created_by refers to them, and the registry says block"}
    assert ids(empty, "users") == {1, 11, 12, 13}


def test_a_trigger_that_vetoes_or_diverts(empty: str, tmp_path: Path) -> None:
    run(
        empty,
        """
        CREATE TABLE a (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE);
        CREATE TABLE b (id int PRIMARY KEY);
        CREATE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER veto BEFORE DELETE ON a FOR EACH ROW EXECUTE FUNCTION veto();
        INSERT INTO a VALUES (1, 1);
    """,
    )
    kit, before = Kit(tmp_path, empty), checksums(empty)
    plan = kit.plan()
    assert "a has triggers: veto on delete" in plan.warnings
    with pytest.raises(GaiaopsError, match=r"rows are still there after they were deleted|rolled back"):
        kit.apply(plan)
    assert checksums(empty) == before
    run(
        empty,
        """CREATE OR REPLACE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN DELETE FROM users WHERE id = 13; RETURN OLD; END'""",
    )
    with pytest.raises(GaiaopsError, match=r"users: 4 rows deleted|users: 2 rows deleted|rolled back"):
        kit.apply(kit.plan())
    assert 13 in ids(empty, "users")


def test_the_planned_tables(postgres_url: str, tmp_path: Path) -> None:
    with database(postgres_url) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            seed.create_platform_schema(connection, planned=True)
        run(url, PLANNED)
        references = {'"resource_permissions.principal_id"': "{ where = \"principal_type = 'user'\" }"}
        kit, before = Kit(tmp_path, url, references), checksums(url)
        plan = kit.plan()
        assert collateral(plan) == {
            ("teams", "r1@x.io"): 1, ("team_members", "r1@x.io"): 1, ("user_roles", "r1@x.io"): 1,
        }  # fmt: skip
        plan, made, outcome = kit.clean(allow_collateral=True)
        assert planned(plan, "delete") == {
            "users": 2, "user_roles": 3, "teams": 3, "team_members": 2, "workspaces": 1, "shared_resources": 1,
            "resource_permissions": 2, "resource_shares": 1, "player_profiles": 1, "experience_progress": 1,
            "player_progress_events": 2,
        }  # fmt: skip
        assert planned(plan, "null") == {
            "roles": 1, "role_permissions": 1, "workspaces": 1, "permission_audit_log": 2, "workspace_members": 1,
        }  # fmt: skip
        assert outcome.skipped == {}
        assert ids(url, "teams", "name") == {"of r1"}
        assert fetch(url, "SELECT actor_id, target_user_id FROM permission_audit_log ORDER BY id") == [(None, None)] * 2
        kit.restore(made)
        assert checksums(url) == before


PLANNED = """
INSERT INTO users (id, email) SELECT ('0000000' || n || '-0000-0000-0000-000000000000')::uuid, email
    FROM (VALUES (1, 't1+dev@x.io'), (2, 't2+staging@x.io'), (3, 'r1@x.io'), (4, 'r2@x.io')) AS v (n, email);
CREATE FUNCTION u(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT ('0000000' || n || '-0000-0000-0000-000000000000')::uuid $$;
INSERT INTO roles (id, name, created_by) VALUES (u(1), 'by test', u(1)), (u(2), 'by real', u(3));
INSERT INTO permissions (id, resource_type, action) VALUES (u(1), 'doc', 'read');
INSERT INTO role_permissions (role_id, permission_id, granted_by) VALUES (u(1), u(1), u(2)), (u(2), u(1), u(3));
INSERT INTO user_roles (user_id, role_id, assigned_by) VALUES (u(1), u(1), u(3)), (u(2), u(1), u(1)), (u(3), u(2), u(2)), (u(4), u(2), u(3));
INSERT INTO teams (id, name, parent_team_id, created_by) VALUES
    (u(1), 'of t1', NULL, u(1)), (u(2), 'of r1 under t1', u(1), u(3)), (u(3), 'of r1', NULL, u(3)), (u(4), 'of t2 under r1', u(3), u(2));
INSERT INTO team_members (team_id, user_id, invited_by) VALUES (u(2), u(3), NULL), (u(3), u(1), u(3)), (u(3), u(4), u(3));
INSERT INTO workspaces (id, name, team_id, created_by) VALUES (u(1), 'of t1', u(3), u(1)), (u(2), 'of r2 in a lost team', u(2), u(4));
INSERT INTO workspace_members (workspace_id, user_id, invited_by) VALUES (u(2), u(4), u(2));
INSERT INTO shared_resources (resource_type, resource_id, workspace_id, shared_by) VALUES ('doc', '1', u(2), u(1)), ('doc', '2', u(2), u(4));
INSERT INTO resource_permissions (id, resource_type, resource_id, principal_type, principal_id, permission_id, granted_by) VALUES
    (u(1), 'doc', '1', 'team', u(3)::text, u(1), u(3)), (u(2), 'doc', '2', 'user', u(1)::text, u(1), u(3)),
    (u(3), 'doc', '2', 'team', u(1)::text, u(1), u(4));
INSERT INTO resource_shares (id, resource_type, resource_id, shared_with, shared_by) VALUES (u(1), 'doc', '2', u(1), u(2)), (u(2), 'doc', '2', u(3), u(4));
INSERT INTO permission_audit_log (actor_id, target_user_id, action) VALUES (u(1), u(2), 'a'), (NULL, NULL, 'b');
INSERT INTO player_profiles (user_id, display_name) VALUES (u(1), 'p1'), (u(3), 'p3');
INSERT INTO experience_progress (user_id, experience_id) VALUES (u(1), 'x'), (u(3), 'x');
INSERT INTO player_progress_events (user_id, experience_id, event_type) VALUES (u(1), 'x', 'e'), (u(1), 'x', 'e'), (u(3), 'x', 'e');
"""
