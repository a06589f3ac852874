"""The parameters of the list of users: numbered pages, cursors, order; and the Link headers they give."""

from __future__ import annotations

import base64
import datetime
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec

from gaiaops.sandbox.authserver.errors import invalid

DEFAULT_SIZE = 50
MAX_CURSOR_SIZE = 1000
_UINT64_END = 2**64

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class NumberedPage:
    """Page `number` of pages of `size` users. `number` is as sent: 0 means the first, like 1."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        """How many users come before this page."""
        return (max(self.number, 1) - 1) * self.size


class Cursor(msgspec.Struct, frozen=True):
    """A place in the order (created_at, id). `created_at` stays text: PostgreSQL knows its microseconds."""

    created_at: str
    id: uuid.UUID

    def encode(self) -> str:
        """The opaque token a client hands back.

        >>> Cursor.decode(Cursor("2026-01-02T03:04:05.000006Z", uuid.UUID(int=7)).encode()).id.int
        7
        """
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).rstrip(b"=").decode()

    @classmethod
    def decode(cls, token: str) -> Cursor:
        """Read a token; a forged or cut one is a ValueError."""
        padded = token.encode() + b"=" * (-len(token) % 4)
        try:
            cursor = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=cls)
            created_at = datetime.datetime.fromisoformat(cursor.created_at)
        except (ValueError, msgspec.MsgspecError) as error:
            raise ValueError("invalid cursor") from error
        if cursor.id.int == 0 or created_at.year == 1:
            raise ValueError("invalid cursor: missing id or created_at")
        return cursor


@dataclass(frozen=True)
class CursorPage:
    """The `limit` users after `after`, or the first ones."""

    limit: int
    after: Cursor | None


def first(query: Query, name: str) -> str:
    """The first value of a parameter, "" where it was not sent: to the server both are the same."""
    return next((value for key, value in query if key == name), "")


def wants_cursor(query: Query) -> bool:
    """Where cursors are switched on, they serve whoever names neither a page nor its size."""
    return not first(query, "page") and not first(query, "per_page")


def numbered_page(query: Query) -> NumberedPage:
    """Read `page` and `per_page`. There is no upper bound; the hosted gateway may have one."""
    try:
        number = _unsigned(first(query, "page"), 1)
        size = _unsigned(first(query, "per_page"), DEFAULT_SIZE)
        if size == 0:
            raise ValueError("per_page must be greater than 0")
    except ValueError as error:
        raise invalid(f"Bad Pagination Parameters: {error}") from error
    return NumberedPage(number, size)


def cursor_page(query: Query) -> CursorPage:
    """Read `limit`, cut to 1000, and `cursor`."""
    try:
        limit = _unsigned(first(query, "limit"), DEFAULT_SIZE)
        if limit == 0:
            raise ValueError("limit must be greater than 0")
        token = first(query, "cursor")
        after = Cursor.decode(token) if token else None
    except ValueError as error:
        raise invalid(f"Bad Pagination Parameters: {error}") from error
    return CursorPage(min(limit, MAX_CURSOR_SIZE), after)


def ascending(query: Query) -> bool:
    """Read `sort`: only created_at can be sorted by, newest first unless asked otherwise."""
    wishes = [_direction(value) for key, value in query if key == "sort"]
    return wishes[0] if wishes else False  # a second wish for the same column never decides anything


def numbered_links(path: str, query: Query, page: NumberedPage, total: int) -> str:
    """The Link header with the next and the last page, relative to the server's own root."""
    last = -(-total // page.size)
    links = []
    if last > page.number:
        links.append(_link(path, query, ("page", str(page.number + 1)), "next"))
    links.append(_link(path, query, ("page", str(last)), "last"))
    return ", ".join(links)


def cursor_link(path: str, query: Query, following: Cursor) -> str:
    """The Link header with the next stretch of a walk by cursor."""
    return _link(path, [pair for pair in query if pair[0] != "page"], ("cursor", following.encode()), "next")


def _link(path: str, query: Query, replacement: tuple[str, str], relation: str) -> str:
    kept: Iterable[tuple[str, str]] = (pair for pair in query if pair[0] != replacement[0])
    encoded = urlencode(sorted([*kept, replacement], key=lambda pair: pair[0]))
    return f'<{path}?{encoded}>; rel="{relation}"'


def _direction(value: str) -> bool:
    field, _, direction = value.partition(" ")
    if field != "created_at":
        raise invalid(f"Bad Sort Parameters: bad field for sort '{field}'")
    if direction.upper() not in ("", "ASC", "DESC"):
        raise invalid(f"Bad Sort Parameters: bad direction for sort '{direction}', only 'asc' and 'desc' allowed")
    return direction.upper() == "ASC"


def _unsigned(text: str, default: int) -> int:
    """An unsigned 64-bit number, in digits only: int() would also take '+1', ' 1' and '1_0'."""
    if not text:
        return default
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if (number := int(text)) >= _UINT64_END:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return number
