"""An entry of a list of servers (`replicas`, `shards`): a connection string, a command that prints one, or a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from gaiaops.registry import tunnels
from gaiaops.registry.spec import Command, PinSpec, Text

if TYPE_CHECKING:
    from gaiaops.registry.load import Reader


class ReplicaSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A replica with a way of its own; `tunnel = false` where it needs none and the environment has one."""

    url: Text
    tunnel: dict[str, Any] | bool | None = None


class ShardSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A shard; its name is its number where it has none of its own."""

    url: Text
    name: str | None = None
    tunnel: dict[str, Any] | bool | None = None
    pin: PinSpec = PinSpec()
    replicas: list[str | dict[str, Any]] = []


S = TypeVar("S", ReplicaSpec, ShardSpec)


def entry(reader: Reader, value: str | dict[str, Any], path: str, shape: type[S]) -> tuple[S, str]:
    """An entry as `shape`, and the key path of its connection string. Raises UsageError with the key path."""
    if isinstance(value, str):
        return shape(url=value), path
    if "command" in value:
        return shape(url=reader.convert(value, path, Command)), path
    return reader.convert(value, path, shape), f"{path}.url" if "url" in value else path


def way(
    reader: Reader, given: dict[str, Any] | bool | None, shared: dict[str, Any] | None, path: str, table: str
) -> dict[str, Any] | None:
    """The tunnel of the entry at `path`: its own, or the environment's where that leads to any host.

    `table` is the environment's path. Raises UsageError where the environment's tunnel leads to one server only.
    """
    if isinstance(given, dict):
        return given
    if given is True:
        raise reader.fail(f"{path}.tunnel", "must be a table, or false where it needs none")
    if given is False or shared is None:
        return None
    tunnel = reader.tunnel(shared, f"{table}.tunnel")
    if tunnel is not None and not tunnels.leads_anywhere(tunnel):
        reason = f"the environment's tunnel ({tunnel.label}) leads to its primary only"
        raise reader.fail(path, reason + ': write { url = "…", tunnel = { … } } or tunnel = false')
    return shared
