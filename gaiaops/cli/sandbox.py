"""`gaiaops sandbox`: up, down, status, reset."""

from __future__ import annotations

from typing import Any

import click

from gaiaops.cli import base
from gaiaops.errors import StatementError

_USERS = click.option("--users", type=click.IntRange(min=1), help="Auth users in all.  [default: 1200, or as before]")
_CURSOR = click.option("--cursor", is_flag=True, help="The auth stand-in offers cursor pagination.")


@click.group("sandbox")
def command() -> None:
    """A whole platform on this machine: PostgreSQL 18, four Redis, a stand-in for Supabase Auth.

    It is seeded with people who look like people and with known drift. It listens on loopback only and
    lives under $XDG_DATA_HOME/gaiaops/sandbox. It never asks: it is a toy.
    """


@command.command()
@_USERS
@_CURSOR
def up(users: int | None, cursor: bool) -> None:
    """Start it; the first time it is made and seeded."""
    from gaiaops.sandbox import lifecycle
    from gaiaops.sandbox.layout import Layout

    layout = Layout.default()
    lifecycle.up(layout, users, base.notice, cursor_mode=cursor)
    base.notice('try: gaiaops --sandbox view, or gaiaops --sandbox query dev "SELECT * FROM users LIMIT 5"')


@command.command()
@click.option("--delete", is_flag=True, help="Delete the data too.")
def down(delete: bool) -> None:
    """Stop it; no process is left."""
    from gaiaops.sandbox import lifecycle
    from gaiaops.sandbox.layout import Layout

    stopped = lifecycle.down(Layout.default(), delete=delete)
    base.notice(f"sandbox: down ({stopped} processes stopped)" if stopped else "sandbox: was not running")


@command.command()
@_USERS
@_CURSOR
def reset(users: int | None, cursor: bool) -> None:
    """Throw its data away and start anew."""
    from gaiaops.sandbox import lifecycle
    from gaiaops.sandbox.layout import Layout

    lifecycle.reset(Layout.default(), users, base.notice, cursor_mode=cursor)


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Every address, secrets included, for other tools.")
def status(as_json: bool) -> None:
    """What runs, and where. Exit code 1 where it is down."""
    from gaiaops.output import report
    from gaiaops.sandbox import lifecycle
    from gaiaops.sandbox.layout import Layout

    layout = Layout.default()
    state, processes = lifecycle.status(layout)
    running = lifecycle.running(state)
    if as_json:
        click.echo(report.document(_document(layout, state, processes, running)))
    elif state is not None:
        rows = [(name, "running" if alive else "dead", _port(state, name)) for name, alive in processes.items()]
        click.echo(report.table(["server", "state", "address"], rows))
        base.notice(f"{state.users} auth users; registry: {layout.registry}; logs: {layout.logs}, {layout.servers}")
    if not running:
        raise StatementError("the sandbox is down", hint="gaiaops sandbox up")


def _port(state: Any, name: str) -> str:
    ports = {"postgres": state.postgres_port, "auth": state.auth_port}
    return f"127.0.0.1:{ports.get(name) or state.redis_ports.get(name.removeprefix('redis-'), '')}"


def _document(layout: Any, state: Any, processes: dict[str, bool], running: bool) -> dict[str, Any]:
    """The stable field names of `sandbox status --json`."""
    from gaiaops.sandbox.layout import AUTH_DATABASE, ENVIRONMENTS, database_name

    if state is None or not running:
        return {"running": False, "environments": {}, "supabase": None, "registry": None}
    return {
        "running": True,
        "users": state.users,
        "environments": {
            name: {"postgres": state.postgres_url(database_name(name)), "redis": state.redis_url(name)}
            for name in ENVIRONMENTS
        },
        "supabase": {
            "url": state.supabase_url,
            "service_key": state.service_key,
            "jwt_secret": state.jwt_secret,
            "database": state.postgres_url(AUTH_DATABASE),
        },
        "registry": str(layout.registry),
        "redis": state.redis_kind,
        "processes": {name: state.processes[name].pid for name in processes},
    }
