"""`--help` against `python -c "import click"`."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import GAIAOPS, PYTHON, Figure, Platform, compared, run


def figures(platform: Platform) -> Iterator[Figure]:
    yield compared("--help", 2.0, lambda: run([GAIAOPS, "--help"]), lambda: run([PYTHON, "-c", "import click"]), 15)
