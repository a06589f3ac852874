"""What any source of auth users can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class AuthCount:
    """Users of the auth project.

    `complete` is False where the source could not be read whole: then the numbers are lower bounds.
    """

    source: str
    users: int
    by_tag: Mapping[str, int]
    complete: bool
    latency_ms: float
    deleted: int | None = None
    banned: int | None = None
