"""Parameter types that complete themselves from the registry, without a driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gaiaops.errors import GaiaopsError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

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
        from click.shell_completion import CompletionItem

        try:
            names = _registry_names(ctx)
        except GaiaopsError:
            names = []
        return [CompletionItem(name) for name in (*names, *self.extra) if name.startswith(incomplete)]


def _registry_names(ctx: click.Context) -> list[str]:
    """Names and aliases of the registry the command line names; the sandbox is looked at, never started."""
    from gaiaops import registry

    options = ctx.find_root().params
    file = options.get("registry")
    if options.get("sandbox"):
        from gaiaops.sandbox.layout import Layout

        file = str(Layout.default().registry)
    return registry.load(file).names()


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


ENVIRONMENT = EnvironmentType()
ENVIRONMENT_OR_ALL = EnvironmentType("all")
DURATION = DurationType()
