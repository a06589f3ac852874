"""Repairs what an audit found and what can be repaired safely: a plan, then one transaction.

The order is what makes it safe: lock the rows, look at the auth side anew, put every finding to the rules once more,
write, sync what was written and how it was before, commit, note the commit, and only then remove Redis entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext

import msgspec

from gaiaops import rundir
from gaiaops.audit import repair_cache, repair_run
from gaiaops.audit.kinds import Finding
from gaiaops.audit.repair_look import LookAgain, Looker, Place, place
from gaiaops.audit.repair_others import Others, in_between, others
from gaiaops.audit.repair_plan import Archived, Change, Left, Repair, Wanted, check_kinds
from gaiaops.audit.repair_rules import also_in, decide, decide_all, narrowed
from gaiaops.audit.repair_run import RepairRun
from gaiaops.audit.repair_settle import settle
from gaiaops.audit.repair_write import Vetoed, Writer
from gaiaops.auth.interface import Look
from gaiaops.errors import GaiaopsError, LostServerError, RefusedError, located
from gaiaops.postgres import catalog
from gaiaops.postgres import session as pg
from gaiaops.postgres.changes import FAITHFUL, batch_timeouts, begin_change, check_server, check_writable, short_waits
from gaiaops.postgres.identity import Namesakes, check_only_name, check_pin
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Facts
from gaiaops.registry.model import Environment, Registry

COMMAND = "audit"
_OF_NO_SHARD = {
    "missing-profile": "in which shard the profile belongs is for somebody to say",
    "stale-cache": "the Redis is the whole environment's",
}


class Hooks(msgspec.Struct):
    """What the command line hears: phase(word, rows), with "committing" before and "committed" after the commit."""

    phase: Callable[[str, int], None] = lambda word, rows: None


class Outcome(msgspec.Struct):
    """What a repair did. `done` are the findings it repaired, `skipped` those that had changed since the plan, or
    that the server would not repair; `cache_left` Redis entries may still be there, because of `cache_failure`."""

    run: str
    archive: str = ""
    done: list[str] = []
    rows: int = 0
    skipped: list[Left] = []
    cache_removed: int = 0
    cache_left: int = 0
    cache_failure: str = ""


def plan(registry: Registry, env: Environment, findings: Sequence[Finding], look: Look) -> Repair:
    """What would be changed in one database, and what is left, with the reason. Changes nothing.

    Findings of other environments, or of other shards' rows alone, are passed over. Raises UsageError for a kind that
    cannot be repaired, RefusedError for a wrong database, a replica or a schema that is not understood, and the error
    tree's errors.
    """
    mine = [finding for finding in findings if finding.environment == env.whole and _concerns(finding, env)]
    check_kinds(tuple(finding.kind for finding in mine))
    wanted = [_wanted(finding) for finding in mine if not env.shard or finding.shards == (env.shard,)]
    not_here = [_not_of_one(finding, env) for finding in mine if env.shard and finding.shards != (env.shard,)]
    with located(env.name):
        check_only_name(registry, env)
        namesakes = Namesakes(registry, env)
        with pg.reading(env.postgres_url(), short_waits(env), COMMAND) as session:
            facts = catalog.facts(session)
            _check(facts, env)
            there = place(registry, env, session)
            for setting in FAITHFUL:
                session.exchange.command(setting)
            with others(registry, env, COMMAND, keep=False) as rest:
                seen = Looker(session, registry, there, rest).look(wanted, lambda: nullcontext(look), lock=False)
        namesakes.check()
    changes, left = decide_all(wanted, there.shape, seen)
    tables = dict.fromkeys(change.table for change in changes if change.table)
    return Repair(
        id=rundir.new_id(env.name),
        environment=env.name,
        server=facts.server,
        made=facts.now,
        kinds=tuple(dict.fromkeys(finding.kind for finding in mine)),
        changes=tuple(changes),
        left=(*left, *not_here),
        warnings=tuple(_warnings(there, tables)),
    )


def apply(registry: Registry, env: Environment, plan: Repair, look_again: LookAgain, hooks: Hooks) -> Outcome:
    """Makes the changes of a plan that the rules allow once more, in one transaction, and removes Redis entries.

    Where it ends with an error before the commit, nothing was changed and no run is left. A failure of Redis is in
    the outcome. Raises RefusedError where the plan was used or is another server's, LostServerError where it is not
    known whether the commit was made, and the error tree's errors.
    """
    if plan.environment != env.name:
        raise RefusedError(f"the plan is {plan.environment}'s, not {env.name}'s", environment=env.name)
    with located(env.name):
        check_only_name(registry, env)
        run = repair_run.create(plan)
        with run.lock():
            try:
                return _Repairing(registry, env, run, plan, hooks).go(look_again)
            except BaseException:
                state = run.state()
                if not (state.doubtful or state.committed or state.removed):
                    rundir.remove(run.folder)
                raise


class _Repairing:
    """One plan's application."""

    def __init__(self, registry: Registry, env: Environment, run: RepairRun, plan: Repair, hooks: Hooks) -> None:
        self.registry = registry
        self.env = env
        self.run = run
        self.hooks = hooks
        self.stale = [change for change in plan.changes if change.action == "unlink"]
        self.writes = [change for change in plan.changes if change.action != "unlink"]
        self.plan = plan
        self.outcome = Outcome(run.id, str(run.folder))

    def go(self, look_again: LookAgain) -> Outcome:
        self._change(look_again)
        state = self.run.state()
        dropped = repair_cache.drop(self.registry, self.env, state.outstanding, self.stale)
        outcome = self.outcome
        outcome.cache_removed = dropped.removed
        outcome.skipped += dropped.left
        outcome.done += dropped.done
        if dropped.failure is not None:
            if not state.committed and not dropped.removed:
                raise dropped.failure  # nothing was changed at all
            self.run.note("dropped some", removed=dropped.removed, done=dropped.done)
            outcome.cache_failure = dropped.failure.message
            settled = dropped.settled + len(dropped.done) + len(dropped.left)
            outcome.cache_left = len(state.outstanding) + len(self.stale) - settled
        else:
            self.run.note("dropped", removed=dropped.removed, done=dropped.done)
        for left in outcome.skipped:
            self.run.note("skipped", who=left.address or left.subject, why=left.why)
        self.run.note("ended", left=outcome.cache_left)
        return outcome

    def _change(self, look_again: LookAgain) -> None:
        """Takes the database's one place, checks the server again, and makes the changes."""
        with pg.changing(self.env.postgres_url(), short_waits(self.env), COMMAND) as session:
            facts = check_server(session, self.env, self.plan.server)
            _check(facts, self.env)
            session.use(batch_timeouts(self.env, facts.deadlock_ms))
            if self.writes:
                self._transaction(session, place(self.registry, self.env, session), look_again)

    def _transaction(self, session: Session, there: Place, look_again: LookAgain) -> None:
        begin_change(session, "SET CONSTRAINTS ALL IMMEDIATE", *FAITHFUL)
        with ExitStack() as stack:  # the other shards' places are kept until the commit
            try:
                rest = stack.enter_context(others(self.registry, self.env, COMMAND, keep=True))
                rows, made = self._write(session, there, rest, look_again)
                if not rows:
                    session.rollback()
                    return
                xid = str(session.fetch("SELECT pg_current_xact_id()::text")[0][0])
                entries = [key for change in made for key in change.cache_keys]
                done = [change.finding for change in made]
                self.run.archive(rows, xid, done, entries)
            except LostServerError:
                raise
            except GaiaopsError:
                session.rollback()
                raise
            self._commit(session, len(rows))
        self.outcome.done += done
        self.outcome.rows = len(rows)

    def _write(
        self, session: Session, there: Place, rest: Others, look_again: LookAgain
    ) -> tuple[list[Archived], list[Change]]:
        """Every change that is still right, under lock; the rest is skipped with its reason.

        Raises RefusedError where another shard came in between.
        """
        wanted = [change.wanted for change in self.writes]
        looker = Looker(session, self.registry, there, rest)
        seen = looker.look(wanted, lambda: look_again(len(wanted)), lock=True)
        writer, rows, made = Writer(session, there), list[Archived](), list[Change]()
        for planned in self.writes:
            now = decide(planned.wanted, there.shape, seen)
            allowed = narrowed(planned, now) if isinstance(now, Change) else now
            if isinstance(allowed, Left):
                self.outcome.skipped.append(allowed)
                continue
            try:
                rows += writer.make(allowed, seen)
                made.append(allowed)
            except Vetoed as veto:
                why = Left(planned.finding, planned.kind, planned.subject, planned.address, veto.why, failed=True)
                self.outcome.skipped.append(why)
        if rest and made:  # nothing is locked there: they are asked once more, right before the commit
            at_last = looker.again([change.wanted for change in made], seen)
            for change in made:
                still = decide(change.wanted, there.shape, at_last)
                if isinstance(still, Left):
                    raise in_between(still.why)
        return rows, made

    def _commit(self, session: Session, rows: int) -> None:
        self.hooks.phase("committing", rows)
        try:
            session.commit()
        except LostServerError:
            raise
        except GaiaopsError as error:
            # Only what the server says is certain; without an answer it may still be committed.
            if error.sqlstate and not error.sqlstate.startswith(("57", "08")):
                self.run.note("rolled back")
            raise
        self.hooks.phase("committed", rows)
        self.run.note("committed")


def finish(registry: Registry, env: Environment) -> Iterator[Outcome]:
    """Settles what earlier repairs of an environment left: whether they were committed, and their Redis entries.

    A repair that changed nothing leaves no run. Raises the error tree's errors; a run that somebody works on, or that
    is another server's, is passed over.
    """
    for run in repair_run.unfinished(env.name):
        try:
            with located(env.name), run.lock():
                yield _finish(registry, env, run)
        except RefusedError:
            continue


def _finish(registry: Registry, env: Environment, run: RepairRun) -> Outcome:
    outcome = Outcome(run.id, str(run.folder))
    if run.state().doubtful:
        with pg.changing(env.postgres_url(), short_waits(env), COMMAND) as session:
            check_server(session, env, run.plan().server)
            settle(session, run, place(registry, env, session))
    state = run.state()
    if not (state.committed or state.removed):
        rundir.remove(run.folder)
        return outcome
    outcome.done, outcome.rows = list(state.done), state.rows
    dropped = repair_cache.drop(registry, env, state.outstanding, ())
    outcome.cache_removed = dropped.removed
    if dropped.failure is not None:
        outcome.cache_left, outcome.cache_failure = len(state.outstanding), dropped.failure.message
    elif state.outstanding:
        run.note("dropped", removed=dropped.removed)
    run.note("ended", left=outcome.cache_left)
    return outcome


def _check(facts: Facts, env: Environment) -> None:
    """Raises RefusedError where the server is not the environment's, or what is written could not be verified."""
    check_pin(env, (facts.identifier, facts.database))
    check_writable(facts)
    if not facts.counts:
        raise RefusedError("track_counts is off: what was changed could not be verified", hint="switch it on")


def _concerns(finding: Finding, env: Environment) -> bool:
    """Whether a finding is for a repair of this database: of a shard, unless it is about the rows of others."""
    return not env.shard or not finding.shards or env.shard in finding.shards


def _not_of_one(finding: Finding, env: Environment) -> Left:
    """Why a finding that is not about one shard's rows alone is left."""
    why = also_in([f"{env.whole}/{shard}" for shard in finding.shards if shard != env.shard])
    if not finding.shards:
        why = _OF_NO_SHARD.get(finding.kind, "it is about no shard's rows")
    return Left(finding.id, finding.kind, finding.subject, finding.address, why)


def _warnings(there: Place, tables: Iterable[str]) -> Iterable[str]:
    for name in tables:
        table = there.table(name)
        if table.triggers:
            yield f"{table.name} has triggers: {', '.join(table.triggers)}"


def _wanted(finding: Finding) -> Wanted:
    said = finding.evidence.get("auth", "") if finding.kind == "revoked-access" else ""
    return Wanted(finding.id, finding.kind, finding.subject, finding.address, said)
