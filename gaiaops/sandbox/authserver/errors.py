"""The server's errors in both shapes it knows: the first, and the one of API version 2024-01-01."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
from starlette.responses import Response

VERSION_HEADER = "X-Supabase-Api-Version"
VERSION_2024 = "2024-01-01"
UNEXPECTED = "Unexpected failure, please check server logs for more information"
SERVER_ERROR = 500

# Classes of PostgreSQL errors the server shows as they are (first shape only): raised by a trigger, or a
# violated constraint.
_SHOWN_SQLSTATES = frozenset({"P0001", "23000", "23001", "23502", "23503", "23505", "23514", "23P01"})


class ApiError(Exception):
    """An answer other than success, maybe with more keys in its body and a PostgreSQL error behind it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        extra: Mapping[str, Any] | None = None,
        cause: psycopg.Error | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.extra = dict(extra or {})
        self.cause = cause


def invalid(message: str) -> ApiError:
    """The 400 for a value the server does not accept."""
    return ApiError(400, "validation_failed", message)


@contextmanager
def database_errors(message: str) -> Iterator[None]:
    """Turn what PostgreSQL refuses into the 500 with the server's own line for that operation."""
    try:
        yield
    except psycopg.Error as error:
        raise ApiError(SERVER_ERROR, "unexpected_failure", message, cause=error) from error


def wants_2024(version: str) -> bool:
    """Whether a client that sent this API version gets the newer shape; nonsense counts as not sent.

    >>> wants_2024("2024-01-01"), wants_2024("2025-06-30"), wants_2024("2023-12-31"), wants_2024("latest")
    (True, True, False, False)
    """
    try:
        asked = datetime.datetime.strptime(version, "%Y-%m-%d")
    except ValueError:
        return False
    return asked >= datetime.datetime(2024, 1, 1)


def error_response(error: ApiError, version: str) -> Response:
    """Render an error in the shape the client's API version asks for."""
    headers = {"x-sb-error-code": error.code}
    body: Mapping[str, Any]
    if wants_2024(version):
        # The client library believes `code` to be an error code only where this header comes back.
        headers[VERSION_HEADER] = VERSION_2024
        body = {"code": error.code, "message": error.message, **error.extra}
    else:
        body = _postgres_body(error.cause) or _first_shape(error)
    return Response(msgspec.json.encode(body), error.status, headers, media_type="application/json")


def _first_shape(error: ApiError) -> dict[str, Any]:
    body = {"code": error.status, "error_code": error.code, "msg": error.message, **error.extra}
    if error.status >= SERVER_ERROR:
        body["error_id"] = str(uuid.uuid4())
    return body


def _postgres_body(cause: psycopg.Error | None) -> dict[str, str] | None:
    if cause is None or cause.sqlstate not in _SHOWN_SQLSTATES:
        return None
    shown = {
        "code": cause.sqlstate,
        "message": cause.diag.message_primary,
        "hint": cause.diag.message_hint,
        "detail": cause.diag.message_detail,
    }
    return {key: value for key, value in shown.items() if value}
