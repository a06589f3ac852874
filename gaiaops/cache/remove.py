"""Removes exact keys: idempotent, so that it can be repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING

from gaiaops.cache.lane import Lane
from gaiaops.errors import DeadlineError, LostServerError

if TYPE_CHECKING:
    from redis import Redis

_STEP = 1000


def remove(client: Redis, keys: Iterable[bytes]) -> int:
    """Unlinks keys (freed in the background: UNLINK, Redis 4); gives how many there were."""
    found, waiting = 0, iter(keys)
    while step := list(islice(waiting, _STEP)):
        found += client.unlink(*step)
    return found


def remove_counted(lane: Lane, keys: Iterable[bytes], hear: Callable[[int, int], bool]) -> None:
    """Unlinks keys, and after each batch tells how many were asked to go and how many were there, until it hears True.

    A batch is sent once. Raises LostServerError or DeadlineError where its answer is lost: whether its keys went is
    not known then; and redis's errors where the server refuses, so that none of the batch went.
    """
    import redis

    asked = found = 0
    waiting = iter(keys)
    while step := list(islice(waiting, _STEP)):
        try:
            found += lane.must(b"UNLINK", *step)
        except redis.TimeoutError:
            raise DeadlineError(
                "Redis did not answer while keys were removed: the last batch may be gone or not", hint=_AGAIN
            ) from None
        except redis.ConnectionError:
            raise LostServerError(
                "the connection to Redis broke while keys were removed: the last batch may be gone or not", hint=_AGAIN
            ) from None
        asked += len(step)
        if hear(asked, found):
            return


_AGAIN = "run the same command again: what is gone is gone, the rest is found"
