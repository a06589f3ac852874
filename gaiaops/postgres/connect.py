"""Opens connections: bounded, named, and with the parts of the URL handed over one by one."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gaiaops import __version__
from gaiaops.postgres.failures import connect_failure
from gaiaops.registry.model import Timeouts
from gaiaops.registry.urls import Url

if TYPE_CHECKING:
    import psycopg

_NAME_BYTES = 63  # application_name is cut there (NAMEDATALEN - 1)


def application_name(command: str) -> str:
    """`gaiaops/<version> <user>@<host> <command>`, so that a DBA sees who it is."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's uid without a name
        user = str(os.getuid())
    name = f"gaiaops/{__version__} {user}@{socket.gethostname()}"
    return name.encode("ascii", "replace").decode()[: _NAME_BYTES - 1 - len(command)] + f" {command}"


def parameters(url: Url, timeouts: Timeouts, command: str) -> dict[str, str | int]:
    """libpq's connection parameters (manual 34.1.2) of a connection string."""
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
    return {**given, "client_encoding": "UTF8", "application_name": application_name(command)}


@contextmanager
def connect(url: Url, timeouts: Timeouts, command: str) -> Iterator[psycopg.Connection]:
    """An autocommit connection, closed at the end.

    Raises ConnectError, with DNS, route, refusal, TLS, password and database told apart.
    """
    import psycopg

    try:
        connection = psycopg.connect(**parameters(url, timeouts, command), autocommit=True)  # type: ignore[arg-type]
    except psycopg.Error as error:
        raise connect_failure(error, url, timeouts.connect) from None
    with connection:
        yield connection


def preload() -> None:
    """Imports the driver now, so that a measured connection does not pay for it."""
    import psycopg  # noqa: F401
