"""Fixtures of the contract tests. Every test of the API runs on each server there is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import psycopg
import pytest

from .rows import Rows
from .servers import Server, auth_database, real_server, standin


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" in metafunc.fixturenames:
        kinds = ["real"] if real_server() else ["standin", "standin-cursor"]
        metafunc.parametrize("server", kinds, indirect=True)


@pytest.fixture(scope="session")
def started(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Server]]:
    """Starts a server of a kind when it is first asked for; all of them live until the end of the session.

    A session fixture with parameters would do, but it is torn down whenever the next test wants another one.
    """
    # Asked for here and not in start(), so that PostgreSQL outlives what is taken down below.
    postgres_url: str = "" if real_server() else request.getfixturevalue("postgres_url")
    with ExitStack() as stack:

        @functools.cache
        def start(kind: str) -> Server:
            dsn = stack.enter_context(auth_database(postgres_url))
            cursor = "1" if kind == "standin-cursor" else ""
            return stack.enter_context(standin(dsn, GAIAOPS_AUTH_CURSOR=cursor))

        yield start


@pytest.fixture
def server(request: pytest.FixtureRequest, started: Callable[[str], Server]) -> Server:
    """The server under test."""
    return real_server() or started(request.param)


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    """A client of the service role, which asks for no API version."""
    with server.client() as client:
        yield client


@pytest.fixture
def rows(server: Server) -> Iterator[Rows]:
    """Users made by SQL, deleted afterwards."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        made = Rows(connection)
        try:
            yield made
        finally:
            made.clean()


@pytest.fixture
def user(api: httpx.Client, rows: Rows) -> dict[str, Any]:
    """A user made by the API, deleted afterwards."""
    created = api.post("/admin/users", json={"email": rows.email("someone")})
    assert created.status_code == 200, created.text
    body: dict[str, Any] = created.json()
    rows.forget(body["id"])
    return body
