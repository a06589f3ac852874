"""GET /admin/users by page: the parameters, the order, who is in it, and what makes it fail."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import httpx
import pytest
from psycopg.types.json import Jsonb

from .rows import FUTURE, Rows


def listed(api: httpx.Client, **parameters: str | int) -> list[dict[str, Any]]:
    response = api.get("/admin/users", params={"page": 1, **parameters})
    assert response.status_code == 200, response.text
    users: list[dict[str, Any]] = response.json()["users"]
    return users


def total(api: httpx.Client) -> int:
    return int(api.get("/admin/users", params={"page": 1, "per_page": 1}).headers["X-Total-Count"])


def test_a_page_has_fifty_users_unless_asked_otherwise(api: httpx.Client, rows: Rows) -> None:
    rows.insert_many(60, "'2190-01-01'::timestamptz + i * interval '1 s'")
    assert len(listed(api)) == 50
    assert len(listed(api, per_page=7)) == 7
    assert len(listed(api, per_page="")) == 50


def test_the_server_has_no_largest_page(api: httpx.Client, rows: Rows) -> None:
    rows.insert_many(1200, "'2190-01-01'::timestamptz + i * interval '1 s'")
    assert len(listed(api, per_page=1100)) == 1100


def test_page_zero_is_page_one(api: httpx.Client, rows: Rows) -> None:
    for _ in range(3):
        rows.insert()
    assert listed(api, page=0, per_page=2) == listed(api, page=1, per_page=2) != listed(api, page=2, per_page=2)


@pytest.mark.parametrize("name", ["page", "per_page"])
@pytest.mark.parametrize("value", ["one", "1.5", "-1", "+1", " 1", "18446744073709551616"])
def test_a_number_must_be_one(api: httpx.Client, name: str, value: str) -> None:
    response = api.get("/admin/users", params={"page": "1", name: value})
    assert response.status_code == 400
    assert response.json()["error_code"] == "validation_failed"
    assert response.json()["msg"].startswith("Bad Pagination Parameters: ")


def test_a_page_of_no_users_is_refused(api: httpx.Client) -> None:
    assert api.get("/admin/users", params={"per_page": 0}).status_code == 400


def test_newest_first_unless_asked_otherwise(api: httpx.Client, rows: Rows) -> None:
    older, newer = rows.insert(created_at=FUTURE), rows.insert(created_at=FUTURE + timedelta(days=1))
    assert [user["id"] for user in listed(api, per_page=2)] == [newer, older]
    assert [user["id"] for user in listed(api, per_page=2, sort="created_at")] == [newer, older]
    assert [user["id"] for user in listed(api, per_page=2, sort="created_at desc")] == [newer, older]
    size = total(api)
    assert [user["id"] for user in listed(api, per_page=size, sort="created_at asc")][-2:] == [older, newer]


@pytest.mark.parametrize("sort", ["email asc", "created_at sideways", ""])
def test_only_created_at_can_be_sorted_by(api: httpx.Client, sort: str) -> None:
    response = api.get("/admin/users", params={"page": 1, "sort": sort})
    assert (response.status_code, response.json()["error_code"]) == (400, "validation_failed")


def test_the_filter_is_an_unescaped_like(api: httpx.Client, rows: Rows) -> None:
    plain, tagged = rows.insert(email=rows.email("jasonXdev")), rows.insert(email=rows.email("jason_dev"))
    found = listed(api, filter=rows.email("jason_dev"))
    assert {user["id"] for user in found} == {plain, tagged}, "_ is a wildcard, so an exact address finds others"
    assert {user["id"] for user in listed(api, filter=f"jason%{rows.domain}")} == {plain, tagged}


def test_the_filter_knows_upper_from_lower_case_in_addresses(api: httpx.Client, rows: Rows) -> None:
    rows.insert(email=rows.email("Jason"))
    assert listed(api, filter=rows.email("jason")) == []
    assert len(listed(api, filter=rows.email("Jason"))) == 1


def test_the_filter_also_looks_at_the_full_name(api: httpx.Client, rows: Rows) -> None:
    name = f"Name {rows.domain.split('.')[0]}"
    named = rows.insert(raw_user_meta_data=Jsonb({"full_name": name}), email=f"{uuid.uuid4()}@elsewhere.example")
    assert [user["id"] for user in listed(api, filter=name)] == [named]


def test_the_filter_changes_the_total(api: httpx.Client, rows: Rows) -> None:
    rows.insert()
    rows.insert()
    response = api.get("/admin/users", params={"page": 1, "filter": rows.domain})
    assert response.headers["X-Total-Count"] == "2"


def test_only_one_audience_and_one_instance_are_listed(api: httpx.Client, rows: Rows) -> None:
    before = total(api)
    rows.insert(aud="other")
    rows.insert(aud=None)
    rows.insert(instance_id=None)
    rows.insert(instance_id="11111111-1111-1111-1111-111111111111")
    assert total(api) == before
    seen = rows.insert()
    assert total(api) == before + 1
    assert listed(api, per_page=1)[0]["id"] == seen


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        ({"email": None, "phone": "4915100000000"}, {"email": "", "phone": "4915100000000"}),
        ({"email": None, "is_anonymous": True}, {"email": "", "phone": "", "is_anonymous": True}),
        ({"is_sso_user": True}, {"is_anonymous": False}),
        ({"banned_until": FUTURE}, {"banned_until": "2190-01-01T00:00:00Z"}),
        ({"deleted_at": FUTURE}, {"deleted_at": "2190-01-01T00:00:00Z"}),
    ],
    ids=["phone-only", "anonymous", "sso", "banned", "soft-deleted"],
)
def test_every_kind_of_user_is_listed(
    api: httpx.Client, rows: Rows, columns: dict[str, Any], shown: dict[str, Any]
) -> None:
    user_id = rows.insert(**columns)
    user = listed(api, per_page=1)[0]
    assert user["id"] == user_id
    assert shown.items() <= user.items()


def test_the_body_has_users_and_audience_and_no_total(api: httpx.Client, rows: Rows) -> None:
    rows.insert()
    body = api.get("/admin/users", params={"page": 1}).json()
    assert set(body) == {"users", "aud"}
    assert body["aud"] == "authenticated"


def test_identities_are_null_in_a_list(api: httpx.Client, user: dict[str, Any]) -> None:
    found = [entry for entry in listed(api, filter=user["email"]) if entry["id"] == user["id"]]
    assert found[0]["identities"] is None
    assert len(api.get(f"/admin/users/{user['id']}").json()["identities"]) == 1


def test_what_is_not_there_is_left_out(api: httpx.Client, rows: Rows) -> None:
    rows.insert(created_at=FUTURE.replace(microsecond=120000))
    user = listed(api, per_page=1)[0]
    assert set(user) == {
        "id", "aud", "role", "email", "phone", "app_metadata", "user_metadata", "identities",
        "created_at", "updated_at", "is_anonymous",
    }  # fmt: skip
    assert user["created_at"] == "2190-01-01T00:00:00.12Z", "RFC 3339, and no zeros at the end of a fraction"


def test_metadata_is_an_object_also_where_the_database_has_none(api: httpx.Client, rows: Rows) -> None:
    rows.insert(raw_app_meta_data=None, raw_user_meta_data=Jsonb(None))
    user = listed(api, per_page=1)[0]
    assert (user["app_metadata"], user["user_metadata"]) == ({}, {})


def test_past_the_last_page_the_list_is_empty(api: httpx.Client, rows: Rows) -> None:
    rows.insert()
    response = api.get("/admin/users", params={"page": total(api) + 2, "per_page": 1})
    assert response.status_code == 200
    assert response.json()["users"] == []
    assert int(response.headers["X-Total-Count"]) == total(api)


def test_the_total_is_counted_for_each_page(api: httpx.Client, rows: Rows) -> None:
    before = total(api)
    rows.insert_many(3, "'2190-01-01'::timestamptz")
    assert total(api) == before + 3
    rows.clean()
    assert total(api) == before


def test_links_are_relative_to_the_servers_own_root(api: httpx.Client, rows: Rows) -> None:
    rows.insert_many(3, "'2190-01-01'::timestamptz + i * interval '1 s'")
    last = total(api)
    middle = api.get("/admin/users", params={"page": 2, "per_page": 1, "filter": rows.domain}).headers["Link"]
    query = f"filter={rows.domain}&page=3&per_page=1"
    assert middle == f'</admin/users?{query}>; rel="next", </admin/users?{query}>; rel="last"'
    end = api.get("/admin/users", params={"page": last, "per_page": 1}).headers["Link"]
    assert end == f'</admin/users?page={last}&per_page=1>; rel="last"'


def walk(api: httpx.Client, per_page: int) -> tuple[list[str], int]:
    """Every id of every page, in the order they came, and the total."""
    ids: list[str] = []
    page = 1
    while True:
        response = api.get("/admin/users", params={"page": page, "per_page": per_page})
        users = response.json()["users"]
        if not users:
            return ids, int(response.headers["X-Total-Count"])
        ids += [user["id"] for user in users]
        page += 1


def test_users_of_one_created_at_are_repeated_and_lost(api: httpx.Client, rows: Rows) -> None:
    rows.insert_many(1000, "'2190-01-01'::timestamptz + i * interval '1 s'")
    rows.insert_many(1000, "'2190-02-01'::timestamptz")
    rows.insert_many(1000, "'2190-03-01'::timestamptz + i * interval '1 s'")
    ids, counted = walk(api, 50)
    assert len(ids) == counted, "as many rows as the total says, so a count of rows notices nothing"
    assert len(set(ids)) < counted, "yet some users came twice and others never"


def test_users_of_different_created_at_come_once_each(api: httpx.Client, rows: Rows) -> None:
    rows.insert_many(500, "'2190-01-01'::timestamptz + i * interval '1 s'")
    before = total(api) - 500
    ids = [user["id"] for page in range(1, 11) for user in listed(api, page=page, per_page=50)]
    assert len(set(ids)) == 500, before


def test_descending_an_insert_repeats_and_a_delete_skips(api: httpx.Client, rows: Rows) -> None:
    ids = [rows.insert() for _ in range(6)]
    newest_first = ids[::-1]
    first = [user["id"] for user in listed(api, per_page=2)]
    assert first == newest_first[:2]
    added = rows.insert()
    assert [user["id"] for user in listed(api, page=2, per_page=2)] == newest_first[1:3], "one came twice"
    assert api.delete(f"/admin/users/{added}").status_code == 200
    assert api.delete(f"/admin/users/{newest_first[0]}").status_code == 200
    assert [user["id"] for user in listed(api, page=2, per_page=2)] == newest_first[3:5], "one is skipped"


def test_ascending_an_insert_appends_and_a_delete_skips(api: httpx.Client, rows: Rows) -> None:
    ids = [rows.insert() for _ in range(4)]
    everybody = total(api)
    last: dict[str, str | int] = {"page": everybody // 2, "per_page": 2, "sort": "created_at asc"}
    before = [user["id"] for user in listed(api, **last)]
    rows.insert()
    assert [user["id"] for user in listed(api, **last)] == before
    assert api.delete(f"/admin/users/{ids[0]}").status_code == 200
    assert [user["id"] for user in listed(api, **last)] != before


UNREADABLE = [
    "created_at", "updated_at", "role", "confirmation_token", "recovery_token", "email_change",
    "email_change_token_new",
]  # fmt: skip


@pytest.mark.parametrize("column", UNREADABLE)
def test_one_null_fails_the_page_and_no_other(api: httpx.Client, rows: Rows, column: str) -> None:
    # A NULL created_at sorts before every date when descending, so the bad row is first in each case.
    for _ in range(3):
        rows.insert()
    bad = rows.insert(**{column: None})
    page = api.get("/admin/users", params={"page": 1, "per_page": 2})
    assert page.status_code == 500
    assert page.json()["error_code"] == "unexpected_failure"
    assert page.json()["msg"] == "Database error finding users"
    assert "X-Total-Count" not in page.headers
    assert len(listed(api, page=2, per_page=2)) == 2
    # Bisected with pages of one user: exactly the first position fails.
    statuses = [api.get("/admin/users", params={"page": n, "per_page": 1}).status_code for n in range(1, 4)]
    assert statuses == [500, 200, 200]
    assert api.get(f"/admin/users/{bad}").status_code == 500, "nor can it be read alone"


def test_is_super_admin_may_be_null(api: httpx.Client, rows: Rows) -> None:
    user_id = rows.insert(is_super_admin=None)
    assert listed(api, per_page=1)[0]["id"] == user_id
