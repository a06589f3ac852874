"""All auth users by SQL on auth.users: one snapshot, sorted and streamed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from gaiaops.auth import person
from gaiaops.auth.interface import AuthPerson, Cutoffs, Look, Record
from gaiaops.postgres import queries, session
from gaiaops.postgres.quoting import literal
from gaiaops.postgres.session import Session
from gaiaops.registry.model import Timeouts
from gaiaops.registry.urls import Url

_COMMAND = "audit"


class SqlSource:
    """An AuthSource on a reading transaction; `find` looks into the same snapshot."""

    name = "sql"
    complete = True
    problems: tuple[str, ...] = ()

    def __init__(self, reading: Session, cutoffs: Cutoffs) -> None:
        self._session = reading
        self._cutoffs = cutoffs
        self._set()

    def _set(self) -> None:
        """The query with the cutoffs of the snapshot's time."""
        ages = {"grace": self._cutoffs.grace, "unconfirmed": self._cutoffs.unconfirmed}
        times = self._session.fetch(queries.load("audit_cutoffs"), ages)[0]
        grace, unconfirmed = (f"{literal(str(time))}::timestamptz" for time in times[:2])
        self._records = queries.load("auth_records").format(grace=grace, unconfirmed=unconfirmed)

    def blocks(self) -> Iterator[list[str]]:
        """Records as lines, ordered by their keys. Raises the error tree's errors."""
        return self._session.texts(queries.load("auth_records_lines").format(records=self._records))

    def find(self, ids: Collection[str], addresses: Collection[str]) -> list[Record]:
        """See Look. The index on ordinary users' addresses is of use, so only those are found by address."""
        sql = queries.load("auth_records_find").format(records=self._records)
        rows = self._session.fetch(sql, {"ids": list(ids), "addresses": list(addresses)})
        return [Record(*row) for row in rows]

    def people(self, ids: Collection[str], addresses: Collection[str]) -> list[AuthPerson]:
        """As `find`, in full and whatever the case of ASCII letters."""
        return person.by_sql(self._session, ids, addresses)

    @contextmanager
    def again(self, looks: int) -> Iterator[Look]:
        """The same connection with a new snapshot."""
        self._session.renew()
        self._set()
        yield self


@contextmanager
def connect(url: Url, timeouts: Timeouts, cutoffs: Cutoffs) -> Iterator[SqlSource]:
    """A source on the auth project's database. Raises the connection's errors."""
    with session.reading(url, timeouts, _COMMAND) as reading:
        yield SqlSource(reading, cutoffs)
