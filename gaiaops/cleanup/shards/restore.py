"""Puts back what a clean-up over shards removed: every part is checked before the first one goes back, and the last
one that was taken out goes back first."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from gaiaops.cleanup import restore
from gaiaops.cleanup.apply import Hooks
from gaiaops.cleanup.restore import Options, Ready
from gaiaops.cleanup.shards import lookup
from gaiaops.cleanup.shards.apply import locks
from gaiaops.cleanup.shards.archive import WholeRun
from gaiaops.cleanup.undo import Restored
from gaiaops.errors import RefusedError, located
from gaiaops.registry.model import Environment, Registry

_COUNTS = ("inserted", "set_back", "present", "differ", "conflicting", "orphaned")


def restore_whole(registry: Registry, env: Environment, run: WholeRun, options: Options, hooks: Hooks) -> Restored:
    """Restores a run, or one person of it in all shards; a dry run compares only. Tables are named SHARD:TABLE.

    Raises RefusedError before anything is put back where a shard is missing from the registry, is another server, or
    its part of the archive was changed, or where one person of an unfinished run is asked for; UsageError where the
    person is in no part.
    """
    with run.lock(), locks(run.parts), ExitStack() as stack:
        if options.user is not None and not any(restore.numbers(part, options.user) for part in run.parts):
            raise restore.not_in(run, options.user)
        if options.user is not None and not options.dry_run and run.word == "unfinished":
            # It would count as restored, and what names others who are gone would stay.
            raise RefusedError(
                f"run {run.id} is unfinished: one person alone cannot be put back yet",
                hint=f"restore all of it, or finish it first: gaiaops cleanup {env.name}",
                environment=env.name,
            )
        readies = _prepare(registry, env, run, options, stack)
        if not options.dry_run:
            run.note("restoring")
        total = Restored(run.id)
        for ready in readies:
            if hooks.stop():
                total.interrupted = True
                break
            with located(ready.env.name):
                if options.user is None or restore.numbers(ready.run, options.user):
                    _add(total, restore.put_back(ready, options, hooks), ready.env.shard)
        total.lost = _lost(env, run, readies)
        return total


def _prepare(registry: Registry, env: Environment, run: WholeRun, options: Options, stack: ExitStack) -> list[Ready]:
    """The parts in the order in which they go back."""
    with located(env.name):
        lookup.check_shards(registry, env, run.plan().shards)
        if [part.plan() for part in run.own] != list(run.plan().plans):
            raise RefusedError(f"the parts of run {run.id} are not those of its plan", hint="nothing was restored")
    found: list[Ready] = []
    for place, part in reversed(list(enumerate(run.own, start=1))):
        shard = registry.environment(part.shard)
        with located(shard.name):
            parts = [*reversed(run.guests_of(place)), part]
            found += restore.prepare(registry, shard, parts, options, stack)
    return found


def _add(total: Restored, done: Restored, shard: str) -> None:
    for kind in _COUNTS:
        counts: dict[str, int] = getattr(total, kind)
        for table, number in getattr(done, kind).items():
            name = f"{shard}:{table}"
            counts[name] = counts.get(name, 0) + number
    for table, keys in done.differing.items():
        total.differing.setdefault(f"{shard}:{table}", []).extend(keys)
    total.interrupted = total.interrupted or done.interrupted


def _lost(env: Environment, run: WholeRun, readies: Sequence[Ready]) -> list[str]:
    """What no archive holds: sessions in Redis, the auth records of which the run's own journal tells."""
    state = run.state()
    for ready in readies:
        state.committed.update(ready.state.committed)
    return restore.lost(env, state)
