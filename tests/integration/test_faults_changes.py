"""Commands that change something, behind a network that goes wrong: what is changed is what they, the trail and `runs`
say, nothing is lost, and the same command again, or a restore, brings it to its end.

`make stress` cuts the exchange of a clean-up and of a restore at each KB; the suite at a few places.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.cli.cleanup_world import checksums
from tests.conftest import Run, Sandbox
from tests.integration.fault_kit import DRIBBLE, Cut, Fault, HalfClose, Network, Reset, Slow, Stall, To, network
from tests.integration.fault_world import PATIENT, Attempt, World, left_behind, problems
from tests.integration.purge_kit import STRESS
from tests.waiting import soon

PURGE = ("cleanup", "dev", "--confirm", "dev", "--max-users", "400", "--older-than", "70w")
WRITE = "UPDATE users SET name = 'changed' WHERE email LIKE '%+dev@%'"
CODES = (1, 3, 4)
NOTHING = Run(-1, "", "")  # no run without a fault is compared with

pytestmark = pytest.mark.timeout(7200)


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    with network() as made:
        yield made


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


# ------------------------------------------------------------------------------- cleanup and restore


@pytest.fixture(scope="module")
def measured(sandbox: Sandbox, net: Network, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[To, int]]:
    """The bytes of a clean-up and of its restore, without a fault."""
    with place(sandbox, net, tmp_path_factory.mktemp("measured")) as here:
        purged, purge = here.do(*PURGE)
        assert purged.code == 0, purged
        restored, restore = here.do("restore", here.runs()[0]["id"], "--confirm", "dev")
        assert restored.code == 0, restored
        return {"purge": purge.proxies["postgres"].passed, "restore": restore.proxies["postgres"].passed}


def test_a_clean_up_is_cut_anywhere(
    sandbox: Sandbox, net: Network, tmp_path: Path, measured: dict[str, dict[To, int]]
) -> None:
    for fault in exchange(measured["purge"], Stall):
        with place(sandbox, net, tmp_path) as here:
            before, people = checksums(here.url), here.users()
            run, attempt = here.do(*PURGE, fault=fault)
            if run.code:
                here.check(run, attempt)
            else:  # the good-bye was cut, and nothing else
                assert not left_behind([attempt])
            gone = people - here.users()
            said = here.runs()
            assert len(said) <= 1, fault
            if said and not said[0]["doubtful_segments"]:
                assert said[0]["users"] == gone, fault
            again, _ = here.do(*PURGE)
            assert again.code == 0, (fault, again)
            runs = here.runs()
            assert sum(one["users"] for one in runs) == people - here.users() > 10, fault
            for one in runs:
                back, _ = here.do("restore", one["id"], "--confirm", "dev")
                assert back.code == 0, (fault, back)
            assert checksums(here.url) == before, fault


def test_a_restore_is_cut_anywhere(
    sandbox: Sandbox, net: Network, tmp_path: Path, measured: dict[str, dict[To, int]]
) -> None:
    for fault in exchange(measured["restore"], HalfClose):
        with place(sandbox, net, tmp_path) as here:
            before = checksums(here.url)
            purged, _ = here.do(*PURGE)
            assert purged.code == 0, purged
            restoring = ("restore", here.runs()[0]["id"], "--confirm", "dev")
            run, attempt = here.do(*restoring, fault=fault)
            if run.code:
                here.check(run, attempt)
            else:
                assert checksums(here.url) == before, fault
            again, _ = here.do(*restoring)
            assert again.code == 0, (fault, again)
            assert checksums(here.url) == before, fault


@pytest.mark.parametrize("fault", [Cut(100), Stall(100), Reset(0)], ids=str)
def test_a_clean_up_whose_redis_goes_remembers_its_entries(
    sandbox: Sandbox, net: Network, tmp_path: Path, fault: Fault
) -> None:
    with place(sandbox, net, tmp_path) as here:
        with psycopg.connect(here.url) as connection:
            ids = [row[0] for row in connection.execute("SELECT id::text FROM users").fetchall()]
        with redis.Redis.from_url(here.urls["redis"]) as client:
            client.mset({f"user:session:{one}": "x" for one in ids})
            run, attempt = here.do(*PURGE, at="redis", fault=fault)
            assert run.code == 1, run
            assert "Redis entries of" in run.err
            assert not left_behind([attempt])
            with psycopg.connect(here.url) as connection:
                kept = {row[0] for row in connection.execute("SELECT id::text FROM users").fetchall()}
            assert 0 < len(kept) < len(ids)
            again, _ = here.do(*PURGE)
            assert again.code == 0, again
            assert {key.decode().rpartition(":")[2] for key in client.scan_iter("user:session:*")} == kept


# ------------------------------------------------------------------------------- query --write


def test_a_write_whose_answer_is_lost_is_asked_about(sandbox: Sandbox, net: Network, tmp_path: Path) -> None:
    """The answer to COMMIT does not come: the server is asked on another connection, and the truth is said."""
    with place(sandbox, net, tmp_path) as here:
        words = ("query", "dev", WRITE, "--write")
        clean, attempt = here.do(*words)
        assert clean.code == 0
        passed = attempt.proxies["postgres"].passed[To.CLIENT]
        for kind in (Cut, Reset, HalfClose):
            here.run_sql("UPDATE users SET name = 'before'")
            run, attempt = here.do(*words, fault=kind(passed - 5, again=True))
            assert run.code == 0, run
            assert "the answer to COMMIT was lost; asked again, the server says that it was committed" in run.err
            assert here.number("SELECT count(*) FROM users WHERE name = 'changed'") > 100
            assert here.trail()[-1] == "committed"
            assert not left_behind([attempt])


def test_a_write_whose_commit_never_arrived_is_not_made(sandbox: Sandbox, net: Network, tmp_path: Path) -> None:
    with place(sandbox, net, tmp_path) as here:
        words = ("query", "dev", WRITE, "--write")
        passed = here.do(*words)[1].proxies["postgres"].passed[To.SERVER]
        here.run_sql("UPDATE users SET name = 'before'")
        # The last words are COMMIT, 12 bytes, of which the first goes through, and the good-bye, 5 (manual 54.7).
        run, attempt = here.do(*words, fault=Cut(passed - 5 - 12 + 1, To.SERVER, again=True))
        assert run.code == 1, run
        assert "it was not committed" in run.err
        assert here.number("SELECT count(*) FROM users WHERE name = 'changed'") == 0
        assert here.trail()[-1].startswith("failed")
        here.check(run, attempt)


def test_a_write_that_nobody_can_ask_about_is_unknown(sandbox: Sandbox, net: Network, tmp_path: Path) -> None:
    with place(sandbox, net, tmp_path) as here:
        words = ("query", "dev", WRITE, "--write")
        passed = here.do(*words)[1].proxies["postgres"].passed[To.CLIENT]
        run, attempt = here.do(*words, fault=Cut(passed - 5))
        assert run.code == 1, run
        assert "the change may have been made: look before you repeat it" in run.err
        assert here.trail()[-1].startswith("unknown")
        here.check(run, attempt)


def test_a_write_is_made_whole_or_not_at_all(sandbox: Sandbox, net: Network, tmp_path: Path) -> None:
    with place(sandbox, net, tmp_path) as here:
        words = ("query", "dev", f"{WRITE} RETURNING id", "--write", "--csv")
        total = here.number("SELECT count(*) FROM users WHERE email LIKE '%+dev@%'")
        attempt = here.do(*words)[1]
        for fault in exchange(attempt.proxies["postgres"].passed, Reset):
            here.run_sql("UPDATE users SET name = 'before'")
            run, attempt = here.do(*words, fault=fault)
            assert not left_behind([attempt])
            changed = here.number("SELECT count(*) FROM users WHERE name = 'changed'")
            outcome = here.trail()[-1] if here.trail()[-1] != "started" else "failed"
            if run.code:
                here.check(run, attempt)
                assert changed == 0 or (changed == total and outcome.startswith("unknown")), (fault, run)
            else:
                assert (changed, outcome) == (total, "committed"), (fault, run)


# ------------------------------------------------------------------------------- the others


def test_a_repair_is_cut_anywhere(sandbox: Sandbox, net: Network, tmp_path: Path) -> None:
    """The same audit --fix again finishes it, and its restore gives back what was there."""
    words = ("audit", "dev", "--source", "sql", "--fix", "revoked-access", "--confirm", "dev")
    with place(sandbox, net, tmp_path) as here:
        here.tags = ("dev", "staging")
        run, attempt = here.do(*words)
        assert run.code == 0, run
        passed = attempt.proxies["postgres"].passed
    for fault in exchange(passed, Reset)[:: 7 if STRESS else 2]:
        with place(sandbox, net, tmp_path) as here:
            here.tags = ("dev", "staging")
            before = checksums(here.url)
            run, attempt = here.do(*words, fault=fault)
            assert run.code in (0, *CODES, 6), (fault, run)
            assert not left_behind([attempt])
            again, _ = here.do(*words)
            assert again.code == 0, (fault, again)
            after = checksums(here.url)
            assert after != before
            assert here.number("SELECT count(*) FROM api_keys WHERE NOT is_active") > 0
            for one in here.runs():
                back, _ = here.do("restore", one["id"], "--confirm", "dev")
                assert back.code == 0, (fault, back)
            assert checksums(here.url) == before, fault


@pytest.mark.first(2)
@pytest.mark.parametrize("kind", KINDS)
def test_invalidating_is_whole_after_a_second_try(sandbox: Sandbox, net: Network, tmp_path: Path, kind: Any) -> None:
    words = ("cache", "dev", "invalidate", "--family", "session", "--confirm", "dev")
    with place(sandbox, net, tmp_path) as here, redis.Redis.from_url(here.urls["redis"]) as client:
        entries = {f"user:session:{i}": "x" for i in range(3000)} | {"persona:7": "x"}
        client.mset(entries)
        attempt = here.do(*words)[1]
        passed = attempt.proxies["redis"].passed[To.CLIENT]
        for part in (0, 0.3, 0.6, 0.95) if STRESS else (0.3, 0.95):
            client.mset(entries)
            run, attempt = here.do(*words, at="redis", fault=kind(int(passed * part)))
            here.check(run, attempt, "redis")
            assert client.exists("persona:7")
            assert here.do(*words)[0].code == 0
            assert set(client.scan_iter()) == {b"persona:7"}


@pytest.mark.parametrize("kind", KINDS)
def test_cancelling_says_what_became_of_it(sandbox: Sandbox, net: Network, tmp_path: Path, kind: Any) -> None:
    """The statement is cancelled, or runs on; where the command does not know it does not say that it did."""
    with place(sandbox, net, tmp_path) as here, psycopg.connect(here.url, autocommit=True) as asking:
        passed = 0
        for part in (1.0, 0.0, 0.4, 0.9) if STRESS else (1.0, 0.4):
            victim = psycopg.connect(here.url, autocommit=True)
            pid = victim.info.backend_pid
            victim.pgconn.send_query(b"SELECT pg_sleep(100)")
            words = ("activity", "dev", "--cancel", str(pid), "--confirm", "dev")
            fault = kind(int(passed * part)) if passed else None
            running = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND state = 'active'"
            assert soon(lambda: here.number(running))  # noqa: B023
            run, attempt = here.do(*words, fault=fault)
            passed = passed or attempt.proxies["postgres"].passed[To.CLIENT]
            if run.code == 0:
                assert not here.number(running), fault
            else:
                here.check(run, attempt)
                assert "cancelled:" not in run.err + run.out
            victim.close()  # which cancels nothing
            asking.execute("SELECT pg_terminate_backend(%s)", [pid])


@pytest.mark.skipif(not STRESS, reason="a byte at a time takes a while")
def test_one_byte_at_a_time(sandbox: Sandbox, net: Network, tmp_path: Path) -> None:
    """A clean-up and its restore come through as ever."""
    with place(sandbox, net, tmp_path) as here:
        before = checksums(here.url)
        run, _ = here.do(*PURGE, fault=DRIBBLE, timeouts=PATIENT)
        assert run.code == 0, run
        back, _ = here.do("restore", here.runs()[0]["id"], "--confirm", "dev", fault=DRIBBLE, timeouts=PATIENT)
        assert back.code == 0, back
        assert checksums(here.url) == before
