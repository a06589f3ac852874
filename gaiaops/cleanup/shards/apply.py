"""Applies a plan over shards: everything is checked in all of them, then one after the other is cleaned up.

Each shard's part is a run of its own, in transactions of its own. When all shards' users are gone, what soft references
of one shard still say of people of another one goes; last their Redis entries, when nobody has them any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from gaiaops import rundir
from gaiaops.cleanup import apply
from gaiaops.cleanup.apply import Hooks, Outcome, Ready
from gaiaops.cleanup.plan import users_of
from gaiaops.cleanup.selection import cap
from gaiaops.cleanup.settle import CacheCleaner, settle
from gaiaops.cleanup.shards import guests, lookup
from gaiaops.cleanup.shards.archive import Part, WholeRun
from gaiaops.cleanup.shards.guests import Later
from gaiaops.cleanup.shards.lookup import Shard
from gaiaops.cleanup.shards.plan import digest_of
from gaiaops.errors import RefusedError, located
from gaiaops.postgres import catalog
from gaiaops.registry.model import Environment, Registry


def apply_whole(registry: Registry, env: Environment, run: WholeRun, hooks: Hooks) -> Outcome:
    """Purges the users of a plan who are still there, in all shards. The run's lock is taken meanwhile.

    Raises RefusedError before anything is changed where the plan does not fit one of the servers, and what a shard's
    purge raises, with its name: what was done is kept, and the same run is gone on with.
    """
    with run.lock():
        before, own = len(guests.purged_people(run)), run.own
        outcome = Outcome(run.id)
        with ExitStack() as stack:
            try:
                readies = _prepare(registry, env, run, own, stack)
                shards = _shards(readies)
                _check(env, run, shards)
            except RefusedError:
                if run.fresh:  # it has done nothing, and must not stand in the way of the next one
                    rundir.remove(run.folder)
                raise
            run.note("started")
            _purge(registry, readies, own, hooks, outcome)
            gone = guests.Gone.find(run, shards)
        _finish(registry, run, gone, hooks, outcome)
        outcome.users = len(guests.purged_people(run)) - before
        return outcome


def finish(registry: Registry, env: Environment, run: WholeRun, hooks: Hooks) -> Outcome:
    """Takes out what still names those whom a run has purged, and their Redis entries, where its plan cannot be gone
    on with; closes the run."""
    with run.lock():
        if run.fresh:
            rundir.remove(run.folder)
            return Outcome(run.id)
        with guests.looking(registry, env) as shards:
            by_name = {shard.env.name: shard for shard in shards}
            for part in run.own:
                shard = by_name[part.shard]
                if catalog.facts(shard.session).server == part.plan().server:
                    settle(shard.session, part, shard.graph.tables[shard.graph.users])
            gone = guests.Gone.find(run, shards)
        outcome = Outcome(run.id)
        _finish(registry, run, gone, hooks, outcome)
        return outcome


def _shards(readies: Sequence[Ready]) -> list[Shard]:
    return [Shard(ready.env, ready.session, ready.job.graph) for ready in readies]


def _purge(registry: Registry, readies: Sequence[Ready], own: Sequence[Part], hooks: Hooks, outcome: Outcome) -> None:
    """One shard after the other. All are asked before each one: who was left in one that is done stays in the others,
    and so do the rows that name them."""
    shards = _shards(readies)
    for place, ready in enumerate(readies):
        if hooks.stop():
            outcome.left += ready.job.plan.users - ready.job.run.state().users
            continue
        without = _conflicting(own, shards, place)
        own[place].staying = guests.names_staying(own[place], shards, _going(own, without))
        numbers = without[place]
        with located(ready.env.name):
            cache = Later(registry.environment(ready.env.whole), ready.job.run, registry.user_keys)
            add(outcome, apply.purge(ready, cache, hooks, numbers), ready.env.name)


def _finish(registry: Registry, run: WholeRun, gone: guests.Gone, hooks: Hooks, outcome: Outcome) -> None:
    """What is done when the shards' users are gone, unless it is to stop; closes the run."""
    if not hooks.stop():
        for name, done in guests.take_out(registry, run, gone, hooks):
            add(outcome, done, name)
    outcome.interrupted = hooks.stop()
    if not outcome.interrupted:
        _clean_cache(registry, run, gone, outcome)
    run.note("ended", left=outcome.left + outcome.cache_left + outcome.interrupted)


@contextmanager
def locks(parts: Sequence[Part]) -> Iterator[None]:
    """The locks of all parts."""
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(part.lock())
        yield


def _prepare(registry: Registry, env: Environment, run: WholeRun, own: Sequence[Part], stack: ExitStack) -> list[Ready]:
    """Connects to all shards and checks; each one's place for clean-ups is taken until `stack` is closed."""
    whole = run.plan()
    with located(env.name):
        lookup.check_shards(registry, env, whole.shards)
        if [part.plan() for part in own] != list(whole.plans) or whole.sha256 != digest_of(whole.parts):
            raise RefusedError(f"the parts of run {run.id} are not those of its plan", hint="nothing was changed")
    stack.enter_context(locks(own))
    readies = []
    for part, planned in zip(own, whole.parts, strict=True):
        shard = registry.environment(part.shard)
        with located(shard.name):
            part.check_names(planned.harmless)
            readies.append(apply.prepare(registry, shard, part, stack))
    return readies


def _check(env: Environment, run: WholeRun, shards: Sequence[Shard]) -> None:
    """The cap is about all shards together, and counts people: what is there is not taken from the plan."""
    lookup.check_together(shards)
    if not run.fresh:
        return
    whole, planned = run.plan(), {key for part in run.own for _, key, _ in users_of(part.users_file)}
    in_all = 0 if whole.max_users is not None else lookup.count_people(shards)
    if len(planned) > cap(in_all, whole.max_users):
        text = f"the plan takes {len(planned)} users, more than it may"
        raise RefusedError(text, hint=f"make a new plan: gaiaops cleanup {env.name}", environment=env.name)


def _conflicting(parts: Sequence[Part], shards: Sequence[Shard], done: int) -> list[Mapping[int, str]]:
    """Of each part the users who stay because their id is somebody's in some shard whom the plan does not take, because
    they are left in one of those that are `done` (the first ones), or because a reference in some shard blocks."""
    planned = [{key: (number, address) for number, key, address in users_of(part.users_file)} for part in parts]
    addresses = {key: address for users in planned for key, (_, address) in users.items()}
    why: dict[str, str] = {}
    for place, (users, shard) in enumerate(zip(planned, shards, strict=True)):
        with located(shard.env.name):
            for key, name in shard.blocked(addresses):
                why[key] = f"in {shard.env.name} {name} refers to them, and the registry says block"
            for key, address in shard.of_ids(addresses):
                if key not in users or address != users[key][1]:
                    why[key] = f"in {shard.env.name} the id is that of {address}"
                elif place < done:
                    why.setdefault(key, f"they are left in {shard.env.name}")
    return [{users[key][0]: why[key] for key in users if key in why} for users in planned]


def _going(parts: Sequence[Part], without: Sequence[Mapping[int, str]]) -> set[str]:
    """The ids of those who go, from any shard."""
    return {
        key
        for part, numbers in zip(parts, without, strict=True)
        for number, key, _ in users_of(part.users_file)
        if number not in numbers
    }


def _clean_cache(registry: Registry, run: WholeRun, gone: guests.Gone, outcome: Outcome) -> None:
    """Removes the Redis entries of people who are gone from all shards. Those of others stay; where they may still go,
    their part is left for the next time."""
    env = registry.environment(run.plan().environment)
    for part in run.parts:
        spared = gone.numbers_still_there(part)
        if spared and outcome.left:
            outcome.cache_left += len(spared)
            continue
        cache = CacheCleaner(env, part, registry.user_keys, spared)
        done = Outcome(run.id)
        apply.clean_left(cache, done)
        outcome.cache_removed += done.cache_removed
        outcome.cache_left += done.cache_left
        outcome.cache_failure = outcome.cache_failure or done.cache_failure


def add(outcome: Outcome, done: Outcome, shard: str) -> None:
    """Adds what was done in a shard."""
    for name in ("users", "rows", "set", "left", "gone"):
        setattr(outcome, name, getattr(outcome, name) + getattr(done, name))
    outcome.skipped = {**outcome.skipped, **{address: f"{why} ({shard})" for address, why in done.skipped.items()}}
