"""`gaiaops cleanup`: plan, show, ask, apply, tell."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base, cleanup_ways
from gaiaops.cli.arguments import AGE, ENVIRONMENT, TAG
from gaiaops.cli.cleanup_report import show, show_refusals, tell
from gaiaops.cli.progress import Progress, Stop
from gaiaops.errors import GaiaopsError, RefusedError, UsageError

if TYPE_CHECKING:
    from gaiaops.cleanup.auth_users import AuthOutcome
    from gaiaops.cleanup.planner import Options
    from gaiaops.cli.cleanup_ways import Way
    from gaiaops.registry.model import Environment, Registry

_PLANNED = ("tag", "older_than", "keep", "max_users", "allow_collateral", "save_plan")


@click.command("cleanup")
@click.argument("env", type=ENVIRONMENT)
@click.option("--dry-run", is_flag=True, help="Print the plan; nothing is changed.")
@click.option("--save-plan", metavar="FILE", help="Write the plan to FILE; nothing is changed.")
@click.option("--plan", "plan_file", metavar="FILE", help="Apply a saved plan, and only that.")
@click.option("--tag", type=TAG, multiple=True, help="Take users of this tag (again for more).")
@click.option("--older-than", type=AGE, metavar="AGE", help="Only users created before: 12h, 7d, 4w.")
@click.option("--keep", metavar="ADDRESS", multiple=True, help="Leave this address or @domain alone.")
@click.option("--max-users", type=click.IntRange(min=0), help="Take up to so many.  [default: 5 %, at most 1000]")
@click.option("--allow-collateral", is_flag=True, help="Let rows of other people go with the users they hang on.")
@click.option("--supabase", is_flag=True, help="Delete auth records that no environment needs, softly.")
@click.option("--hard", is_flag=True, help="With --supabase: delete them for good.")
@click.option("--confirm", metavar="ENV", help="The environment's name, where there is no terminal to type it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: base.Context, /, **options: Any) -> None:
    """Purge the test users of ENV: those tagged for another environment.

    Shows who goes and what goes with them, asks for the environment's name, and takes the rows out in small
    batches. Every row is in a synced archive before it is gone from the database; `gaiaops restore RUN` puts
    it back. Killed or interrupted, the same command finishes the job.

    \b
    Examples:
      gaiaops cleanup production --dry-run
      gaiaops cleanup production --keep qa+dev@example.com
      gaiaops cleanup staging --tag dev --older-than 7d --confirm staging
      gaiaops cleanup production --save-plan plan.jsonl
      gaiaops cleanup production --plan plan.jsonl
    """
    _check(options)
    registry = context.registry()
    env = registry.environment(options["env"])
    if options["supabase"] and registry.supabase is None:
        raise UsageError("the registry has no [supabase]", hint=f"add one to {registry.file}")
    with tempfile.TemporaryDirectory(prefix="gaiaops-") as folder:
        way = cleanup_ways.way(registry, env, Path(folder))
        acting = not (options["dry_run"] or options["save_plan"])
        if acting:
            base.check_confirmable(env, options["confirm"])
        try:
            _clean_up(way, options, acting)
        except GaiaopsError as error:  # in a shard, perhaps, which a clean-up cannot be of alone
            error.hint = error.hint.replace("gaiaops cleanup ENV", f"gaiaops cleanup {env.name}")
            raise


def _clean_up(way: Way[Any, Any], options: dict[str, Any], acting: bool) -> None:
    if options["plan_file"]:
        _apply_saved(way, options, acting)
    elif acting:
        _go(way, options)
    else:
        _only_plan(way, options)


def _check(options: dict[str, Any]) -> None:
    if options["hard"] and not options["supabase"]:
        raise UsageError("--hard is for --supabase", hint="without it auth records are left alone")
    for name in ("plan_file", "save_plan"):
        if options[name] == "":
            raise UsageError(f"--{name.removesuffix('_file').replace('_', '-')} is empty", hint="name a file")
    given = [name for name in _PLANNED if options[name] or (name == "max_users" and options[name] is not None)]
    if options["plan_file"] and given:
        raise UsageError(f"--{given[0].replace('_', '-')} belongs to making a plan", hint="a saved plan has it in it")


def _asked(options: dict[str, Any]) -> Options:
    from gaiaops.cleanup.planner import Options

    text, age = options["older_than"] or ("", None)
    return Options(
        tags=tuple(options["tag"]),
        older_than=age,
        older_text=text,
        keep=tuple(options["keep"]),
        max_users=options["max_users"],
        allow_collateral=options["allow_collateral"],
    )


def _only_plan(way: Way[Any, Any], options: dict[str, Any]) -> None:
    from gaiaops.output import files

    plan = way.make(_asked(options))
    if options["save_plan"]:
        with files.whole_file(Path(options["save_plan"]), private=True) as out:
            way.save(plan, out)
        command = f"gaiaops cleanup {way.env.name} --plan {options['save_plan']}"
        base.notice(f"plan of {plan.users} users saved; apply it with: {command}")
    if options["dry_run"] or options["as_json"]:
        show(way, plan, options)
    show_refusals(plan)


def _apply_saved(way: Way[Any, Any], options: dict[str, Any], acting: bool) -> None:
    from gaiaops.cleanup import saved

    plan = way.load(Path(options["plan_file"]))
    if not acting:
        show(way, plan, options)
        show_refusals(plan)
        return
    saved.check(plan)
    _confirm(way, plan, options)
    _apply(way, way.run_of(plan), options)


def _go(way: Way[Any, Any], options: dict[str, Any]) -> None:
    """Goes on with what the same command left unfinished, else makes a plan, shows it, asks and applies it."""
    from gaiaops.cleanup import auth_users, saved

    env, asked = way.env, _asked(options)
    run, others = way.unfinished(asked)
    for other in others:
        base.warn(f"[{env.name}] run {other} is unfinished; its own command finishes it, gaiaops runs {other} shows it")
    if run is not None and _resume(way, run, options):
        return
    plan = way.make(asked)
    if plan.users == 0 and options["supabase"] and (last := way.auth_left(plan.tags)):
        people = len(set(auth_users.purged(last)))
        _ask(env, f"Run {last.id} purged {people} users whose auth records may still be there.", people, options)
        _apply(way, last, options)
        return
    if plan.users == 0:
        if options["as_json"]:
            show(way, plan, options)
        tags = ", ".join(plan.tags) or "for another environment"
        base.notice(f"[{env.name}] nothing to do: nobody is tagged {tags}, or all of them are kept")
        return
    if plan.refusals:
        show(way, plan, {**options, "as_json": False}, err=True)
    saved.check(plan)
    _confirm(way, plan, options)
    _apply(way, way.run_of(plan), options)


def _resume(way: Way[Any, Any], run: Any, options: dict[str, Any]) -> bool:
    """Goes on with an unfinished run; of one that does not fit any more only what is certain is finished."""
    from gaiaops.cleanup import apply

    env, purged, planned = way.env, way.purged(run), run.plan().users
    why = way.fits(run)
    left = planned - purged
    if not why and options["max_users"] is not None and left > options["max_users"]:
        raise RefusedError(
            f"run {run.id} has {left} users left, --max-users allows {options['max_users']}",
            hint="repeat the command as it was",
            environment=env.name,
        )
    if why:
        base.warn(f"[{env.name}] run {run.id} is not gone on with: {why}; what it did is archived")
        done = way.finish(run, apply.Hooks(lambda *_: None, lambda: False, base.notice))
        if done.cache_removed:
            base.notice(f"{done.cache_removed} Redis entries of run {run.id} removed")
        if done.cache_left:
            base.warn(
                f"[{env.name}] Redis entries of {done.cache_left} users of run {run.id} are still there: "
                f"{done.cache_failure}"
            )
        return False
    base.notice(f"run {run.id} was not finished ({purged} of {planned} users are gone): going on with it")
    _ask(env, f"Up to {left} users of {env.name} go.", left, options)
    _apply(way, run, options)
    return True


def _confirm(way: Way[Any, Any], plan: Any, options: dict[str, Any]) -> None:
    show(way, plan, {**options, "as_json": False}, err=True)
    rows = f"{plan.users} users and {plan.deletes - plan.users} rows that hang on them go from {way.env.name}."
    _ask(way.env, f"\n{rows}", plan.users, options)


def _ask(env: Environment, question: str, users: int, options: dict[str, Any]) -> None:
    if options["supabase"]:
        kind = "for good" if options["hard"] else "softly"
        question += f"\nTheir auth records go too ({kind}) where no environment has them any more."
    base.confirm(env, options["confirm"], question, number=users if env.protected else None)


def _apply(way: Way[Any, Any], run: Any, options: dict[str, Any]) -> None:
    from gaiaops import trail
    from gaiaops.cleanup import apply

    env, plan, stop, progress, before = way.env, run.plan(), Stop(), Progress("users"), way.by_table(run)
    auth: AuthOutcome | None = None
    with trail.change(env.name, "cleanup", sha256=plan.sha256) as record, stop.listening():
        record.server, record.outcome = plan.server, trail.PARTLY
        try:
            done = way.apply(run, apply.Hooks(progress.into(record), stop, base.notice))
            record.rows = done.rows
        except GaiaopsError as error:
            error.hint = error.hint or f"what was committed is archived; gaiaops runs {run.id}"
            raise
        finally:
            progress.clear()
        if options["supabase"] and not done.interrupted:
            auth = _auth(way.registry, run, options, stop)
        tell(way, run, done, before, auth, options)


def _auth(registry: Registry, run: Any, options: dict[str, Any], stop: Stop) -> AuthOutcome:
    from gaiaops import trail
    from gaiaops.cleanup import auth_users

    with trail.change("supabase", "cleanup", sha256=run.plan().sha256) as record:
        done = auth_users.remove(registry, run, hard=options["hard"], stop=stop)
        record.rows = done.deleted
    return done
