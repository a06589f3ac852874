"""A real PgBouncer in front of a PostgreSQL, with as small a pool as a test wants, and what a client leaves behind
on the server's connections that others get next."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from gaiaops.sandbox.postgres_server import owner
from tests.conftest import private_folder

PGBOUNCER = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"  # apt install pgbouncer (.ci/run does)

# What a session keeps beyond its transaction. Run on a pooled connection itself, it says what the next client gets.
_KEPT = r"""
SELECT 'setting ' || name || '=' || setting FROM pg_settings
WHERE source = 'session' AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'TimeZone',
    'standard_conforming_strings')  -- which PgBouncer itself keeps for each client (track_extra_parameters)
UNION ALL SELECT 'prepared statement ' || name FROM pg_prepared_statements
UNION ALL SELECT 'cursor ' || name FROM pg_cursors WHERE is_holdable
UNION ALL SELECT 'listens to ' || c FROM pg_listening_channels() AS c
UNION ALL SELECT 'role ' || current_user WHERE current_user <> session_user
UNION ALL SELECT 'temporary ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()
    AND relkind IN ('r', 'v', 'S', 'm')
"""
# Seen from outside, of every connection that PgBouncer holds: locks and transactions.
_HELD = """
SELECT 'open transaction: ' || a.state || ' ' || a.query FROM pg_stat_activity AS a
WHERE a.pid = ANY(%(pids)s) AND (a.state LIKE 'idle in%%' OR a.state = 'active')
UNION ALL SELECT format('lock %%s %%s', l.locktype, l.mode) FROM pg_locks AS l WHERE l.pid = ANY(%(pids)s)
"""


@dataclass
class Pooler:
    """A running PgBouncer; `behind` is the server's URL, the database's name is the same on both sides."""

    behind: str
    port: int
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        place = urlsplit(self.behind)
        return place._replace(netloc=f"{place.username}:{place.password}@127.0.0.1:{self.port}").geturl()

    def admin(self, command: str) -> list[dict[str, Any]]:
        """A command of PgBouncer's console, `SHOW SERVERS` say; the console takes the simple protocol only."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="keeper", password="keeper", dbname="pgbouncer", autocommit=True,
            cursor_factory=psycopg.ClientCursor, row_factory=psycopg.rows.dict_row,
        ) as console:  # fmt: skip
            done = console.execute(command.encode())
            return done.fetchall() if done.description else []

    def to(self, database: str) -> Pooler:
        """The same, for another database of the server."""
        return replace(self, behind=urlsplit(self.behind)._replace(path=f"/{database}").geturl())

    def forget(self, database: str) -> None:
        """Closes the connections to a database, so that it can be dropped."""
        self.admin(f"KILL {database}")
        self.admin(f"RESUME {database}")

    def backends(self) -> list[int]:
        """The pids of the database's server connections that are open."""
        name = urlsplit(self.behind).path[1:]
        return [int(row["remote_pid"]) for row in self.admin("SHOW SERVERS") if row["database"] == name]

    def left(self, patience: float = 5) -> list[str]:
        """What clients have left on the pool's connections, once nobody works on them; empty as it should be."""
        end = time.monotonic() + patience
        while True:
            with psycopg.connect(self.behind) as outside:
                held = [row[0] for row in outside.execute(_HELD, {"pids": self.backends()})]
            if not held or time.monotonic() > end:
                return held + self._kept()
            time.sleep(0.02)  # a client that has just gone: its ROLLBACK is on its way

    def _kept(self) -> list[str]:
        """Asks each of the pool's connections: those asked already are kept busy until all have been."""
        found: list[str] = []
        asked: list[psycopg.Connection[Any]] = []
        pids = set()
        try:
            for _ in self.backends():
                client = psycopg.connect(self.url, prepare_threshold=None)
                asked.append(client)
                row = client.execute("SELECT pg_backend_pid()").fetchone()
                assert row is not None
                pids.add(row[0])
                found += [kept[0] for kept in client.execute(_KEPT.encode())]
        finally:
            for client in asked:
                client.rollback()
                client.close()
        assert len(pids) == len(asked)
        return found


@contextmanager
def pgbouncer(behind: str, *, mode: str = "transaction", pool: int = 2, **settings: object) -> Iterator[Pooler]:
    """PgBouncer in front of a server, with SCRAM on both sides; it and its connections are gone at the end."""
    assert Path(PGBOUNCER).exists(), "apt install pgbouncer"
    place, who = urlsplit(behind), owner()
    given = {
        "listen_addr": "127.0.0.1", "unix_socket_dir": "", "auth_type": "scram-sha-256", "pool_mode": mode,
        "default_pool_size": pool, "max_client_conn": 100, "admin_users": "keeper", "server_login_retry": 1, **settings,
    }  # fmt: skip
    with private_folder() as folder:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        users = folder / "users.txt"
        users.write_text(f'"{place.username}" "{place.password}"\n"keeper" "keeper"\n', encoding="utf-8")
        given |= {"listen_port": port, "auth_file": users, "logfile": folder / "log"}
        target = f"host={place.hostname} port={place.port}"
        lines = [f"{name} = {value}" for name, value in given.items()]
        ini = folder / "pgbouncer.ini"
        ini.write_text(
            f"[databases]\nnowhere = host=127.0.0.1 port=1 dbname=x\n* = {target}\n[pgbouncer]\n" + "\n".join(lines),
            encoding="utf-8",
        )
        folder.chmod(0o777)  # it writes its log there as another user where we are root
        process = subprocess.Popen([PGBOUNCER, "-q", str(ini)], cwd="/", stdin=subprocess.DEVNULL, **who)
        try:
            found = Pooler(behind, port, folder / "log", process)
            _wait_until_up(found)
            yield found
        finally:
            process.terminate()  # SIGTERM: immediate shutdown in every version before 1.23
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()


def _wait_until_up(pooler: Pooler) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            pooler.admin("SHOW VERSION")
            return
        except psycopg.Error as error:
            log = pooler.log.read_text(encoding="utf-8") if pooler.log.exists() else ""
            assert time.monotonic() < end, f"{error}\n{log}"
            assert pooler.process.poll() is None, log
            time.sleep(0.02)
