"""The first word on a new connection: whether somebody is there at the other end, and whether it is the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gaiaops.errors import NoAnswerError
from gaiaops.postgres.features import Server, named
from gaiaops.postgres.guard import WHICH
from gaiaops.postgres.stream import Exchange
from gaiaops.registry.durations import show_duration
from gaiaops.registry.model import Timeouts
from gaiaops.registry.urls import Url

if TYPE_CHECKING:
    import psycopg


class Opening(msgspec.Struct, frozen=True):
    """What the first answer says: whether a transaction pooler may be in between, who the server is, and whether the
    transaction is read-only, and of which isolation level, by its own word."""

    pooled: bool
    server: Server
    read_only: bool
    isolation: str


def opened(connection: psycopg.Connection, url: Url, timeouts: Timeouts, sql: str = WHICH) -> Opening:
    """Runs the first statements, of which the last is WHICH.

    A pooler makes up what BackendKeyData says (manual 54.2.1), so the pid there is not the server's. Which of its modes
    it is in cannot be told from outside: without a word in the registry the stricter one counts. It lets clients in
    while all its connections are busy, so the first answer is waited for no longer than for a connection.

    Raises NoAnswerError, and the error tree's errors.
    """
    try:
        answers = Exchange(connection.pgconn, max(timeouts.connect, 1), 0, address=url.address).answers(sql)
    except NoAnswerError:
        raise NoAnswerError(
            f"connected, but no answer within {show_duration(timeouts.connect)} ({url.address})",
            hint="is there a pooler whose connections are all in use? SHOW POOLS on its console tells; or try again",
        ) from None
    pid, version, citus, read_only, isolation = (answers[-1].get_value(0, i) or b"" for i in range(5))
    pooled = url.pooler == "transaction" if url.pooler else connection.info.backend_pid != int(pid or 0)
    server = named(version.decode("utf-8", "replace"), citus=citus == b"t")
    return Opening(pooled, server, read_only == b"on", isolation.decode("ascii", "replace"))
