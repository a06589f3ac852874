"""The Python client reads what the server writes, and raises what gaiaops expects it to raise."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import httpx
import pydantic
import pytest
import supabase
from supabase_auth import SyncGoTrueAdminAPI
from supabase_auth.errors import AuthApiError

from .rows import FUTURE, Rows
from .servers import Server


@pytest.fixture
def admin(server: Server) -> Iterator[SyncGoTrueAdminAPI]:
    headers = {"Authorization": f"Bearer {server.token()}"} | ({"apikey": server.api_key} if server.api_key else {})
    with httpx.Client(trust_env=False) as http_client:
        yield SyncGoTrueAdminAPI(url=server.url, headers=headers, http_client=http_client)


def test_a_users_life(admin: SyncGoTrueAdminAPI, rows: Rows) -> None:
    user = admin.create_user({"email": rows.email("life"), "email_confirm": True, "user_metadata": {"a": 1}}).user
    rows.forget(user.id)
    assert admin.get_user_by_id(user.id).user == user
    changes = {"app_metadata": {"environment": "dev"}, "user_metadata": {"a": None}, "ban_duration": "24h"}
    changed = admin.update_user_by_id(user.id, changes).user  # type: ignore[arg-type]
    assert changed.app_metadata["environment"] == "dev"
    assert "a" not in changed.user_metadata
    assert changed.banned_until is not None
    admin.delete_user(user.id, should_soft_delete=True)
    assert [listed.deleted_at is not None for listed in admin.list_users(1, 1000) if listed.id == user.id] == [True]
    admin.delete_user(user.id)
    with pytest.raises(AuthApiError) as raised:
        admin.get_user_by_id(user.id)
    assert (raised.value.status, raised.value.code) == (404, "user_not_found")


def test_the_list_without_arguments_ends_at_fifty(admin: SyncGoTrueAdminAPI, rows: Rows) -> None:
    rows.insert_many(70, "'2190-01-01'::timestamptz + i * interval '1 s'")
    assert len(admin.list_users()) == 50
    assert len(admin.list_users(page=1, per_page=60)) == 60


def test_the_list_has_every_kind_of_user(admin: SyncGoTrueAdminAPI, rows: Rows) -> None:
    kinds = [
        {"email": None, "phone": "4915100000009"},
        {"email": None, "is_anonymous": True},
        {"is_sso_user": True},
        {"banned_until": FUTURE},
        {"deleted_at": FUTURE},
    ]
    ids = [rows.insert(**columns) for columns in kinds]
    users = admin.list_users(page=1, per_page=len(ids))
    assert [user.id for user in users] == ids[::-1]
    assert all(user.identities is None for user in users)


@pytest.mark.parametrize(("role", "status", "code"), [("anon", 403, "not_admin"), ("", 401, "no_authorization")])
def test_a_refusal_has_status_and_code(server: Server, role: str, status: int, code: str) -> None:
    headers = {"Authorization": f"Bearer {server.token(role)}"} if role else {}
    headers |= {"apikey": server.api_key} if server.api_key else {}
    with httpx.Client(trust_env=False) as http_client:
        admin = SyncGoTrueAdminAPI(url=server.url, headers=headers, http_client=http_client)
        with pytest.raises(AuthApiError) as raised:
            admin.list_users(1, 1)
    assert (raised.value.status, raised.value.code) == (status, code)


def test_a_duplicate_is_422(admin: SyncGoTrueAdminAPI, rows: Rows) -> None:
    rows.insert(email=rows.email("twice"))
    with pytest.raises(AuthApiError) as raised:
        admin.create_user({"email": rows.email("twice")})
    assert (raised.value.status, raised.value.code) == (422, "email_exists")


def test_an_unreadable_row_is_500(admin: SyncGoTrueAdminAPI, rows: Rows) -> None:
    rows.insert(recovery_token=None)
    with pytest.raises(AuthApiError) as raised:
        admin.list_users(1, 1)
    assert (raised.value.status, raised.value.code) == (500, "unexpected_failure")


def test_a_soft_deleted_user_with_an_identity_is_more_than_the_client_can_read(
    admin: SyncGoTrueAdminAPI, rows: Rows
) -> None:
    user = admin.create_user({"email": rows.email("soft")}).user
    rows.forget(user.id)
    admin.delete_user(user.id, should_soft_delete=True)
    with pytest.raises(pydantic.ValidationError, match="identity_data"):
        admin.get_user_by_id(user.id)


def test_the_whole_library_finds_its_way(server: Server, rows: Rows) -> None:
    root = server.url.removesuffix("/auth/v1")
    if root == server.url:  # a bare server: the library adds /auth/v1 to any address by itself
        assert not server.url.endswith("/v1")
        return
    client = supabase.create_client(root, server.api_key or server.token())
    user_id = rows.insert()
    assert client.auth.admin.get_user_by_id(user_id).user.id == user_id
    with pytest.raises(AuthApiError) as raised:
        client.auth.admin.get_user_by_id(str(uuid.uuid4()))
    assert raised.value.code == "user_not_found"
