"""`gaiaops cache ENV get KEY`: one key, its secrets hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base
from gaiaops.cli.arguments import DURATION

if TYPE_CHECKING:
    from gaiaops.inspect.cache.reading import Reading


@click.command("get", short_help="Show a key: type, time to live, memory, value.")
@click.argument("key")
@click.option("--show", is_flag=True, help="Hide nothing: tokens, passwords and binary data are shown.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True,
              help="At most so many elements of a collection.")  # fmt: skip
@click.option("--full", is_flag=True, help="Everything: all elements, long values uncut.")
@click.option("--timeout", type=DURATION, metavar="DURATION",
              help="Longest wait for an answer.  [default: the connect timeout]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def get(
    ctx: click.Context,
    /,
    key: str,
    show: bool,
    limit: int,
    full: bool,
    timeout: int | None,
    as_json: bool,
) -> None:
    """Show KEY: type, encoding, time to live, memory, and its value, whatever its type.

    Secrets in it are hidden: fields by their names (token, password, key, cookie …), and what looks like one.
    Large collections are read in steps, 100 elements are shown, and 4,096 characters of a value.

    Reading counts as use of the key (LRU, LFU) before Redis 7.2.

    \b
    Examples:
      gaiaops cache dev get service:health:auth
      gaiaops cache dev get 'user:session:2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d'
      gaiaops cache dev get queue:embeddings --full
    """
    from gaiaops.cli.cache import settings
    from gaiaops.inspect.cache import reading
    from gaiaops.inspect.cache.opening import opened
    from gaiaops.output import cache as output
    from gaiaops.output import report

    env, timeout, as_json = settings(ctx, timeout, as_json)
    with opened(env, timeout) as lane:
        found = reading.read(lane, env.name, key, reading.How(show, limit, full))
        missing = dict(lane.missing)
    document = _entry(found)
    if as_json:
        click.echo(report.document({"key": document}))
    else:
        click.echo("\n".join(output.entry_text(document)))
    _tell_left_out(found)
    for name, why in missing.items():
        base.notice(f"{name}: not known, {why}")


def _tell_left_out(found: Reading) -> None:
    if found.left_out:
        what = "bytes" if found.entry.type == "string" else "elements"
        base.notice(f"{found.left_out:,} {what} more are left out; --full shows all")
    elif found.cut:
        base.notice("long values are cut; --full shows them whole")
    if found.masked:
        base.notice("secrets are hidden; --show shows them")


def _entry(found: Reading) -> dict[str, Any]:
    """The stable field names of `get --json`."""
    from gaiaops.cache.keys import key_text
    from gaiaops.cli.cache import ttl

    one = found.entry
    return {
        "key": key_text(one.key),
        "type": one.type,
        "encoding": one.encoding,
        **ttl(one.ttl_ms),
        "memory_bytes": one.memory,
        "idle_s": one.idle_s,
        "length": one.length,
        "value": found.value,
        "left_out": found.left_out,
        "cut": found.cut,
        "masked": found.masked,
        "counted_as_use": not found.untouched,
    }
