"""The client of the admin API, and what the overview asks it: how many users there are."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gaiaops import emails
from gaiaops.auth import numbered
from gaiaops.auth import walk as walks
from gaiaops.auth.interface import AuthCount, Cutoffs
from gaiaops.auth.pages import Reader
from gaiaops.auth.requests import FailedError, Requests
from gaiaops.errors import ConnectError
from gaiaops.registry import trust
from gaiaops.registry.model import Timeouts

if TYPE_CHECKING:
    import httpx

_NO_AGES = Cutoffs(grace=0, unconfirmed=0)
_UNAUTHORISED = (401, 403)


def count(url: str, service_key: str, tags: Iterable[str], timeouts: Timeouts) -> AuthCount:
    """Users in all and per tag; where the statement timeout ends the walk, what was read is a lower bound.

    Raises ConnectError, DeadlineError or StatementError where nobody can be read.
    """
    names = list(tags)
    with client(url, service_key, timeouts.statement, timeouts.connect) as http:
        began = time.perf_counter()
        http.get("/health")
        latency = (time.perf_counter() - began) * 1000
        done = walk(http, time.monotonic() + timeouts.statement / 1000)
    by_tag = dict.fromkeys(names, 0)
    for record in done.records.values():
        found = emails.classify(record.address, names)
        if found.kind is emails.Kind.TAGGED:
            by_tag[found.tag] += 1
    read = len(done.records)
    return AuthCount("api", read if done.complete else max(done.total, read), by_tag, done.complete, latency)


def check(url: str, service_key: str, timeouts: Timeouts) -> None:
    """One question that needs the key. Raises as `count` does."""
    with client(url, service_key, timeouts.connect, timeouts.connect) as http:
        requests = Requests(http, time.monotonic() + timeouts.connect / 1000)
        try:
            numbered.counted(requests, Reader(_NO_AGES))
        except FailedError as error:
            raise error.failure.raised() from None


def health(url: str, service_key: str, timeouts: Timeouts) -> tuple[float, str]:
    """The time of one answer of `/auth/v1/health` in ms, and the version it names.

    Raises ConnectError where it does not answer, or not with success.
    """
    with client(url, service_key, timeouts.connect, timeouts.connect) as http:
        began = time.perf_counter()
        response = http.get("/health")
        latency = (time.perf_counter() - began) * 1000
        # The gateway refuses a key before the service is asked: then it is the key that is wrong.
        if not response.is_success and response.status_code not in _UNAUTHORISED:
            raise ConnectError(f"Supabase Auth answered {response.status_code} ({url})", hint="is the project paused?")
    try:
        said = response.json()
    except ValueError:  # something else answers there
        raise ConnectError(f"what answers is not Supabase Auth ({url})", hint="check supabase.url") from None
    return latency, str(said.get("version", "")) if isinstance(said, dict) else ""


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

    if not (service_key.isascii() and service_key.isprintable()):
        raise ConnectError("the service key has characters that no key has", hint="check supabase.service_key")
    trust.tell_auth(url)
    timeout = httpx.Timeout(read_ms / 1000 or None, connect=connect_ms / 1000)
    try:
        with httpx.Client(
            base_url=f"{url.rstrip('/')}/auth/v1", headers=headers(service_key), timeout=timeout
        ) as opened:
            yield opened
    except httpx.InvalidURL:
        raise ConnectError("the address of Supabase Auth is no URL", hint="check supabase.url") from None
    except httpx.TimeoutException:
        raise ConnectError(f"no answer from Supabase Auth ({url})", hint="is the project paused?") from None
    except httpx.HTTPError as error:
        raise ConnectError(f"Supabase Auth: {type(error).__name__} ({url})", hint="check supabase.url") from None


def walk(http: httpx.Client, deadline: float) -> walks.Walk:
    """All users, for whom ages do not matter; nothing is asked after `deadline`, a moment of time.monotonic()."""
    requests = Requests(http, deadline)
    try:
        return walks.walk(requests, Reader(_NO_AGES), None, lambda *_: None)
    finally:
        requests.end()


def preload() -> None:
    """Imports the drivers now, so that a measured connection does not pay for it."""
    import httpx  # noqa: F401
    import tenacity  # noqa: F401
