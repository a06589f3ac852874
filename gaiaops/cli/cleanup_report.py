"""What `gaiaops cleanup` shows of a plan before, and tells of a run after."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base
from gaiaops.errors import InterruptedRunError, StatementError

if TYPE_CHECKING:
    from gaiaops.cleanup.apply import Outcome
    from gaiaops.cleanup.auth_users import AuthOutcome
    from gaiaops.cli.cleanup_ways import Way
    from gaiaops.registry.model import Environment


def tell(
    way: Way[Any, Any],
    run: Any,
    done: Outcome,
    before: dict[str, tuple[int, int]],
    auth: AuthOutcome | None,
    options: dict[str, Any],
) -> None:
    """What went, what was skipped and why, where the archive is, and how it comes back."""
    from gaiaops.output import report
    from gaiaops.output.cells import label

    env = way.env
    if options["as_json"]:
        click.echo(report.document({"run": way.report(run)}))
    tables = _difference(before, way.by_table(run))
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
    _raise(env, done, auth)


def _difference(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> str:
    """What this call did, table by table, of all shards: a run may have been begun by another one."""
    did: dict[str, list[int]] = {}
    for table, (deleted, changed) in after.items():
        gone, was = before.get(table, (0, 0))
        found = did.setdefault(table.rpartition(".")[2], [0, 0])
        found[0] += deleted - gone
        found[1] += changed - was
    parts = []
    for name, (deleted, changed) in did.items():
        parts += [f"{name} {deleted}"] if deleted else []
        parts += [f"{name} {changed} changed"] if changed else []
    return f" ({', '.join(parts)})" if parts else ""


def _raise(env: Environment, done: Outcome, auth: AuthOutcome | None) -> None:
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


def show(way: Way[Any, Any], plan: Any, options: dict[str, Any], *, err: bool = False) -> None:
    """A plan, for people or as one document with all users."""
    from gaiaops.output import purge, purge_shards

    if options["as_json"]:
        _write_json(way.document(plan), way.listed(plan))
        return
    text = purge_shards.plan_text if way.env.shards else purge.plan_text
    click.echo(text(way.document(plan), [*itertools.islice(way.listed(plan), purge.SHOWN_USERS)]), err=err)


def _write_json(document: dict[str, Any], users: Iterator[dict[str, Any]]) -> None:
    """{"plan": {…, "listed": [users …]}} without holding all users at once."""
    import msgspec

    from gaiaops.output import files

    with files.standard_output() as out:
        out.write(b'{"plan": ' + msgspec.json.encode(document)[:-1] + b', "listed": [')
        for i, user in enumerate(users):
            out.write((b",\n" if i else b"\n") + msgspec.json.encode(user))
        out.write(b"]}}\n")


def show_refusals(plan: Any) -> None:
    for refusal in plan.refusals:
        base.warn(f"[{plan.environment}] would be refused: {refusal}")
