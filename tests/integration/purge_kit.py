"""For tests that break a purge or work beside it: a server of their own, crowded databases, and what an archive says.

The journal and the segments are read here anew, not with the code under test.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis

from gaiaops.sandbox import postgres_server, processes, redis_server, seed
from gaiaops.sandbox.layout import Layout, Process, State
from tests.conftest import GAIAOPS, Run, clean_variables, private_folder

STRESS = os.environ.get("GAIAOPS_TEST_STRESS") == "1"
PLATFORM = (Path(redis_server.__file__).parent / "platform.toml").read_text(encoding="utf-8")
DICE = random.Random()  # noqa: S311 - moments, no secrets
OTHERS = 400  # people who stay
FOREIGN_KEY = "23503"

# `people` numbers everybody, i = 1 …; a test user's messages are in its own conversation, in that of the test user
# `far` numbers on and, where `tangled`, in two arbitrary ones too, so that batches that run at once meet.
_FILL = """
CREATE UNLOGGED TABLE people AS
SELECT i, test, md5(format('%(salt)s-%%s-%%s', test, i))::uuid AS id,
    CASE WHEN test THEN format('t%%s+dev@example.com', i) ELSE format('p%%s@example.com', i) END AS email
FROM (SELECT i, true AS test FROM generate_series(1, {users}) AS i
      UNION ALL SELECT i, false FROM generate_series(1, {others}) AS i) AS x ORDER BY test, i;
INSERT INTO users (id, email, name) SELECT id, email, format('Person %%s	of %%s\\', i, email) FROM people;
INSERT INTO api_keys (user_id, key_hash, name)
    SELECT id, encode(sha256(id::text::bytea), 'hex'), 'first' FROM people;
INSERT INTO conversations (id, user_id, title)
    SELECT md5('conversation' || id)::uuid, id, E'Conversation\\nof ' || email FROM people;
INSERT INTO chat_messages (user_id, conversation_id, role, content)
    SELECT p.id, md5('conversation' || p.id)::uuid, 'user', E'own\\t\\\\N ' || n
    FROM people AS p, generate_series(1, 2) AS n;
INSERT INTO chat_messages (user_id, conversation_id, role, content)
    SELECT p.id, md5('conversation' || q.id)::uuid, 'user', 'with another one'
    FROM people AS p JOIN people AS q ON p.test AND q.test AND q.i = p.i + {far};
INSERT INTO chat_messages (user_id, conversation_id, role, content)
    SELECT p.id, md5('conversation' || q.id)::uuid, 'user', 'with anybody'
    FROM people AS p, generate_series(1, 2) AS n
    JOIN people AS q ON q.test WHERE {tangled} AND p.test AND q.i = 1 + (p.i * 7919 + n * 104729) %% {users};
INSERT INTO chat_messages (user_id, conversation_id, role, content)
    SELECT p.id, md5('conversation' || q.id)::uuid, 'user', 'with somebody who stays'
    FROM people AS p JOIN people AS q ON p.test AND NOT q.test AND q.i = 1 + p.i %% {others} WHERE p.i %% 3 = 0;
INSERT INTO personas (name, description, system_prompt, created_by)
    SELECT 'persona of ' || email, 'd', 's', id FROM people WHERE i %% 50 = 0;
INSERT INTO user_persona_preferences (user_id, persona_id)
    SELECT p.id, (SELECT id FROM personas ORDER BY name LIMIT 1) FROM people AS p WHERE i %% 2 = 0;
INSERT INTO asset_usage (user_id, usage_type, cost, metadata)
    SELECT id, 'view', i / 7.0, '{{"a":  [1, 2.50]}}' FROM people WHERE i %% 2 = 0;
INSERT INTO kb_permissions (resource_path, resource_type, principal_id, principal_type, permissions, granted_by)
    SELECT '/' || p.i, 'file', q.id, 'user', '{{read,write}}', p.id
    FROM people AS p JOIN people AS q ON q.i = p.i AND p.test AND NOT q.test;
INSERT INTO kb_activity_log (action, actor_id, actor_type, details)
    SELECT 'read', id, 'user', '{{}}' FROM people WHERE i %% 3 = 0;
INSERT INTO kb_documents (path, document, locked_by) SELECT '/' || email, '{{}}', id FROM people WHERE i %% 40 = 0;
INSERT INTO kb_semantic_index_metadata (namespace, relative_path, content_hash)
    SELECT 'users/' || email, 'a.md', 'x' FROM people WHERE i %% 5 = 0;
INSERT INTO kb_semantic_chunk_ids (namespace, relative_path, chunk_id, chunk_index)
    SELECT namespace, relative_path, namespace || n, n FROM kb_semantic_index_metadata, generate_series(1, 2) AS n;
"""

Rows = dict[str, set[bytes]]


@dataclass
class Server:
    """A PostgreSQL of the tests' own, which they may kill, with template databases."""

    layout: Layout
    state: State
    process: Process
    templates: dict[str, str] = field(default_factory=dict)

    def url(self, database: str) -> str:
        return self.state.postgres_url(database)

    def sql(self, text: str, database: str = "postgres") -> None:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(text)

    def kill(self, how: str) -> None:
        """`kill`: SIGKILL to all of it; `immediate` and `fast`: as pg_ctl stop -m does."""
        postmaster = psutil.Process(self.process.pid)
        family = [postmaster, *postmaster.children(recursive=True)]
        if how == "kill":
            for each in family:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        else:
            postmaster.send_signal(signal.SIGQUIT if how == "immediate" else signal.SIGINT)
        processes.stop([self.process], signal.SIGCONT)
        psutil.wait_procs(family, timeout=20)

    def start(self) -> None:
        if not processes.alive(self.process):
            self.process = postgres_server.start(self.layout, self.state)

    def template(self, users: int, *, tangled: bool, far: int) -> str:
        """A database with so many test users, made once."""
        name = f"crowd_{users}_{int(tangled)}_{far}"
        if name not in self.templates:
            self.sql(f"CREATE DATABASE {name}")
            with psycopg.connect(self.url(name), autocommit=True) as connection:
                seed.create_platform_schema(connection)
                fill = _FILL.replace("%(salt)s", name).replace("%%", "%")
                connection.execute(fill.format(users=users, others=OTHERS, tangled=tangled, far=far))
                connection.execute("ALTER TABLE people SET LOGGED")
                connection.execute("VACUUM ANALYZE")
                connection.execute("CHECKPOINT")
            self.templates[name] = name
        return name


@contextmanager
def own_server() -> Iterator[Server]:
    with private_folder() as folder:
        layout = Layout.at(folder / "data" / "gaiaops" / "sandbox")
        layout.home.mkdir(parents=True)
        state = State(users=0, password="secret", jwt_secret="", service_key="", seed="")
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            state.postgres_port = listener.getsockname()[1]
        postgres_server.initialise(layout, state)
        server = Server(layout, state, postgres_server.start(layout, state))
        try:
            yield server
        finally:
            postgres_server.stop(server.process)
            shutil.rmtree(layout.servers, ignore_errors=True)


class Cache:
    """A Redis of a test's own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._layout = Layout(folder, folder)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self._state = State(users=0, password="secret", jwt_secret="", service_key="", seed="")
        self._state.redis_kind, self._state.redis_ports = redis_server.find()[0], {"test": port}
        self.url = self._state.redis_url("test")
        self.start()

    def start(self) -> None:
        self._process = redis_server.start(self._layout, self._state, "test")
        redis_server.wait(self._state.redis_ports["test"], self._process, "redis")

    def stop(self) -> None:
        processes.stop([self._process], signal.SIGKILL)

    def fill(self, database: str) -> None:
        """A session of everybody and an API key of every other."""
        with psycopg.connect(database) as connection:
            query = "SELECT p.id::text, left(encode(sha256(id::text::bytea), 'hex'), 32) FROM people p"
            rows = connection.execute(query).fetchall()
        entries = {f"user:session:{key}": "x" for key, _ in rows}
        entries |= {f"gaia:auth:apikey:v1:{digest}": "x" for _, digest in rows[::2]}
        with redis.Redis.from_url(self.url) as client:
            client.mset(entries)

    def sessions(self) -> set[str]:
        """The ids of the users who have a session."""
        with redis.Redis.from_url(self.url) as client:
            return {key.decode().rpartition(":")[2] for key in client.scan_iter("user:session:*", count=10_000)}

    def check_clean(self, database: str) -> None:
        """No entry of a test user is left, every other one is."""
        with psycopg.connect(database) as connection:
            people = connection.execute(
                "SELECT p.id::text, left(encode(sha256(id::text::bytea), 'hex'), 32), test FROM people p"
            ).fetchall()
        with redis.Redis.from_url(self.url) as client:
            keys = {key.decode() for key in client.scan_iter(count=10_000)}
        for prefix, place in (("user:session:", 0), ("gaia:auth:apikey:v1:", 1)):
            tests = {prefix + row[place] for row in people if row[2]}
            assert not tests & keys
        assert keys >= {f"user:session:{row[0]}" for row in people if not row[2]}


@dataclass
class Town:
    """A crowded database under the name production, and the command line on it."""

    server: Server
    database: str
    users: int
    home: Path
    cache: Cache | None = None

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.registry = self.home / "environments.toml"
        redis_line = f'redis = "{self.cache.url}"' if self.cache else ""
        self.registry.write_text(
            f'[environments.dev]\npostgres = "{self.server.url("postgres")}"\ntag = "dev"\n'
            f'[environments.production]\npostgres = "{self.url}"\n{redis_line}\nprotected = true\n{PLATFORM}',
            encoding="utf-8",
        )
        self.variables = clean_variables(self.home)

    @property
    def url(self) -> str:
        return self.server.url(self.database)

    @property
    def purging(self) -> list[str]:
        return ["cleanup", "production", "--confirm", "production", "--max-users", str(self.users)]

    @property
    def runs(self) -> list[Path]:
        folder = self.home / "data" / "gaiaops" / "runs"
        return sorted(p for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*GAIAOPS, "--debug", "--registry", str(self.registry), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.home,
            env=self.variables,
            **options,
        )

    def run(self, *arguments: str, **options: Any) -> Run:
        return ended(self.start(*arguments, **options))

    def again(self, *arguments: str) -> Run:
        """Runs a command; where the server has not yet noticed that the one before it was killed, once more."""
        end = time.monotonic() + 20
        while True:
            done = self.run(*arguments)
            if done.code != 5 or "another clean-up" not in done.err or time.monotonic() > end:
                return done
            time.sleep(0.1)

    def finish(self) -> str:
        """The same command again until its end: nobody is left, of one run; gives its id."""
        done = self.again(*self.purging)
        assert done.code == 0, done
        assert self.test_users() == 0, done
        assert len(self.runs) == 1, self.runs
        return self.runs[0].name

    def restore(self, run: str) -> Run:
        return self.again("restore", run, "--confirm", "production")

    def test_users(self) -> int:
        return int(self.fetch("SELECT count(*) FROM users WHERE email LIKE '%+dev@%'")[0][0])

    def fetch(self, sql: str) -> list[Any]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql).fetchall()

    def rows(self) -> Rows:
        """All tables in one snapshot: the lines of COPY."""
        with psycopg.connect(self.url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            tables = connection.execute(
                "SELECT 'public.' || tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'people'"
            ).fetchall()
            return {table: _lines(connection, f"SELECT * FROM {table}") for (table,) in tables}

    def sums(self) -> dict[str, str]:
        """SHA-256 of every table's COPY, in order."""
        return sums(self.rows())

    def columns(self) -> dict[str, list[str]]:
        found = self.fetch(
            "SELECT a.attrelid::regclass::text, attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = attrelid"
            " WHERE attnum > 0 AND NOT attisdropped AND relkind = 'r' AND relnamespace = 'public'::regnamespace"
            " ORDER BY attrelid, attnum"
        )
        columns: dict[str, list[str]] = defaultdict(list)
        for table, column in found:
            columns[f"public.{table}"].append(column)
        return columns

    def events(self) -> list[dict[str, Any]]:
        """The journal's whole lines."""
        found = []
        for run in self.runs:
            with suppress(FileNotFoundError):
                for line in (run / "journal.jsonl").read_bytes().split(b"\n"):
                    with suppress(ValueError):
                        found.append(json.loads(line))
        return found

    def archived(self) -> Archive:
        return Archive.read(self.runs, self.columns())

    def gone_with(self, segments: set[int]) -> set[str]:
        """The ids of the users whom these segments hold."""
        ids = set()
        for number, segment in _segments(self.runs[0]).items():
            for section in segment["sections"] if number in segments else ():
                if section["table"] == "public.users":
                    data = (self.runs[0] / "segments" / f"{number:06}.copy").read_bytes()
                    lines = data[section["offset"] : section["offset"] + section["size"]].splitlines()
                    ids |= {line.split(b"\t")[1].decode() for line in lines}
        return ids

    def check_nothing_lost(self, original: Rows) -> None:
        """Every original row is in the database, or in a synced segment whose hash is right; as it was, where the
        purge has set its columns."""
        now = self.rows()  # first: what goes from now on is in the archive that is read next
        archive = self.archived()
        for table, rows in original.items():
            missing = rows - now[table] - archive.deleted[table]
            if missing:
                missing -= archive.undone(table, now[table])
            assert not missing, (table, len(missing), sorted(missing)[:3])


@dataclass
class Archive:
    """What the segments hold that were committed or may have been. `set` is (key columns, set columns, values)."""

    columns: dict[str, list[str]]
    deleted: dict[str, set[bytes]]
    set: dict[str, list[tuple[list[int], list[int], list[bytes]]]]

    @classmethod
    def read(cls, runs: list[Path], columns: dict[str, list[str]]) -> Archive:
        archive = cls(columns, defaultdict(set), defaultdict(list))
        for run in runs:
            for segment in _segments(run).values():
                archive._add(run, segment)
        return archive

    def _add(self, run: Path, segment: dict[str, Any]) -> None:
        data = (run / "segments" / f"{segment['number']:06}.copy").read_bytes()
        assert hashlib.sha256(data).hexdigest() == segment["sha256"], segment["number"]
        for section in segment["sections"]:
            table, wanted = section["table"], self.columns[section["table"]]
            lines = data[section["offset"] : section["offset"] + section["size"]].splitlines(keepends=True)
            assert len(lines) == section["rows"]
            if section["kind"] == "delete":
                assert list(section["columns"]) == wanted[: len(section["columns"])], table
                self.deleted[table].update(line.split(b"\t", 1)[1] for line in lines)
            else:
                places = [wanted.index(name) for name in section["columns"]]
                keys, sets = places[: section["keys"]], places[section["keys"] :]
                self.set[table] += [(keys, sets, line[:-1].split(b"\t")[1:]) for line in lines]

    def undone(self, table: str, rows: set[bytes]) -> set[bytes]:
        """The rows with the columns that were set as they were before."""
        if not self.set[table]:
            return rows
        by_key: dict[tuple[bytes, ...], list[bytes]] = {}
        keys = self.set[table][0][0]
        for row in rows:
            fields = row[:-1].split(b"\t")
            by_key[tuple(fields[place] for place in keys)] = fields
        for places, sets, values in self.set[table]:
            assert places == keys
            old, new = values[len(keys) : len(keys) + len(sets)], values[len(keys) + len(sets) :]
            fields = by_key.get(tuple(values[: len(keys)]), [])
            if fields and [fields[place] for place in sets] == new:
                for place, value in zip(sets, old, strict=True):
                    fields[place] = value
        return {b"\t".join(fields) + b"\n" for fields in by_key.values()}

    def whole(self, now: Rows) -> Rows:
        """What a restore has to give: what is there, undone, and what was deleted."""
        return {table: self.undone(table, rows) | self.deleted[table] for table, rows in now.items()}


def _segments(run: Path) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    journal = run / "journal.jsonl"
    for line in journal.read_bytes().split(b"\n") if journal.exists() else ():
        with suppress(ValueError):
            event = json.loads(line)
            if event["event"] == "synced":
                found[event["of"]["number"]] = event["of"]
            elif event["event"] == "rolled back":
                found.pop(event["segment"], None)
    return found


def _lines(connection: psycopg.Connection, query: str) -> set[bytes]:
    with connection.cursor().copy(f"COPY ({query}) TO STDOUT") as copy:  # type: ignore[arg-type]
        return {bytes(row) for row in copy}


def sums(rows: Rows) -> dict[str, str]:
    return {table: hashlib.sha256(b"".join(sorted(lines))).hexdigest() for table, lines in rows.items()}


def ended(process: subprocess.Popen[bytes], timeout: float = 300) -> Run:
    out, err = process.communicate(timeout=timeout)
    return Run(process.returncode, out.decode(), err.decode())


def kill(process: subprocess.Popen[bytes]) -> Run:
    process.kill()
    return ended(process)


@contextmanager
def town(
    server: Server, folder: Path, users: int, *, tangled: bool = True, far: int = 300, cache: bool = False
) -> Iterator[Town]:
    """A fresh database with so many test users."""
    server.start()
    template = server.template(users, tangled=tangled, far=far)
    name = f"town_{uuid.uuid4().hex[:8]}"
    server.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    redis_there = Cache(folder / "redis") if cache else None
    try:
        made = Town(server, name, users, folder / name, redis_there)
        if redis_there:
            redis_there.fill(made.url)
        yield made
    finally:
        if redis_there:
            redis_there.stop()
        server.start()
        server.sql(f"DROP DATABASE {name} WITH (FORCE)")
