"""Past runs over shards: which one is to be gone on with, what the rules of today say of a plan, what is shown."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from gaiaops.cleanup import auth_users, planner, runs
from gaiaops.cleanup.plan import users_of
from gaiaops.cleanup.planner import Options
from gaiaops.cleanup.selection import Selection, Verdict, cap, choose_tags
from gaiaops.cleanup.shards import archive, guests, lookup, plan
from gaiaops.cleanup.shards.archive import WholeRun
from gaiaops.cleanup.shards.plan import Whole, users_file
from gaiaops.errors import GaiaopsError, RefusedError
from gaiaops.postgres.identity import Namesakes
from gaiaops.registry.model import Environment, Registry
from gaiaops.rundir import used_plan


def load(registry: Registry, env: Environment, file: Path, folder: Path) -> Whole:
    """Reads a plan and writes the lists of its parts into `folder`. Raises as saved.load, and RefusedError where the
    environment's shards are not those of the plan."""
    found = plan.load(file, folder)
    if found.environment != env.name:
        raise RefusedError(
            f"the plan is {found.environment}'s, not {env.name}'s",
            hint=f"gaiaops cleanup {found.environment} --plan {file}",
            environment=env.name,
        )
    for run in archive.every():
        if run.id == found.id and run.word != "unfinished":
            raise used_plan(found.id)
    lookup.check_shards(registry, env, found.shards)
    check_rules(registry, env, found, [users_file(folder, place) for place in range(len(found.parts))])
    for shard in env.shards:
        Namesakes(registry, shard).check()
    return found


def check_rules(registry: Registry, env: Environment, found: Whole, lists: list[Path]) -> None:
    """Raises RefusedError where the rules of today would not take a plan's tags, one of its users, or so many."""
    tags = choose_tags(env, registry.tags, found.tags, found.max_users)
    if not tags or any(set(tags) != set(named) for named in (found.tags, *(part.tags for part in found.plans))):
        raise RefusedError("the plan names no tag that may be taken", environment=env.name)
    if any(part.allow_collateral != found.allow_collateral for part in found.plans):
        raise RefusedError("the plan's parts allow what the plan does not", environment=env.name)
    selection = Selection(tags, tuple(registry.tags), registry.protected, found.keep)
    people: dict[str, str] = {}
    for file in lists:
        for _, key, address in users_of(file):
            verdict = selection.verdict(address)
            why = verdict.value if verdict is not Verdict.TAKE else ""
            if people.setdefault(key, address) != address:
                why = f"{people[key]} has the same id"
            if why:
                raise RefusedError(
                    f"the plan takes {address}, whom the rule does not ({why})",
                    hint="make a new plan: gaiaops cleanup ENV --save-plan FILE",
                    environment=env.name,
                )
    if len(people) > cap(found.users_in_all, found.max_users):
        raise RefusedError(f"the plan takes {len(people)} users, more than --max-users allowed", environment=env.name)


def unfinished(registry: Registry, env: Environment, options: Options) -> tuple[WholeRun | None, list[str]]:
    """As runs.unfinished, of an environment with shards."""
    tags = choose_tags(env, registry.tags, options.tags, options.max_users)
    same, others = None, []
    for run in archive.every():
        try:
            found = run.plan()
            word = run.word
        except GaiaopsError:
            continue  # it is in the list of runs, with what is wrong
        if found.environment != env.name or word != "unfinished":
            continue
        mine = (set(found.tags), found.older_than, set(found.keep), found.allow_collateral)
        if same is None and mine == (set(tags), options.older_text, set(options.keep), options.allow_collateral):
            same = run
        else:
            others.append(run.id)
    return same, others


def fits(registry: Registry, env: Environment, run: WholeRun) -> str:
    """Why an unfinished run cannot be gone on with; empty where it can. Raises RefusedError where it has begun and the
    environment's shards are not those of the run, or lead to other servers: what it began could not be finished."""
    found = run.plan()
    try:
        lookup.check_shards(registry, env, found.shards)
    except RefusedError as error:
        if not run.fresh:
            raise
        return error.message
    try:
        check_rules(registry, env, found, [part.users_file for part in run.own])
    except RefusedError as error:
        return error.message
    for part in found.plans:
        why = planner.misfit(registry, registry.environment(part.environment), part)
        if why == planner.ANOTHER_SERVER and not run.fresh:
            raise RefusedError(
                f"behind this name is another server than when run {run.id} began ({part.server})",
                hint=f"compare gaiaops envs {part.environment}, then repeat the command",
                environment=part.environment,
            )
        if why:
            return f"{part.environment}: {why}"
    return ""


def auth_left(env: Environment, tags: tuple[str, ...]) -> WholeRun | None:
    """The newest run of these tags that has purged users whose auth records are not settled."""
    for run in archive.every():
        try:
            found = run.plan()
            mine = found.environment == env.name and set(found.tags) == set(tags) and run.word == "done"
        except GaiaopsError:
            continue
        if mine and next(auth_users.purged(run), None) is not None:
            return run
    return None


def document(run: WholeRun, whole: Whole, *, outstanding: bool) -> dict[str, Any]:
    """What `runs` says of a run, with `shards`: the same of each shard's part, what named others' people included."""
    own = run.own
    of_shards = []
    for place, part in enumerate(own, start=1):
        found = part.plan()
        one = runs.document(part, found.sha256, part.state(), outstanding=outstanding)
        for made in run.guests_of(place):
            _add(one, runs.document(made, made.plan().sha256, made.state(), outstanding=outstanding))
        of_shards.append({"shard": found.environment, "server": found.server, "planned": found.users, **one})
    state = run.state()
    body = runs.document(run, whole.sha256, state, outstanding=False)
    for one in of_shards:
        _add(body, one, of=one["shard"].partition("/")[2])
    body |= {"users": len(guests.purged_people(run)), "state": run.word, "ended": state.ended, "bytes": run.size}
    body["auth"] = dict(Counter(outcome.partition(":")[0] for outcome in state.auth.values()))
    return {**body, "archive": str(run.folder), "shards": of_shards}


def _add(body: dict[str, Any], one: dict[str, Any], of: str = "") -> None:
    """Adds what is said of a part."""
    for name in ("users", "rows", "set", "segments", "doubtful_segments", "cache_outstanding", "bytes"):
        body[name] += one[name]
    for table, counts in one["tables"].items():
        named = f"{of}:{table}" if of else table
        before = body["tables"].get(named, {"deleted": 0, "changed": 0})
        body["tables"][named] = {kind: before[kind] + counts[kind] for kind in before}
    for address, why in one["skipped"].items():
        body["skipped"][address] = f"{why} ({of})" if of else why
    body["restored_users"] = sorted({*body["restored_users"], *one["restored_users"]})
    if one["state"] == "unfinished":
        body["state"] = "unfinished"
