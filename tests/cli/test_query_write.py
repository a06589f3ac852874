"""`query --write`: one transaction, the rows shown, the name typed, and ways to change the wrong thing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pexpect
import psycopg
import pytest

from tests.conftest import Command, Sandbox, clean_variables, registry_for

COUNT = "SELECT count(*) FROM users"


def count(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(COUNT).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def production(fresh_url: str, tmp_path: Path) -> Path:
    return registry_for(tmp_path, production=fresh_url)


def test_it_writes_and_says_what(scratch: Command, fresh_url: str, tmp_path: Path) -> None:
    before = count(fresh_url)
    run = scratch("query", "dev", "INSERT INTO users (email) VALUES ('a@x'), ('b@x')", "--write")
    assert (run.code, run.out) == (0, "")
    assert run.err == "INSERT 0 2\ncommitted in dev: INSERT 0 2\n"
    assert count(fresh_url) == before + 2
    trail = (tmp_path / "state" / "gaiaops" / "trail.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in trail]
    assert [record["outcome"] for record in records] == ["started", "committed"]
    assert (records[1]["rows"], records[1]["environment"], records[1]["command"]) == (2, "dev", "query")
    assert records[1]["server"].rpartition("/")[2].startswith("clone_")
    assert (tmp_path / "state" / "gaiaops" / "trail.jsonl").stat().st_mode & 0o077 == 0
    assert "a@x" not in "".join(trail)


def test_returning_is_shown(scratch: Command) -> None:
    run = scratch(
        "query", "dev", "UPDATE users SET name = 'N' WHERE email LIKE 'a%' RETURNING name", "--write", "--csv"
    )
    assert run.code == 0
    assert set(run.out.splitlines()) == {"name", "N"}


def test_a_failing_file_changes_nothing(scratch: Command, fresh_url: str) -> None:
    before = count(fresh_url)
    sql = "INSERT INTO users (email) VALUES ('a@x');\nINSERT INTO users (email) VALUES ('a@x');"
    run = scratch("query", "dev", "-f", "-", "--write", stdin=sql)
    assert run.code == 1
    assert "duplicate key value violates unique constraint" in run.err
    assert count(fresh_url) == before


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "END", "PREPARE TRANSACTION 'x'"])
def test_a_file_that_ends_the_transaction_stops_there(scratch: Command, fresh_url: str, ending: str) -> None:
    before = count(fresh_url)
    run = scratch("query", "dev", f"SELECT 1; {ending}; DELETE FROM api_keys; DELETE FROM users", "--write")
    assert run.code in (1, 5)
    assert count(fresh_url) == before


def test_production_off_a_terminal_needs_confirm(gaiaops: Command, production: Path, fresh_url: str) -> None:
    before = count(fresh_url)
    insert = ("query", "production", "INSERT INTO users (email) VALUES ('a@x')", "--write")
    run = gaiaops(*insert, registry=production)
    assert run.code == 5
    assert "[production] a change to a protected environment needs its name" in run.err
    assert "hint: add --confirm production" in run.err
    assert gaiaops(*insert, "--confirm", "yes", registry=production).code == 5
    assert gaiaops(*insert, "--confirm", "prod", registry=production).code == 5
    assert gaiaops(*insert, stdin="production\n", registry=production).code == 5
    assert count(fresh_url) == before
    run = gaiaops(*insert, "--confirm", "production", registry=production)
    assert run.code == 0, run.err
    assert count(fresh_url) == before + 1


@pytest.mark.parametrize(("answer", "code", "added"), [("production", 0, 1), ("y", 5, 0), ("dev", 5, 0), ("", 5, 0)])
def test_production_on_a_terminal_asks_before_commit(
    production: Path, fresh_url: str, tmp_path: Path, answer: str, code: int, added: int
) -> None:
    before = count(fresh_url)
    sql = "INSERT INTO users (email) VALUES ('a@x')"
    child = pexpect.spawn(
        sys.executable,
        ["-m", "gaiaops", "--registry", str(production), "query", "production", sql, "--write"],
        env=clean_variables(tmp_path),
        encoding="utf-8",
        timeout=30,
    )
    child.expect(r"INSERT 0 1 in production, not yet committed; it is rolled back after 1min\.")
    child.expect("Type the environment's name to go on: ")
    assert count(fresh_url) == before
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == code
    assert count(fresh_url) == before + added


def test_the_wrong_server_behind_the_name(gaiaops: Command, fresh_url: str, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, dev=fresh_url)
    registry.write_text(registry.read_text() + 'pin = { database = "llm_platform" }\n', encoding="utf-8")
    before = count(fresh_url)
    run = gaiaops("query", "dev", "DELETE FROM users", "--write", registry=registry)
    assert run.code == 5
    assert "wrong database behind the name: database is clone_" in run.err
    assert count(fresh_url) == before


def test_two_names_for_one_database(gaiaops: Command, fresh_url: str, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, dev=fresh_url, staging=fresh_url)
    run = gaiaops("query", "dev", "DELETE FROM api_keys", "--write", registry=registry)
    assert run.code == 5
    assert "[dev] staging is the same database" in run.err


def test_all_cannot_be_written(dev: Command) -> None:
    run = dev("query", "all", "DELETE FROM users", "--write")
    assert run.code == 2
    assert "--write takes one environment" in run.err


def test_no_trail_no_change(scratch: Command, fresh_url: str, tmp_path: Path) -> None:
    before = count(fresh_url)
    (tmp_path / "state").write_text("a file where a folder should be", encoding="utf-8")
    run = scratch("query", "dev", "INSERT INTO users (email) VALUES ('a@x')", "--write")
    assert run.code == 1
    assert "cannot write the trail" in run.err
    assert count(fresh_url) == before


def test_output_that_cannot_be_written_changes_nothing(scratch: Command, fresh_url: str) -> None:
    before = count(fresh_url)
    insert = "INSERT INTO users (email) SELECT 'u' || i || '@x' FROM generate_series(1, 99999) i RETURNING email"
    run = scratch("query", "dev", insert, "--write", "--csv", "-o", "/dev/full")
    assert run.code == 1
    assert count(fresh_url) == before


def test_reading_is_the_default(dev: Command, sandbox: Sandbox) -> None:
    before = count(sandbox.url("dev"))
    run = dev("query", "dev", "DELETE FROM api_keys")
    assert run.code == 5
    assert "[dev] refused: cannot execute DELETE in a read-only transaction" in run.err
    assert "hint: reading is the default; add --write if you mean it" in run.err
    assert count(sandbox.url("dev")) == before
