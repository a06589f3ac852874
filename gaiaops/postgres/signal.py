"""Signals to sessions: the only question to a server that does something to it."""

from __future__ import annotations

from collections.abc import Mapping

from gaiaops.errors import GaiaopsError, StatementError
from gaiaops.postgres import queries
from gaiaops.postgres.probe import Probe
from gaiaops.postgres.session import IDENTITY


def identity(probe: Probe) -> tuple[str, str]:
    """(system identifier, database) of the server behind the name."""
    row = probe.ask(IDENTITY)[0]
    return str(row[0]), str(row[1])


def send(probe: Probe, action: str, target: Mapping[str, object]) -> bool:
    """Cancels (`cancel`) or ends (`terminate`) a session, in one statement that reads it again.

    Gives False where it is not any more what `target` says (see activity_signal.sql), or is gone: nothing was done.
    Raises StatementError where the role may not, and the error tree's errors.
    """
    try:
        rows = probe.ask(queries.load("activity_signal"), {**target, "action": action})
    except GaiaopsError as error:
        if error.sqlstate != "42501":  # insufficient_privilege
            raise
        failure = StatementError(
            error.message,
            hint="needs pg_signal_backend, or to be a member of the session's role; a superuser's session needs a"
            " superuser, an autovacuum worker too (18 and later: pg_signal_autovacuum_worker)",
        )
        failure.sqlstate = error.sqlstate
        raise failure from None
    return bool(rows and rows[0][0])


def after(probe: Probe, target: Mapping[str, object]) -> tuple[str, bool] | None:
    """(state, whether it still does the same) of a session; None where it is gone."""
    rows = probe.ask(queries.load("activity_after"), target)
    return (str(rows[0][0]), bool(rows[0][1])) if rows else None
