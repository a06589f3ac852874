"""`query dev --csv` of 1,000,000 and 3,000,000 rows of users against `psql --csv`."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Figure, Platform, compared, run

TABLES = (("csv, 1,000,000 rows", "users"), ("csv, 3,000,000 rows", "users_3m"))


def figures(platform: Platform) -> Iterator[Figure]:
    mine, theirs = platform.folder / "mine.csv", platform.folder / "theirs.csv"
    for name, table in TABLES:
        sql = f"SELECT * FROM {table}"
        found = compared(
            name,
            1.0,
            lambda sql=sql: run(platform.gaiaops("query", "dev", sql, "--csv"), mine),  # type: ignore[misc]
            lambda sql=sql: run([platform.psql, "--csv", "-c", sql, platform.url], theirs),  # type: ignore[misc]
        )
        assert mine.stat().st_size == theirs.stat().st_size
        yield found
        yield Figure(f"{name}: peak memory", found.peak, 45, "MB", found.peak)
