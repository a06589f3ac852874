"""`gaiaops whois`: one person everywhere."""

from __future__ import annotations

from typing import Any

import click

from gaiaops.cli import base
from gaiaops.cli.arguments import DURATION
from gaiaops.errors import PartialError


@click.command("whois")
@click.argument("who", metavar="EMAIL|UUID")
@click.option("--source", type=click.Choice(["auto", "sql", "api"]), default="auto", show_default=True,
              help="How to read Supabase Auth.")  # fmt: skip
@click.option("--timeout", type=DURATION, help="Statement timeout instead of the registry's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: base.Context, /, who: str, source: str, timeout: int | None, as_json: bool) -> None:
    """Show one person everywhere: Supabase Auth and every environment.

    Per environment: the profile, its API keys (the beginning of the hash, whether it works, last use), the rows
    that refer to it, its Redis entries with their time to live; and what an audit finds about this person.

    \b
    Examples:
      gaiaops whois jason+dev@example.com
      gaiaops whois 2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d --json
    """
    import msgspec

    from gaiaops.audit import sources, whois
    from gaiaops.output import report
    from gaiaops.output import whois as output

    wanted, registry = whois.parsed(who), context.registry()
    person = whois.whois(registry, wanted, sources.Wanted(source, timeout))
    sharded = {env.name for env in registry.environments if env.shards}

    def document_of(value: Any, environment: str) -> dict[str, Any]:
        built = msgspec.to_builtins(value)
        return built if environment in sharded else output.without_shards(built)

    document: dict[str, Any] = {
        "query": person.query,
        "source": person.source,
        "auth": msgspec.to_builtins(person.auth),
        "environments": [
            {
                **document_of(place, place.environment),
                "profiles": [output.profile_document(p) for p in _built(place.profiles)],
            }
            for place in person.environments
        ],
        "findings": [
            {"id": one.id, "severity": one.severity.word, **document_of(one, one.environment)}
            for one in person.findings
        ],
    }
    click.echo(report.document({"whois": [document]}) if as_json else output.person_text(document))
    for error in person.errors:
        base.show_error(error)
    if person.errors:
        raise PartialError(f"not everything answered: {', '.join(sorted({e.environment for e in person.errors}))}")


def _built(values: object) -> list[dict[str, Any]]:
    import msgspec

    built: list[dict[str, Any]] = msgspec.to_builtins(values)
    return built
