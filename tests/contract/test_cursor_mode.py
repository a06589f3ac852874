"""GET /admin/users by cursor, where the server has it switched on; and how a client finds out."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from .rows import Rows

# A cursor the server would never make: its time is the zero of Go's clock.
YEAR_ONE = base64.urlsafe_b64encode(
    b'{"created_at":"0001-01-01T00:00:00Z","id":"11111111-1111-1111-1111-111111111111"}'
).decode()


def has_cursors(api: httpx.Client) -> bool:
    """The detection a client uses: `limit` alone, and a look for the key `pagination`."""
    response = api.get("/admin/users", params={"limit": 1})
    assert response.status_code == 200
    return "pagination" in response.json()


@pytest.fixture
def cursors(api: httpx.Client, rows: Rows) -> bool:
    rows.insert_many(60, "'2190-01-01'::timestamptz + i * interval '1 s'")
    return has_cursors(api)


def test_both_modes_are_tested(api: httpx.Client, request: pytest.FixtureRequest, cursors: bool) -> None:
    kind = request.node.callspec.params["server"]
    assert kind == "real" or cursors == (kind == "standin-cursor")


def test_limit_alone_tells_the_modes_apart(api: httpx.Client, cursors: bool) -> None:
    response = api.get("/admin/users", params={"limit": 1})
    body = response.json()
    if cursors:
        assert len(body["users"]) == 1
        assert body["pagination"]["has_more"] is True
        assert "X-Total-Count" not in response.headers
    else:
        assert len(body["users"]) == 50, "limit was ignored"
        assert "X-Total-Count" in response.headers


def test_no_parameters_at_all_give_fifty_users(api: httpx.Client, cursors: bool) -> None:
    body = api.get("/admin/users").json()
    assert len(body["users"]) == 50
    assert ("pagination" in body) is cursors


@pytest.mark.parametrize("parameters", [{"page": "1"}, {"per_page": "50"}, {"page": "1", "limit": "2"}])
def test_a_page_or_its_size_means_pages(api: httpx.Client, cursors: bool, parameters: dict[str, str]) -> None:
    response = api.get("/admin/users", params=parameters)
    assert "pagination" not in response.json()
    assert len(response.json()["users"]) == 50
    assert "X-Total-Count" in response.headers


def walk(api: httpx.Client, **parameters: str | int) -> list[dict[str, Any]]:
    users: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        response = api.get("/admin/users", params={**parameters, **cursor})
        body = response.json()
        users += body["users"]
        if not body["pagination"]["has_more"]:
            assert "next_cursor" not in body["pagination"]
            assert "Link" not in response.headers
            return users
        cursor = {"cursor": body["pagination"]["next_cursor"]}
        assert f"cursor={cursor['cursor']}" in response.headers["Link"]
        assert response.headers["Link"].startswith("</admin/users?")
        assert response.headers["Link"].endswith('>; rel="next"')


@pytest.mark.parametrize("sort", ["created_at desc", "created_at asc"])
def test_a_walk_meets_tied_users_once_each(api: httpx.Client, rows: Rows, cursors: bool, sort: str) -> None:
    rows.insert_many(200, "'2190-02-01'::timestamptz")
    if not cursors:
        assert "pagination" not in api.get("/admin/users", params={"limit": 7, "sort": sort}).json()
        return
    users = walk(api, limit=37, filter=rows.domain, sort=sort)
    places = [(user["created_at"], user["id"]) for user in users]
    assert len(users) == 260
    assert len({user["id"] for user in users}) == 260
    assert places == sorted(places, reverse=sort.endswith("desc"))


def test_a_limit_is_cut_to_a_thousand(api: httpx.Client, rows: Rows, cursors: bool) -> None:
    rows.insert_many(1000, "'2190-02-01'::timestamptz")
    users = api.get("/admin/users", params={"limit": 5000}).json()["users"]
    assert len(users) == (1000 if cursors else 50)


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": "0"},
        {"limit": "many"},
        {"cursor": "not a cursor"},
        {"cursor": "e30"},  # {}
        {"cursor": YEAR_ONE},
    ],
    ids=["limit-zero", "limit-word", "cursor-garbage", "cursor-empty", "cursor-year-one"],
)  # fmt: skip
def test_nonsense_is_refused_where_it_is_read(api: httpx.Client, cursors: bool, parameters: dict[str, str]) -> None:
    response = api.get("/admin/users", params=parameters)
    if cursors:
        assert (response.status_code, response.json()["error_code"]) == (400, "validation_failed")
    else:
        assert response.status_code == 200
