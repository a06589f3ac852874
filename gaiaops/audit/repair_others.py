"""The other shards, where one of an environment is repaired: its profiles must be nobody else's there, the addresses
they get must be free there, and what names those they had would dangle there.

They are only read, in a snapshot each. A repair keeps their place for changes, so that no other repair, clean-up or
restore of gaiaops changes meanwhile what was read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

import msgspec

from gaiaops import threads
from gaiaops.audit import repair_names, repair_sql
from gaiaops.audit.repair_names import Naming
from gaiaops.audit.repair_plan import KEYS, USERS
from gaiaops.audit.repair_sql import LOOK
from gaiaops.errors import ConnectError, GaiaopsError, LostServerError, RefusedError, located
from gaiaops.postgres import catalog
from gaiaops.postgres import session as pg
from gaiaops.postgres.changes import FAITHFUL, check_writable, keep_place, short_waits
from gaiaops.postgres.identity import check_pin
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Table
from gaiaops.postgres.softref import SoftColumn
from gaiaops.registry.model import Environment, Registry

T = TypeVar("T")
KEY_COLUMNS = frozenset({"id", "user_id", "key_hash", "is_active", "expires_at"})


class _Other(msgspec.Struct, frozen=True):
    """Another shard, open for reading, and what is asked there; `keys` is None where it has no API keys."""

    env: Environment
    session: Session
    users: Table
    keys: Table | None
    naming: tuple[SoftColumn, ...]


class Others:
    """The other shards of an environment; none where it has no shards. Every method raises the error tree's errors,
    with the shard's name, and none that leaves a change in doubt: nothing is written here."""

    def __init__(self, each: Sequence[_Other] = ()) -> None:
        self._each = tuple(each)

    def __bool__(self) -> bool:
        return bool(self._each)

    @contextmanager
    def fresh(self) -> Iterator[Others]:
        """New snapshots of all, as long as the block runs: in between no transaction waits."""

        def begin(one: _Other) -> None:
            one.session.renew()
            for setting in FAITHFUL:
                one.session.exchange.command(setting)

        self._ask(begin)
        yield self
        self._ask(lambda one: one.session.rollback())

    def having(self, ids: Collection[str]) -> dict[str, list[str]]:
        """Id → the shards that have a profile of it."""

        def ask(one: _Other) -> list[str]:
            return [own for own, _ in one.session.fetch(repair_sql.rows(one.users, LOOK), {"ids": sorted(ids)})]

        return _by_shard(self._ask(ask)) if ids else {}

    def taken(self, addresses: Collection[str]) -> list[tuple[str, str]]:
        """As repair_names.taken, of all shards."""
        found = self._ask(lambda one: repair_names.taken(one.session, one.users, addresses))
        return [pair for pairs in found.values() for pair in pairs]

    def naming(self, addresses: Collection[str]) -> Naming:
        """As repair_names.naming, of all shards; a reference is named with its shard."""
        found: Naming = {}
        asked = self._ask(lambda one: repair_names.naming(one.session, one.naming, addresses))
        for shard, names in asked.items():
            for address, held in names.items():
                found.setdefault(address, []).extend((f"{name} in {shard}", rows) for name, rows in held)
        return found

    def working(self, owners: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
        """Owner → the shards where an API key of theirs works, or one with a hash of theirs; of owner → hashes.

        Raises RefusedError where that cannot be told.
        """
        values = {"ids": sorted(owners), "hashes": sorted(set[str]().union(*owners.values()))}

        def ask(one: _Other) -> set[str]:
            if one.keys is None:
                return set()
            if not {column.name for column in one.keys.columns} >= KEY_COLUMNS:
                raise RefusedError(f"{KEYS} has no {', '.join(sorted(KEY_COLUMNS))}: which keys work is not known")
            rows = one.session.fetch(repair_sql.keys_alike(one.keys, one.users), values)
            return {own for owner, digest in rows for own, mine in owners.items() if owner == own or digest in mine}

        return _by_shard(self._ask(ask)) if owners else {}

    def _ask(self, work: Callable[[_Other], T]) -> dict[str, T]:
        """The results of `work` by the shard's name, in their order; in parallel."""
        results: dict[str, T] = {}

        def one(other: _Other) -> None:
            with _reading(other.env):
                results[other.env.name] = work(other)

        threads.each(self._each, one)
        return {other.env.name: results[other.env.name] for other in self._each}


NONE = Others()


@contextmanager
def others(registry: Registry, env: Environment, command: str, *, keep: bool) -> Iterator[Others]:
    """The other shards of the environment that `env` is a shard of; none where it is none. `keep` takes their place
    for changes.

    Raises RefusedError where another change runs in one, or one is not what the registry says, and the connection's
    errors, with the shard's name. Once they are open, their end is no error.
    """
    rest = [one for one in registry.environment(env.whole).shards if one.name != env.name] if env.shard else []
    with ExitStack() as stack:
        opened: dict[str, _Other] = {}

        def enter(shard: Environment) -> None:
            with _reading(shard):
                reading = pg.reading(shard.postgres_url(), short_waits(shard), command)
                session = stack.enter_context(reading)
                opened[shard.name] = _other(registry, shard, session)
                if keep:
                    keep_place(session)
                session.rollback()

        try:
            threads.each(rest, enter)
            yield Others([opened[shard.name] for shard in rest])
        finally:
            with suppress(GaiaopsError):  # what was asked is answered, and may be committed by now
                stack.close()


def in_between(why: str) -> RefusedError:
    """The error for what was done elsewhere while this shard was written to."""
    return RefusedError(
        f"while the rows were written, this came in between: {why}; nothing was changed",
        hint="run the same command again",
    )


def _other(registry: Registry, shard: Environment, session: Session) -> _Other:
    """Checks who answers and reads the catalog. Raises RefusedError where not all profiles could be seen."""
    facts = catalog.facts(session)
    check_pin(shard, (facts.identifier, facts.database))
    check_writable(facts)
    read = catalog.read(session)
    users, keys = catalog.find(session, read, USERS), catalog.find(session, read, KEYS)
    if users is None or not {column.name for column in users.columns} >= {"id", "email"}:
        raise RefusedError("there is no table users with an id and an address", hint=f"gaiaops view {shard.name}")
    for table in (users, *([keys] if keys else [])):
        if table.rls:
            raise RefusedError(
                f"row-level security hides rows of {table.name} from this role", hint="use a role with BYPASSRLS"
            )
    return _Other(shard, session, users, keys, tuple(catalog.soft_columns(session, read, registry.references)))


@contextmanager
def _reading(shard: Environment) -> Iterator[None]:
    """Nothing of ours is lost with a connection that only reads."""
    with located(shard.name):
        try:
            yield
        except LostServerError as error:
            raise ConnectError(error.message, hint="nothing was changed; run it again") from None


def _by_shard(found: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Whose names each shard gave → the shards."""
    shards: dict[str, list[str]] = {}
    for shard, names in found.items():
        for name in sorted(names):
            shards.setdefault(name, []).append(shard)
    return shards
