"""The stand-in as a process: how it starts, ends, waits for a slow database and survives a lost one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from gaiaops.sandbox.authserver import Settings, create_app

from .rows import Rows
from .servers import JWT_SECRET, Server, auth_database, standin

COMMAND = [sys.executable, "-m", "gaiaops.sandbox.authserver"]


@pytest.fixture
def dsn(postgres_url: str) -> Iterator[str]:
    with auth_database(postgres_url) as made:
        yield made


def test_sigterm_ends_it_at_once_also_with_open_connections(dsn: str) -> None:
    with standin(dsn) as server, server.client() as client:
        assert client.get("/admin/users").status_code == 200  # leaves a kept-alive connection behind
        assert server.process is not None
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port)):
            start = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(5) == 0
            assert time.monotonic() - start < 3


def test_sigterm_ends_it_while_the_database_keeps_it_waiting(dsn: str) -> None:
    with standin(dsn) as server, psycopg.connect(dsn) as blocker, server.client() as client:
        blocker.execute("LOCK TABLE auth.users")
        process = server.process
        assert process is not None
        threading.Timer(0.5, process.terminate).start()
        start = time.monotonic()
        assert client.get("/admin/users").status_code == 503
        assert process.wait(5) == 0
        assert time.monotonic() - start < 5


def test_it_wants_its_secrets_from_the_environment() -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("GAIAOPS_")}
    done = subprocess.run([*COMMAND, "--port", "1"], env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "GAIAOPS_AUTH_DSN and GAIAOPS_AUTH_JWT_SECRET" in done.stderr


def test_a_setting_never_shows_a_secret() -> None:
    shown = repr(Settings(dsn="postgresql://u:hunter2@h/d", jwt_secret="hunter2", api_keys=("hunter2",)))
    assert "hunter2" not in shown


def test_a_lost_connection_is_opened_again(dsn: str) -> None:
    with standin(dsn) as server, server.client() as client, psycopg.connect(dsn, autocommit=True) as admin:
        for _ in range(3):
            assert client.get("/admin/users").status_code == 200
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            time.sleep(0.05)
        assert client.get("/admin/users").status_code == 200


def test_no_database_is_an_error_and_not_the_end(dsn: str) -> None:
    unreachable = psycopg.conninfo.make_conninfo(dsn, port=1)
    with standin(unreachable) as server, server.client() as client:
        for _ in range(2):
            response = client.get("/admin/users")
            assert (response.status_code, response.json()["error_code"]) == (500, "unexpected_failure")
        assert client.get("/health").status_code == 200


async def impatiently_put(dsn: str, user_id: str, body: dict[str, Any], then: Callable[[], None]) -> httpx.Response:
    """PUT to a stand-in that gives up after a fifth of a second instead of ten, then do `then`."""
    app = create_app(Settings(dsn=dsn, jwt_secret=JWT_SECRET, request_timeout=0.2))
    headers = {"Authorization": f"Bearer {Server('', JWT_SECRET, dsn).token()}"}
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://standin/auth/v1", headers=headers) as client,
    ):
        response = await client.put(f"/admin/users/{user_id}", json=body)
        await asyncio.to_thread(then)
    return response


def test_a_change_may_have_been_committed_although_it_timed_out(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection, psycopg.connect(dsn) as blocker:
        user_id = Rows(connection).insert()
        blocker.execute("SELECT FROM auth.users WHERE id = %s FOR UPDATE", (user_id,))

        def release_and_wait() -> None:
            blocker.rollback()
            deadline = time.monotonic() + 10
            while Rows(connection).fetch(user_id)["raw_user_meta_data"] != {"late": True}:
                assert time.monotonic() < deadline, "the change was lost"
                time.sleep(0.02)

        body = {"user_metadata": {"late": True}}
        response = asyncio.run(impatiently_put(dsn, user_id, body, release_and_wait))
    assert (response.status_code, response.json()["error_code"]) == (504, "request_timeout")
    assert "error_id" in response.json()


def test_requests_in_parallel(dsn: str) -> None:
    with standin(dsn) as server, server.client() as client, ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda _: client.get("/admin/users").status_code, range(300)))
    assert set(statuses) == {200}
