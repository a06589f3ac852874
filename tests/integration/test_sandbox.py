"""The sandbox's life: a crash, a reboot or two `up` at once leave nothing broken, and `down` leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
import redis

from gaiaops.sandbox import lifecycle, postgres_server, processes
from gaiaops.sandbox.layout import ENVIRONMENTS, Layout, State, database_name, read_state, write_state
from tests.conftest import GAIAOPS, Run, clean_variables, private_folder

USERS = 300


class Box:
    """A sandbox of one test's own, driven by the command line."""

    def __init__(self, folder: Path) -> None:
        self.variables = clean_variables(folder)
        self.layout = Layout.at(folder / "data" / "gaiaops" / "sandbox")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*GAIAOPS, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.variables
        )

    def run(self, *arguments: str) -> Run:
        child = self.start(*arguments)
        out, err = child.communicate(timeout=120)
        return Run(child.returncode, out, err)

    def status(self) -> dict[str, object]:
        document: dict[str, object] = json.loads(self.run("sandbox", "status", "--json").out)
        return document

    def processes(self) -> list[int]:
        return [process.pid for process in processes.strays(self.layout)]

    def works(self) -> None:
        """Every server answers at the address that `status --json` gives."""
        status = self.status()
        assert status["running"]
        environments = status["environments"]
        supabase = status["supabase"]
        assert isinstance(environments, dict) and isinstance(supabase, dict)
        assert list(environments) == list(ENVIRONMENTS)
        for addresses in environments.values():
            with psycopg.connect(addresses["postgres"]) as connection:
                row = connection.execute("SELECT count(*) FROM users").fetchone()
            assert row is not None and row[0] > 0
            with redis.Redis.from_url(addresses["redis"]) as client:
                assert client.dbsize() > 0
        with psycopg.connect(supabase["database"]) as connection:
            assert connection.execute("SELECT count(*) FROM auth.users").fetchone() == (USERS,)
        key = supabase["service_key"]
        headers = {"apikey": key, "Authorization": f"Bearer {key}"}
        answer = httpx.get(f"{supabase['url']}/auth/v1/admin/users", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["x-total-count"] == str(USERS)


@pytest.fixture
def box() -> Iterator[Box]:
    with private_folder() as folder:
        box = Box(folder)
        try:
            yield box
        finally:
            lifecycle.down(box.layout, delete=True)


def test_up_status_down(box: Box) -> None:
    assert box.run("sandbox", "status").code == 1
    assert box.status() == {"running": False, "environments": {}, "supabase": None, "registry": None}
    run = box.run("sandbox", "up", "--users", str(USERS))
    assert run.code == 0, run.err
    assert run.out == ""
    box.works()
    for file in (box.layout.state, box.layout.registry):
        assert file.stat().st_mode & 0o077 == 0
    state = read_state(box.layout)
    assert state is not None
    for pid in box.processes():
        process = psutil.Process(pid)
        assert state.password not in " ".join(process.cmdline())
        listening = [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert {c.laddr.ip for c in listening} <= {"127.0.0.1"}
    assert box.run("sandbox", "up", "--users", "400").code == 2  # it holds another number
    before = box.status()
    down = box.run("sandbox", "down")
    assert down.code == 0
    assert box.processes() == []
    assert box.run("sandbox", "down").code == 0
    assert box.run("sandbox", "up").code == 0
    assert box.status()["environments"] == before["environments"]  # addresses last
    box.works()


@pytest.mark.first(0)
def test_data_lasts_and_reset_throws_it_away(box: Box) -> None:
    box.run("sandbox", "up", "--users", str(USERS))
    insert = "INSERT INTO users (email) VALUES ('kept@example.com')"
    assert box.run("--sandbox", "query", "dev", insert, "--write").code == 0
    kept = ("--sandbox", "query", "dev", "SELECT count(*) FROM users WHERE email = 'kept@example.com'", "--csv")
    box.run("sandbox", "down")
    assert box.run(*kept).out == "count\n1\n"  # and --sandbox started it
    assert box.run("sandbox", "reset").code == 0
    assert box.run(*kept).out == "count\n0\n"
    box.works()


@pytest.mark.first(0)
def test_two_at_once(box: Box) -> None:
    children = [box.start("sandbox", "up", "--users", str(USERS)) for _ in range(3)]
    results = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], results
    assert len([err for _, err in results if "starting and seeding" in err]) == 1
    box.works()
    masters = [p for p in box.processes() if psutil.Process(p).name() == "redis-server"]
    assert len(masters) == 4


def test_everything_killed(box: Box) -> None:
    """As after a power cut: no process had time for anything, and every pid file is stale."""
    box.run("sandbox", "up", "--users", str(USERS))
    for pid in box.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while box.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert box.run("sandbox", "status").code == 1
    run = box.run("sandbox", "up")
    assert run.code == 0, run.err
    box.works()


@pytest.mark.first(0)  # test_everything_killed is the harder case
def test_one_server_gone_is_noticed_and_mended(box: Box) -> None:
    box.run("sandbox", "up", "--users", str(USERS))
    state = read_state(box.layout)
    assert state is not None
    processes.stop([state.processes["redis-dev"]], signal.SIGKILL)
    assert box.run("sandbox", "status").code == 1
    assert box.run("--sandbox", "query", "dev", "SELECT 1", "--csv").out == "?column?\n1\n"
    box.works()


@pytest.mark.first(0)
def test_a_pid_that_belongs_to_somebody_else_is_left_alone(box: Box) -> None:
    """After a reboot the remembered pids may be anybody's: here, this test's own child."""
    box.run("sandbox", "up", "--users", str(USERS))
    box.run("sandbox", "down")
    state = read_state(box.layout)
    assert state is not None
    with subprocess.Popen(["sleep", "300"]) as stranger:
        mark = (processes.mark_of(stranger.pid) or "") + "-before-the-reboot"
        names = ["postgres", "auth", *(f"redis-{env}" for env in ENVIRONMENTS)]
        state.processes = dict.fromkeys(names, processes.Process(stranger.pid, mark))
        write_state(box.layout, state)
        (box.layout.pgdata / "postmaster.pid").write_text(f"{stranger.pid}\n{box.layout.pgdata}\n", encoding="utf-8")
        assert not lifecycle.running(state)
        run = box.run("sandbox", "up")
        assert run.code == 0, run.err
        box.works()
        box.run("sandbox", "down")
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.first(1)
@pytest.mark.parametrize("delay", [0.3, 0.8, 1.5])
def test_up_killed_in_the_middle(box: Box, delay: float) -> None:
    child = box.start("sandbox", "up", "--users", str(USERS))
    time.sleep(delay)
    child.kill()
    child.communicate()
    run = box.run("sandbox", "up", "--users", str(USERS))
    assert run.code == 0, run.err
    box.works()
    box.run("sandbox", "down")
    assert box.processes() == []


@pytest.mark.first(0)
def test_half_a_state_file_is_no_state(box: Box) -> None:
    box.run("sandbox", "up", "--users", str(USERS))
    text = box.layout.state.read_bytes()
    box.layout.state.write_bytes(text[: len(text) // 2])
    run = box.run("sandbox", "up", "--users", str(USERS))
    assert run.code == 0, run.err
    box.works()
    box.run("sandbox", "down")
    assert box.processes() == []


@pytest.mark.first(0)
def test_a_taken_port_is_no_obstacle(box: Box) -> None:
    box.run("sandbox", "up", "--users", str(USERS))
    box.run("sandbox", "down")
    state = read_state(box.layout)
    assert state is not None
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", state.redis_ports["dev"]))
        taken.listen()
        assert box.run("sandbox", "up").code == 0
        box.works()


@pytest.mark.first(0)
@pytest.mark.parametrize("server", ["postgres", "redis", "auth"])
def test_a_port_that_is_taken_after_it_was_chosen(box: Box, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By somebody who answers there: what listens must be ours."""
    made = postgres_server.initialise
    with ExitStack() as stack:

        def thief(layout: Layout, state: State) -> None:
            made(layout, state)
            ports = {"postgres": state.postgres_port, "redis": state.redis_ports["dev"], "auth": state.auth_port}
            if not stolen:
                stolen.append(stack.enter_context(socket.create_server(("127.0.0.1", ports[server]))))

        stolen: list[socket.socket] = []
        monkeypatch.setattr(postgres_server, "initialise", thief)
        lifecycle.up(box.layout, USERS, lambda _: None)
        box.works()


def test_too_few_users(box: Box) -> None:
    run = box.run("sandbox", "up", "--users", "5")
    assert run.code == 2
    assert "the planted drift needs at least 300" in run.err


@pytest.mark.first(0)
def test_cursor_mode_is_a_switch(box: Box) -> None:
    box.run("sandbox", "up", "--users", str(USERS), "--cursor")
    supabase = box.status()["supabase"]
    assert isinstance(supabase, dict)
    headers = {"apikey": supabase["service_key"], "Authorization": f"Bearer {supabase['service_key']}"}
    answer = httpx.get(f"{supabase['url']}/auth/v1/admin/users?limit=10", headers=headers).json()
    assert answer["pagination"]["has_more"] is True
    assert len(answer["users"]) == 10


def test_the_cache_tells_of_the_rows(sandbox: object) -> None:
    state = sandbox.state  # type: ignore[attr-defined]
    for environment in ENVIRONMENTS:
        with (
            redis.Redis.from_url(state.redis_url(environment)) as client,
            psycopg.connect(state.postgres_url(database_name(environment))) as connection,
        ):
            hashes = {row[0][:32] for row in connection.execute("SELECT key_hash FROM api_keys")}
            cached = {key.decode().rpartition(":")[2] for key in client.scan_iter("gaia:auth:apikey:v1:*")}
            assert len(cached & hashes) > 10
            kinds = {client.type(key).decode() for key in client.scan_iter("*", count=1000)}
            assert {"string", "hash", "list", "set"} <= kinds
