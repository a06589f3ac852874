"""Applies a plan, batch by batch, until it is done or told to stop; and finishes what a crash left."""

from __future__ import annotations

import hashlib
import random
import time
from array import array
from collections.abc import Callable, Sequence

import msgspec

from gaiaops.cleanup import preflight, statements
from gaiaops.cleanup.archive import Run
from gaiaops.cleanup.batch import Batcher, Done, Excluded
from gaiaops.cleanup.graph import Graph
from gaiaops.cleanup.pace import Pace
from gaiaops.cleanup.plan import Plan
from gaiaops.cleanup.planner import COMMAND, read_graph
from gaiaops.cleanup.settle import CacheCleaner, settle
from gaiaops.errors import GaiaopsError, LostServerError, RefusedError, StatementError, located
from gaiaops.postgres import catalog
from gaiaops.postgres import session as pg
from gaiaops.postgres.catalog import Facts
from gaiaops.postgres.session import Session
from gaiaops.registry.model import Environment, Registry, Timeouts

# Advisory locks are per database; these two numbers are ours ("gaia", 1).
_LOCK = "SELECT pg_try_advisory_lock(1734437217, 1)"
# deadlock, lock timeout, serialization failure, a foreign key hit by a concurrent insert, statement timeout
_RETRY = ("40P01", "55P03", "40001", "23503", "57014")
_TRIES = 6
_BEHIND_S = 10
_PATIENCE_S = 300


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


def batch_timeouts(env: Environment, deadlock_ms: int) -> Timeouts:
    """Lock timeout 2 s, statement timeout 60 s.

    The lock timeout is kept under twice deadlock_timeout: whoever begins to wait in a circle after we did checks
    for a deadlock later than we give up, so that it is never somebody else who is cancelled (manual 19.12).
    """
    lock = max(100, min(2_000, 2 * deadlock_ms - 100))
    return msgspec.structs.replace(env.timeouts, lock=lock, statement=60_000)


def apply(registry: Registry, env: Environment, run: Run, hooks: Hooks) -> Outcome:
    """Purges the users of a run's plan who are still there. The run's lock is taken for as long as it works.

    Raises RefusedError where the plan does not fit the server, ConnectError, LostServerError (run it again), and
    the error of a statement that no retry helps.
    """
    with located(env.name), run.lock():
        _check_users_file(run, run.plan())
        timeouts = msgspec.structs.replace(env.timeouts, statement=60_000)
        with pg.changing(env.postgres_url(), timeouts, COMMAND) as session:
            return _Purge(registry, env, run, session, hooks).go()


def check_server(session: Session, env: Environment, server: str) -> Facts:
    """Takes the database's one place for clean-ups and restores, and checks what is behind the name.

    Raises RefusedError where another one runs, a pin does not match, or the server is not `server`.
    """
    if not session.fetch(_LOCK)[0][0]:
        raise RefusedError(
            "another clean-up or restore of this database is running", hint="pg_stat_activity shows it as gaiaops"
        )
    facts = catalog.facts(session)
    pg.check_pin(env, (facts.identifier, facts.database))
    if facts.server != server:
        raise RefusedError(
            f"wrong database behind the name: expected {server}, this is {facts.server}",
            hint=f"gaiaops envs {env.name} shows where the connection string comes from",
        )
    return facts


class _Purge:
    def __init__(self, registry: Registry, env: Environment, run: Run, session: Session, hooks: Hooks) -> None:
        self.env = env
        self.run = run
        self.plan = run.plan()
        self.session = session
        self.hooks = hooks
        self.graph = self._check(registry)
        self.cache = CacheCleaner(env, run, registry.user_keys)
        self.outcome = Outcome(run.id)
        self.locked: list[int] = []

    def _check(self, registry: Registry) -> Graph:
        """Nothing is changed before the server is the plan's, nobody else cleans up, and the schema is as it was."""
        session, plan = self.session, self.plan
        facts = check_server(session, self.env, plan.server)
        session.timeouts = batch_timeouts(self.env, facts.deadlock_ms)
        graph = read_graph(registry, session)
        if graph.fingerprint() != plan.fingerprint:
            raise RefusedError("the schema is not that of the plan", hint="make a new plan: gaiaops cleanup ENV")
        fresh = self.run.state().last == 0
        if fresh and facts.now > plan.until:
            raise RefusedError(f"the plan was good until {plan.until}", hint="make a new plan: gaiaops cleanup ENV")
        for refusal in preflight.refusals(graph, facts, {}):
            raise RefusedError(refusal)
        return graph

    def go(self) -> Outcome:
        settle(self.session, self.run, self.graph.tables[self.graph.users])
        waiting = self._remaining()
        self.run.note("started", users=len(waiting))
        state = self.run.state()
        average = (self.plan.deletes - sum(self.plan.heavy.values())) / max(1, self.plan.users)
        self.pace = Pace(average, {int(number): rows for number, rows in self.plan.heavy.items()})
        self.batcher = Batcher(self.session, self.graph, self.run, allow_collateral=self.plan.allow_collateral)
        self.cache.clean({n: s for n, s in state.committed.items() if n not in state.cached})
        try:
            self._work(waiting)
        except BaseException:
            self._finish_cache()
            raise
        self._finish_cache()
        self.run.note("ended", left=self.outcome.left + self.outcome.cache_left)
        return self.outcome

    def _work(self, waiting: array[int]) -> None:
        at = 0
        while at < len(waiting) and not self.hooks.stop():
            size = self.pace.take(waiting[at : at + 100_000])
            self._take(waiting[at : at + size])
            at += size
            self.hooks.progress(self.outcome.users, len(waiting), self.outcome.rows)
        for pause in (0.5, 1.0, 2.0):  # users whom somebody had locked
            if not self.locked or self.hooks.stop():
                break
            time.sleep(pause)
            again, self.locked = self.locked, []
            self._take(again)
        self.outcome.interrupted = self.hooks.stop() and (at < len(waiting) or bool(self.locked))
        self.outcome.left = len(waiting) - at
        for number in self.locked:
            self._skip([number], "locked by another session")
        self.outcome.left += len(self.locked)

    def _take(self, numbers: Sequence[int]) -> None:
        """Takes these users; a batch that fails in a way that may pass is made smaller and tried again."""
        stack = [(list(numbers), 0)]
        while stack:
            batch, tries = stack.pop()
            if not batch:
                continue
            try:
                self._taken(batch, self.batcher.take(batch))
            except Excluded as excluded:
                self._skip(sorted(excluded.numbers), excluded.why)
                stack.append(([number for number in batch if number not in excluded.numbers], tries))
            except LostServerError:
                raise
            except GaiaopsError as error:
                if error.sqlstate not in _RETRY:
                    raise
                self.pace.failed()
                if self.hooks.stop():
                    self.locked += batch
                elif len(batch) > 1:
                    half = len(batch) // 2
                    stack += [(batch[half:], tries), (batch[:half], tries)]
                elif tries < _TRIES:
                    time.sleep(random.uniform(0.5, 1) * 0.05 * 2**tries)  # noqa: S311 - jitter, no secret
                    stack.append((batch, tries + 1))
                else:
                    self._skip(batch, error.message)
                    self.outcome.left += 1

    def _taken(self, batch: list[int], done: Done) -> None:
        for why, numbers in done.missed.items():
            if why == "locked":
                self.locked += numbers
            elif why == "gone":
                self.outcome.gone += len(numbers)
            else:
                self._skip(numbers, why)
        if done.segment is None:
            return
        self.outcome.users += done.segment.users
        self.outcome.rows += done.segment.rows
        self.outcome.set += done.segment.set
        self.pace.took(self.pace.weight(batch), done.seconds)
        if self.cache.failure is None:
            self.cache.clean({done.segment.number: done.segment})
        if done.waiting:  # let those who stood behind our locks go first
            time.sleep(min(1.0, done.seconds / 2))
        self._wait_for_replicas()

    def _skip(self, numbers: Sequence[int], why: str) -> None:
        """These users stay; the plan forgets them, so that their rows are somebody else's from now on."""
        values = {"numbers": list(numbers)}
        rows = self.session.fetch(f"SELECT g_email FROM {statements.PLAN} WHERE g_n = ANY(%(numbers)s)", values)
        self.session.execute(f"DELETE FROM {statements.PLAN} WHERE g_n = ANY(%(numbers)s)", values)
        for (address,) in rows:
            self.outcome.skipped[address] = why
            self.run.note("skipped", address=address, why=why)

    def _wait_for_replicas(self) -> None:
        """Pauses while a replica is behind. Raises StatementError where it stays so."""
        end = time.monotonic() + _PATIENCE_S
        told = False
        while not self.hooks.stop():
            lag = self.session.fetch(
                "SELECT coalesce(extract(epoch FROM max(replay_lag)), 0)::float8 FROM pg_stat_replication"
            )[0][0]
            if lag <= _BEHIND_S:
                return
            if time.monotonic() > end:
                raise StatementError(f"a replica stays {lag:.0f} s behind", hint="run it again when it has caught up")
            if not told:
                self.hooks.notice(f"a replica is {lag:.0f} s behind: pausing until it catches up")
                told = True
            time.sleep(1)

    def _remaining(self) -> array[int]:
        """Fills the temporary tables; gives the numbers of the plan's users who are there, as planned."""
        session, graph = self.session, self.graph
        users = graph.tables[graph.users]
        session.execute(statements.create_plan(users))
        with self.run.users_file.open("rb") as file:
            session.copy_in(f"COPY {statements.PLAN} FROM STDIN", iter(lambda: file.read(1 << 18), b""))
        session.exchange.command(statements.index_plan())
        session.exchange.command(statements.create_keysets(graph, on_commit="DELETE ROWS"))
        same = statements.same_address("t", "p")
        changed = session.fetch(
            f"SELECT p.g_n FROM {statements.PLAN} AS p JOIN {users.sql} AS t ON t.id = p.g_id WHERE NOT ({same})"
        )
        if changed:
            self._skip([row[0] for row in changed], "the address changed")
        found = array("i")
        present = f"SELECT p.g_n FROM {statements.PLAN} AS p JOIN {users.sql} AS t ON t.id = p.g_id ORDER BY 1"
        for block in session.copy_out(f"COPY ({present}) TO STDOUT"):
            found.extend(int(bytes(row)) for row in block)
        done = self.run.state().users
        self.outcome.gone = max(0, self.plan.users - len(found) - len(changed) - done)
        return found

    def _finish_cache(self) -> None:
        """A last try for the entries that are still to go; what fails is remembered by the journal."""
        state = self.run.state()
        missing = {n: s for n, s in state.committed.items() if n not in state.cached}
        if self.cache.needed and missing:
            self.cache.clean(missing)
            missing = {n: s for n, s in missing.items() if n not in self.run.state().cached}
        self.outcome.cache_removed = self.cache.removed
        if self.cache.needed:
            self.outcome.cache_left = sum(segment.users for segment in missing.values())
        if self.cache.failure is not None:
            self.outcome.cache_failure = self.cache.failure.message


def _check_users_file(run: Run, plan: Plan) -> None:
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
