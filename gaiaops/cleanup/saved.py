"""A plan from a file: taken over only if it is whole, unused, and what the rules of today would allow."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from gaiaops import rundir
from gaiaops.cleanup import archive, plan
from gaiaops.cleanup.plan import Plan, users_of
from gaiaops.cleanup.selection import Selection, Verdict, cap, choose_tags
from gaiaops.errors import RefusedError
from gaiaops.postgres.identity import Namesakes
from gaiaops.registry.model import Environment, Registry


class Refusable(Protocol):
    """A plan of one database or of shards."""

    @property
    def environment(self) -> str: ...

    @property
    def refusals(self) -> tuple[str, ...]: ...


def load(registry: Registry, env: Environment, file: Path, users_file: Path) -> Plan:
    """Reads a plan and writes its users to `users_file`.

    Raises UsageError where the file is no plan, RefusedError where it was changed, is another environment's, was
    used (an unfinished run is gone on with), holds somebody the rule does not take, or carries refusals.
    """
    with rundir.private_file(users_file) as out:
        found = plan.load(file, out)
    if found.environment != env.name:
        raise RefusedError(
            f"the plan is {found.environment}'s, not {env.name}'s",
            hint=f"gaiaops cleanup {found.environment} --plan {file}",
            environment=env.name,
        )
    for run in archive.every():
        if run.id == found.id and run.state().word != "unfinished":
            raise rundir.used_plan(found.id)
    check_rules(registry, env, found, users_file)
    Namesakes(registry, env).check()
    return found


def check_rules(registry: Registry, env: Environment, found: Plan, users_file: Path) -> None:
    """Raises RefusedError where the rules of today would not take a plan's tags, one of its users, or so many."""
    tags = choose_tags(env, registry.tags, found.tags, found.max_users)
    if not tags or set(tags) != set(found.tags):
        raise RefusedError("the plan names no tag that may be taken", environment=env.name)
    selection = Selection(tags, tuple(registry.tags), registry.protected, found.keep)
    count = 0
    for _, _, address in users_of(users_file):
        count += 1
        verdict = selection.verdict(address)
        if verdict is not Verdict.TAKE:
            raise RefusedError(
                f"the plan takes {address}, whom the rule does not ({verdict.value})",
                hint="make a new plan: gaiaops cleanup ENV --save-plan FILE",
                environment=env.name,
            )
    if count > cap(found.users_in_all, found.max_users):
        raise RefusedError(f"the plan takes {count} users, more than --max-users allowed", environment=env.name)


def check(found: Refusable) -> None:
    """Raises RefusedError where a plan must not be applied as it is."""
    if found.refusals:
        raise RefusedError(
            found.refusals[0],
            detail="\n".join(f"and: {refusal}" for refusal in found.refusals[1:]),
            hint="the plan says what would go: --dry-run",
            environment=found.environment,
        )
