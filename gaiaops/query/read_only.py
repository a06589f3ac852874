"""How a shell is kept read-only: by a start-up option, or by its role where a pooler takes none."""

from __future__ import annotations

from enum import Enum

from gaiaops.errors import ConnectError, RefusedError, located
from gaiaops.postgres import session as pg
from gaiaops.registry.model import Environment

_COMMAND = "connect"
# A setting of the session is no answer: behind a pooler somebody else may have left it there.
_DEFAULT = (
    "SELECT setting = 'on' AND source NOT IN ('session', 'client') FROM pg_settings"
    " WHERE name = 'default_transaction_read_only'"
)


class Access(Enum):
    """What a shell may do: read, by an option that its connection begins with or by its role, or write."""

    READ = "read"
    READ_BY_ROLE = "read by role"
    WRITE = "write"


def reading(env: Environment) -> Access:
    """How a shell can be kept read-only.

    Raises RefusedError behind a pooler where nothing does: it takes no start-up options, and what a shell set at its
    start would be lost with the first transaction, or with \\c, while the prompt still said read-only. Raises
    ConnectError; where the connection string has no password the shell may ask for one, and is left to find out.
    """
    url = env.postgres_url()
    try:
        with located(env.name), pg.reading(url, env.timeouts, _COMMAND) as session:
            if not session.pooled and url.pooler != "session":
                return Access.READ
            if session.fetch(_DEFAULT)[0][0]:
                return Access.READ_BY_ROLE
    except ConnectError:
        if url.password is None and "password" not in dict(url.options):
            return Access.READ
        raise
    raise RefusedError(
        "a pooler keeps no shell read-only",
        hint=f"gaiaops query {env.name} reads under the guard; or name the direct port, a role with"
        " default_transaction_read_only = on, or --write",
        environment=env.name,
    )
