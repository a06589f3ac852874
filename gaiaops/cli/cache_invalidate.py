"""`gaiaops cache ENV invalidate`: finds, shows, asks, removes, tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base
from gaiaops.cli.arguments import DURATION
from gaiaops.cli.progress import Progress, Stop
from gaiaops.errors import InterruptedRunError, UsageError

if TYPE_CHECKING:
    from gaiaops.inspect.cache.invalidate import Selection, Wanted
    from gaiaops.registry.model import Environment


@click.command("invalidate", short_help="Remove entries: a person's, exact keys, or a family.")
@click.option("--user", metavar="EMAIL", help="The entries of this person, in any case of the address.")
@click.option("--key", "keys", metavar="KEY", multiple=True, help="This key, never a pattern (again for more).")
@click.option("--family", metavar="NAME", help="Every key of a family of the registry.")
@click.option("--dry-run", is_flag=True, help="Show what would go; nothing is changed.")
@click.option("--confirm", metavar="ENV", help="The environment's name, where there is no terminal to type it.")
@click.option("--timeout", type=DURATION, metavar="DURATION",
              help="Longest wait for an answer.  [default: the connect timeout]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def invalidate(ctx: click.Context, /, **options: Any) -> None:
    """Remove entries: those of a person, exact keys, or a family.

    Shows how many keys go, asks for the environment's name, and unlinks exactly these in small batches. What
    appears meanwhile stays. A person's keys are those of cache.user_keys in the registry, filled from
    PostgreSQL; whom PostgreSQL does not know is refused. JWT entries have no person in their key.

    \b
    Examples:
      gaiaops cache dev invalidate --user jason+dev@example.com
      gaiaops cache dev invalidate --key persona:7 --key personas:list:all
      gaiaops cache staging invalidate --family "persona list" --confirm staging
    """
    from gaiaops.cli.cache import settings
    from gaiaops.inspect.cache import invalidate as work

    wanted = _wanted(options)
    env, timeout, as_json = settings(ctx, options["timeout"], options["as_json"])
    context: base.Context = ctx.obj
    if not options["dry_run"]:
        base.check_confirmable(env, options["confirm"])
    progress = Progress("keys looked at")
    with work.selected(context.registry(), env, wanted, timeout_ms=timeout, hear=progress) as selection:
        progress.clear()
        _tell_notices(env, selection)
        if options["dry_run"] or not len(selection):
            _tell(env, selection, 0, as_json=as_json, dry_run=options["dry_run"])
            return
        base.notice(f"{_count(selection)} of {env.name} ({wanted.text}):\n")
        _show(selection)
        base.confirm(
            env,
            options["confirm"],
            f"\n{'This goes' if len(selection) == 1 else 'These go'} from the cache of {env.name}.",
            number=len(selection) if env.protected else None,
            of="keys",
        )
        _apply(env, selection, timeout, as_json)


def _wanted(options: dict[str, Any]) -> Wanted:
    from gaiaops.inspect.cache.invalidate import Wanted

    given = [name for name in ("user", "keys", "family") if options[name] not in (None, ())]
    if len(given) != 1:
        names = "--user, --key or --family"
        said = "choose one of" if given else "say what to remove:"
        raise UsageError(f"{said} {names}", hint="gaiaops cache ENV invalidate --help")
    if options["user"] == "" or options["family"] == "" or "" in options["keys"]:
        raise UsageError(f"--{given[0].removesuffix('s')} is empty", hint="gaiaops cache ENV invalidate --help")
    return Wanted(options["user"], tuple(options["keys"]), options["family"])


def _count(selection: Selection) -> str:
    most = "" if selection.spool.exact else "up to "
    return f"{most}{len(selection):,} key{'' if len(selection) == 1 else 's'}"


def _sample(selection: Selection) -> list[dict[str, Any]]:
    from gaiaops.cache.keys import key_text
    from gaiaops.cli.cache import ttl

    return [{"key": key_text(key), **ttl(left)} for key, left in selection.sample]


def _show(selection: Selection, *, err: bool = True) -> None:
    from gaiaops.output import cache as output

    click.echo(output.sample_text(_sample(selection), len(selection)), err=err)


def _tell_notices(env: Environment, selection: Selection) -> None:
    from gaiaops.output.cells import label

    for profile in selection.profiles:
        base.notice(f"[{env.name}] {profile.id}  {label(profile.email)}")
    for line in selection.notices:
        base.notice(label(line))
    for key in selection.absent:
        base.notice(f"not there: {label(key)}")


def _apply(env: Environment, selection: Selection, timeout: int | None, as_json: bool) -> None:
    from gaiaops import trail
    from gaiaops.inspect.cache import invalidate as work

    stop, progress = Stop(), Progress("keys")
    with trail.change(env.name, "cache invalidate", sha256=selection.spool.sha256) as record, stop.listening():
        # Until a batch is answered, one that is lost may have been done.
        record.server, record.outcome = selection.where.text, trail.COMMITTING
        asked = 0

        def hear(done: int, removed: int) -> bool:
            nonlocal asked
            asked = done
            record.rows, record.outcome = removed, trail.PARTLY
            progress(done, len(selection))
            return stop()

        try:
            work.apply(env, selection, timeout_ms=timeout, hear=hear)
        finally:
            progress.clear()
        if asked < len(selection):
            raise InterruptedRunError(
                f"interrupted: {record.rows:,} keys were removed, {len(selection) - asked:,} were not asked to go",
                hint="run the same command again for the rest",
                environment=env.name,
            )
        _tell(env, selection, record.rows, as_json=as_json)


def _tell(env: Environment, selection: Selection, removed: int, *, as_json: bool, dry_run: bool = False) -> None:
    from gaiaops.output import report

    if as_json:
        document = {
            "removed": removed,
            "environment": env.name,
            "selected": len(selection),
            "dry_run": dry_run,
            "absent": selection.absent,
            "profiles": [{"id": one.id, "email": one.email} for one in selection.profiles],
            "sample": _sample(selection),
        }
        click.echo(report.document(document))
    elif dry_run and len(selection):
        _show(selection, err=False)
    if not len(selection):
        base.notice(f"[{env.name}] nothing to remove: no such entry is there")
    elif dry_run:
        base.notice(f"[{env.name}] {_count(selection)} would be removed")
    else:
        gone = len(selection) - removed
        also = f"; {gone:,} had gone meanwhile" if gone else ""
        base.notice(f"[{env.name}] {removed:,} keys removed{also}")
