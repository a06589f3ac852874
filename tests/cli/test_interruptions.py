"""What ends a query early: signals, a closed pipe, a full disk, a server that dies, a time that is up.

Each has its exit code, leaves nothing half-written under the file's name, and no statement on the server.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.conftest import GAIAOPS, Command, Sandbox, registry_for
from tests.integration.fault_kit import Cut, Proxy, Stall, network
from tests.waiting import until

ENDLESS = "SELECT i, repeat('x', 1000) AS x FROM generate_series(1, 10000) AS i, generate_series(1, 10000)"
# Rows come at once and then one every few milliseconds, so that "in mid-stream" lasts.
TRICKLE = "SELECT i, repeat('x', 9000) AS x, pg_sleep(0.005)::text AS s FROM generate_series(1, 100000) AS i"
FORMATS = ("table", "csv", "json")

# Each costs a process and a server's time: the suite takes the first cases of each test, `make stress` all.
pytestmark = pytest.mark.first(3)


class Watch:
    """What the server is doing for one command, told by a mark in its statement."""

    def __init__(self, url: str) -> None:
        self.mark = uuid.uuid4().hex
        self._connection = psycopg.connect(url, autocommit=True)

    def sql(self, statement: str) -> str:
        return f"{statement} /* {self.mark} */"

    def pids(self) -> list[int]:
        found = self._connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active' AND query LIKE %s",
            [f"%{self.mark}%"],
        )
        return [pid for (pid,) in found]

    def running(self) -> bool:
        return bool(self.pids())

    def gone(self) -> bool:
        return until(lambda: not self.pids(), 10)

    def kill(self) -> None:
        for pid in self.pids():
            self._connection.execute("SELECT pg_terminate_backend(%s)", [pid])

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def watch(sandbox: Sandbox) -> Iterator[Watch]:
    watching = Watch(sandbox.url("dev"))
    yield watching
    watching.kill()
    watching.close()


@contextmanager
def started(
    sandbox: Sandbox, *arguments: str, registry: Path | None = None, out: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(
        [*GAIAOPS, "--registry", str(registry or sandbox.layout.registry), "query", "dev", *arguments],
        stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, env=dict(sandbox.variables),
    )  # fmt: skip
    with child:
        try:
            yield child
        finally:
            child.kill()


def error_of(child: subprocess.Popen[bytes]) -> str:
    assert child.stderr is not None
    return child.stderr.read().decode()


def nothing_left(folder: Path) -> bool:
    """Neither the file nor a part of it."""
    return not any(folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for what is written."""
    made = tmp_path / "out"
    made.mkdir()
    return made


# -- signals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("sql", "options"),
    [
        ("SELECT pg_sleep(100)", ()),
        ("SELECT pg_sleep(100), :x::text", ("-p", "x=1")),
        ("EXPLAIN ANALYZE SELECT pg_sleep(100)", ()),
        (
            "UPDATE users SET name = pg_sleep(100)::text WHERE id = (SELECT min(id::text)::uuid FROM users)",
            ("--write",),
        ),
    ],
    ids=["copy", "parameter", "explain", "write"],
)
def test_a_signal_while_the_server_works(
    sql: str, options: tuple[str, ...], number: int, watch: Watch, sandbox: Sandbox, folder: Path
) -> None:
    target = folder / "rows.csv"
    with started(sandbox, watch.sql(sql), *options, "--csv", "-o", str(target)) as child:
        assert until(watch.running)
        child.send_signal(number)
        assert child.wait(15) == 130
        assert watch.gone()
        assert error_of(child).lstrip() == "gaiaops: error: interrupted; what ran on a server was cancelled\n"
    assert nothing_left(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("fmt", FORMATS)
def test_a_signal_in_mid_stream(fmt: str, number: int, watch: Watch, sandbox: Sandbox, folder: Path) -> None:
    target = folder / "rows"
    target.write_text("before")
    with started(sandbox, watch.sql(TRICKLE), "--format", fmt, "-o", str(target)) as child:
        # A table goes to a spool first; for the others the part beside the target is seen to grow.
        assert until(watch.running)
        assert fmt == "table" or until(lambda: len(list(folder.iterdir())) == 2)
        child.send_signal(number)
        assert child.wait(15) == 130
    assert watch.gone()
    assert [name.name for name in folder.iterdir()] == ["rows"]
    assert target.read_text() == "before"


def test_a_signal_in_mid_stream_on_standard_output(watch: Watch, sandbox: Sandbox) -> None:
    with started(sandbox, watch.sql(ENDLESS), "--json") as child:
        assert child.stdout is not None
        seen = child.stdout.read(100_000)
        child.send_signal(signal.SIGINT)
        rest = b""
        while piece := child.stdout.read(1 << 20):
            rest += piece
        assert child.wait(15) == 130
    assert seen.startswith(b"[\n{")
    assert not (seen + rest).rstrip().endswith(b"]"), "it does not look whole"
    assert watch.gone()


# -- the reader goes away -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--json",), ("--csv", "-p", "x=1")])
def test_a_closed_pipe_is_no_error(options: tuple[str, ...], watch: Watch, sandbox: Sandbox) -> None:
    sql = f"{ENDLESS} WHERE :x = '1'" if "-p" in options else ENDLESS
    with started(sandbox, watch.sql(sql), *options) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        child.stdout.close()
        assert child.wait(15) == 0
        assert watch.gone()
        assert error_of(child) == ""


def test_head_in_a_shell(dev: Command, sandbox: Sandbox, watch: Watch) -> None:
    command = f'{sys.executable} -m gaiaops --registry "$1" query dev "$2" --csv | head -1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", command, "sh", str(sandbox.layout.registry), watch.sql(ENDLESS)],
        check=False, capture_output=True, timeout=60, env=dict(sandbox.variables),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"i,x\n", b"")
    assert watch.gone()


def test_a_closed_pipe_stops_the_server(watch: Watch, sandbox: Sandbox) -> None:
    with started(sandbox, watch.sql(ENDLESS), "--csv") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"i,x\n"
        assert until(watch.running)
        child.stdout.close()
        assert watch.gone()
        child.wait(15)
        assert error_of(child) == ""


# -- the server goes away -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("existing", [True, False])
def test_the_server_ends_the_connection_in_mid_stream(
    existing: bool, fmt: str, watch: Watch, sandbox: Sandbox, folder: Path
) -> None:
    target = folder / "rows"
    if existing:
        target.write_text("before")
    with started(sandbox, watch.sql(TRICKLE), "--format", fmt, "-o", str(target)) as child:
        assert until(watch.running)
        # Between being described and being run the statement is idle for a moment, and nobody is hit.
        assert until(lambda: (watch.kill(), child.poll())[1] is not None)
        assert child.returncode == 1
        error = error_of(child)
    assert error.startswith("gaiaops: error: [dev] the server ended the connection: ")
    assert "57P01" in error
    assert "hint: the result is incomplete" in error
    assert [name.read_text() for name in folder.iterdir()] == ["before"] * existing


@pytest.mark.parametrize("options", [("--csv",), ("--csv", "-p", "x=1")])
def test_the_server_ends_the_connection_after_rows(options: tuple[str, ...], watch: Watch, sandbox: Sandbox) -> None:
    sql = f"{TRICKLE} WHERE :x = '1'" if "-p" in options else TRICKLE
    with started(sandbox, watch.sql(sql), *options) as child:
        assert child.stdout is not None
        for _ in range(20):
            assert child.stdout.readline()
        watch.kill()
        for line in child.stdout:
            assert line.count(b",") == 2, "what is there is whole lines"
        assert child.wait(30) == 1
        assert "hint: the result is incomplete" in error_of(child)


@pytest.fixture
def way(sandbox: Sandbox) -> Iterator[Proxy]:
    """A way to dev's PostgreSQL that goes wrong as told."""
    server = urlsplit(sandbox.url("dev"))
    with network() as net, net.proxy(server.hostname or "", server.port or 0) as made:
        yield made


def behind(way: Proxy, sandbox: Sandbox) -> str:
    """The URL of dev through it."""
    url = urlsplit(sandbox.url("dev"))
    return url._replace(netloc=f"{url.netloc.rpartition('@')[0]}@127.0.0.1:{way.port}").geturl()


@pytest.mark.parametrize("options", [(), ("-p", "x=1")])
def test_the_network_is_cut_in_mid_stream(
    options: tuple[str, ...], way: Proxy, watch: Watch, sandbox: Sandbox, folder: Path, tmp_path: Path
) -> None:
    sql = f"{TRICKLE} WHERE :x = '1'" if options else TRICKLE
    target = folder / "rows.json"
    registry = registry_for(tmp_path, dev=behind(way, sandbox))
    way.meet(Cut(500_000))
    with started(sandbox, watch.sql(sql), *options, "--json", "-o", str(target), registry=registry) as child:
        assert child.wait(30) == 1
        error = error_of(child)
    assert error.startswith("gaiaops: error: [dev] lost the server in mid-stream: ")
    assert "hint: the result is incomplete" in error
    assert nothing_left(folder)


def test_a_network_that_falls_silent_costs_the_timeout(
    way: Proxy, watch: Watch, sandbox: Sandbox, folder: Path, tmp_path: Path
) -> None:
    """Nothing more comes, not even the server's own timeout: a grace later the client gives up by itself."""
    registry = registry_for(tmp_path, dev=behind(way, sandbox))
    way.meet(Stall(100_000))
    arguments = (watch.sql(TRICKLE), "--csv", "--timeout", "2s", "-o", str(folder / "rows.csv"))
    with started(sandbox, *arguments, registry=registry) as child:
        assert child.wait(40) == 4
        assert "no answer from the server after 2s" in error_of(child)
    assert nothing_left(folder)


# -- time is up ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sql", ["SELECT pg_sleep(60)", TRICKLE, "EXPLAIN ANALYZE SELECT pg_sleep(60)"])
def test_the_statement_timeout(sql: str, dev: Command, folder: Path) -> None:
    run = dev("query", "dev", sql, "--timeout", "700ms", "--csv", "-o", str(folder / "rows.csv"))
    assert (run.code, run.out) == (4, "")
    assert "gaiaops: error: [dev] statement timeout: cancelled after 700ms" in run.err
    assert "hint: give it more with --timeout" in run.err
    assert nothing_left(folder)


def test_the_lock_timeout(fresh_url: str, gaiaops: Command, tmp_path: Path) -> None:
    registry = registry_for(tmp_path, dev=fresh_url)
    text = registry.read_text()
    registry.write_text(f'timeouts = {{ lock = "500ms" }}\n{text}')
    with psycopg.connect(fresh_url) as holder:
        holder.execute("LOCK TABLE users")
        run = gaiaops("query", "dev", "SELECT * FROM users", "--csv", registry=registry)
        holder.rollback()
    assert (run.code, run.out) == (4, "")
    assert "gaiaops: error: [dev] lock timeout: " in run.err


def test_somebody_elses_cancel_is_no_timeout(watch: Watch, sandbox: Sandbox) -> None:
    with started(sandbox, watch.sql("SELECT pg_sleep(100)")) as child:
        assert until(watch.running)
        with psycopg.connect(sandbox.url("dev")) as other:
            other.execute("SELECT pg_cancel_backend(%s)", watch.pids())
        assert child.wait(30) == 1
        assert "[dev] cancelled on the server" in error_of(child)


# -- nowhere to write -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_full_device(fmt: str, watch: Watch, sandbox: Sandbox) -> None:
    with started(sandbox, watch.sql(ENDLESS), "--format", fmt, "--limit", "5000", "-o", "/dev/full") as child:
        assert child.wait(60) == 1
        assert error_of(child).startswith("gaiaops: error: cannot write /dev/full: No space left on device\n")
    assert watch.gone()


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("rows", ["1", "5000"])
def test_standard_output_is_full(fmt: str, rows: str, watch: Watch, sandbox: Sandbox) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with started(sandbox, watch.sql(ENDLESS), "--format", fmt, "--limit", rows, out=full) as child:
            assert child.wait(60) == 1
            assert "gaiaops: error: cannot write to standard output: No space left on device\n" in error_of(child)
    finally:
        os.close(full)
    assert watch.gone()


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Two megabytes of room where the tests may mount; else (False) the file size is what is bounded."""
    mounted = os.geteuid() == 0 and sys.platform == "linux" and (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode
        == 0
    )  # fmt: skip
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _two_megabytes() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("bounded", ["disk", "file size"])
def test_the_disk_is_full_while_the_file_is_written(
    bounded: str, fmt: str, watch: Watch, sandbox: Sandbox, folder: Path
) -> None:
    with small_disk(folder) as mounted:
        target = folder / "rows"
        target.write_text("before")
        sql = watch.sql("SELECT i, repeat('x', 1000) AS x FROM generate_series(1, 20000) AS i")
        limited = None if bounded == "disk" and mounted else _two_megabytes
        command = [*GAIAOPS, "--registry", str(sandbox.layout.registry), "query", "dev", sql]
        child = subprocess.run(
            [*command, "--format", fmt, "-o", str(target)],
            check=False, capture_output=True, timeout=60, env=dict(sandbox.variables),
            preexec_fn=limited,
        )  # fmt: skip
        assert (child.returncode, child.stdout) == (1, b"")
        assert f"gaiaops: error: cannot write {target}: ".encode() in child.stderr
        assert b"Traceback" not in child.stderr
        assert [(name.name, name.read_text()) for name in folder.iterdir()] == [("rows", "before")]
    assert watch.gone()


def test_a_folder_is_no_file(dev: Command, folder: Path) -> None:
    run = dev("query", "dev", "SELECT 1", "-o", str(folder))
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith(f"gaiaops: error: cannot write {folder}: it is a folder\n")
    assert nothing_left(folder)


def test_a_folder_that_is_not_there(dev: Command, folder: Path) -> None:
    run = dev("query", "dev", "SELECT 1", "-o", str(folder / "no" / "rows.csv"))
    assert (run.code, run.out) == (2, "")
    assert "No such file or directory" in run.err
    assert nothing_left(folder)


def test_a_folder_that_may_not_be_written(sandbox: Sandbox, folder: Path) -> None:
    """As root everything may be written but a file system of the kernel's own."""
    if os.geteuid() == 0:
        target = Path("/proc/rows.csv") if sys.platform == "linux" else Path("/dev/fd/rows.csv")
    else:
        folder.chmod(0o555)
        target = folder / "rows.csv"
    done = subprocess.run(
        [*GAIAOPS, "--registry", str(sandbox.layout.registry), "query", "dev", "SELECT 1", "-o", str(target)],
        check=False, capture_output=True, timeout=60, env=dict(sandbox.variables),
    )  # fmt: skip
    folder.chmod(0o755)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(f"gaiaops: error: cannot write {target}: ".encode())
    assert b"hint: name a file in a folder that you can write to" in done.stderr


def test_a_closed_standard_output(sandbox: Sandbox) -> None:
    command = f'{sys.executable} -m gaiaops --registry "$1" query dev "SELECT 1" >&-'
    done = subprocess.run(
        ["bash", "-c", command, "sh", str(sandbox.layout.registry)],
        check=False, capture_output=True, timeout=60, env=dict(sandbox.variables),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(b"gaiaops: error: standard output is closed\n")
    assert b"Traceback" not in done.stderr


# -- an error that comes late ---------------------------------------------------------------------------------------

LATE = "SELECT 1 / (5000 - i) AS x FROM generate_series(1, 6000) AS i"


@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        *((fmt, ()) for fmt in ("table", "vertical", "csv", "json", "html")),
        ("csv", ("-p", "x=1")),
        ("json", ("-p", "x=1")),
    ],
)
def test_an_error_after_rows_leaves_no_file(fmt: str, options: tuple[str, ...], dev: Command, folder: Path) -> None:
    sql = f"{LATE} WHERE :x = '1'" if options else LATE
    run = dev("query", "dev", sql, *options, "--format", fmt, "-o", str(folder / "rows"))
    assert (run.code, run.out) == (1, "")
    assert run.err == "gaiaops: error: [dev] division by zero (22012)\n"
    assert nothing_left(folder)
