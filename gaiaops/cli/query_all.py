"""What `query` says beside its rows, and the rows of all environments under one header."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    """Writes the events of all environments under one header a statement."""

    def __init__(self, writer: Writer, options: dict[str, Any]) -> None:
        self._writer = writer
        self._options = options
        self._first: tuple[str, tuple[Column, ...]] | None = None
        self._errors: list[GaiaopsError] = []
        self._rows: dict[str, int] = {}
        self._mismatched: set[str] = set()
        self._env_width = 0

    def write(
        self, environments: tuple[Environment, ...], parsed: Script, choose: Callable[[Environment], Environment]
    ) -> list[GaiaopsError]:
        """Writes everything; gives the errors, which have been shown as they came. `choose` as in read_all."""
        import msgspec

        from gaiaops.query import fanout

        if len(parsed.statements) > 1:
            raise UsageError("query all takes one statement", hint="run the file for each environment")
        self._env_width = max(len(env.name) for env in environments)
        parsed = msgspec.structs.replace(parsed, reserved=("env",))
        with closing(
            fanout.read_all(environments, parsed, self._writer.wire, self._options["timeout"], choose)
        ) as events:
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
                    tell(event.tag, self._rows.get(name, 0), event.more, self._options, name)
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
