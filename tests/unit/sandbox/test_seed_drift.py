"""The declared drift is well formed: every kind, unique findings, honest addresses, exact shares."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest

from gaiaops.sandbox import drift
from gaiaops.sandbox.seed_cache import CacheEntry, CacheRows, cache_entries

RESERVED = ("example.com", "example.org", "example.net")


@pytest.mark.parametrize("kind", get_args(drift.Kind))
def test_every_kind_is_planted_several_times(kind: drift.Kind) -> None:
    assert kind in drift.MEANINGS
    assert sum(finding.kind == kind for finding in drift.DRIFT) >= 3


def test_findings_are_unique_and_name_an_environment() -> None:
    findings = [(f.kind, f.environment, f.subject) for f in drift.known_drift(3000)]
    assert len(findings) == len(set(findings))
    assert {environment for _, environment, _ in findings} == {*drift.ENVIRONMENTS, ""}
    assert all(subject for _, _, subject in findings)


def test_slugs_and_ids_are_unique() -> None:
    assert not [slug for slug, n in Counter(case.slug for case in drift.CASES).items() if n > 1]
    assert len({a.id for a in drift.ACCOUNTS}) == len(drift.ACCOUNTS)
    assert len({(p.environment, p.id) for p in drift.PROFILES}) == len(drift.PROFILES)


def test_addresses_are_reserved_ones_and_fit_the_column() -> None:
    addresses = [a.email for a in drift.ACCOUNTS if a.email] + [p.email for p in drift.PROFILES]
    for address in addresses:
        assert len(address) <= 255
        host = address.rpartition("@")[2].strip().casefold()
        hashed = "@" not in address and len(address) == 43
        assert hashed or host.endswith(RESERVED)
    assert max(map(len, addresses)) == 255


@pytest.mark.parametrize(
    "fragment",
    ["+alice@", "+developer@", "+dev2@", "dev+x@", "john_doe@", "johnxdoe@", "o'brien@", '"john+dev@home"@'],
)
def test_traps_hold_the_addresses_that_tempt(fragment: str) -> None:
    assert any(fragment in (trap.address or "") for trap in drift.TRAPS)


def test_homes_follow_the_shares_in_every_hundred() -> None:
    expected = {"production": 55, "dev": 25, "staging": 12, "local": 5, "": 3}
    for start in (0, 100, 1900, 500_000):
        assert Counter(drift.home_of(row) for row in range(start, start + 100)) == expected


def test_users_count_the_planted_accounts() -> None:
    assert drift.ordinary_people(0) == 0
    assert drift.ordinary_people(1200) == 1200 - len(drift.ACCOUNTS)
    assert {*drift.known_drift(0)} == {*drift.DRIFT}


def test_cache_of_an_empty_environment_is_what_needs_no_rows() -> None:
    entries = [*cache_entries("dev", CacheRows([], [], [], []))]
    assert len({entry.key for entry in entries}) == len(entries)
    assert {entry.key for entry in entries} >= {s.key for s in drift.STALE if s.environment == "dev"}


def test_cache_entries_know_their_redis_type() -> None:
    values = ("text", ("a", "b"), frozenset({"a"}), {"field": "value"})
    kinds = [CacheEntry("k", value, None).kind for value in values]
    assert kinds == ["string", "list", "set", "hash"]
