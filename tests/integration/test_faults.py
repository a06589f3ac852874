"""Every command that reads, behind a network that goes wrong: it ends in time, says what happened, and leaves nothing.

A clean run tells how many bytes an exchange has; faults strike at its start and within. `make stress` has every fault
at every place of every command, and cuts a 200 KB exchange at each KB; the suite takes turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis

from tests.conftest import Run, Sandbox
from tests.integration.fault_kit import DRIBBLE, Cut, Fault, HalfClose, Reset, Stall, To, latency, network
from tests.integration.fault_world import PATIENT, SERVERS, World, left_behind, masked, problems, squeezed
from tests.integration.purge_kit import STRESS

KILOBYTES = 200
ROWS = "SELECT i, repeat(chr(97 + i % 26), 900) AS x FROM generate_series(1, 230) AS i ORDER BY i"  # 210 KB
FEW_ROWS = "SELECT i, repeat('x', 90) AS x FROM generate_series(1, 100) AS i"
COUNT = b"SELECT count(*) FROM users;\n"
AT_ONCE = 8 if STRESS else 24  # most of the time they wait
FEW_AT_ONCE = 6
GROUPS = 4 if STRESS else 2

LOST, SILENT = (1, 3), (3, 4)
PARTIAL = ((6,), (6,))
SHELL = ((1, 2, 3), (2, 3, 4))  # 2 is psql's own


@dataclass(frozen=True)
class Case:
    """A command, the server that the fault is before, and the exit codes where it breaks off and where it is silent."""

    words: tuple[str, ...]
    at: str = "postgres"
    codes: tuple[tuple[int, ...], tuple[int, ...]] = (LOST, SILENT)
    stdin: bytes = b""
    exact: bool = False  # the output holds no times, sizes or ports

    def __str__(self) -> str:
        return f"{' '.join(self.words)[:40]} @ {self.at}"

    def expected(self, fault: Fault) -> tuple[int, ...]:
        return self.codes[isinstance(fault, Stall)]


def cases(person: str, key: str) -> list[Case]:
    api, sql = ("--source", "api"), ("--source", "sql")
    return [
        Case(("query", "dev", ROWS), exact=True),
        Case(("query", "dev", ROWS, "--csv", "-o", "rows.csv"), exact=True),
        Case(("query", "dev", f"{ROWS} LIMIT :n", "-p", "n=200", "--json"), exact=True),
        Case(("query", "all", ROWS, "--csv"), codes=PARTIAL),
        Case(("connect", "dev", "--shell", "psql"), codes=SHELL, stdin=COUNT, exact=True),
        Case(("envs", "dev", "--check"), codes=PARTIAL),
        Case(("view", "dev")),
        Case(("cleanup", "dev", "--dry-run", "--max-users", "400")),
        Case(("cleanup", "dev", "--save-plan", "saved.plan", "--max-users", "400")),
        Case(("audit", "dev", *sql)),
        Case(("audit", "dev", "--fix", "revoked-access", "--dry-run", *sql)),
        Case(("whois", person, *sql), codes=PARTIAL),
        Case(("health", "dev")),
        Case(("activity", "dev")),
        Case(("schema", "verify", "dev"), exact=True),
        Case(("schema", "diff", "dev", "staging"), codes=((1, 3, 6), (3, 4, 6)), exact=True),
        Case(("audit", "dev", *sql), "auth-database", PARTIAL),
        Case(("whois", person), "auth-database", ((0, 6), (0, 6))),  # the API may be asked instead
        Case(("envs", "dev", "--check"), "redis", PARTIAL),
        Case(("view", "dev"), "redis"),
        Case(("health", "dev"), "redis"),
        Case(("whois", person, *sql), "redis", PARTIAL),
        Case(("audit", "dev", *sql), "redis", PARTIAL),
        Case(("cache", "dev"), "redis"),
        Case(("cache", "dev", "keys", "user:session:*"), "redis"),
        Case(("cache", "dev", "get", key), "redis"),
        Case(("envs", "--check"), "auth", PARTIAL),
        Case(("audit", "dev", *api), "auth", PARTIAL),
        Case(("whois", person, *api), "auth", PARTIAL),
        Case(("health", "dev"), "auth", ((6, 7), (6, 7))),
    ]


@pytest.fixture(scope="module")
def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with network() as net:
        yield World(sandbox, net, tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def table(sandbox: Sandbox) -> list[Case]:
    with psycopg.connect(sandbox.url("dev")) as connection:
        found = connection.execute("SELECT min(email) FROM users WHERE email LIKE '%+dev@%'").fetchone()
    with redis.Redis.from_url(sandbox.state.redis_url("dev")) as client:
        key = min(client.scan_iter("user:persona:*"))
    return cases(found[0] if found else "", key.decode())


def clean(world: World, some: Sequence[Case]) -> list[tuple[Run, int]]:
    """Each command without a fault, and the bytes that came from its server."""
    found = []
    for start in range(0, len(some), FEW_AT_ONCE):
        batch = some[start : start + FEW_AT_ONCE]
        done = world.together([{"words": c.words, "at": c.at, "timeouts": PATIENT, "stdin": c.stdin} for c in batch])
        for case, (run, attempt) in zip(batch, done, strict=True):
            assert run.code in (0, 7), (case, run)
            passed = attempt.proxies[case.at].passed[To.CLIENT]
            assert passed, (case, "never asked")
            found.append((run, passed))
    return found


def faults_of(number: int, passed: int) -> list[Fault]:
    """In the suite they come by in turn, within an exchange and now and then at its start; in a stress test all."""
    kinds = (Cut, Reset, HalfClose, Stall)
    if STRESS:
        return [kind(int(passed * part)) for kind in kinds for part in (0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)]
    within = kinds[number % 4](int(passed * (0.3, 0.5, 0.8)[number % 3]))
    return [within] if number % 3 else [within, kinds[(number // 3) % 4]()]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("group", range(GROUPS))
def test_every_command_at_every_server(world: World, table: list[Case], group: int) -> None:
    todo = []
    mine = list(enumerate(table))[group::GROUPS]
    for (number, case), (without, passed) in zip(mine, clean(world, [case for _, case in mine]), strict=True):
        todo += [(case, without, fault) for fault in faults_of(number, passed)]
    todo.sort(key=lambda one: one[0].at != "auth")  # those that try again wait longest: together
    wrong = []
    for batch in _batches(todo):
        done = world.together(
            [{"words": case.words, "at": case.at, "fault": fault, "stdin": case.stdin} for case, _, fault in batch]
        )
        for (case, without, fault), (run, attempt) in zip(batch, done, strict=True):
            found = problems(run, attempt, case.at, case.expected(fault), without)
            if case.codes is SHELL and run.code == 2:
                found = []  # it is psql that speaks
            found += partial_files(attempt.folder, run.code)
            wrong += [f"{case}, {fault}: {one} ({attempt.seconds:.0f} s)\n{run.err[-600:]}" for one in found]
        wrong += left_behind([attempt for _, attempt in done])
    assert not wrong, "\n\n".join(wrong)


def _batches(todo: list[tuple[Case, Run, Fault]]) -> Iterator[list[tuple[Case, Run, Fault]]]:
    for start in range(0, len(todo), AT_ONCE):
        yield todo[start : start + AT_ONCE]


def partial_files(folder: Path, code: int) -> list[str]:
    """Files that a failed command left, under their own name or another."""
    ours = {"environments.toml", "state", "data", "config"}
    left = [path.name for path in folder.iterdir() if path.name not in ours]
    return [f"it left {left}"] if code and left else []


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("slow", [latency(200), DRIBBLE], ids=["200 ms", "one byte at a time"])
def test_a_slow_network_changes_nothing(world: World, table: list[Case], slow: object) -> None:
    """The very same output, but for the widths of a table's columns; where it has times and sizes in it, but for the
    numbers."""
    few = [
        Case(("query", "dev", FEW_ROWS), exact=True),
        Case(("query", "dev", FEW_ROWS, "--json"), exact=True),
        Case(("query", "dev", f"{FEW_ROWS} LIMIT :n", "-p", "n=60", "--csv"), exact=True),
        *[case for case in table if {"verify", "connect", "get"} & set(case.words[:3])],
    ]
    todo = [*few, *table] if STRESS else few
    for start in range(0, len(todo), AT_ONCE):
        batch = todo[start : start + AT_ONCE]
        expected = [run for run, _ in clean(world, batch)]
        done = world.together(
            [{"words": c.words, "at": c.at, "fault": slow, "timeouts": PATIENT, "stdin": c.stdin} for c in batch]
        )
        for case, without, (run, attempt) in zip(batch, expected, done, strict=True):
            assert run.code == without.code, (case, attempt.seconds, run)
            form = squeezed if case.exact else masked
            assert form(run.out) == form(without.out), case


@pytest.mark.timeout(3600)
def test_silence_ends_where_only_one_bound_is_short(world: World, table: list[Case]) -> None:
    """A greeting is waited for no longer than a connection, an answer no longer than a statement, and an error whose
    end does not come is told all the same."""
    person = next(case.words[1] for case in table if case.words[0] == "whois")
    late = ("query", "dev", "SELECT 1 / (5000 - i) FROM generate_series(1, 6000) AS i", "--csv", "-o", "rows.csv")
    failed, attempt = world.run(*late, timeouts=PATIENT)
    assert failed.code == 1
    ready = 6  # bytes of ReadyForQuery (manual 54.7), which comes last
    slow_statement, slow_connect = 'connect = "2s", statement = "10min"', 'connect = "30s", statement = "1s"'
    todo: list[tuple[tuple[int, ...], dict[str, object]]] = [
        ((6,), {"words": ("envs", "dev", "--check"), "at": "redis", "fault": Stall(), "timeouts": slow_statement}),
        ((3,), {"words": ("view", "dev"), "at": "postgres", "fault": Stall(), "timeouts": slow_statement}),
        (
            (6,),
            {"words": ("whois", person, "--source", "api"), "at": "auth", "fault": Stall(), "timeouts": slow_connect},
        ),
        ((1,), {"words": late, "fault": Stall(attempt.proxies["postgres"].passed[To.CLIENT] - ready)}),
    ]
    done = world.together([case for _, case in todo])
    for (codes, case), (run, attempt) in zip(todo, done, strict=True):
        assert not problems(run, attempt, str(case.get("at", "postgres")), codes, failed), (run, attempt.seconds)
    assert "division by zero" in done[-1][0].err
    assert not left_behind([attempt for _, attempt in done])


CUTS = range(KILOBYTES) if STRESS else (0, 1, 60, 117, 195)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("older", ["an older file", ""])
def test_a_file_is_whole_or_as_it_was_wherever_the_exchange_is_cut(world: World, older: str) -> None:
    words = ("query", "dev", ROWS, "--csv", "-o", "rows.csv")
    for start in range(0, len(CUTS), AT_ONCE):
        folders = []
        for cut in CUTS[start : start + AT_ONCE]:
            folder = world.home / f"cut-{cut}-{len(older)}"
            folder.mkdir()
            if older:
                (folder / "rows.csv").write_text(older)
            folders.append((folder, Cut(cut * 1024)))
        done = world.together([{"words": words, "fault": fault, "folder": folder} for folder, fault in folders])
        for run, attempt in done:
            kept = attempt.folder / "rows.csv"
            assert run.code in LOST, run
            assert (kept.read_text() if kept.exists() else "") == older
            assert not list(attempt.folder.glob(".rows.csv*")), "a part of it"
        assert not left_behind([attempt for _, attempt in done])


@pytest.mark.timeout(3600)
def test_what_was_printed_is_the_beginning_wherever_the_exchange_is_cut(world: World) -> None:
    words = ("query", "dev", ROWS, "--csv")
    whole = world.run(*words)[0].out
    assert len(whole) > KILOBYTES * 1024
    for start in range(0, len(CUTS), AT_ONCE):
        some = [{"words": words, "fault": Cut(cut * 1024)} for cut in CUTS[start : start + AT_ONCE]]
        for run, attempt in world.together(some):
            assert run.code in LOST, (attempt.proxies["postgres"].passed, run)
            assert whole.startswith(run.out)
            assert run.out.endswith("\n") or not run.out, "whole lines"
            assert f":{attempt.proxies['postgres'].port})" in run.err


def test_the_kit_strikes_where_it_is_told(world: World) -> None:
    """A cut lets through so many bytes and not one more; without a fault everything passes."""
    _, attempt = world.run("query", "dev", ROWS, "--csv", fault=Cut(70_001))
    assert attempt.proxies["postgres"].passed[To.CLIENT] == 70_001
    assert attempt.proxies["postgres"].struck
    run, attempt = world.run("query", "dev", ROWS, "--csv")
    assert run.code == 0
    assert attempt.proxies["postgres"].passed[To.CLIENT] > 200_000
    assert tuple(attempt.proxies) == SERVERS
