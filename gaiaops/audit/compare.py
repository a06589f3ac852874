"""Holds the auth records against every environment's profiles, range by range, and says whom to look at. Pure.

A profile whose line is a record's (id, address, no flag on either) is in order: it is at home,
has its record's id and address, and nothing is special about either. Sets of lines find those at once; what is left
is looked at one by one, and becomes a suspect unless it is plainly in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

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
        self._wide = _WideAddresses()

    def take(self, parts: Mapping[str, Lines]) -> None:
        """One range: every stream's lines of it."""
        records = parts.get(AUTH, [])
        there = set(records)
        left = set(there)
        for name in self.environments:
            lines = parts.get(name) or []
            mine = set(lines)
            strange = mine - there
            left -= mine
            tally = self.tallies[name]
            tally.users += len(lines)
            self._in_order(name, len(mine) - len(strange))
            self._wide.note(name, lines)
            for line in sorted(strange, key=key_of):
                self._strange(name, line, lines, records, left)
        self._count_records(records, left)
        suspects = [suspect for line in left if (suspect := self._unmatched(line, parts))]
        for suspect in sorted(suspects, key=lambda suspect: suspect.address):
            self.records.add(suspect)

    def finish(self) -> None:
        """After the last range: what only full case folding brings together."""
        for name, suspect in self._wide.pairs():
            self.profiles[name].add(suspect)
        for record in self._wide.unmatched():
            self.records.add(record)

    def close(self) -> None:
        """Removes what was put aside."""
        self.records.close()
        for pile in self.profiles.values():
            pile.close()

    def _in_order(self, name: str, count: int) -> None:
        """Profiles that are plainly in order, and so are their records."""
        tag = self._own_tag.get(name, "")
        self.tallies[name].by_tag[tag] += count
        if not self.blind:
            self.tallies[name].matched += count
            self.tallies[AUTH].by_tag[tag] += count

    def _strange(self, name: str, line: str, lines: Lines, records: Lines, left: set[str]) -> None:
        """A profile whose line is no record's."""
        own, flags, address = fields_of(line)
        key = ascii_lower(address)
        twins, same = group(lines, key), group(records, key)
        plain = f"{own}\t\t{address}"
        home = self.homes.home(address)
        if (plain in same or self.blind) and "y" not in flags and len(twins) == 1 and home == name:
            left.discard(plain)
            self._in_order(name, 1)
            return
        self.tallies[name].by_tag[self.homes.tag(address)] += 1
        ids = tuple(fields_of(record)[0] for record in same)
        others = tuple(fields_of(twin)[0] for twin in twins if twin != line)
        if not same and not address.isascii():
            self._wide.profile(name, own, address, others)
        else:
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
            self._wide.record(own, address, missed=False)
            return None
        if not self.everywhere and home not in self.environments:
            return None
        if home and parts.get(home) and group(parts[home], ascii_lower(address)):
            return None
        if address.isascii():
            return RecordSuspect(own, address)
        self._wide.record(own, address, missed=True)
        return None


class _WideAddresses:
    """Addresses beyond ASCII, which the order of keys does not bring together with their other spellings.

    They are few, and kept: those of unmatched records, of unmatched profiles, and of all profiles for twins.
    """

    def __init__(self) -> None:
        self._records: dict[str, list[tuple[str, str, bool]]] = {}
        self._profiles: dict[str, list[tuple[str, str, str, tuple[str, ...]]]] = {}
        self._all: dict[tuple[str, str], list[str]] = {}

    def note(self, name: str, lines: Lines) -> None:
        """Every profile's address that is not plain ASCII, in case it has a twin."""
        if "".join(lines).isascii():
            return
        for line in lines:
            if not line.isascii():
                own, _, address = fields_of(line)
                self._all.setdefault((name, address.casefold()), []).append(f"{own}\t{address}")

    def profile(self, name: str, own: str, address: str, twins: tuple[str, ...]) -> None:
        self._profiles.setdefault(address.casefold(), []).append((name, own, address, twins))

    def record(self, own: str, address: str, *, missed: bool) -> None:
        if not address.isascii():
            self._records.setdefault(address.casefold(), []).append((own, address, missed))

    def pairs(self) -> list[tuple[str, ProfileSuspect]]:
        """The suspects: unmatched profiles, and those that are twins or fold to plain ASCII."""
        found: dict[tuple[str, str], ProfileSuspect] = {}
        for folded, entries in self._profiles.items():
            records = tuple(own for own, _, _ in self._records.get(folded, ()))
            for name, own, address, twins in entries:
                found[name, own] = ProfileSuspect(own, address, records, twins)
        for (name, folded), rows in self._all.items():
            if len(rows) == 1 and not folded.isascii():
                continue
            people = [row.split("\t", 1) for row in rows]
            for own, address in people:
                known = found.get((name, own))
                twins = tuple(other for other, _ in people if other != own)
                records = tuple(own for own, _, _ in self._records.get(folded, ()))
                if known is not None:
                    twins, records = (*known.twins, *twins), known.records
                found[name, own] = ProfileSuspect(own, address, records, twins)
        return [(name, suspect) for (name, _), suspect in found.items()]

    def unmatched(self) -> list[RecordSuspect]:
        """Records that are missed somewhere, with the profiles of the same folded address."""
        suspects = []
        for folded, entries in self._records.items():
            profiles = tuple((name, own) for name, own, _, _ in self._profiles.get(folded, ()))
            suspects += [RecordSuspect(own, address, profiles) for own, address, missed in entries if missed]
        return suspects


def spellings(address: str) -> tuple[str, ...]:
    """The spellings under which the same person may be stored, for a search by equality.

    >>> spellings("Ada@X.org")
    ('Ada@X.org', 'ada@x.org')
    """
    return tuple(dict.fromkeys((address, ascii_lower(address), address.lower(), address.casefold())))
