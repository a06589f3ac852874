"""Auth users by the admin API: walked in ascending pages, and held against the server's own total.

Rows that share a created_at can be repeated and lost between pages without any concurrent write, so distinct
ids are counted, and a walk that does not add up is made again with larger pages (see supabase-auth.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gaiaops import emails
from gaiaops.auth.interface import AuthCount
from gaiaops.errors import ConnectError, StatementError
from gaiaops.registry.model import Timeouts

if TYPE_CHECKING:
    import httpx

# A page costs the server a count of all users and an OFFSET, so many users want large pages.
_SMALLEST_PAGE, _LARGEST_PAGE, _PAGES = 1000, 10_000, 20
_UNAUTHORISED = (401, 403)


def count(url: str, service_key: str, tags: Iterable[str], timeouts: Timeouts) -> AuthCount:
    """Users in all and per tag; where the statement timeout ends the walk, what was read is a lower bound.

    Raises ConnectError, or StatementError where a page cannot be read.
    """
    names = list(tags)
    with client(url, service_key, timeouts.statement, timeouts.connect) as http:
        began = time.perf_counter()
        http.get("/health")
        latency = (time.perf_counter() - began) * 1000
        addresses, total = walk(http, time.monotonic() + timeouts.statement / 1000)
    by_tag = dict.fromkeys(names, 0)
    for address in addresses.values():
        found = emails.classify(address, names)
        if found.kind is emails.Kind.TAGGED:
            by_tag[found.tag] += 1
    return AuthCount("api", max(total, len(addresses)), by_tag, len(addresses) == total, latency)


def check(url: str, service_key: str, timeouts: Timeouts) -> None:
    """One request that needs the key. Raises as `count` does."""
    with client(url, service_key, timeouts.connect, timeouts.connect) as http:
        _page(http, 1, 1)


def headers(service_key: str) -> dict[str, str]:
    """What the server and the gateway before it want of an administrator."""
    return {"apikey": service_key, "Authorization": f"Bearer {service_key}"}


def check_key(response: httpx.Response) -> None:
    """Raises ConnectError where the server did not take the service key."""
    if response.status_code in _UNAUTHORISED:
        code = response.headers.get("x-sb-error-code", response.status_code)
        raise ConnectError(f"Supabase Auth refused the service key ({code})", hint="check supabase.service_key")


@contextmanager
def client(url: str, service_key: str, read_ms: int, connect_ms: int) -> Iterator[httpx.Client]:
    """A client of the project's auth service; what goes wrong on the way becomes a ConnectError."""
    import httpx

    timeout = httpx.Timeout(read_ms / 1000 or None, connect=connect_ms / 1000)
    try:
        with httpx.Client(
            base_url=f"{url.rstrip('/')}/auth/v1", headers=headers(service_key), timeout=timeout
        ) as opened:
            yield opened
    except httpx.TimeoutException:
        raise ConnectError(f"no answer from Supabase Auth ({url})", hint="is the project paused?") from None
    except httpx.HTTPError as error:
        raise ConnectError(f"Supabase Auth: {type(error).__name__} ({url})", hint="check supabase.url") from None


def walk(http: httpx.Client, deadline: float) -> tuple[dict[str, str], int]:
    """(id → address, the total the server gives), a second time with larger pages where they do not agree."""
    addresses: dict[str, str] = {}
    _, total = _page(http, 1, 1)
    size = max(_SMALLEST_PAGE, min(total // _PAGES, _LARGEST_PAGE))
    for step in (size, 3 * size):
        page, asked = 1, step
        while len(addresses) != total and time.monotonic() < deadline:
            users, total = _page(http, page, asked)
            if not users:
                break
            addresses |= {str(user["id"]): str(user.get("email") or "") for user in users}
            if page == 1 and len(users) < min(asked, total):
                asked = len(users)  # a gateway caps the page: offsets count by what it gives
            page += 1
    return addresses, total


def _page(http: httpx.Client, page: int, size: int) -> tuple[list[dict[str, Any]], int]:
    # Ascending: new users land on the last page and repeat nothing.
    response = http.get("/admin/users", params={"page": page, "per_page": size, "sort": "created_at asc"})
    check_key(response)
    if response.status_code != 200:
        raise StatementError(
            f"Supabase Auth answered {response.status_code} for users {(page - 1) * size + 1} to {page * size}",
            hint="one bad row fails a whole page; SQL access (supabase.database) does not have this",
        )
    users = response.json().get("users") or []
    return users, int(response.headers.get("x-total-count") or len(users))


def preload() -> None:
    """Imports the driver now, so that a measured connection does not pay for it."""
    import httpx  # noqa: F401
