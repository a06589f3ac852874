"""What `query` says beside its rows, and the rows of several databases under one header."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from gaiaops.cli import base
from gaiaops.errors import GaiaopsError, UsageError

if TYPE_CHECKING:
    from gaiaops.output.writers import Writer
    from gaiaops.postgres.wire import Column
    from gaiaops.query import fanout
    from gaiaops.query.statements import Script
    from gaiaops.registry.model import Environment


def format_of(options: dict[str, Any]) -> str:
    """The output format that was asked for."""
    return str(options["format_"] or "table")


def tell(tag: str, rows: int, more: bool, options: dict[str, Any], env: str = "") -> None:
    """What is not data: how many rows, what a statement without rows did, that there are more."""
    prefix = f"[{env}] " if env else ""
    if more:
        base.notice(f"{prefix}first {rows} rows shown (--limit); there are more")
    elif tag.startswith("SELECT"):
        if format_of(options) in ("table", "vertical"):
            base.notice(f"{prefix}({rows} row{'' if rows == 1 else 's'})")
    else:
        base.notice(f"{prefix}{tag}")


class Fanout:
    """Writes the events of several databases under one header: all environments, or the shards of one.

    `heads` are the columns that come first: `env`, `shard` or both.
    """

    def __init__(self, writer: Writer, options: dict[str, Any], heads: Sequence[str]) -> None:
        self._writer = writer
        self._options = options
        self._heads = heads
        self._first: tuple[str, tuple[Column, ...]] | None = None
        self._errors: list[GaiaopsError] = []
        self._rows: dict[str, int] = {}
        self._mismatched: set[str] = set()
        self._widths: list[int] = []

    def write(
        self, databases: Sequence[Environment], parsed: Script, choose: Callable[[Environment], Environment]
    ) -> list[GaiaopsError]:
        """Writes everything; gives the errors, which have been shown as they came. `choose` as in read_all."""
        import msgspec

        from gaiaops.query import fanout

        if len(parsed.statements) > 1:
            raise UsageError(
                f"query {self._options['env']} takes one statement: it asks several databases",
                hint=f"run the file for each {'environment' if self._options['env'] == 'all' else 'shard'}",
            )
        cells = [[len(value or "") for _, value in self._cells(one)] for one in databases]
        self._widths = [max(widths) for widths in zip(*cells, strict=True)]
        parsed = msgspec.structs.replace(parsed, reserved=tuple(self._heads))
        reading = fanout.read_all(databases, parsed, self._writer.wire, self._options["timeout"], choose)
        with closing(reading) as events:
            self._write(events)
        if self._first is not None:
            self._writer.end()
        return self._errors

    def _cells(self, env: Environment) -> list[tuple[str, str | None]]:
        """What stands in front of a database's rows."""
        values = {"env": env.whole, "shard": env.shard or None}
        return [(name, values[name]) for name in self._heads]

    def _write(self, events: Iterator[fanout.Event]) -> None:
        from gaiaops.postgres.wire import prefixed
        from gaiaops.query import fanout

        for event in events:
            name = event.env.name
            if isinstance(event, fanout.Started):
                if event.warning:
                    base.warn(f"[{name}] {event.warning}")
                self._begin(name, event.columns)
            elif isinstance(event, fanout.Rows) and name not in self._mismatched:
                self._writer.block(prefixed(event.block, self._writer.wire, self._cells(event.env)))
                self._rows[name] = self._rows.get(name, 0) + len(event.block)
            elif isinstance(event, fanout.Ended) and name not in self._mismatched:
                if event.more or not event.tag.startswith("SELECT"):
                    tell(event.tag, self._rows.get(name, 0), event.more, self._options, name)
            elif isinstance(event, fanout.Finished) and event.error is not None:
                self._fail(event.error)

    def _begin(self, name: str, columns: tuple[Column, ...] | None) -> None:
        from gaiaops.postgres.wire import Column

        if columns is None:
            return
        if self._first is None:
            self._first = (name, columns)
            heads = (Column(head, 25, width) for head, width in zip(self._heads, self._widths, strict=True))
            self._writer.begin((*heads, *columns))
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
