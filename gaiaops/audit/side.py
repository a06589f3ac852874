"""One environment's side: its profiles streamed in a snapshot, and looked up in it or in a later one.

An environment is one database, or the sum of its shards (shards.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Protocol, TypeVar

import msgspec

from gaiaops.audit.homes import Homes
from gaiaops.audit.judge import Profile
from gaiaops.auth.interface import Cutoffs
from gaiaops.errors import StatementError, located
from gaiaops.postgres import features, queries, session
from gaiaops.postgres.quoting import like, literal
from gaiaops.postgres.session import Session
from gaiaops.registry import trust
from gaiaops.registry.model import Environment, Timeouts

COMMAND = "audit"
T = TypeVar("T")
_IDLE_MS = 600_000  # one side may wait for the others


class Side(Protocol):
    """An environment in a reading transaction, or in one for each of its shards. All raise the error tree's errors,
    with the name of the shard that they come from."""

    @property
    def env(self) -> Environment: ...

    @property
    def databases(self) -> tuple[Database, ...]:
        """The environment's only database, or its shards."""
        ...

    def each(self, work: Callable[[Database], T]) -> list[T]:
        """The results of `work` on every database, in their order."""
        ...

    def renew(self) -> None:
        """A new snapshot, and the grace window of its time."""
        ...

    def rest(self) -> None:
        """Ends the snapshot: nothing more is read, and what was held for it (a pooler's connection) is free."""
        ...

    def blocks(self, homes: Homes) -> Iterator[list[str]]:
        """Profiles as lines, ordered by their keys."""
        ...

    def find(self, ids: Collection[str], addresses: Collection[str]) -> list[Profile]:
        """The profiles of these ids, and those of exactly these addresses."""
        ...

    def working_keys(self, ids: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        """User id → the beginnings of the hashes of working API keys."""
        ...


class Database:
    """One database in a reading transaction: a side, or a shard of one."""

    def __init__(self, env: Environment, reading: Session, cutoffs: Cutoffs) -> None:
        self.env = env
        self.session = reading
        self.databases = (self,)
        self._cutoffs = cutoffs
        users, created, keys = reading.fetch(queries.load("audit_tables"), {})[0]
        if not users:
            raise StatementError("there is no table users", hint=f"gaiaops view {env.name}")
        self._has_created, self.has_keys = bool(created), bool(keys)
        self._set()

    def _set(self) -> None:
        ages = {"grace": self._cutoffs.grace, "unconfirmed": self._cutoffs.unconfirmed}
        since, until = self.session.fetch(queries.load("audit_cutoffs"), ages)[0][2:]
        young = f"created_at > {literal(since)}::timestamp AND created_at < {literal(until)}::timestamp"
        self._young = f"coalesce({young}, false)" if self._has_created else "false"

    def each(self, work: Callable[[Database], T]) -> list[T]:
        return [work(self)]

    def renew(self) -> None:
        self.session.renew()
        self._set()

    def rest(self) -> None:
        self.session.rollback()

    def blocks(self, homes: Homes) -> Iterator[list[str]]:
        """As Side's; those of a shard with the same key are in the order of their ids."""
        tag = next((tag for tag, name in homes.tags.items() if name == self.env.whole), None)
        also = ', id::text COLLATE "C"' if self.env.shard else ""
        sql = queries.load("audit_profiles").format(home=_home(tag), young=self._young, also=also)
        with located(self.env.name):
            return self.session.texts(sql)

    def find(self, ids: Collection[str], addresses: Collection[str]) -> list[Profile]:
        sql = queries.load("audit_profiles_find").format(young=self._young)
        wanted = [address for address in addresses if address]
        return [Profile(*row) for row in self.session.fetch(sql, {"ids": list(ids), "addresses": wanted})]

    def working_keys(self, ids: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        if not self.has_keys or not ids:
            return {}
        rows = self.session.fetch(queries.load("audit_working_keys"), {"ids": list(ids)})
        return {owner: tuple(hashes) for owner, hashes in rows}


def _home(tag: str | None) -> str:
    """An SQL condition on `k` that holds for addresses plainly of the environment, and for no other.

    >>> _home("dev"), _home(None)
    ("k LIKE '%+dev@%' AND k NOT LIKE '%+%+%' AND k NOT LIKE '%@%@%'", "k NOT LIKE '%+%'")
    """
    if tag is None:
        return "k NOT LIKE '%+%'"
    return f"k LIKE {literal('%+' + like(tag.lower()) + '@%')} AND k NOT LIKE '%+%+%' AND k NOT LIKE '%@%@%'"


@contextmanager
def connect(env: Environment, statement_ms: int | None, cutoffs: Cutoffs) -> Iterator[Database]:
    """A side on the database of an environment without shards, or on a shard. Raises the connection's errors, with the
    environment's name."""
    timeouts: Timeouts = msgspec.structs.replace(session.environment_timeouts(env, statement_ms), idle=_IDLE_MS)
    with ExitStack() as stack:
        with located(env.name):  # and not what the caller raises
            reading = stack.enter_context(session.reading(env.postgres_url(), timeouts, COMMAND))
            if lost := features.reading(reading.server, reading.isolation):
                trust.tell(f"[{env.name}] {lost}")
            side = Database(env, reading, cutoffs)
        yield side
