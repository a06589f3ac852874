"""The checks on a Redis: what INFO says (Redis manual, INFO). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gaiaops.inspect.health.checks import Measured, Verdict
from gaiaops.inspect.health.words import age, count, number

_FEW_LOOKUPS = 1_000
_DAY = 86_400
Info = Mapping[str, Any]


def measure(check: str, info: Info) -> Measured:
    """What a check sees in the fields of INFO."""
    try:
        return _CHECKS[check](info)
    except KeyError as field:
        return Measured(unseen=f"the server's INFO has no {field.args[0]}")


def reachable(latency_ms: float, info: Info) -> Measured:
    """The time of a PING."""
    version = info.get("redis_version")
    return Measured(latency_ms, f"Redis {version}" if version else "")


def _memory(info: Info) -> Measured:
    used, limit = int(info["used_memory"]), int(info.get("maxmemory", 0))
    policy = info.get("maxmemory_policy", "?")
    if not limit:
        return Measured(None, f"{number(used / 2**20)} MB, no maxmemory")
    return Measured(100 * used / limit, f"{number(used / 2**20)} of {number(limit / 2**20)} MB, {policy}")


def _per_day(total: int, info: Info) -> tuple[float, str]:
    up = int(info["uptime_in_seconds"])
    return total / max(1.0, up / _DAY), f"{total:,} in {age(up)}"


def _evictions(info: Info) -> Measured:
    rate, text = _per_day(int(info["evicted_keys"]), info)
    return Measured(rate, f"{text}, {info.get('maxmemory_policy', '?')}" if rate else text)


def _hit_ratio(info: Info) -> Measured:
    hits, misses = int(info["keyspace_hits"]), int(info["keyspace_misses"])
    if hits + misses < _FEW_LOOKUPS:
        return Measured(None, f"too few look-ups to tell ({hits + misses})")
    return Measured(100 * hits / (hits + misses), f"{misses:,} of {hits + misses:,} look-ups missed")


def _persistence(info: Info) -> Measured:
    if int(info.get("loading", 0)):
        return Measured(1.0, f"loading its data, {info.get('loading_loaded_perc', '?')} %")
    said = {"rdb_last_bgsave_status": "the last snapshot failed"}
    if int(info.get("aof_enabled", 0)):
        said |= {"aof_last_write_status": "the last write of the append-only file failed",
                 "aof_last_bgrewrite_status": "the last rewrite of the append-only file failed"}  # fmt: skip
    wrong = [words for field, words in said.items() if info.get(field, "ok") != "ok"]
    return Measured(float(len(wrong)), "; ".join(wrong))


def _rejected(info: Info) -> Measured:
    rate, text = _per_day(int(info["rejected_connections"]), info)
    limit = info.get("maxclients")
    return Measured(
        rate, f"{text}; {count(int(info['connected_clients']), 'client')}" + (f" of {limit}" if limit else "")
    )


def _blocked(info: Info) -> Measured:
    found = int(info["blocked_clients"])
    return Measured(float(found), "waiting in BLPOP and such" if found else "")


def _replication(info: Info) -> Measured:
    if info["role"] in ("slave", "replica"):
        primary = f"{info.get('master_host')}:{info.get('master_port')}"
        if info.get("master_link_status") != "up":
            down = int(info.get("master_link_down_since_seconds", 0))
            return Measured(float(max(0, down)), f"the link to its primary {primary} is down", (), "", Verdict.CRITICAL)
        return Measured(float(info.get("master_last_io_seconds_ago", 0)), f"a replica of {primary}")
    replicas = [info[f"slave{i}"] for i in range(int(info.get("connected_slaves", 0))) if f"slave{i}" in info]
    if not replicas:
        return Measured(None, "no replica is connected")
    details = tuple(f"{one['ip']}:{one['port']}: {one['state']}, {one.get('lag', '?')} s behind" for one in replicas)
    floor = Verdict.OK if all(one["state"] == "online" for one in replicas) else Verdict.WARN
    return Measured(float(max(int(one.get("lag", 0)) for one in replicas)), count(len(replicas), "replica"), details,
                    "", floor)  # fmt: skip


_CHECKS = {
    "redis-memory": _memory,
    "redis-evictions": _evictions,
    "redis-hit-ratio": _hit_ratio,
    "redis-persistence": _persistence,
    "redis-rejected": _rejected,
    "redis-blocked": _blocked,
    "redis-replication": _replication,
}
