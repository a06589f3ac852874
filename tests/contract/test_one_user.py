"""One user: GET, POST, PUT and DELETE."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb

from .rows import Rows
from .servers import Server


def created(api: httpx.Client, rows: Rows, **attributes: Any) -> dict[str, Any]:
    response = api.post("/admin/users", json=attributes)
    assert response.status_code == 200, response.text
    user: dict[str, Any] = response.json()
    rows.forget(user["id"])
    return user


def test_an_unknown_id_is_user_not_found(api: httpx.Client) -> None:
    for method in ("GET", "PUT", "DELETE"):
        response = api.request(method, f"/admin/users/{uuid.uuid4()}", json={})
        assert (response.status_code, response.json()["error_code"]) == (404, "user_not_found")


def test_no_uuid_is_a_404_that_proves_nothing(api: httpx.Client) -> None:
    for method in ("GET", "PUT", "DELETE"):
        response = api.request(method, "/admin/users/jason@example.com", json={})
        assert (response.status_code, response.json()["error_code"]) == (404, "validation_failed")


def test_an_empty_id_is_the_list(api: httpx.Client, rows: Rows) -> None:
    rows.insert()
    response = api.get("/admin/users/", params={"page": 1, "per_page": 1})
    assert response.status_code == 200
    assert len(response.json()["users"]) == 1


def test_another_audience_can_be_read_alone(api: httpx.Client, rows: Rows) -> None:
    assert api.get(f"/admin/users/{rows.insert(aud='other')}").status_code == 200
    assert api.get(f"/admin/users/{rows.insert(instance_id=None)}").status_code == 404


def test_created_is_200_with_the_user(api: httpx.Client, rows: Rows) -> None:
    address = rows.email("New.Person+Dev")
    user = created(
        api, rows, email=address, email_confirm=True, phone="+49 151 00000000",
        user_metadata={"name": "New"}, app_metadata={"plan": "free", "provider": None},
    )  # fmt: skip
    assert user["email"] == address.lower(), "the server writes lower case"
    assert user["phone"] == "4915100000000"
    assert (user["aud"], user["role"], user["is_anonymous"]) == ("authenticated", "authenticated", False)
    assert user["email_confirmed_at"] == user["confirmed_at"]
    assert user["user_metadata"] == {"name": "New", "email_verified": True}
    assert user["app_metadata"] == {"plan": "free", "providers": ["email", "phone"]}
    assert {(identity["provider"], identity["id"]) for identity in user["identities"]} == {
        ("email", user["id"]),
        ("phone", user["id"]),
    }
    assert api.get(f"/admin/users/{user['id']}").json()["email"] == address.lower()


def test_a_row_made_by_the_api_has_no_null_the_server_could_not_read(rows: Rows, user: dict[str, Any]) -> None:
    row = rows.fetch(user["id"])
    assert row["instance_id"] == uuid.UUID(int=0)
    tokens = ("confirmation_token", "recovery_token", "email_change", "email_change_token_new")
    assert {row[column] for column in tokens} == {""}


def test_an_id_of_ones_own(api: httpx.Client, rows: Rows) -> None:
    wanted = str(uuid.uuid4())
    assert created(api, rows, id=wanted, email=rows.email("own"))["id"] == wanted
    taken = api.post("/admin/users", json={"id": wanted, "email": rows.email("another")})
    assert taken.status_code == 500
    nil = api.post("/admin/users", json={"id": str(uuid.UUID(int=0)), "email": rows.email("nil")})
    assert nil.status_code == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "validation_failed"),
        ({"email": "no-at-sign"}, "validation_failed"),
        ({"phone": "call me"}, "validation_failed"),
        ({"email": "ok@example.com", "ban_duration": "tomorrow"}, "validation_failed"),
        ({"email": 5}, "bad_json"),
    ],
)
def test_what_cannot_be_created(api: httpx.Client, body: dict[str, Any], code: str) -> None:
    response = api.post("/admin/users", json=body)
    assert (response.status_code, response.json()["error_code"]) == (400, code)


def test_a_body_that_is_no_json(api: httpx.Client) -> None:
    response = api.post("/admin/users", content=b"{")
    assert (response.status_code, response.json()["error_code"]) == (400, "bad_json")


def test_a_duplicate_address_is_422_on_post(api: httpx.Client, rows: Rows, user: dict[str, Any]) -> None:
    response = api.post("/admin/users", json={"email": user["email"].upper()})
    assert (response.status_code, response.json()["error_code"]) == (422, "email_exists")
    by_sql = rows.email("MixedCase")
    rows.insert(email=by_sql)
    assert api.post("/admin/users", json={"email": by_sql.lower()}).status_code == 422


def test_a_duplicate_number_is_422_on_post(api: httpx.Client, rows: Rows) -> None:
    rows.insert(email=None, phone="4915100000001")
    response = api.post("/admin/users", json={"phone": "4915100000001"})
    assert (response.status_code, response.json()["error_code"]) == (422, "phone_exists")


def test_a_duplicate_address_is_500_on_put(server: Server, api: httpx.Client, rows: Rows, user: dict[str, Any]) -> None:
    taken = rows.email("taken")
    rows.insert(email=taken)
    response = api.put(f"/admin/users/{user['id']}", json={"email": taken, "user_metadata": {"x": 1}})
    assert response.status_code == 500
    assert response.headers["x-sb-error-code"] == "unexpected_failure"
    assert response.json()["code"] == "23505", "the first error shape shows PostgreSQL's own error"
    with server.client(**{"X-Supabase-Api-Version": "2024-01-01"}) as newer:
        body = newer.put(f"/admin/users/{user['id']}", json={"email": taken}).json()
    assert body == {"code": "unexpected_failure", "message": "Error updating user"}
    assert rows.fetch(user["id"])["raw_user_meta_data"] == {}, "nothing of the change was kept"


def test_metadata_merges_shallowly_and_null_removes(api: httpx.Client, rows: Rows) -> None:
    user = created(
        api, rows, email=rows.email("meta"),
        user_metadata={"keep": 1, "drop": 2, "nested": {"a": 1, "b": 2}}, app_metadata={"keep": 1, "drop": 2},
    )  # fmt: skip
    changes = {"drop": None, "new": [3], "nested": {"c": None}}
    response = api.put(f"/admin/users/{user['id']}", json={"user_metadata": changes, "app_metadata": {"drop": None}})
    body = response.json()
    assert body["user_metadata"] == {"keep": 1, "new": [3], "nested": {"c": None}}, "the inner null stays"
    assert body["app_metadata"] == {"keep": 1, "provider": "email", "providers": ["email"]}
    assert rows.fetch(user["id"])["raw_user_meta_data"] == body["user_metadata"]


def test_metadata_that_was_null_takes_keys_too(api: httpx.Client, rows: Rows) -> None:
    user_id = rows.insert(raw_app_meta_data=None, raw_user_meta_data=Jsonb(None))
    body = api.put(f"/admin/users/{user_id}", json={"user_metadata": {"a": 1}, "app_metadata": {"b": 2}}).json()
    assert (body["user_metadata"], body["app_metadata"]) == ({"a": 1}, {"b": 2})


@pytest.mark.parametrize(
    ("duration", "length"),
    [("24h", timedelta(hours=24)), ("1h30m", timedelta(minutes=90)), ("1.5h", timedelta(minutes=90))],
)
def test_a_ban_lasts_a_go_duration(api: httpx.Client, user: dict[str, Any], duration: str, length: timedelta) -> None:
    start = datetime.now(UTC)
    body = api.put(f"/admin/users/{user['id']}", json={"ban_duration": duration}).json()
    until = datetime.fromisoformat(body["banned_until"])
    assert abs(until - start - length) < timedelta(minutes=1)
    lifted = api.put(f"/admin/users/{user['id']}", json={"ban_duration": "none"}).json()
    assert "banned_until" not in lifted


@pytest.mark.parametrize("duration", ["24", "1d", "forever", "h", "1h 30m"])
def test_what_is_no_go_duration_is_refused(api: httpx.Client, user: dict[str, Any], duration: str) -> None:
    response = api.put(f"/admin/users/{user['id']}", json={"ban_duration": duration})
    assert (response.status_code, response.json()["error_code"]) == (400, "validation_failed")


def test_a_change_of_address(api: httpx.Client, rows: Rows, user: dict[str, Any]) -> None:
    address = rows.email("Moved")
    body = api.put(f"/admin/users/{user['id']}", json={"email": address, "email_confirm": True}).json()
    assert body["email"] == address.lower()
    assert body["email_confirmed_at"]
    assert [identity["email"] for identity in body["identities"]] == [address.lower()]
    assert body["identities"][0]["identity_data"]["email_verified"] is True


def test_an_empty_change_changes_nothing(api: httpx.Client, user: dict[str, Any]) -> None:
    assert api.put(f"/admin/users/{user['id']}", json={}).json() == user


def test_a_password_must_be_strong_enough(api: httpx.Client, user: dict[str, Any]) -> None:
    response = api.put(f"/admin/users/{user['id']}", json={"password": "12345"})
    assert (response.status_code, response.json()["error_code"]) == (422, "weak_password")
    assert api.put(f"/admin/users/{user['id']}", json={"password": "correct horse"}).status_code == 200


def session_of(connection: psycopg.Connection[Any], user_id: str) -> str:
    session_id = str(uuid.uuid4())
    connection.execute(
        "INSERT INTO auth.sessions (id, user_id, created_at, updated_at) VALUES (%s, %s, now(), now())",
        (session_id, user_id),
    )
    connection.execute(
        "INSERT INTO auth.refresh_tokens"
        " (instance_id, token, user_id, revoked, session_id, created_at, updated_at) VALUES"
        " ('00000000-0000-0000-0000-000000000000', %s, %s, false, %s, now(), now())",
        (uuid.uuid4().hex, user_id, session_id),
    )
    return session_id


def left(connection: psycopg.Connection[Any], user_id: str) -> dict[str, int]:
    tables = ("users", "identities", "sessions", "refresh_tokens")
    counts = {}
    for table in tables:
        column = "id" if table == "users" else "user_id"
        row = connection.execute(f"SELECT count(*) FROM auth.{table} WHERE {column}::text = %s", (user_id,)).fetchone()
        counts[table] = row[0] if row else 0
    return counts


@pytest.mark.parametrize("body", [None, {"should_soft_delete": False}, {}])
def test_delete_is_for_good_unless_asked_otherwise(
    api: httpx.Client, rows: Rows, user: dict[str, Any], body: dict[str, bool] | None
) -> None:
    session_of(rows.connection, user["id"])
    response = api.request("DELETE", f"/admin/users/{user['id']}", json=body)
    assert (response.status_code, response.json()) == (200, {})
    assert set(left(rows.connection, user["id"]).values()) == {0}
    assert api.get(f"/admin/users/{user['id']}").json()["error_code"] == "user_not_found"


def test_a_soft_delete_leaves_a_row_that_says_nothing_about_whom(api: httpx.Client, rows: Rows) -> None:
    user = created(api, rows, email=rows.email("gone"), user_metadata={"a": 1}, app_metadata={"b": 1})
    session_of(rows.connection, user["id"])
    response = api.request("DELETE", f"/admin/users/{user['id']}", json={"should_soft_delete": True})
    assert (response.status_code, response.json()) == (200, {})
    body = api.get(f"/admin/users/{user['id']}").json()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", body["email"])
    assert (body["app_metadata"], body["user_metadata"]) == ({}, {})
    assert datetime.fromisoformat(body["deleted_at"]) > datetime.now(UTC) - timedelta(minutes=5)
    assert left(rows.connection, user["id"]) == {
        "users": 1,
        "identities": 1,
        "sessions": 0,
        "refresh_tokens": 0,
    }
    assert "identity_data" not in body["identities"][0]
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", body["identities"][0]["id"])
    everybody = api.get("/admin/users", params={"page": 1, "filter": body["email"]}).json()["users"]
    assert [listed["id"] for listed in everybody] == [user["id"]], "still listed"


def test_a_second_soft_delete_changes_nothing(api: httpx.Client, user: dict[str, Any]) -> None:
    for _ in range(2):
        response = api.request("DELETE", f"/admin/users/{user['id']}", json={"should_soft_delete": True})
        assert response.status_code == 200
        body = api.get(f"/admin/users/{user['id']}").json()
        user.setdefault("first", body)
    assert body == user["first"]


def test_a_soft_deleted_address_is_free_again(api: httpx.Client, rows: Rows, user: dict[str, Any]) -> None:
    api.request("DELETE", f"/admin/users/{user['id']}", json={"should_soft_delete": True})
    assert created(api, rows, email=user["email"])["id"] != user["id"]


def test_an_unreadable_delete_body_deletes_nobody(api: httpx.Client, user: dict[str, Any]) -> None:
    response = api.request("DELETE", f"/admin/users/{user['id']}", content=b"soft please")
    assert (response.status_code, response.json()["error_code"]) == (400, "bad_json")
    assert api.get(f"/admin/users/{user['id']}").status_code == 200
