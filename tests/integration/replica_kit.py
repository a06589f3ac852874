"""A real primary with a real streaming replica, from the wheel: small, of the test module's own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from gaiaops.sandbox.layout import Layout
from gaiaops.sandbox.postgres_server import binaries, owner, provider
from tests.conftest import private_folder
from tests.integration.redis_kit import free_port

_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = '16MB'
max_connections = 40
max_wal_senders = 4
wal_level = replica
fsync = off
autovacuum = off
wal_writer_delay = '10ms'
wal_receiver_status_interval = 1
wal_retrieve_retry_interval = '100ms'
hot_standby_feedback = off
max_standby_streaming_delay = '30s'
"""


@dataclass
class Server:
    """A PostgreSQL server that can be stopped, started and frozen."""

    bin: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/app"

    def fetch(self, sql: str, *values: object) -> Any:
        """The first value of one statement."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            done = connection.execute(sql.encode(), values or None)
            row = done.fetchone() if done.description else None
            return row[0] if row else None

    def ctl(self, *arguments: str) -> None:
        program = [str(self.bin / "pg_ctl"), "-D", str(self.folder), "-s", "-w", "-t", "60", *arguments]
        run_as_owner(program)

    def start(self) -> None:
        self.ctl("-l", str(self.folder / "log"), "-o", f"-p {self.port}", "start")

    def stop(self) -> None:
        self.ctl("-m", "immediate", "stop")

    def running(self) -> bool:
        return (self.folder / "postmaster.pid").exists()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Down for the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections (the kernel does) and says nothing."""
        pid = int((self.folder / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@dataclass
class Pair:
    """A primary and its standby, which streams."""

    primary: Server
    standby: Server

    def caught_up(self) -> None:
        """Waits until the standby streams, and has replayed what the primary has written by now."""
        # A commit, so that it is all written: a server with little to do leaves the end of a record for later.
        self.primary.fetch("SELECT pg_logical_emit_message(true, 'test', '')")
        target = self.primary.fetch("SELECT pg_current_wal_flush_lsn()::text")
        sql = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn AND EXISTS (SELECT 1 FROM pg_stat_wal_receiver"
        until(lambda: self.standby.fetch(f"{sql} WHERE status = 'streaming')", target), "the standby to catch up")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The standby receives and replays nothing."""
        self.standby.fetch("SELECT pg_wal_replay_pause()")
        state = "SELECT CASE WHEN pg_is_wal_replay_paused() THEN 'paused' END"  # 13 knows no state in between
        if int(str(self.standby.fetch("SELECT current_setting('server_version_num')"))) >= 140_000:
            state = "SELECT pg_get_wal_replay_pause_state()"
        until(lambda: self.standby.fetch(state) == "paused", "the pause")
        try:
            yield
        finally:
            self.standby.fetch("SELECT pg_wal_replay_resume()")


def until(happened: Callable[[], object], what: str) -> None:
    """Polls for a condition."""
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end, f"waited for {what} in vain"
        time.sleep(0.02)


@contextmanager
def silence() -> Iterator[str]:
    """The connection string of what takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"postgresql://postgres@127.0.0.1:{listener.getsockname()[1]}/app"


def run_as_owner(program: list[str]) -> None:
    """Runs one of PostgreSQL's programs as the user that its servers run as."""
    # pg_ctl's child keeps the streams open: a pipe would never end.
    subprocess.run(
        program, check=True, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, env={**os.environ, "LC_ALL": "C"}, **owner(),
    )  # fmt: skip


@contextmanager
def cluster(folder: Path) -> Iterator[Server]:
    """A fresh primary with a database `app` that has three users."""
    folder.mkdir()
    who = owner()
    if who:
        os.chown(folder, who["user"], who["group"])
    layout = Layout.at(folder / "layout")
    programs, data = binaries(layout), folder / "primary"
    run_as_owner([str(programs / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync",
                  "--encoding=UTF8", *provider(layout), "--locale=C.UTF-8"])  # fmt: skip
    with (data / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(_SETTINGS)
    server = Server(programs, data, free_port())
    server.start()
    try:
        with psycopg.connect(server.url.replace("/app", "/postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE app")
        server.fetch("CREATE TABLE users (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), email varchar(255) NOT NULL,"
                     " created_at timestamp DEFAULT now())")  # fmt: skip
        server.fetch("INSERT INTO users (email) VALUES ('a+dev@example.com'), ('b@example.com'), ('c@example.com')")
        yield server
    finally:
        if server.running():
            server.stop()


@contextmanager
def streaming() -> Iterator[Pair]:
    """A primary and a standby; both are gone at the end."""
    with private_folder() as folder, cluster(folder / "servers") as primary:
        data = folder / "servers" / "standby"
        run_as_owner([str(primary.bin / "pg_basebackup"), "-D", str(data), "-d",
                      f"host=127.0.0.1 port={primary.port} user=postgres application_name=standby",
                      "-R", "-X", "stream", "-c", "fast", "--no-sync"])  # fmt: skip
        standby = Server(primary.bin, data, free_port())
        standby.start()
        try:
            pair = Pair(primary, standby)
            pair.caught_up()
            yield pair
        finally:
            if standby.running():
                standby.stop()
            shutil.rmtree(data, ignore_errors=True)
