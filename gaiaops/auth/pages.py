"""Answers of the admin API read into records: typed, and only the fields that are needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from gaiaops.auth.interface import Cutoffs, Record

if TYPE_CHECKING:
    import httpx

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class AppMetadata(msgspec.Struct, gc=False):
    """What the server itself knows of how a user logs in."""

    provider: Any = None


class User(msgspec.Struct, gc=False):
    """One user of an answer. Keys without a value are left out by the server."""

    id: Annotated[str, msgspec.Meta(min_length=36, max_length=36)]
    email: str | None = None
    aud: str | None = None
    created_at: Instant | None = None
    email_confirmed_at: Any = None
    banned_until: Instant | None = None
    deleted_at: Any = None
    is_anonymous: bool | None = None
    app_metadata: AppMetadata | None = None


class Pagination(msgspec.Struct, frozen=True):
    """Cursor mode's own part of an answer."""

    has_more: bool = False
    next_cursor: str | None = None


class _Body(msgspec.Struct):
    users: list[User]
    aud: str | None = None
    pagination: Pagination | None = None


class Page(msgspec.Struct, frozen=True):
    """One answer of the list, as the table was at one moment.

    `began` and `ended` are the first and the last created_at, None where the users are not in that order; `tied`
    is how many share one of these two moments. `total` is the server's count of all users, -1 where it gave none.
    """

    records: list[Record]
    total: int
    began: datetime | None = None
    ended: datetime | None = None
    tied: int = 0
    pagination: Pagination | None = None


_BODY = msgspec.json.Decoder(_Body)
_USER = msgspec.json.Decoder(User)


class Reader:
    """Reads answers with the moments that states depend on."""

    def __init__(self, cutoffs: Cutoffs, now: datetime | None = None) -> None:
        self._cutoffs = cutoffs
        self._audience = ""
        self.set_time(now or datetime.now(UTC))

    def set_time(self, now: datetime) -> None:
        """Judge by this time, the server's."""
        self._now = now
        self._young = now - timedelta(milliseconds=self._cutoffs.grace)
        self._later = now + timedelta(days=1)  # no clock is a day ahead: such a row is not young
        self._stale = now - timedelta(milliseconds=self._cutoffs.unconfirmed)

    def page(self, response: httpx.Response) -> Page:
        """A page of the list. Raises msgspec's errors for a body that is none."""
        if response.status_code != 200:
            raise msgspec.ValidationError(f"{response.status_code} instead of a list")
        body = _BODY.decode(response.content)
        self._audience = self._audience or body.aud or ""
        users, record = body.users, self.record
        total = response.headers.get("x-total-count", "")
        began, ended, tied = _order(users)
        return Page(
            [record(user) for user in users],
            int(total) if total.isdecimal() and len(total) < 19 else -1,
            began,
            ended,
            tied,
            body.pagination,
        )

    def user(self, response: httpx.Response) -> Record | None:
        """One user; None for a 404, which says `user_not_found` if it comes here."""
        return None if response.status_code == 404 else self.record(_USER.decode(response.content))

    def record(self, user: User) -> Record:
        """The record of a user, with a letter for each of its states (see Record)."""
        address, created = user.email or "", user.created_at
        flags = ""
        if user.banned_until is not None and user.banned_until > self._now:
            flags += "b"
        if user.deleted_at is not None:
            flags += "d"
        if user.is_anonymous:
            flags += "a"
        # The list has no is_sso_user; the provider of such a user is "sso:" and the id of its identity provider.
        if user.app_metadata is not None and str(user.app_metadata.provider).startswith("sso"):
            flags += "s"
        if created is not None:
            if address and user.email_confirmed_at is None and created < self._stale:
                flags += "u"
            if self._young < created < self._later:
                flags += "y"
        # A single user is given whatever its audience; the list leaves such a row out.
        if user.aud and self._audience and user.aud != self._audience:
            flags += "v"
        return Record(user.id, address, flags)


def _order(users: list[User]) -> tuple[datetime | None, datetime | None, int]:
    times = [user.created_at for user in users if user.created_at is not None]
    if not times or len(times) != len(users) or times != sorted(times):
        return None, None, 0
    began, ended = times[0], times[-1]
    return began, ended, max(times.count(began), times.count(ended))
