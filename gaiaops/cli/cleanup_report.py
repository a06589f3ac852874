"""What `gaiaops cleanup` shows of a plan before, and tells of a run after."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base
from gaiaops.errors import InterruptedRunError, StatementError

if TYPE_CHECKING:
    from gaiaops.cleanup.apply import Outcome
    from gaiaops.cleanup.archive import Run
    from gaiaops.cleanup.auth_users import AuthOutcome
    from gaiaops.cleanup.plan import Plan, User
    from gaiaops.registry.model import Environment, Registry


def tell(
    env: Environment,
    run: Run,
    done: Outcome,
    before: dict[str, tuple[int, int]],
    auth: AuthOutcome | None,
    options: dict[str, Any],
) -> None:
    """What went, what was skipped and why, where the archive is, and how it comes back."""
    from gaiaops.cleanup import runs
    from gaiaops.output import purge, report
    from gaiaops.output.cells import label

    if options["as_json"]:
        plan, state = run.plan(), run.state()
        body = purge.run_document(run.id, _builtins(plan), runs.document(run, plan, state, outstanding=bool(env.redis)))
        click.echo(report.document({"run": body}))
    tables = _difference(before, run.state().by_table())
    base.notice(f"[{env.name}] purged {done.users} users: {done.rows} rows deleted, {done.set} changed{tables}")
    if done.gone:
        base.notice(f"{done.gone} users were gone already")
    for address, why in itertools.islice(done.skipped.items(), 20):
        base.notice(f"skipped: {label(address)}: {why}")
    if len(done.skipped) > 20:
        base.notice(f"… and {len(done.skipped) - 20} more skipped: gaiaops runs {run.id}")
    if done.cache_removed:
        base.notice(f"{done.cache_removed} Redis entries removed")
    if auth is not None:
        base.notice(f"Supabase Auth: {auth.deleted} deleted, {auth.absent} not there, {len(auth.kept)} kept")
        for address, why in itertools.islice(auth.kept.items(), 20):
            base.notice(f"kept in Supabase Auth: {label(address)}: {why}")
    base.notice(f"archive: {run.folder}\nrestore: gaiaops restore {run.id}")
    _raise(env, run, done, auth)


def _difference(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> str:
    """What this call did, table by table: a run may have been begun by another one."""
    parts = []
    for table, (deleted, changed) in after.items():
        gone, was = before.get(table, (0, 0))
        name = table.rpartition(".")[2]
        parts += [f"{name} {deleted - gone}"] if deleted > gone else []
        parts += [f"{name} {changed - was} changed"] if changed > was else []
    return f" ({', '.join(parts)})" if parts else ""


def _raise(env: Environment, run: Run, done: Outcome, auth: AuthOutcome | None) -> None:
    again = "run the same command again to finish"
    if done.interrupted:
        raise InterruptedRunError(f"interrupted: {done.left} users are left", hint=again, environment=env.name)
    if done.cache_left:
        why = done.cache_failure or "unknown"
        raise StatementError(
            f"Redis entries of {done.cache_left} purged users are still there: {why}", hint=again, environment=env.name
        )
    if done.left:
        raise StatementError(f"{done.left} users could not be purged", hint=again, environment=env.name)
    if auth is not None and auth.failure:
        raise StatementError(
            f"some auth records could not be deleted: {auth.failure}", hint=again, environment=env.name
        )


def show(registry: Registry, plan: Plan, users_file: Path, options: dict[str, Any], *, err: bool = False) -> None:
    from gaiaops.cleanup import planner
    from gaiaops.output import purge

    if options["as_json"]:
        with _json_stream() as write:
            write(plan, planner.listed(registry, users_file))
        return
    first = [_builtins(user) for user in itertools.islice(planner.listed(registry, users_file), purge.SHOWN_USERS)]
    click.echo(purge.plan_text(_builtins(plan), first), err=err)


@contextmanager
def _json_stream() -> Iterator[Any]:
    """Writes {"plan": {…, "listed": [users …]}} without holding all users at once."""
    import msgspec

    from gaiaops.output import files

    with files.standard_output() as out:

        def write(plan: Plan, users: Iterator[User]) -> None:
            body = msgspec.json.encode(plan)
            out.write(b'{"plan": ' + body[:-1] + b', "listed": [')
            for i, user in enumerate(users):
                out.write((b",\n" if i else b"\n") + msgspec.json.encode(user))
            out.write(b"]}}\n")

        yield write


def show_refusals(plan: Plan) -> None:
    for refusal in plan.refusals:
        base.warn(f"[{plan.environment}] would be refused: {refusal}")


def _builtins(value: object) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(value)
    return found
