"""How an environment's server is reached where there is no way to it from here: the registry's `tunnel` tables.

Each kind is a table of its own, told by the key that gives it its name. Nothing in it is a secret, and `${VAR}` has no
meaning: what is written here becomes arguments of a program, which every user of this machine can read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from gaiaops.registry.durations import parse_duration

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
LOCAL_PORT = "{local_port}"
_READY_MS = 15_000  # a WireGuard peer or a jump host takes its time
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f]")


class InvalidTunnelError(ValueError):
    """What is wrong with a tunnel: the key ("" for the table) and the reason."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


class _Way(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    ready: int | None = None

    def patience(self, connect_ms: int) -> int:
        """How long it may take to come up, in milliseconds."""
        return self.ready or max(connect_ms, _READY_MS)


class Fly(_Way, frozen=True):
    """`fly proxy` to an app; `remote_port` where it is not the connection string's."""

    fly: str
    org: str | None = None
    remote_port: Port | None = None
    options: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"fly {self.fly}"


class Ssh(_Way, frozen=True):
    """`ssh -N -L` to the connection string's host and port, as the machine at the other end sees them."""

    ssh: str
    jump: str | None = None
    port: Port | None = None
    identity: str | None = None
    options: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"ssh {self.ssh}"


class Docker(_Way, frozen=True):
    """The port that a container publishes, or a service of a compose project."""

    docker: str
    compose: bool = False
    project: str | None = None
    file: str | None = None

    @property
    def label(self) -> str:
        return f"docker compose {self.docker}" if self.compose else f"docker {self.docker}"


class CloudSqlProxy(_Way, frozen=True, rename={"instance": "cloud-sql-proxy"}):
    """Google's own proxy to an instance (project:region:instance)."""

    instance: str
    options: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"cloud-sql-proxy {self.instance}"


class Program(_Way, frozen=True):
    """Any program that listens on {local_port} of 127.0.0.1; {host} and {port} are the connection string's."""

    command: tuple[str, ...]

    @property
    def label(self) -> str:
        return self.command[0].rpartition("/")[2]


Tunnel = Fly | Ssh | Docker | CloudSqlProxy | Program
_KINDS: Mapping[str, type[Tunnel]] = {
    "fly": Fly,
    "ssh": Ssh,
    "docker": Docker,
    "cloud-sql-proxy": CloudSqlProxy,
    "command": Program,
}


def leads_anywhere(tunnel: Tunnel) -> bool:
    """Whether a tunnel leads to the host of any connection string, and not to one server of its own."""
    return isinstance(tunnel, Ssh) or (
        isinstance(tunnel, Program) and any("{host}" in argument for argument in tunnel.command)
    )


def kind_of(raw: Mapping[str, Any]) -> type[Tunnel]:
    """Which kind a table is. Raises InvalidTunnelError where it is none, or two."""
    kinds = [key for key in _KINDS if key in raw]
    if len(kinds) != 1:
        every = ", ".join(_KINDS)
        raise InvalidTunnelError(
            "", f"{' and '.join(kinds)}: a tunnel is of one kind" if kinds else f"needs one of {every}"
        )
    return _KINDS[kinds[0]]


def in_milliseconds(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The table with `ready` as a number. Raises InvalidTunnelError."""
    ready = raw.get("ready")
    if ready is None:
        return dict(raw)
    try:
        milliseconds = parse_duration(ready) if isinstance(ready, str) else 0
    except ValueError as error:
        raise InvalidTunnelError("ready", str(error)) from None
    if not milliseconds:
        raise InvalidTunnelError("ready", 'not a duration: write "20s"')
    return {**raw, "ready": milliseconds}


def check(tunnel: Tunnel) -> None:
    """What the types do not say. Raises InvalidTunnelError."""
    if isinstance(tunnel, Program):
        if not any(LOCAL_PORT in argument for argument in tunnel.command):
            raise InvalidTunnelError("command", f"needs {LOCAL_PORT}: the program must listen on the port it is given")
        if not tunnel.command[0] or LOCAL_PORT in tunnel.command[0]:
            raise InvalidTunnelError("command", "must begin with a program")
        return
    if isinstance(tunnel, Docker) and not tunnel.compose and (tunnel.project or tunnel.file):
        raise InvalidTunnelError("project" if tunnel.project else "file", "needs compose = true")
    for key, value in msgspec.to_builtins(tunnel).items():
        named = key in _KINDS or key in ("org", "jump", "project", "identity", "file")
        # What begins with a dash would be an option of the program; a path may hold spaces.
        if named and isinstance(value, str) and (not value or value.startswith("-")):
            raise InvalidTunnelError(key, f"{value!r} is no name" if value else "empty")
        if named and key not in ("identity", "file") and isinstance(value, str) and _UNFIT.search(value):
            raise InvalidTunnelError(key, f"{value!r} holds white space")
