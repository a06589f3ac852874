"""`--format jsonl`, 1,000,000 rows, against `psql -At` on row_to_json."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Figure, Platform, compared, run


def figures(platform: Platform) -> Iterator[Figure]:
    mine, theirs = platform.folder / "mine.jsonl", platform.folder / "theirs.jsonl"
    peer = "SELECT row_to_json(q) FROM (SELECT * FROM users) AS q"
    yield compared(
        "jsonl, 1,000,000 rows",
        1.1,
        lambda: run(platform.gaiaops("query", "dev", "SELECT * FROM users", "--format", "jsonl"), mine),
        lambda: run([platform.psql, "-At", "-c", peer, platform.url], theirs),
    )
    assert mine.stat().st_size == theirs.stat().st_size
