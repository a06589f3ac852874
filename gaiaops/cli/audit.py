"""`gaiaops audit`: whether Supabase Auth, the environments and their caches agree."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base
from gaiaops.cli.arguments import DURATION, ENVIRONMENT_OR_ALL, FINDINGS
from gaiaops.cli.audit_report import Shown
from gaiaops.cli.progress import Progress
from gaiaops.errors import PartialError, RefusedError, UsageError

if TYPE_CHECKING:
    from gaiaops.audit.kinds import Finding
    from gaiaops.audit.report import Report
    from gaiaops.audit.run import Done
    from gaiaops.registry.model import Environment, Registry

_SEVERITIES = ["critical", "error", "warning", "notice"]


@click.command("audit")
@click.argument("env", type=ENVIRONMENT_OR_ALL)
@click.option("--source", type=click.Choice(["auto", "sql", "api"]), default="auto", show_default=True,
              help="How to read Supabase Auth.")  # fmt: skip
@click.option("--kind", "kinds", type=FINDINGS, multiple=True, help="Look for these kinds only; may be repeated.")
@click.option("--min-severity", type=click.Choice(_SEVERITIES), default="notice", help="Show nothing less bad.")
@click.option("--fail-on", type=click.Choice([*_SEVERITIES, "never"]), default="error", show_default=True,
              help="End with 7 where something this bad is found.")  # fmt: skip
@click.option("--baseline", type=click.Path(path_type=Path), metavar="FILE",
              help="A saved audit whose findings are accepted.")  # fmt: skip
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE", help="Keep the report, for --baseline.")
@click.option("--fix", "fixes", type=FINDINGS, multiple=True, help="Repair these kinds, after showing the plan.")
@click.option("--dry-run", is_flag=True, help="With --fix: show the plan only.")
@click.option("--confirm", metavar="ENV", help="With --fix: the environment's name, where no terminal is there.")
@click.option("--timeout", type=DURATION, help="Statement timeout instead of the registry's.")
@click.option("--page-size", type=click.IntRange(1, 100_000), metavar="N", help="Users a page, from the API.")
@click.option("--json", "shape", flag_value="json", help="One JSON document.")
@click.option("--jsonl", "shape", flag_value="jsonl", help="One line of JSON a finding.")
@click.option("--csv", "shape", flag_value="csv", help="One line of CSV a finding.")
@click.pass_obj
def command(context: base.Context, /, env: str, **options: Any) -> None:
    """Compare Supabase Auth with the profiles, API keys and caches of ENV or of all.

    Everything is read in snapshots, and each finding is looked at again on both sides before it is reported.
    Ends with 7 where something as bad as --fail-on is found, with 6 where not everything could be read.

    \b
    Examples:
      gaiaops audit all
      gaiaops audit production --min-severity error --json
      gaiaops audit all --save known.json; gaiaops audit all --baseline known.json
      gaiaops audit dev --fix email-drift,case-drift --dry-run
    """
    from gaiaops.audit import baseline, platform, run, sources

    registry = context.registry()
    chosen = registry.select(env)
    fixes = _flat(options["fixes"])
    if fixes:
        _check_fix(chosen, options, fixes)
    else:
        platform.check_whole(chosen)
        if options["dry_run"] or options["confirm"]:
            raise UsageError("--dry-run and --confirm belong to --fix", hint="name the kinds to repair: --fix KIND")
    known = baseline.load(options["baseline"]) if options["baseline"] else None
    kinds = frozenset(fixes or _flat(options["kinds"])) or run.ALL_KINDS
    wanted = sources.Wanted(options["source"], options["timeout"], options["page_size"])
    progress = Progress("users read")
    wholes = tuple(registry.environment(one.whole) for one in chosen)  # a shard's findings are those of the sum
    with run.audit(registry, wholes, wanted, progress, kinds) as done:
        progress.clear()
        for note in done.report.notes:
            base.notice(f"[supabase] {note}")
        if context.verbose:
            _tell_times(done.report)
        _check_some(done.report)
        if fixes:
            _fix(registry, chosen[0], done, fixes, options)
        else:
            Shown(done.report, kinds, known, options).show()


def _flat(names: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Options that may be repeated, and hold commas."""
    return tuple(dict.fromkeys(name for group in names for name in group))


def _check_fix(chosen: tuple[Environment, ...], options: dict[str, Any], fixes: tuple[str, ...]) -> None:
    """What can be refused before anything is contacted."""
    from gaiaops.audit.repair_plan import check_kinds

    if len(chosen) != 1:
        raise UsageError("--fix repairs one environment at a time", hint="name it instead of all")
    check_kinds(fixes)
    _check_shards(chosen[0], fixes)
    for name, flag in (("baseline", "--baseline"), ("save", "--save"), ("kinds", "--kind")):
        if options[name]:
            raise UsageError(f"{flag} and --fix do not go together", hint="--fix names the kinds itself")
    if not options["dry_run"]:
        base.check_confirmable(chosen[0], options["confirm"])


def _check_shards(env: Environment, fixes: tuple[str, ...]) -> None:
    """Raises RefusedError for an environment with shards, one of which must be named, and for what is no shard's."""
    if env.shards:
        commands = " or ".join(f"gaiaops audit {shard.name} --fix {','.join(fixes)}" for shard in env.shards)
        raise RefusedError(
            f"refused: it has {len(env.shards)} shards, and --fix repairs one database; nothing was changed",
            hint=f"each finding names its shards: {commands}",
            environment=env.name,
        )
    if env.shard and "stale-cache" in fixes:
        raise RefusedError(
            f"refused: stale-cache is about the Redis of {env.whole}, which is no shard's; nothing was changed",
            hint=f"gaiaops cache {env.whole} invalidate --key KEY, as each finding of gaiaops audit {env.whole} says",
            environment=env.name,
        )


def _check_some(report: Report) -> None:
    """Shows what failed. Raises where nothing at all could be read; of an environment with shards, something could."""
    errors = [side.error for side in report.sides.values() if side.error is not None]
    whole = all(error.environment in report.sides for error in errors)
    if whole and len(errors) == len(report.sides) and len({error.code for error in errors}) == 1:
        for error in errors[1:]:
            base.show_error(error)
        raise errors[0]
    for error in [*errors, *([report.source_error] if report.source_error else [])]:
        base.show_error(error)
    for problem in report.problems:
        base.warn(problem)


def _tell_times(report: Report) -> None:
    base.notice(f"Supabase Auth by {report.source or 'nothing'}; compared in {report.seconds['first']:.2f} s")
    if "second" in report.seconds:
        base.notice(f"{report.again} findings looked at again in {report.seconds['second']:.2f} s")


def _tell_elsewhere(env: Environment, findings: Iterable[Finding]) -> None:
    """What a shard's repair passes over, because it is in another shard."""
    kinds: dict[str, list[str]] = {}
    for finding in findings:
        if env.shard and len(finding.shards) == 1 and env.shard not in finding.shards:
            kinds.setdefault(f"{env.whole}/{finding.shards[0]}", []).append(finding.kind)
    for shard, some in kinds.items():
        command = f"gaiaops audit {shard} --fix {','.join(dict.fromkeys(some))}"
        base.notice(f"[{shard}] {len(some)} findings are not in {env.name}: {command}")


def _fix(
    registry: Registry,
    env: Environment,
    done: Done,
    fixes: tuple[str, ...],
    options: dict[str, Any],
) -> None:
    from gaiaops.cli import repair

    source = done.platform.source
    if source is None:
        raise PartialError("Supabase Auth could not be read: nothing is repaired on half the truth")
    if failed := done.report.sides[env.whole].error:
        raise PartialError(f"{failed.environment} could not be read: nothing is repaired on half the truth")
    findings = list(done.report.findings())
    _tell_elsewhere(env, findings)
    done.platform.rest()
    repair.fix(
        registry,
        env,
        findings,
        fixes,
        source,
        source.again,
        dry_run=options["dry_run"],
        confirm=options["confirm"],
        as_json=options["shape"] is not None,
    )
