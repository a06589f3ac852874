"""The side of an environment with shards: the sum of its databases.

A profile that several shards have with one id and one address is one profile (a reference table, or a user who is half
moved); it is young where one of them calls it so. A shard that fails ends the whole side: who is not in the others may
be in that one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NoReturn, TypeVar

from gaiaops import threads
from gaiaops.audit import side
from gaiaops.audit.homes import Homes
from gaiaops.audit.judge import Profile
from gaiaops.audit.merge import Lines, ranges
from gaiaops.audit.side import Database
from gaiaops.auth.interface import Cutoffs, ascii_lower, fields_of
from gaiaops.errors import GaiaopsError, located
from gaiaops.registry.model import Environment

T = TypeVar("T")


class Shards:
    """A Side of several databases, each in a reading transaction of its own."""

    def __init__(self, env: Environment, databases: Sequence[Database]) -> None:
        self.env = env
        self.databases = tuple(databases)

    def each(self, work: Callable[[Database], T]) -> list[T]:
        """As Side's, in parallel."""
        results: dict[str, T] = {}

        def one(database: Database) -> None:
            with located(database.env.name):
                results[database.env.name] = work(database)

        threads.each(self.databases, one)
        return [results[database.env.name] for database in self.databases]

    def renew(self) -> None:
        self.each(Database.renew)

    def rest(self) -> None:
        self.each(Database.rest)

    def blocks(self, homes: Homes) -> Iterator[Lines]:
        """As Side's. Every shard's server begins at once."""
        streams = {database.env.name: database.blocks(homes) for database in self.databases}
        return (lines for parts in ranges(streams, _raised, _place) if (lines := summed(parts.values())))

    def find(self, ids: Collection[str], addresses: Collection[str]) -> list[Profile]:
        """As Side's, with the shards that have them."""
        found: dict[tuple[str, str], Profile] = {}
        for database, profiles in zip(self.databases, self.each(lambda one: one.find(ids, addresses)), strict=True):
            for one in profiles:
                key = one.id, one.address
                before = found.get(key)
                young, there = (before.young, before.shards) if before else (False, ())
                found[key] = Profile(one.id, one.address, young or one.young, (*there, database.env.shard))
        return list(found.values())

    def working_keys(self, ids: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, set[str]] = {}
        for keys in self.each(lambda one: one.working_keys(ids)):
            for owner, hashes in keys.items():
                found.setdefault(owner, set()).update(hashes)
        return {owner: tuple(sorted(hashes)) for owner, hashes in found.items()}


@contextmanager
def connect(env: Environment, statement_ms: int | None, cutoffs: Cutoffs) -> Iterator[Shards]:
    """The side of an environment with shards. Raises the connection's errors, with the name of the shard; with that of
    the environment where all fail alike."""
    with ExitStack() as stack:
        opened: dict[str, Database] = {}
        failed: dict[str, GaiaopsError] = {}

        def enter(shard: Environment) -> None:
            try:
                opened[shard.name] = stack.enter_context(side.connect(shard, statement_ms, cutoffs))
            except GaiaopsError as error:
                failed[shard.name] = error

        threads.each(env.shards, enter)
        if failed:
            raise _failure(env, [failed[shard.name] for shard in env.shards if shard.name in failed])
        yield Shards(env, [opened[shard.name] for shard in env.shards])


def _failure(env: Environment, errors: Sequence[GaiaopsError]) -> GaiaopsError:
    """The first shard's error, which is the environment's where all have it."""
    first = errors[0]
    if len(errors) == len(env.shards) and len({error.code for error in errors}) == 1:
        first.message = f"no shard answers: {first}"
        first.environment = env.name
    return first


def summed(parts: Iterable[Lines]) -> Lines:
    """One range of sorted lines of every shard as one, with each profile once.

    >>> summed([["1\\t\\ta@x", "2\\t\\tb@x"], ["1\\ty\\ta@x", "3\\t\\tA@x"]])
    ['1\\ty\\ta@x', '3\\t\\tA@x', '2\\t\\tb@x']
    """
    some = [lines for lines in parts if lines]
    if len(some) < 2:
        return some[0] if some else []
    once: dict[tuple[str, str], str] = {}
    for lines in some:
        for line in lines:
            own, _, address = fields_of(line)
            before = once.get((own, address))
            # The same address has the same flags, but for the row's age: the longer line is the young one's.
            if before is None or len(line) > len(before):
                once[own, address] = line
    return sorted(once.values(), key=_place)


def _place(line: str) -> str:
    """Where a line stands in a shard's stream: by its key (see key_of), then by id. NUL is in no address."""
    own, _, address = fields_of(line)
    return f"{ascii_lower(address)}\0{own}"


def _raised(name: str, error: GaiaopsError) -> NoReturn:
    error.environment = error.environment or name
    raise error
