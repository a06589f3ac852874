"""The rules: what is wrong with one profile, or with one auth record. Pure.

A profile belongs to the auth record with its id, else to an ordinary one whose address is equal after case folding,
else to a single sign-on one with that address.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from gaiaops.audit.homes import Homes
from gaiaops.audit.kinds import Finding
from gaiaops.auth.interface import Record


class Profile(msgspec.Struct, frozen=True, gc=False):
    """A row of an environment's users; `young` is within the grace window, `shards` are those that have it, where the
    environment has some."""

    id: str
    address: str
    young: bool
    shards: tuple[str, ...] = ()


class Seen(msgspec.Struct, frozen=True):
    """One profile and what was found about it. `twins` are profiles of the environment with its folded address, it
    among them; `absence` is whether a record that was not found is absent; `keys` are the beginnings of the hashes
    of its working API keys; `copies` are the profiles of several shards with its id, where their addresses differ, it
    among them."""

    environment: str
    profile: Profile
    twins: Sequence[Profile]
    same_id: Record | None
    same_address: Sequence[Record]
    absence: bool
    keys: Sequence[str] = ()
    copies: Sequence[Profile] = ()

    @property
    def shards(self) -> tuple[str, ...]:
        """The shards that have a profile of this id."""
        return shards_of(self.copies) if self.copies else self.profile.shards

    @property
    def record(self) -> Record | None:
        """The record that the profile belongs to."""
        if self.same_id is not None and "v" not in self.same_id.flags:
            return self.same_id
        # Two records may differ by case only: the one with the profile's own spelling goes first.
        alike = sorted(self.same_address, key=lambda record: (record.address != self.profile.address, record.id))
        ordinary = next((record for record in alike if record.ordinary), None)
        return ordinary or next((r for r in alike if "s" in r.flags and not set("dav") & set(r.flags)), None)

    @property
    def locked_out(self) -> bool:
        """Whether nobody can log in to it: then no key of it should work."""
        return self.record.revoked if self.record else self.absence


def of_profile(seen: Seen, homes: Homes) -> Iterator[Finding]:
    """What is wrong with a profile; nothing while it, or its record, is within the grace window."""
    if seen.profile.young or (seen.record and "y" in seen.record.flags):
        return
    if seen.locked_out and seen.keys:
        evidence = {"auth": state(seen), "working keys": str(len(seen.keys)), "hashes": ", ".join(seen.keys)}
        yield _finding("revoked-access", seen, evidence, _fix("revoked-access", seen))
    if seen.record is None:
        if seen.absence:
            yield _finding("orphan-profile", seen, {"auth": state(seen), "profile": seen.profile.address})
    else:
        yield from _of_pair(seen, seen.record)
    if len(seen.twins) > 1 or seen.copies:
        yield from _duplicates(seen)
    yield from _of_address(seen, homes)


def _of_pair(seen: Seen, record: Record) -> Iterator[Finding]:
    """What is wrong between a profile and its record."""
    mine, theirs = seen.profile.address, record.address
    both = {"auth": theirs, "profile": mine}
    if seen.same_id is not record and len(seen.twins) == 1:
        yield _finding("id-mismatch", seen, {"auth": record.id, "profile": seen.profile.id})
    if seen.same_id is record and theirs and "d" not in record.flags and theirs != mine:
        kind = "case-drift" if theirs.casefold() == mine.casefold() else "email-drift"
        yield _finding(kind, seen, both, _fix(kind, seen))
    if "u" in record.flags and not {"d", "a"} & set(record.flags):
        yield _finding("unconfirmed-profile", seen, {"auth": "not confirmed", "profile": mine})


def _duplicates(seen: Seen) -> Iterator[Finding]:
    """Profiles of one person: equal addresses, or one id with several addresses in different shards."""
    settled = [twin for twin in seen.twins if not twin.young]
    folded = seen.profile.address.casefold()
    if len(settled) > 1:
        yield _duplicate(seen, folded, folded, settled)
    copies = [copy for copy in seen.copies if not copy.young]
    if len({copy.address.casefold() for copy in copies}) > 1:
        yield _duplicate(seen, seen.profile.id, folded, copies)


def _duplicate(seen: Seen, subject: str, address: str, profiles: Sequence[Profile]) -> Finding:
    ordered = sorted(profiles, key=lambda one: (one.id, one.address))
    spellings = ", ".join(f"{one.address} ({_who(seen.environment, one)})" for one in ordered)
    command = f"gaiaops whois {shlex.quote(seen.profile.address or seen.profile.id)}"
    evidence = {"profiles": spellings}
    return Finding("duplicate-profile", seen.environment, subject, address, evidence, command, shards_of(profiles))


def _who(environment: str, profile: Profile) -> str:
    """A profile's id, and where it is in an environment with shards."""
    return ", ".join((profile.id, *(f"{environment}/{shard}" for shard in profile.shards)))


def shards_of(profiles: Iterable[Profile]) -> tuple[str, ...]:
    """The shards that have one of the profiles."""
    return tuple(dict.fromkeys(shard for profile in profiles for shard in profile.shards))


def _of_address(seen: Seen, homes: Homes) -> Iterator[Finding]:
    """What the profile's address says of its environment."""
    address, here = seen.profile.address, seen.environment
    home = homes.home(address)
    evidence = {"profile": address}
    if home is None:
        yield _finding("ambiguous-address", seen, evidence)
    elif home == here or (not home and here in homes.bare):
        return
    elif homes.tag(address):
        command = f"gaiaops cleanup {here} --tag {homes.tag(address)} --dry-run"
        yield _finding("foreign-profile", seen, {**evidence, "home": home}, command)
    else:
        yield _finding("untagged-profile", seen, evidence)


def of_record(  # noqa: PLR0913, PLR0917 - the record, where it is, and what is known of where it could be
    record: Record,
    present: frozenset[str],
    homes: Homes,
    readable: frozenset[str],
    everywhere: bool,
    sharded: Collection[str] = (),
) -> Iterator[Finding]:
    """What is wrong with a record that is in the environments `present`, of those that could be read.

    `everywhere` is whether all environments could be: only then is somebody in none. In which shard of one of the
    `sharded` a profile belongs is nothing that a repair could know.
    """
    if not record.ordinary or "y" in record.flags or "@" not in record.address:
        return
    home = homes.home(record.address)
    whois = f"gaiaops whois {shlex.quote(record.address)}"
    if not present:
        if everywhere:
            evidence = {"auth": record.address, "home": home or "", "profiles": "none"}
            yield Finding("unprovisioned", "", record.id, record.address, evidence, whois)
    elif home and home in readable and home not in present:
        evidence = {"auth": record.address, "profiles": ", ".join(sorted(present))}
        command = whois if home in sharded else f"gaiaops audit {home} --fix missing-profile"
        yield Finding("missing-profile", home, record.id, record.address, evidence, command)


def state(seen: Seen) -> str:
    """What the auth side says of a profile, in words."""
    record = seen.record
    if record is None:
        hidden = seen.same_id is not None
        return "invisible to the server (aud, instance_id)" if hidden else "absent"
    words = {"d": "soft-deleted", "b": "banned", "a": "anonymous", "s": "single sign-on"}
    return next((word for flag, word in words.items() if flag in record.flags), "there")


def _fix(kind: str, seen: Seen) -> str:
    """The command that repairs a finding; empty where several shards have the profile, which --fix leaves."""
    if len(seen.shards) > 1:
        return ""
    return f"gaiaops audit {'/'.join((seen.environment, *seen.shards))} --fix {kind}"


def _finding(kind: str, seen: Seen, evidence: dict[str, str], command: str = "") -> Finding:
    address = seen.profile.address
    look = command or f"gaiaops whois {shlex.quote(address or seen.profile.id)}"
    return Finding(kind, seen.environment, seen.profile.id, address, evidence, look, seen.shards)
