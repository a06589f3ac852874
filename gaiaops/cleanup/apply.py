"""Applies a plan, batch by batch, until it is done or told to stop; and finishes what a crash left."""

from __future__ import annotations

import hashlib
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import msgspec

from gaiaops import rundir
from gaiaops.cleanup import preflight, together
from gaiaops.cleanup.archive import Run
from gaiaops.cleanup.batch import Job
from gaiaops.cleanup.pace import Pace
from gaiaops.cleanup.plan import Plan
from gaiaops.cleanup.planner import COMMAND, read_graph
from gaiaops.cleanup.selection import cap
from gaiaops.cleanup.settle import CacheCleaner, settle
from gaiaops.cleanup.worker import Shared, Worker
from gaiaops.errors import RefusedError, StatementError, located
from gaiaops.postgres import queries
from gaiaops.postgres import session as pg
from gaiaops.postgres.changes import batch_timeouts, check_server
from gaiaops.postgres.identity import check_only_name
from gaiaops.postgres.session import Session
from gaiaops.registry.model import Environment, Registry, Timeouts

# The server works on two batches at once: foreign keys are checked row by row, and one core is kept busy by it.
WORKERS = 2


def workers(session: Session) -> int:
    """How many sessions work at once: through a transaction pooler each transaction has the database's one place."""
    return 1 if session.pooled else WORKERS


class Hooks(msgspec.Struct):
    """What the command line hears and says: progress(users, of, rows), stop() and notice(text)."""

    progress: Callable[[int, int, int], None]
    stop: Callable[[], bool]
    notice: Callable[[str], None]


class Outcome(msgspec.Struct):
    """What one call did: `users` and `rows` now; `left` users were to go and did not; `interrupted` by stop()."""

    run: str
    users: int = 0
    rows: int = 0
    set: int = 0
    skipped: dict[str, str] = {}
    left: int = 0
    gone: int = 0
    interrupted: bool = False
    cache_removed: int = 0
    cache_left: int = 0
    cache_failure: str = ""


def apply(registry: Registry, env: Environment, run: Run, hooks: Hooks) -> Outcome:
    """Purges the users of a run's plan who are still there. The run's lock is taken for as long as it works.

    Raises RefusedError where the plan does not fit the server, ConnectError, LostServerError (run it again), and
    the error of a statement that no retry helps.
    """
    with located(env.name), run.lock(), ExitStack() as stack:
        try:
            ready = prepare(registry, env, run, stack)
        except RefusedError:
            if run.fresh:  # it has done nothing, and must not stand in the way of the next one
                rundir.remove(run.folder)
            raise
        return purge(ready, CacheCleaner(env, run, registry.user_keys), hooks)


class Ready(msgspec.Struct):
    """A run that may begin: its session has the database's one place for clean-ups, and everything was checked."""

    env: Environment
    session: Session
    job: Job
    timeouts: Timeouts


def prepare(registry: Registry, env: Environment, run: Run, stack: ExitStack) -> Ready:
    """Connects, until `stack` is closed, and checks; nothing is changed. The caller has the run's lock. Raises as
    `apply`."""
    session = stack.enter_context(pg.changing(env.postgres_url(), env.timeouts, COMMAND))
    check_users_file(run, run.plan())
    check_only_name(registry, env)
    job, timeouts = _check(registry, env, run, session)
    session.use(timeouts)
    return Ready(env, session, job, timeouts)


def purge(ready: Ready, cache: CacheCleaner, hooks: Hooks, without: Mapping[int, str] | None = None) -> Outcome:
    """Purges the users of a run's plan who are still there, but those whose numbers are in `without`, with the
    reason. Raises as `apply`."""
    env, session, job = ready.env, ready.session, ready.job
    with ExitStack() as stack:
        settle(session, job.run, job.graph.tables[job.graph.users])
        others = [
            stack.enter_context(pg.changing(env.postgres_url(), ready.timeouts, COMMAND))
            for _ in range(min(workers(session), job.plan.users) - 1)
        ]
        return _Purge(job, cache, hooks, without or {}).go([session, *others])


def finish_cache(registry: Registry, env: Environment, run: Run) -> Outcome:
    """Removes the Redis entries that a run has left, where its plan cannot be gone on with, and closes the run."""
    with located(env.name), run.lock():
        outcome = Outcome(run.id)
        clean_left(CacheCleaner(env, run, registry.user_keys), outcome)
        run.note("ended", left=outcome.cache_left, segments=len(run.state().committed))
        return outcome


def clean_left(cache: CacheCleaner, outcome: Outcome) -> None:
    """A last try for the entries that are still to go; what fails is remembered by the journal."""
    outcome.cache_left = cache.finish()
    outcome.cache_removed = cache.removed
    outcome.cache_failure = cache.failure.message if cache.failure else ""


def _check(registry: Registry, env: Environment, run: Run, session: Session) -> tuple[Job, Timeouts]:
    """Nothing is changed before the server is the plan's, nobody else cleans up, and the schema is as it was."""
    plan, fresh = run.plan(), run.fresh
    facts = check_server(session, env, plan.server)
    graph = read_graph(registry, env, session)
    shape = session.fetch(queries.load("shape"), {"oids": [table.oid for table in graph.touched]})[0][0]
    again = "make a new plan: gaiaops cleanup ENV"
    if read_graph(registry, env, session).fingerprint() != graph.fingerprint():
        raise RefusedError("the schema is being changed", hint="run it again")
    if graph.fingerprint() != plan.fingerprint:
        raise RefusedError("the schema is not that of the plan", hint=again)
    if fresh and facts.now > plan.until:
        raise RefusedError(f"the plan was good until {plan.until}", hint=again)
    if fresh:
        in_all = session.count_rows(graph.tables[graph.users].sql)
        if plan.users > cap(in_all, plan.max_users):
            raise RefusedError(f"the plan takes {plan.users} of {in_all} users, more than it may", hint=again)
    for refusal in preflight.refusals(graph, facts, {}):
        raise RefusedError(refusal)
    if session.fetch("SELECT current_setting('default_transaction_read_only')")[0][0] == "on" and not session.pooled:
        raise RefusedError(
            "default_transaction_read_only is on: the database takes no writes", hint="is its disk full?"
        )
    return Job(run, plan, graph, shape), batch_timeouts(env, facts.deadlock_ms)


class _Purge:
    """Hands the users out to the workers, and waits."""

    def __init__(self, job: Job, cache: CacheCleaner, hooks: Hooks, without: Mapping[int, str]) -> None:
        self.job = job
        self.run = job.run
        self.plan = job.plan
        self.hooks = hooks
        self.cache = cache
        self.without = without
        self.outcome = Outcome(job.run.id)

    def go(self, sessions: Sequence[Session]) -> Outcome:
        state = self.run.state()
        heavy = {int(number): rows for number, rows in self.plan.heavy.items()}
        average = (self.plan.deletes - sum(heavy.values())) / max(1, self.plan.users)
        shared = Shared(self.job, self.cache, Pace(average, heavy), self.hooks.stop, state.last)
        workers = [Worker(session, shared, first=session is sessions[0]) for session in sessions]
        waiting = array("i", range(1, self.plan.users + 1))
        if state.last:  # it was begun before: who is left is asked of the database
            waiting, changed = workers[0].remaining()
            workers[0].skip(changed, "the address changed")
            self.outcome.gone = max(0, self.plan.users - len(waiting) - len(changed) - state.users)
        self.run.note("started", users=len(waiting), cache=self.cache.needed)
        for why in dict.fromkeys(self.without.values()):
            workers[0].skip([number for number in waiting if self.without.get(number) == why], why)
        shared.give(array("i", (number for number in waiting if number not in self.without)))
        try:
            self.cache.clean(self.run.state().to_clean())
            self._run(workers, shared, shared.left)
            self._again(workers[0], shared)
        finally:
            self._tell(shared)
            clean_left(self.cache, self.outcome)
        self.outcome.interrupted = self.hooks.stop() and shared.left > 0
        self.outcome.left = shared.left
        left = self.outcome.left + self.outcome.cache_left
        self.run.note("ended", left=left, segments=len(self.run.state().committed))
        return self.outcome

    def _run(self, workers: Sequence[Worker], shared: Shared, total: int) -> None:
        def tick() -> None:
            self.hooks.progress(shared.users, total, shared.rows)
            shared.tell(self.hooks.notice)

        together.run([(worker.session, worker.run) for worker in workers], tick, shared.abort)
        if shared.failure is not None:
            raise shared.failure

    def _again(self, worker: Worker, shared: Shared) -> None:
        """Users whom somebody had locked get three more chances."""
        for pause in (0.5, 1.0, 2.0):
            if not shared.locked or self.hooks.stop():
                return
            time.sleep(pause)
            worker.take(shared.unlocked())
            if shared.failure is not None:
                raise shared.failure
        if shared.locked:
            worker.skip(list(shared.unlocked()), "locked by another session", left=True)

    def _tell(self, shared: Shared) -> None:
        self.outcome.users, self.outcome.rows, self.outcome.set = shared.users, shared.rows, shared.set
        self.outcome.skipped = shared.skipped
        self.outcome.gone += shared.gone


def check_users_file(run: Run, plan: Plan) -> None:
    """Raises RefusedError where the run's list of users is not the plan's."""
    digest, numbers = hashlib.sha256(), 0
    try:
        with run.users_file.open("rb") as file:
            for line in file:
                digest.update(line)
                numbers += 1
    except OSError as error:
        raise StatementError(f"run {run.id} cannot be read: {error.strerror}") from None
    if digest.hexdigest() != plan.sha256 or numbers != plan.users:
        raise RefusedError(f"the users of run {run.id} are not those of its plan", hint="nothing was changed")
