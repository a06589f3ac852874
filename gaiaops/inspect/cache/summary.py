"""What a cache holds, by key family."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gaiaops.cache import server as servers
from gaiaops.cache import survey as surveys
from gaiaops.inspect.cache.opening import needs, opened
from gaiaops.registry.model import Environment, Registry

_NEEDED = {
    "info": "version, role and memory of the server",
    "dbsize": "the number of keys",
    "pttl": "time to live",
    "memory|usage": "memory of the keys",
    "type": "types of the keys",
}


class Summary(msgspec.Struct, frozen=True):
    """One cache. `notices` say what is not known, and why."""

    environment: str
    address: str
    server: servers.Server
    survey: surveys.Survey
    notices: tuple[str, ...]


class Bounds(msgspec.Struct, frozen=True):
    """For how long to look at keys, how long to wait for an answer (None: the connect timeout), and how many groups of
    unknown keys to tell apart."""

    budget_ms: int = 30_000
    timeout_ms: int | None = None
    groups: int = 20


def summary(
    registry: Registry,
    env: Environment,
    bounds: Bounds,
    hear: Callable[[int, int], None],
) -> Summary:
    """Looks at the keys of an environment's cache. `hear` is told how many keys were seen of how many (0: not known).

    Raises the error tree's errors: where SCAN is not allowed there is nothing to tell.
    """
    with opened(env, bounds.timeout_ms) as lane:
        server = servers.read(lane)
        total = server.keys or 0
        found = surveys.survey(
            lane,
            registry.families,
            bounds.budget_ms / 1000,
            shown=bounds.groups,
            hear=lambda seen: hear(seen, max(seen, total)),
        )
        notices = [*needs(lane, _NEEDED), *_said(server, found)]
        return Summary(env.name, env.needed_redis_url().masked(), server, found, tuple(notices))


def _said(server: servers.Server, found: surveys.Survey) -> list[str]:
    said = []
    if not found.complete:
        share = f" of {server.keys:,} ({found.scanned / server.keys:.0%})" if server.keys else ""
        said.append(
            f"the time was up after {found.scanned:,} keys{share}: keys, memory and times to live are of those;"
            " shares hold for all. --budget gives more time"
        )
    elif server.keys is not None and found.scanned > server.keys * 1.01:
        said.append(
            f"SCAN gave {found.scanned:,} keys, DBSIZE {server.keys:,}: while the server moves its table, or keys come"
            " and go, some are counted twice"
        )
    unknown = sum(group.ttl["unknown"] for group in (*found.families, *found.other))
    if unknown and unknown < found.scanned:
        said.append(f"{unknown:,} keys may not be read by this user: their time to live and memory are not known")
    if server.cluster:
        said.append("the server is a node of a cluster: these are its keys alone")
    return said
