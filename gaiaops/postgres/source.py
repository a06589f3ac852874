"""Which server the reading commands of a run read. Light: most environments have one server, and start-up counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gaiaops.errors import UsageError
from gaiaops.postgres.replica import Choice
from gaiaops.registry.model import Environment


class Source:
    """Where the reading commands of one run read: decided once for an environment, told as soon as it is known.

    `wish` is what the command line says, None where it says nothing: then the registry's `read_from` counts. May be
    used by several threads.
    """

    def __init__(self, wish: bool | None = None, tell: Callable[[Environment, Choice], None] = lambda *_: None) -> None:
        self._wish = wish
        self._tell = tell
        self._chosen: dict[str, Choice] = {}

    def of(self, env: Environment) -> Environment:
        """The environment as it is to be read. Raises nothing: where no replica will do it is the primary."""
        wanted = env.read_from == "replica" if self._wish is None else self._wish
        choice = Choice(None)
        if wanted and env.replicas:
            from gaiaops.postgres.replicas import choose

            choice = choose(env, env.max_lag)
        self._chosen[env.name] = choice
        self._tell(env, choice)
        return env.from_replica(choice.taken.number) if choice.taken else env

    def name(self, env: Environment) -> str:
        """What was read: `primary`, or `replica 1`."""
        return self._chosen[env.name].name if env.name in self._chosen else "primary"


def check_declared(environments: Sequence[Environment]) -> None:
    """Raises UsageError where `--replica` was given and none of these has one."""
    if not any(env.replicas for env in environments):
        names = environments[0].name if len(environments) == 1 else "these environments"
        raise UsageError(
            f"{names} {'has' if len(environments) == 1 else 'have'} no replicas in the registry",
            hint='add replicas = ["postgresql://…"] to the environment, or leave --replica out',
        )
