"""The HTTP side: routes, who may pass, a deadline, and every failure turned into the server's own answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gaiaops.sandbox.authserver import changes, paging, tokens, users, validation
from gaiaops.sandbox.authserver.database import Connection, Database
from gaiaops.sandbox.authserver.errors import (
    SERVER_ERROR,
    UNEXPECTED,
    VERSION_HEADER,
    ApiError,
    database_errors,
    error_response,
)
from gaiaops.sandbox.authserver.settings import Settings

PREFIX = "/auth/v1"
HEALTH = {
    "version": "v2.196.0",
    "name": "GoTrue",
    "description": "GoTrue is a user registration and authentication API",
}
_TIMED_OUT = "Processing this request timed out, please retry after a moment."
_log = logging.getLogger("gaiaops.sandbox.authserver")

Params = TypeVar("Params")


@dataclass(frozen=True)
class Call:
    """One request as a handler sees it: read completely, and by nobody but an administrator."""

    settings: Settings
    connection: Connection
    path: str
    query: paging.Query
    audience: str
    user_id: str
    body: bytes


Handler = Callable[[Call], Response]


def create_app(settings: Settings) -> Starlette:
    """The stand-in as an ASGI application; it opens connections when they are first needed."""
    database = Database(settings.dsn)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(database.close)

    def route(path: str, method: str, handler: Handler) -> Route:
        return Route(PREFIX + path, _endpoint(settings, database, handler), methods=[method])

    routes = [Route(f"{PREFIX}/health", _health, methods=["GET"])]
    for path in ("/admin/users", "/admin/users/"):  # an empty id is no id: the list
        routes += [route(path, "GET", _list_users), route(path, "POST", _create_user)]
    one = "/admin/users/{user_id}"
    for method, handler in (("GET", _get_user), ("PUT", _update_user), ("DELETE", _delete_user)):
        routes.append(route(one, method, handler))
    app = Starlette(routes=routes, lifespan=lifespan)
    app.router.redirect_slashes = False
    return app


def _endpoint(settings: Settings, database: Database, handler: Handler) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        try:
            # A change that misses the deadline is not undone: its thread goes on and commits.
            with anyio.fail_after(settings.request_timeout):
                return await anyio.to_thread.run_sync(
                    _answer, settings, database, handler, request, body, abandon_on_cancel=True
                )
        except TimeoutError:
            failure = ApiError(504, "request_timeout", _TIMED_OUT)
        except asyncio.CancelledError:
            # Only a server that stops cancels its requests; it is over, so nobody misses the cancellation.
            failure = ApiError(503, "unexpected_failure", "The server is stopping")
        return error_response(failure, request.headers.get(VERSION_HEADER, ""))

    return endpoint


def _answer(settings: Settings, database: Database, handler: Handler, request: Request, body: bytes) -> Response:
    """Admit the request and run its handler with a connection; failures become answers here and only here."""
    version = request.headers.get(VERSION_HEADER, "")
    try:
        tokens.admit(request.headers, settings)
        with database_errors(UNEXPECTED), database.connection() as connection:
            return handler(_call(settings, connection, request, body))
    except tokens.GatewayRefusal as refusal:
        return _json(refusal.body, 401)
    except ApiError as error:
        if error.status >= SERVER_ERROR:
            _log.warning(
                "%s %s: %s: %s", request.method, request.url.path, error.message, error.cause or "a row it cannot read"
            )
        return error_response(error, version)
    except Exception:
        _log.exception("%s %s failed", request.method, request.url.path)
        return error_response(ApiError(SERVER_ERROR, "unexpected_failure", UNEXPECTED), version)


def _call(settings: Settings, connection: Connection, request: Request, body: bytes) -> Call:
    return Call(
        settings=settings,
        connection=connection,
        path=request.url.path.removeprefix(PREFIX),
        query=parse_qsl(request.url.query, keep_blank_values=True),
        audience=request.headers.get("x-jwt-aud") or settings.audience,
        user_id=request.path_params.get("user_id", ""),
        body=body,
    )


async def _health(_: Request) -> Response:
    """Open to everybody, so that a supervisor can wait for the server without holding a key."""
    return _json(HEALTH)


def _list_users(call: Call) -> Response:
    ascending = paging.ascending(call.query)
    containing = paging.first(call.query, "filter")
    with database_errors("Database error finding users"):
        if call.settings.cursor_mode and paging.wants_cursor(call.query):
            return _cursor_list(call, ascending, containing)
        page = paging.numbered_page(call.query)
        found, total = users.numbered(call.connection, call.audience, page, ascending=ascending, containing=containing)
    response = _json({"users": found, "aud": call.audience})
    response.headers["Link"] = paging.numbered_links(call.path, call.query, page, total)
    response.headers["X-Total-Count"] = str(total)
    return response


def _cursor_list(call: Call, ascending: bool, containing: str) -> Response:
    page = paging.cursor_page(call.query)
    found, following = users.after_cursor(
        call.connection, call.audience, page, ascending=ascending, containing=containing
    )
    pagination: dict[str, Any] = {"has_more": following is not None}
    if following is not None:
        pagination = {"next_cursor": following.encode(), **pagination}
    response = _json({"users": found, "aud": call.audience, "pagination": pagination})
    if following is not None:
        response.headers["Link"] = paging.cursor_link(call.path, call.query, following)
    return response


def _get_user(call: Call) -> Response:
    return _json(_loaded(call))


def _create_user(call: Call) -> Response:
    return _json(changes.create(call.connection, _parsed(call.body, changes.UserParams), call.audience))


def _update_user(call: Call) -> Response:
    user = _loaded(call)
    return _json(changes.update(call.connection, user["id"], _parsed(call.body, changes.UserParams)))


def _delete_user(call: Call) -> Response:
    user = _loaded(call)
    # No body at all is the dangerous default: a hard delete.
    params = _parsed(call.body, changes.DeleteParams) if call.body else changes.DeleteParams()
    changes.delete(call.connection, user["id"], soft=bool(params.should_soft_delete))
    return _json({})


def _loaded(call: Call) -> users.User:
    """The user of the path. Only `user_not_found` says that there is none."""
    if not validation.is_uuid(call.user_id):
        raise ApiError(404, "validation_failed", "user_id must be an UUID")
    with database_errors("Database error loading user"):
        user = users.find(call.connection, call.user_id)
    if user is None:
        raise ApiError(404, "user_not_found", "User not found")
    return user


def _parsed(body: bytes, shape: type[Params]) -> Params:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.MsgspecError as error:
        raise ApiError(400, "bad_json", f"Could not parse request body as JSON: {error}") from error


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
