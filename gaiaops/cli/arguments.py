"""Parameter types that complete themselves from the registry, without a driver."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from gaiaops.errors import GaiaopsError, did_you_mean

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from gaiaops.registry.model import Registry

FORMATS = ("table", "vertical", "csv", "tsv", "json", "jsonl", "markdown", "html")
if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:  # generic for the type checker only: older releases of click cannot be subscripted
    _ParamType = click.ParamType


class EnvironmentType(_ParamType):
    """An environment's name or alias; checked against the registry when it is loaded."""

    name = "env"

    def __init__(self, *extra: str) -> None:
        self.extra = extra

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return _items(incomplete, [*_known(ctx, lambda registry: registry.names()), *self.extra])


def _items(incomplete: str, names: Iterable[str]) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _known(ctx: click.Context, names: Callable[[Registry], list[str]]) -> list[str]:
    """Names of the registry the command line names; the sandbox is looked at, never started. None where it is bad."""
    from gaiaops import registry

    options = ctx.find_root().params
    file = options.get("registry")
    if options.get("sandbox"):
        from gaiaops.sandbox.layout import Layout

        file = str(Layout.default().registry)
    try:
        return names(registry.load(file))
    except GaiaopsError:
        return []


class DurationType(_ParamType):
    """A duration as PostgreSQL writes it; milliseconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from gaiaops.registry.durations import parse_duration

        if isinstance(value, int):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class AgeType(_ParamType):
    """An age: 12h, 7d, 4w; (its text, milliseconds)."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        from gaiaops.registry.durations import parse_age

        try:
            return str(value).strip(), parse_age(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class TagType(_ParamType):
    """An address tag; completed from the registry, checked by the clean-up."""

    name = "tag"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return _items(incomplete, _known(ctx, lambda registry: list(registry.tags)))


class RunType(_ParamType):
    """A clean-up's id, or its beginning."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from gaiaops.registry.paths import data_home

        folder = data_home() / "runs"
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return _items(incomplete or "2", sorted(names, reverse=True))


class KindsType(_ParamType):
    """Kinds of something, one or several with commas between them; a kind's words may stand apart.

    `what` one of them is called; `module` has them as KINDS, and is imported when it is needed.
    """

    name = "kind"

    def __init__(self, what: str, module: str) -> None:
        self._what = what
        self._module = module

    def _kinds(self) -> list[str]:
        return list(importlib.import_module(self._module).KINDS)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        kinds = self._kinds()
        names = tuple(name.strip().replace(" ", "-") for name in str(value).split(",") if name.strip())
        for name in names or ("",):
            if name not in kinds:
                guess = did_you_mean(name, kinds) or f"kinds: {', '.join(kinds)}"
                self.fail(f'"{name}" is no kind of {self._what}; {guess}', param, ctx)
        return names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        done, comma, last = incomplete.rpartition(",")
        return _items(incomplete, [f"{done}{comma}{kind}" for kind in self._kinds() if kind.startswith(last)])


ENVIRONMENT = EnvironmentType()
ENVIRONMENT_OR_ALL = EnvironmentType("all")
DURATION = DurationType()
AGE = AgeType()
TAG = TagType()
RUN = RunType()
FINDINGS = KindsType("finding", "gaiaops.audit.kinds")
OBJECTS = KindsType("object", "gaiaops.postgres.schema_object")
