"""`gaiaops health`: checks with values, thresholds, verdicts and the next command."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base
from gaiaops.cli.arguments import ENVIRONMENT_OR_ALL
from gaiaops.cli.watch import SECONDS, watched
from gaiaops.errors import FindingsError, GaiaopsError, PartialError

if TYPE_CHECKING:
    from gaiaops.inspect.health.run import Report
    from gaiaops.registry.model import Environment


@click.command("health")
@click.argument("env", type=ENVIRONMENT_OR_ALL)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--ok", "every", is_flag=True, help="With all: list the checks that are ok too.")
@click.option("--fail-on", type=click.Choice(["warn", "critical", "never"]), default="critical", show_default=True,
              help="End with 7 where a verdict is this bad.")  # fmt: skip
@click.option("--watch", "every_s", type=SECONDS, metavar="SECONDS", help="Look again and again; Ctrl-C ends it.")
@click.pass_obj
def command(context: base.Context, /, env: str, **options: Any) -> None:
    """Check PostgreSQL and Redis of ENV or of all, and the Supabase Auth that they share.

    Each check has a value, a threshold (environments.toml can change it), a verdict (ok, warn, critical, or
    unknown where something could not be seen) and the next command to run. Nothing is changed, and nothing is
    waited for longer than a second.

    \b
    Examples:
      gaiaops health production
      gaiaops health all --fail-on warn
      gaiaops health all --watch 5
      gaiaops health all --json | jq '.checks[] | select(.verdict != "ok")'
    """
    from gaiaops.inspect.health import run

    registry = context.registry()
    chosen = registry.select(env)
    every = options["every"] or env != "all"
    if options["every_s"] is not None:
        compact = options["as_json"]

        def frame() -> str:
            return _text(context, run.run(registry, chosen), every=every, as_json=compact, compact=compact)

        watched(options["every_s"], frame)
        return
    report = run.run(registry, chosen)
    click.echo(_text(context, report, every=every, as_json=options["as_json"]))
    _conclude(report, chosen if env != "all" else (), fail_on=options["fail_on"])


def _text(context: base.Context, report: Report, *, every: bool, as_json: bool, compact: bool = False) -> str:
    from gaiaops.output import health
    from gaiaops.output.report import document

    if as_json:
        found = health.document(report.results)
        return json.dumps(found, ensure_ascii=False) if compact else document(found)
    return health.text(report.results, every=every, color=context.colored(sys.stdout))


def _conclude(report: Report, alone: Sequence[Environment], *, fail_on: str) -> None:
    """Ends with the code that the report deserves: a server that failed goes before what was found. `alone` is the
    environment that was asked for, none where it was all."""
    from gaiaops.inspect.health.checks import Verdict

    if report.errors:
        raise _failure(report.errors, alone)
    if fail_on == "never":
        return
    level = Verdict[fail_on.upper()]
    bad = [result for result in report.results if result.verdict >= level]
    if bad:
        names = ", ".join(dict.fromkeys(f"{result.check} ({result.where})" for result in bad[:4]))
        more = f" and {len(bad) - 4} more" if len(bad) > 4 else ""
        words = (
            f"{len(bad)} check{'s' if len(bad) > 1 else ''} at {fail_on}{'' if fail_on == 'critical' else ' or worse'}"
        )
        raise FindingsError(f"{words}: {names}{more}", hint="each names its next command")


def _failure(errors: list[GaiaopsError], alone: Sequence[Environment]) -> GaiaopsError:
    """One environment's failure gives its own code where all its servers failed alike, otherwise 6; so does that of an
    environment with shards, where all of them failed."""
    names = dict.fromkeys(error.environment for error in errors)
    databases = [database.name for env in alone for database in env.databases]
    mine = {*databases, *(env.name for env in alone)}
    if (names.keys() <= mine) and (names.keys() >= set(databases)) and len({error.code for error in errors}) == 1:
        return errors[0]
    return PartialError(f"not everything answered: {', '.join(names)}", hint="the report names each reason")
