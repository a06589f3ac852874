"""The aligned table to a file, 1,000,000 rows, against psql's."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Figure, Platform, compared, run


def figures(platform: Platform) -> Iterator[Figure]:
    mine, theirs = str(platform.folder / "mine.txt"), str(platform.folder / "theirs.txt")
    sql = "SELECT * FROM users"
    yield compared(
        "table to a file, 1,000,000 rows",
        0.5,
        lambda: run(platform.gaiaops("query", "dev", sql, "-o", mine)),
        lambda: run([platform.psql, "-c", sql, "-o", theirs, platform.url]),
    )
    small = run(platform.gaiaops("query", "dev", sql + " LIMIT 100000", "-o", mine))
    large = run(platform.gaiaops("query", "dev", "SELECT * FROM users_3m", "-o", mine))
    grown = large.peak - small.peak
    yield Figure("table: memory, 3,000,000 - 100,000", grown, 5, "MB", large.peak, "flat")
