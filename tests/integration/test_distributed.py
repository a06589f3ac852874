"""Where something of PostgreSQL is missing, or only there in name: what is shown is true, a line says what is not, and
no change is made that could not be made safe. The servers are stand-ins: see distributed_kit."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from gaiaops import registry
from gaiaops.audit import side
from gaiaops.auth.interface import Cutoffs
from gaiaops.errors import RefusedError
from gaiaops.postgres.features import NEEDED
from gaiaops.registry import trust
from tests.conftest import Command, registry_for
from tests.integration.cleanup_kit import USERS, Kit, database, ids, planned
from tests.integration.distributed_kit import VERSIONS, citus, claim, never_read_only, without
from tests.waiting import soon

COCKROACHDB, YUGABYTEDB = VERSIONS
CREATED = "ALTER TABLE users ADD created_at timestamp DEFAULT now()"
OWNED = """
CREATE TABLE notes (id int PRIMARY KEY, owner int REFERENCES users ON DELETE CASCADE);
INSERT INTO notes VALUES (1, 1)
"""


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    """A database of the test's own with six users, three of whom a clean-up takes."""
    with database(postgres_url, USERS, CREATED) as found:
        yield found


@contextmanager
def blocked(url: str) -> Iterator[tuple[int, int]]:
    """(pid, pid) of two sessions, of which the second waits for the first."""
    change = "UPDATE users SET name = 'x' WHERE id = 1"
    with psycopg.connect(url) as first, psycopg.connect(url) as second, psycopg.connect(url, autocommit=True) as look:
        first.execute(change)
        waiting = threading.Thread(target=second.execute, args=(change,))
        waiting.start()
        pids = first.info.backend_pid, second.info.backend_pid
        sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
        try:
            soon(lambda: look.execute(sql, (pids[1],)).fetchone() == (1,))
            yield pids
        finally:
            first.rollback()
            waiting.join()


def only(err: str) -> str:
    """The one line of standard error."""
    lines = err.splitlines()
    assert len(lines) == 1, err
    return lines[0]


# ------------------------------------------------------------------------------------------------ activity


def test_without_pg_blocking_pids_the_sessions_are_shown_all_the_same(
    url: str, gaiaops: Command, tmp_path: Path
) -> None:
    file = registry_for(tmp_path, dev=url)
    with without(url, "pg_blocking_pids"), blocked(url) as pids:
        shown = gaiaops("activity", "dev", registry=file)
        document = json.loads(gaiaops("activity", "dev", "--json", registry=file).out)
    assert shown.code == 0
    assert only(shown.err).endswith("no pg_blocking_pids: who blocks whom is not shown")
    assert only(shown.err).startswith("gaiaops: warning: [dev] PostgreSQL ")
    assert {one["pid"] for key in ("activity", "idle_in_transaction") for one in document[key]} == {*pids}
    assert document["blocking"] is None
    assert "blocking: not known" in shown.out
    assert "pg_blocking_pids" in document["unknown"]


def test_with_everything_there_nothing_is_said(url: str, gaiaops: Command, tmp_path: Path) -> None:
    with blocked(url) as (first, second):
        shown = gaiaops("activity", "dev", "--json", registry=registry_for(tmp_path, dev=url))
    document = json.loads(shown.out)
    assert (shown.code, shown.err, document["unknown"]) == (0, "", None)
    assert document["blocking"][0]["pid"] == first
    assert document["blocking"][0]["blocks"][0]["pid"] == second


def test_a_function_that_is_there_in_name_only_is_not_believed(url: str, gaiaops: Command, tmp_path: Path) -> None:
    claim(url, VERSIONS[YUGABYTEDB])
    with blocked(url):
        shown = gaiaops("activity", "dev", registry=registry_for(tmp_path, dev=url))
    assert shown.code == 0
    assert f"[dev] {YUGABYTEDB}: pg_blocking_pids does not see its row locks" in only(shown.err)
    assert "blocking: not known" in shown.out


def test_an_empty_pg_stat_activity_is_not_shown_as_nobody(url: str, gaiaops: Command, tmp_path: Path) -> None:
    claim(url, VERSIONS[COCKROACHDB])
    shown = gaiaops("activity", "dev", registry=registry_for(tmp_path, dev=url))
    assert (shown.code, shown.out) == (1, "")
    assert f"[dev] {COCKROACHDB}: pg_stat_activity is empty there" in shown.err
    assert 'query dev "SHOW CLUSTER SESSIONS" lists them' in shown.err


def test_one_node_of_citus_is_not_taken_for_all(url: str, gaiaops: Command, tmp_path: Path) -> None:
    citus(url)
    with blocked(url) as (first, _):
        shown = gaiaops("activity", "dev", registry=registry_for(tmp_path, dev=url))
    assert "with Citus: sessions and locks of this node only" in only(shown.err)
    assert f"--terminate {first}" in shown.out


# ------------------------------------------------------------------------------------------------ health, view, envs


def health(gaiaops: Command, file: Path) -> dict[str, dict[str, object]]:
    done = gaiaops("health", "dev", "--json", "--fail-on", "never", registry=file)
    return {one["check"]: one for one in json.loads(done.out)["checks"]}


def test_a_check_that_cannot_be_made_says_what_is_missing(url: str, gaiaops: Command, tmp_path: Path) -> None:
    file = registry_for(tmp_path, dev=url)
    with without(url, "pg_blocking_pids", "pg_database_size"):
        found = health(gaiaops, file)
    for check, name in (("blocked", "pg_blocking_pids"), ("size", "pg_database_size")):
        assert (found[check]["verdict"], found[check]["value"]) == ("unknown", None)
        assert f"this server has no {name}" in str(found[check]["message"])
    assert found["connections"]["verdict"] == "ok"


def test_empty_views_are_no_good_health(url: str, gaiaops: Command, tmp_path: Path) -> None:
    claim(url, VERSIONS[COCKROACHDB])
    found = health(gaiaops, registry_for(tmp_path, dev=url))
    assert found["reachable"]["message"] == COCKROACHDB
    for check in ("connections", "oldest-transaction", "blocked", "replication-lag", "dead-rows", "checkpoints"):
        assert found[check]["verdict"] == "unknown", check
        assert f"{COCKROACHDB}: it" in str(found[check]["message"]), check
    assert found["unindexed-foreign-keys"]["verdict"] == "ok"


def test_an_overview_without_sizes(url: str, gaiaops: Command, tmp_path: Path) -> None:
    claim(url, VERSIONS[COCKROACHDB])
    with without(url, "pg_database_size", "pg_total_relation_size"):
        shown = gaiaops("view", "dev", registry=registry_for(tmp_path, dev=url))
        document = json.loads(gaiaops("view", "dev", "--json", registry=registry_for(tmp_path, dev=url)).out)
    lines = [line for line in shown.err.splitlines() if line.startswith("gaiaops")]
    assert lines == [
        f"gaiaops: warning: [dev] {COCKROACHDB}: no {name}: what it gives is not shown"
        for name in ("pg_database_size", "pg_total_relation_size")
    ]
    assert shown.code == 0
    (env,) = document["environments"]
    assert (env["server_version"], env["users"], env["database_bytes"]) == (COCKROACHDB, 6, None)
    assert env["tables"] == [{"table": "users", "rows": 6, "exact": True, "bytes": None}]


def test_a_server_that_cannot_say_which_it_is(url: str, gaiaops: Command, tmp_path: Path) -> None:
    file = registry_for(tmp_path, dev=url)
    with without(url, "pg_control_system"):
        unpinned = gaiaops("envs", "--check", registry=file)
        file.write_text(file.read_text(encoding="utf-8") + '\npin = { system_identifier = "7" }\n', encoding="utf-8")
        pinned = gaiaops("envs", "--check", registry=file)
    assert unpinned.code == 0
    assert "no pg_control_system: which system it is cannot be told" in unpinned.out
    assert pinned.code == 5
    assert "whether it is the pinned system cannot be told" in pinned.out


# ------------------------------------------------------------------------------------------------ query


def test_what_its_read_only_transaction_does_not_hold_is_refused(url: str, gaiaops: Command, tmp_path: Path) -> None:
    claim(url, VERSIONS[COCKROACHDB])
    file = registry_for(tmp_path, dev=url)
    assert gaiaops("query", "dev", "SELECT count(*) FROM users", "--format", "csv", registry=file).out == "count\n6\n"
    for statement in ("SET work_mem = '1MB'", "SET TRANSACTION READ WRITE", "SELECT 1; CREATE VIEW v AS SELECT 1"):
        done = gaiaops("query", "dev", statement, registry=file)
        assert (done.code, done.out) == (5, "")
        assert f"on {COCKROACHDB}, whose read-only transaction does not hold it" in done.err


def test_nothing_is_read_where_no_transaction_is_read_only(url: str, gaiaops: Command, tmp_path: Path) -> None:
    never_read_only(url)
    file = registry_for(tmp_path, dev=url)
    for words in (("query", "dev", "SELECT 1"), ("view", "dev")):
        done = gaiaops(*words, registry=file)
        assert done.code == 5
        assert "opens no read-only transaction: nothing was run" in done.err


def test_citus_acts_on_other_nodes_by_functions(url: str, gaiaops: Command, tmp_path: Path) -> None:
    citus(url)
    done = gaiaops(
        "query", "dev", "SELECT citus_move_shard_placement(1, 2, 3)", registry=registry_for(tmp_path, dev=url)
    )
    assert done.code == 5
    assert "refused: citus_move_shard_placement acts on other nodes, outside the read-only transaction" in done.err


# ------------------------------------------------------------------------------------------------ changes


@pytest.mark.parametrize("name", VERSIONS)
def test_no_clean_up_where_it_cannot_be_made_safe(url: str, gaiaops: Command, tmp_path: Path, name: str) -> None:
    claim(url, VERSIONS[name])
    file = registry_for(tmp_path, dev=url)
    done = gaiaops("cleanup", "dev", "--dry-run", registry=file)
    assert (done.code, done.out) == (5, "")
    assert f"[dev] {name}: a change cannot be made safe:" in done.err
    assert "pg_xact_status" in done.err
    assert ids(url, "users") == {1, 2, 3, 11, 12, 13}


def test_each_thing_that_a_change_needs_is_missed_by_name(url: str, tmp_path: Path) -> None:
    kit = Kit(tmp_path, url)
    for name in NEEDED:
        with without(url, name), pytest.raises(RefusedError) as refused:
            kit.plan()
        assert f" has no {name} (" in refused.value.message
    assert planned(kit.plan(), "delete") == {"users": 3}


def test_a_plan_is_not_carried_out_nor_taken_back_without_what_it_needs(url: str, tmp_path: Path) -> None:
    kit = Kit(tmp_path, url)
    plan = kit.plan()
    with without(url, "pg_try_advisory_lock"), pytest.raises(RefusedError, match="has no pg_try_advisory_lock"):
        kit.apply(plan)
    assert ids(url, "users") == {1, 2, 3, 11, 12, 13}
    _, run, _ = kit.clean()
    with without(url, "pg_xact_status"), pytest.raises(RefusedError, match="has no pg_xact_status"):
        kit.restore(run)
    assert ids(url, "users") == {11, 12, 13}
    kit.restore(run)
    assert ids(url, "users") == {1, 2, 3, 11, 12, 13}


def test_citus_a_distributed_table_is_left_alone_and_a_local_one_is_not(postgres_url: str, tmp_path: Path) -> None:
    with database(postgres_url, USERS, OWNED, "CREATE TABLE far (id int)") as url:
        kit = Kit(tmp_path, url)
        citus(url, "far")
        _, run, outcome = kit.clean()
        assert outcome.users == 3
        with psycopg.connect(url) as connection:
            connection.execute("SET allow_system_table_mods = on")
            connection.execute("INSERT INTO pg_dist_partition VALUES ('notes', 'h')")
        with pytest.raises(RefusedError, match="notes: Citus keeps its rows on other nodes"):
            kit.restore(run)
        assert any(why.startswith("notes: Citus keeps its rows on other nodes") for why in kit.plan().refusals)


# ------------------------------------------------------------------------------------------------ snapshots


def test_a_snapshot_of_each_node_is_told_once(url: str, tmp_path: Path) -> None:
    citus(url)
    env = registry.load(str(registry_for(tmp_path, dev=url))).environment("dev")
    told: list[str] = []
    trust.listen(told.append)
    for _ in range(2):
        with side.connect(env, None, Cutoffs(0, 0)):
            pass
    (line,) = told
    assert line.startswith("[dev] PostgreSQL ")
    assert "with Citus: every node has a snapshot of its own" in line
