"""Runs commands, alternately, and reports ratios of medians. Imports little: a child's peak memory includes
what its parent held when it was forked (getrusage(2), ru_maxrss across vfork and exec)."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROUNDS = 5
PYTHON = sys.executable
GAIAOPS = str(Path(sys.executable).with_name("gaiaops"))


class Sample(NamedTuple):
    """One run: seconds of wall and CPU time, peak memory in MB."""

    wall: float
    cpu: float
    peak: float


class Platform(NamedTuple):
    """Where the figures are measured: a registry with `dev` (1,000,000 users; users_3m has 3,000,000)."""

    registry: str
    url: str
    folder: Path
    psql: str
    pgcli: str

    def gaiaops(self, *arguments: str) -> list[str]:
        return [GAIAOPS, "--registry", self.registry, *arguments]


class Figure(NamedTuple):
    """A measured figure against its target: a ratio (`x`), seconds (`s`) or megabytes (`MB`)."""

    name: str
    value: float
    target: float
    unit: str
    peak: float
    note: str = ""

    def line(self) -> str:
        verdict = "ok" if self.value <= self.target else "short"
        value = f"{self.value:.2f}{self.unit}" if self.unit != "MB" else f"{self.value:.0f} MB"
        target = f"{self.target:g}{self.unit}" if self.unit != "MB" else f"{self.target:g} MB"
        head = f"{self.name:<34} {value:>8}  target <= {target:<6}"
        return f"{head} peak {self.peak:4.0f} MB  {verdict:<5} {self.note}".rstrip()


def variables(**extra: str) -> dict[str, str]:
    """A user's environment: none of the developer's Python switches, unless a figure sets them."""
    dropped = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "GAIAOPS_REGISTRY", "PAGER", "LESS")
    return {**{k: v for k, v in os.environ.items() if k not in dropped}, **extra}


def run(argv: Sequence[str], output: Path | None = None, env: Mapping[str, str] | None = None) -> Sample:
    """Runs a command once, its standard output to a file (or nowhere). Raises where it fails."""
    with (output or Path(os.devnull)).open("wb") as out:
        began = time.perf_counter()
        child = subprocess.Popen(argv, stdout=out, stderr=subprocess.PIPE, env=env or variables())
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.stderr is not None
    error = child.stderr.read().decode()
    child.stderr.close()
    if child.returncode:
        raise SystemExit(f"{' '.join(argv)[:200]}: exit {child.returncode}\n{error}")
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


Runner = Callable[[], Sample]


def alternate(ours: Runner, peer: Runner, rounds: int = ROUNDS) -> tuple[Sample, Sample]:
    """Medians of both after one warm-up each; they take turns, so that a busy machine is fair to both."""
    ours(), peer()
    mine: list[Sample] = []
    theirs: list[Sample] = []
    for _ in range(rounds):
        theirs.append(peer())
        mine.append(ours())
    return median(mine), median(theirs)


def median(samples: Sequence[Sample]) -> Sample:
    return Sample(*(statistics.median(column) for column in zip(*samples, strict=True)))


def compared(name: str, target: float, ours: Runner, peer: Runner, rounds: int = ROUNDS) -> Figure:
    """The ratio of wall times, with both sides' numbers in the note."""
    mine, theirs = alternate(ours, peer, rounds)
    note = f"{mine.wall:.2f} s (CPU {mine.cpu:.2f}) : {theirs.wall:.2f} s (CPU {theirs.cpu:.2f}, {theirs.peak:.0f} MB)"
    return Figure(name, mine.wall / theirs.wall, target, "x", mine.peak, note)
