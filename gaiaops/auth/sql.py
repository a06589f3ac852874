"""Auth users by SQL on auth.users: one snapshot, exact."""

from __future__ import annotations

import time
from collections.abc import Iterable

from gaiaops import emails
from gaiaops.auth.interface import AuthCount
from gaiaops.postgres import queries, session
from gaiaops.registry.model import Timeouts
from gaiaops.registry.urls import Url


def count(url: Url, tags: Iterable[str], timeouts: Timeouts) -> AuthCount:
    """Users in all and per tag. Raises the error tree's errors."""
    names = list(tags)
    with session.reading(url, timeouts, "view") as reading:
        began = time.perf_counter()
        reading.fetch("SELECT 1")
        latency = (time.perf_counter() - began) * 1000
        totals = reading.fetch(queries.load("auth_users"))[0]
        chains = reading.fetch(queries.load("auth_users_by_tag"), {"pattern": emails.prefilter(names)})
    by_tag = emails.count_tags([(str(c), int(n)) for c, n in chains], names)
    return AuthCount("sql", int(totals[0]), by_tag, True, latency, int(totals[1]), int(totals[2]))
