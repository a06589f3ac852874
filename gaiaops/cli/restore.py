"""`gaiaops restore`: puts back what a clean-up removed, and undoes a repair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base
from gaiaops.cli.arguments import RUN
from gaiaops.cli.progress import Progress, Stop
from gaiaops.errors import InterruptedRunError, RefusedError, StatementError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gaiaops.cleanup.undo import Restored
    from gaiaops.registry.model import Environment, Registry
    from gaiaops.rundir import RunFolder


@click.command("restore")
@click.argument("run", type=RUN)
@click.option("--user", metavar="ADDRESS", help="Only this person.")
@click.option("--dry-run", is_flag=True, help="Compare the archive with the database; nothing is changed.")
@click.option("--confirm", metavar="ENV", help="The environment's name, where there is no terminal to type it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: base.Context, /, **options: Any) -> None:
    """Put back what the clean-up RUN removed, or undo the repair RUN of `audit --fix`.

    Rows that are there again are compared and reported, never overwritten; columns that were set to NULL are
    set back only where they still are NULL. Of a repair, what was changed since is left alone and named. The
    archive's hashes, the server and the schema are checked first.

    \b
    Examples:
      gaiaops restore 20261122-042441-production-526b
      gaiaops restore 20261122 --user jason+dev@example.com
      gaiaops restore 20261122 --dry-run
    """
    from gaiaops import rundir
    from gaiaops.cli import repair

    found = rundir.find(options["run"])
    if found.command == rundir.REPAIR:
        repair.restore(context, found, options)
    else:
        _restore(context, found, options)


def _restore(context: base.Context, found: RunFolder, options: dict[str, Any]) -> None:
    """Puts a clean-up back."""
    from gaiaops import trail
    from gaiaops.cleanup import apply, restore

    registry = context.registry()
    put_back, plan, users = _way(registry, found)
    env = registry.environment(plan.environment)
    wanted = restore.Options(options["user"], options["dry_run"])
    stop, progress = Stop(), Progress("segments")
    if options["dry_run"]:
        with stop.listening():
            done = put_back(env, wanted, apply.Hooks(progress, stop, base.notice))
        _tell(env, done, options)
        return
    base.check_confirmable(env, options["confirm"])
    who = options["user"] or f"{users} users"
    base.confirm(env, options["confirm"], f"{who} and what hung on them go back into {env.name}.")
    with trail.change(env.name, "restore", sha256=plan.sha256) as record, stop.listening():
        record.server, record.outcome = plan.server, trail.PARTLY
        try:
            done = put_back(env, wanted, apply.Hooks(progress.into(record), stop, base.notice))
            record.rows = done.rows
        finally:
            progress.clear()
        _tell(env, done, options)


def _way(registry: Registry, found: RunFolder) -> tuple[Callable[..., Restored], Any, int]:
    """What puts a run back, its plan, and how many users it has purged. Raises RefusedError where the environment had
    shards then and has none now, or the other way round."""
    from gaiaops.cleanup import archive, restore
    from gaiaops.cleanup.shards import archive as shards
    from gaiaops.cleanup.shards import guests
    from gaiaops.cleanup.shards import restore as restore_shards

    if shards.is_whole(found):
        whole = shards.WholeRun(found.folder)
        users = len(guests.purged_people(whole))
        return lambda env, *rest: restore_shards.restore_whole(registry, env, whole, *rest), whole.plan(), users
    run = archive.Run(found.folder)
    plan = run.plan()
    if registry.environment(plan.environment).shards:
        raise RefusedError(
            f"run {run.id} is of {plan.environment} when it was one database; it has shards now",
            hint="nothing was restored; restore it with the registry of then: gaiaops --registry FILE",
            environment=plan.environment,
        )
    return lambda env, *rest: restore.restore(registry, env, run, *rest), plan, run.state().users


def _tell(env: Environment, done: Restored, options: dict[str, Any]) -> None:
    import msgspec

    from gaiaops.output import purge, report

    body = msgspec.to_builtins(done)
    dry = options["dry_run"]
    if options["as_json"]:
        click.echo(report.document({"restore": {"dry_run": dry, **body}}))
    else:
        text = purge.restore_text(body)
        if text:
            click.echo(text)
    changed = sum(done.set_back.values())
    verb = "would come back" if dry else "came back"
    base.notice(f"[{env.name}] {done.rows} rows {verb}, {changed} {'would be' if dry else 'were'} set back")
    if done.interrupted:
        raise InterruptedRunError("interrupted", hint="run it again to go on", environment=env.name)
    lost = sum(done.conflicting.values()) + sum(done.orphaned.values())
    if lost and not dry:
        raise StatementError(
            f"{lost} rows could not come back: a unique value is taken, or what they belong to is not there",
            hint="the table above says which; the archive still has them",
            environment=env.name,
        )
    if done.differ:
        base.warn(f"[{env.name}] {sum(done.differ.values())} rows are there otherwise and were left as they are")
