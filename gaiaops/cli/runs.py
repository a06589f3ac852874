"""`gaiaops runs`: past clean-ups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base
from gaiaops.cli.arguments import AGE, RUN
from gaiaops.errors import GaiaopsError, UsageError

if TYPE_CHECKING:
    from gaiaops.cleanup.archive import Run


@click.command("runs")
@click.argument("run", type=RUN, required=False)
@click.option("--expire", type=AGE, metavar="AGE", help="Remove the archives of finished runs older than this: 30d.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: base.Context, /, run: str | None, expire: tuple[str, int] | None, as_json: bool) -> None:
    """List past clean-ups, the newest first; with RUN, one of them in full.

    RUN is an id or its beginning. What --expire removes cannot be restored any more; unfinished runs stay.

    \b
    Examples:
      gaiaops runs
      gaiaops runs 20261122-0424
      gaiaops runs --expire 30d
    """
    from gaiaops.cleanup import archive
    from gaiaops.output import purge, report

    if expire is not None:
        if run is not None:
            raise UsageError("--expire takes no RUN", hint="it removes by age")
        _expire(expire)
        return
    chosen = [archive.find(run)] if run else archive.every()
    documents = [_document(one) for one in chosen]
    if as_json:
        body = {"runs": [document for document, _ in documents]}
        click.echo(report.document(body))
    elif run:
        click.echo(purge.run_text(documents[0][0]))
    elif documents:
        click.echo(purge.runs_text([document for document, _ in documents]))
    else:
        base.notice("no clean-up has been made from this machine")
    for _, error in documents:
        if error is not None:
            base.warn(str(error))


def _document(run: Run) -> tuple[dict[str, Any], GaiaopsError | None]:
    """A run that cannot be read is shown as such."""
    import msgspec

    from gaiaops.cleanup import runs
    from gaiaops.output import purge

    try:
        plan, state = run.plan(), run.state()
    except GaiaopsError as error:
        empty = {"environment": "", "server": "", "made": "", "tags": [], "users": 0}
        unreadable = {
            "users": 0, "rows": 0, "set": 0, "state": "unreadable", "segments": 0, "tables": {}, "skipped": {},
            "auth": {}, "cache_outstanding": 0, "archive": str(run.folder),
        }  # fmt: skip
        return purge.run_document(run.id, empty, unreadable), error
    body = runs.document(run, plan, state, outstanding=bool(plan.cache_keys))
    return purge.run_document(run.id, msgspec.to_builtins(plan), body), None


def _expire(age: tuple[str, int]) -> None:
    from gaiaops.cleanup import runs

    removed, kept = runs.expire(age[1])
    for name in removed:
        base.notice(f"removed {name}")
    for name in kept:
        base.warn(f"run {name} is unfinished or being worked on: kept")
    if not removed:
        base.notice(f"no finished run is older than {age[0]}")
