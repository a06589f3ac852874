"""`gaiaops connect` on a pseudo-terminal: the user's shell, read-only, the environment in the prompt."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import psutil
import pytest

from gaiaops.query import shell
from tests.conftest import Command, Sandbox, registry_for

RED = "\x1b[1;31m"
Open = Callable[..., pexpect.spawn]


@pytest.fixture
def bundled_only(tmp_path: Path) -> str:
    """A PATH with no psql, pgcli or redis-cli on it: the wheels' own must do."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "printf", "env", "less", "cat"):
        found = shutil.which(tool)
        if found:
            (folder / tool).symlink_to(found)
    return str(folder)


@pytest.fixture
def open_shell(fresh_url: str, sandbox: Sandbox, tmp_path: Path, bundled_only: str) -> Iterator[Open]:
    """Opens `gaiaops connect …` on a pseudo-terminal, on a clone under the names dev and production."""
    file = registry_for(tmp_path, dev=fresh_url, production=fresh_url)
    file.write_text(
        file.read_text().replace(
            "[environments.dev]", f'[environments.dev]\nredis = "{sandbox.state.redis_url("dev")}"'
        ),
        encoding="utf-8",
    )
    opened: list[pexpect.spawn] = []

    def spawn(*arguments: str, **variables: str) -> pexpect.spawn:
        child = pexpect.spawn(
            sys.executable,
            ["-m", "gaiaops", "--registry", str(file), "connect", *arguments],
            env={**sandbox.variables, "PATH": bundled_only, "TERM": "xterm", **variables},
            encoding="utf-8",
            timeout=30,
            dimensions=(24, 80),
        )
        opened.append(child)
        return child

    yield spawn
    for child in opened:
        child.close(force=True)


def test_read_only_from_the_start_with_the_environment_in_the_prompt(open_shell: Open) -> None:
    child = open_shell("dev")
    child.expect(r"dev read-only clone_\w+=# ")
    assert RED not in child.before + child.after
    child.sendline("DELETE FROM users;")
    child.expect("cannot execute DELETE in a read-only transaction")
    child.expect("read-only .*# ")
    child.sendline("SHOW application_name;")
    child.expect(r"gaiaops/\S+ \S+@\S* connect")
    child.sendline("\\q")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_a_protected_environment_is_red_and_says_so(open_shell: Open) -> None:
    child = open_shell("production")
    child.expect("warning: production is protected; this shell is read-only")
    child.expect("production read-only .*#\x1b\\[0m ")
    assert RED in child.before + child.after


def test_no_secret_in_the_arguments(open_shell: Open, sandbox: Sandbox) -> None:
    child = open_shell("dev")
    child.expect("read-only .*# ")
    process = psutil.Process(child.pid)
    assert "psql" in process.name()
    assert sandbox.state.password not in " ".join(process.cmdline())


def test_write_on_dev_is_not_asked_and_writes(open_shell: Open) -> None:
    child = open_shell("dev", "--write")
    child.expect("dev WRITE .*# ")
    child.sendline("UPDATE users SET name = name WHERE email IS NULL;")
    child.expect("UPDATE 0")


def test_write_on_production_needs_its_name(open_shell: Open) -> None:
    child = open_shell("production", "--write")
    child.expect("Type the environment's name to go on: ")
    child.sendline("yes")
    child.expect("not confirmed; nothing was changed")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 5
    child = open_shell("production", "--write")
    child.expect("Type the environment's name to go on: ")
    child.sendline("production")
    child.expect("this shell is READ-WRITE")
    child.expect("production WRITE .*#\x1b\\[0m ")


def test_the_users_own_psqlrc_is_honoured(open_shell: Open, tmp_path: Path) -> None:
    home = tmp_path / "ho me"
    home.mkdir()
    (home / ".psqlrc").write_text("\\set mine 'from my psqlrc'\n\\set PROMPT1 'my own prompt> '\n", encoding="utf-8")
    child = open_shell("dev", HOME=str(home))
    child.expect("dev read-only .*# ")
    child.sendline("\\echo :mine")
    child.expect("\nfrom my psqlrc")


def test_redis_cli(open_shell: Open) -> None:
    child = open_shell("dev", "--redis")
    child.expect(r"127\.0\.0\.1:\d+> ")
    child.send("PING\r")
    child.expect("PONG")


def test_no_shell_at_all(gaiaops: Command, fresh_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_for(tmp_path, dev=fresh_url)
    run = gaiaops("connect", "dev", "--shell", "pgcli", registry=registry, PATH="/nonexistent")
    assert run.code == 2
    assert "no pgcli on this machine" in run.err
    assert "hint: pip install pgcli, or: apt install postgresql-client" in run.err
    monkeypatch.setattr(shell.shutil, "which", lambda _: None)
    monkeypatch.setattr(shell.importlib.util, "find_spec", lambda _: None)
    assert shell.find_psql() is None


def test_production_redis_asks_first(gaiaops: Command, sandbox: Sandbox) -> None:
    run = gaiaops("connect", "production", "--redis", registry=sandbox.layout.registry)
    assert run.code == 5
    assert "hint: add --confirm production" in run.err
