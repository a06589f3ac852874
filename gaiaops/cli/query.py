"""`gaiaops query`: parse, run, write."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from gaiaops.cli import base
from gaiaops.cli.arguments import DURATION, ENVIRONMENT_OR_ALL, FORMATS
from gaiaops.errors import GaiaopsError, PartialError, UsageError

if TYPE_CHECKING:
    from gaiaops.output.writers import Writer
    from gaiaops.postgres.stream import Result
    from gaiaops.postgres.wire import Column
    from gaiaops.query import fanout
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
@click.pass_obj
def command(context: base.Context, /, **options: Any) -> None:
    """Run SQL in ENV, or in all environments at once.

    Without SQL it counts the users. A statement cannot change data unless --write is given, whatever it
    says. With `all` the environments are asked in parallel and an env column comes first.

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
        if options["env"] == "all":
            raise UsageError("--write takes one environment, not all", hint="run it for each")
        _write(context, environments[0], parsed, options)
    elif options["env"] == "all":
        _read_all(environments, parsed, options)
    else:
        _read(environments[0], parsed, options)


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
    return files.pager() if _format(options) in formats.FOR_PEOPLE else files.standard_output()


def _format(options: dict[str, Any]) -> str:
    return str(options["format_"] or "table")


def _writer(options: dict[str, Any], out: BinaryIO) -> Writer:
    from gaiaops.output import formats

    to_file = options["env"] != "all" and (base.output_path(options["output"]) is not None or _is_file())
    return formats.writer(_format(options), out, to_file=to_file)


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
                _tell(result.tag, rows, result.more, options)


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


def _tell(tag: str, rows: int, more: bool, options: dict[str, Any], env: str = "") -> None:
    """What is not data: how many rows, what a statement without rows did, that there are more."""
    prefix = f"[{env}] " if env else ""
    if more:
        base.notice(f"{prefix}first {rows} rows shown (--limit); there are more")
    elif tag.startswith("SELECT"):
        if _format(options) in ("table", "vertical"):
            base.notice(f"{prefix}({rows} row{'' if rows == 1 else 's'})")
    else:
        base.notice(f"{prefix}{tag}")


def _write(context: base.Context, env: Environment, parsed: Script, options: dict[str, Any]) -> None:
    from gaiaops import trail
    from gaiaops.output import formats
    from gaiaops.query import run
    from gaiaops.registry.durations import show_duration

    if env.protected:
        base.check_confirmable(env, options["confirm"])
    sha256 = trail.digest("\n".join(statement.text for statement in parsed.statements))
    with trail.change(env.name, "query", sha256=sha256) as record:
        wire = formats.wire_of(_format(options))
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
            writing.commit()
        base.notice(f"committed in {env.name}: {', '.join(tags)}")


def _write_results(writing: Writing, writer: Writer, options: dict[str, Any]) -> list[str]:
    """Runs and shows everything; gives the statements' tags."""
    tags = []
    for result in writing.results:
        rows = _write_result(result, writer)
        _tell(result.tag, rows, result.more, options)
        tags.append(result.tag)
    return tags


def _affected(tag: str) -> int:
    """Rows of a command tag (manual 54.7, CommandComplete): the last number."""
    last = tag.rpartition(" ")[2]
    return int(last) if last.isdigit() and not tag.startswith("SELECT") else 0


def _read_all(environments: tuple[Environment, ...], parsed: Script, options: dict[str, Any]) -> None:
    with _target(options) as out:
        errors = _Fanout(_writer(options, out), options).write(environments, parsed)
        if len(errors) == len(environments):  # nothing to show, so a file keeps what it has
            raise _failure(errors, len(environments))
    if errors:
        raise _failure(errors, len(environments))


def _failure(errors: list[GaiaopsError], asked: int) -> GaiaopsError:
    if len(errors) == asked and len({error.code for error in errors}) == 1:
        failure = GaiaopsError(f"all {asked} environments failed")
        failure.code = errors[0].code
        return failure
    return PartialError(f"{len(errors)} of {asked} environments failed; the others are shown")


class _Fanout:
    """Writes the events of all environments under one header a statement."""

    def __init__(self, writer: Writer, options: dict[str, Any]) -> None:
        self._writer = writer
        self._options = options
        self._first: tuple[str, tuple[Column, ...]] | None = None
        self._errors: list[GaiaopsError] = []
        self._rows: dict[str, int] = {}
        self._mismatched: set[str] = set()
        self._env_width = 0

    def write(self, environments: tuple[Environment, ...], parsed: Script) -> list[GaiaopsError]:
        """Writes everything; gives the errors, which have been shown as they came."""
        import msgspec

        from gaiaops.query import fanout

        if len(parsed.statements) > 1:
            raise UsageError("query all takes one statement", hint="run the file for each environment")
        self._env_width = max(len(env.name) for env in environments)
        parsed = msgspec.structs.replace(parsed, reserved=("env",))
        with closing(fanout.read_all(environments, parsed, self._writer.wire, self._options["timeout"])) as events:
            self._write(events)
        if self._first is not None:
            self._writer.end()
        return self._errors

    def _write(self, events: Iterator[fanout.Event]) -> None:
        from gaiaops.postgres.wire import with_env
        from gaiaops.query import fanout

        for event in events:
            name = event.env.name
            if isinstance(event, fanout.Started):
                if event.warning:
                    base.warn(f"[{name}] {event.warning}")
                self._begin(name, event.columns)
            elif isinstance(event, fanout.Rows) and name not in self._mismatched:
                self._writer.block(with_env(event.block, self._writer.wire, name))
                self._rows[name] = self._rows.get(name, 0) + len(event.block)
            elif isinstance(event, fanout.Ended) and name not in self._mismatched:
                if event.more or not event.tag.startswith("SELECT"):
                    _tell(event.tag, self._rows.get(name, 0), event.more, self._options, name)
            elif isinstance(event, fanout.Finished) and event.error is not None:
                self._fail(event.error)

    def _begin(self, name: str, columns: tuple[Column, ...] | None) -> None:
        from gaiaops.postgres.wire import Column

        if columns is None:
            return
        if self._first is None:
            self._first = (name, columns)
            self._writer.begin((Column("env", 25, self._env_width), *columns))
            return
        first, names = self._first[0], [column.name for column in self._first[1]]
        mine = [column.name for column in columns]
        if mine != names:
            self._mismatched.add(name)
            differing = sorted(set(names) ^ set(mine)) or ["their order"]
            self._fail(
                GaiaopsError(
                    f"other columns than {first}: {', '.join(differing)}",
                    hint="name the columns in the SQL, so that they are the same everywhere",
                    environment=name,
                )
            )

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, GaiaopsError):
            raise error
        self._errors.append(error)
        base.show_error(error)
