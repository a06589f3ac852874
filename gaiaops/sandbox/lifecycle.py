"""up, down, reset: one at a time, and whatever a crash left behind is cleared first."""

from __future__ import annotations

import fcntl
import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gaiaops.errors import StatementError, UsageError
from gaiaops.sandbox import processes
from gaiaops.sandbox.layout import (
    AUTH_DATABASE,
    ENVIRONMENTS,
    Layout,
    State,
    database_name,
    read_state,
    write_private,
    write_state,
)

Notice = Callable[[str], None]
DEFAULT_USERS = 1200  # as seed.DEFAULT_USERS, which a look at the sandbox need not import
_MIN_USERS = 300  # the planted drift and traps need room


def ensure_up(notice: Notice) -> Layout:
    """For `--sandbox`: nothing but a look at the processes where it runs, else `up`."""
    layout = Layout.default()
    state = read_state(layout)
    if not running(state):
        users = state.users if state else DEFAULT_USERS
        up(layout, users, notice)
    return layout


def running(state: State | None) -> bool:
    """Whether everything that was started is still there."""
    expected = 2 + len(ENVIRONMENTS)
    if state is None or not state.seeded or len(state.processes) != expected:
        return False
    return all(processes.alive(process) for process in state.processes.values())


def up(layout: Layout, users: int | None, notice: Notice, *, cursor_mode: bool = False) -> State:
    """Brings everything up and seeds it on the first run. Raises UsageError for a number it cannot have."""
    with _locked(layout):
        state = read_state(layout)
        if state is not None and state.seeded and users not in (None, state.users):
            raise UsageError(
                f"the sandbox holds {state.users} users, not {users}", hint=f"gaiaops sandbox reset --users {users}"
            )
        if state is not None and running(state) and state.cursor_mode == cursor_mode:
            return state
        return _up(layout, state, users or DEFAULT_USERS, notice, cursor_mode)


def down(layout: Layout, *, delete: bool = False) -> int:
    """Stops everything, whatever the state says; gives how many processes were stopped."""
    with _locked(layout):
        stopped = _stop(layout, read_state(layout))
        if delete:
            _delete(layout)
        return stopped


def reset(layout: Layout, users: int | None, notice: Notice, *, cursor_mode: bool = False) -> State:
    """Throws the data away and starts anew, with the same number of users unless told otherwise."""
    with _locked(layout):
        state = read_state(layout)
        _stop(layout, state)
        _delete(layout)
        wanted = users or (state.users if state else DEFAULT_USERS)
        return _up(layout, None, wanted, notice, cursor_mode)


@contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    """One `up`, `down` or `reset` at a time; the lock goes with its process, however it ends (flock(2))."""
    layout.home.mkdir(parents=True, exist_ok=True, mode=0o755)
    with layout.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _up(layout: Layout, state: State | None, users: int, notice: Notice, cursor_mode: bool) -> State:
    from gaiaops.sandbox import fill

    if users < _MIN_USERS:
        raise UsageError(f"--users {users} is too few", hint=f"the planted drift needs at least {_MIN_USERS}")
    began = time.monotonic()
    _stop(layout, state)
    if state is None or not state.seeded:
        _delete(layout)  # half-made data is made again
        state = _new_state(users)
    elif state.seed != seed_version():
        notice("sandbox: seeded by another version of gaiaops; `gaiaops sandbox reset` makes it anew")
    notice(f"sandbox: starting{'' if state.seeded else f' and seeding {users} users'} …")
    state.cursor_mode = cursor_mode
    _start(layout, state)
    if not state.seeded:
        fill.databases(state)
    fill.caches(state)
    write_private(layout.registry, registry_text(state).encode())
    state.seeded = True
    write_state(layout, state)
    if state.redis_kind == "fakeredis":
        notice("sandbox: no real Redis for this Python; fakeredis stands in (install redis-server for a real one)")
    notice(f"sandbox: up in {time.monotonic() - began:.1f} s")
    return state


def _start(layout: Layout, state: State) -> None:
    """Starts everything; again, elsewhere, where somebody took a port between its choice and its use."""
    from gaiaops.sandbox import postgres_server

    _choose_ports(state)
    for last in (False, False, True):
        write_state(layout, state)
        postgres_server.initialise(layout, state)
        try:
            state.processes = {"postgres": postgres_server.start(layout, state)}
            write_state(layout, state)
            _start_rest(layout, state)
        except StatementError:
            _stop(layout, state)
            if last or not _choose_ports(state):
                raise
        else:
            return


def _new_state(users: int) -> State:
    import secrets

    import jwt

    secret = secrets.token_hex(32)
    claims = {"role": "service_role", "iss": "gaiaops-sandbox", "iat": 1760000000, "exp": 4102444800}
    return State(
        users=users,
        password=secrets.token_hex(12),
        jwt_secret=secret,
        service_key=jwt.encode(claims, secret, algorithm="HS256"),
        seed=seed_version(),
    )


def seed_version() -> str:
    """A hash of the schema and the seed, so that old data can be told."""
    from importlib.resources import files

    digest = hashlib.sha256()
    folder = files("gaiaops.sandbox")
    for entry in sorted((folder / "sql").iterdir(), key=lambda e: e.name):
        digest.update(entry.read_bytes())
    return digest.hexdigest()[:12]


def _choose_ports(state: State) -> bool:
    """Keeps the ports where they are free, so that addresses last; else takes free ones: whether it took any."""
    import socket

    wanted = [state.postgres_port, state.auth_port, *(state.redis_ports.get(e, 0) for e in ENVIRONMENTS)]
    held, ports = [], []
    for port in wanted:
        listener = socket.socket()
        held.append(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.bind(("127.0.0.1", 0))
        ports.append(listener.getsockname()[1])
    for listener in held:
        listener.close()
    state.postgres_port, state.auth_port = ports[0], ports[1]
    state.redis_ports = dict(zip(ENVIRONMENTS, ports[2:], strict=True))
    return ports != wanted


def _start_rest(layout: Layout, state: State) -> None:
    from gaiaops.sandbox import redis_server

    state.redis_kind = redis_server.find()[0]
    for environment in ENVIRONMENTS:
        state.processes[f"redis-{environment}"] = redis_server.start(layout, state, environment)
    variables = {
        "GAIAOPS_AUTH_DSN": state.postgres_url(AUTH_DATABASE),
        "GAIAOPS_AUTH_JWT_SECRET": state.jwt_secret,
        "GAIAOPS_AUTH_API_KEYS": state.service_key,
        "GAIAOPS_AUTH_CURSOR": "1" if state.cursor_mode else "",
    }
    argv = [sys.executable, "-m", "gaiaops.sandbox.authserver", "--host", "127.0.0.1", "--port"]
    state.processes["auth"] = processes.spawn([*argv, str(state.auth_port)], layout, "auth", variables=variables)
    write_state(layout, state)
    for environment in ENVIRONMENTS:
        name = f"redis-{environment}"
        redis_server.wait(state.redis_ports[environment], state.processes[name], name)
    redis_server.wait(state.auth_port, state.processes["auth"], "the Supabase Auth stand-in")


def _stop(layout: Layout, state: State | None) -> int:
    from gaiaops.sandbox import postgres_server

    left = {process.pid: process for process in processes.strays(layout)}
    known = [process for process in (state.processes if state else {}).values() if processes.alive(process)]
    left |= {process.pid: process for process in known}
    postgres = state.processes.get("postgres") if state else None
    if postgres is not None and processes.alive(postgres):
        # The others end meanwhile; its sessions and workers, which are among what is left, end with it.
        processes.ask([process for process in known if process != postgres])
        postgres_server.stop(postgres)
    processes.stop(list(left.values()))
    if state is not None:
        state.processes = {}
        write_state(layout, state)
    return len(left)


def _delete(layout: Layout) -> None:
    import shutil

    for folder in (layout.pgdata, layout.servers, layout.logs):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (layout.state, layout.registry):
        file.unlink(missing_ok=True)


def registry_text(state: State) -> str:
    """The sandbox's environments.toml."""
    from importlib.resources import files

    lines = ["# Made by `gaiaops sandbox up`; `gaiaops sandbox reset` makes it anew.", ""]
    for environment in ENVIRONMENTS:
        lines += [
            f"[environments.{environment}]",
            f'postgres = "{state.postgres_url(database_name(environment))}"',
            f'redis = "{state.redis_url(environment)}"',
            'aliases = ["prod"]\nprotected = true' if environment == "production" else f'tag = "{environment}"',
            "",
        ]
    lines += [
        "[supabase]",
        f'url = "{state.supabase_url}"',
        f'service_key = "{state.service_key}"',
        f'database = "{state.postgres_url(AUTH_DATABASE)}"',
        "",
    ]
    return "\n".join(lines) + (files("gaiaops.sandbox") / "platform.toml").read_text(encoding="utf-8")


def status(layout: Layout) -> tuple[State | None, dict[str, bool]]:
    """The state and, for each process, whether it runs."""
    state = read_state(layout)
    known = state.processes if state else {}
    return state, {name: processes.alive(process) for name, process in known.items()}
