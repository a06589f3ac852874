"""`gaiaops schema`: tables against the registry, two environments against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base, replicas
from gaiaops.cli.arguments import DURATION, ENVIRONMENT, ENVIRONMENT_OR_ALL, OBJECTS
from gaiaops.errors import FindingsError, GaiaopsError, LostServerError, PartialError, UsageError

if TYPE_CHECKING:
    from gaiaops.inspect.schema.run import Verified
    from gaiaops.postgres.schema_object import SchemaRead
    from gaiaops.registry.model import Environment, Registry


@click.group("schema", short_help="Tables against the registry; two environments against each other.")
def command() -> None:
    """Tables against the registry; two environments against each other.

    \b
    Examples:
      gaiaops schema verify all
      gaiaops schema diff staging production
    """


@command.command("verify", short_help="The tables of ENV against the groups the registry declares.")
@click.argument("env", type=ENVIRONMENT_OR_ALL)
@click.option("--fail-on", type=click.Choice(["missing", "any", "never"]), default="missing", show_default=True,
              help="End with 7 where a table is missing, or where anything is not as declared.")  # fmt: skip
@click.option("--timeout", type=DURATION, help="Statement timeout instead of the registry's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@replicas.option
@click.pass_obj
def verify(
    context: base.Context, /, env: str, fail_on: str, timeout: int | None, as_json: bool, replica: bool | None
) -> None:
    """Compare the tables of ENV, or of all, with the groups that the registry declares.

    A missing table is an error: services break on it. An unexpected table, or a planned one that is there
    already, is a warning: a migration may be under way. Every shard is compared for itself. Ends with 6 where
    an environment could not be read.

    \b
    Examples:
      gaiaops schema verify all
      gaiaops schema verify production --fail-on any --json
    """
    from gaiaops.inspect.schema import run
    from gaiaops.output import report
    from gaiaops.output import schema as output

    registry = context.registry()
    chosen = [database for one in registry.select(env) for database in one.databases]
    _check_declared(registry)
    source = replicas.source(context, chosen, replica)
    found = {one.environment: one for one in run.verify(chosen, registry.tables, timeout, source.of)}
    verified = [found[one.name] for one in chosen]
    documents = [_verified(one) for one in verified]
    if as_json:
        click.echo(report.document({"schema": [_with_shard(one) for one in documents]}))
    elif any(one.verdict for one in verified):
        click.echo(f"{output.matrix_text(documents)}\n\n{output.findings_text(documents)}")
    _end_verify(verified, fail_on, alone=len(chosen) == 1 and env != "all")


def _check_declared(registry: Registry) -> None:
    if not registry.tables:
        raise UsageError(
            f"{registry.file} declares no tables", hint='add [tables.core] with tables = ["users", …]: docs/schema.md'
        )


def _with_shard(document: dict[str, Any]) -> dict[str, Any]:
    """The name of a shard, ENV/SHARD, in two fields."""
    environment, _, shard = document["environment"].partition("/")
    return {"environment": environment, "shard": shard, **dict(list(document.items())[1:])} if shard else document


def _verified(one: Verified) -> dict[str, Any]:
    """The stable field names of `schema verify --json`."""
    import msgspec

    result: dict[str, Any] = {"environment": one.environment, "error": one.error.message if one.error else None}
    if one.verdict is not None:
        deployed, planned = one.verdict.count(planned=False, found=False), one.verdict.count(planned=True, found=False)
        result |= {
            "deployed_expected": deployed,
            "deployed_found": one.verdict.count(planned=False, found=True),
            "planned_expected": planned,
            "planned_found": one.verdict.count(planned=True, found=True),
            "declared": deployed + planned,
            **msgspec.to_builtins(one.verdict),
        }
    return result


def _end_verify(verified: Sequence[Verified], fail_on: str, *, alone: bool) -> None:
    """Raises what the exit code is for: the only environment's error, 6, or 7."""
    errors = [one.error for one in verified if one.error is not None]
    if alone and errors:
        raise errors[0]
    for error in errors:
        base.show_error(error)
    if errors:
        raise PartialError(f"not everything answered: {', '.join(error.environment for error in errors)}")
    findings = [finding for one in verified if one.verdict for finding in one.verdict.findings]
    bad = [one for one in findings if fail_on == "any" or one.finding == "missing"]
    if bad and fail_on != "never":
        what = "missing" if fail_on == "missing" else "not as declared"
        raise FindingsError(f"{len(bad)} table{'' if len(bad) == 1 else 's'} {what}")


@command.command("diff", short_help="What differs between the schemas of two environments.")
@click.argument("left", metavar="ENV", type=ENVIRONMENT)
@click.argument("right", metavar="ENV", type=ENVIRONMENT)
@click.option("--schema", "schemas", metavar="NAME", multiple=True, help="This schema only; may be repeated.")
@click.option("--table", "tables", metavar="NAME", multiple=True, help="This table or view only; may be repeated.")
@click.option("--only", "kinds", type=OBJECTS, metavar="KIND", multiple=True,
              help="These kinds only: column,index,…; may be repeated.")  # fmt: skip
@click.option("--full", is_flag=True, help="Show long texts' differences whole.")
@click.option("--timeout", type=DURATION, help="Statement timeout instead of the registry's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@replicas.option
@click.pass_obj
def diff(context: base.Context, /, left: str, right: str, **options: Any) -> None:
    """Compare the schemas of two environments.

    `-` is what only the first one has, `+` what only the second one has, `~` what both have and differs. The
    order of columns and the names PostgreSQL gives do not count; owners, grants and comments are left out. What
    could not be read is never a difference: it is named, and the command ends with 6. Else 7 where they differ.

    \b
    Examples:
      gaiaops schema diff staging production
      gaiaops schema diff dev production --table users --only column,index
      gaiaops schema diff dev staging --json | jq '.differences[].name'
    """
    import msgspec

    from gaiaops.inspect.schema import diff as comparing
    from gaiaops.inspect.schema import run
    from gaiaops.output import report
    from gaiaops.output import schema as output

    both = _two(context.registry(), left, right)
    kinds = tuple(dict.fromkeys(kind for group in options["kinds"] for kind in group))
    source = replicas.source(context, both, options["replica"])
    sides = _readable(run.read_both(both, options["schemas"], kinds, options["timeout"], source.of))
    run.check_tables(options["tables"], sides)
    whole = comparing.compare(*sides)
    comparison = comparing.narrowed(whole, kinds, options["tables"])
    document: dict[str, Any] = {
        **{name: _side(side) for name, side in zip(("left", "right"), sides, strict=True)},
        "differences": [{**msgspec.to_builtins(one), "group": one.group} for one in comparison.differences],
        "unread": msgspec.to_builtins(comparison.unread),
    }
    _tell(sides, comparing.left_out(whole, kinds, options["tables"]))
    if options["as_json"]:
        for one in document["differences"]:
            del one["group"]
        click.echo(report.document(document))
    else:
        lines = output.diff_text(document, color=context.colored(), everything=options["full"])
        click.echo("\n".join(lines), color=context.colored())
    _end_diff(document)


def _two(registry: Registry, left: str, right: str) -> tuple[Environment, Environment]:
    one, other = registry.environment(left), registry.environment(right)
    if one.name == other.name:
        others = [env.name for env in registry.environments if env.name != one.name]
        raise UsageError(
            f'"{left}" and "{right}" are one environment: nothing to compare',
            hint=f"the others are: {', '.join(others)}" if others else "the registry has no other one",
        )
    return one, other


def _readable(sides: Sequence[SchemaRead | GaiaopsError]) -> tuple[SchemaRead, SchemaRead]:
    """Both sides. Raises where one could not be connected to; both are shown where both could not."""
    errors = [side for side in sides if isinstance(side, GaiaopsError)]
    for error in errors[1:]:
        base.show_error(error)
    if errors and isinstance(errors[0], LostServerError):  # it was connected to, and nothing of it could be read
        raise PartialError(errors[0].message, hint="try again", environment=errors[0].environment)
    if errors:
        raise errors[0]
    left, right = (side for side in sides if not isinstance(side, GaiaopsError))
    return left, right


def _side(side: SchemaRead) -> dict[str, str]:
    return {"environment": side.environment, "server_version": f"{side.major}.{side.version % 10_000}"}


def _tell(sides: tuple[SchemaRead, SchemaRead], left_out: int) -> None:
    """What somebody should know before they believe it."""
    left, right = sides
    if left.identity and left.identity == right.identity:
        base.notice(f"{left.environment} and {right.environment} are the same database")
    if left.major != right.major:
        base.notice(
            f"PostgreSQL {left.major} and {right.major} may write the same expression differently: see docs/schema.md"
        )
    if left_out:
        base.notice(f"not compared: the parts of {left_out} tables or views that one side alone has (--only table)")


def _end_diff(document: dict[str, Any]) -> None:
    from gaiaops.output import schema as output

    for environment, text in output.unread_lines(document["unread"]):
        base.warn(f"[{environment}] {text}")
    names = f"{document['left']['environment']} and {document['right']['environment']}"
    if document["unread"]:
        raise PartialError(f"not everything of {names} could be read", hint="what could not be read was not compared")
    if document["differences"]:
        raise FindingsError(f"{names} differ")
