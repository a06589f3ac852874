"""Makes the plan of a clean-up over shards: each shard is read in a snapshot of its own, all of them open at once.

A user is looked for in all shards. An id that stays in one of them stays in all. What a shard's soft references say of
people who go from another one goes with them, and is counted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from gaiaops.cleanup import planner
from gaiaops.cleanup.plan import users_of
from gaiaops.cleanup.planner import Choice, Options, Work
from gaiaops.cleanup.shards import lookup
from gaiaops.cleanup.shards.lookup import Shard
from gaiaops.cleanup.shards.plan import PartPlan, Whole, digest_of, file_digest, names_file, users_file
from gaiaops.errors import located
from gaiaops.postgres import copytext
from gaiaops.registry.model import Environment, Registry
from gaiaops.rundir import new_id, private_file

# A shard's snapshot waits while others are read.
_PATIENT = "SET LOCAL idle_in_transaction_session_timeout = '1h'"
_LISTED = 100


class _Making(msgspec.Struct):
    """What the steps share: of each shard its transaction, its users as a list, who goes (id → address)."""

    work: Work
    shard: Shard
    choice: Choice
    going: dict[str, str]


def make(registry: Registry, env: Environment, options: Options, folder: Path) -> Whole:
    """The plan for an environment with shards; the lists of its parts are written into `folder`.

    Raises as planner.make does of each shard, and RefusedError where two shards are one database.
    """
    with ExitStack() as stack:
        making = [
            _begin(registry, shard, options, stack, users_file(folder, place)) for place, shard in enumerate(env.shards)
        ]
        shards = [one.shard for one in making]
        lookup.check_together(shards)
        missing = [set(planner.unknown_keeps(one.work, one.choice)) for one in making]
        with located(env.name):
            planner.check_keep([entry for entry in options.keep if all(entry in names for names in missing)])
        conflicting = _conflicting(making)
        for place, one in enumerate(making):
            _settle(one, users_file(folder, place), conflicting)
        made = new_id(env.name)
        user_keys = registry.user_keys if env.redis else ()
        parts = tuple(_part(making, place, folder, made, user_keys) for place in range(len(making)))
        in_all = lookup.count_people(shards)
        for one in making:
            with located(one.work.env.name):
                planner.end(one.work)
    users = len({key for one in making for key in one.going})
    refusals = [*planner.over_cap(users, in_all, options.max_users)]
    refusals += [f"{part.plan.environment}: {text}" for part in parts for text in part.plan.refusals]
    first = parts[0].plan
    return Whole(
        id=made,
        environment=env.name,
        made=first.made,
        until=first.until,
        tags=first.tags,
        older_than=options.older_text,
        keep=options.keep,
        users=users,
        users_in_all=in_all,
        allow_collateral=options.allow_collateral,
        max_users=options.max_users,
        conflicting=tuple(sorted(set(conflicting.values()))[:_LISTED]),
        refusals=tuple(refusals),
        parts=parts,
        sha256=digest_of(parts),
    )


def _begin(registry: Registry, env: Environment, options: Options, stack: ExitStack, file: Path) -> _Making:
    with located(env.name):
        work = planner.begin(registry, env, options, stack)
        work.session.execute(_PATIENT)
        choice = planner.choose(work, file)
        going = {key: address for _, key, address in users_of(file)}
        return _Making(work, Shard(env, work.session, work.graph), choice, going)


def _conflicting(making: Sequence[_Making]) -> dict[str, str]:
    """Ids that go from one shard and stay in another, or are two people's: id → what is said of it."""
    found: dict[str, str] = {}
    planned: dict[str, str] = {}
    for one in making:
        for key, address in one.going.items():
            if planned.setdefault(key, address) != address:
                found[key] = f"{planned[key]} and {address} have one id"
    for one in making:
        with located(one.work.env.name):
            for key, address in one.shard.of_ids(key for key in planned if key not in one.going):
                found[key] = f"{planned[key]} (in {one.work.env.name} the id is that of {address}, who stays)"
    return found


def _settle(one: _Making, file: Path, conflicting: dict[str, str]) -> None:
    """Leaves out who stays, and writes the list of users anew where that is somebody."""
    kept = {key: address for key, address in one.going.items() if key not in conflicting}
    if len(kept) < len(one.going):
        one.going = kept
        with private_file(file) as out:
            out.writelines(_lines(kept))
    one.choice.taken, one.choice.sha256 = len(kept), file_digest(file)


def _part(making: Sequence[_Making], place: int, folder: Path, made: str, user_keys: tuple[str, ...]) -> PartPlan:
    """One shard's plan, with what its soft references say of the people of other shards."""
    one = making[place]
    others = {key: address for other in making if other is not one for key, address in other.going.items()}
    with located(one.work.env.name):
        guests = _guests(one, others)
        together = folder / f"{place}.together"
        with private_file(together) as out:
            out.write(users_file(folder, place).read_bytes())
            out.writelines(_lines(guests, len(one.going)))
        names = names_file(folder, place)
        names.touch(mode=0o600)

        def harmless(unknown: set[str]) -> list[bytes]:
            of_others = {name for key, address in others.items() for name in (key.lower(), address)}
            lines = _harmless(making, one, unknown | of_others)
            names.write_bytes(b"".join(lines))
            return lines

        counts = planner.count(one.work, together, user_keys, harmless)
        plan = planner.plan(one.work, one.choice, counts, [*_blocked(one, others, guests)])
    heavy = {number: rows for number, rows in plan.heavy.items() if int(number) <= len(one.going)}
    plan = msgspec.structs.replace(plan, id=made, max_users=plan.users, heavy=heavy)
    return PartPlan(plan, file_digest(names))


def _guests(one: _Making, others: dict[str, str]) -> dict[str, str]:
    """Of the people who go from other shards, those whom soft references of this one may name."""
    if not one.work.graph.soft:
        return {}
    mine = {address.lower() for address in one.going.values()}
    found = {key: address for key, address in others.items() if key not in one.going and address.lower() not in mine}
    taken = {name for name, _, _ in one.shard.of_names(found.values())}
    return {key: address for key, address in found.items() if address not in taken}


def _blocked(one: _Making, others: dict[str, str], guests: dict[str, str]) -> Iterator[str]:
    """What blocks those people of other shards who are not counted as guests: somebody here has their address."""
    uncounted = {key: address for key, address in others.items() if key not in guests and key not in one.going}
    for reference, people in Counter(reference for _, reference in one.shard.blocked(uncounted)).items():
        yield f"{reference} refers to {people} of them, and the registry says block"


def _harmless(making: Sequence[_Making], one: _Making, names: set[str]) -> list[bytes]:
    """Of these names, those that are nobody's who stays in another shard, as lines of COPY."""
    staying: Counter[str] = Counter()
    for other in (another for another in making if another is not one):
        with located(other.work.env.name):
            staying.update(name for name, key, _ in other.shard.of_names(names) if key not in other.going)
    return [copytext.encode(name) + b"\n" for name in sorted(names) if name and name not in staying]


def _lines(people: dict[str, str], after: int = 0) -> Iterator[bytes]:
    """The lines of a list of users."""
    for number, (key, address) in enumerate(people.items(), start=after + 1):
        yield b"%d\t%b\t%b\n" % (number, copytext.encode(key), copytext.encode(address))
