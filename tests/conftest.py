"""What every test may use: a sandbox of the test session's own, fresh databases in it, and the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from gaiaops.sandbox import lifecycle
from gaiaops.sandbox.layout import Layout, State, database_name
from tests.forked import AT_START, forked

GAIAOPS = [sys.executable, "-m", "gaiaops"]
SANDBOX_USERS = 1200  # the default, so that what the docs show can be checked


@dataclass(frozen=True)
class Run:
    """What a command gave."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox: its layout, state and the environment variables that lead to it."""

    layout: Layout
    state: State
    variables: Mapping[str, str]

    def url(self, environment: str) -> str:
        return self.state.postgres_url(database_name(environment))


@contextmanager
def private_folder() -> Iterator[Path]:
    """A short folder that other users can enter: the servers run as somebody else where the tests are root."""
    folder = Path(tempfile.mkdtemp(prefix="gaiaops-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clean_variables(folder: Path) -> dict[str, str]:
    """The process's variables without the developer's own settings, with every XDG folder in `folder`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "GAIAOPS_", "XDG_", "SUPABASE_", "LESS", "PAGER"))
    }
    xdg = {f"XDG_{kind}_HOME": str(folder / kind.lower()) for kind in ("DATA", "CONFIG", "STATE")}
    return {**kept, **xdg, "TERM": "xterm", "HOME": str(folder), "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`pytest.mark.first(n)`: the suite runs the first n cases of each test, `make stress` all of them."""
    if os.environ.get("GAIAOPS_TEST_STRESS") == "1":
        return
    seen: Counter[str] = Counter()
    left: list[pytest.Item] = []
    for item in items:
        mark = item.get_closest_marker("first")
        name = item.nodeid.partition("[")[0]
        seen[name] += 1
        if mark is not None and seen[name] > mark.args[0]:
            left.append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One sandbox a test process (so one for each worker of pytest-xdist)."""
    with private_folder() as folder:
        layout = Layout.at(folder / "data" / "gaiaops" / "sandbox")
        try:
            state = lifecycle.up(layout, SANDBOX_USERS, lambda _: None)
            with psycopg.connect(state.postgres_url("postgres"), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE template_dev TEMPLATE {database_name('dev')}")
            yield Sandbox(layout, state, clean_variables(folder))
        finally:
            lifecycle.down(layout, delete=True)


@pytest.fixture(scope="session")
def postgres_url(sandbox: Sandbox) -> str:
    """The superuser's URL of a running PostgreSQL 18, its `postgres` database."""
    return sandbox.state.postgres_url("postgres")


@pytest.fixture
def fresh_url(sandbox: Sandbox) -> Iterator[str]:
    """A database of the test's own: a clone of dev as it was seeded."""
    name = f"clone_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(sandbox.state.postgres_url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_dev")
        yield sandbox.state.postgres_url(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Environment variables for a command that needs no sandbox."""
    return clean_variables(tmp_path)


def registry_for(folder: Path, **urls: str) -> Path:
    """A registry that maps each name to a PostgreSQL URL."""
    file = folder / "environments.toml"
    tables = [
        f'[environments.{name}]\npostgres = "{url}"\n{"protected = true" if name == "production" else ""}\n'
        for name, url in urls.items()
    ]
    file.write_text("\n".join(tables), encoding="utf-8")
    return file


Command = Callable[..., Run]


@pytest.fixture
def gaiaops(variables: dict[str, str], tmp_path: Path) -> Command:
    """Runs the command line in a process of its own, in an empty folder: gaiaops("query", "dev", registry=FILE)."""

    def run(
        *arguments: str, registry: Path | None = None, stdin: str | bytes = "", timeout: float = 60, **extra: str
    ) -> Run:
        words = [*(["--registry", str(registry)] if registry else []), *arguments]
        given = stdin if isinstance(stdin, bytes) else stdin.encode()
        if any(name.startswith(AT_START) for name in extra):
            done = subprocess.run(
                [*GAIAOPS, *words],
                check=False,
                input=given,
                capture_output=True,
                timeout=timeout,
                cwd=tmp_path,
                env={**variables, **extra},
            )
            return Run(done.returncode, done.stdout.decode(), done.stderr.decode())
        code, out, err = forked(words, given, timeout, tmp_path, {**variables, **extra})
        return Run(code, out.decode(), err.decode())

    return run


@pytest.fixture
def dev(sandbox: Sandbox, gaiaops: Command) -> Command:
    """The command line on the session's sandbox, whose data no test changes."""

    def run(*arguments: str, **options: object) -> Run:
        return gaiaops(*arguments, registry=sandbox.layout.registry, **options)

    return run


@pytest.fixture
def scratch(fresh_url: str, gaiaops: Command, tmp_path: Path) -> Command:
    """The command line on a fresh clone, under the names dev and production."""
    file = registry_for(tmp_path, dev=fresh_url)

    def run(*arguments: str, **options: object) -> Run:
        return gaiaops(*arguments, registry=file, **options)

    return run
