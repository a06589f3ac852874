"""`gaiaops connect` through a tunnel, on a pseudo-terminal: the shell is ours to look after, and the tunnel lives as
long as it does."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.conftest import GAIAOPS, Sandbox
from tests.integration.tunnel_kit import Programs
from tests.terminal import Terminal

FAR = "gaia-db-dev.internal:5432"
PROMPT = "dev read-only llm_platform_dev=# "
Open = Callable[..., Terminal]


@pytest.fixture
def variables(programs: Programs, sandbox: Sandbox) -> dict[str, str]:
    ports = {name: urlsplit(url).port or 0 for name, url in _urls(sandbox).items()}
    return {**sandbox.variables, **programs.variables(ports), "TERM": "xterm"}


@pytest.fixture
def registry(sandbox: Sandbox, tmp_path: Path) -> Path:
    urls = _urls(sandbox)
    password = urlsplit(urls["gaia-db-dev"]).password
    file = tmp_path / "environments.toml"
    file.write_text(
        f'[environments.dev]\npostgres = "postgresql://postgres:{password}@{FAR}/llm_platform_dev"\n'
        f'tunnel = {{ fly = "gaia-db-dev" }}\n'
        f'redis = "redis://:{urlsplit(urls["gaia-redis-dev"]).password}@redis.internal:6379/0"\n'
        f'redis_tunnel = {{ fly = "gaia-redis-dev" }}\n',
        encoding="utf-8",
    )
    return file


def _urls(sandbox: Sandbox) -> dict[str, str]:
    return {"gaia-db-dev": sandbox.url("dev"), "gaia-redis-dev": sandbox.state.redis_url("dev")}


@pytest.fixture
def open_shell(registry: Path, variables: dict[str, str]) -> Iterator[Open]:
    opened: list[Terminal] = []

    def spawn(*arguments: str) -> Terminal:
        opened.append(Terminal(registry, "dev", *arguments, variables=variables))
        return opened[-1]

    yield spawn
    for child in opened:
        child.close(force=True)


def test_ctrl_c_is_the_shells_own_and_the_tunnel_stays(open_shell: Open, programs: Programs) -> None:
    child = open_shell("--shell", "psql")
    child.expect_exact(PROMPT)
    child.sendline("SELECT pg_sleep(60);")
    assert child.expect([r"pg_sleep\(60\);\r\n"]) == 0
    child.send("\x03")
    child.expect("canceling statement due to user request")
    child.expect_exact(PROMPT)
    child.sendline("DELETE FROM users;")
    child.expect("cannot execute DELETE in a read-only transaction")
    child.sendline("SELECT 6 * 7 AS answer;")
    child.expect("42")
    assert len(programs.running()) == 1
    child.sendline("\\q")
    assert child.left() == 0
    assert programs.gone()


def test_the_tunnel_dies_under_the_shell(open_shell: Open, programs: Programs) -> None:
    child = open_shell("--shell", "psql")
    child.expect_exact(PROMPT)
    programs.kill()
    child.sendline("\\q")
    child.expect_exact("warning: [dev] the tunnel died: fly ended by signal 9")
    assert child.left() == 0


def test_sigterm_ends_the_shell_and_the_tunnel(open_shell: Open, programs: Programs) -> None:
    child = open_shell("--shell", "psql")
    child.expect_exact(PROMPT)
    shells = [one for one in psutil.Process(child.pid).children() if "psql" in one.name()]
    assert len(shells) == 1
    os.kill(child.pid, signal.SIGTERM)
    assert child.left() == 130
    assert not shells[0].is_running()
    assert programs.gone()


def test_the_shells_exit_status_is_ours(registry: Path, variables: dict[str, str], programs: Programs) -> None:
    done = subprocess.run(
        [*GAIAOPS, "--registry", str(registry), "connect", "dev", "--shell", "psql"],
        input="\\set ON_ERROR_STOP on\nSELECT 1/0;\n",
        env=variables, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3, "psql's own: an error in a script (psql manual, Exit Status)"
    assert "division by zero" in done.stderr
    assert programs.gone()


def test_redis_cli(open_shell: Open, programs: Programs) -> None:
    child = open_shell("--redis", "--shell", "redis-cli")
    child.expect("redis dev read-only> ")
    child.send("DBSIZE\r")
    child.expect(r"\(integer\) \d+")
    child.send("QUIT\r")
    assert child.left() == 0
    assert programs.gone()
