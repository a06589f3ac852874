"""Holds the auth records against every environment's profiles, range by range, and says whom to look at. Pure.

A profile whose line is a record's (id, address, no flag on either) is in order: it is at home,
has its record's id and address, and nothing is special about either. Sets of lines find those at once; what is left
is looked at one by one, and becomes a suspect unless it is plainly in order.

The order of keys does not bring together what only full case folding makes equal (ß and ss, the Kelvin sign and k).
Addresses beyond ASCII are few, and kept: `widened` adds whom they lead to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from gaiaops.audit.folding import WideAddresses
from gaiaops.audit.homes import Homes
from gaiaops.audit.merge import Lines, group
from gaiaops.audit.pile import Pile
from gaiaops.auth.interface import ascii_lower, fields_of, key_of

AUTH = ""  # the auth source's name among the streams; no environment has it
_NO_RECORD = set("dasvy")  # flags of records that are not missed anywhere


class ProfileSuspect(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A profile to look at, with the ids of records and of other profiles that its address may lead to."""

    id: str
    address: str
    records: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()


class RecordSuspect(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A record without a profile of its address at home; `profiles` are (environment, id) it may belong to."""

    id: str
    address: str
    profiles: tuple[tuple[str, str], ...] = ()


class Tally(msgspec.Struct):
    """Numbers of one side: users, by tag ("" untagged, "ambiguous"), `matched` those in order at first sight, and
    records by what is special about them."""

    users: int = 0
    by_tag: Counter[str] = msgspec.field(default_factory=Counter)
    matched: int = 0
    special: Counter[str] = msgspec.field(default_factory=Counter)


class Comparison:
    """Takes ranges; leaves suspects and numbers.

    `blind` is that no records can be read: nobody is missed then. `everywhere` is whether `environments` are all
    there are: else records at home in another one are not missed either.
    """

    def __init__(
        self, environments: Sequence[str], homes: Homes, *, blind: bool = False, everywhere: bool = True
    ) -> None:
        self.homes = homes
        self.blind = blind
        self.everywhere = everywhere
        self.environments = environments
        self.profiles = {name: Pile(ProfileSuspect) for name in environments}
        self.records = Pile(RecordSuspect)
        self.tallies = {name: Tally() for name in (AUTH, *environments)}
        self._own_tag = {name: tag for tag, name in homes.tags.items()}
        self._wide = WideAddresses()
        self._capitals: dict[str, list[tuple[str, str]]] = {}  # the range's profiles that are not in lower case

    def take(self, parts: Mapping[str, Lines]) -> None:
        """One range: every stream's lines of it."""
        records = parts.get(AUTH, [])
        self._wide.note(AUTH, records)
        self._capitals.clear()
        there = set(records)
        left = set(there)
        for name in self.environments:
            lines = parts.get(name) or []
            mine = set(lines)
            strange = mine - there
            found = left & mine
            left -= found
            tally = self.tallies[name]
            tally.users += len(lines)
            self._in_order(name, len(mine) - len(strange), len(found))
            self._wide.note(name, lines)
            for line in sorted(strange, key=key_of):
                self._strange(name, line, lines, records, left)
        self._count_records(records, left)
        suspects = [suspect for line in left if (suspect := self._unmatched(line, parts))]
        for suspect in sorted(suspects, key=lambda suspect: suspect.address):
            self.records.add(suspect)

    def finish(self) -> None:
        """After the last range: profiles in order that may have a twin, or another's record, by full case folding."""
        for name, own, address in self._wide.alike():
            if name != AUTH:
                self.profiles[name].add(ProfileSuspect(own, address))

    @property
    def again(self) -> bool:
        """Whether the streams must be read once more, with `fold`: a wide address folds to plain ASCII."""
        return bool(self._wide.narrow)

    def fold(self, parts: Mapping[str, Lines]) -> None:
        """One range of the second reading: whom the wide addresses lead to among the others."""
        for name, lines in parts.items():
            for line in lines:
                if key_of(line) in self._wide.narrow:
                    own, _, address = fields_of(line)
                    self._wide.add(name, own, address)

    def widened(self, name: str, suspect: ProfileSuspect) -> ProfileSuspect:
        """A suspect of an environment with everybody whose address is equal after full case folding."""
        records = self._wide.ids(AUTH, suspect.address)
        twins = self._wide.ids(name, suspect.address)
        if not records and not twins:
            return suspect
        others = tuple(own for own in (*suspect.twins, *twins) if own != suspect.id)
        return ProfileSuspect(suspect.id, suspect.address, (*suspect.records, *records), others)

    def widened_record(self, record: RecordSuspect) -> RecordSuspect:
        """A record with the profiles whose address is equal after full case folding."""
        ids = [(name, own) for name in self.environments for own in self._wide.ids(name, record.address)]
        return RecordSuspect(record.id, record.address, (*record.profiles, *ids)) if ids else record

    def close(self) -> None:
        """Removes what was put aside."""
        self.records.close()
        for pile in self.profiles.values():
            pile.close()

    def _in_order(self, name: str, profiles: int, records: int) -> None:
        """Profiles that are plainly in order, and records that no other environment had before."""
        tag = self._own_tag.get(name, "")
        self.tallies[name].by_tag[tag] += profiles
        if not self.blind:
            self.tallies[name].matched += profiles
            self.tallies[AUTH].by_tag[tag] += records

    def _strange(self, name: str, line: str, lines: Lines, records: Lines, left: set[str]) -> None:
        """A profile whose line is no record's."""
        own, flags, address = fields_of(line)
        key = ascii_lower(address)
        # An empty address leads to nobody, and would lead to everybody without one.
        twins, same = (group(lines, key), group(records, key)) if key else ([line], [])
        plain = f"{own}\t\t{address}"
        home = self.homes.home(address)
        if (plain in same or self.blind) and "y" not in flags and len(twins) == 1 and home == name:
            self._in_order(name, 1, plain in left)
            left.discard(plain)
            return
        self.tallies[name].by_tag[self.homes.tag(address)] += 1
        ids = tuple(fields_of(record)[0] for record in same)
        others = tuple(fields_of(twin)[0] for twin in twins if twin != line)
        self._wide.suspected(name, own, address)
        if "c" in flags:
            self._capitals.setdefault(key, []).append((name, own))
        self.profiles[name].add(ProfileSuspect(own, address, ids, others))

    def _count_records(self, records: Lines, left: set[str]) -> None:
        tally = self.tallies[AUTH]
        tally.users += len(records)
        tally.matched += len(records) - len(left)

    def _unmatched(self, line: str, parts: Mapping[str, Lines]) -> RecordSuspect | None:
        """A record whose line is no profile's: a suspect, unless it is plainly not missed anywhere."""
        own, flags, address = fields_of(line)
        tally = self.tallies[AUTH]
        if flags:
            tally.special.update(flags)
        if "@" not in address:
            tally.special["n"] += 1
            return None
        tag, home = self.homes.place(address)
        tally.by_tag[tag] += 1
        if flags and _NO_RECORD & set(flags):
            return None
        if not self.everywhere and home not in self.environments:
            return None
        key = ascii_lower(address)
        if home and parts.get(home) and group(parts[home], key):
            return None
        # A search by address finds profiles in lower case; the others are named.
        return RecordSuspect(own, address, tuple(self._capitals.get(key, ())))


def spellings(address: str) -> tuple[str, ...]:
    """The spellings under which the same person may be stored, for a search by equality.

    >>> spellings("Ada@X.org")
    ('Ada@X.org', 'ada@x.org')
    """
    return tuple(dict.fromkeys((address, ascii_lower(address), address.lower(), address.casefold())))
