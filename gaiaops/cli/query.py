"""`gaiaops query`: parse, run, write."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from gaiaops.cli import base, replicas
from gaiaops.cli.arguments import DURATION, ENVIRONMENT_OR_ALL, FORMATS
from gaiaops.cli.query_all import Fanout, format_of, tell
from gaiaops.errors import GaiaopsError, PartialError, UsageError

if TYPE_CHECKING:
    from gaiaops.output.writers import Writer
    from gaiaops.postgres.source import Source
    from gaiaops.postgres.stream import Result
    from gaiaops.query.run import Writing
    from gaiaops.query.statements import Script
    from gaiaops.registry.model import Environment

DEFAULT_SQL = "SELECT count(*) AS users FROM users"
_MAX_SQL = 64 << 20  # more than any script; a larger file is data, not SQL


class _QueryCommand(click.Command):
    """Takes SQL that begins with a `-- comment` for SQL, not for an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [f" {a}" if a.startswith("--") and a[2:3].isspace() else a for a in args])


@click.command("query", cls=_QueryCommand)
@click.argument("env", type=ENVIRONMENT_OR_ALL)
@click.argument("sql", required=False)
@click.option("-f", "--file", metavar="FILE", help="Read the SQL from a file; - is standard input.")
@click.option("-p", "--param", "params", metavar="NAME=VALUE", multiple=True, help="A value for :NAME in the SQL.")
@click.option("--write", is_flag=True, help="Let it change data: one transaction, committed at the end.")
@click.option("--confirm", metavar="ENV", help="Confirm a change to a protected environment off a terminal.")
@click.option("--limit", type=click.IntRange(min=0), help="At most this many rows of each result.")
@click.option("--timeout", type=DURATION, help="Statement timeout: 500ms, 30s, 5min (0: none).")
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Output format.  [default: table]")
@click.option("--csv", "format_", flag_value="csv", help="Short for --format csv.")
@click.option("--json", "format_", flag_value="json", help="Short for --format json.")
@click.option("-x", "format_", flag_value="vertical", help="Short for --format vertical.")
@click.option("-o", "--output", metavar="FILE", help="Write to a file, whole or not at all.")
@replicas.option
@click.pass_obj
def command(context: base.Context, /, **options: Any) -> None:
    """Run SQL in ENV, or in all environments at once.

    Without SQL it counts the users. A statement cannot change data unless --write is given, whatever it
    says. With `all` the environments are asked in parallel and an env column comes first; so are the shards
    of an environment that has some, with a shard column. ENV/SHARD is one of them.

    \b
    Examples:
      gaiaops query dev "SELECT email FROM users WHERE name IS NULL" --csv
      gaiaops query all
      gaiaops query prod "SELECT * FROM users WHERE id = :id" -p id=… -x
      gaiaops query dev -f fix.sql --write
    """
    from gaiaops.query.statements import script

    sql = _sql(options["sql"], options["file"])
    parsed = script(sql, options["params"], options["limit"])
    registry = context.registry()
    environments = registry.select(options["env"])
    if options["write"]:
        replicas.refuse(options["replica"], "a change never goes to a replica: --write is for the primary")
        if options["env"] == "all":
            raise UsageError("--write takes one environment, not all", hint="run it for each")
        _write(context, environments[0], parsed, options)
        return
    databases = [database for env in environments for database in env.databases]
    source = replicas.source(context, databases, options["replica"])
    if heads := _heads(environments, options):
        _read_all(databases, parsed, source, options, heads)
    else:
        _read(source.of(environments[0]), parsed, options)


def _heads(environments: Sequence[Environment], options: dict[str, Any]) -> list[str]:
    """The columns that tell rows of several databases apart; none where there is one."""
    several = {"env": options["env"] == "all", "shard": any(env.shards for env in environments)}
    return [name for name, needed in several.items() if needed]


def _sql(argument: str | None, file: str | None) -> str:
    if argument is not None and file is not None:
        raise UsageError("SQL and --file were both given", hint="give one of them")
    if file is None:
        return _text(DEFAULT_SQL if argument is None else argument)
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(_MAX_SQL + 1)
        else:
            with Path(file).open("rb") as handle:
                raw = handle.read(_MAX_SQL + 1)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint="check the path after -f") from None
    if len(raw) > _MAX_SQL:
        limit = f"{_MAX_SQL >> 20} MB"
        raise UsageError(f"{file} is larger than {limit}", hint="load data with psql's \\copy: gaiaops connect")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not a text in UTF-8 (byte {error.start})", hint="is this a binary file?") from None


def _text(argument: str) -> str:
    """An argument that was no valid UTF-8 holds surrogates (PEP 383)."""
    if any("\ud800" <= char <= "\udfff" for char in argument):
        raise UsageError("the SQL is not a text in UTF-8", hint="check the terminal's encoding, or use -f FILE")
    return argument


def _target(options: dict[str, Any]) -> AbstractContextManager[BinaryIO]:
    from gaiaops.output import files, formats

    path = base.output_path(options["output"])
    if path is not None:
        return files.whole_file(path)
    return files.pager() if format_of(options) in formats.FOR_PEOPLE else files.standard_output()


def _writer(options: dict[str, Any], out: BinaryIO, *, several: bool = False) -> Writer:
    from gaiaops.output import formats

    to_file = not several and (base.output_path(options["output"]) is not None or _is_file())
    return formats.writer(format_of(options), out, to_file=to_file)


def _is_file() -> bool:
    import os
    import stat

    return stat.S_ISREG(os.fstat(1).st_mode)


def _read(env: Environment, parsed: Script, options: dict[str, Any]) -> None:
    from gaiaops.query import run

    with _target(options) as out:
        writer = _writer(options, out)
        with run.read(env, parsed, writer.wire, options["timeout"]) as reading:
            if reading.warning:
                base.warn(f"[{env.name}] {reading.warning}")
            for result in reading.results:
                rows = _write_result(result, writer)
                tell(result.tag, rows, result.more, options)


def _write_result(result: Result, writer: Writer) -> int:
    if result.columns is None:
        return 0
    writer.begin(result.columns)
    rows = 0
    for block in result.blocks:
        writer.block(block)
        rows += len(block)
    writer.end()
    return rows


def _write(context: base.Context, env: Environment, parsed: Script, options: dict[str, Any]) -> None:
    from gaiaops import trail
    from gaiaops.output import formats
    from gaiaops.query import run
    from gaiaops.registry.durations import show_duration

    if env.protected:
        base.check_confirmable(env, options["confirm"])
    sha256 = trail.digest("\n".join(statement.text for statement in parsed.statements))
    with trail.change(env.name, "query", sha256=sha256) as record:
        wire = formats.wire_of(format_of(options))
        with run.write(context.registry(), env, parsed, wire, options["timeout"]) as writing:
            record.server = "/".join(writing.identity)
            # The output stands before the commit: what cannot be written is not committed.
            with _target(options) as out:
                tags = _write_results(writing, _writer(options, out), options)
            record.rows = sum(_affected(tag) for tag in tags)
            if env.protected:
                limit = show_duration(env.timeouts.idle)
                done = f"{', '.join(tags)} in {env.name}, not yet committed; it is rolled back after {limit}."
                base.confirm(env, options["confirm"], done)
            record.outcome = trail.COMMITTING
            if said := writing.commit():
                base.warn(f"[{env.name}] {said}")
        base.notice(f"committed in {env.name}: {', '.join(tags)}")


def _write_results(writing: Writing, writer: Writer, options: dict[str, Any]) -> list[str]:
    """Runs and shows everything; gives the statements' tags."""
    tags = []
    for result in writing.results:
        rows = _write_result(result, writer)
        tell(result.tag, rows, result.more, options)
        tags.append(result.tag)
    return tags


def _affected(tag: str) -> int:
    """Rows of a command tag (manual 54.7, CommandComplete): the last number."""
    last = tag.rpartition(" ")[2]
    return int(last) if last.isdigit() and not tag.startswith("SELECT") else 0


def _read_all(
    databases: Sequence[Environment], parsed: Script, source: Source, options: dict[str, Any], heads: Sequence[str]
) -> None:
    what = "shards" if heads == ["shard"] else "environments" if heads == ["env"] else "databases"
    with _target(options) as out:
        writer = _writer(options, out, several=True)
        errors = Fanout(writer, options, heads).write(databases, parsed, source.of)
        if len(errors) == len(databases):  # nothing to show, so a file keeps what it has
            raise _failure(errors, len(databases), what)
    if errors:
        raise _failure(errors, len(databases), what)


def _failure(errors: list[GaiaopsError], asked: int, what: str) -> GaiaopsError:
    if len(errors) == asked and len({error.code for error in errors}) == 1:
        failure = GaiaopsError(f"all {asked} {what} failed")
        failure.code = errors[0].code
        return failure
    return PartialError(f"{len(errors)} of {asked} {what} failed; the others are shown")
