"""Who a server is by its own words, what it has not got, and what a reading command may run on it."""

from __future__ import annotations

import pytest

from gaiaops.errors import DeadlineError, GaiaopsError, RefusedError, StatementError
from gaiaops.inspect.health.checks import BY_NAME
from gaiaops.postgres.features import (
    _CHECKS,
    COCKROACHDB,
    POSTGRESQL,
    YUGABYTEDB,
    Server,
    announced,
    missing,
    named,
    refuse_change,
    refuse_statement,
    unasked,
    without,
)
from gaiaops.postgres.lexer import split

COCKROACH = Server(COCKROACHDB, "25.1.4")
CITUS = Server(POSTGRESQL, "16.4", citus=True)


@pytest.mark.parametrize(
    ("text", "name", "plain"),
    [
        ("PostgreSQL 18.6 on x86_64-pc-linux-gnu, compiled by gcc", "PostgreSQL 18.6", True),
        ("PostgreSQL 13.22 (Debian 13.22-1.pgdg12+1) on aarch64", "PostgreSQL 13.22", True),
        ("PostgreSQL 15.4 (EnterpriseDB Advanced Server 15.4.0) on x86_64", "PostgreSQL 15.4", True),
        ("CockroachDB CCL v23.1.30 (x86_64-pc-linux-gnu, built 2024/12/12)", "CockroachDB 23.1.30", False),
        ("CockroachDB OSS v19.2.12 (x86_64-unknown-linux-gnu)", "CockroachDB 19.2.12", False),
        ("CockroachDB 26.1.0 (x86_64-pc-linux-gnu)", "CockroachDB 26.1.0", False),
        ("PostgreSQL 11.2-YB-2.18.0.0-b0 on x86_64-pc-linux-gnu", "YugabyteDB 2.18.0.0", False),
        ("PostgreSQL 15.12-YB-2025.2.2.2-b11 on aarch64", "YugabyteDB 2025.2.2.2", False),
        ("Other 9.1 on a machine of its own", "Other 9.1", False),
        ("", "PostgreSQL", True),
    ],
)
def test_who_it_is(text: str, name: str, plain: bool) -> None:
    assert (named(text).name, named(text).plain) == (name, plain)


def test_who_it_is_before_it_is_asked() -> None:
    said = {b"server_version": b"13.0.0", b"crdb_version": b"CockroachDB CCL v23.1.30 (x86_64)"}
    assert announced(said.get) == Server(COCKROACHDB, "23.1.30")
    assert announced({b"server_version": b"15.2-YB-2.25.0.0-b0"}.get) == Server(YUGABYTEDB, "2.25.0.0")
    assert announced({}.get).plain


@pytest.mark.parametrize(
    ("sqlstate", "message", "name"),
    [
        ("42883", "function pg_blocking_pids(integer) does not exist (42883)", "pg_blocking_pids"),
        ("42883", "unknown function: pg_control_system() (42883)", "pg_control_system"),
        ("42883", "function pg_catalog.textsend(text) does not exist (42883)", "textsend"),
        ("42P01", 'relation "pg_stat_wal" does not exist (42P01)', "pg_stat_wal"),
        ("42703", "column a.leader_pid does not exist (42703)", "a.leader_pid"),
        ("42883", "Funktion fehlt (42883)", "Funktion fehlt"),
        ("22012", "division by zero (22012)", ""),
    ],
)
def test_what_is_missing(sqlstate: str, message: str, name: str) -> None:
    error: GaiaopsError = StatementError(message)
    error.sqlstate = sqlstate
    assert missing(error) == name
    assert missing(DeadlineError(message)) == ""


def test_a_call_that_cannot_be_made_is_null() -> None:
    sql = "SELECT a.pg_x(1), pg_x(f(2), 3)::int8, pg_xx(4)"
    assert without(sql, "pg_x") == "SELECT a.NULL, NULL::int8, pg_xx(4)"
    assert without(sql, "nothing") == sql


def test_every_reason_is_a_checks() -> None:
    for product, reasons in _CHECKS.items():
        for check in reasons:
            assert check in BY_NAME, check
            assert unasked(Server(product, "1"), check).startswith(f"{product} 1: ")


@pytest.mark.parametrize(
    "sql",
    ["SELECT 1", "(SELECT 1)", "WITH a AS (SELECT 1) TABLE a", "VALUES (1)", "TABLE users", "SHOW CLUSTER SESSIONS",
     "EXPLAIN SELECT 1", "EXPLAIN (VERBOSE) SELECT 1", "SELECT * FROM crdb_internal.cluster_locks"],
)  # fmt: skip
def test_what_only_reads_runs_on_cockroachdb(sql: str) -> None:
    refuse_statement(COCKROACH, split(sql)[0])


@pytest.mark.parametrize(
    "sql",
    ["DROP TABLE users", "CREATE TABLE t (a int)", "SET TRANSACTION READ WRITE", "SET autocommit_before_ddl = on",
     "RESET ALL", "CANCEL QUERIES (SELECT 1)", "BACKUP INTO 'nodelocal://1/x'", "EXPORT INTO CSV 'x' FROM TABLE t",
     "EXPLAIN ANALYZE DELETE FROM users", "EXPLAIN (ANALYZE) DROP TABLE users", "EXPLAIN ANALYZE (DEBUG) SELECT 1",
     "SELECT crdb_internal.force_panic('x')", "SELECT set_config('a', 'b', true)", "DELETE FROM users",
     "SELECT \"crdb_internal\".force_panic('x')"],
)  # fmt: skip
def test_what_does_more_is_refused_on_cockroachdb(sql: str) -> None:
    with pytest.raises(RefusedError, match=r"on CockroachDB 25\.1\.4"):
        refuse_statement(COCKROACH, split(sql)[0])
    refuse_statement(Server(), split(sql)[0])  # the guard's own work


@pytest.mark.parametrize(
    "name",
    ["run_command_on_shards", "citus_add_node", "master_add_node", "worker_apply_shard_ddl_command",
     "create_distributed_table", "create_distributed_table_concurrently", "create_reference_table",
     "undistribute_table", "alter_distributed_table", "rebalance_table_shards", "citus_stat_statements_reset",
     "isolate_tenant_to_new_shard", "start_metadata_sync_to_all_nodes", "citus_cleanup_orphaned_resources",
     "citus_create_restore_point", "truncate_local_data_after_distributing_table", "citus_use_snapshot"],
)  # fmt: skip
def test_functions_of_citus_that_act_elsewhere(name: str) -> None:
    with pytest.raises(RefusedError, match=f"{name} acts on other nodes"):
        refuse_statement(CITUS, split(f"SELECT {name}('x')")[0])
    refuse_statement(Server(), split(f"SELECT {name}('x')")[0])


@pytest.mark.parametrize(
    "name",
    ["citus_version", "citus_table_size", "citus_total_relation_size", "master_get_table_ddl_events",
     "citus_get_active_worker_nodes", "citus_stat_tenants", "get_shard_id_for_distribution_column", "worker_hash",
     "citus_is_coordinator", "citus_job_list"],
)  # fmt: skip
def test_functions_of_citus_that_look(name: str) -> None:
    refuse_statement(CITUS, split(f"SELECT {name}('x')")[0])


def test_where_many_rows_may_be_changed() -> None:
    for server in (Server(), CITUS):  # there it is for each table to say
        refuse_change(server)
    for product in (COCKROACHDB, YUGABYTEDB):
        with pytest.raises(RefusedError, match="a change cannot be made safe"):
            refuse_change(Server(product, "1"))
