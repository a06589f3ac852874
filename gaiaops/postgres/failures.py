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
    NoAnswerError,
    RefusedError,
    StatementError,
    UsageError,
)
from gaiaops.postgres import pooler, tls
from gaiaops.registry.durations import show_duration
from gaiaops.registry.urls import Url

if TYPE_CHECKING:
    import psycopg
    from psycopg.pq.abc import PGresult

# Where, is said by the connection string: behind a tunnel libpq knows its near end only.
_WHERE = re.compile(
    r"(?:connection failed: |connection is bad: )?connection to server (?:at|on) .*? failed: |(?<=resolve host )'[^']*'"
)
_PROXY_HINT = "is the server up, or a tunnel needed? e.g. fly proxy 15432:5432 -a gaia-db-dev"
# (what the text of libpq or the server holds, what is said, the next step); the first match counts.
_CONNECT_CAUSES: tuple[tuple[str, str, str], ...] = (
    *tls.CAUSES,
    *((pattern, said, hint) for pattern, said, hint, _ in pooler.CAUSES),
    (
        r"password authentication failed|no password supplied|SCRAM|SASL authentication failed",
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
        r"no encryption|SSL off|(?:SSL|TLS|encryption)(?: connection)? (?:is )?required"
        r"|requires? (?:SSL|TLS|encryption)",
        "the server requires TLS",
        "write sslmode=verify-full (or require) in the connection string",
    ),
    *tls.LATER_CAUSES,
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
        r"closed the connection|reset by peer",
        "the server closed the connection while it was being opened",
        "is this a PostgreSQL port?",
    ),
)


def connect_failure(
    error: psycopg.Error, url: Url, timeout_ms: int, *, untrusted: tuple[str, str] = ("", "")
) -> GaiaopsError:
    """The error for a connection that could not be opened: a ConnectError, or a UsageError where libpq did not take the
    connection string. Secrets are masked. `untrusted` is why a certificate is not trusted, see tls.why_untrusted.
    """
    text = tls.without_offer(_WHERE.sub("", str(error)), url)
    first = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "connection failed")
    first = re.sub(r"^.*?(?:failed: )?(?:FATAL|ERROR):\s+", "", first)
    message, hint, values = _cause(tls.MISTAKES, text)
    kind: type[GaiaopsError] = UsageError if message else ConnectError
    if not message and tls.UNTRUSTED in text:
        message, hint = tls.untrusted(untrusted)
    if not message:
        message, hint, values = _cause(_CONNECT_CAUSES, text)
    values = {name: url.hide(value) for name, value in values.items()} | {
        "user": url.user or "", "database": url.database, "first": url.hide(first), "env": "ENV",
        "timeout": show_duration(timeout_ms), "server": url.server, **tls.words(url, url.hide(text), url.hide(first)),
    }  # fmt: skip
    if url.tunnel:
        hint = hint.replace(_PROXY_HINT, "the tunnel is up: is the server behind it?")
    return kind(f"{(message or '{first}').format_map(values)} ({url.address})", hint=hint.format_map(values))


def _cause(causes: tuple[tuple[str, str, str], ...], text: str) -> tuple[str, str, dict[str, str]]:
    """What is said and the next step of the first cause that the text holds, and the named parts of the text."""
    for pattern, message, hint in causes:
        if found := re.search(pattern, text, re.IGNORECASE):
            return message, hint, found.groupdict("")
    return "", "", {}


# A conflict with recovery (manual 26.4.2); where it is raised tells it from others, in any language.
_CONFLICTS = ("40001", "40P01", "57P04")
_ON_PRIMARY = (
    "run it on the primary: --primary; or the replica needs hot_standby_feedback = on, or a longer"
    " max_standby_streaming_delay"
)


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
    if state in _CONFLICTS and (field(Field.SOURCE_FILE) == "postgres.c" or "recovery" in message):
        text, detail, hint = f"the replica cancelled it, to go on replaying: {text}", hint, _ON_PRIMARY
    elif state in ("57P01", "57P02", "57P03") or state.startswith("08"):
        ended = StatementError(f"the server ended the connection: {text}", hint="the result is incomplete")
        return pooler.failure(message) or ended
    elif state in ("42601", "42704") and sql.lstrip().startswith("\\"):
        hint = "backslash commands belong to psql: gaiaops connect"
    return StatementError(text, detail=detail, hint=hint)


GRACE_MS = 5_000  # the server's own timeout should speak first


def no_answer(timeout_ms: int, address: str) -> NoAnswerError:
    """The error for a server that stays silent, a grace longer than a statement may take."""
    return NoAnswerError(
        f"no answer from the server after {show_duration(timeout_ms)}{_at(address)}",
        hint="give it more with --timeout, or look: gaiaops activity ENV",
    )


def _at(address: str) -> str:
    return f" ({address})" if address else ""


def lost_connection(message: str, address: str) -> LostServerError:
    """The error for a connection that broke in the middle of a statement."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    first = lines[0] if lines else "the connection was lost"
    return LostServerError(f"lost the server in mid-stream: {first}{_at(address)}", hint="the result is incomplete")


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
