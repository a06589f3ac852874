"""What a pooler says in its own name, while a connection is opened or later: one text, so one table. Pure.

The texts are PgBouncer's (1.18, src/client.c, src/objects.c, src/janitor.c) and Supavisor's (its list of errors).
"""

from __future__ import annotations

import re

from gaiaops.errors import ConnectError, DeadlineError, GaiaopsError

_BUSY = "all its connections are in use, or the server behind it is down; SHOW POOLS on its console says which"
# (what the pooler's text holds, what is said, the next step, whether a deadline passed); the first match counts.
CAUSES: tuple[tuple[str, str, str, bool], ...] = (
    (
        r"unsupported startup parameter",
        "the pooler refused: {first}",
        "a pooler takes no startup options: leave them out of the connection string, or use the direct port",
        False,
    ),
    (r"query_wait_timeout|unable to check ?out", "the pooler had no connection for us in time: {first}", _BUSY, True),
    (
        r"server_login_retry|server login (?:has been failing|failed)|server down|cannot connect to server"
        r"|worker_not_found|Connection failed \{:error",
        "the pooler does not get into the server behind it: {first}",
        "is that server up? the pooler's log has the reason",
        False,
    ),
    (
        r"no more connections allowed|max_client_conn|max client(?: connection)?s reached|MaxClients",
        "the pooler takes no more clients: {first}",
        "try again in a moment; its limit is max_client_conn (Supavisor, session mode: the pool size)",
        False,
    ),
    (
        r"database removed|is disabled|pooler is (?:paused|shut)|shut down now|server is shutting down",
        "the pooler has closed the database: {first}",
        "somebody paused, killed or disabled it on the pooler's console; try again in a moment",
        False,
    ),
    (
        r"not allowed in statement pooling mode",
        "the pooler is in statement mode: {first}",
        "gaiaops needs transactions: pool_mode = transaction or session, or the direct port",
        False,
    ),
    (
        r"^query timeout",
        "the pooler ended the statement: {first}",
        "its query_timeout is shorter than ours; use the direct port for what takes long",
        True,
    ),
    (
        r"^idle transaction timeout",
        "the pooler ended the transaction: {first}",
        "its idle_transaction_timeout is shorter than ours; use the direct port for what takes long",
        True,
    ),
    (
        r"Tenant or user not found",
        "the pooler refused: {first}",
        "the user is NAME.PROJECT there (postgres.abcdefgh); check the user and the host's region",
        False,
    ),
    (r"no such user", "the pooler refused: {first}", "check the user in the connection string", False),
    (r"no such database", "the pooler refused: {first}", "check the database in the connection string", False),
    (r"pooler|pgbouncer", "the pooler refused: {first}", "use the direct or the session port", False),
)


def failure(message: str) -> GaiaopsError | None:
    """The error for what a pooler said in the middle of a connection; None where it is none of its texts.

    >>> failure("query_wait_timeout").code.name
    'TIMEOUT'
    """
    for pattern, said, hint, late in CAUSES:
        if re.search(pattern, message, re.IGNORECASE):
            return (DeadlineError if late else ConnectError)(said.format(first=message), hint=hint)
    return None
