"""`--replica` and `--primary`: where a reading command reads, and what the user hears of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base
from gaiaops.errors import ConnectError, UsageError

if TYPE_CHECKING:
    from gaiaops.postgres.replica import Choice
    from gaiaops.postgres.source import Source
    from gaiaops.registry.model import Environment

Decorated = Callable[..., Any]


def option(command: Decorated) -> Decorated:
    """Adds the parameter `replica`: True, False, or None where the registry decides."""
    return click.option(
        "--replica/--primary", "replica", default=None,
        help="Read from a replica that is up to date, or from the primary.  [default: what the registry says]",
    )(command)  # fmt: skip


def refuse(wish: bool | None, why: str, hint: str = "leave --replica out") -> None:
    """Raises UsageError where `--replica` was given for what is never done on one."""
    if wish:
        raise UsageError(why, hint=hint)


def source(context: base.Context, chosen: Sequence[Environment], wish: bool | None) -> Source:
    """Where to read. Raises UsageError where `--replica` was given and none is declared."""
    from gaiaops.postgres import source as sources

    if wish:
        sources.check_declared(chosen)

    def tell(env: Environment, choice: Choice) -> None:
        text = f"[{env.name}] {choice.text()}"
        if choice.wrong:
            base.warn(text)
        elif (context.verbose and env.replicas) or (choice.taken is None and choice.passed):
            base.notice(text)

    return sources.Source(wish, tell)


def shown(env: Environment) -> Environment:
    """The environment's first replica that answers, however far it is behind: for what is about that server itself, so
    that the primary is no substitute. Raises UsageError where none is declared, ConnectError where none answers."""
    from gaiaops.postgres import replicas
    from gaiaops.postgres.source import check_declared

    check_declared([env])
    choice = replicas.choose(env, None)
    if choice.taken is None:
        why = "; ".join(f"{state.name} {state.problem}" for state in choice.passed)
        raise ConnectError(why, hint=f"gaiaops envs {env.name} --check", environment=env.name)
    base.notice(f"[{env.name}] this is {choice.taken.name}")
    return env.from_replica(choice.taken.number)
