"""What any source of auth users can tell."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import msgspec


@dataclass(frozen=True)
class AuthCount:
    """Users of the auth project.

    `complete` is False where the source could not be read whole: then the numbers are lower bounds.
    """

    source: str
    users: int
    by_tag: Mapping[str, int]
    complete: bool
    latency_ms: float
    deleted: int | None = None
    banned: int | None = None


class Cutoffs(msgspec.Struct, frozen=True):
    """Ages, in milliseconds of the server's time: rows younger than `grace` are not judged; an address that was not
    confirmed for longer than `unconfirmed` is."""

    grace: int
    unconfirmed: int


class Record(msgspec.Struct, frozen=True, gc=False):
    """One auth user. `address` is "" where there is none (phone-only, anonymous) and a hash without @ after a soft
    deletion.

    `flags` holds a letter for each state: b banned now, d soft-deleted, a anonymous, s single sign-on, u address
    not confirmed for too long, y younger than the grace window, v invisible to the server (another aud or
    instance_id: such a row cannot log in and the admin API does not list it).
    """

    id: str
    address: str
    flags: str = ""

    @property
    def revoked(self) -> bool:
        """Whether it may not log in, for good or for now."""
        return "b" in self.flags or "d" in self.flags

    @property
    def ordinary(self) -> bool:
        """Whether an address alone may lead to it: not deleted, anonymous, single sign-on or invisible."""
        return bool(self.address) and not set("dasv") & set(self.flags)

    def line(self) -> str:
        """The record as a line for comparison: id, flags and address, with tabs between; see `key_of`."""
        return f"{self.id}\t{self.flags}\t{self.address}"


def fields_of(line: str) -> tuple[str, str, str]:
    """The id, the flags and the address of a line; the address comes last, since it may hold anything.

    >>> fields_of("7\\tb\\ta@x\\t")
    ('7', 'b', 'a@x\\t')
    """
    own, flags, address = line.split("\t", 2)
    return own, flags, address


def key_of(line: str) -> str:
    """The key that lines are ordered by: the address with ASCII letters in lower case.

    Python compares text by code points, which is the order of UTF-8's bytes, which is COLLATE "C".
    """
    return ascii_lower(line.split("\t", 2)[2])


class AuthPerson(msgspec.Struct, frozen=True):
    """An auth record for reading; times are texts, None where there is none."""

    id: str
    address: str
    provider: str | None = None
    created_at: str | None = None
    confirmed_at: str | None = None
    last_sign_in_at: str | None = None
    banned_until: str | None = None
    deleted_at: str | None = None
    anonymous: bool = False
    single_sign_on: bool = False


def ascii_lower(text: str) -> str:
    """ASCII letters in lower case and nothing else: what PostgreSQL's lower() does under COLLATE "C".

    >>> ascii_lower("Élif@EXAMPLE.com")
    'Élif@example.com'
    """
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


class Look(Protocol):
    """One look at the source, all at one time or as near as the source can."""

    def find(self, ids: Collection[str], addresses: Collection[str]) -> list[Record]:
        """The records of these ids, and the ordinary ones of exactly these addresses.

        Raises the error tree's errors; PartialError where the absence of one of them cannot be told.
        """
        ...


class AuthSource(Look, Protocol):
    """A source that is open: read whole once, and looked into again afterwards.

    Its own `find` looks into what was read, and gives what is there: `complete` says what a missing one means.
    """

    @property
    def name(self) -> str:
        """`sql` or `api`."""
        ...

    @property
    def complete(self) -> bool:
        """Whether what is not there is absent."""
        ...

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read, in words."""
        ...

    def blocks(self) -> Iterator[list[str]]:
        """All records as `Record.line()`, in blocks, in the order of `key_of`."""
        ...

    def people(self, ids: Collection[str], addresses: Collection[str]) -> list[AuthPerson]:
        """The records of these ids and addresses in full, also deleted and single sign-on ones, as they are now.

        Raises PartialError where it cannot be told who is there.
        """
        ...

    def again(self, looks: int) -> AbstractContextManager[Look]:
        """A fresh look; `looks` is about how many records it will be asked for."""
        ...
