"""Opens connections: bounded, named, and with the parts of the URL handed over one by one."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gaiaops import __version__
from gaiaops.errors import GaiaopsError
from gaiaops.postgres import passfile, tls
from gaiaops.postgres.failures import connect_failure
from gaiaops.registry import trust
from gaiaops.registry.model import Timeouts
from gaiaops.registry.urls import Url
from gaiaops.tunnels import through

if TYPE_CHECKING:
    import psycopg

    from gaiaops.postgres.bounded import Connection
    from gaiaops.tunnels import Place

_NAME_BYTES = 63  # application_name is cut there (NAMEDATALEN - 1)


def application_name(command: str) -> str:
    """`gaiaops/<version> <user>@<host> <command>`, so that a DBA sees who it is."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's uid without a name
        user = str(os.getuid())
    name = f"gaiaops/{__version__} {user}@{socket.gethostname()}"
    return name.encode("ascii", "replace").decode()[: _NAME_BYTES - 1 - len(command)] + f" {command}"


def parameters(url: Url, timeouts: Timeouts, command: str, place: Place | None = None) -> dict[str, str | int]:
    """libpq's connection parameters (manual 34.1.2) of a connection string.

    `place` is the near end of a tunnel. The host stays the server's, so that its certificate is verified by its name
    and a password is found under it; libpq connects to `hostaddr` all the same.
    """
    seconds = max(1, -(-timeouts.connect // 1000))
    given: dict[str, str | int] = {
        "connect_timeout": seconds,
        # A peer that vanished is noticed within the connect timeout plus three probes.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        **dict(url.options),
    }
    for key, value in (
        ("host", url.host),
        ("port", url.port),
        ("user", url.user),
        ("password", url.password),
        ("dbname", url.database),
    ):
        if value:
            given[key] = value
    if place is not None:
        given |= {"hostaddr": place.host, "port": place.port}
        known = passfile.password(url, os.environ) if "password" not in given else None
        given |= {"password": known} if known else {}
    given |= tls.system_roots(given, os.environ)
    return {**given, "client_encoding": "UTF8", "application_name": application_name(command)}


@contextmanager
def connect(url: Url, timeouts: Timeouts, command: str) -> Iterator[Connection]:
    """An autocommit connection, closed at the end; what is not committed by then the server rolls back.

    Raises ConnectError, with DNS, route, refusal, TLS, password and database told apart.
    """
    import psycopg

    from gaiaops.postgres.bounded import Connection

    with through(url, timeouts) as place:
        given: dict[str, Any] = parameters(url, timeouts, command, place)
        try:
            # No prepared statements: behind a pooler the next transaction may be another session's.
            connection = Connection.connect(**given, autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            raise _failure(error, url, timeouts, given) from None
        connection.statement_ms, connection.address = timeouts.statement, url.address
        try:
            if url.protected:
                _tell_whether_verified(connection, url, given)
            yield connection
        finally:
            connection.close()  # without a word to wait for, as psycopg's own end of the block would


def _failure(error: psycopg.Error, url: Url, timeouts: Timeouts, given: Mapping[str, Any]) -> GaiaopsError:
    asked = tls.UNTRUSTED in str(error)
    untrusted = tls.why_untrusted(given, timeouts.connect / 1000) if asked else ("", "")
    return connect_failure(error, url, timeouts.connect, untrusted=untrusted)


def _tell_whether_verified(connection: psycopg.Connection, url: Url, given: Mapping[str, Any]) -> None:
    """As libpq has resolved it: sslmode and host may come from a service file or the environment."""
    used = {option.keyword: (option.val or b"").decode() for option in connection.pgconn.info}
    hosts = given.get("hostaddr") or given.get("host") or used.get(b"host") or ""
    near = "," not in hosts and trust.is_near(used.get(b"hostaddr") or hosts)
    if near or used.get(b"gssencmode") == "require":  # Kerberos verifies the server too
        return
    trust.tell_postgres(url, hosts.split(","), used.get(b"sslmode") or "prefer")


def preload() -> None:
    """Imports the driver now, so that a measured connection does not pay for it."""
    import psycopg  # noqa: F401
