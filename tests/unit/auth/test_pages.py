"""Records from the API's JSON: each state has its letter, and odd answers are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from gaiaops.auth.interface import Cutoffs
from gaiaops.auth.pages import Reader

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ID = "0b7ed0b4-8a5c-4e54-9a3f-111111111111"
HOUR, DAY = 3_600_000, 86_400_000


def at(**ago: float) -> str:
    return (NOW - timedelta(**ago)).isoformat().replace("+00:00", "Z")


def response(users: Any, total: str = "1", aud: str = "authenticated") -> httpx.Response:
    body = msgspec.json.encode({"users": users, "aud": aud})
    return httpx.Response(200, headers={"x-total-count": total}, content=body)


def flags(**fields: Any) -> str:
    user = {"id": ID, "email": "jo@x.io", "created_at": at(days=400), "email_confirmed_at": at(days=399), **fields}
    kept = {name: value for name, value in user.items() if value is not None}
    (record,) = Reader(Cutoffs(grace=HOUR, unconfirmed=30 * DAY), NOW).page(response([kept])).records
    return record.flags


@pytest.mark.parametrize(
    ("fields", "letters"),
    [
        ({}, ""),
        ({"banned_until": at(hours=-1)}, "b"),
        ({"banned_until": at(hours=1)}, ""),
        ({"banned_until": "0001-01-01T00:00:00Z"}, ""),
        ({"banned_until": "2318-05-01T12:00:00.123456Z"}, "b"),
        ({"deleted_at": at(days=1)}, "d"),
        ({"is_anonymous": True, "email": ""}, "a"),
        ({"is_anonymous": False}, ""),
        ({"app_metadata": {"provider": "sso:6f6b"}}, "s"),
        ({"app_metadata": {"provider": "email", "providers": ["sso"]}}, ""),
        ({"app_metadata": {"provider": ["sso"]}}, ""),
        ({"app_metadata": {}}, ""),
        ({"email_confirmed_at": None}, "u"),
        ({"email_confirmed_at": None, "created_at": at(days=29)}, ""),
        ({"email_confirmed_at": None, "email": None}, ""),
        ({"created_at": at(minutes=59)}, "y"),
        ({"created_at": at(minutes=61)}, ""),
        ({"created_at": None}, ""),
        ({"aud": "authenticated"}, ""),
        ({"aud": "elsewhere"}, "v"),
        (
            {
                "banned_until": at(hours=-1),
                "deleted_at": at(days=1),
                "is_anonymous": True,
                "app_metadata": {"provider": "sso:1"},
                "email_confirmed_at": None,
                "aud": "other",
            },
            "bdasuv",
        ),
    ],
)
def test_flags(fields: dict[str, Any], letters: str) -> None:
    assert flags(**fields) == letters


def test_an_address_that_is_missing_is_empty() -> None:
    reader = Reader(Cutoffs(0, 0), NOW)
    users = [{"id": ID, "email": email} for email in (None, "", "Jo@X.io")]
    assert [record.address for record in reader.page(response([*users, {"id": ID}])).records] == ["", "", "Jo@X.io", ""]


@pytest.mark.parametrize(
    "users",
    [
        None,
        {},
        "many",
        [5],
        [{}],
        [{"id": None}],
        [{"id": "short"}],
        [{"id": ID, "email": 5}],
        [{"id": ID, "created_at": "yesterday"}],
        [{"id": ID, "created_at": "2026-05-01T12:00:00"}],
        [{"id": ID, "banned_until": "infinity"}],
        [{"id": ID, "app_metadata": []}],
    ],
)
def test_what_is_no_list_of_users_is_refused(users: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        Reader(Cutoffs(0, 0), NOW).page(response(users))


@pytest.mark.parametrize(("total", "read"), [("12", 12), ("0", 0), ("", -1), ("-3", -1), ("many", -1), ("9" * 30, -1)])
def test_totals(total: str, read: int) -> None:
    assert Reader(Cutoffs(0, 0), NOW).page(response([], total)).total == read


def test_a_page_knows_where_it_begins_and_ends() -> None:
    def page(*times: str) -> tuple[datetime | None, datetime | None, int]:
        read = Reader(Cutoffs(0, 0), NOW).page(response([{"id": ID, "created_at": time} for time in times]))
        return read.began, read.ended, read.tied

    early, late = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert page("2020-01-01T00:00:00Z", "2020-01-01T00:00:00.5Z", "2020-01-01T00:00:00.5Z") == (early, late, 2)
    assert page("2020-01-01T00:00:00.5Z", "2020-01-01T00:00:00Z") == (None, None, 0), "the server ignored the order"
    assert page() == (None, None, 0)
