"""What a failed request is called, and when it is worth another."""

from __future__ import annotations

import httpx
import pytest

from gaiaops.auth.flights import in_flight
from gaiaops.auth.numbered import gaps
from gaiaops.auth.requests import FailedError, Kind, Requests, error_code, retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("12", 12.0),
        ("61", 60.0),
        ("-1", None),
        ("1.5", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2199 07:28:00 GMT", 60.0),
        ("a while", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({"x-sb-error-code": "bad_jwt"}, b"", "bad_jwt"),
        ({}, b'{"code":404,"error_code":"user_not_found","msg":""}', "user_not_found"),
        ({}, b'{"code":"user_not_found","message":""}', "user_not_found"),
        ({}, b'{"code":500}', ""),
        ({}, b'{"code":"' + b"x" * 60 + b'"}', ""),
        ({}, b"[1]", ""),
        ({}, b"<html>", ""),
        ({}, b"\xff", ""),
        ({}, b"", ""),
    ],
)
def test_error_codes(headers: dict[str, str], body: bytes, code: str) -> None:
    assert error_code(httpx.Response(404, headers=headers, content=body)) == code


def failing(status: int, code: str = "") -> tuple[int, FailedError]:
    """How often a request that always fails is made, and what becomes of it."""
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(status, headers={"retry-after": "0", "x-sb-error-code": code})

    with (
        httpx.Client(transport=httpx.MockTransport(handle), base_url="http://x") as http,
        pytest.raises(FailedError) as caught,
    ):
        Requests(http).get("/admin/users", {}, lambda response: response)
    return len(asked), caught.value


@pytest.mark.parametrize(
    ("status", "tries", "kind"),
    [(429, 6, Kind.PAGE), (503, 6, Kind.PAGE), (500, 3, Kind.ROW), (400, 1, Kind.PAGE), (404, 1, Kind.PAGE)],
)
def test_attempts(status: int, tries: int, kind: Kind) -> None:
    asked, error = failing(status)
    assert (asked, error.failure.kind) == (tries, kind)
    assert error.failure.words == str(status)


def test_only_user_not_found_is_an_answer() -> None:
    def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(404, headers={"x-sb-error-code": "user_not_found"})

    with httpx.Client(transport=httpx.MockTransport(handle), base_url="http://x") as http:
        assert Requests(http).get("/admin/users/7", {}, lambda response: response.status_code) == 404
    assert failing(404, "validation_failed")[1].failure.words == "404 validation_failed"


def test_a_server_that_fails_everything_is_left_alone() -> None:
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(503, headers={"retry-after": "0"})

    with httpx.Client(transport=httpx.MockTransport(handle), base_url="http://x") as http:
        requests = Requests(http)
        for _ in range(10):
            with pytest.raises(FailedError):
                requests.get("/admin/users", {}, lambda response: response)
        assert len(asked) == 18
        requests.mend()
        with pytest.raises(FailedError):
            requests.get("/admin/users", {}, lambda response: response)
        assert len(asked) == 24


def test_nothing_is_asked_after_the_deadline_or_the_end() -> None:
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200)), base_url="http://x") as http:
        ended = Requests(http)
        ended.end()
        for requests in (Requests(http, deadline=0.0), ended):
            with pytest.raises(FailedError) as caught:
                requests.get("/admin/users", {}, lambda response: response)
            assert caught.value.failure.kind is Kind.DOWN


def test_flights() -> None:
    assert sorted(in_flight(range(20), lambda number: number * 2, 4)) == [(n, 2 * n) for n in range(20)]
    assert list(in_flight([], lambda number: number, 4)) == []
    with pytest.raises(ZeroDivisionError):
        list(in_flight([1, 0], lambda number: 1 // number, 2))


def test_no_pages_have_no_gaps() -> None:
    assert gaps({}) == []
