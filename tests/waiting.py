"""Polling for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float = 30) -> bool:
    """Whether it became true in time."""
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return bool(met)


def soon(condition: Callable[[], object], seconds: float = 20) -> bool:
    """As `until`, with less patience."""
    return until(condition, seconds)
