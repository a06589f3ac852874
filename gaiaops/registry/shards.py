"""The shards of an environment: `shards = ["postgresql://…", { name = "eu", url = "…", replicas = ["…"] }]`.

Each is an environment of its own within the environment, named ENV/SHARD, with the environment's settings and without
its Redis, which all shards share. Imported where there are any.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from gaiaops.registry import listed
from gaiaops.registry.model import Environment, Timeouts
from gaiaops.registry.spec import EnvironmentSpec, PinSpec

if TYPE_CHECKING:
    from gaiaops.registry.load import Reader

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def read(reader: Reader, name: str, spec: EnvironmentSpec, base: Timeouts) -> tuple[Environment, ...]:
    """The shards of the environment `name`. Raises UsageError with the file's name and the key path."""
    table = f"environments.{name}"
    if spec.postgres is not None:
        raise reader.fail(f"{table}.postgres", "there are shards: list this database among them, or leave it out")
    if spec.replicas:
        raise reader.fail(f"{table}.replicas", 'replicas belong to a shard: { url = "…", replicas = ["…"] }')
    if spec.pin != PinSpec():
        raise reader.fail(f"{table}.pin", 'a pin belongs to a shard: { url = "…", pin = { … } }')
    found: dict[str, Environment] = {}
    for i, value in enumerate(spec.shards):
        path = f"{table}.shards[{i}]"
        given, where = listed.entry(reader, value, path, listed.ShardSpec)
        shard = str(i + 1) if given.name is None else given.name
        if not _NAME.fullmatch(shard):
            raise reader.fail(f"{path}.name", f'"{shard}" cannot be a shard\'s name')
        if shard in found:
            raise reader.fail(f"{path}.name", f'"{shard}" is used twice')
        own = msgspec.structs.replace(
            spec, postgres=given.url, shards=[], redis=None, redis_tunnel=None, aliases=[], pin=given.pin,
            tunnel=listed.way(reader, given.tunnel, spec.tunnel, path, table), replicas=given.replicas,
            read_from=spec.read_from if given.replicas else "primary",
            max_lag=spec.max_lag if given.replicas else None,
        )  # fmt: skip
        found[shard] = reader.of_spec(f"{name}/{shard}", own, base, path, where)
    if not any(shard.replicas for shard in found.values()):
        reader.no_replicas(spec, table)
    return tuple(found.values())
