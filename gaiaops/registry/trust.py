"""Whether somebody in between could pose as a server: what a protected environment warns about, once a run.

libpq verifies no certificate unless it is told to: `sslmode=prefer`, its default, takes any, and takes none
(PostgreSQL manual 34.19.1). Where nobody can get in between (a socket, loopback, a tunnel), nothing is said.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from gaiaops.registry.urls import Url

VERIFYING = ("verify-ca", "verify-full")
_CA = "sslrootcert=FILE (the CA's file) or sslrootcert=system"


class _Teller:
    """Tells each text once."""

    def __init__(self) -> None:
        self.how: Callable[[str], None] | None = None
        self.told: set[str] = set()
        self.lock = threading.Lock()  # `view` asks every server in a thread of its own

    def __call__(self, text: str) -> None:
        with self.lock:
            if text and self.how is not None and text not in self.told:
                self.told.add(text)
                self.how(text)


_tell = _Teller()


def listen(how: Callable[[str], None]) -> None:
    """Says how to tell of a protected environment that is not verified; everything counts as untold again."""
    _tell.how, _tell.told = how, set()


def tell(text: str) -> None:
    """Tells, once a run, what somebody who trusts a server's answers should know of it."""
    _tell(text)


def tell_postgres(url: Url, hosts: Iterable[str], sslmode: str) -> None:
    """Tells of a PostgreSQL, where there is something to tell: `hosts` are all that libpq may connect to."""
    if url.protected:
        why = postgres(url, hosts, sslmode)
        _tell(f"[{url.protected}] {why}" if why else "")


def tell_redis(url: Url) -> None:
    """Tells of a Redis, where there is something to tell."""
    if url.protected:
        why = redis(url)
        _tell(f"[{url.protected}] {why}" if why else "")


def tell_auth(address: str) -> None:
    """Tells of a Supabase project, whose key opens every account of every environment."""
    why = auth(address)
    _tell(f"[supabase] {why}" if why else "")


def postgres(url: Url, hosts: Iterable[str], sslmode: str) -> str:
    """What is not verified and which option to add; "" where all is well.

    >>> from gaiaops.registry.urls import POSTGRES_SCHEMES, parse_url
    >>> postgres(parse_url("postgresql://db:5432/app", POSTGRES_SCHEMES), ["db"], "prefer")[:61]
    'PostgreSQL is not verified by TLS (db:5432, sslmode=prefer): '
    >>> postgres(parse_url("postgresql://db:5432/app", POSTGRES_SCHEMES), ["127.0.0.1", "/tmp"], "prefer")
    ''
    """
    if url.tunnel is not None or sslmode in VERIFYING or all(map(is_near, hosts)):
        return ""
    return (
        f"PostgreSQL is not verified by TLS ({url.server}, sslmode={sslmode}):"
        f" add sslmode=verify-full and {_CA} to its connection string"
    )


def redis(url: Url) -> str:
    """As `postgres`, for a Redis."""
    options = dict(url.options)
    if url.tunnel is not None or url.scheme == "unix" or is_near(url.host):
        return ""
    if url.scheme == "redis":
        return f"Redis is not verified by TLS ({url.server}): write rediss://…?ssl_ca_certs=FILE (the CA's file)"
    if options.get("ssl_cert_reqs") == "none":
        return (
            f"Redis is not verified by TLS ({url.server}, ssl_cert_reqs=none):"
            " write ssl_ca_certs=FILE (the CA's file) instead"
        )
    return ""


def auth(address: str) -> str:
    """As `postgres`, for the address of a Supabase project.

    >>> auth("http://user:secret@auth.internal:9999/x")
    'the service key travels in the clear (auth.internal:9999): write https://… in supabase.url'
    >>> auth("https://auth.internal"), auth("http://127.0.0.1:54321"), auth("http://[bad")
    ('', '', '')
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address.strip())
    except ValueError:  # who connects says so
        return ""
    if parts.scheme != "http" or is_near(parts.hostname or ""):
        return ""
    return f"the service key travels in the clear ({parts.netloc.rpartition('@')[2]}): write https://… in supabase.url"


def is_near(host: str) -> bool:
    """Whether a host is this machine: a socket, its folder, or loopback. No host is libpq's default, a socket.

    >>> [is_near(host) for host in ("", "/run/postgresql", "@abstract", "localhost", "127.8.9.1", "::1", "[::1]")]
    [True, True, True, True, True, True, True]
    >>> [is_near(host) for host in ("db", "10.0.0.1", "0.0.0.0", "localhost.example.com", "127.0.0.1.example.com")]
    [False, False, False, False, False]
    """
    if not host or host.startswith(("/", "@")) or host.lower().rstrip(".") == "localhost":
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False
