"""How a Redis is: PING and INFO."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from redis import Redis


class Vitals(msgspec.Struct, frozen=True):
    """The time of a round trip, and INFO's fields by name; `unseen` says why there are none."""

    latency_ms: float
    info: dict[str, Any]
    unseen: str = ""


def vitals(client: Redis) -> Vitals:
    """One PING to connect, one to measure, one INFO. Raises the driver's errors but that of a role that may not."""
    from redis.exceptions import NoPermissionError, ResponseError

    latency = 0.0
    for _ in range(2):
        began = time.perf_counter()
        with suppress(NoPermissionError):  # it answered
            client.ping()
        latency = (time.perf_counter() - began) * 1000
    try:
        return Vitals(latency, dict(client.info()))
    except NoPermissionError:
        return Vitals(latency, {}, "needs +info")
    except ResponseError as error:
        return Vitals(latency, {}, f"no INFO: {error}")
