"""`query all` with pg_sleep(0.5) in four environments against the same in one."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Figure, Platform, compared, run

_SLEEP = "SELECT pg_sleep(0.5)"


def figures(platform: Platform) -> Iterator[Figure]:
    yield compared(
        "query all, four asleep : one",
        1.3,
        lambda: run(platform.gaiaops("query", "all", _SLEEP)),
        lambda: run(platform.gaiaops("query", "dev", _SLEEP)),
    )
