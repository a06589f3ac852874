"""Looks at suspects on both sides and says what is known of them; the rules are in judge.py."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import msgspec

from gaiaops.audit.compare import ProfileSuspect, RecordSuspect, spellings
from gaiaops.audit.homes import Homes
from gaiaops.audit.judge import Profile, Seen, of_record
from gaiaops.audit.kinds import Finding
from gaiaops.audit.side import Side
from gaiaops.auth.interface import Look, Record

BATCH = 2_000


def profiles(
    side: Side, suspects: Sequence[ProfileSuspect], auth: Look, *, absence: bool
) -> Iterator[tuple[ProfileSuspect, list[Seen]]]:
    """Each suspect that is still there, with its record, its twins and its working keys; several times over, its own
    address first, where shards have its id with other addresses too.

    `absence` is whether a record that `auth` does not find is absent. Raises the error tree's errors.
    """
    ids = {id for s in suspects for id in (s.id, *s.twins)}
    mine: dict[str, Profile] = {}
    copies: dict[str, list[Profile]] = {}  # where one id has several addresses
    twins: dict[str, list[Profile]] = defaultdict(list)
    for profile in side.find(ids, _spellings(s.address for s in suspects)):
        first = mine.setdefault(profile.id, profile)
        if first is not profile:
            copies.setdefault(profile.id, [first]).append(profile)
        twins[profile.address.casefold()].append(profile)
    records = auth.find({id for s in suspects for id in (s.id, *s.records)}, ())

    def seen_with(records: Sequence[Record]) -> dict[ProfileSuspect, list[Seen]]:
        by_id, by_address = {record.id: record for record in records}, _by_address(records)

        def see(found: Profile) -> Seen:
            folded = found.address.casefold()
            same = by_address.get(folded, ()) if folded else ()
            both = twins[folded] if folded else (found,)
            return Seen(name, found, both, by_id.get(found.id), same, absence, (), copies.get(found.id, ()))

        seen, name = {}, side.env.name
        for suspect in suspects:
            found = mine.get(suspect.id)
            if found is not None:
                some = copies.get(suspect.id)
                seen[suspect] = [see(one) for one in _own_first(suspect, some)] if some else [see(found)]
        return seen

    seen = seen_with(records)
    lost = [one.profile.address for each in seen.values() for one in each if one.record is None]
    if lost and absence:  # somebody may have registered again, with another id
        seen = seen_with([*records, *auth.find((), _spellings(lost))])
    keys = side.working_keys([one.profile.id for each in seen.values() for one in each if one.locked_out])
    for suspect, each in seen.items():
        hashes = keys.get(suspect.id, ())
        yield suspect, [msgspec.structs.replace(one, keys=hashes) for one in each] if hashes else each


def records(  # noqa: PLR0913 - both sides, the rules, and how a side may fail
    sides: Mapping[str, Side],
    suspects: Sequence[RecordSuspect],
    auth: Look,
    homes: Homes,
    *,
    everywhere: bool,
    surviving: Callable[[str], AbstractContextManager[None]],
) -> Iterator[tuple[RecordSuspect, list[Finding]]]:
    """Each suspect with what is wrong with it. `everywhere` is whether `sides` are all environments there are.

    `surviving` takes the error of a side, and the side out of `sides`.
    """
    found = {record.id: record for record in auth.find({suspect.id for suspect in suspects}, ())}
    ids = {suspect.id for suspect in suspects} | {id for suspect in suspects for _, id in suspect.profiles}
    current = [found[suspect.id].address for suspect in suspects if suspect.id in found]
    addresses = _spellings(current)
    present: dict[str, set[str]] = defaultdict(set)
    asked = list(sides.items())
    for name, side in asked:
        with surviving(name):
            for profile in side.find(ids, addresses):
                present[profile.id].add(name)
                present[profile.address.casefold()].add(name)
    readable = frozenset(sides)
    everywhere = everywhere and len(readable) == len(asked)
    sharded = {name for name, side in asked if side.env.shards}
    for suspect in suspects:
        record = found.get(suspect.id)
        if record is not None:
            where = frozenset(present[record.id] | present[record.address.casefold()])
            yield suspect, list(of_record(record, where, homes, readable, everywhere, sharded))


def _own_first(suspect: ProfileSuspect, copies: Iterable[Profile]) -> list[Profile]:
    """The profile that was suspected before the others with its id."""
    return sorted(copies, key=lambda one: (one.address != suspect.address, one.address))


def _spellings(addresses: Iterable[str]) -> set[str]:
    return {spelling for address in addresses if address for spelling in spellings(address)}


def _by_address(records: Sequence[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.address:
            found[record.address.casefold()].append(record)
    return found
