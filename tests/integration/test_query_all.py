"""`query all`: every environment's rows as they come, and nobody pays for the one that is slow or dead."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.conftest import GAIAOPS, Command, Sandbox, clean_variables, registry_for
from tests.waiting import until

from .format_oracles import read_csv, read_html, read_markdown, read_tsv

FORMATS = ("table", "vertical", "csv", "tsv", "json", "jsonl", "markdown", "html")


@pytest.fixture(scope="module")
def clones(sandbox: Sandbox) -> Iterator[dict[str, str]]:
    """Three databases that know who they are: one, two, three. Tests leave the table `me` as it is."""
    urls = {}
    tag = uuid.uuid4().hex[:8]
    with psycopg.connect(sandbox.state.postgres_url("postgres"), autocommit=True) as connection:
        for name in ("one", "two", "three"):
            database = f"all_{tag}_{name}"
            connection.execute(f"CREATE DATABASE {database} TEMPLATE template0")
            urls[name] = sandbox.state.postgres_url(database)
            with psycopg.connect(urls[name]) as inside:
                inside.execute("CREATE TABLE me (name text, n int)")
                inside.execute("INSERT INTO me VALUES (%s, %s), (NULL, 0)", [name, len(urls)])
        yield urls
        for name in urls:
            connection.execute(f"DROP DATABASE all_{tag}_{name} WITH (FORCE)")


def refused_url() -> str:
    """A port where nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"postgresql://u:p@127.0.0.1:{closed.getsockname()[1]}/nothing"


@contextmanager
def silent_url() -> Iterator[str]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"postgresql://u:p@127.0.0.1:{listening.getsockname()[1]}/nothing"


@contextmanager
def started(registry: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`gaiaops query all …` with its output on pipes."""
    child = subprocess.Popen(
        [*GAIAOPS, "--registry", str(registry), "query", "all", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=registry.parent,
        env=clean_variables(registry.parent),
    )  # fmt: skip
    with child:
        try:
            yield child
        finally:
            child.kill()


def cells_of(text: str, fmt: str) -> list[list[str | None]]:
    """Header and rows of any format."""
    if fmt in ("json", "jsonl"):
        found = json.loads(text) if fmt == "json" else [json.loads(line) for line in text.splitlines()]
        return [list(found[0]), *([None if v is None else str(v) for v in row.values()] for row in found)]
    if fmt == "markdown":
        first, _, *rest = text.splitlines(keepends=True)
        return read_markdown(first + "".join(rest))
    if fmt == "table":
        first, _, *rest = text.splitlines()
        return [
            [None if (c := cell.strip()) == "<null>" else c for cell in line.split(" | ")] for line in [first, *rest]
        ]
    if fmt == "vertical":
        records = [block.splitlines()[1:] for block in text.split("-[ ")[1:]]
        pairs = [[[part.strip() for part in line.split(" | ")] for line in record] for record in records]
        return [[n for n, _ in pairs[0]], *([None if v == "<null>" else v for _, v in record] for record in pairs)]
    return {"csv": read_csv, "tsv": read_tsv, "html": read_html}[fmt](text)


@pytest.mark.first(3)
@pytest.mark.parametrize("fmt", FORMATS)
def test_env_comes_first_in_every_format(fmt: str, clones: dict[str, str], gaiaops: Command, tmp_path: Path) -> None:
    run = gaiaops("query", "all", "SELECT name, n FROM me", "--format", fmt, registry=registry_for(tmp_path, **clones))
    assert (run.code, run.err) == (0, "")
    head, *rows = cells_of(run.out, fmt)
    assert head == ["env", "name", "n"]
    assert sorted(rows, key=str) == sorted(
        [row for i, env in enumerate(clones, 1) for row in ([env, env, str(i)], [env, None, "0"])], key=str
    )


@pytest.mark.parametrize("fmt", FORMATS)
def test_no_columns_at_all(fmt: str, clones: dict[str, str], gaiaops: Command, tmp_path: Path) -> None:
    sql = "SELECT FROM generate_series(1, 2)"
    run = gaiaops("query", "all", sql, "--format", fmt, registry=registry_for(tmp_path, **clones))
    assert run.code == 0, run.err
    head, *rows = cells_of(run.out, fmt)
    assert head == ["env"]
    assert sorted(rows) == sorted([env] for env in clones for _ in range(2))


def test_many_rows_of_each_are_all_there(clones: dict[str, str], gaiaops: Command, tmp_path: Path) -> None:
    sql = (
        "SELECT i, md5(i::text) AS hash, name FROM me, generate_series(1, 20000) AS i WHERE name IS NOT NULL ORDER BY i"
    )
    run = gaiaops("query", "all", sql, "--csv", registry=registry_for(tmp_path, **clones))
    assert run.code == 0, run.err
    rows = read_csv(run.out)[1:]
    for env in clones:
        assert [int(row[1] or 0) for row in rows if row[0] == env] == list(range(1, 20001))
        assert {row[3] for row in rows if row[0] == env} == {env}


def test_limit_is_each_ones(clones: dict[str, str], gaiaops: Command, tmp_path: Path) -> None:
    run = gaiaops("query", "all", "TABLE me", "--csv", "--limit", "1", registry=registry_for(tmp_path, **clones))
    assert len(read_csv(run.out)) == 4
    for env in clones:
        assert f"[{env}] first 1 rows shown (--limit); there are more" in run.err


def test_a_parameter_and_a_command_without_rows(clones: dict[str, str], gaiaops: Command, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, **clones)
    run = gaiaops("query", "all", "SELECT n FROM me WHERE name = :who", "-p", "who=two", "--csv", registry=registry)
    assert (run.code, run.out) == (0, "env,n\ntwo,2\n")
    run = gaiaops("query", "all", "SET LOCAL work_mem = '5MB'", registry=registry)
    assert (run.code, run.out) == (0, "")
    assert sorted(run.err.splitlines()) == [f"[{env}] SET" for env in sorted(clones)]


@pytest.mark.parametrize("fmt", ["table", "csv", "json"])
def test_a_slow_one_holds_nobody_back(fmt: str, clones: dict[str, str], tmp_path: Path) -> None:
    """The others' rows are on the pipe while the slow one still waits for a lock that the test holds."""
    registry = registry_for(tmp_path, **clones)
    sql = "SELECT name, wait(name) AS waited FROM me WHERE name IS NOT NULL"
    for url in clones.values():
        with psycopg.connect(url) as inside:
            inside.execute(
                """CREATE OR REPLACE FUNCTION wait(name text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
                     IF name = 'one' THEN
                       WHILE NOT pg_try_advisory_xact_lock(77) LOOP PERFORM pg_sleep(0.05); END LOOP;
                     END IF;
                     RETURN 'ok';
                   END $$"""
            )
    with psycopg.connect(clones["one"]) as holder:
        holder.execute("SELECT pg_advisory_lock(77)")
        with started(registry, sql, "--format", fmt) as child:
            assert child.stdout is not None
            seen = b""
            while not (b"two" in seen and b"three" in seen):
                piece = os.read(child.stdout.fileno(), 1 << 16)  # a JSON row's line feed comes with the next row
                assert piece, "the output ended without the others' rows"
                seen += piece
            assert b"one" not in seen
            assert child.poll() is None
            holder.execute("SELECT pg_advisory_unlock(77)")
            rest = child.stdout.read()
            assert b"one" in rest
            assert child.wait(30) == 0


def test_rows_arrive_in_the_order_of_the_answers(clones: dict[str, str], gaiaops: Command, tmp_path: Path) -> None:
    sql = "SELECT pg_sleep((3 - n) * 1.5)::text AS slept FROM me WHERE n > 0"
    run = gaiaops("query", "all", sql, "--csv", registry=registry_for(tmp_path, **clones))
    assert [row[0] for row in read_csv(run.out)[1:]] == ["three", "two", "one"]


def test_a_dead_port_fails_alone(clones: dict[str, str], gaiaops: Command, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, dead=refused_url(), **clones)
    for fmt in ("csv", "json", "table"):
        run = gaiaops("query", "all", "SELECT n FROM me WHERE n > 0", "--format", fmt, registry=registry)
        assert run.code == 6
        assert sorted(row[0] for row in cells_of(run.out, fmt)[1:]) == sorted(clones)
        assert "gaiaops: error: [dead] connection refused (127.0.0.1:" in run.err
        assert "gaiaops: error: 1 of 4 environments failed; the others are shown" in run.err


def test_a_silent_port_costs_its_own_timeout(clones: dict[str, str], tmp_path: Path) -> None:
    with silent_url() as url:
        registry = registry_for(tmp_path, silent=url, **clones)
        text = registry.read_text()
        registry.write_text(
            text.replace("[environments.silent]", '[environments.silent]\ntimeouts = { connect = "4s" }')
        )
        began = time.monotonic()
        with started(registry, "SELECT n FROM me WHERE n > 0", "--csv") as child:
            assert child.stdout is not None
            assert child.stderr is not None
            lines = [child.stdout.readline() for _ in range(4)]
            assert sorted(line.split(b",")[0] for line in lines) == [b"env", b"one", b"three", b"two"]
            assert child.poll() is None, "the rows came before the dead one's time was up"
            assert child.wait(40) == 6
            assert time.monotonic() - began < 30
            assert b"[silent] no answer within 4s" in child.stderr.read()


def test_other_columns_are_named(clones: dict[str, str], gaiaops: Command, tmp_path: Path) -> None:
    for env, url in clones.items():
        with psycopg.connect(url) as inside:
            inside.execute(f"CREATE VIEW other AS SELECT name, n AS {'number' if env == 'two' else 'n'} FROM me")
    run = gaiaops("query", "all", "SELECT * FROM other", "--csv", registry=registry_for(tmp_path, **clones))
    assert run.code == 6
    assert "other columns than" in run.err
    assert ": n, number" in run.err
    assert "hint: name the columns in the SQL" in run.err
    head, *rows = read_csv(run.out)
    assert head in (["env", "name", "n"], ["env", "name", "number"])
    shown = {row[0] for row in rows}
    assert shown in ({"one", "three"}, {"two"}), "rows of one shape only"


def test_the_same_columns_in_another_order_are_other_columns(
    clones: dict[str, str], gaiaops: Command, tmp_path: Path
) -> None:
    for env, url in clones.items():
        with psycopg.connect(url) as inside:
            inside.execute(f"CREATE VIEW turned AS SELECT {'n, name' if env == 'two' else 'name, n'} FROM me")
    run = gaiaops("query", "all", "SELECT * FROM turned", "--csv", registry=registry_for(tmp_path, **clones))
    assert run.code == 6
    assert "their order" in run.err


def test_a_failing_statement_names_its_environment(clones: dict[str, str], gaiaops: Command, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, **clones)
    run = gaiaops("query", "all", "SELECT 1 / (n - 2) AS x FROM me WHERE n > 0", "--json", registry=registry)
    assert run.code == 6
    assert sorted(row["env"] for row in json.loads(run.out)) == ["one", "three"]
    assert "gaiaops: error: [two] division by zero (22012)" in run.err


@pytest.mark.parametrize(
    ("sql", "options", "code"),
    [
        ("SELECT nothing FROM me", (), 1),
        ("SELECT pg_sleep(30)", ("--timeout", "300ms"), 4),
        ("DELETE FROM me", (), 5),
    ],
    ids=["error", "timeout", "refused"],
)
def test_when_all_fail_alike_the_code_is_theirs(
    sql: str, options: tuple[str, ...], code: int, clones: dict[str, str], gaiaops: Command, tmp_path: Path
) -> None:
    run = gaiaops("query", "all", sql, "--csv", *options, registry=registry_for(tmp_path, **clones))
    assert run.code == code
    assert len(run.out.splitlines()) <= 1, "a header at most"
    assert "gaiaops: error: all 3 environments failed" in run.err
    for env in clones:
        assert f"gaiaops: error: [{env}] " in run.err


@pytest.mark.parametrize("sql", ["SELECT 1/0", "SELECT nothing", "SELECT 1/(5000 - i) FROM generate_series(1, 6000) i"])
def test_when_all_fail_a_file_is_left_alone(sql: str, clones: dict[str, str], gaiaops: Command, tmp_path: Path) -> None:
    registry, target = registry_for(tmp_path, **clones), tmp_path / "kept.csv"
    target.write_text("before")
    assert gaiaops("query", "all", sql, "--csv", "-o", str(target), registry=registry).code == 1
    assert target.read_text() == "before"


def test_some_failed_and_the_file_has_the_others(clones: dict[str, str], gaiaops: Command, tmp_path: Path) -> None:
    registry, target = registry_for(tmp_path, dead=refused_url(), **clones), tmp_path / "out.csv"
    assert gaiaops("query", "all", "TABLE me", "--csv", "-o", str(target), registry=registry).code == 6
    assert len(read_csv(target.read_text())) == 1 + 2 * 3


def test_all_dead_is_no_connection(gaiaops: Command, tmp_path: Path) -> None:
    run = gaiaops("query", "all", "SELECT 1", registry=registry_for(tmp_path, a=refused_url(), b=refused_url()))
    assert (run.code, run.out) == (3, "")


def test_failures_of_different_kinds_are_partial(clones: dict[str, str], gaiaops: Command, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, dead=refused_url(), one=clones["one"])
    assert gaiaops("query", "all", "SELECT 1/0", registry=registry).code == 6


def test_several_statements_and_writing_are_refused(clones: dict[str, str], gaiaops: Command, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, **clones)
    assert gaiaops("query", "all", "SELECT 1; SELECT 2", registry=registry).code == 2
    assert gaiaops("query", "all", "DELETE FROM me", "--write", registry=registry).code == 2


def active(url: str, mark: str) -> int:
    """How many statements that hold a text are running in the whole server."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE %s",
            [f"%{mark}%"],
        ).fetchone()
    return int(row[0]) if row else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_with_130(number: int, clones: dict[str, str], tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    target = tmp_path / "rows.csv"
    with started(
        registry_for(tmp_path, **clones), f"SELECT pg_sleep(20), '{mark}'", "--csv", "-o", str(target)
    ) as child:
        assert until(lambda: active(clones["one"], mark) == 3)
        child.send_signal(number)
        assert child.wait(15) == 130
        assert child.stderr is not None
        assert b"gaiaops: error: interrupted" in child.stderr.read()
    assert not [name for name in tmp_path.iterdir() if "rows.csv" in name.name]


def test_an_interrupt_cancels_all_statements(clones: dict[str, str], tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    with started(registry_for(tmp_path, **clones), f"SELECT pg_sleep(20), '{mark}'") as child:
        assert until(lambda: active(clones["one"], mark) == 3)
        child.send_signal(signal.SIGINT)
        assert child.wait(15) == 130
        assert until(lambda: active(clones["one"], mark) == 0, seconds=6)


def test_a_closed_pipe_ends_it_quietly(clones: dict[str, str], tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    sql = f"SELECT repeat('x', 1000) AS x, '{mark}' FROM generate_series(1, 9999) AS a, generate_series(1, 9999)"
    with started(registry_for(tmp_path, **clones), sql, "--csv") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.wait(30) == 0
        assert child.stderr.read() == b""
    assert until(lambda: active(clones["one"], mark) == 0)


def test_a_column_named_env_keeps_its_own_key(clones: dict[str, str], gaiaops: Command, tmp_path: Path) -> None:
    run = gaiaops("query", "all", "SELECT name AS env FROM me", "--json", registry=registry_for(tmp_path, **clones))
    pairs = json.loads(run.out, object_pairs_hook=list)
    assert all([key for key, _ in row] == ["env", "env_2"] for row in pairs)


def test_a_reader_that_is_slow_gets_all(clones: dict[str, str], tmp_path: Path) -> None:
    """More rows than the queue between the workers and the writer holds, read late."""
    sql = "SELECT i, repeat('y', 500) AS y FROM generate_series(1, 30000) AS i"
    with started(registry_for(tmp_path, **clones), sql, "--csv") as child:
        assert child.stdout is not None
        lines: list[bytes] = []
        reader = threading.Timer(1.5, lambda: lines.extend(child.stdout or []))
        reader.start()
        reader.join(60)
        assert child.wait(30) == 0
    assert len(lines) == 1 + 3 * 30000
