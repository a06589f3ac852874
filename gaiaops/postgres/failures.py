"""What went wrong on the server or on the way to it, in one line with a next step.

libpq gives connection failures as text only, so they are told apart by that text; statement failures have a
SQLSTATE (manual, appendix A).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gaiaops.errors import (
    ConnectError,
    DeadlineError,
    GaiaopsError,
    LostServerError,
    RefusedError,
    StatementError,
)
from gaiaops.registry.durations import show_duration
from gaiaops.registry.urls import MASK, Url

if TYPE_CHECKING:
    import psycopg
    from psycopg.pq.abc import PGresult

_PROXY_HINT = "is the server up, or a tunnel needed? e.g. fly proxy 15432:5432 -a gaia-db-dev"
# (what the text of libpq or the server holds, what is said, the next step); the first match counts.
_CONNECT_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"password authentication failed|no password supplied|SCRAM",
        'password authentication failed for user "{user}"',
        "check the password: gaiaops envs {env} shows where it comes from",
    ),
    (r'role "[^"]*" does not exist', 'role "{user}" does not exist', "check the user in the connection string"),
    (
        r'database "[^"]*" does not exist',
        'database "{database}" does not exist',
        "check the database in the connection string",
    ),
    (
        r"pg_hba\.conf.*SSL encryption",
        "the server admits no such user, database or address: {first}",
        "a DBA must add it to pg_hba.conf",
    ),
    (
        r"no encryption|SSL off|requires? (?:SSL|TLS|encryption)|sslmode value",
        "the server requires TLS",
        "add ?sslmode=require (or verify-full) to the connection string",
    ),
    (
        r"does not support SSL",
        "the server does not offer TLS, but sslmode asks for it",
        "set sslmode=prefer only where the way is private",
    ),
    (r"certificate|SSL error|tls", "TLS failed: {first}", "check sslmode, sslrootcert and the host name"),
    (
        r"no pg_hba\.conf entry",
        "the server admits no such user, database or address: {first}",
        "a DBA must add it to pg_hba.conf",
    ),
    (
        r"too many connections|too many clients|connection slots|max_client_conn",
        "too many connections: {first}",
        "gaiaops activity shows who holds them",
    ),
    (
        r"starting up|shutting down|in recovery mode|not yet accepting",
        "the server is not ready: {first}",
        "try again in a moment",
    ),
    (
        r"unsupported startup parameter|pooler|pgbouncer|Tenant or user not found",
        "the pooler refused: {first}",
        "a transaction pooler takes no startup options; use the direct or session port",
    ),
    (
        r"(?:could not|failed to) (?:translate|resolve) host|Name or service not known|nodename nor servname"
        r"|name resolution|No address associated",
        "unknown host name",
        "check the host; " + _PROXY_HINT,
    ),
    (r"timeout expired|timed out|timeout", "no answer within {timeout}", _PROXY_HINT),
    (r"refused", "connection refused", _PROXY_HINT),
    (r"No route|unreachable", "no route to the host", "check the VPN or the tunnel"),
    (
        r"No such file|is the server running locally",
        "no server on this socket",
        "check the host in the connection string; " + _PROXY_HINT,
    ),
    (
        r"closed the connection|reset by peer|expected authentication request",
        "the server closed the connection while it was being opened",
        "is this a PostgreSQL port?",
    ),
)


def connect_failure(error: psycopg.Error, url: Url, timeout_ms: int) -> ConnectError:
    """The ConnectError for a connection that could not be opened; the password is masked."""
    text = str(error)
    first = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "connection failed")
    first = re.sub(r"^.*?(?:failed: )?(?:FATAL|ERROR):\s+", "", first)
    if url.password:
        first = first.replace(url.password, MASK)
    causes = (cause for cause in _CONNECT_CAUSES if re.search(cause[0], text, re.IGNORECASE))
    _, message, hint = next(causes, ("", "{first}", ""))
    values = {
        "user": url.user or "", "database": url.database, "first": first, "env": "ENV",
        "timeout": show_duration(timeout_ms),
    }  # fmt: skip
    return ConnectError(f"{message.format_map(values)} ({url.address})", hint=hint.format_map(values))


def statement_failure(result: PGresult, sql: str, *, ran_ms: float, timeout_ms: int) -> GaiaopsError:
    """The error for a failed statement; `sql` is the text as it was sent, for the line with the caret."""
    from psycopg.pq import DiagnosticField as Field

    failure = _failure(result, sql, ran_ms=ran_ms, timeout_ms=timeout_ms)
    failure.sqlstate = (result.error_field(Field.SQLSTATE) or b"").decode("ascii", "replace")
    return failure


def _failure(result: PGresult, sql: str, *, ran_ms: float, timeout_ms: int) -> GaiaopsError:
    from psycopg.pq import DiagnosticField as Field

    def field(which: Field) -> str:
        return (result.error_field(which) or b"").decode("utf-8", "replace")

    state, message = field(Field.SQLSTATE), field(Field.MESSAGE_PRIMARY) or "failed without a message"
    position = field(Field.STATEMENT_POSITION)
    detail = point_at(sql, int(position)) if position else ""
    hint = field(Field.MESSAGE_HINT) or field(Field.MESSAGE_DETAIL)
    text = f"{message} ({state})" if state else message
    if state == "25006":
        return RefusedError(f"refused: {message}", hint="reading is the default; add --write if you mean it")
    if state == "57014":
        # The message is translated by the server, so the clock tells a timeout from somebody's cancel.
        if timeout_ms and ran_ms >= timeout_ms * 0.9:
            return DeadlineError(
                f"statement timeout: cancelled after {show_duration(timeout_ms)}", hint="give it more with --timeout"
            )
        return StatementError(f"cancelled on the server: {message}", hint="somebody or something cancelled it")
    if state == "55P03":
        return DeadlineError(f"lock timeout: {message}", hint="something holds a lock; try again later")
    if state in ("57P01", "57P02", "57P03") or state.startswith("08"):
        return StatementError(f"the server ended the connection: {text}", hint="the result is incomplete")
    if state in ("42601", "42704") and sql.lstrip().startswith("\\"):
        hint = "backslash commands belong to psql: gaiaops connect"
    return StatementError(text, detail=detail, hint=hint)


def lost_connection(message: str) -> LostServerError:
    """The error for a connection that broke in the middle of a statement."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    first = lines[0] if lines else "the connection was lost"
    return LostServerError(f"lost the server in mid-stream: {first}", hint="the result is incomplete")


def point_at(sql: str, position: int) -> str:
    """The line of an error position (1-based, in characters) with a caret under it, as psql shows it.

    >>> print(point_at("select 1,\\n  frm x", 13))
    LINE 2:   frm x
              ^
    """
    before = sql[: position - 1]
    number, start = before.count("\n") + 1, before.rfind("\n") + 1
    line = sql[start:].split("\n", 1)[0]
    column, label = position - 1 - start, f"LINE {number}: "
    if column > 60:  # a long line is shown around the place
        cut = column - 40
        line, column = "…" + line[cut + 1 :], column - cut
    line = line[:110].replace("\t", " ")
    return f"{label}{line}\n{' ' * (len(label) + column)}^"
