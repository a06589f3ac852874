"""Who a Redis is: its version, role and memory, and whether two addresses lead to the same one."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import msgspec

from gaiaops.cache.connect import database_of
from gaiaops.cache.lane import Lane
from gaiaops.registry.urls import Url


class Server(msgspec.Struct, frozen=True):
    """What INFO and DBSIZE say; None where the user may not ask.

    `run_id` is new with each start of the server (Redis, INFO); `primary` is the address a replica follows.
    """

    version: str | None = None
    role: str | None = None
    run_id: str | None = None
    primary: str | None = None
    cluster: bool = False
    memory: int | None = None
    max_memory: int | None = None
    policy: str | None = None
    keys: int | None = None

    @property
    def replica(self) -> bool:
        return self.role == "slave"


def read(lane: Lane) -> Server:
    """The server behind a connection; what the user may not ask is in the lane's `missing`."""
    text = lane.may("info", b"INFO")
    keys = lane.may("dbsize", b"DBSIZE")
    if text is None:
        return Server(role=_role(lane), keys=keys)
    info = _parsed(text)
    primary = f"{info['master_host']}:{info.get('master_port', '')}" if "master_host" in info else None
    return Server(
        version=info.get("redis_version"),
        role=info.get("role"),
        run_id=info.get("run_id"),
        primary=primary,
        cluster=info.get("cluster_enabled") == "1",
        memory=_number(info, "used_memory"),
        max_memory=_number(info, "maxmemory") or None,
        policy=info.get("maxmemory_policy"),
        keys=keys,
    )


def _role(lane: Lane) -> str | None:
    """By ROLE, which a user without INFO may be allowed."""
    reply = lane.may("role", b"ROLE")
    return reply[0].decode() if reply else None


def _parsed(text: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines() if ":" in line)
    return {name: value for name, _, value in lines}


def _number(info: Mapping[str, str], name: str) -> int | None:
    return int(info[name]) if info.get(name, "").isdigit() else None


def places(url: Url) -> frozenset[tuple[str, str, int]]:
    """Where a connection string leads: (address, port, database) of each address its host has now."""
    database = database_of(url)
    if url.tunnel is not None:  # names are looked up at its other end
        return frozenset({(f"{url.tunnel!r} {url.host}", url.port, database)})
    if url.scheme == "unix":
        return frozenset({("unix", url.path, database)})
    host, port = url.host or "localhost", url.port or "6379"
    try:
        found = {str(answer[4][0]) for answer in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        found = set()
    return frozenset((address, port, database) for address in {host.lower(), *found})
