"""Every command's hints can be copied as they stand: they name the environment, and lead to the same registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Command, Sandbox

COMMANDS: dict[str, tuple[str, ...]] = {
    "query": ("query", "dev"),
    "query all": ("query", "all"),
    "view": ("view", "dev"),
    "cache": ("cache", "dev"),
    "cleanup": ("cleanup", "dev", "--dry-run"),
    "audit": ("audit", "dev"),
    "health": ("health", "dev"),
    "activity": ("activity", "dev"),
    "verify": ("schema", "verify", "dev"),
    "diff": ("schema", "diff", "dev", "staging"),
    "check": ("envs", "--check"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_hint_names_the_environment(case: str, gaiaops: Command, sandbox: Sandbox, tmp_path: Path) -> None:
    registry = tmp_path / "environments.toml"
    lines = sandbox.layout.registry.read_text(encoding="utf-8").splitlines()
    registry.write_text("\n".join(_locked_out(line, sandbox.state.password) for line in lines), encoding="utf-8")
    run = gaiaops(*COMMANDS[case], registry=registry)
    program = "gaiaops" if case == "health" else f"gaiaops --registry {registry}"  # a table of its own
    assert f"{program} envs dev shows where" in run.out + run.err, run
    assert " ENV" not in run.out + run.err


def _locked_out(line: str, password: str) -> str:
    """With a wrong password, where it is an environment's."""
    return line.replace(password, "wrong") if line.startswith("redis") or "llm_platform" in line else line
