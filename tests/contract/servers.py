"""The server under test: a stand-in started for the occasion, or a real one found in the environment."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import jwt
import psycopg
from psycopg.conninfo import make_conninfo

JWT_SECRET = "contract-test-secret-of-at-least-32-characters"
SCHEMA = Path(__file__).parents[2] / "gaiaops" / "sandbox" / "sql" / "auth.sql"


@dataclass(frozen=True)
class Server:
    """A server to test: the root of its API, what signs its tokens, and the database behind it."""

    url: str
    jwt_secret: str
    dsn: str
    api_key: str = ""
    process: subprocess.Popen[bytes] | None = None

    def token(self, role: str | None = "service_role", **claims: object) -> str:
        """A bearer token for `role` that expires in an hour."""
        payload = {"exp": int(time.time()) + 3600, **({"role": role} if role else {}), **claims}
        return jwt.encode(payload, self.jwt_secret, algorithm="HS256")

    def client(self, authorization: str | None = None, **headers: str) -> httpx.Client:
        """A client of the service role, or with another Authorization header ("" for none)."""
        value = f"Bearer {self.token()}" if authorization is None else authorization
        sent = {
            **({"Authorization": value} if value else {}),
            **({"apikey": self.api_key} if self.api_key else {}),
        }
        return httpx.Client(base_url=self.url, headers={**sent, **headers}, timeout=30, trust_env=False)


def real_server() -> Server | None:
    """The server the environment names, if it names one."""
    url = os.environ.get("GAIAOPS_TEST_AUTH_URL")
    if not url:
        return None
    secret, dsn = os.environ["GAIAOPS_TEST_AUTH_JWT_SECRET"], os.environ["GAIAOPS_TEST_AUTH_DSN"]
    return Server(url.rstrip("/"), secret, dsn, os.environ.get("GAIAOPS_TEST_AUTH_API_KEY", ""))


@contextmanager
def auth_database(postgres_url: str) -> Iterator[str]:
    """A database with the schema `auth` and nothing in it."""
    name = f"auth_contract_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    dsn = make_conninfo(postgres_url, dbname=name)
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(SCHEMA.read_text("utf-8"))
        yield dsn
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def standin(dsn: str, **environment: str) -> Iterator[Server]:
    """A stand-in in a process of its own. `environment` adds GAIAOPS_AUTH_* variables."""
    variables = {"GAIAOPS_AUTH_DSN": dsn, "GAIAOPS_AUTH_JWT_SECRET": JWT_SECRET, **environment}
    port, process = _started(variables)
    try:
        yield Server(f"http://127.0.0.1:{port}/auth/v1", JWT_SECRET, dsn, process=process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _started(variables: Mapping[str, str]) -> tuple[int, subprocess.Popen[bytes]]:
    for _ in range(5):  # another process may take the free port before the stand-in does
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        command = [sys.executable, "-m", "gaiaops.sandbox.authserver", "--port", str(port)]
        process = subprocess.Popen(command, env={**os.environ, **variables})
        if _answers(port, process):
            return port, process
        process.kill()
        process.wait()
    raise AssertionError("the stand-in did not start")


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/auth/v1/health", trust_env=False).status_code == 200
        except httpx.TransportError:
            time.sleep(0.02)
    return False
