"""What every command that changes many rows needs of the server: its one place, its identity, faithful text, bounds,
and what became of a transaction.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import LiteralString

import msgspec

from gaiaops.errors import GaiaopsError, RefusedError
from gaiaops.postgres import catalog
from gaiaops.postgres import session as pg
from gaiaops.postgres.identity import check_pin
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import STANDBY, Facts
from gaiaops.registry.model import Environment, Timeouts
from gaiaops.registry.urls import Url

# Text that is read back as it was written, whatever the role's or the database's settings (manual 19.11).
FAITHFUL = (
    "SET LOCAL extra_float_digits = 1",
    "SET LOCAL datestyle = 'ISO, YMD'",
    "SET LOCAL intervalstyle = 'postgres'",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL lc_monetary = 'C'",
    "SET LOCAL xmloption = 'content'",
    "SET LOCAL row_security = off",
    "SET LOCAL jit = off",
    "SET LOCAL array_nulls = on",
    # What is acknowledged is on disk: a commit that a crash takes back would contradict the journal.
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'",
)

# Advisory locks are per database, and those of a session and of a transaction exclude each other (manual 13.3.5);
# the two numbers are ours ("gaia", 1).
_LOCK: LiteralString = "SELECT pg_try_advisory_lock(1734437217, 1)"
_TRANSACTION_LOCK: LiteralString = "SELECT pg_try_advisory_xact_lock(1734437217, 1)"
_LOCK_S = 1.5
_PATIENCE_S = 15


def short_waits(env: Environment) -> Timeouts:
    """The environment's bounds, with no lock waited for longer than 2 s."""
    return msgspec.structs.replace(env.timeouts, lock=min(env.timeouts.lock, 2_000))


def batch_timeouts(env: Environment, deadlock_ms: int) -> Timeouts:
    """Lock timeout 2 s at most, statement timeout 60 s at most.

    The lock timeout is kept to a quarter of deadlock_timeout: somebody who waits for us, and for whose row we then
    wait, looks for a deadlock one deadlock_timeout after they began (manual 19.12). By then we have given up, so
    that it is never they who are cancelled.
    """
    lock = max(50, min(2_000, deadlock_ms // 4))
    return msgspec.structs.replace(env.timeouts, lock=lock, statement=min(env.timeouts.statement or 60_000, 60_000))


def check_writable(facts: Facts) -> None:
    """Raises RefusedError for a replica."""
    if facts.standby:
        raise RefusedError(STANDBY, hint="name the primary in the registry")


def check_server(session: Session, env: Environment, server: str) -> Facts:
    """Takes the database's one place for such commands, and checks what is behind the name.

    Through a transaction pooler nothing can be held between transactions, and a session's lock would stay with one of
    its connections for ever: there the place is only looked at, and taken by each transaction (see `begin_change`).

    Raises RefusedError where another one runs, a pin does not match, or the server is not `server`.
    """
    facts = catalog.facts(session)  # first: whether there is such a lock
    if session.pooled:
        begin_change(session)
        session.rollback()
    else:
        _take(session, _LOCK)
    check_pin(env, (facts.identifier, facts.database))
    if facts.server != server:
        raise RefusedError(
            f"wrong database behind the name: expected {server}, this is {facts.server}",
            hint=f"gaiaops envs {env.name} shows where the connection string comes from",
        )
    return facts


def keep_place(session: Session) -> None:
    """Takes the place of a database that is only read, as long as the session is open; through a transaction pooler it
    is only looked at. What is to hold for the reader must be read in a later snapshot.

    Two who each have their own place and then look at the other's exclude each other either way: who looks second
    finds it taken, or what the first one committed. Raises RefusedError where another one has it.
    """
    _take(session, _TRANSACTION_LOCK if session.pooled else _LOCK)


def begin_change(session: Session, *settings: str) -> None:
    """Opens a writing transaction in the database's one place, which `check_server` has taken for the session; through
    a transaction pooler it is taken for this transaction. Raises RefusedError where another one has it."""
    session.begin(*settings)
    if session.pooled:
        try:
            _take(session, _TRANSACTION_LOCK)
        except GaiaopsError:
            session.rollback()
            raise


def _take(session: Session, lock: LiteralString) -> None:
    end = time.monotonic() + _LOCK_S
    while not session.fetch(lock)[0][0]:
        if time.monotonic() < end:  # the server may not have noticed yet that the last one has ended
            time.sleep(0.1)
            continue
        raise RefusedError(
            "another clean-up or restore of this database is running", hint="pg_stat_activity shows it as gaiaops"
        )


def transaction_status(session: Session, xid: str) -> str:
    """committed, aborted, or unknown where the server has forgotten (manual 9.28.10, pg_xact_status).

    Raises RefusedError where the transaction still runs.
    """
    end = time.monotonic() + _PATIENCE_S
    while True:
        # A transaction id from before a restore or a reset may be in the future, which is an error.
        row = session.fetch(
            "SELECT CASE WHEN %(xid)s::xid8 < pg_snapshot_xmax(pg_current_snapshot())"
            " THEN pg_xact_status(%(xid)s::xid8) ELSE 'unknown' END",
            {"xid": xid},
        )[0]
        if row[0] != "in progress":
            return str(row[0] or "unknown")
        if time.monotonic() > end:
            raise RefusedError(
                f"a transaction of this run still runs on the server (xid {xid})",
                hint="wait until it has ended, or end it: pg_stat_activity shows it as gaiaops",
            )
        time.sleep(0.2)


def assigned(session: Session) -> str:
    """The id of the open transaction, "" where it wrote nothing. Whatever the role may do by now, this it may."""
    return str(session.fetch("SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text")[0][0] or "")


def became(url: Url, timeouts: Timeouts, xid: str, who: Sequence[str]) -> str:
    """What became of a transaction whose COMMIT had no answer: committed or aborted, by a new connection's word.

    "" where nobody knows: the server cannot be reached, is not `who` (see session.WHO) any more or was restarted (it
    may have given the id to another transaction), or the transaction still runs.
    """
    if not xid:
        return "aborted"
    try:
        with pg.changing(url, timeouts, "outcome") as session:
            same = tuple(session.fetch(pg.WHO)[0]) == tuple(who)
            status = transaction_status(session, xid) if same else ""
    except GaiaopsError:
        return ""
    return status if status in ("committed", "aborted") else ""
