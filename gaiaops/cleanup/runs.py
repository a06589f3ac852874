"""Past runs: what is shown of them, which one is to be gone on with, and which are old enough to go."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gaiaops.cleanup import archive, auth_users, planner, saved
from gaiaops.cleanup.archive import Run
from gaiaops.cleanup.journal import State
from gaiaops.cleanup.planner import Options
from gaiaops.cleanup.selection import choose_tags
from gaiaops.errors import GaiaopsError, RefusedError
from gaiaops.registry.model import Environment, Registry
from gaiaops.rundir import RunFolder


def unfinished(registry: Registry, env: Environment, options: Options) -> tuple[Run | None, list[str]]:
    """The run that the same command left unfinished, and the ids of other unfinished ones of the environment.

    The same command takes the same tags and ages and keeps the same people.
    """
    tags = choose_tags(env, registry.tags, options.tags, options.max_users)
    same, others = None, []
    for run in archive.every():
        try:
            plan = run.plan()
        except GaiaopsError:
            continue  # it is in the list of runs, with what is wrong
        if plan.environment != env.name or run.state().word != "unfinished":
            continue
        mine = (set(plan.tags), plan.older_than, set(plan.keep), plan.allow_collateral)
        if same is None and mine == (set(tags), options.older_text, set(options.keep), options.allow_collateral):
            same = run
        else:
            others.append(run.id)
    return same, others


def fits(registry: Registry, env: Environment, run: Run) -> str:
    """Why an unfinished run cannot be gone on with; empty where it can: the server and the schema are what they
    were, and the rules of today take every user of its plan."""
    plan = run.plan()
    try:
        saved.check_rules(registry, env, plan, run.users_file)
    except RefusedError as error:
        return error.message
    return planner.misfit(registry, env, plan)


def auth_left(env: Environment, tags: tuple[str, ...]) -> Run | None:
    """The newest run of these tags that has purged users whose auth records are not settled."""
    for run in archive.every():
        try:
            plan = run.plan()
        except GaiaopsError:
            continue
        mine = plan.environment == env.name and set(plan.tags) == set(tags) and run.state().word == "done"
        if mine and next(auth_users.purged(run), None) is not None:
            return run
    return None


def document(run: RunFolder, sha256: str, state: State, *, outstanding: bool) -> dict[str, Any]:
    """What `runs` says of a run. `outstanding`: whether its environment has a Redis whose entries are to go."""
    left = sum(segment.users for segment in state.to_clean().values()) if outstanding else 0
    return {
        "users": state.users,
        "rows": state.rows,
        "set": state.set,
        "state": state.word,
        "ended": state.ended,
        "segments": len(state.committed),
        "doubtful_segments": len(state.doubtful),
        "tables": {name: {"deleted": d, "changed": c} for name, (d, c) in state.by_table().items()},
        "skipped": dict(state.skipped),
        "cache_outstanding": left,
        "auth": dict(Counter(outcome.partition(":")[0] for outcome in state.auth.values())),
        "restored_users": sorted(state.restored_users),
        "archive": str(run.folder),
        "bytes": run.size,
        "plan_sha256": sha256,
    }
