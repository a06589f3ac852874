"""The replicas of an environment: `replicas = ["postgresql://…", { url = "…", tunnel = { … } }]`.

Imported where there are any: most registries have none, and start-up is a feature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gaiaops.registry import tunnels
from gaiaops.registry.model import Replica
from gaiaops.registry.spec import Command, EnvironmentSpec, Text

if TYPE_CHECKING:
    from gaiaops.registry.load import Reader


class _Spec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A replica with a way of its own; `tunnel = false` where it needs none and the environment has one."""

    url: Text
    tunnel: dict[str, Any] | bool | None = None


def read(reader: Reader, spec: EnvironmentSpec, path: str) -> tuple[Replica, ...]:
    """The replicas of the environment at `path`. Raises UsageError with the file's name and the key path."""
    shared = reader.tunnel(spec.tunnel, f"{path}.tunnel")
    return tuple(_replica(reader, value, f"{path}.replicas[{i}]", shared) for i, value in enumerate(spec.replicas))


def _replica(reader: Reader, value: str | dict[str, Any], path: str, shared: tunnels.Tunnel | None) -> Replica:
    """An entry; the environment's own tunnel counts where it leads to any host, and not to the primary only."""
    if isinstance(value, str):
        spec = _Spec(value)
    elif "command" in value:
        spec = _Spec(reader.convert(value, path, Command))
    else:
        spec = reader.convert(value, path, _Spec)
    setting = reader.setting(spec.url, f"{path}.url" if isinstance(value, dict) and "url" in value else path)
    if isinstance(spec.tunnel, dict):
        return Replica(setting, reader.tunnel(spec.tunnel, f"{path}.tunnel"))
    if spec.tunnel is True:
        raise reader.fail(f"{path}.tunnel", "must be a table, or false where it needs none")
    if spec.tunnel is None and shared is not None:
        if not tunnels.leads_anywhere(shared):
            reason = f"the environment's tunnel ({shared.label}) leads to its primary only"
            raise reader.fail(path, reason + ': write { url = "…", tunnel = { … } } or tunnel = false')
        return Replica(setting, shared)
    return Replica(setting)
