"""Removes the Redis entries of a repair, once what they stood for is not valid any more."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gaiaops.audit import stale
from gaiaops.audit.repair_plan import Change, Left
from gaiaops.audit.repair_rules import AGAIN
from gaiaops.cache import connect as redis
from gaiaops.cache import remove, scan
from gaiaops.errors import GaiaopsError
from gaiaops.postgres import session as pg
from gaiaops.registry.model import Environment, Registry

_STEP = 1000
COMMAND = "audit"


class Dropped(msgspec.Struct):
    """`removed` entries were there and are not; `settled` keys were asked to go; `done` findings of stale-cache are
    repaired, `left` are not stale any more; `failure` is what Redis said."""

    removed: int = 0
    settled: int = 0
    done: list[str] = []
    left: list[Left] = []
    failure: GaiaopsError | None = None


def drop(registry: Registry, env: Environment, keys: Sequence[str], stale_entries: Sequence[Change]) -> Dropped:
    """Unlinks `keys`, whose API keys were deactivated, and those of the stale entries that are stale still.

    A failure of Redis, or of the question whether an entry is stale, is in the result: what was committed stays so.
    """
    dropped = Dropped()
    owner = caching(registry, env)
    url = owner.redis_url() if keys or stale_entries else None
    if url is None:
        return dropped
    try:
        with redis.connect(url, env.timeouts) as client:
            dropped.removed += remove.remove(client, (key.encode() for key in keys))
            dropped.settled = len(keys)
            for start in range(0, len(stale_entries), _STEP):
                step = stale_entries[start : start + _STEP]
                reasons = _stale(registry, env, [change.subject for change in step])
                going = [change for change in step if change.subject in reasons]
                dropped.removed += remove.remove(client, (scan.key_bytes(change.subject) for change in going))
                dropped.done += [change.finding for change in going]
                dropped.left += [_valid(change) for change in step if change.subject not in reasons]
    except GaiaopsError as error:
        error.environment = owner.name
        dropped.failure = error
    return dropped


def caching(registry: Registry, env: Environment) -> Environment:
    """The environment whose Redis has an environment's entries: a shard's are the whole's."""
    return registry.environment(env.whole) if env.shard else env


def _stale(registry: Registry, env: Environment, keys: Sequence[str]) -> dict[str, str]:
    """Why each of the keys is stale now, in a snapshot of its own; others are not in it."""
    with pg.reading(env.postgres_url(), env.timeouts, COMMAND) as session:
        return stale.why(session, registry, keys)


def _valid(change: Change) -> Left:
    return Left(change.finding, change.kind, change.subject, change.address, f"the entry is valid now; {AGAIN}")
