"""`gaiaops view`: what it says is what is there, and nobody waits for the slowest."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path

import psycopg
import redis

from gaiaops.sandbox.layout import AUTH_DATABASE, ENVIRONMENTS
from tests.conftest import GAIAOPS, Command, Sandbox


def test_all_agrees_with_the_servers(dev: Command, sandbox: Sandbox) -> None:
    run = dev("view", "--json")
    assert run.code == 0, run.err
    document = json.loads(run.out)
    found = {env["environment"]: env for env in document["environments"]}
    assert list(found) == list(ENVIRONMENTS)
    for name, env in found.items():
        with psycopg.connect(sandbox.url(name)) as connection:
            users = connection.execute("SELECT count(*) FROM users").fetchone()
            dev_users = connection.execute(
                r"SELECT count(*) FROM users WHERE email ~* '\+dev@[^@]*$' AND email !~* '\+(local|staging)\+'"
            ).fetchone()
        assert users is not None and dev_users is not None
        assert env["users"] == users[0]
        assert env["users_by_tag"]["dev"] == dev_users[0]
        assert (env["tables_found"], env["tables_expected"], env["tables_missing"]) == (19, 19, [])
        assert env["server_version"].startswith("18.")
        assert env["reachable"] and env["errors"] == []
        with redis.Redis.from_url(sandbox.state.redis_url(name)) as client:
            # Keys that live for less than a minute may go in between.
            assert 0 <= env["redis"]["keys"] - client.dbsize() <= 50
    with psycopg.connect(sandbox.state.postgres_url(AUTH_DATABASE)) as connection:
        auth = connection.execute("SELECT count(*), count(deleted_at) FROM auth.users").fetchone()
    assert auth == (document["supabase"]["users"], document["supabase"]["deleted"])


def test_lines_and_the_supabase_line(dev: Command) -> None:
    run = dev("view")
    assert run.code == 0
    lines = run.out.splitlines()
    assert lines[0].split() == ["environment", "pg", "latency", "users", "tables", "size", "keys", "redis", "tagged"]
    assert {line.split()[0] for line in lines[1:5]} == set(ENVIRONMENTS)
    assert lines[-1].startswith(" supabase auth (sql): 1200 users; ")


def test_one_environment_goes_deeper(dev: Command) -> None:
    run = dev("view", "dev")
    assert run.code == 0
    for text in ("chat_messages", "newest users", "+dev@", "cache family", "api key", "session"):
        assert text in run.out
    document = json.loads(dev("view", "dev", "--json").out)["environments"][0]
    assert len(document["tables"]) == 19
    assert {"api key", "session", "persona"} <= set(document["cache_families"])


def test_supabase_by_sql_and_by_the_api_agree(dev: Command, gaiaops: Command, sandbox: Sandbox, tmp_path: Path) -> None:
    by_sql = json.loads(dev("view", "supabase", "--json").out)["supabase"]
    file = tmp_path / "api.toml"
    text = sandbox.layout.registry.read_text(encoding="utf-8")
    file.write_text("\n".join(line for line in text.splitlines() if AUTH_DATABASE not in line), encoding="utf-8")
    run = gaiaops("view", "supabase", "--json", registry=file)
    by_api = json.loads(run.out)["supabase"]
    assert (by_sql["source"], by_api["source"]) == ("sql", "api")
    assert by_api["complete"]
    assert (by_api["users"], by_api["users_by_tag"]) == (by_sql["users"], by_sql["users_by_tag"])


def test_a_wrong_service_key(gaiaops: Command, sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "api.toml"
    text = sandbox.layout.registry.read_text(encoding="utf-8").replace(sandbox.state.service_key, "wrong-key")
    file.write_text("\n".join(line for line in text.splitlines() if AUTH_DATABASE not in line), encoding="utf-8")
    run = gaiaops("view", "supabase", registry=file)
    assert run.code == 3
    assert "[supabase] Supabase Auth refused the service key" in run.err
    assert "wrong-key" not in run.err


def test_a_dead_environment_costs_nobody_else_anything(
    sandbox: Sandbox, tmp_path: Path, variables: dict[str, str]
) -> None:
    with socket.socket() as silent:  # takes connections, never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        file = tmp_path / "environments.toml"
        file.write_text(
            f'[timeouts]\nconnect = "4s"\n[environments.silent]\n'
            f'postgres = "postgresql://u:pw@127.0.0.1:{silent.getsockname()[1]}/d"\n'
            f'[environments.dev]\npostgres = "{sandbox.url("dev")}"\n',
            encoding="utf-8",
        )
        with subprocess.Popen(
            [*GAIAOPS, "--registry", str(file), "view"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=variables,
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            first = child.stdout.readline()
            answered = time.monotonic()
            rest, err = child.communicate(timeout=60)
            waited = time.monotonic() - answered
    assert first.split()[0] == "dev"
    assert rest.split()[:2] == ["silent", "down"]
    assert waited > 1  # dev was printed while the silent one was still being waited for
    assert child.returncode == 6
    assert "[silent] no answer within 4s" in err


def test_a_database_without_the_platforms_tables(gaiaops: Command, sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "environments.toml"
    file.write_text(f'[environments.other]\npostgres = "{sandbox.state.postgres_url("postgres")}"\n', encoding="utf-8")
    run = gaiaops("view", "other", "--json", registry=file)
    assert run.code == 0, run.err
    assert json.loads(run.out)["environments"][0]["users"] is None
