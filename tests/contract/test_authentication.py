"""Who may ask, and what everybody else is told, in both shapes of an error."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import httpx
import jwt
import pytest

from .servers import Server, auth_database, standin

VERSION = {"X-Supabase-Api-Version": "2024-01-01"}


def refused(server: Server, authorization: str) -> tuple[int, str]:
    """The status and the error code, after a look at everything an error has in common with the others."""
    with server.client(authorization) as client:
        first = client.get("/admin/users", params={"page": 1})
        newer = client.get("/admin/users", params={"page": 1}, headers=VERSION)
    body = first.json()
    assert set(body) == {"code", "error_code", "msg"}
    assert body["code"] == first.status_code == newer.status_code
    assert newer.json() == {"code": body["error_code"], "message": body["msg"]}
    assert newer.headers["X-Supabase-Api-Version"] == "2024-01-01"
    assert "X-Supabase-Api-Version" not in first.headers
    assert first.headers["x-sb-error-code"] == newer.headers["x-sb-error-code"] == body["error_code"]
    assert "Retry-After" not in first.headers
    return first.status_code, body["error_code"]


@pytest.mark.parametrize("role", ["service_role", "supabase_admin"])
def test_two_roles_may(server: Server, role: str) -> None:
    with server.client(f"Bearer {server.token(role)}") as client:
        assert client.get("/admin/users", params={"page": 1}).status_code == 200
    with server.client(f"bearer {server.token(role)}") as client:
        assert client.get("/admin/users", params={"page": 1}).status_code == 200


@pytest.mark.parametrize("authorization", ["", "Basic YTpi", "Bearer", "Bearer a b"])
def test_no_bearer_is_401(server: Server, authorization: str) -> None:
    assert refused(server, authorization) == (401, "no_authorization")


def test_a_bad_token_is_403(server: Server) -> None:
    other = jwt.encode({"role": "service_role"}, "another secret, also 32 characters long", algorithm="HS256")
    unsigned = jwt.encode({"role": "service_role"}, None, algorithm="none")
    for token in ("nonsense", other, unsigned, server.token() + "x"):
        assert refused(server, f"Bearer {token}") == (403, "bad_jwt")


def test_an_expired_token_is_403(server: Server) -> None:
    assert refused(server, f"Bearer {server.token(exp=int(time.time()) - 10)}") == (403, "bad_jwt")
    assert refused(server, f"Bearer {server.token(nbf=int(time.time()) + 600)}") == (403, "bad_jwt")


@pytest.mark.parametrize("role", ["authenticated", "anon", "postgres", None])
def test_another_role_is_403(server: Server, role: str | None) -> None:
    assert refused(server, f"Bearer {server.token(role)}") == (403, "not_admin")


def test_the_audience_of_the_token_does_not_matter(server: Server) -> None:
    with server.client(f"Bearer {server.token(aud='somebody')}") as client:
        assert client.get("/admin/users", params={"page": 1}).json()["aud"] == "authenticated"


def test_only_an_administrator_learns_whether_a_user_exists(server: Server) -> None:
    with server.client("") as client:
        for method in ("GET", "PUT", "DELETE"):
            assert client.request(method, f"/admin/users/{uuid.uuid4()}").status_code == 401
        assert client.post("/admin/users", json={}).status_code == 401


@pytest.mark.parametrize(
    ("version", "code"),
    [
        ("2024-01-01", "validation_failed"),
        ("2030-12-31", "validation_failed"),
        ("2023-12-31", 404),
        ("new", 404),
    ],
)
def test_the_version_decides_the_shape(api: httpx.Client, version: str, code: str | int) -> None:
    response = api.get("/admin/users/x", headers={"X-Supabase-Api-Version": version})
    assert response.json()["code"] == code


def test_a_server_error_has_an_id(api: httpx.Client) -> None:
    # An OFFSET beyond what PostgreSQL can count is an error nobody checks for.
    huge = {"page": 2**62, "per_page": 2**62}
    body = api.get("/admin/users", params=huge).json()
    assert (body["code"], body["error_code"]) == (500, "unexpected_failure")
    assert uuid.UUID(body["error_id"])
    newer = api.get("/admin/users", params=huge, headers=VERSION).json()
    assert newer == {"code": "unexpected_failure", "message": "Database error finding users"}


def test_health_says_who_answers(server: Server) -> None:
    with server.client() as client:
        body = client.get("/health").json()
    assert set(body) == {"version", "name", "description"}
    assert body["name"] == "GoTrue"


SECRET_KEY = "sb_secret_contract-test"
LEGACY_KEY = "the.service_role.token"


@pytest.fixture(scope="module")
def gateway(postgres_url: str) -> Iterator[Server]:
    """A stand-in that plays the hosted gateway too, which a bare server has not."""
    keys = f"{SECRET_KEY},{LEGACY_KEY}"
    with auth_database(postgres_url) as dsn, standin(dsn, GAIAOPS_AUTH_API_KEYS=keys) as started:
        yield started


def through(gateway: Server, authorization: str, apikey: str | None) -> httpx.Response:
    headers = {} if apikey is None else {"apikey": apikey}
    with gateway.client(authorization, **headers) as client:
        return client.get("/admin/users", params={"page": 1})


def test_the_gateway_wants_a_known_apikey(gateway: Server) -> None:
    token = f"Bearer {gateway.token()}"
    assert through(gateway, token, LEGACY_KEY).status_code == 200
    assert through(gateway, token, SECRET_KEY).status_code == 200
    for apikey in (None, "", "sb_secret_other"):
        response = through(gateway, token, apikey)
        assert response.status_code == 401
        assert "x-sb-error-code" not in response.headers, "the gateway's answer, not the server's"
        assert set(response.json()) == {"message", "hint"}


def test_the_gateway_swaps_a_secret_key_sent_as_bearer(gateway: Server) -> None:
    assert through(gateway, f"Bearer {SECRET_KEY}", SECRET_KEY).status_code == 200


def test_the_gateway_swaps_nothing_else(gateway: Server) -> None:
    def code(authorization: str, apikey: str) -> str:
        return str(through(gateway, authorization, apikey).json()["error_code"])

    assert code(f"Bearer {SECRET_KEY}", LEGACY_KEY) == "bad_jwt"
    assert code(f"Bearer {LEGACY_KEY}", LEGACY_KEY) == "bad_jwt"
    assert code("Bearer sb_secret_other", SECRET_KEY) == "bad_jwt"
    assert code("", SECRET_KEY) == "no_authorization"


def test_a_bare_server_takes_no_secret_key(server: Server) -> None:
    if server.api_key:  # a real server behind a gateway
        return
    assert refused(server, f"Bearer {SECRET_KEY}") == (403, "bad_jwt")
