"""`gaiaops runs`: past clean-ups and repairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base
from gaiaops.cli.arguments import AGE, RUN
from gaiaops.errors import GaiaopsError, UsageError

if TYPE_CHECKING:
    from gaiaops.rundir import RunFolder


@click.command("runs")
@click.argument("run", type=RUN, required=False)
@click.option("--expire", type=AGE, metavar="AGE", help="Remove the archives of finished runs older than this: 30d.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: base.Context, /, run: str | None, expire: tuple[str, int] | None, as_json: bool) -> None:
    """List past clean-ups and repairs, the newest first; with RUN, one of them in full.

    RUN is an id or its beginning. What --expire removes cannot be restored any more; unfinished runs stay.

    \b
    Examples:
      gaiaops runs
      gaiaops runs 20261122-0424
      gaiaops runs --expire 30d
    """
    from gaiaops import rundir
    from gaiaops.output import report

    if expire is not None:
        if run is not None:
            raise UsageError("--expire takes no RUN", hint="it removes by age")
        _expire(expire)
        return
    chosen = [rundir.find(run)] if run else rundir.every()
    documents = [_document(one) for one in chosen]
    if as_json:
        body = {"runs": [document for document, _ in documents]}
        click.echo(report.document(body))
    elif run:
        click.echo(_one(documents[0][0]))
    elif documents:
        click.echo(_listed([document for document, _ in documents]))
    else:
        base.notice("no clean-up has been made from this machine")
    for _, error in documents:
        if error is not None:
            base.warn(str(error))


def _one(document: dict[str, Any]) -> str:
    from gaiaops.output import purge, purge_shards, repair

    if "kinds" in document:
        return repair.run_text(document)
    text = purge.run_text(document)
    return f"{text}\n\n{purge_shards.shards_text(document)}" if "shards" in document else text


def _listed(documents: list[dict[str, Any]]) -> str:
    """A list of clean-ups alone needs no column that says so."""
    from gaiaops.output import purge, repair

    mixed = any("kinds" in document for document in documents)
    return repair.runs_text(documents) if mixed else purge.runs_text(documents)


def _document(folder: RunFolder) -> tuple[dict[str, Any], GaiaopsError | None]:
    """A run that cannot be read is shown as such."""
    import msgspec

    from gaiaops import rundir
    from gaiaops.cleanup import archive, runs
    from gaiaops.cleanup.shards import archive as shards
    from gaiaops.cli import cleanup_ways, repair
    from gaiaops.output import purge

    run = archive.Run(folder.folder)
    try:
        if shards.is_whole(folder):
            whole = shards.WholeRun(folder.folder)
            outstanding = any(part.state().cache for part in whole.parts)
            return cleanup_ways.shards_report(whole, outstanding=outstanding), None
        if folder.command == rundir.REPAIR:
            return repair.document(folder), None
        plan, state = run.plan(), run.state()
    except GaiaopsError as error:
        empty = {"environment": "", "server": "", "made": "", "tags": [], "users": 0}
        unreadable = {
            "users": 0, "rows": 0, "set": 0, "state": "unreadable", "segments": 0, "tables": {}, "skipped": {},
            "auth": {}, "cache_outstanding": 0, "archive": str(run.folder),
        }  # fmt: skip
        return {**purge.run_document(run.id, empty, unreadable), "command": folder.command}, error
    body = runs.document(run, plan.sha256, state, outstanding=bool(plan.cache_keys))
    return purge.run_document(run.id, msgspec.to_builtins(plan), body), None


def _expire(age: tuple[str, int]) -> None:
    from gaiaops import rundir

    removed, kept = rundir.expire(age[1], _unfinished)
    for name in removed:
        base.notice(f"removed {name}")
    for name in kept:
        base.warn(f"run {name} is unfinished or being worked on: kept")
    if not removed:
        base.notice(f"no finished run is older than {age[0]}")


def _unfinished(run: RunFolder) -> bool:
    from gaiaops import rundir
    from gaiaops.audit.repair_run import RepairRun
    from gaiaops.cleanup.archive import Run
    from gaiaops.cleanup.shards.archive import WholeRun, is_whole

    if is_whole(run):
        return WholeRun(run.folder).word == "unfinished"
    made: Run | RepairRun = RepairRun(run.folder) if run.command == rundir.REPAIR else Run(run.folder)
    return made.state().word == "unfinished"
