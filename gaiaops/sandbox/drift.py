"""The sandbox's known drift and its traps, as data.

The seed writes these people into the databases (`seed.py`) and the tests compare both sides in full: what
is planted is found, and nothing else is. `DRIFT` is always there; `known_drift(users)` adds the findings
that grow with the number of users.
"""

from __future__ import annotations

from collections.abc import Iterator

from gaiaops.sandbox import drift_cases, drift_links, drift_traps
from gaiaops.sandbox.drift_links import DANGLING, MESSAGES, STALE
from gaiaops.sandbox.drift_model import (
    ENVIRONMENTS,
    Account,
    Case,
    Key,
    Kind,
    KnownDrift,
    Message,
    Profile,
    SoftReference,
    StaleEntry,
    Trap,
    seed_uuid,
)

__all__ = [
    "ACCOUNTS",
    "CASES",
    "DANGLING",
    "DRIFT",
    "ENVIRONMENTS",
    "KEYS",
    "MEANINGS",
    "MESSAGES",
    "PROFILES",
    "REFERENCES",
    "STALE",
    "TRAPS",
    "Account",
    "Case",
    "Key",
    "Kind",
    "KnownDrift",
    "Message",
    "Profile",
    "SoftReference",
    "StaleEntry",
    "Trap",
    "home_of",
    "is_guest",
    "known_drift",
    "ordinary_people",
]

# What each kind means here, sharply enough to be counted. A profile belongs to the auth record with its id,
# else to an ordinary one whose address is equal after case folding.
MEANINGS: dict[Kind, str] = {
    "revoked-access": "a working key of a profile whose auth record is banned now, soft-deleted or absent",
    "orphan-profile": "a profile that belongs to no auth record",
    "email-drift": "same id, another address by more than case; not for deleted or phone-only records",
    "duplicate-profile": "profiles of one environment equal after case folding, reported once",
    "stale-cache": "a cached key that is inactive, expired or gone; a session of a user who is gone",
    "foreign-profile": "the address is tagged for another environment",
    "missing-profile": "a record that is in some environment, but not in its address's own",
    "id-mismatch": "belongs by address only, and is not the second of a duplicate",
    "unprovisioned": "a record with an address, in no environment; not deleted, anonymous or single sign-on",
    "untagged-profile": "an address without an environment tag, outside production",
    "case-drift": "same id, addresses that differ by case only",
    "unconfirmed-profile": "a profile whose record has an address that was never confirmed in over 7 days",
    "ambiguous-address": "two environment tags; such an address names no environment",
    "dangling-reference": "a soft reference to an id or address that no profile of the environment has",
}

CASES: tuple[Case, ...] = (*drift_cases.CASES, *drift_traps.CASES)
ACCOUNTS: tuple[Account, ...] = tuple(case.account for case in CASES if case.account)
PROFILES: tuple[Profile, ...] = tuple(profile for case in CASES for profile in case.profiles)
KEYS: tuple[Key, ...] = tuple(key for case in CASES for key in case.keys)
REFERENCES: tuple[SoftReference, ...] = (*DANGLING, *drift_links.REFERENCES)
TRAPS: tuple[Trap, ...] = (*drift_traps.TRAPS, *drift_links.TRAPS)

DRIFT: tuple[KnownDrift, ...] = (
    *(finding for case in CASES for finding in case.findings),
    *(KnownDrift("stale-cache", entry.environment, entry.key, entry.note) for entry in STALE),
    *(KnownDrift("dangling-reference", ref.environment, ref.subject, ref.note) for ref in DANGLING),
)

# The shares of a hundred people, in the order seed_people.sql deals them out; the last three have no home.
_SHARES = (("production", 55), ("dev", 80), ("staging", 92), ("local", 97), ("", 100))
_GUEST_ROWS = 2000


def ordinary_people(users: int) -> int:
    """How many of `users` auth records are ordinary: the planted ones count, and are always there."""
    return max(0, users - len(ACCOUNTS))


def home_of(row: int) -> str:
    """The environment the ordinary person of this row belongs to; "" for those who came to none.

    >>> [home_of(row) for row in range(4)]
    ['production', 'production', 'dev', 'production']
    """
    bucket = (row + row // 100) * 37 % 100
    return next(home for home, end in _SHARES if bucket < end)


def is_guest(row: int) -> bool:
    """Whether this ordinary person of another environment has a profile in production too."""
    return row < _GUEST_ROWS and row % 25 == 7 and home_of(row) not in ("", "production")


def known_drift(users: int) -> Iterator[KnownDrift]:
    """Every finding in a sandbox of `users` auth records: the planted ones, guests, and the unprovisioned."""
    yield from DRIFT
    for row in range(ordinary_people(users)):
        if is_guest(row):
            yield KnownDrift("foreign-profile", "production", seed_uuid(f"user:{row}"), "has logged in to production")
        elif not home_of(row):
            yield KnownDrift("unprovisioned", "", seed_uuid(f"user:{row}"), "registered and never came")
