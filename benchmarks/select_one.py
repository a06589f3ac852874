"""`query dev "select 1"` against a bare psycopg script, and against `pgcli --version`."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import PYTHON, Figure, Platform, compared, run, variables

_BARE = "import sys, psycopg; print(psycopg.connect(sys.argv[1]).execute('select 1').fetchall())"


def figures(platform: Platform) -> Iterator[Figure]:
    bare = [PYTHON, "-c", _BARE, platform.url]
    ours = platform.gaiaops("query", "dev", "select 1")
    as_here = variables(PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1")
    for name, env in (("select 1", variables()), ("select 1, PYTHONUNBUFFERED=1", as_here)):
        yield compared(name, 1.3, lambda env=env: run(ours, env=env), lambda env=env: run(bare, env=env), 15)  # type: ignore[misc]
    yield compared("select 1 : pgcli --version", 1.0, lambda: run(ours), lambda: run([platform.pgcli, "--version"]))
