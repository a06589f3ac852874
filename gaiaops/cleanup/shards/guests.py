"""People who have gone from other shards, and what still names them in this one: soft references know no borders.

Only those count whom the archives hold, and who are in no shard any more, neither by their id nor by their address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from gaiaops.cleanup import apply, auth_users, planner
from gaiaops.cleanup.apply import Hooks, Outcome
from gaiaops.cleanup.plan import users_of
from gaiaops.cleanup.settle import CacheCleaner
from gaiaops.cleanup.shards.archive import Guests, Part, WholeRun
from gaiaops.cleanup.shards.lookup import Shard
from gaiaops.errors import located
from gaiaops.postgres import catalog, copytext
from gaiaops.postgres import session as pg
from gaiaops.registry.model import Environment, Registry
from gaiaops.rundir import private_file

_FOR_EVER = "9999-12-31T23:59:59Z"  # the run has begun, and is finished whenever that is


class Gone(msgspec.Struct):
    """Whom a run has purged: of each shard (ENV/SHARD) id → address, and who of them is in some shard all the same.

    `prints` are the schemas' fingerprints of the shards that have soft references and are the plan's, `staying` the
    names that were harmless and are somebody's.
    """

    purged: dict[str, dict[str, str]]
    there: frozenset[str]
    addresses_there: frozenset[str]
    prints: dict[str, str]
    staying: dict[str, frozenset[bytes]]

    @classmethod
    def find(cls, run: WholeRun, shards: Sequence[Shard]) -> Gone:
        """Reads the archives, and asks all shards."""
        servers = {part.shard: part.plan().server for part in run.own}
        purged = {part.shard: {person.id: person.address for person in auth_users.archived(part)} for part in run.own}
        everybody = {key: address for people in purged.values() for key, address in people.items()}
        ids: set[str] = set()
        addresses: set[str] = set()
        for shard in shards:
            with located(shard.env.name):
                ids.update(key for key, _ in shard.of_ids(everybody))
                addresses.update(name for name, _, _ in shard.of_names(set(everybody.values())))
        prints = {
            shard.env.name: shard.graph.fingerprint()
            for shard in shards
            if shard.graph.soft and catalog.facts(shard.session).server == servers[shard.env.name]
        }
        staying = {part.shard: names_staying(part, shards, ()) for part in run.own}
        return cls(purged, frozenset(ids), frozenset(addresses), prints, staying)

    def of_others(self, shard: str) -> dict[str, str]:
        """id → address of those who have gone from other shards, and are in none any more."""
        mine = self.purged.get(shard, {})
        return {
            key: address
            for name, people in self.purged.items()
            for key, address in people.items()
            if name != shard and key not in mine and not self.stays(key, address)
        }

    def stays(self, key: str, address: str) -> bool:
        """Whether a shard has this id or this address."""
        return key in self.there or address in self.addresses_there

    def numbers_still_there(self, part: Part) -> frozenset[int]:
        """The numbers of those whom a part's shard has purged, and another one still has."""
        mine = self.purged.get(part.shard, {}).keys() & self.there
        return frozenset(number for number, key, _ in users_of(part.users_file) if key in mine)


def names_staying(part: Part, shards: Sequence[Shard], going: Container[str]) -> frozenset[bytes]:
    """Which of a part's harmless names are somebody's in another shard after all, who is not of those ids."""
    names = {line: copytext.decode(line.rstrip(b"\n")) or "" for line in part.names()}
    found: set[str] = set()
    for shard in shards:
        if shard.env.name != part.shard:
            with located(shard.env.name):
                found.update(name for name, key, _ in shard.of_names(names.values()) if key not in going)
    return frozenset(line for line, name in names.items() if name in found)


@contextmanager
def looking(registry: Registry, env: Environment) -> Iterator[list[Shard]]:
    """All shards, opened for reading."""
    with ExitStack() as stack:
        shards = []
        for shard in env.shards:
            with located(shard.name):
                session = stack.enter_context(pg.reading(shard.postgres_url(), shard.timeouts, planner.COMMAND))
                shards.append(Shard(shard, session, planner.read_graph(registry, shard, session)))
        yield shards


def purged_people(run: WholeRun) -> set[str]:
    """The ids of those whom a run has purged in any shard."""
    return {person.id for part in run.own for person in auth_users.archived(part)}


def people_left(run: WholeRun) -> set[str]:
    """The ids of those whom some shard's part of the plan takes and has not purged."""
    return {
        key
        for part in run.own
        for key in {key for _, key, _ in users_of(part.users_file)}
        - {person.id for person in auth_users.archived(part)}
    }


def take_out(registry: Registry, run: WholeRun, gone: Gone, hooks: Hooks) -> Iterator[tuple[str, Outcome]]:
    """Takes out what names those who are gone from other shards; gives what was done in each. Raises as apply.purge."""
    for place, part in enumerate(run.own, start=1):
        shard = part.shard
        if shard not in gone.prints:
            continue
        begun = run.guests_of(place)
        done = {key for made in begun if made.state().finished for _, key, _ in users_of(made.users_file)}
        todo = [made for made in begun if not made.state().finished and made.plan().fingerprint == gone.prints[shard]]
        done |= {key for made in todo for _, key, _ in users_of(made.users_file)}
        people = {key: address for key, address in gone.of_others(shard).items() if key not in done}
        if people:
            todo.append(_make(run, place, part, gone.prints[shard], people))
        for made in todo:
            if not hooks.stop():
                with located(shard):
                    yield shard, _purge(registry, registry.environment(shard), made, gone, hooks)


def _make(run: WholeRun, place: int, part: Part, fingerprint: str, people: dict[str, str]) -> Guests:
    lines = b"".join(
        b"%d\t%b\t%b\n" % (number, copytext.encode(key), copytext.encode(address))
        for number, (key, address) in enumerate(people.items(), start=1)
    )
    plan = msgspec.structs.replace(
        part.plan(), users=len(people), max_users=len(people), sha256=hashlib.sha256(lines).hexdigest(), tables=(),
        collateral=(), refusals=(), heavy={}, until=_FOR_EVER, fingerprint=fingerprint, cache_keys={}, cache_entries=(),
    )  # fmt: skip
    with TemporaryDirectory(prefix="gaiaops-") as folder:
        users = Path(folder) / "users.copy"
        with private_file(users) as out:
            out.write(lines)
        return run.new_guests(place, plan, users)


class Later(CacheCleaner):
    """Leaves Redis alone while the shards are cleaned up: who is gone from one may still be in another."""

    def clean(self, segments: object) -> None:
        """Nothing yet."""

    def finish(self) -> int:
        return 0


def _purge(registry: Registry, shard: Environment, made: Guests, gone: Gone, hooks: Hooks) -> Outcome:
    back = {number: "is there again" for number, key, address in users_of(made.users_file) if gone.stays(key, address)}
    made.staying = gone.staying[shard.name]
    with made.lock(), ExitStack() as stack:
        ready = apply.prepare(registry, shard, made, stack)
        cache = Later(registry.environment(shard.whole), made, registry.user_keys)
        return apply.purge(ready, cache, hooks, back)
