"""Shell completion: commands, options and environments, without a driver."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Command, registry_for


def complete(folder: Path, variables: dict[str, str], *words: str) -> list[str]:
    """What bash would be offered for a command line; fails where a driver was imported."""
    code = (
        "import sys\nfrom gaiaops.cli.main import Context, cli, run\n"
        "try:\n    code = run(cli, Context())\nfinally:\n"
        "    assert not {'psycopg', 'redis', 'httpx', 'supabase', 'tabulate'} & set(sys.modules)\n"
    )
    line = {"_GAIAOPS_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**variables, **line}, cwd=folder, check=False
    )
    assert "Error" not in done.stderr, done.stderr
    return [entry.partition(",")[2] for entry in done.stdout.splitlines()]


def test_commands_options_and_environments(tmp_path: Path, variables: dict[str, str]) -> None:
    registry_for(tmp_path, dev="${UNSET}", staging="${UNSET}", production="${UNSET}")
    assert complete(tmp_path, variables, "gaiaops", "qu") == ["query"]
    assert complete(tmp_path, variables, "gaiaops", "query", "") == ["dev", "staging", "production", "all"]
    assert complete(tmp_path, variables, "gaiaops", "view", "s") == ["staging", "supabase"]
    assert complete(tmp_path, variables, "gaiaops", "connect", "pro") == ["production"]
    assert "--timeout" in complete(tmp_path, variables, "gaiaops", "query", "dev", "--t")
    assert complete(tmp_path, variables, "gaiaops", "query", "dev", "--format", "js") == ["json", "jsonl"]
    assert set(complete(tmp_path, variables, "gaiaops", "sandbox", "")) == {"up", "down", "reset", "status"}


def test_without_a_registry_there_is_nothing_and_no_noise(tmp_path: Path, variables: dict[str, str]) -> None:
    assert complete(tmp_path, variables, "gaiaops", "query", "") == ["all"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts(gaiaops: Command, shell: str) -> None:
    run = gaiaops("completion", shell)
    assert run.code == 0
    assert "_GAIAOPS_COMPLETE" in run.out
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=run.out, text=True, check=True)
