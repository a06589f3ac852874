"""`gaiaops connect` opens the same way whatever is between: each kind of tunnel, each mode of a pooler. One session on
a pseudo-terminal shows the prompt, that nothing can be written, and that nothing is left at its end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.conftest import Sandbox
from tests.integration.pooler_kit import Pooler, pgbouncer
from tests.integration.sshd_kit import Sshd, sshd_process
from tests.integration.tunnel_kit import Programs
from tests.terminal import Terminal, shells
from tests.waiting import soon

FAR = "gaia-db-dev.internal:5432"
TUNNELS = {
    "fly": '{ fly = "dev" }',
    "docker": '{ docker = "dev" }',
    "cloud-sql-proxy": '{ cloud-sql-proxy = "dev" }',
    "command": '{ command = ["my-tunnel", "{local_port}", "dev"] }',
    "ssh": '{{ ssh = "target", options = ["-F", "{config}"] }}',
}
Ending = Callable[[Terminal], None]


def leave(child: Terminal) -> None:
    child.sendline("\\q")
    assert child.left() == 0


def hang_up(child: Terminal) -> None:
    """The window was closed."""
    child.kill(signal.SIGHUP)
    assert child.left() == 130


def kill(child: Terminal) -> None:
    child.kill(signal.SIGKILL)


WAYS: tuple[tuple[str, Ending], ...] = (
    ("docker", leave), ("cloud-sql-proxy", leave), ("command", hang_up), ("ssh", leave), ("ssh", kill), ("fly", kill),
)  # fmt: skip


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd_process(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def registry(sandbox: Sandbox, sshd: Sshd, tmp_path: Path) -> Callable[[str], Path]:
    """A registry whose production is behind a tunnel of some kind."""

    def write(kind: str) -> Path:
        near = urlsplit(sandbox.url("dev"))
        place = near.netloc.rpartition("@")[2] if kind == "ssh" else FAR
        way = TUNNELS[kind].format(config=sshd.configure()) if kind == "ssh" else TUNNELS[kind]
        file = tmp_path / "environments.toml"
        file.write_text(
            f'[environments.production]\npostgres = "postgresql://postgres:{near.password}@{place}{near.path}"\n'
            f"protected = true\ntunnel = {way}\n",
            encoding="utf-8",
        )
        return file

    return write


def of_ssh(sshd: Sshd) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(sshd.client) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.parametrize(("kind", "end"), WAYS, ids=lambda value: getattr(value, "__name__", value))
def test_through_a_tunnel(
    kind: str, end: Ending, registry: Callable[[str], Path], sandbox: Sandbox, programs: Programs, sshd: Sshd
) -> None:
    to = programs.variables({"dev": urlsplit(sandbox.url("dev")).port or 0})
    child = Terminal(registry(kind), "production", "--shell", "psql", variables={**sandbox.variables, **to})
    try:
        child.expect("production is protected; this shell is read-only")
        child.expect_exact("\x1b[1;31mproduction read-only llm_platform_dev=#\x1b[0m ")
        assert len(programs.running()) == (kind not in ("docker", "ssh"))
        assert len(of_ssh(sshd)) == (kind == "ssh")
        child.sendline("DELETE FROM users;")
        child.expect("cannot execute DELETE in a read-only transaction")
        end(child)
        assert programs.gone()
        assert soon(lambda: not of_ssh(sshd))
    finally:
        child.close(force=True)


def test_pgcli_through_a_tunnel(registry: Callable[[str], Path], sandbox: Sandbox, programs: Programs) -> None:
    to = programs.variables({"dev": urlsplit(sandbox.url("dev")).port or 0}, path=f"{shells()}:{os.environ['PATH']}")
    child = Terminal(registry("fly"), "production", variables={**sandbox.variables, **to})
    try:
        child.expect("production read-only llm_platform_dev>")
        child.sendline("CREATE TABLE x ();")
        child.expect("cannot execute CREATE TABLE in a read-only transaction")
        leave(child)
        assert programs.gone()
    finally:
        child.close(force=True)


@pytest.fixture(scope="module", params=["session", "transaction"])
def pooler(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Pooler]:
    with pgbouncer(sandbox.url("dev"), mode=request.param) as running:
        yield running


def test_through_a_pooler(pooler: Pooler, sandbox: Sandbox, tmp_path: Path) -> None:
    """It never says read-only where it is not, and --write opens."""
    file = tmp_path / "environments.toml"
    file.write_text(f'[environments.production]\nprotected = true\npostgres = "{pooler.url}"\n', encoding="utf-8")
    refused = Terminal(file, "production", "--shell", "psql", variables=sandbox.variables)
    refused.expect_exact("[production] a pooler keeps no shell read-only")
    assert refused.left() == 5
    assert "this shell is" not in refused.shown()
    child = Terminal(file, "production", "--shell", "psql", "--write", variables=sandbox.variables)
    child.expect("Type the environment's name to go on: ")
    child.sendline("production")
    child.expect("this shell is READ-WRITE")
    child.expect_exact("\x1b[1;31mproduction WRITE llm_platform_dev=#\x1b[0m ")
    child.sendline("UPDATE users SET name = name WHERE false;")
    child.expect("UPDATE 0")
    child.sendline("\\q")
    assert child.left() == 0
    assert pooler.left() == []
    pooler.forget("llm_platform_dev")
