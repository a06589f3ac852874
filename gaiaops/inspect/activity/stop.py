"""`--cancel` and `--terminate`: whether a session may be signalled at all, and the signal."""

from __future__ import annotations

import time

import msgspec

from gaiaops.errors import RefusedError, StatementError
from gaiaops.inspect.activity.values import AUTOVACUUM, CLIENT, Look, Session
from gaiaops.postgres import signal
from gaiaops.postgres.identity import check_pin
from gaiaops.postgres.probe import Probe
from gaiaops.registry.model import Environment

CANCEL, TERMINATE = "cancel", "terminate"
NOTHING = "nothing was done"
_PATIENCE_S, _PAUSE_S = 3.0, 0.05


class Target(msgspec.Struct, frozen=True):
    """A session as it was shown to somebody who wants it signalled.

    `doing` is what it has to be doing still: a `statement`, idle in a `transaction`, or nothing (`session`).
    """

    session: Session
    action: str
    doing: str
    warning: str = ""

    def condition(self) -> dict[str, object]:
        """The values of activity_signal.sql."""
        one = self.session
        return {
            "pid": one.pid,
            "backend_start": one.backend_start,
            "xact_start": one.xact_start,
            "query_start": one.query_start,
            "doing": self.doing,
        }


class Outcome(msgspec.Struct, frozen=True):
    """What became of a session: whether it stopped what it did, in which state it is (None: gone), after how long."""

    ended: bool
    state: str | None
    waited_s: float


def aim(look: Look, pid: int, action: str, *, all_databases: bool = False) -> Target:
    """The session to be signalled. Pure.

    Raises StatementError where there is none of this pid, RefusedError where it must not be signalled, or where it
    cannot be told what it does.
    """
    one = look.session(pid)
    if pid == look.own:
        raise RefusedError(f"session {pid} is gaiaops's own; {NOTHING}")
    if one is None:
        raise StatementError(f"there is no session {pid}; {NOTHING}", hint="it may have ended: gaiaops activity ENV")
    warning = _check_kind(one, action)
    if one.database != look.database and not all_databases:
        raise RefusedError(
            f'session {pid} is of database "{one.database}", not "{look.database}"; {NOTHING}',
            hint="add --all-databases if you mean it",
        )
    if one.running:
        return Target(one, action, "statement", warning)
    if action == CANCEL:
        raise _runs_nothing(one)
    if one.in_transaction:
        return Target(one, action, "transaction")
    if one.state == "idle":
        return Target(one, action, "session")
    raise _unknown(pid, f"its state is {one.state or 'unknown'}", "end it by hand if you must: gaiaops connect ENV")


def _check_kind(one: Session, action: str) -> str:
    """Gives a warning, or raises RefusedError for a process that is not to be signalled or cannot be seen."""
    if one.hidden:
        needs = "the role needs pg_monitor (or pg_read_all_stats)"
        raise _unknown(one.pid, "this role may not see other users' sessions", needs)
    if one.leader != one.pid:
        raise RefusedError(
            f"process {one.pid} is a parallel worker of session {one.leader}; {NOTHING}",
            hint=f"gaiaops activity ENV --{action} {one.leader}",
        )
    if one.kind == AUTOVACUUM:
        if action == TERMINATE:
            raise RefusedError(
                f"process {one.pid} is an autovacuum worker; {NOTHING}",
                hint=f"it can be cancelled: gaiaops activity ENV --{CANCEL} {one.pid}",
            )
        urgent = "wraparound" in (one.query or "")
        return f"session {one.pid} is an autovacuum worker: it will begin again" + (
            ", and this one keeps the server from running out of transaction ids" if urgent else ""
        )
    if one.kind != CLIENT:
        why = "a replica or a backup reads from it" if one.kind == "walsender" else "it is no client's session"
        raise RefusedError(f"process {one.pid} is a {one.kind}: {why}; {NOTHING}", hint="gaiaops activity ENV")
    return ""


def _unknown(pid: int, why: str, hint: str) -> RefusedError:
    return RefusedError(f"cannot tell what session {pid} does: {why}; {NOTHING}", hint=hint)


def _runs_nothing(one: Session) -> RefusedError:
    if one.in_transaction:
        return RefusedError(
            f"session {one.pid} is {one.state}: there is no statement to cancel; {NOTHING}",
            hint=f"end the session, which rolls its transaction back: gaiaops activity ENV --{TERMINATE} {one.pid}",
        )
    return RefusedError(
        f"session {one.pid} runs nothing (it is {one.state or 'in an unknown state'}); {NOTHING}",
        hint="gaiaops activity ENV shows what runs",
    )


def identify(probe: Probe, env: Environment) -> tuple[str, str]:
    """(system identifier, database) behind the name. Raises RefusedError where the registry pins another."""
    found = signal.identity(probe)
    check_pin(env, found)
    return found


def act(probe: Probe, target: Target) -> None:
    """Sends the signal. Raises RefusedError where the session does not do any more what was shown, StatementError where
    the role may not, and the error tree's errors."""
    if not signal.send(probe, target.action, target.condition()):
        pid = target.session.pid
        what = {"statement": "runs this statement", "transaction": "is idle in this transaction"}
        raise RefusedError(
            f"session {pid} no longer {what.get(target.doing, 'is as it was shown')}; {NOTHING}",
            hint="look again: gaiaops activity ENV",
        )


def settle(probe: Probe, target: Target, patience_s: float = _PATIENCE_S) -> Outcome:
    """Waits until the session has stopped what it did, or for so long. Raises the error tree's errors."""
    began = time.monotonic()
    while True:
        found = signal.after(probe, target.condition())
        waited = time.monotonic() - began
        ended = found is None or (target.action == CANCEL and not found[1])
        if ended or waited >= patience_s:
            return Outcome(ended, None if found is None else found[0], waited)
        time.sleep(_PAUSE_S)


def remedy(one: Session | None) -> tuple[str, str]:
    """(`cancel`, `terminate` or nothing, why) for somebody who blocks others. Pure."""
    action, why = "", ""
    if one is None:
        why = "it is gone by now"
    elif one.hidden:
        why = "what it does cannot be seen: needs pg_monitor"
    elif one.kind == AUTOVACUUM:
        action, why = CANCEL, "it will begin again"
    elif one.kind != CLIENT:
        why = f"a {one.kind} is not to be signalled"
    elif one.running:
        action = CANCEL
    elif one.in_transaction:
        action, why = TERMINATE, "idle: there is no statement to cancel"
    elif one.state == "idle":
        action, why = TERMINATE, "idle, but its session holds a lock: there is no statement to cancel"
    else:
        why = f"its state is {one.state or 'unknown'}"
    return action, why
