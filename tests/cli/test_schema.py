"""`gaiaops schema`: what somebody on call sees, and the exit codes a script relies on."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Command, Run, Sandbox, registry_for

ELSEWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"
_PLATFORM = (files("gaiaops.sandbox") / "platform.toml").read_text(encoding="utf-8")
GROUPS = _PLATFORM[_PLATFORM.index("[tables.core]") : _PLATFORM.index("[cache]")]
STAGING = """
ALTER TABLE users ALTER name TYPE varchar(80), ADD nickname text DEFAULT 'x';
ALTER TABLE api_keys DROP CONSTRAINT api_keys_user_id_fkey,
    ADD CONSTRAINT keys_of FOREIGN KEY (user_id) REFERENCES users ON DELETE SET NULL;
CREATE TABLE "odd\x1b[31m name" (i int);
ALTER TABLE kb_context_cache RENAME TO kb_old;
CREATE VIEW kb_context_cache AS SELECT context_name FROM kb_old;
CREATE TABLE roles (id int);
CREATE TABLE alembic_version (version_num text);
CREATE FUNCTION chores() RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
"""


@pytest.fixture(scope="module")
def staging_url(sandbox: Sandbox) -> Iterator[str]:
    """A clone of dev that has gone its own way; no test changes it."""
    name = f"clone_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(sandbox.state.postgres_url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template_dev".encode())
        url = sandbox.state.postgres_url(name)
        with psycopg.connect(url) as inside:
            inside.execute(STAGING.encode())
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def world(sandbox: Sandbox, staging_url: str, gaiaops: Command, tmp_path: Path) -> Command:
    """The command line with dev (as it was seeded), its double, staging and one that is down; the platform's groups."""
    dev = sandbox.url("dev")
    file = registry_for(tmp_path, dev=dev, double=dev, staging=staging_url, dead=ELSEWHERE)
    text = file.read_text(encoding="utf-8").replace("[environments.dev]", '[environments.dev]\naliases = ["d"]')
    file.write_text(f"{text}\n{GROUPS}", encoding="utf-8")

    def run(*arguments: str, **options: object) -> Run:
        return gaiaops(*arguments, registry=file, **options)

    return run


def test_diff_for_people(world: Command) -> None:
    run = world("schema", "diff", "dev", "staging")
    assert run.code == 7
    lines = run.out.splitlines()
    assert lines[0].startswith("--- dev      PostgreSQL 18.")
    assert lines[1].startswith("+++ staging  PostgreSQL 18.")
    assert lines[lines.index("  public.users") :][:5] == [
        "  public.users",
        "  ~ column name",
        "      - type  character varying(255)",
        "      + type  character varying(80)",
        "  + column nickname  text default 'x'::text",
    ]
    assert "  ~ foreign key api_keys_user_id_fkey" in lines  # PostgreSQL named it: the other name is not a difference
    assert "      + definition  FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE SET NULL" in lines
    assert r'+ table public."odd\x1b[31m name"' in lines
    assert "+ function public.chores()  returns void language plpgsql" in lines
    assert lines[-1] == "10 differences (9 in 7 tables) between dev and staging"
    assert "\x1b" not in run.out
    assert run.err == "gaiaops: error: dev and staging differ\n"


def test_diff_for_programs(world: Command) -> None:
    run = world("schema", "diff", "staging", "d", "--json")
    assert run.code == 7
    document = json.loads(run.out)
    assert list(document) == ["left", "right", "differences", "unread"]
    assert (document["left"]["environment"], document["right"]["environment"]) == ("staging", "dev")
    assert document["unread"] == []
    column = next(one for one in document["differences"] if one["name"] == "name")
    assert column == {
        "kind": "column",
        "table": "public.users",
        "name": "name",
        "change": "differs",
        "left": {"type": "character varying(80)"},
        "right": {"type": "character varying(255)"},
    }
    alone = {one["name"]: one["change"] for one in document["differences"] if one["right"] is None}
    assert set(alone.values()) == {"only-left"}
    assert {"nickname", 'public."odd\x1b[31m name"', "public.chores()"} <= set(alone)


def test_the_same_database_under_two_names(world: Command) -> None:
    run = world("schema", "diff", "dev", "double")
    assert (run.code, run.out.splitlines()[-1]) == (0, "no difference between dev and double")
    assert run.err == "dev and double are the same database\n"


def test_a_part_of_it(world: Command) -> None:
    run = world("schema", "diff", "dev", "staging", "--table", "users", "--only", "column", "--schema", "public")
    assert run.code == 7
    assert run.out.splitlines()[-1] == "2 differences in 1 table between dev and staging"
    run = world("schema", "diff", "dev", "staging", "--only", "trigger")
    assert run.code == 0
    assert run.err == "not compared: the parts of 6 tables or views that one side alone has (--only table)\n"


def test_what_is_locked_is_not_compared(world: Command, staging_url: str) -> None:
    with psycopg.connect(staging_url) as holder:
        holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        run = world("schema", "diff", "dev", "staging", "--json")
    assert run.code == 6
    document = json.loads(run.out)
    assert [(one["environment"], one["table"]) for one in document["unread"]] == [("staging", "public.users")]
    assert "column" in document["unread"][0]["kinds"]  # a default cannot be written out; a primary key can
    assert {one["name"] for one in document["differences"] if one["table"] == "public.users"} == {"nickname"}
    assert "gaiaops: warning: [staging] could not read public.users (column" in run.err
    assert "gaiaops: error: not everything of dev and staging could be read" in run.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("dev", "d"), 2, '"dev" and "d" are one environment: nothing to compare'),
        (("dev", "dead"), 3, "[dead] connection refused"),
        (("dev", "staging", "--schema", "pubic"), 2, 'no schema "pubic" in dev and staging'),
        (("dev", "staging", "--table", "usrs"), 2, 'did you mean "users"?'),
        (("dev", "staging", "--only", "colum"), 2, 'did you mean "column"?'),
    ],
)
def test_diff_refuses(world: Command, arguments: tuple[str, ...], code: int, said: str) -> None:
    run = world("schema", "diff", *arguments)
    assert (run.code, run.out) == (code, "")
    assert said in run.err


def test_verify_as_the_documentation_counts(dev: Command) -> None:
    run = dev("schema", "verify", "all")
    assert (run.code, run.err) == (0, "")
    assert run.out.splitlines()[-1] == "production: 19 of 19 deployed; 35 with the 16 planned"
    assert max(map(len, run.out.splitlines())) <= 80


def test_verify_names_what_is_not_as_declared(world: Command) -> None:
    run = world("schema", "verify", "all", "--fail-on", "any")
    assert run.code == 6  # before 7: one is down
    assert "gaiaops: error: [dead] connection refused" in run.err
    lines = run.out.splitlines()
    assert lines[0].split(" | ")[-1].strip() == "dead"
    assert lines[lines.index("staging: 18 of 19 deployed; 35 with the 16 planned") + 1 :] == [
        "  error: missing from knowledge-base: kb_context_cache; public.kb_context_cache is a view",
        "  warning: present already, of planned rbac: roles",
        r"  warning: unexpected: public.kb_old, public.odd\x1b[31m name",
        "  the migration tool's own: public.alembic_version",
    ]


def test_verify_for_programs(world: Command) -> None:
    run = world("schema", "verify", "staging", "--json")
    assert run.code == 7
    assert run.err == "gaiaops: error: 1 table missing\n"
    (found,) = json.loads(run.out)["schema"]
    counts = ("deployed_found", "deployed_expected", "planned_found", "planned_expected", "declared")
    assert [found[name] for name in counts] == [18, 19, 1, 16, 35]
    assert [(one["finding"], one["severity"], one["table"], one["group"]) for one in found["findings"]] == [
        ("missing", "error", "kb_context_cache", "knowledge-base"),
        ("planned-present", "warning", "roles", "rbac"),
        ("unexpected", "warning", "public.kb_old", ""),
        ("unexpected", "warning", "public.odd\x1b[31m name", ""),
    ]
    assert found["migration_tables"] == ["public.alembic_version"]
    assert {one["group"]: one["found"] for one in found["groups"]}["core"] == 6
    assert world("schema", "verify", "staging", "--fail-on", "never").code == 0
    assert world("schema", "verify", "dead").code == 3
