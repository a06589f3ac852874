"""A place of a test's own behind faulty proxies, for commands that change something."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import redis

from tests.conftest import Run, Sandbox
from tests.integration.fault_kit import Cut, Fault, HalfClose, Network, Reset, Slow, Stall, To
from tests.integration.fault_world import Attempt, World, left_behind, problems
from tests.integration.purge_kit import STRESS

CODES = (1, 3, 4)
NOTHING = Run(-1, "", "")  # no run without a fault is compared with


class Place(World):
    """A database and a Redis of a test's own, in which the test users of dev are somebody else's."""

    tags = ("none", "dev")

    @property
    def url(self) -> str:
        return self.urls["postgres"]

    @property
    def folder(self) -> Path:
        """Where every command of this place keeps its archives and its trail."""
        return self.home / "home"

    def do(self, *words: str, fault: Fault | Slow | None = None, **options: Any) -> tuple[Run, Attempt]:
        return self.run(*words, fault=fault, folder=self.folder, **options)

    def number(self, sql: str) -> int:
        with psycopg.connect(self.url) as connection:
            return int(connection.execute(sql.encode()).fetchone()[0])  # type: ignore[index]

    def run_sql(self, sql: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(sql.encode())

    def users(self) -> int:
        return self.number("SELECT count(*) FROM users")

    def runs(self) -> list[dict[str, Any]]:
        """What `runs` says; it asks no server."""
        done, _ = self.do("runs", "--json", fault=Cut())
        assert done.code == 0, done
        return list(json.loads(done.out)["runs"])

    def trail(self) -> list[str]:
        """The outcomes in the trail."""
        file = self.folder / "state" / "gaiaops" / "trail.jsonl"
        return [json.loads(line)["outcome"] for line in file.read_text().splitlines()] if file.exists() else []

    def check(self, run: Run, attempt: Attempt, at: str = "postgres") -> None:
        """It failed so that it can be understood, and nothing of it is left on a server or here."""
        assert not problems(run, attempt, at, CODES, NOTHING), (run, attempt.seconds)
        assert not left_behind([attempt])


@contextmanager
def place(sandbox: Sandbox, net: Network, home: Path) -> Iterator[Place]:
    """A fresh clone of dev, with the cache in a database of its own."""
    name = f"clone_{uuid.uuid4().hex[:12]}"
    cache = sandbox.state.redis_url("dev").removesuffix("/0") + "/6"
    folder = home / name
    folder.mkdir()
    with psycopg.connect(sandbox.state.postgres_url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_dev".encode())
        try:
            yield Place(sandbox, net, folder, {"postgres": sandbox.state.postgres_url(name), "redis": cache})
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            with redis.Redis.from_url(cache) as client:
                client.flushdb()


KINDS = (Cut, Reset, HalfClose, Stall)


def exchange(passed: dict[To, int], kind: type[Fault]) -> list[Fault]:
    """In the suite a cut each way and one fault of another kind; in a stress test cuts at each KB both ways, and all
    other kinds at a dozen places."""
    if not STRESS:
        cuts: list[Fault] = [Cut(passed[To.CLIENT] * 4 // 5), Cut(passed[To.SERVER] // 2, To.SERVER)]
        return [*cuts, kind(passed[To.CLIENT] // 2)]
    return [
        *(Cut(at, way) for way in To for at in range(0, passed[way], 1024)),
        *(other(passed[way] * i // 12, way) for other in KINDS[1:] for way in To for i in range(12)),
    ]
