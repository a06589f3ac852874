"""Asks the replicas of an environment what they are, and how far behind.

All replicas are asked at once, each for a short time. One that does not answer, is too far behind, is no replica or is
one of another system is passed over; nothing that was not asked is ever taken for good.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetError

import msgspec

from gaiaops import threads
from gaiaops.errors import GaiaopsError, UsageError
from gaiaops.postgres import queries
from gaiaops.postgres.probe import Probe, probing
from gaiaops.postgres.replica import DOWN, Choice, Primary, State, pick
from gaiaops.registry.model import Environment, Timeouts

_COMMAND = "replica"
_CONNECT_MS = 2_000
_STATEMENT_MS = 1_000
_PRIMARY_S = 1.0  # a primary that says nothing is not waited for: it may be why somebody reads from a replica
_SETTLE_S, _PAUSE_S = 0.2, 0.02  # what the primary has just written is on its way


def choose(env: Environment, max_lag: int | None) -> Choice:
    """Asks the replicas, and waits no longer than it takes to decide. Raises nothing for one that does not answer."""
    states: dict[int, State] = {}
    for state in states_of(env):
        states[state.number] = state
        if choice := pick(states, len(env.replicas), max_lag):
            return choice
    return Choice(None)


def states_of(env: Environment) -> Iterator[State]:
    """All replicas of an environment, as they answer."""
    primary = asking(env)
    numbers = range(1, len(env.replicas) + 1)
    yield from threads.as_completed(numbers, lambda number: state_of(env, number, primary))


def asking(env: Environment) -> Future[Primary | None]:
    """The primary's answer, when it comes; None where it does not."""
    answer: Future[Primary | None] = Future()
    threading.Thread(target=_ask_primary, args=(env, answer), daemon=True).start()
    return answer


def _ask_primary(env: Environment, answer: Future[Primary | None]) -> None:
    try:
        with probing(env.postgres_url(), _timeouts(env), _COMMAND, statement_ms=_STATEMENT_MS) as probe:
            answer.set_result(primary_of(probe))
    except Exception:  # whoever reads from it next will hear of it
        if not answer.done():
            answer.set_result(None)


def _timeouts(env: Environment) -> Timeouts:
    return msgspec.structs.replace(env.timeouts, connect=min(env.timeouts.connect, _CONNECT_MS))


def primary_of(probe: Probe) -> Primary:
    """What replicas are compared with. Raises the error tree's errors."""
    _, database, written, *_ = probe.ask(queries.load("replica_state"))[0]
    return Primary(_system(probe), str(database), written)


def _system(probe: Probe) -> str:
    try:
        return str(probe.ask("SELECT system_identifier::text FROM pg_control_system()")[0][0])
    except GaiaopsError:  # a provider may keep it to itself
        return ""


def state_of(env: Environment, number: int, primary: Future[Primary | None]) -> State:
    """One replica, over a connection of its own."""
    replica = env.from_replica(number)
    try:
        url = replica.postgres_url()
    except UsageError as error:
        return State(number, "", problem=f"cannot be used: {error.message.rpartition(': ')[2]}", wrong=True)
    if url.place == _place(env):
        return State(number, url.address, problem="is the primary itself by its connection string", wrong=True)
    try:
        with probing(url, _timeouts(env), _COMMAND, statement_ms=_STATEMENT_MS) as probe:
            return examine(probe, State(number, url.address), env, primary)
    except GaiaopsError as error:
        why = error.message.removesuffix(f" ({url.address})")
        return State(number, url.address, problem=DOWN + why)


def _place(env: Environment) -> tuple[object, ...] | None:
    try:
        return env.postgres_url().place
    except UsageError:
        return None


def heard(primary: Future[Primary | None]) -> Primary | None:
    """The primary's answer, where it comes soon."""
    try:
        return primary.result(_PRIMARY_S)
    except NotYetError:
        return None


def examine(probe: Probe, blank: State, env: Environment, primary: Future[Primary | None]) -> State:
    """A replica that answers: what it is, and how far it is behind. Raises the error tree's errors."""
    copied = heard(primary)  # first: what the replica shows afterwards can be held against it
    recovery, database, *_ = probe.ask(queries.load("replica_state"))[0]
    problem = "" if recovery else "is no replica: it was promoted, or the registry is wrong"
    problem = problem or difference(env, copied, _system(probe), str(database))
    if problem:
        return msgspec.structs.replace(blank, problem=problem, wrong=True)
    return msgspec.structs.replace(blank, lag=_lag(probe, copied.written if copied else None))


def difference(env: Environment, primary: Primary | None, system: str, database: str) -> str:
    """How a server differs from the primary, or from what the registry pins; "" where it does not. Pure."""
    wanted = (env.pin.system_identifier or (primary.system if primary else ""), system, "system")
    named = (env.pin.database or (primary.database if primary else _database(env)), database, "database")
    for expected, found, what in (wanted, named):
        if expected and found and expected != found:
            return f"is of another {what} ({found}, not {expected})"
    return ""


def _database(env: Environment) -> str:
    try:
        return env.postgres_url().database
    except UsageError:
        return ""


def _lag(probe: Probe, written: int | None) -> float | None:
    """Seconds that a replica is behind.

    One that has replayed all that the primary had written when it was asked is not behind at all, whenever that was.
    Where the primary did not answer, it must have replayed all it has and be streaming: that it hears nothing then
    means that there is nothing. What waits for the rest of a record must do so twice: it may just be about to wake up.
    """
    end = time.monotonic() + _SETTLE_S
    waited = False
    while True:
        *_, had, replayed, streaming, waiting, age = probe.ask(queries.load("replica_state"))[0]
        all_here = streaming if written is None else had >= written
        all_shown = replayed >= (had if written is None else written) or (waiting and waited)
        if all_here and all_shown:
            return 0.0
        if time.monotonic() > end:
            return None if age is None else max(0.0, float(age))
        waited = bool(waiting)
        time.sleep(_PAUSE_S)
