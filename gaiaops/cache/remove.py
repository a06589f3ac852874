"""Removes exact keys: idempotent, so that it can be repeated."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis import Redis

_STEP = 1000


def remove(client: Redis, keys: Iterable[bytes]) -> int:
    """Unlinks keys (freed in the background: UNLINK, Redis 4); gives how many there were."""
    found, waiting = 0, iter(keys)
    while step := list(islice(waiting, _STEP)):
        found += client.unlink(*step)
    return found
