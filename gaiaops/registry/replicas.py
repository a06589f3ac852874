"""The replicas of an environment: `replicas = ["postgresql://…", { url = "…", tunnel = { … } }]`.

Imported where there are any: most registries have none, and start-up is a feature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaiaops.registry import listed
from gaiaops.registry.model import Replica
from gaiaops.registry.spec import EnvironmentSpec

if TYPE_CHECKING:
    from gaiaops.registry.load import Reader


def read(reader: Reader, spec: EnvironmentSpec, table: str) -> tuple[Replica, ...]:
    """The replicas of the environment at `table`. Raises UsageError with the file's name and the key path."""
    found = []
    for i, value in enumerate(spec.replicas):
        path = f"{table}.replicas[{i}]"
        replica, where = listed.entry(reader, value, path, listed.ReplicaSpec)
        setting = reader.setting(replica.url, where)
        tunnel = listed.way(reader, replica.tunnel, spec.tunnel, path, table)
        found.append(Replica(setting, reader.tunnel(tunnel, f"{path}.tunnel")))
    return tuple(found)
