"""The auth users of a project as the admin API gives them: the audit's source where there is no SQL access."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from gaiaops.auth import api
from gaiaops.auth.flights import in_flight
from gaiaops.auth.interface import AuthPerson, Cutoffs, Look, Record, key_of
from gaiaops.auth.pages import Page, Reader
from gaiaops.auth.requests import FailedError, Failure, Kind, Requests
from gaiaops.auth.walk import Walk, walk
from gaiaops.errors import GaiaopsError, PartialError
from gaiaops.registry.model import Timeouts

_READ_MS = 30_000  # the server itself gives up after ten seconds
_BLOCK = 1000
_WIDTH = 8  # single users asked for at a time
_USER_SECONDS = 0.01  # what asking for one costs, with a network in between
_FEW_ADDRESSES = 20  # are always asked for one by one: each costs the server a look at every address it has …
_SECONDS_A_USER = 2.5e-7  # … which takes it so long, two at a time (measured: 90 ms for 100,000, alone)
_MANY_ADDRESSES = 500  # more than that are not asked for one by one, even if nothing else can tell
_CONTROLS = 3  # known users that the filter is tried on; one may have been deleted
_FILTERED_PAGE, _FILTERED_PAGES = 1000, 20
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Progress = Callable[[int, int], None]


class ApiSource:
    """All users, in memory since the walk (see interface.AuthSource)."""

    name = "api"

    def __init__(self, requests: Requests, reader: Reader, walked: Walk, page_size: int | None) -> None:
        self._requests = requests
        self._reader = reader
        self._walk = walked
        self._page_size = page_size
        self._people = _People(walked)

    @property
    def complete(self) -> bool:
        """Whether what is not there is absent."""
        return self._walk.complete

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read, in words."""
        return self._walk.problems

    def blocks(self) -> Iterator[list[str]]:
        """All records as lines, in the order of their keys."""
        lines = sorted([record.line() for record in self._walk.records.values()], key=key_of)
        for at in range(0, len(lines), _BLOCK):
            yield lines[at : at + _BLOCK]

    def find(self, ids: Collection[str], addresses: Collection[str]) -> list[Record]:
        """Records as the walk saw them; who is not among them is absent only if the walk is complete."""
        return self._people.find(ids, addresses)[0]

    def people(self, ids: Collection[str], addresses: Collection[str]) -> list[AuthPerson]:
        """Single users in full (see AuthSource)."""
        from gaiaops.auth.person import ApiPeople

        return ApiPeople(self._requests).find(ids, addresses)

    @contextmanager
    def again(self, looks: int) -> Iterator[Look]:
        """A fresh look: user by user where that is quicker, else by another walk when it is first needed."""
        self._requests.mend()
        yield _Again(self._requests, self._reader, self._walk, self._page_size, looks)


class _People:
    """A walk's records, found by id and by address."""

    def __init__(self, walked: Walk) -> None:
        self._records = walked.records
        self._by_address: dict[str, list[Record]] | None = None

    def find(self, ids: Collection[str], addresses: Collection[str]) -> tuple[list[Record], list[str]]:
        """(the records found, what was not)."""
        found, missing = [], []
        for wanted in ids:
            record = self._records.get(wanted.lower())
            found += [record] if record else []
            missing += [] if record else [wanted]
        for address in addresses:
            known = self._addresses().get(address, [])
            found += known
            missing += [] if known else [address]
        return _unique(found), missing

    def _addresses(self) -> dict[str, list[Record]]:
        if self._by_address is None:
            self._by_address = {}
            for record in self._records.values():
                if record.ordinary:
                    self._by_address.setdefault(record.address, []).append(record)
        return self._by_address


class _Again:
    """A fresh look.

    A single user is absent where the server says `user_not_found`. An address is absent where a new and whole walk
    does not have it (so with many addresses two walks agree), or where the filtered list is empty: after a whole walk
    without it, or on a server whose filter has just been seen to find somebody who is there.
    """

    def __init__(self, requests: Requests, reader: Reader, walked: Walk, page_size: int | None, looks: int) -> None:
        self._requests = requests
        self._reader = reader
        self._first = walked
        self._page_size = page_size
        self._one_by_one = looks * _USER_SECONDS / _WIDTH <= max(walked.seconds, 0.5)
        each = _SECONDS_A_USER * len(walked.records) + _USER_SECONDS / _WIDTH
        self._few = max(_FEW_ADDRESSES, min(int(walked.seconds / each), _MANY_ADDRESSES))
        self._walked: Walk | None = None
        self._people: _People | None = None
        self._works: bool | None = None

    def find(self, ids: Collection[str], addresses: Collection[str]) -> list[Record]:
        """See Look. Raises PartialError for whatever the server does not answer."""
        found: list[Record] = []
        if not self._one_by_one or len(addresses) > self._few:
            found, missing = self._in_walk(ids, addresses)
            if self._walked is not None and self._walked.complete:
                return found
            ids, addresses = [i for i in ids if i in missing], [a for a in addresses if a in missing]
            if len(addresses) > _MANY_ADDRESSES:
                raise _untold(addresses, self._walked.problems if self._walked else ())
        found += self._by_id(ids) + self._by_address(addresses)
        return _unique(found)

    def _in_walk(self, ids: Collection[str], addresses: Collection[str]) -> tuple[list[Record], set[str]]:
        if self._people is None:
            try:
                self._walked = walk(self._requests, self._reader, self._page_size, lambda *_: None)
            except GaiaopsError as error:
                raise _untold([*ids, *addresses], (error.message,)) from None
            self._people = _People(self._walked)
        found, missing = self._people.find(ids, addresses)
        return found, set(missing)

    def _by_id(self, ids: Collection[str]) -> list[Record]:
        # What is no UUID is nobody's id, and could change the address that is asked.
        wanted = {given.lower() for given in ids}
        answers = dict(in_flight([i for i in wanted if _UUID.fullmatch(i)], self._user, _WIDTH))
        failures = {asked: answer for asked, answer in answers.items() if isinstance(answer, Failure)}
        if failures:
            asked, failure = min(failures.items())
            raise PartialError(
                f"Supabase Auth: {len(failures)} of {len(answers)} users could not be asked for,"
                f" {asked} for one: {failure.words}",
                hint=failure.hint,
            )
        return [answer for answer in answers.values() if isinstance(answer, Record)]

    def _user(self, user_id: str) -> Record | Failure | None:
        try:
            record = self._requests.get(f"/admin/users/{user_id}", {}, self._reader.user)
        except FailedError as error:
            return error.failure
        if record is not None and record.id.lower() != user_id:
            return Failure("the answer is about somebody else", Kind.ROW)
        return record

    def _by_address(self, addresses: Collection[str]) -> list[Record]:
        # Whoever has no address cannot be looked for by it.
        answers = dict(in_flight([address for address in set(addresses) if address], self._filtered, _WIDTH))
        absent = [address for address, records in answers.items() if not records]
        if absent and not self._filter_works():
            raise _untold(absent, self._first.problems)
        return [record for records in answers.values() for record in records]

    def _filter_works(self) -> bool:
        """Whether an empty answer means that nobody has the address."""
        if self._works is None:
            ordinary = (record for record in self._first.records.values() if record.ordinary)
            known = itertools.islice(ordinary, _CONTROLS)
            self._works = self._first.complete or any(self._filtered(record.address) for record in known)
        return self._works

    def _filtered(self, address: str) -> list[Record]:
        """Ordinary users of exactly this address; the server's filter is a LIKE, so it may give more."""
        found: dict[str, Record] = {}
        for page in range(1, _FILTERED_PAGES + 1):
            read = self._filtered_page(address, page)
            found |= {record.id: record for record in read.records if record.address == address and record.ordinary}
            if not read.records or (read.total >= 0 and page * _FILTERED_PAGE >= read.total):
                return list(found.values())
        if not found:
            raise _untold([address], (f"more than {_FILTERED_PAGE * _FILTERED_PAGES} users match it",))
        return list(found.values())

    def _filtered_page(self, address: str, page: int) -> Page:
        # A backslash would escape the next character of the pattern; _ stands for any one.
        parameters: dict[str, str | int] = {
            "page": page,
            "per_page": _FILTERED_PAGE,
            "sort": "created_at asc",
            "filter": address.replace("\\", "_"),
        }
        try:
            return self._requests.get("/admin/users", parameters, self._reader.page)
        except FailedError as error:
            raise _untold([address], (error.failure.words,)) from None


@contextmanager
def open(  # noqa: PLR0913  # what makes up a source; two of them have defaults
    url: str,
    service_key: str,
    timeouts: Timeouts,
    cutoffs: Cutoffs,
    *,
    page_size: int | None = None,
    progress: Progress | None = None,
) -> Iterator[ApiSource]:
    """Walks through all users of a project, then gives the source. `progress` is told (users read, total).

    Raises ConnectError, DeadlineError or StatementError where not one user could be read; a walk that read some is
    a source that is not complete.
    """
    with api.client(url, service_key, _patience(timeouts), timeouts.connect) as http:
        requests = Requests(http)
        reader = Reader(cutoffs)
        try:
            walked = walk(requests, reader, page_size, progress or (lambda *_: None))
            yield ApiSource(requests, reader, walked, page_size)
        finally:
            requests.end()


@contextmanager
def single(url: str, service_key: str, timeouts: Timeouts, cutoffs: Cutoffs) -> Iterator[ApiSource]:
    """A source for single users: nobody was read, so it is not complete, and `people` and `again` ask the server."""
    with api.client(url, service_key, _patience(timeouts), timeouts.connect) as http:
        requests = Requests(http)
        try:
            yield ApiSource(requests, Reader(cutoffs), Walk({}, False, ("the list was not read",), 0), None)
        finally:
            requests.end()


def _patience(timeouts: Timeouts) -> int:
    """How long one answer is waited for, in milliseconds."""
    return min(_READ_MS, timeouts.statement or _READ_MS)


def _unique(records: list[Record]) -> list[Record]:
    return list({record.id: record for record in records}.values())


def _untold(missing: Collection[str], problems: Collection[str]) -> PartialError:
    reason = next(iter(problems), "the list could not be read whole")
    return PartialError(
        f"Supabase Auth: nobody knows whether {len(missing)} users are absent: {reason}",
        hint="SQL access (supabase.database) can tell",
    )
