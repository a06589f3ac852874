"""Everything an audit reads, open at once: the auth source and every environment in a snapshot of its own.

An environment that fails is taken out and remembered; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from gaiaops import threads
from gaiaops.audit import shards, side, sources
from gaiaops.audit.side import Side
from gaiaops.auth.interface import AuthSource, Cutoffs, Look, Record
from gaiaops.errors import GaiaopsError, UsageError
from gaiaops.registry.model import Environment, Registry

T = TypeVar("T")


class Nobody:
    """A look at a source that is not there: it knows nobody, and proves nothing."""

    def find(self, ids: Collection[str], addresses: Collection[str]) -> list[Record]:
        return []


class SourceFailedError(Exception):
    """The auth source failed under a look: no environment is to blame for it."""

    def __init__(self, error: GaiaopsError) -> None:
        super().__init__(error.message)
        self.error = error


class Guarded:
    """A look whose errors cannot be taken for those of an environment."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def find(self, ids: Collection[str], addresses: Collection[str]) -> list[Record]:
        """As the look's own. Raises SourceFailedError."""
        try:
            return self._look.find(ids, addresses)
        except GaiaopsError as error:
            raise SourceFailedError(error) from None


class Platform:
    """The open sides by name, and the errors of those that failed."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.sides: dict[str, Side] = {}
        self.errors: dict[str, GaiaopsError] = {}
        self.source: AuthSource | None = None
        self.source_error: GaiaopsError | None = None
        self.instead_of = ""

    @property
    def auth(self) -> Look:
        """The source in its first snapshot; one that knows nobody where it could not be read."""
        return self.source or Nobody()

    @property
    def everywhere(self) -> bool:
        """Whether all environments of the registry can be read."""
        return len(self.sides) == len(self.registry.environments)

    def fail(self, name: str, error: GaiaopsError) -> None:
        """Takes an environment out."""
        error.environment = error.environment or name
        self.errors.setdefault(name, error)
        self.sides.pop(name, None)

    def lose_source(self, error: GaiaopsError) -> None:
        """Goes on without the auth source: nobody is known to be absent then."""
        error.environment = error.environment or "supabase"
        self.source, self.source_error = None, error

    @contextmanager
    def surviving(self, name: str) -> Iterator[None]:
        """An environment's error in the block ends that environment only."""
        try:
            yield
        except GaiaopsError as error:
            self.fail(name, error)

    def each(self, work: Callable[[Side], T]) -> dict[str, T]:
        """The results of `work` on every side, in parallel; of those that did not fail."""
        results: dict[str, T] = {}

        def one(side: Side) -> None:
            with self.surviving(side.env.name):
                results[side.env.name] = work(side)

        threads.each(list(self.sides.values()), one)
        return results

    def rest(self) -> None:
        """Ends the sides' snapshots, before one of them is to be repaired; the auth source can still be asked."""
        self.each(lambda side: side.rest())


def check_whole(chosen: Sequence[Environment]) -> None:
    """Raises UsageError for a shard: who is not in it may be in another one."""
    for env in chosen:
        if env.shard:
            raise UsageError(
                f"{env.name} is a shard, and an audit judges whole environments", hint=f"gaiaops audit {env.whole}"
            )


@contextmanager
def connect(
    registry: Registry, wanted: sources.Wanted, progress: Callable[[int, int], None] | None
) -> Iterator[Platform]:
    """The platform, with whatever of it can be opened. Raises UsageError for a registry that lacks what is wanted."""
    cutoffs = Cutoffs(registry.audit.grace, registry.audit.unconfirmed_after)
    platform = Platform(registry)
    with ExitStack() as stack:
        # The API's walk takes long and has no snapshot, so the environments' snapshots come after it.
        try:
            opened = stack.enter_context(sources.connect(registry, wanted, cutoffs, progress))
            platform.source, platform.instead_of = opened.source, opened.instead_of
        except UsageError:
            raise
        except GaiaopsError as error:
            platform.lose_source(error)

        def enter(env: Environment) -> None:
            with platform.surviving(env.name):
                opened = (shards if env.shards else side).connect(env, wanted.timeout, cutoffs)
                platform.sides[env.name] = stack.enter_context(opened)

        threads.each(registry.environments, enter)
        order = {env.name: i for i, env in enumerate(registry.environments)}
        platform.sides = dict(sorted(platform.sides.items(), key=lambda item: order[item[0]]))
        yield platform
