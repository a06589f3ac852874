"""Where connection strings lead: two names of one place share something, two places share nothing."""

from __future__ import annotations

import msgspec
import pytest

from gaiaops.cache.connect import database_of
from gaiaops.cache.server import places
from gaiaops.errors import UsageError
from gaiaops.registry.tunnels import Ssh
from gaiaops.registry.urls import REDIS_SCHEMES, Url, parse_url


def url(text: str) -> Url:
    return parse_url(text, REDIS_SCHEMES)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("redis://localhost/0", "redis://:pw@127.0.0.1:6379", True),
        ("redis://me:pw@LOCALHOST:6379/2", "rediss://localhost:6379/0?db=2", True),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/1", False),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6380/0", False),
        ("redis://no-such-host.invalid/0", "redis://no-such-host.invalid:6379", True),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=0", True),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=1", False),
    ],
)
def test_places(one: str, other: str, same: bool) -> None:
    assert bool(places(url(one)) & places(url(other))) == same


def test_the_same_name_behind_two_tunnels_is_two_places() -> None:
    here = url("redis://localhost:6379/0")
    through = [msgspec.structs.replace(here, tunnel=Ssh(ssh=name)) for name in ("dev", "dev", "production")]
    assert places(through[0]) == places(through[1])
    assert not places(through[0]) & places(through[2]) and not places(through[0]) & places(here)


def test_databases_have_numbers() -> None:
    assert [database_of(url(text)) for text in ("redis://h", "redis://h/3", "redis://h/3?db=4")] == [0, 3, 4]
    for text in ("redis://h/sessions", "redis://h/-1", "redis://h/²"):
        with pytest.raises(UsageError, match="no database of Redis"):
            database_of(url(text))
