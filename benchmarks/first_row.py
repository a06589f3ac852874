"""How long until the first row of a 3,000,000-row result stands on a pipe, in seconds, start-up included."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator

from benchmarks.harness import ROUNDS, Figure, Platform, variables


def figures(platform: Platform) -> Iterator[Figure]:
    for format_, header in (("table", 2), ("csv", 1), ("jsonl", 0)):
        seconds = [_first(platform, format_, header) for _ in range(ROUNDS)]
        yield Figure(f"first of 3,000,000 rows, {format_}", statistics.median(seconds), 1.0, "s", 0)


def _first(platform: Platform, format_: str, header: int) -> float:
    argv = platform.gaiaops("query", "dev", "SELECT * FROM users_3m", "--format", format_)
    began = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=variables()) as child:
        assert child.stdout is not None
        for _ in range(header + 1):
            assert child.stdout.readline()
        return time.perf_counter() - began
