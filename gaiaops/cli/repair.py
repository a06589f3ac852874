"""The conversation of `audit --fix`, and of `restore` and `runs` about a repair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base
from gaiaops.errors import RefusedError, StatementError

if TYPE_CHECKING:
    from gaiaops.audit.kinds import Finding
    from gaiaops.audit.repair import Outcome
    from gaiaops.audit.repair_look import LookAgain
    from gaiaops.audit.repair_plan import Repair
    from gaiaops.audit.repair_run import RepairRun
    from gaiaops.audit.repair_undo import Undone
    from gaiaops.auth.interface import Look
    from gaiaops.registry.model import Environment, Registry
    from gaiaops.rundir import RunFolder
    from gaiaops.trail import Record


def fix(
    registry: Registry,
    env: Environment,
    findings: Sequence[Finding],
    kinds: Sequence[str],
    look: Look,
    look_again: LookAgain,
    *,
    dry_run: bool,
    confirm: str | None,
    as_json: bool,
) -> None:
    """Plans the repair of these kinds, shows it, asks, applies it and tells.

    Raises UsageError for a kind that cannot be repaired, RefusedError, StatementError where something is left to do,
    and the error tree's errors.
    """
    from gaiaops.audit import repair
    from gaiaops.audit.repair_plan import check_kinds

    check_kinds(tuple(kinds))
    if not dry_run:
        base.check_confirmable(env, confirm)
        _finish_earlier(registry, env)
    plan = repair.plan(registry, env, [finding for finding in findings if finding.kind in kinds], look)
    if dry_run or not plan.changes:
        if as_json or plan.changes or plan.left:
            _show(plan, as_json=as_json, dry_run=dry_run)
        if not plan.changes:
            left = f": {len(plan.left)} findings are left as they are" if plan.left else ""
            base.notice(f"[{env.name}] nothing to repair{left}")
        return
    _show(plan, err=True)
    question = f"\n{len(plan.changes)} findings of {env.name} are repaired: {_scale(plan)}."
    base.confirm(env, confirm, question, number=len(plan.changes) if env.protected else None, of="changes")
    _apply(registry, env, plan, look_again, as_json=as_json)


def _finish_earlier(registry: Registry, env: Environment) -> None:
    """What an earlier repair left is settled first: whether it was committed, and its Redis entries."""
    from gaiaops.audit import repair

    for done in repair.finish(registry, env):
        if done.cache_left:
            base.warn(
                f"[{env.name}] {done.cache_left} Redis entries of run {done.run} are still there: {done.cache_failure}"
            )
        elif done.rows:
            base.notice(
                f"run {done.run} was not finished: {done.rows} rows were written,"
                f" {done.cache_removed} Redis entries removed now"
            )


def _scale(plan: Repair) -> str:
    parts = [f"{plan.rows} rows are written"] if plan.rows else []
    parts += [f"{plan.entries} Redis entries go"] if plan.entries else []
    return " and ".join(parts)


def _show(plan: Repair, *, as_json: bool = False, dry_run: bool = False, err: bool = False) -> None:
    from gaiaops.output import repair, report

    body = _document(plan)
    if as_json:
        click.echo(report.document({"repair": {**body, "dry_run": dry_run, "done": None}}))
    else:
        click.echo(repair.plan_text(body), err=err)


def _document(plan: Repair) -> dict[str, Any]:
    """The stable field names of a plan."""
    import msgspec

    return {**msgspec.to_builtins(plan), "rows": plan.rows, "entries": plan.entries, "plan_sha256": plan.sha256}


def _apply(registry: Registry, env: Environment, plan: Repair, look_again: LookAgain, *, as_json: bool) -> None:
    from gaiaops import trail
    from gaiaops.audit import repair

    with trail.change(env.name, "audit --fix", sha256=plan.sha256) as record:
        record.server = plan.server
        done = repair.apply(registry, env, plan, look_again, repair.Hooks(_phases(record)))
        record.rows = done.rows
        _tell(env, plan, done, as_json=as_json)


def _phases(record: Record) -> Any:
    """Keeps the trail's record true to what is known of the commit."""
    from gaiaops import trail

    def hear(word: str, rows: int) -> None:
        record.rows = rows
        record.outcome = trail.COMMITTING if word == "committing" else trail.PARTLY

    return hear


def _tell(env: Environment, plan: Repair, done: Outcome, *, as_json: bool) -> None:
    import msgspec

    from gaiaops.output import repair, report

    body = msgspec.to_builtins(done)
    if as_json:
        click.echo(report.document({"repair": {**_document(plan), "dry_run": False, "done": body}}))
    base.notice(
        f"[{env.name}] repaired {len(done.done)} of {len(plan.changes)} findings: {done.rows} rows written,"
        f" {done.cache_removed} Redis entries removed"
    )
    for line in repair.left_lines(body["skipped"], "skipped"):
        base.notice(line)
    base.notice(f"archive: {done.archive}\nrestore: gaiaops restore {done.run}")
    failed = [left for left in done.skipped if left.failed]
    if done.cache_left:
        raise StatementError(
            f"{done.cache_left} Redis entries are still there: {done.cache_failure}",
            hint="run the same command again: what was not removed is found again",
            environment=env.name,
        )
    if failed:
        raise StatementError(
            f"{len(failed)} findings could not be repaired: {failed[0].why}",
            hint="run the same command again, or look: gaiaops whois",
            environment=env.name,
        )


def restore(context: base.Context, folder: RunFolder, options: dict[str, Any]) -> None:
    """Undoes a repair: `gaiaops restore RUN`. Raises as `restore` does; RefusedError where the environment has shards
    since."""
    from gaiaops import trail
    from gaiaops.audit import repair_undo
    from gaiaops.audit.repair_run import RepairRun

    run = RepairRun(folder.folder)
    plan, registry = run.plan(), context.registry()
    env = registry.environment(plan.environment)
    if env.shards:
        raise RefusedError(
            f"run {run.id} is of {env.name} when it was one database; it has shards now",
            hint="nothing was restored; restore it with the registry of then: gaiaops --registry FILE",
            environment=env.name,
        )
    if options["dry_run"]:
        _tell_undone(env, repair_undo.undo(registry, env, run, options["user"], dry_run=True), options)
        return
    base.check_confirmable(env, options["confirm"])
    who = f"what it did to {options['user']}" if options["user"] else f"{run.state().rows} rows"
    base.confirm(env, options["confirm"], f"The repair {run.id} of {env.name} is undone: {who}.")
    with trail.change(env.name, "restore", sha256=plan.sha256) as record:
        record.server, record.outcome = plan.server, trail.COMMITTING
        done = repair_undo.undo(registry, env, run, options["user"], dry_run=False)
        record.rows, record.outcome = done.rows, trail.PARTLY
        _tell_undone(env, done, options)


def _tell_undone(env: Environment, done: Undone, options: dict[str, Any]) -> None:
    import msgspec

    from gaiaops.output import repair, report

    body, dry = msgspec.to_builtins(done), options["dry_run"]
    if options["as_json"]:
        click.echo(report.document({"restore": {"dry_run": dry, "command": "audit --fix", **body}}))
    elif text := repair.restore_text(body):
        click.echo(text)
    if done.rows:
        would = "would be" if dry else "were"
        base.notice(
            f"[{env.name}] {sum(done.set_back.values())} rows {would} set back,"
            f" {sum(done.removed.values())} {would} removed again"
        )
    else:
        base.notice(f"[{env.name}] nothing {'would change' if dry else 'was changed'}: {_why_nothing(done)}")
    if done.not_undone and not dry:
        raise StatementError(
            f"{len(done.not_undone)} rows could not be undone: {done.not_undone[0].why}",
            hint="the list above says which; the archive still has them",
            environment=env.name,
        )


def _why_nothing(done: Undone) -> str:
    if done.not_undone:
        return "the rows are not as the repair left them"
    return "all is as it was before the repair" if done.present else "the repair wrote no rows"


def document(folder: RunFolder) -> dict[str, Any]:
    """What `runs` says of a repair. Raises StatementError where it cannot be read."""
    from gaiaops.audit import repair_run

    run: RepairRun = repair_run.RepairRun(folder.folder)
    return repair_run.document(run, run.plan(), run.state())
