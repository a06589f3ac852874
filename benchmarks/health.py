"""`health all` on four environments against `health dev`."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Figure, Platform, compared, run

_NEVER = ("--json", "--fail-on", "never")


def figures(platform: Platform) -> Iterator[Figure]:
    yield compared(
        "health all : health one",
        1.4,
        lambda: run(platform.gaiaops("health", "all", *_NEVER)),
        lambda: run(platform.gaiaops("health", "dev", *_NEVER)),
        rounds=9,
    )
