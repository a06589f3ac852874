"""What each check asks of PostgreSQL, and what the answer says."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gaiaops.errors import GaiaopsError
from gaiaops.inspect.health import tables
from gaiaops.inspect.health.checks import Measured, Verdict
from gaiaops.inspect.health.words import age, count, number
from gaiaops.postgres import features, queries
from gaiaops.postgres.guard import SERVER
from gaiaops.postgres.probe import Probe
from gaiaops.postgres.replica import State, behind
from gaiaops.postgres.secrets import masked
from gaiaops.registry.model import Environment

Rows = Sequence[Sequence[Any]]
_SHOWN = 5
_NEEDS_MONITOR = "needs pg_monitor"
# Fewer say nothing.
_FEW_BLOCKS, _FEW_CHECKPOINTS = 100_000, 10
_BEHIND, _FAR_BEHIND = 64 << 20, 1 << 30  # bytes of WAL


class Look:
    """One look at a server: what two checks need is asked once. `now` is a moment to take for the server's clock."""

    def __init__(self, probe: Probe, *, now: str | None = None) -> None:
        self.probe = probe
        self._now = now
        self._rows: dict[str, Rows] = {}

    def measure(self, check: str) -> Measured:
        """What a check sees. Raises the error tree's errors."""
        if why := features.unasked(self.probe.server, check):
            return Measured(unseen=why)
        if check == "slow-statements":
            return slow_statements(self.probe)
        query, read = _QUERIES[check]
        if query == "health_tables" and self._is_standby():
            return Measured(None, "a replica does not count them: its primary does")
        if query not in self._rows:
            sql = checkpoints_sql(self.probe.version) if check == "checkpoints" else queries.load(query)
            self._rows[query] = self.probe.ask(sql, {"now": self._now} if "%(now)s" in sql else None)
        return read(self._rows[query])

    def _is_standby(self) -> bool:
        """Statistics are each server's own, and nothing is vacuumed on a replica (manual 27.2)."""
        if "standby" not in self._rows:
            self._rows["standby"] = self.probe.ask("SELECT pg_is_in_recovery()")
        return bool(self._rows["standby"][0][0])


def reachable(probe: Probe) -> Measured:
    """The time of one round trip, which also says who the server is. Raises the error tree's errors."""
    probe.ask("SELECT 1")
    began = time.perf_counter()
    who = probe.ask(f"SELECT {SERVER}")[0]
    latency = (time.perf_counter() - began) * 1000
    probe.server = features.of(who)
    here = ("what is measured is this node alone",) if probe.server.citus else ()
    return Measured(latency, probe.server.name, here)


def connections(rows: Rows) -> Measured:
    """Rows of health_connections; the fullest of the server and the databases with a limit of their own counts."""
    limited = [(100 * n / room if room > 0 else 100.0, level, name, n, room)
               for level, name, n, room in rows if room is not None]  # fmt: skip
    percent, level, name, n, room = max(limited, key=lambda one: one[0])
    where = "" if level == "server" else f" of database {name}"
    details = []
    for kind in ("database", "application", "state"):
        found = [f"{name} {n}" for level, name, n, _ in rows if level == kind]
        more = f", {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        details.append(f"by {kind}: {', '.join(found[:_SHOWN])}{more}")
    return Measured(percent, f"{n} of {room}{where}", tuple(details))


def _transactions(rows: Rows, *, idle: bool) -> Measured:
    hidden = int(rows[0][4])
    unseen = f"{_NEEDS_MONITOR}: {count(hidden, 'session')} of others cannot be seen" if hidden else ""
    found = [(who, state, left if idle else old) for who, state, old, left, _ in rows if who is not None]
    found = sorted((one for one in found if one[2] is not None), key=lambda one: -one[2])
    details = tuple(f"{who}: {state} for {age(seconds)}" for who, state, seconds in found[:_SHOWN])
    return Measured(found[0][2] if found else 0.0, "" if found else "none", details, unseen)


def oldest_transaction(rows: Rows) -> Measured:
    """Rows of health_transactions."""
    found = _transactions(rows, idle=False)
    details = tuple(line.replace(" for ", ", open for ", 1) for line in found.details)
    return msgspec.structs.replace(found, details=details)


def idle_in_transaction(rows: Rows) -> Measured:
    """Rows of health_transactions."""
    return _transactions(rows, idle=True)


def blocked(rows: Rows) -> Measured:
    """Rows of health_blocked."""
    if not rows:
        return Measured(0.0, "nobody waits")
    details = []
    for pid, blockers, seconds in rows[:_SHOWN]:
        # pg_blocking_pids gives 0 for a prepared transaction (manual 9.27.1).
        front = ", ".join("a prepared transaction" if one == 0 else f"pid {one}" for one in dict.fromkeys(blockers))
        details.append(f"pid {pid} for {age(seconds)} behind {front}")
    pids = len({row[0] for row in rows})
    return Measured(float(pids), f"the longest for {age(rows[0][2])}", tuple(details))


def _a_day(total: float, days: float) -> float:
    """A rate; less than a day counts as one, so that a single event is not taken for a flood."""
    return total / max(1.0, days)


def deadlocks(rows: Rows) -> Measured:
    """Rows of health_counters."""
    total, days = int(rows[0][0]), rows[0][5]
    return Measured(_a_day(total, days), f"{total:,} in {age(days * 86_400)}")


def cache_hit(rows: Rows) -> Measured:
    """Rows of health_counters."""
    hit, read = int(rows[0][1]), int(rows[0][2])
    if hit + read < _FEW_BLOCKS:
        return Measured(None, f"too little was read to tell ({hit + read:,} blocks)")
    return Measured(100 * hit / (hit + read), f"{read:,} of {hit + read:,} blocks from outside")


def temporary_files(rows: Rows) -> Measured:
    """Rows of health_counters."""
    files, size, days = int(rows[0][3]), float(rows[0][4]), rows[0][5]
    return Measured(_a_day(size, days), f"{count(files, 'file')} in {age(days * 86_400)}")


def replication_lag(rows: Rows) -> Measured:
    """Rows of health_replication."""
    if not rows:
        return Measured(None, "no replica is connected")
    unseen = _NEEDS_MONITOR if any(state is None for _, _, state, _, _ in rows) else ""
    behind = max(size or 0.0 for _, _, _, size, _ in rows)
    # A replica that has stopped replaying keeps the last replay_lag that it measured: the bytes tell.
    floor = Verdict.CRITICAL if behind >= _FAR_BEHIND else Verdict.WARN if behind >= _BEHIND else Verdict.OK
    if any(state == "not streaming" for _, _, state, _, _ in rows):
        floor = Verdict.CRITICAL
    details = tuple(
        f"{name}: {state or '?'}" + ("" if size is None else f", {number(size / 2**20)} MB behind")
        for _, name, state, size, _ in rows
    )
    text = count(len(rows), "replica")
    if rows[-1][0] == "self":
        if rows[-1][4] is None and not unseen:  # it has replayed no commit since its start
            unseen = "how far it is behind cannot be told yet"
        text = "this server is a replica" + (" and does not stream" if rows[-1][2] == "not streaming" else "")
    return Measured(max(seconds or 0.0 for *_, seconds in rows), text, details, unseen, floor)


def replica(state: State, env: Environment, *, compared: bool) -> Measured:
    """Whether a replica of the registry is one, and may be read. `compared`: the primary has said who it is."""
    if state.problem:
        return Measured(1.0, state.problem)
    pinned = env.pin.system_identifier is not None
    unseen = "" if compared or pinned else "whose replica it is was not compared: the primary does not answer"
    if why := state.against(env.max_lag):
        floor = Verdict.WARN if env.read_from == "replica" else Verdict.OK
        return Measured(0.0, f"not read from: {why}", (), unseen, floor)
    return Measured(0.0, f"follows the primary, {behind(state.lag or 0.0)}", (), unseen)


def replication_slots(rows: Rows) -> Measured:
    """Rows of health_slots."""
    if not rows:
        return Measured(None, "no slots")
    floors = {"lost": Verdict.CRITICAL, "unreserved": Verdict.CRITICAL}
    floor = max(floors.get(status, Verdict.OK) for _, _, status, _ in rows)
    held = [f"{name}: {'active' if active else 'not active'}, {status or '?'}, holds {number((size or 0) / 2**20)} MB"
            for name, active, status, size in rows]  # fmt: skip
    return Measured(max(size or 0.0 for *_, size in rows), count(len(rows), "slot"), tuple(held[:_SHOWN]), "", floor)


def transaction_id_age(rows: Rows) -> Measured:
    """Rows of health_xid_age."""
    name, percent, which = rows[0]
    details = tuple(f"{one}: {number(part)} % of its {kind}" for one, part, kind in rows[:_SHOWN])
    return Measured(percent, f"{which} of {name}", details)


def checkpoints_sql(version: int) -> str:
    """health_checkpoints for a server's version: the counters moved in 17, pg_stat_wal came with 14."""
    counters = "SELECT num_timed, num_requested FROM pg_stat_checkpointer"
    if version < 170_000:
        counters = "SELECT checkpoints_timed, checkpoints_req FROM pg_stat_bgwriter"
    wal = "SELECT wal_bytes FROM pg_stat_wal"
    if version < 140_000:
        wal = "SELECT pg_wal_lsn_diff(coalesce(pg_last_wal_replay_lsn(), pg_current_wal_lsn()), '0/0')"
    return queries.load("health_checkpoints").replace("(COUNTERS)", f"({counters})").replace("(WAL)", f"({wal})")


def checkpoints(rows: Rows) -> Measured:
    """Rows of health_checkpoints. Backups, restarts and CREATE DATABASE request checkpoints too: as many as the WAL
    accounts for are due to it. It begins one after a third to a half of max_wal_size (manual 28.5)."""
    timed, requested = (int(value or 0) for value in rows[0][:2])
    wal, most = rows[0][2:]
    if timed + requested < _FEW_CHECKPOINTS:
        return Measured(None, f"too few to tell ({timed + requested})")
    due = min(requested, 3 * (wal or 0.0) / most)
    details = ("max_wal_size was reached before checkpoint_timeout",)
    return Measured(100 * due / (timed + requested), f"{due:,.0f} of {timed + requested:,}", details)


def archiver(rows: Rows) -> Measured:
    """Rows of health_archiver."""
    mode, archived, failed, failing, file, seconds = rows[0]
    if mode == "off":
        return Measured(None, "archive_mode is off")
    if not failing:
        return Measured(0.0, f"{archived:,} files archived" + (f", {failed:,} failures before" if failed else ""))
    since = f", the last one went through {age(seconds)} ago" if seconds is not None else ", none ever went through"
    return Measured(float(failed), f"{file} cannot be archived{since}")


def slow_statements(probe: Probe) -> Measured:
    """Statements of this database of 100 ms and more on average, as pg_stat_statements has them."""
    missing = "pg_stat_statements is not installed in this database"
    found = probe.ask("SELECT quote_ident(nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid ="
                      " e.extnamespace WHERE extname = 'pg_stat_statements'")  # fmt: skip
    if not found:
        return Measured(
            unseen=missing, next="gaiaops connect {env} --write", then="CREATE EXTENSION pg_stat_statements"
        )
    try:
        rows = probe.ask(queries.load("health_slow_statements").replace("SCHEMA", found[0][0]))
    except GaiaopsError as error:
        if error.sqlstate == "55000":  # the library is not in shared_preload_libraries (manual F.32)
            return Measured(unseen="pg_stat_statements is not in shared_preload_libraries")
        if error.sqlstate == "42703":  # mean_exec_time came with 1.8, which is PostgreSQL 13's
            return Measured(unseen="pg_stat_statements is older than 1.8: ALTER EXTENSION pg_stat_statements UPDATE")
        raise
    details = tuple(f"{number(mean)} ms, {calls:,} calls: {masked(text)}" for mean, calls, text in rows[:_SHOWN])
    return Measured(float(len(rows)), "" if rows else "none of 100 ms and more on average", details)


_QUERIES: dict[str, tuple[str, Callable[[Rows], Measured]]] = {
    "connections": ("health_connections", connections),
    "oldest-transaction": ("health_transactions", oldest_transaction),
    "idle-in-transaction": ("health_transactions", idle_in_transaction),
    "blocked": ("health_blocked", blocked),
    "deadlocks": ("health_counters", deadlocks),
    "cache-hit": ("health_counters", cache_hit),
    "temporary-files": ("health_counters", temporary_files),
    "replication-lag": ("health_replication", replication_lag),
    "replication-slots": ("health_slots", replication_slots),
    "transaction-id-age": ("health_xid_age", transaction_id_age),
    "dead-rows": ("health_tables", tables.dead_rows),
    "last-vacuum": ("health_tables", tables.last_vacuum),
    "invalid-indexes": ("health_invalid_indexes", tables.invalid_indexes),
    "unindexed-foreign-keys": ("health_unindexed_keys", tables.unindexed_keys),
    "size": ("health_sizes", tables.sizes),
    "checkpoints": ("health_checkpoints", checkpoints),
    "archiver": ("health_archiver", archiver),
}
