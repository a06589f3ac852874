"""What is in a Redis, in bounded steps: never KEYS."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, cast

from gaiaops.cache.keys import OTHER, Families, key_bytes, key_text

if TYPE_CHECKING:
    from redis import Redis

_STEP = 1000
__all__ = ["CacheSummary", "FamilyCount", "count_families", "key_bytes", "key_text", "matching", "summary", "ttls"]


@dataclass(frozen=True)
class CacheSummary:
    """Size of a Redis: `memory` is used_memory in bytes. None where the server does not allow INFO."""

    version: str | None
    keys: int
    memory: int | None
    latency_ms: float


@dataclass(frozen=True)
class FamilyCount:
    """Keys of one family; `complete` is False where the time budget ended the scan."""

    families: tuple[tuple[str, int], ...]
    complete: bool


def summary(client: Redis) -> CacheSummary:
    """PING for the latency, DBSIZE, and INFO where it is there and the role may use it."""
    from redis.exceptions import ResponseError

    client.ping()
    began = time.perf_counter()
    client.ping()
    latency = (time.perf_counter() - began) * 1000
    try:
        info = client.info()
    except ResponseError:  # fakeredis has none, an ACL may forbid it
        info = {}
    version, memory = info.get("redis_version"), info.get("used_memory")
    keys = client.dbsize()
    return CacheSummary(version and str(version), keys, None if memory is None else int(memory), latency)


def count_families(client: Redis, families: Sequence[tuple[str, str]], budget_s: float) -> FamilyCount:
    """Keys per family by SCAN, for at most `budget_s` seconds."""
    names = [*(name for name, _ in families), OTHER]  # -1 is the last one
    counts, place = dict.fromkeys(names, 0), Families(families)
    end, cursor = time.monotonic() + budget_s, 0
    while True:
        cursor, keys = cast(tuple[int, list[bytes]], client.scan(cursor, count=_STEP))
        for number in place.numbers(keys):
            counts[names[number]] += 1
        if cursor == 0 or time.monotonic() > end:
            return FamilyCount(tuple((n, c) for n, c in counts.items() if c), cursor == 0)


def matching(client: Redis, pattern: str) -> Iterator[str]:
    """Keys that fit a glob pattern, as `key_text` gives them, by SCAN in bounded steps; one may come twice (Redis,
    SCAN)."""
    for key in client.scan_iter(match=pattern, count=_STEP):
        yield key_text(bytes(key))


def ttls(client: Redis, keys: Iterable[str]) -> Iterator[tuple[str, int]]:
    """(key, seconds it has left, -1 for ever) of those of the keys that are there, pipelined."""
    waiting = iter(keys)
    while step := list(islice(waiting, _STEP)):
        pipeline = client.pipeline(transaction=False)
        for key in step:
            pipeline.ttl(key_bytes(key))
        for key, ttl in zip(step, pipeline.execute(), strict=True):
            if ttl != -2:  # not there
                yield key, int(ttl)
