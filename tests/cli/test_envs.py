"""`gaiaops envs`: the list, one environment, the check."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Command, Sandbox, registry_for

PLATFORM = """
[environments.local]
tag = "local"
postgres = "postgresql://postgres:${LOCAL_PW:-postgres}@localhost:5432/llm_platform"
redis = "redis://:s3cret@localhost:6379/0"
[environments.production]
aliases = ["prod"]
protected = true
postgres = "${PRODUCTION_DATABASE_URL}"
replicas = ["postgresql://r:s3cret@replica:5432/d"]
[environments.production.timeouts]
statement = "30s"
"""


def test_the_list_names_sources_and_masks_secrets(gaiaops: Command, tmp_path: Path) -> None:
    (tmp_path / "environments.toml").write_text(PLATFORM, encoding="utf-8")
    (tmp_path / ".env").write_text(
        "PRODUCTION_DATABASE_URL=postgres://admin:s3cret@db.internal/llm\n", encoding="utf-8"
    )
    (tmp_path / ".env").chmod(0o600)
    run = gaiaops("envs")
    assert run.code == 0
    lines = [[cell.strip() for cell in line.split("|")] for line in run.out.splitlines()]
    assert lines[0] == ["environment", "aliases", "tag", "protected", "host", "database", "role", "from"]
    assert lines[2] == ["local", "", "local", "", "localhost:5432", "llm_platform", "postgres", "default of $LOCAL_PW"]
    assert lines[3][:3] == ["production", "prod", ""]
    assert lines[3][3:] == ["yes", "db.internal", "llm", "admin", "$PRODUCTION_DATABASE_URL in .env"]
    one = gaiaops("envs", "prod")
    assert "postgresql://admin:***@db.internal/llm" in one.out
    assert "postgresql://r:***@replica:5432/d" in one.out
    assert "30s" in one.out
    document = json.loads(gaiaops("envs", "--json").out)
    assert [env["environment"] for env in document["environments"]] == ["local", "production"]
    assert document["environments"][1]["timeouts_ms"]["statement"] == 30000
    for text in (run.out, run.err, one.out, json.dumps(document)):
        assert "s3cret" not in text


def test_a_missing_secret_does_not_hide_the_others(gaiaops: Command, tmp_path: Path) -> None:
    (tmp_path / "environments.toml").write_text(PLATFORM, encoding="utf-8")
    run = gaiaops("envs")
    assert run.code == 0
    assert "localhost:5432" in run.out
    assert "variable PRODUCTION_DATABASE_URL is not set" in run.out


def test_a_secret_file_that_others_can_read_draws_a_warning(gaiaops: Command, tmp_path: Path) -> None:
    (tmp_path / "environments.toml").write_text(PLATFORM, encoding="utf-8")
    (tmp_path / ".env").write_text("X=1\n", encoding="utf-8")
    (tmp_path / ".env").chmod(0o644)
    assert "warning: " in gaiaops("envs").err


def test_check_connects_to_everything(dev: Command) -> None:
    run = dev("envs", "--check", "--json")
    assert run.code == 0, run.err
    checks = {(c["environment"], c["server"]): c["ok"] for c in json.loads(run.out)["checks"]}
    environments = ("local", "dev", "staging", "production")
    expected = {(env, server): True for env in environments for server in ("postgres", "redis")}
    assert checks == expected | {("supabase", "auth"): True, ("supabase", "postgres"): True}


def test_check_says_what_did_not_answer(gaiaops: Command, sandbox: Sandbox, tmp_path: Path) -> None:
    wrong = sandbox.url("dev").replace(sandbox.state.password, "wrong")
    registry = registry_for(tmp_path, dev=sandbox.url("dev"), staging=wrong)
    run = gaiaops("envs", "--check", registry=registry)
    assert run.code == 6
    assert 'FAILED password authentication failed for user "postgres"' in run.out
    assert "1 of 2 did not answer" in run.err


def test_check_refuses_another_server_behind_the_name(gaiaops: Command, sandbox: Sandbox, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, dev=sandbox.url("dev"))
    registry.write_text(registry.read_text() + 'pin = { system_identifier = "1" }\n', encoding="utf-8")
    run = gaiaops("envs", "dev", "--check", registry=registry)
    assert run.code == 5
    assert "wrong database behind the name: system_identifier is" in run.out
