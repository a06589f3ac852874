"""Puts back what a run removed: the archive read backwards, like an undo log.

A row refers to rows that were there when it was taken out, so they were taken out later or not at all: the last
segment goes back first, and in it the last statement. A segment goes back in one transaction, by COPY; where that
meets a row that is there, the segment is staged and compared instead.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import msgspec

from gaiaops.cleanup import apply, putback, together
from gaiaops.cleanup.archive import Run
from gaiaops.cleanup.journal import Segment, State
from gaiaops.cleanup.plan import users_of
from gaiaops.cleanup.settle import settle
from gaiaops.cleanup.undo import Restored, Undo, add_up
from gaiaops.errors import RefusedError, UsageError, located
from gaiaops.postgres import catalog
from gaiaops.postgres import session as pg
from gaiaops.postgres.changes import check_server, short_waits
from gaiaops.postgres.identity import check_only_name
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Catalog, Table
from gaiaops.registry.model import Environment, Registry, Timeouts
from gaiaops.rundir import RunFolder

COMMAND = "restore"


class Options(msgspec.Struct, frozen=True):
    """Whom to restore (an address, None: everybody), and whether only to compare."""

    user: str | None = None
    dry_run: bool = False


def restore(registry: Registry, env: Environment, run: Run, options: Options, hooks: apply.Hooks) -> Restored:
    """Restores a run, or one person of it; a dry run compares only.

    Raises RefusedError where the archive was changed, or comes from another server or another schema, UsageError
    where the user is not in the run.
    """
    with located(env.name), run.lock(), ExitStack() as stack:
        if options.user is not None and not numbers(run, options.user):
            raise not_in(run, options.user)
        (ready,) = prepare(registry, env, [run], options, stack)
        outcome = put_back(ready, options, hooks)
        outcome.lost = lost(env, ready.state)
        return outcome


class Ready(msgspec.Struct):
    """A run, or a shard's part of one, that may go back: everything was checked. `segments` are in the order in which
    they go back."""

    run: Run
    env: Environment
    session: Session
    timeouts: Timeouts
    read: Catalog
    tables: dict[str, Table]
    state: State
    segments: list[Segment]


def prepare(
    registry: Registry, env: Environment, runs: Sequence[Run], options: Options, stack: ExitStack
) -> list[Ready]:
    """Connects to the database of these runs, until `stack` is closed, and checks; nothing is changed. The caller has
    the runs' locks. Raises as `restore`."""
    for run in runs:
        apply.check_users_file(run, run.plan())
    timeouts = short_waits(env)
    check_only_name(registry, env)
    session = stack.enter_context(pg.changing(env.postgres_url(), timeouts, COMMAND))
    check_server(session, env, runs[0].plan().server)
    read = catalog.read(session)
    users = catalog.find(session, read, "users")
    found = []
    for run in runs:
        if users is not None:
            settle(session, run, users)
        state = run.state()
        if state.broken:
            raise RefusedError(f"the archive was changed: {state.broken}", hint="nothing was restored from it")
        segments = list(reversed(state.committed.values()))  # in the order of their commits, backwards
        tables = putback.check_compatible(read, [section for s in segments for section in s.sections])
        for segment in segments:
            run.verify(segment)
        found.append(Ready(run, env, session, timeouts, read, tables, state, segments))
    return found


def put_back(ready: Ready, options: Options, hooks: apply.Hooks) -> Restored:
    """Puts a run's rows back, or one person's; a dry run compares only."""
    run, session = ready.run, ready.session
    chosen = None if options.user is None else numbers(run, options.user)
    with ExitStack() as stack:
        undos = [Undo(session, ready.read, ready.tables, run)]
        undos[0].numbers, undos[0].dry_run = chosen, options.dry_run
        if chosen is None and not options.dry_run:
            for _ in range(min(apply.workers(session), len(ready.segments)) - 1):
                another = stack.enter_context(pg.changing(ready.env.postgres_url(), ready.timeouts, COMMAND))
                undos.append(Undo(another, ready.read, ready.tables, run))
        for undo in undos:
            undo.again = ready.state.restoring or run.guests  # a guest's rows may have been taken out twice
        if not options.dry_run:
            run.note("restoring")
        outcome = _Restore(undos, ready.segments, hooks).go()
        if options.user is not None and not options.dry_run:
            run.note("restored user", address=options.user)
        return outcome


class _Restore:
    """Hands segments out: first straight, several at once; those that cannot go so, one by one, in their order."""

    def __init__(self, undos: Sequence[Undo], segments: Sequence[Segment], hooks: apply.Hooks) -> None:
        self.undos = undos
        self.segments = segments
        self.hooks = hooks
        self.lock = threading.Lock()
        self.handed = self.done = 0
        self.difficult: set[int] = set()
        self.failure: Exception | None = None
        self.aborted = False

    def go(self) -> Restored:
        first = self.undos[0]
        if first.numbers is None and not first.dry_run:
            self._straight()
        else:
            self.difficult = {segment.number for segment in self.segments}
        for segment in self.segments:
            if segment.number in self.difficult and not self.hooks.stop():
                first.compared(segment)
                self.difficult.discard(segment.number)
                self.done += 1
                self._progress()
        outcome = add_up([undo.outcome for undo in self.undos])
        outcome.interrupted = self.hooks.stop() and self.done < len(self.segments)
        return outcome

    def _straight(self) -> None:
        works = [(undo.session, partial(self._work, undo)) for undo in self.undos]
        together.run(works, self._progress, self._abort)
        if self.failure is not None:
            raise self.failure

    def _abort(self) -> None:
        self.aborted = True

    def _work(self, undo: Undo) -> None:
        while True:
            with self.lock:
                ended = self.handed == len(self.segments) or self.failure is not None or self.aborted
                if ended or self.hooks.stop():
                    return
                segment = self.segments[self.handed]
                self.handed += 1
            try:
                straight = undo.straight(segment)
            except Exception as error:
                self.failure = self.failure or error
                return
            with self.lock:
                if straight:
                    self.done += 1
                else:
                    self.difficult.add(segment.number)

    def _progress(self) -> None:
        self.hooks.progress(self.done, len(self.segments), sum(undo.outcome.rows for undo in self.undos))


def numbers(run: Run, address: str) -> frozenset[int]:
    """The numbers of the run's users of an address."""
    return frozenset(n for n, _, mine in users_of(run.users_file) if mine.casefold() == address.casefold())


def not_in(run: RunFolder, address: str) -> UsageError:
    """The error for a person who is not in a run."""
    return UsageError(f"{address} is not in run {run.id}", hint=f"gaiaops runs {run.id} lists its users")


def lost(env: Environment, state: State) -> list[str]:
    """What no archive holds."""
    found = []
    if env.redis is not None and state.committed:
        found.append("Redis: sessions and cached keys (people log in again, the cache fills itself)")
    removed = [outcome for outcome in state.auth.values() if outcome in ("deleted", "soft-deleted")]
    for outcome in sorted(set(removed)):
        found.append(f"Supabase Auth: {removed.count(outcome)} users were {outcome}; they register again")
    return found
