"""The checks, their thresholds, and the verdict on what was measured. Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

import msgspec

UNREACHED = "could not be reached"  # why a check was not made: its server's `reachable` says the rest


class Verdict(enum.IntEnum):
    """How bad it is; `UNKNOWN` is neither good nor bad."""

    OK = 0
    UNKNOWN = 1
    WARN = 2
    CRITICAL = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class Spec(msgspec.Struct, frozen=True):
    """A check: its server (postgres, replica, redis or auth), the unit of its value, the values from which on it is
    `warn` or `critical` (None: never), whether low values are the bad ones, and the command that shows more."""

    name: str
    server: str
    unit: str
    warn: float | None
    critical: float | None
    next: str
    falling: bool = False


class Measured(msgspec.Struct, frozen=True):
    """What a check saw.

    `value` is None where there is nothing to measure (`text` says why). `unseen` says what could not be seen: then a
    good value proves nothing. `floor` is the least verdict, whatever the value. `next` is a command instead of the
    check's, `then` what to type in it.
    """

    value: float | None = None
    text: str = ""
    details: tuple[str, ...] = ()
    unseen: str = ""
    floor: Verdict = Verdict.OK
    next: str = ""
    then: str = ""


class Result(msgspec.Struct, frozen=True):
    """A check of one environment (or ENV/SHARD), judged; `replica` is not 0 where it is about that one of its
    replicas."""

    environment: str
    server: str
    check: str
    verdict: Verdict
    value: float | None
    unit: str
    warn: float | None
    critical: float | None
    falling: bool
    text: str
    details: tuple[str, ...]
    next: str
    then: str
    replica: int = 0

    @property
    def where(self) -> str:
        """The environment, or its replica."""
        return f"{self.environment} replica {self.replica}" if self.replica else self.environment


_MINUTE, _DAY, _GB = 60, 86_400, 1 << 30


def _query(sql: str, *, down: bool = False) -> str:
    """The command that runs a query, its rows downwards where they are wide."""
    return f'gaiaops query {{env}} "{sql}"{" -x" if down else ""}'


_ACTIVITY = "gaiaops activity {env}"
_PSQL = "gaiaops connect {env} --write"
_REDIS = "gaiaops connect {env} --redis"
_READS = _query("SELECT relid::regclass, heap_blks_read FROM pg_statio_user_tables ORDER BY 2 DESC LIMIT 10")
_SPILLS = _query("SELECT temp_blks_written, left(query, 60) FROM pg_stat_statements ORDER BY 1 DESC LIMIT 10")
_SLOWEST = _query("SELECT calls, mean_exec_time, left(query, 60) FROM pg_stat_statements ORDER BY 2 DESC LIMIT 10")
_OLDEST = _query(
    "SELECT oid::regclass, age(relfrozenxid) FROM pg_class WHERE relfrozenxid <> 0 ORDER BY 2 DESC LIMIT 9"
)

ALL = (
    Spec("reachable", "postgres", "ms", 200, 1_000, "gaiaops envs {env} --check"),
    Spec("connections", "postgres", "%", 80, 95, f"{_ACTIVITY} --all-databases"),
    Spec("oldest-transaction", "postgres", "s", 5 * _MINUTE, 60 * _MINUTE, _ACTIVITY),
    Spec("idle-in-transaction", "postgres", "s", _MINUTE, 10 * _MINUTE, _ACTIVITY),
    Spec("blocked", "postgres", "sessions", 1, 10, _ACTIVITY),
    Spec("deadlocks", "postgres", "a day", 1, 100, _ACTIVITY),
    Spec("cache-hit", "postgres", "%", 90, 70, _READS, falling=True),
    Spec("temporary-files", "postgres", "bytes a day", 10 * _GB, 100 * _GB, _SPILLS),
    Spec("replication-lag", "postgres", "s", 30, 5 * _MINUTE, _query("SELECT * FROM pg_stat_replication", down=True)),
    Spec("replication-slots", "postgres", "bytes", _GB, 10 * _GB, _query("TABLE pg_replication_slots", down=True)),
    # At 200 million (9 %) autovacuum begins to work against it, at 1.6 billion (75 %) it drops everything else
    # (manual 19.10, vacuum_failsafe_age), at 2^31 the server stops taking writes (manual 24.1.5).
    Spec("transaction-id-age", "postgres", "%", 25, 60, _OLDEST),
    Spec("dead-rows", "postgres", "a live row", 1, 10, _PSQL),
    Spec("last-vacuum", "postgres", "s", _DAY, 7 * _DAY, _PSQL),
    Spec("invalid-indexes", "postgres", "indexes", 1, None, _PSQL),
    Spec("unindexed-foreign-keys", "postgres", "foreign keys", 1, None, _PSQL),
    Spec("size", "postgres", "bytes", None, None, "gaiaops view {env}"),
    Spec("slow-statements", "postgres", "statements", 1, None, _SLOWEST),
    Spec("checkpoints", "postgres", "% by WAL", 50, None, _query("SHOW max_wal_size")),
    Spec("archiver", "postgres", "failures", None, 1, _query("TABLE pg_stat_archiver", down=True)),
    # Of each replica that the registry names.
    Spec("replica", "replica", "faults", None, 1, "gaiaops envs {env} --check"),
    Spec("redis-reachable", "redis", "ms", 200, 1_000, "gaiaops envs {env} --check"),
    Spec("redis-memory", "redis", "%", 85, 95, "gaiaops cache {env}"),
    Spec("redis-evictions", "redis", "a day", 1, 1_000_000, "gaiaops cache {env}"),
    Spec("redis-hit-ratio", "redis", "%", 80, 50, "gaiaops cache {env}", falling=True),
    Spec("redis-persistence", "redis", "errors", None, 1, _REDIS),
    Spec("redis-rejected", "redis", "a day", 1, 100, _REDIS),
    Spec("redis-blocked", "redis", "clients", 10, 100, _REDIS),
    Spec("redis-replication", "redis", "s", 10, _MINUTE, _REDIS),
    Spec("auth-reachable", "auth", "ms", 1_000, 3_000, "gaiaops envs --check"),
    Spec("auth-key", "auth", "refused", None, 1, "gaiaops view supabase"),
)
BY_NAME = {spec.name: spec for spec in ALL}
# What a replica has of its own: the rest is the primary's, or is not kept on a replica (manual 26.4).
_ON_REPLICA = {
    "reachable", "connections", "oldest-transaction", "idle-in-transaction", "blocked", "cache-hit", "temporary-files",
    "replication-lag", "replication-slots", "slow-statements",
}  # fmt: skip


def on_replica(specs: Iterable[Spec]) -> tuple[Spec, ...]:
    """Those of an environment's checks that are made on each of its replicas."""
    mine = [spec for spec in specs if spec.server == "replica" or spec.name in _ON_REPLICA]
    return tuple(msgspec.structs.replace(spec, server="postgres") for spec in mine)


def of_server(server: str) -> tuple[Spec, ...]:
    """The checks of one kind of server, in the order in which they are made: whether it is reachable comes first."""
    return tuple(spec for spec in ALL if spec.server == server)


def verdict(spec: Spec, measured: Measured) -> Verdict:
    """How bad a measured value is. What could not all be seen is never called good.

    >>> verdict(BY_NAME["connections"], Measured(96.0)), verdict(BY_NAME["cache-hit"], Measured(96.0))
    (<Verdict.CRITICAL: 3>, <Verdict.OK: 0>)
    >>> verdict(BY_NAME["blocked"], Measured(0, unseen="needs pg_monitor"))
    <Verdict.UNKNOWN: 1>
    """
    found = Verdict.OK
    if measured.value is not None:
        for limit, bad in ((spec.warn, Verdict.WARN), (spec.critical, Verdict.CRITICAL)):
            reached = limit is not None and (measured.value <= limit if spec.falling else measured.value >= limit)
            found = max(found, bad) if reached else found
    found = max(found, measured.floor)
    return Verdict.UNKNOWN if found is Verdict.OK and measured.unseen else found


def judged(environment: str, spec: Spec, measured: Measured, replica: int = 0) -> Result:
    """The result of a check; `spec` has the environment's thresholds."""
    command = measured.next or spec.next
    if replica:  # the same, of that server
        command = re.sub(r"(gaiaops (?:activity|query) \{env\})", r"\1 --replica", command)
    return Result(
        environment=environment,
        server=spec.server,
        check=spec.name,
        verdict=verdict(spec, measured),
        value=measured.value,
        unit=spec.unit,
        warn=spec.warn,
        critical=spec.critical,
        falling=spec.falling,
        text="; ".join(filter(None, (measured.text, measured.unseen))),
        details=measured.details,
        next=command.replace("{env}", environment),
        then=measured.then,
        replica=replica,
    )


def unknown(environment: str, spec: Spec, why: str) -> Result:
    """The result of a check that could not be made."""
    return judged(environment, spec, Measured(unseen=why))
