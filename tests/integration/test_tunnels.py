"""Tunnels by programs that stand for fly, docker and the others: ready late, dying early, in mid-query, never; and
nothing is left of them however a command ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from gaiaops.errors import ConnectError
from gaiaops.registry.tunnels import Fly
from gaiaops.registry.urls import POSTGRES_SCHEMES, Url, parse_url
from gaiaops.sandbox.layout import AUTH_DATABASE
from gaiaops.tunnels.run import Tunnels
from tests.conftest import GAIAOPS, Command, Run, Sandbox
from tests.integration.tunnel_kit import Programs, is_running, tree
from tests.waiting import soon

APP = "gaia-db-dev"
FAR = "gaia-db-dev.internal:5432"  # as the far end knows the server; nothing here resolves it
HELD = "SELECT pg_sleep(60) /* {mark} */"


class World:
    """A registry whose environments can be reached by tunnels only, and the command line on it."""

    def __init__(self, sandbox: Sandbox, folder: Path, gaiaops: Command, programs: Programs) -> None:
        self.sandbox = sandbox
        self.programs = programs
        self.file = folder / "environments.toml"
        self._gaiaops = gaiaops
        place = urlsplit(sandbox.url("dev"))
        self.login, self.port = f"postgres:{place.password}", place.port or 0
        self.registry(dev=f'{{ fly = "{APP}" }}')

    def registry(self, more: str = "", **tunnels: str) -> None:
        """Writes it anew: environment → tunnel."""
        tables = [
            f'[environments.{name}]\npostgres = "postgresql://{self.login}@{FAR}/llm_platform_{name}"\n'
            f"tunnel = {tunnel}\n{more}"
            for name, tunnel in tunnels.items()
        ]
        self.file.write_text("\n".join(tables), encoding="utf-8")

    def variables(self, mode: str = "", **more: str) -> dict[str, str]:
        to = {APP: self.port, "p:r:i": self.port, "db": self.port, "nobody": 1}
        to |= {f"gaia-db-{name}": self.port for name in ("local", "staging", "production")}
        to |= {"gaia-redis-dev": urlsplit(self.sandbox.state.redis_url("dev")).port or 0}
        return {**self.programs.variables(to, mode), **more}

    def __call__(self, *arguments: str, mode: str = "", **more: str) -> Run:
        done = self._gaiaops(*arguments, registry=self.file, **self.variables(mode, **more))
        assert self.programs.gone(), "a tunnel outlived its command"
        return done

    @contextmanager
    def running(self, *arguments: str, mode: str = "") -> Iterator[subprocess.Popen[str]]:
        command = [*GAIAOPS, "--registry", str(self.file), *arguments]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**self.sandbox.variables, **self.variables(mode)},
        ) as child:  # fmt: skip
            try:
                yield child
            finally:
                child.kill()

    def pids(self, mark: str) -> list[int]:
        """The sessions that are at the marked statement."""
        with psycopg.connect(self.sandbox.url("dev")) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active' AND query LIKE %s",
                [f"%{mark}%"],
            )
            return [pid for (pid,) in rows]


@pytest.fixture
def world(sandbox: Sandbox, tmp_path: Path, gaiaops: Command, programs: Programs) -> World:
    return World(sandbox, tmp_path, gaiaops, programs)


def _started(world: World) -> list[str]:
    """The commands, with the local port as N."""
    commands = [" ".join([one["name"], *one["arguments"]]) for one in world.programs.started()]
    return [re.sub(r"\d{5,}", "N", command) for command in commands]


# -- each kind ------------------------------------------------------------------------------------------------------

KINDS = {
    "fly": (f'{{ fly = "{APP}", org = "gaia" }}', f"fly proxy N:5432 -a {APP} -o gaia"),
    "cloud-sql-proxy": (
        '{ cloud-sql-proxy = "p:r:i", options = ["--private-ip"] }',
        "cloud-sql-proxy --address 127.0.0.1 --port N --private-ip p:r:i",
    ),
    "docker": ('{ docker = "db" }', "docker port db 5432"),
    "docker compose": (
        '{ docker = "db", compose = true, project = "gaia", file = "/srv/compose.yml" }',
        "docker compose -p gaia -f /srv/compose.yml port db 5432",
    ),
    "a program": (
        '{ command = ["my-tunnel", "{local_port}", "db", "--to={host}:{port}"] }',
        f"my-tunnel N db --to={FAR}",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_tunnel(kind: str, world: World) -> None:
    tunnel, command = KINDS[kind]
    world.registry(dev=tunnel)
    run = world("query", "dev", "SELECT current_database()", "--csv")
    assert (run.code, run.out) == (0, "current_database\nllm_platform_dev\n"), run.err
    assert _started(world) == [command]
    assert world.login.split(":")[1] not in world.programs.log.read_text()


def test_flyctl_where_there_is_no_fly(world: World) -> None:
    (world.programs.folder / "fly").rename(world.programs.folder / "flyctl")
    run = world("query", "dev", "SELECT 1", "--csv", PATH=f"{world.programs.folder}:/usr/bin:/bin")
    assert run.code == 0, run.err
    assert [one["name"] for one in world.programs.started()] == ["flyctl"]


def test_verbose_says_that_it_was_opened(world: World) -> None:
    run = world("-v", "query", "dev", "SELECT 1", "--csv")
    assert f"tunnel to {FAR} open after " in run.err
    assert f"s: fly proxy {world.programs.started()[0]['arguments'][1]} -a {APP}" in run.err


# -- ready ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["slow", "early", "loud"])
def test_it_waits_for_the_server_itself(mode: str, world: World) -> None:
    """Slow to listen; accepting before the far end is there, which closes and then is silent; a megabyte of words."""
    run = world("query", "dev", "SELECT 1 AS one", "--csv", mode=mode)
    assert (run.code, run.out) == (0, "one\n1\n"), run.err
    assert len(world.programs.started()) == 1


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("dies", "Error: no access token available. Please login with 'flyctl auth login'\\x07"),
        ("asks", "Email: Error: cannot read the answer: EOF"),
    ],
)
def test_a_program_that_dies_at_once(mode: str, said: str, world: World) -> None:
    run = world("query", "dev", "SELECT 1", mode=mode)
    assert (run.code, run.out) == (3, "")
    assert run.err.splitlines()[0] == f"gaiaops: error: [dev] tunnel failed: fly: {said} ({FAR} through fly {APP})"
    hint = run.err.splitlines()[-1]
    assert hint == "hint: fly auth login" if mode == "dies" else hint.startswith("hint: try it by hand: fly proxy ")
    assert "\x1b" not in run.err


@pytest.mark.first(3)
@pytest.mark.parametrize(
    ("mode", "tunnel", "reason"),
    [
        ("mute", f'{{ fly = "{APP}", ready = "700ms" }}', "fly: not ready within 700ms: no answer from the other end"),
        ("", '{ fly = "nobody", ready = "700ms" }', "fly: not ready within 700ms: the other end closed the connection"),
        ("unpublished", '{ docker = "db" }', "docker: the container publishes no port 5432"),
        ("dies", '{ docker = "db" }', "docker: Error response from daemon: No such container: db"),
        ("hangs", '{ docker = "db", ready = "700ms" }', "docker: not ready within 700ms: it did not end"),
    ],
)
def test_a_tunnel_that_does_not_come_up(mode: str, tunnel: str, reason: str, world: World) -> None:
    world.registry(dev=tunnel)
    run = world("query", "dev", "SELECT 1", mode=mode)
    assert (run.code, run.out) == (3, "")
    assert f"gaiaops: error: [dev] tunnel failed: {reason}" in run.err


def test_what_answers_is_another_kind_of_server(world: World) -> None:
    run = world("query", "dev", "SELECT 1", mode="http")
    assert run.code == 3
    assert "tunnel failed: fly: what answers at the other end is no PostgreSQL (" in run.err


@pytest.mark.parametrize(("tunnel", "name"), [(f'{{ fly = "{APP}" }}', "fly"), ('{ docker = "db" }', "docker")])
def test_a_program_that_is_not_there(tunnel: str, name: str, world: World) -> None:
    world.registry(dev=tunnel)
    run = world("query", "dev", "SELECT 1", PATH="/nonexistent")
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith(f"gaiaops: error: [dev] {name} is not on PATH: the tunnel to {FAR} needs it\nhint: inst")


def test_the_server_behind_the_tunnel_is_named_in_its_errors(world: World) -> None:
    world.login = "postgres:wrong"
    world.registry(dev=f'{{ fly = "{APP}" }}')
    run = world("query", "dev", "SELECT 1")
    assert run.code == 3
    assert f'password authentication failed for user "postgres" ({FAR} through fly {APP})' in run.err
    assert "127.0.0.1" not in run.err


# -- the end --------------------------------------------------------------------------------------------------------


def _at_work(world: World, mark: str, child: subprocess.Popen[str]) -> int:
    """Waits until the statement runs on the server; gives the tunnel's process."""
    assert soon(lambda: bool(world.pids(mark)) or child.poll() is not None)
    assert child.poll() is None, child.communicate()[1]
    return int(world.programs.started()[0]["pid"])


def test_a_tunnel_that_dies_in_mid_query(world: World) -> None:
    mark = uuid.uuid4().hex
    with world.running("query", "dev", HELD.format(mark=mark)) as child:
        os.kill(_at_work(world, mark, child), signal.SIGKILL)
        _, error = child.communicate(timeout=30)
        assert child.returncode == 1
    assert error.startswith("gaiaops: error: [dev] lost the server in mid-stream: ")
    assert "; the tunnel died: fly ended by signal 9: listening\nhint: the result is incomplete\n" in error


@pytest.mark.parametrize("mode", ["children", "stubborn"])
def test_sigkill_takes_the_program_and_its_children_along(mode: str, world: World) -> None:
    mark = uuid.uuid4().hex
    with world.running("query", "dev", HELD.format(mark=mark), mode=mode) as child:
        _at_work(world, mark, child)
        everything = tree(child.pid)
        child.kill()
        child.wait()
    assert len(world.programs.started()) == 2
    assert world.programs.gone()
    assert soon(lambda: not any(is_running(one.pid) for one in everything), 5), "not even the guard is left"
    with psycopg.connect(world.sandbox.url("dev"), autocommit=True) as connection:
        for pid in world.pids(mark):  # the server notices a lost client only when it next writes to it
            connection.execute("SELECT pg_terminate_backend(%s)", [pid])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_statement_is_cancelled_through_the_tunnel(number: int, world: World) -> None:
    mark = uuid.uuid4().hex
    with world.running("query", "dev", HELD.format(mark=mark), mode="children") as child:
        _at_work(world, mark, child)
        everything = tree(child.pid)
        child.send_signal(number)
        _, error = child.communicate(timeout=30)
        assert child.returncode == 130
    assert "interrupted; what ran on a server was cancelled" in error
    assert soon(lambda: not world.pids(mark), 5)
    assert not any(is_running(one.pid) for one in everything), "gone with the command, not after it"


def test_interrupted_while_it_opens(world: World) -> None:
    with world.running("query", "dev", "SELECT 1", mode="mute") as child:
        assert soon(lambda: bool(world.programs.started()))
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)
        assert child.returncode == 130
    assert world.programs.gone()


# -- shared ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pool(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], tuple[Tunnels, Url]]]:
    """The tunnels of a run, in this process, and the connection string of dev."""
    made = Tunnels()

    def opened(mode: str) -> tuple[Tunnels, Url]:
        for name, value in world.variables(mode).items():
            monkeypatch.setenv(name, value)
        return made, parse_url(f"postgresql://{world.login}@{FAR}/llm_platform_dev", POSTGRES_SCHEMES)

    yield opened
    made.close()
    assert world.programs.gone()


def _in_threads(number: int, work: Callable[[], Any]) -> list[Any]:
    found: list[Any] = []
    start = threading.Barrier(number)

    def run() -> None:
        start.wait()
        try:
            found.append(work())
        except ConnectError as error:
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_eight_threads_share_one_tunnel(pool: Callable[[str], tuple[Tunnels, Url]], world: World) -> None:
    tunnels, url = pool("early")
    ways = _in_threads(8, lambda: tunnels.way(Fly(APP), url, 5_000))
    assert len({way.address for way in ways}) == 1
    assert len(world.programs.started()) == 1
    # One that has died is opened anew.
    os.kill(world.programs.started()[0]["pid"], signal.SIGKILL)
    assert soon(ways[0].dead)
    assert tunnels.way(Fly(APP), url, 5_000).address != ways[0].address
    assert len(world.programs.running()) == 1


def test_eight_threads_share_one_failure(pool: Callable[[str], tuple[Tunnels, Url]], world: World) -> None:
    tunnels, url = pool("dies")
    errors = _in_threads(8, lambda: tunnels.way(Fly(APP), url, 5_000))
    assert {str(error) for error in errors} == {str(errors[0])}
    assert isinstance(errors[0], ConnectError)
    assert len({id(error) for error in errors}) == 8, "each gets its own environment's name"


@pytest.mark.parametrize(("mode", "starts"), [("taken", 3), ("stolen", 2)])
def test_a_port_that_another_program_took(
    mode: str, starts: int, pool: Callable[[str], tuple[Tunnels, Url]], world: World
) -> None:
    """The program says so and ends; or it waits, and on the port answers what may be another database."""
    tunnels, url = pool(mode)
    try:
        way = tunnels.way(Fly(APP), url, 5_000)
        assert way.child is not None
        assert len(world.programs.started()) == starts
        assert world.programs.started()[-1]["arguments"][1] == f"{way.address[1]}:5432"
    finally:
        _kill_strangers(world)


def _kill_strangers(world: World) -> None:
    """What left its session to play somebody else."""
    program = str(world.programs.folder / "fly")
    for process in psutil.process_iter(["cmdline", "ppid"]):
        if program in (process.info["cmdline"] or []) and process.pid not in world.programs.running():
            process.kill()


def test_all_environments_each_with_a_tunnel_of_its_own(world: World) -> None:
    names = ("local", "dev", "staging", "production")
    world.registry(**{name: f'{{ fly = "gaia-db-{name}" }}' for name in names})
    run = world("query", "all", "SELECT current_database() AS d", "--csv")
    assert run.code == 0, run.err
    assert sorted(run.out.splitlines()[1:]) == sorted(f"{name},llm_platform_{name}" for name in names)
    assert sorted(one["arguments"][-1] for one in world.programs.started()) == sorted(f"gaia-db-{n}" for n in names)


def test_the_auth_project_s_database_through_a_tunnel(world: World) -> None:
    supabase = (
        '[supabase]\nurl = "http://127.0.0.1:1"\nservice_key = "nobody asks"\n'
        f'database = "postgresql://{world.login}@db.supabase.internal:5432/{AUTH_DATABASE}"\n'
        f'tunnel = {{ docker = "db" }}\n'
    )
    world.registry(supabase, dev=f'{{ fly = "{APP}" }}')
    run = world("view", "supabase")
    assert (run.code, "|       1200" in run.out) == (0, True), run
    run = world("audit", "dev", "--source", "sql", "--fail-on", "never")
    assert run.code == 0, run.err
    run = world("envs", "--check")
    assert " supabase     postgres  ok" in run.out, run
    world.file.write_text(
        world.file.read_text().replace('docker = "db"', 'fly = "nobody", ready = "1s"'), encoding="utf-8"
    )
    run = world("view", "supabase")
    assert run.code == 3
    assert "[supabase] tunnel failed" in run.err and "(db.supabase.internal:5432 through fly nobody)" in run.err


def test_redis_through_a_tunnel(world: World) -> None:
    password = urlsplit(world.sandbox.state.redis_url("dev")).password
    more = f'redis = "redis://:{password}@redis.internal:6379/0"\nredis_tunnel = {{ fly = "gaia-redis-dev" }}\n'
    world.registry(more, dev=f'{{ fly = "{APP}" }}')
    run = world("envs", "dev", "--check")
    assert run.code == 0, run.err
    assert [line.split()[1:3] for line in sorted(run.out.splitlines())] == [["postgres", "ok"], ["redis", "ok"]]
    run = world("cache", "dev")
    assert run.code == 0, run.err
    assert run.out.startswith("dev: Redis "), "a real one, which says its version"
    world.file.write_text(world.file.read_text().replace(str(password), "wrong"), encoding="utf-8")
    run = world("view", "dev")
    assert run.code == 3
    assert "(redis.internal:6379 through fly gaia-redis-dev)" in run.err
    assert f"({FAR} through fly {APP})" in run.err
    assert "127.0.0.1" not in run.err


# -- TLS ------------------------------------------------------------------------------------------------------------


class TLS:
    """A TLS server before another one (as stunnel is), with a certificate for redis.internal."""

    def __init__(self, folder: Path, port: int) -> None:
        self.certificate = folder / "redis.internal.pem"
        key = folder / "redis.internal.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=redis.internal", "-addext", "subjectAltName=DNS:redis.internal",
             "-keyout", str(key), "-out", str(self.certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        self._behind = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), self._context.wrap_socket(plain, server_side=True) as near:
            near.settimeout(0.02)
            with socket.create_connection(("127.0.0.1", self._behind)) as there:
                there.settimeout(0.02)
                while True:  # one thread: a TLS connection is not for two
                    for source, sink in ((near, there), (there, near)):
                        with suppress(TimeoutError):
                            if not (data := source.recv(65_536)):
                                return
                            sink.sendall(data)

    def close(self) -> None:
        self._listening.close()


def test_rediss_is_verified_by_the_servers_name(world: World, tmp_path: Path) -> None:
    place = urlsplit(world.sandbox.state.redis_url("dev"))
    tls = TLS(tmp_path, place.port or 0)
    more = (
        f'redis = "rediss://:{place.password}@NAME:6379/0?ssl_ca_certs={tls.certificate}"\n'
        'redis_tunnel = { fly = "gaia-tls" }\n'
    )
    to = {"TUNNEL_TO": json.dumps({"gaia-tls": tls.port})}
    try:
        world.registry(more.replace("NAME", "redis.internal"), dev=f'{{ fly = "{APP}" }}')
        run = world("cache", "dev", **to)
        assert run.code == 0, run.err
        world.registry(more.replace("NAME", "other.internal"), dev=f'{{ fly = "{APP}" }}')
        run = world("cache", "dev", **to)
        assert run.code == 3
        assert "certificate is for another host name (other.internal:6379 through fly gaia-tls)" in run.err
    finally:
        tls.close()


def test_envs_shows_the_way(world: World) -> None:
    run = world("envs")
    assert f"| {FAR} through fly {APP} |" in run.out
    assert "through fly gaia-db-dev" in world("envs", "dev").out
    assert '"host": "gaia-db-dev.internal:5432"' in (document := world("envs", "--json").out)
    assert '"tunnel": "fly gaia-db-dev"' in document
    assert world.programs.started() == [], "the list opens none"
