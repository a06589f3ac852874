"""All users of a project by the admin API: by cursor where the server has it, else by numbered pages.

A walk is complete where it is proven that whoever was there during the whole of it has been read, and the server's
own counts do not speak against it. Otherwise it is made again with larger pages, three times in all.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from gaiaops.auth import numbered
from gaiaops.auth.interface import Record
from gaiaops.auth.numbered import LARGEST_PAGE, Numbered, Progress
from gaiaops.auth.pages import Page, Reader
from gaiaops.auth.requests import FailedError, Kind, Requests

_SMALLEST_PAGE, _PAGES = 1000, 10
_WALKS = 3
_LAST_RESORT = 50_000  # the largest page ever asked for: where more than 10,000 share a created_at
_CURSOR_LIMIT = 1000  # the server's own
_STARTS = 3  # of a walk by cursor, each after a cursor that expired


class Walk(msgspec.Struct, frozen=True):
    """What was read: records by id, and whether that is everybody. `total` is the server's last count."""

    records: dict[str, Record]
    complete: bool
    problems: tuple[str, ...]
    total: int
    seconds: float = 0.0


def walk(requests: Requests, reader: Reader, page_size: int | None, progress: Progress) -> Walk:
    """Reads every user. Raises the error tree's errors where not one could be read."""
    began = time.monotonic()
    first = _first(requests, reader)
    if requests.server_time is not None:
        reader.set_time(requests.server_time)
    read = {} if first is None else {record.id: record for record in first.records}
    done = None
    if first is not None and first.pagination is not None:
        done = _by_cursor(requests, reader, first, read, progress)
        first = None
    if done is None:
        total = first.total if first is not None and first.total >= 0 else None
        done = _by_pages(requests, reader, (page_size, total), read, progress)
    return msgspec.structs.replace(done, seconds=time.monotonic() - began)


def _first(requests: Requests, reader: Reader) -> Page | None:
    """What `limit` alone gives: in cursor mode the first stretch, otherwise the first 50 users and the total.

    None where one of them cannot be read. Raises the error tree's errors where nothing can be.
    """
    try:
        return requests.get("/admin/users", _stretch(None), reader.page)
    except FailedError as error:
        if error.failure.kind is Kind.ROW:
            return None
        raise error.failure.raised() from None


def _stretch(cursor: str | None) -> dict[str, str | int]:
    onward = {} if cursor is None else {"cursor": cursor}
    return {"limit": _CURSOR_LIMIT, "sort": "created_at asc", **onward}


def _by_cursor(
    requests: Requests, reader: Reader, first: Page, read: dict[str, Record], progress: Progress
) -> Walk | None:
    """The walk in the order (created_at, id), which repeats and loses nobody; None where it does not come to its end.

    What it read is in `read` all the same.
    """
    before = _counted(requests, reader)
    for start in range(_STARTS):
        records: dict[str, Record] = {}
        try:
            if start:
                first = requests.get("/admin/users", _stretch(None), reader.page)
            ended = _follow(requests, reader, first, records, lambda users: progress(users, max(before, users)))
            after = _counted(requests, reader)
            if ended and not before == after != len(records):
                return Walk(records, True, (), len(records))
            return None
        except FailedError as error:
            if not error.failure.words.startswith("400"):  # not an expired cursor
                return None
        finally:
            read.update(records)
    return None


def _follow(
    requests: Requests, reader: Reader, first: Page, records: dict[str, Record], progress: Callable[[int], None]
) -> bool:
    """Reads on from the first stretch into `records`. Whether the end was reached. Raises FailedError."""
    page = first
    while True:
        known = len(records)
        records.update((record.id, record) for record in page.records)
        progress(len(records))
        if page.pagination is None:
            return False
        if not page.pagination.has_more:
            return True
        if page.pagination.next_cursor is None or len(records) == known:
            return False  # it would go round for ever
        page = requests.get("/admin/users", _stretch(page.pagination.next_cursor), reader.page)


def _counted(requests: Requests, reader: Reader) -> int:
    """The server's count of all users, -1 where it gives none."""
    try:
        return numbered.counted(requests, reader)
    except FailedError:
        return -1


def _by_pages(
    requests: Requests,
    reader: Reader,
    known: tuple[int | None, int | None],
    read: dict[str, Record],
    progress: Progress,
) -> Walk:
    """Walks through numbered pages until one walk is whole. `known` holds the size wished for and the total.

    What an earlier walk saw and a whole one did not is gone. Where none is whole, all they saw is the best there is.
    """
    wished, total = known
    if total is None:
        total = max(0, _counted(requests, reader))
    size = wished or max(_SMALLEST_PAGE, min(total // _PAGES, LARGEST_PAGE))
    cap = None
    for again in range(_WALKS):
        one = Numbered(requests, reader, progress, cap)
        one.walk(size, total)
        # A server that gave users and now gives none is not to be believed.
        gone = len(read.keys() - one.records.keys())
        whole = one.whole()
        if whole and 2 * gone <= len(read):
            return Walk(one.records, True, (), one.total)
        read.update(one.records)
        total = one.total
        if one.unread:  # asking again for what failed six times helps nobody
            break
        cap = one.cap
        size = _larger(size, total, cap, last=again == _WALKS - 2)
    if not read and one.unread:
        raise next(iter(one.unread.values())).raised()
    vanished = (f"{gone} users that were read before are not given any more",) if whole else one.doubts()
    said = numbered.problems(one.unread, total) or vanished
    return Walk(read, False, said, total)


def _larger(size: int, total: int, cap: int | None, *, last: bool) -> int:
    if cap is not None:  # no larger page can be had; another size has its borders elsewhere
        return max(1, min(size, cap) - cap // 7)
    if total < LARGEST_PAGE:
        return LARGEST_PAGE  # one page is one statement, and shows one moment
    return max(size, _LAST_RESORT) if last else min(3 * size, max(size, _LAST_RESORT))
