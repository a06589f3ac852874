"""Who a server is, and what of PostgreSQL it lacks, or has in name only. Pure.

What is missing says so itself when it is asked for: an undefined function, table or column. What is there and answers
as if it worked does not, and is known by the server's name alone:

CockroachDB. pg_blocking_pids always gives an empty array (its pull request 92253), pg_stat_activity is an empty table
(its issue 28309), advisory locks give true and lock nothing (its issue 13546, "Features that differ from PostgreSQL").
From 25.1 on a schema change commits the open transaction before it runs (session variable autocommit_before_ddl), and
SET TRANSACTION READ WRITE is taken at any time: its read-only transaction alone is no guard. REPEATABLE READ runs as
SERIALIZABLE unless the cluster allows it, so a read is of one moment either way ("Read Committed Transactions").

YugabyteDB. REPEATABLE READ is snapshot isolation over all nodes ("Transaction isolation levels"). Its transactions have
ids of their own, UUIDs, which pg_xact_status does not know (its issue 14334); row locks are kept in DocDB and shown by
its pg_locks ("Get insights on transaction locks"), where pg_blocking_pids does not look; there is no shared buffer
cache (its issue 21343), nothing to vacuum, and each node shows its own sessions only.

Citus. An extension: the server is PostgreSQL, but the rows of a distributed table are on others. Each node takes a
snapshot of its own, whatever the isolation level (its issue 708, pull requests 6483 and 6489), statistics count what
happens on this node, SELECT … FOR UPDATE works on one shard only ("SQL Support and Workarounds").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from gaiaops.errors import GaiaopsError, RefusedError, StatementError
from gaiaops.postgres.guard import calls
from gaiaops.postgres.lexer import Statement

POSTGRESQL, COCKROACHDB, YUGABYTEDB = "PostgreSQL", "CockroachDB", "YugabyteDB"

_PRODUCTS = (
    (COCKROACHDB, re.compile(r"CockroachDB\b.*?\bv?(\d+(?:\.\d+)*)")),
    (YUGABYTEDB, re.compile(r"-YB-(\d+(?:\.\d+)*)")),
    (POSTGRESQL, re.compile(r"PostgreSQL (\S+)")),
)
_MISSING = ("42883", "42P01", "42703", "42704", "0A000")  # undefined function, table, column, object; unsupported


class Server(msgspec.Struct, frozen=True):
    """Who answers: the product, its version as people say it, and whether Citus is in it."""

    product: str = POSTGRESQL
    version: str = ""
    citus: bool = False

    @property
    def name(self) -> str:
        """As people call it: `CockroachDB 23.1.30`, `PostgreSQL 16.4 with Citus`."""
        return f"{self.product} {self.version}".rstrip() + (" with Citus" if self.citus else "")

    @property
    def plain(self) -> bool:
        """Whether it is PostgreSQL alone."""
        return self.product == POSTGRESQL and not self.citus


def named(version: str, *, citus: bool = False) -> Server:
    """The server of what version() says.

    >>> named("CockroachDB CCL v23.1.30 (x86_64-pc-linux-gnu, built 2024/12/12, go1.19.13)").name
    'CockroachDB 23.1.30'
    >>> named("PostgreSQL 11.2-YB-2.18.0.0-b0 on x86_64-pc-linux-gnu, compiled by clang").name
    'YugabyteDB 2.18.0.0'
    >>> named("PostgreSQL 16.4 (Debian 16.4-1) on x86_64-pc-linux-gnu", citus=True).name
    'PostgreSQL 16.4 with Citus'
    """
    for product, pattern in _PRODUCTS:
        if found := pattern.search(version):
            return Server(product, found[1], citus)
    return Server(version.partition(" on ")[0][:40].strip() or POSTGRESQL, "", citus)


def of(row: Sequence[Any]) -> Server:
    """The server of a row of guard.SERVER."""
    version, citus = row
    return named(str(version), citus=bool(citus))


def announced(reported: Callable[[bytes], bytes | None]) -> Server:
    """The server of what it reports when a connection begins (manual 54.2.7), before anything is asked of it.

    >>> announced({b"server_version": b"18.6"}.get).plain
    True
    >>> announced({b"server_version": b"13.0.0", b"crdb_version": b"CockroachDB CCL v23.1.30"}.get).name
    'CockroachDB 23.1.30'
    """
    if cockroach := reported(b"crdb_version"):
        return named(cockroach.decode("utf-8", "replace"))
    return named("PostgreSQL " + (reported(b"server_version") or b"").decode("utf-8", "replace"))


# ------------------------------------------------------------------- by presence


def missing(error: GaiaopsError) -> str:
    """What a server has not got, from its error; "" where the error is another one.

    >>> from gaiaops.errors import StatementError
    >>> error = StatementError("function pg_blocking_pids(integer) does not exist (42883)")
    >>> error.sqlstate = "42883"
    >>> missing(error), missing(StatementError("division by zero (22012)"))
    ('pg_blocking_pids', '')
    """
    if error.sqlstate not in _MISSING:
        return ""
    said = error.message.removesuffix(f" ({error.sqlstate})")
    found = re.search(r'(?:function:?|relation|column|type)\s+"?((?:\w+\.)*\w+)', said)
    return found[1].removeprefix("pg_catalog.") if found else said


def without(sql: str, name: str) -> str:
    """A statement with NULL for the calls of a function; their arguments have parentheses of one level at most.

    >>> without("SELECT a, pg_database_size(current_database()) AS bytes", "pg_database_size")
    'SELECT a, NULL AS bytes'
    """
    return re.sub(rf"\b{re.escape(name)}\((?:[^()]|\([^()]*\))*\)", "NULL", sql)


# ------------------------------------------------------------------- by name

_EMPTY_ACTIVITY = "its pg_stat_activity is empty: SHOW CLUSTER SESSIONS has them"
_RAFT = "it replicates by Raft: its own console shows it"
_NO_VACUUM = "it has no vacuum"
_NO_BUFFERS = "it has no shared buffers"
_CHECKS: Mapping[str, Mapping[str, str]] = {
    COCKROACHDB: {
        "connections": _EMPTY_ACTIVITY,
        "oldest-transaction": _EMPTY_ACTIVITY,
        "idle-in-transaction": _EMPTY_ACTIVITY,
        "blocked": "its pg_blocking_pids is always empty: crdb_internal.cluster_locks has them",
        "deadlocks": "it does not count them in pg_stat_database",
        "cache-hit": _NO_BUFFERS,
        "temporary-files": "it does not count them in pg_stat_database",
        "replication-lag": _RAFT,
        "replication-slots": _RAFT,
        "transaction-id-age": "its transaction ids do not run out",
        "dead-rows": _NO_VACUUM,
        "last-vacuum": _NO_VACUUM,
        "invalid-indexes": "its pg_index has valid ones only: SHOW JOBS has those being built",
        "size": "it has no pg_database_size: SHOW RANGES … WITH DETAILS has sizes",
        "slow-statements": "it has no pg_stat_statements: its own console shows them",
        "checkpoints": "it has none",
        "archiver": "it has no WAL archive",
    },
    YUGABYTEDB: {
        "blocked": "its row locks are in its own pg_locks, where pg_blocking_pids does not look",
        "cache-hit": _NO_BUFFERS,
        "replication-lag": _RAFT,
        "transaction-id-age": "its transaction ids do not run out",
        "dead-rows": _NO_VACUUM,
        "last-vacuum": _NO_VACUUM,
        "checkpoints": "it has none of its rows",
        "archiver": "it has no WAL archive of its rows",
    },
}


def unasked(server: Server, check: str) -> str:
    """Why a health check cannot be made of a server, although what it asks for may be there; "" where it can.

    >>> unasked(Server(COCKROACHDB, "23.1"), "checkpoints"), unasked(Server(), "checkpoints")
    ('CockroachDB 23.1: it has none', '')
    """
    why = _CHECKS.get(server.product, {}).get(check, "")
    return f"{server.name}: {why}" if why else ""


def blocking(server: Server, lacking: str = "") -> tuple[str, bool]:
    """What `activity` cannot know of who waits for whom, in a line ("" where it knows all), and whether that is
    everything; `lacking` is what the server was found not to have.

    >>> blocking(Server(POSTGRESQL, "18.6"), "pg_blocking_pids")
    ('PostgreSQL 18.6: no pg_blocking_pids: who blocks whom is not shown', True)
    """
    if server.product == YUGABYTEDB:
        lost = "pg_blocking_pids does not see its row locks: who blocks whom is not shown; sessions of this node only"
        return f"{server.name}: {lost}", True
    if lacking:
        return f"{server.name}: no {lacking}: who blocks whom is not shown", True
    if server.citus:
        lost = "sessions and locks of this node only: citus_stat_activity and citus_lock_waits have all"
        return f"{server.name}: {lost}", False
    return "", False


def check_sessions(server: Server) -> None:
    """Raises StatementError where pg_stat_activity would show nobody although somebody is there."""
    if server.product == COCKROACHDB:
        raise StatementError(
            f"{server.name}: pg_stat_activity is empty there, and pg_blocking_pids knows nobody: nothing to show",
            hint='gaiaops query ENV "SHOW CLUSTER SESSIONS" lists them; crdb_internal.cluster_locks has who waits',
        )


def reading(server: Server, isolation: str) -> str:
    """What a reading transaction does not give where a snapshot is wanted, in a line; "" where it is one.

    >>> reading(Server(), "repeatable read"), reading(Server("X", "1"), "read committed")
    ('', 'X 1: reads READ COMMITTED instead of one snapshot: what changes meanwhile may be seen in part')
    """
    if server.citus:
        return (
            f"{server.name}: every node has a snapshot of its own: a change of several nodes may be seen in part,"
            " until the second look"
        )
    if isolation == "read committed":
        lost = "what changes meanwhile may be seen in part"
        return f"{server.name}: reads READ COMMITTED instead of one snapshot: {lost}"
    return ""


# ------------------------------------------------------------------- what is refused

_UNSAFE: Mapping[str, str] = {
    COCKROACHDB: "advisory locks lock nothing (two clean-ups at once), no pg_xact_status (what became of a commit whose"
    " answer was lost), no counts of changed rows (whether a trigger took more)",
    YUGABYTEDB: "pg_xact_status does not know its transactions (what became of a commit whose answer was lost)",
}
_NEEDED: Mapping[str, str] = {
    "pg_xact_status": "what became of a commit whose answer was lost",
    "pg_current_xact_id": "what became of a commit whose answer was lost",
    "pg_try_advisory_lock": "that no two clean-ups run at once",
    "pg_try_advisory_xact_lock": "that no two clean-ups run at once",
    "pg_blocking_pids": "who waits behind a batch",
    "pg_stat_get_xact_tuples_deleted": "that what was deleted is what was archived",
    "pg_control_system": "which server it is",
}
NEEDED = tuple(_NEEDED)  # in the order of the sentence
_INSTEAD = "nothing was changed; small changes by hand: gaiaops query ENV --write"


def refuse_change(server: Server) -> None:
    """Raises RefusedError for a server on which a change of many rows cannot be made safe."""
    if why := _UNSAFE.get(server.product):
        raise RefusedError(f"{server.name}: a change cannot be made safe: {why}", hint=_INSTEAD)


def refuse_without(server: Server, lacking: tuple[str, ...]) -> None:
    """Raises RefusedError where something that a change needs is not there.

    >>> refuse_without(Server("PostgreSQL", "16.4"), ("pg_xact_status",))
    Traceback (most recent call last):
    gaiaops.errors.RefusedError: PostgreSQL 16.4 has no pg_xact_status (what became of a commit whose answer was lost)
    """
    if lacking:
        why = ", ".join(f"{name} ({_NEEDED[name]})" if name in _NEEDED else name for name in lacking)
        raise RefusedError(f"{server.name} has no {why}", hint=_INSTEAD)


_DISTRIBUTED = "Citus keeps its rows on other nodes: what is changed there is not counted here, nor locked by one query"


def distributed(table: str) -> str:
    """Why rows of a distributed, a reference or a managed local table of Citus are not changed."""
    return f"{table}: {_DISTRIBUTED}"


# Functions of Citus that act over connections to its other nodes, or change its catalog; and those that only look.
_CITUS = re.compile(
    r"""run_command_on_\w+ | (?:master|worker|citus)_\w+ | (?:create|alter|undistribute)_\w*(?:distributed|reference)\w*
    | undistribute_table | alter_table_set_access_method | truncate_local_data_after_distributing_table
    | remove_local_tables_from_metadata | rebalance_table_shards | replicate_(?:table_shards|reference_tables)
    | isolate_tenant_to_new_shard | (?:start|stop)_metadata_sync_to_\w+ | recover_prepared_transactions""",
    re.VERBOSE | re.IGNORECASE,
)
_CITUS_LOOKS = re.compile(
    r"citus_version|\w+_size|(?:citus|master)_get_\w+|citus_(?:dist_)?stat_\w+(?<!_reset)"
    r"|citus_(?:job_list|job_status|rebalance_status|is_coordinator|coordinator_nodeid|backend_gpid|calculate_gpid)"
    r"|citus_(?:nodeid_for_gpid|pid_for_gpid)|worker_hash",
    re.IGNORECASE,
)

_WRITE = "add --write if you mean it"
# What only reads on CockroachDB: its schema changes commit the open transaction first, SET undoes READ ONLY, and jobs
# (BACKUP, EXPORT, CANCEL …) run beside it.
_READS = ("SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN")


def refuse_statement(server: Server, statement: Statement) -> None:
    """Raises RefusedError where a reading command must not run a statement on this server, although the guard lets it
    pass on PostgreSQL.

    >>> from gaiaops.postgres.lexer import split
    >>> refuse_statement(Server(COCKROACHDB, "25.1"), split("drop table users")[0])
    Traceback (most recent call last):
    gaiaops.errors.RefusedError: refused: DROP on CockroachDB 25.1, whose read-only transaction does not hold it
    """
    if server.citus:
        for _, name in calls(statement.tokens):
            if _CITUS.fullmatch(name) and not _CITUS_LOOKS.fullmatch(name):
                raise RefusedError(
                    f"refused: {name} acts on other nodes, outside the read-only transaction", hint=_WRITE
                )
    if server.product == COCKROACHDB:
        _refuse_cockroachdb(server, statement)


def _refuse_cockroachdb(server: Server, statement: Statement) -> None:
    words = [token.text for token in statement.tokens]
    what = "" if statement.keyword in _READS else statement.keyword
    if statement.keyword == "EXPLAIN" and {"analyze", "analyse", "debug"} & {*words[1:12]}:
        what = "EXPLAIN ANALYZE"
    for index, name in calls(statement.tokens):
        if name == "set_config" or words[max(0, index - 3) : index - 1] == ["crdb_internal", "."]:
            what = what or name
    if what:
        raise RefusedError(
            f"refused: {what} on {server.name}, whose read-only transaction does not hold it",
            hint=f"SELECT, WITH, VALUES, TABLE, SHOW and EXPLAIN only read; {_WRITE}",
        )
