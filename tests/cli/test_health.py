"""`gaiaops health`: what people see, what programs read, and how it ends."""

from __future__ import annotations

import json
import re
import shlex
import socket
from pathlib import Path
from urllib.parse import urlsplit

import click
import pexpect
import psycopg
import pytest

from gaiaops.cli.main import cli
from gaiaops.inspect.health.checks import ALL
from tests.cli.cleanup_world import text_of_registry
from tests.conftest import GAIAOPS, Command, Sandbox, registry_for


def test_all_with_one_down_one_slow_one_refused(sandbox: Sandbox, gaiaops: Command, tmp_path: Path) -> None:
    whole = sandbox.url("production")
    place = urlsplit(whole)
    refused = place._replace(netloc=f"postgres:wrong@{place.hostname}:{place.port}").geturl()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # TCP accepts, nobody answers
        port = silent.getsockname()[1]
        file = registry_for(
            tmp_path, production=whole, dev="postgresql://a@127.0.0.1:1/x", staging=refused,
            local=f"postgresql://a@127.0.0.1:{port}/x",
        )  # fmt: skip
        run = gaiaops("health", "all", "--json", registry=file)
        assert run.code == 6, run.err
        checks = {(one["environment"], one["check"]): one for one in json.loads(run.out)["checks"]}
        lines = {name: checks[name, "reachable"] for name in ("dev", "staging", "local")}
        assert {line["verdict"] for line in lines.values()} == {"critical"}
        assert "connection refused" in lines["dev"]["message"]
        assert "password authentication failed" in lines["staging"]["message"]
        assert "no answer within" in lines["local"]["message"]
        assert checks["staging", "blocked"]["verdict"] == "unknown"
        mine = [one for (environment, _), one in checks.items() if environment == "production"]
        assert len(mine) == sum(spec.server == "postgres" for spec in ALL)
        assert all(one["verdict"] in ("ok", "warn") for one in mine)
        shown = gaiaops("health", "all", registry=file)
        assert shown.err.startswith("gaiaops: error: not everything answered: dev, staging, local")
        for name in lines:
            assert f"\n{name}  1 critical, " in f"\n{shown.out}"
        alone = gaiaops("health", "staging", registry=file)
        assert alone.code == 3
        assert "[staging] password authentication failed" in alone.err


def test_findings_give_7_from_where_it_is_said(scratch: Command) -> None:
    run = scratch("health", "dev", "--fail-on", "warn")
    assert run.code == 7
    assert "1 check at warn or worse: unindexed-foreign-keys (dev)" in run.err
    assert "CREATE INDEX CONCURRENTLY ON public." in run.out
    assert max(map(len, run.out.splitlines())) <= 100
    assert scratch("health", "dev", "--fail-on", "never").code == 0


def test_thresholds_of_the_registry(fresh_url: str, gaiaops: Command, tmp_path: Path) -> None:
    file = tmp_path / "environments.toml"
    head = f'[environments.dev]\npostgres = "{fresh_url}"\n'

    def run(more: str) -> tuple[int, str, str]:
        file.write_text(head + more, encoding="utf-8")
        done = gaiaops("health", "dev", registry=file)
        return done.code, done.out, done.err

    code, out, _ = run("[health.size]\noff = true\n")
    assert code == 0 and "size " not in out
    # What an environment says of its own counts there.
    code, out, _ = run('[environments.dev.health.size]\nwarn = "1kB"\ncritical = "1MB"\n[health.size]\noff = true\n')
    assert code == 7
    assert "warn from 1.0 kB, critical from 1.0 MB" in out
    code, out, _ = run('[health.unindexed-foreign-keys]\nwarn = "never"\n')
    assert code == 0 and "warn" not in out


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[health.nix]\nwarn = 1", "environments.toml: health.nix: no such check; there are reachable, connections"),
        ('[health.size]\nwarn = "5 pears"', 'environments.toml: health.size.warn: not a threshold in bytes: "5 pears"'),
        ("[health.size]\nworn = 1", "environments.toml: health.size.worn: unknown key"),
        ('[health]\ntimeout = "soon"', "environments.toml: health.timeout: not a duration: 'soon'"),
        (
            '[environments.dev.health.blocked]\ncritical = "5min"',
            "environments.toml: environments.dev.health.blocked.critical: not a threshold in sessions",
        ),
    ],
)  # fmt: skip
def test_bad_thresholds(gaiaops: Command, tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "environments.toml"
    file.write_text(f'[environments.dev]\npostgres = "postgresql://a@127.0.0.1:1/x"\n{text}\n', encoding="utf-8")
    run = gaiaops("health", "dev", registry=file)
    assert run.code == 2
    assert run.err.startswith(f"gaiaops: error: {line}")


def test_a_missing_secret(sandbox: Sandbox, gaiaops: Command, tmp_path: Path) -> None:
    """It is the registry that is wrong, not the server: unknown, and the environment's own report is whole."""
    file = tmp_path / "environments.toml"
    text = text_of_registry(sandbox.url("production"), protected=False)
    text += '\n[supabase]\nurl = "http://127.0.0.1:1"\nservice_key = "${NO_SUCH_KEY}"\n'
    file.write_text(text.replace('tag = "dev"\npostgres = "', 'tag = "dev"\npostgres = "${NO_SUCH_URL}'), "utf-8")
    run = gaiaops("health", "production", registry=file)
    assert run.code == 0, run.err
    assert re.search(r"unknown +auth-reachable .*NO_SUCH_KEY", run.out)
    run = gaiaops("health", "dev", registry=file)
    assert run.code == 2
    assert "NO_SUCH_URL" in run.err


def test_supabase_that_refuses_the_key(sandbox: Sandbox, gaiaops: Command, tmp_path: Path) -> None:
    file = tmp_path / "environments.toml"
    supabase = f'[supabase]\nurl = "{sandbox.state.supabase_url}"\nservice_key = "wrong"\n'
    file.write_text(f'[environments.dev]\npostgres = "{sandbox.url("dev")}"\n{supabase}', encoding="utf-8")
    run = gaiaops("health", "all", "--json", registry=file)
    checks = {one["check"]: one for one in json.loads(run.out)["checks"] if one["environment"] == "supabase"}
    assert (checks["auth-reachable"]["verdict"], checks["auth-key"]["verdict"]) == ("ok", "critical")
    assert run.code == 7


def test_it_leaves_no_session(sandbox: Sandbox, dev: Command) -> None:
    assert dev("health", "all").code == 0
    with psycopg.connect(sandbox.url("dev")) as connection:
        ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'gaiaops/%'"
        row = connection.execute(ours).fetchone()
    assert row == (0,)


def test_watch_redraws_until_ctrl_c(sandbox: Sandbox, variables: dict[str, str], tmp_path: Path) -> None:
    arguments = [*GAIAOPS, "--registry", str(sandbox.layout.registry), "health", "dev", "--watch", "0.2"]
    child = pexpect.spawn(
        arguments[0], arguments[1:], env=variables, cwd=str(tmp_path), timeout=20, dimensions=(12, 100)
    )
    for _ in range(2):
        child.expect_exact("\x1b[H")
        child.expect("dev  PostgreSQL")
        child.expect("lines more: a taller terminal shows them")
    child.sendintr()
    child.expect_exact("\x1b[?1049l")
    child.expect("auth-key")  # the last frame stays, whole
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130


def test_every_next_command_is_one_of_ours(dev: Command) -> None:
    """What is to be copied parses: commands, arguments and options."""
    for one in json.loads(dev("health", "all", "--json").out)["checks"]:
        line = one["next"]
        words = shlex.split(line)
        assert words[0] == "gaiaops", line
        command = cli.get_command(click.Context(cli), words[1])
        assert command is not None, line
        if words[1] != "cache":  # a group
            command.make_context(words[1], words[2:])
