"""Opens an environment's Redis for a look: bounded by what somebody on call waits for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from gaiaops.cache.connect import connect
from gaiaops.cache.lane import Lane
from gaiaops.errors import located
from gaiaops.registry.model import Environment, Timeouts


def bounds(env: Environment, timeout_ms: int | None) -> Timeouts:
    """No answer of a cache takes longer than a connection may: `--timeout`, or the environment's connect timeout."""
    bound = timeout_ms or env.timeouts.connect
    return msgspec.structs.replace(env.timeouts, connect=bound, statement=bound)


@contextmanager
def opened(env: Environment, timeout_ms: int | None) -> Iterator[Lane]:
    """A connection to the environment's Redis, closed at the end. Raises the error tree's errors, with its name."""
    with located(env.name), connect(env.needed_redis_url(), bounds(env, timeout_ms)) as client:
        yield Lane(client)


def needs(lane: Lane, names: dict[str, str]) -> list[str]:
    """What could not be asked, for people: `names` is command → what is not known without it."""
    return [f"{what}: not known, {lane.missing[name]}" for name, what in names.items() if name in lane.missing]
