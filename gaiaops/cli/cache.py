"""`gaiaops cache`: what a Redis holds, and its keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base
from gaiaops.cli.arguments import DURATION, ENVIRONMENT
from gaiaops.cli.progress import Progress

if TYPE_CHECKING:
    from gaiaops.cache.survey import Group
    from gaiaops.inspect.cache.listing import Listed
    from gaiaops.inspect.cache.summary import Summary
    from gaiaops.registry.model import Environment

_BUDGET_MS = 30_000  # not the option's default: to take that apart would load the registry for --help
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
_TIMEOUT = click.option("--timeout", type=DURATION, metavar="DURATION",
                        help="Longest wait for an answer.  [default: the connect timeout]")  # fmt: skip


class CacheGroup(click.Group):
    """`cache ENV [SUBCOMMAND]`: ENV comes first, and options may stand before or after it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._options_first(args))

    def _options_first(self, args: Sequence[str]) -> list[str]:
        """The group's own options before ENV; what follows the subcommand is its own."""
        valued = {o for p in self.params if isinstance(p, click.Option) and not p.is_flag for o in p.opts}
        options: list[str] = []
        places: list[str] = []
        rest = list(args)
        while rest and len(places) < 2 and rest[0] != "--":
            word = rest.pop(0)
            if not word.startswith("-") or word == "-":
                places.append(word)
                continue
            options.append(word)
            if word in valued and rest:
                options.append(rest.pop(0))
        return [*options, *places, *rest]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            if ctx.params.get("env") in self.commands:
                first = ctx.params["env"]
                raise click.UsageError(f"the environment comes first: gaiaops cache ENV {first} …", ctx) from error
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            guess = f' Did you mean "{near[0]}"?' if near else f" There are {', '.join(self.commands)}."
            raise click.UsageError(f'No such command "{args[0]}".{guess}', ctx) from error


@click.group("cache", cls=CacheGroup, invoke_without_command=True, subcommand_metavar="[COMMAND …]")
@click.argument("env", type=ENVIRONMENT)
@click.option("--budget", type=DURATION, metavar="DURATION",
              help="Look at keys for so long at most.  [default: 30s]")  # fmt: skip
@click.option("--groups", type=click.IntRange(1, 256), default=20, show_default=True,
              help="Prefixes of unknown keys that are told apart.")  # fmt: skip
@_TIMEOUT
@_JSON
@click.pass_context
def command(
    ctx: click.Context, /, env: str, budget: int | None, groups: int, timeout: int | None, as_json: bool
) -> None:
    """What the Redis of ENV holds, by key family of the registry.

    Per family: keys, share, memory with its standard error (~ and ± where a sample was measured), and how many
    keys expire in less than a minute, an hour, a day, later, or never. Read by SCAN in small steps, never KEYS.

    \b
    Examples:
      gaiaops cache dev
      gaiaops cache dev keys 'user:session:*' --limit 20
      gaiaops cache dev get service:health:auth
      gaiaops cache dev invalidate --user jason+dev@example.com --dry-run
    """
    if ctx.invoked_subcommand is None:
        _summary(ctx.obj, env, _BUDGET_MS if budget is None else budget, groups, timeout, as_json)


def settings(ctx: click.Context, timeout: int | None, as_json: bool) -> tuple[Environment, int | None, bool]:
    """(environment, --timeout, --json) of a subcommand; the last two may stand before its name, too."""
    group: dict[str, Any] = ctx.parent.params if ctx.parent else {}
    context: base.Context = ctx.obj
    return context.registry().environment(group["env"]), timeout or group["timeout"], as_json or group["as_json"]


def _summary(context: base.Context, name: str, budget: int, groups: int, timeout: int | None, as_json: bool) -> None:
    from gaiaops.inspect.cache import summary
    from gaiaops.output import cache as output
    from gaiaops.output import report

    registry = context.registry()
    progress = Progress("keys")
    try:
        found = summary.summary(registry, registry.environment(name), summary.Bounds(budget, timeout, groups), progress)
    finally:
        progress.clear()
    document = _document(found)
    if as_json:
        click.echo(report.document({"cache": [document]}))
    else:
        click.echo(f"{output.summary_head(document)}\n")
        click.echo(output.families_text(document["families"], found.survey.scanned))
        _tell_how(document)
    for line in found.notices:
        base.notice(line)


def _tell_how(document: dict[str, Any]) -> None:
    if document["unknown_prefixes"]:
        least = "at least " if document["more_prefixes"] else ""
        base.notice(f"…others sums up {least}{document['unknown_prefixes']:,} more prefixes")
    if any(group["memory_error_bytes"] for group in document["families"]):
        base.notice("~ memory is a sample's, ± its standard error; one huge key may be missed")


def _document(found: Summary) -> dict[str, Any]:
    """The stable field names of `cache --json`."""
    server, survey = found.server, found.survey
    return {
        "environment": found.environment,
        "address": found.address,
        "server_version": server.version,
        "role": server.role,
        "keys": server.keys,
        "used_memory_bytes": server.memory,
        "max_memory_bytes": server.max_memory,
        "policy": server.policy,
        "scanned": survey.scanned,
        "complete": survey.complete,
        "seconds": round(survey.seconds, 3),
        "families": [_group(group, survey.scanned) for group in (*survey.families, *survey.other)],
        "unknown_prefixes": survey.prefixes,
        "more_prefixes": survey.more_prefixes,
        "notices": list(found.notices),
    }


def _group(group: Group, scanned: int) -> dict[str, Any]:
    return {
        "family": group.name,
        "pattern": group.pattern,
        "known": group.pattern is not None,
        "keys": group.keys,
        "share": round(group.keys / scanned, 6) if scanned else 0.0,
        "memory_bytes": group.memory,
        "memory_error_bytes": group.error,
        "sampled": group.sampled,
        "ttl": group.ttl,
        "types": group.types,
    }


@command.command("keys", short_help="List the keys that fit a pattern, as they come.")
@click.argument("pattern", default="*")
@click.option("-l", "--long", is_flag=True, help="With type, time to live and memory.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@_TIMEOUT
@_JSON
@click.pass_context
def keys(
    ctx: click.Context, /, pattern: str, long: bool, limit: int | None, timeout: int | None, as_json: bool
) -> None:
    """List the keys that fit PATTERN, a glob as Redis has it (default: all), one a line.

    Bytes that are no text are spelled \\xff; `get` and `invalidate` take them so. Quote the pattern, or the
    shell takes it for files. Keys come in no order, as SCAN finds them.

    \b
    Examples:
      gaiaops cache dev keys 'user:session:*' --limit 20
      gaiaops cache dev keys -l 'rate_limit:*'
      gaiaops cache dev keys | wc -l
    """
    from gaiaops.inspect.cache.listing import Listing
    from gaiaops.inspect.cache.opening import needs, opened
    from gaiaops.output import cache as output
    from gaiaops.output import report

    env, timeout, as_json = settings(ctx, timeout, as_json)
    documents: list[dict[str, Any]] = []
    with opened(env, timeout) as lane:
        listing = Listing(lane, pattern, long=long, limit=limit)
        for step in listing.steps():
            found = [_listed(one, long) for one in step]
            if as_json:
                documents += found
            elif found:
                click.echo("\n".join(output.key_line(one) if long else one["key"] for one in found))
        said = needs(lane, {"type": "type", "pttl": "time to live", "memory|usage": "memory"})
    if as_json:
        click.echo(report.document({"keys": documents, "complete": not listing.more}))
    if listing.more:
        base.notice(f"there are more keys: --limit {limit} was reached")
    if listing.repeats:
        base.notice("more than 100,000 keys: while the server moves its table, SCAN gives some twice")
    if not listing.count:
        base.notice(f"[{env.name}] no key fits {pattern}")
    for line in said:
        base.notice(line)


def _listed(one: Listed, long: bool) -> dict[str, Any]:
    return {"key": one.key, **({"type": one.type, **ttl(one.ttl_ms), "memory_bytes": one.memory} if long else {})}


def ttl(milliseconds: int | None) -> dict[str, Any]:
    """The stable fields of a time to live: null for ever, unless it is not known."""
    seconds = None if milliseconds is None or milliseconds < 0 else milliseconds / 1000
    return {"ttl_s": seconds, "ttl_known": milliseconds is not None}


def _add_subcommands() -> None:
    """Those that have a module of their own."""
    from gaiaops.cli.cache_get import get
    from gaiaops.cli.cache_invalidate import invalidate

    command.add_command(get)
    command.add_command(invalidate)


_add_subcommands()
