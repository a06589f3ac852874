"""Tunnels by ssh: a real sshd on loopback, straight and over a jump host, with the client's own configuration."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from tests.conftest import GAIAOPS, Command, Run, Sandbox
from tests.integration.sshd_kit import Sshd, sshd_process
from tests.waiting import soon


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd_process(tmp_path_factory.mktemp("sshd")) as server:
        yield server


class World:
    """A registry whose only environment is behind ssh."""

    def __init__(self, sandbox: Sandbox, folder: Path, gaiaops: Command, sshd: Sshd) -> None:
        self.sshd = sshd
        self.url = sandbox.url("dev")
        self.redis = sandbox.state.redis_url("dev")
        self.file = folder / "environments.toml"
        self._gaiaops = gaiaops

    def registry(self, keys: str, *, url: str = "") -> None:
        self.file.write_text(
            f'[environments.dev]\npostgres = "{url or self.url}"\ntunnel = {{ {keys} }}\n'
            f'redis = "{self.redis}"\nredis_tunnel = {{ {keys} }}\n',
            encoding="utf-8",
        )

    def config(self, **how: str) -> str:
        return f'options = ["-F", "{self.sshd.configure(**how)}"]'

    def __call__(self, *arguments: str) -> Run:
        done = self._gaiaops(*arguments, registry=self.file)
        assert not self.clients(), "an ssh outlived its command"
        return done

    def clients(self) -> list[psutil.Process]:
        """Every ssh that was started with the client's configuration, a jump host's too."""
        mine = str(self.sshd.client)
        return [p for p in psutil.process_iter(["cmdline"]) if mine in " ".join(p.info["cmdline"] or [])]


@pytest.fixture
def world(sandbox: Sandbox, tmp_path: Path, gaiaops: Command, sshd: Sshd) -> World:
    return World(sandbox, tmp_path, gaiaops, sshd)


@pytest.mark.parametrize(("jump", "logins"), [("", 1), ('jump = "jump", ', 2)])
def test_a_query_through_ssh(jump: str, logins: int, world: World) -> None:
    before = world.sshd.accepted()
    world.registry(f'ssh = "target", {jump}{world.config()}')
    run = world("-v", "query", "dev", "SELECT current_database() AS d", "--csv")
    assert (run.code, run.out) == (0, "d\nllm_platform_dev\n"), run.err
    server = urlsplit(world.url)
    assert re.search(rf"open after [\d.]+s: ssh -N -L \d+:127.0.0.1:{server.port} ", run.err)
    assert world.sshd.accepted() - before == logins


def test_the_registrys_own_port_identity_and_user(world: World) -> None:
    host = f'ssh = "target", port = {world.sshd.port}, identity = "{world.sshd.folder / "user_key"}"'
    world.registry(f"{host}, {world.config(key='other_key')}")
    run = world("query", "dev", "SELECT 1", "--csv")
    assert run.code == 0, run.err


def test_postgresql_and_redis_through_ssh(world: World) -> None:
    world.registry(f'ssh = "target", {world.config()}')
    run = world("envs", "dev", "--check")
    assert run.code == 0, run.err
    assert [line.split()[1:3] for line in sorted(run.out.splitlines())] == [["postgres", "ok"], ["redis", "ok"]]


def test_sigkill_leaves_no_ssh(world: World) -> None:
    world.registry(f'ssh = "target", jump = "jump", {world.config()}')
    mark = uuid.uuid4().hex
    command = [*GAIAOPS, "--registry", str(world.file), "query", "dev", f"SELECT pg_sleep(60) /* {mark} */"]
    with (
        psycopg.connect(world.url, autocommit=True) as watch,
        subprocess.Popen(command, stdin=subprocess.DEVNULL) as it,
    ):
        found = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active' AND query LIKE %s"
        assert soon(lambda: bool(watch.execute(f"SELECT pid {found}", [f"%{mark}%"]).fetchall()))
        assert len(world.clients()) >= 2, "one to the target, one to the jump host"
        it.kill()
        it.wait()
        assert soon(lambda: not world.clients(), 5)
        watch.execute(f"SELECT pg_terminate_backend(pid) {found}", [f"%{mark}%"])


@pytest.mark.parametrize(
    ("how", "said", "hint"),
    [
        ({"key": "other_key"}, r"\S+: Permission denied \(publickey\)\.", "ssh-add -l shows your keys"),
        ({"hosts": "host_key.pub"}, "Host key verification failed.", "check the host key once by hand: ssh target"),
    ],
)
def test_ssh_says_why(how: dict[str, str], said: str, hint: str, world: World) -> None:
    world.registry(f'ssh = "target", {world.config(**how)}')
    run = world("query", "dev", "SELECT 1")
    assert (run.code, run.out) == (3, "")
    address = f"127.0.0.1:{urlsplit(world.url).port}"
    assert re.match(
        rf"gaiaops: error: \[dev\] tunnel failed: ssh: {said} \({address} through ssh target\)\n", run.err
    ), run.err
    assert f"hint: {hint}" in run.err


def test_a_server_that_refuses_behind_ssh_is_not_waited_for(world: World) -> None:
    world.registry(f'ssh = "target", ready = "10min", {world.config()}', url="postgresql://u:p@127.0.0.1:1/d")
    run = world("query", "dev", "SELECT 1")
    assert (run.code, run.out) == (3, "")
    refused = r"tunnel failed: ssh: channel \d: open failed: connect failed: Connection refused \(127.0.0.1:1 through"
    assert re.search(refused, run.err)
    assert "hint: the server must be reachable from target as 127.0.0.1:1" in run.err
