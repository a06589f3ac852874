"""One walk through the numbered pages of the list, and what it proves.

A page is one statement, so it shows the table as it was at one moment, in order of created_at. If each page begins
at an earlier created_at than the pages before it ended, the first page begins at the first user, and the last one
ends at the last user, then whoever was in the table during the whole walk is on one of the pages: whatever was
inserted and deleted meanwhile, and however many share a created_at. Only where neighbouring pages have no such
overlap can somebody be lost between them, and a larger page around that place decides it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from gaiaops.auth import spans
from gaiaops.auth.flights import in_flight
from gaiaops.auth.interface import Record
from gaiaops.auth.pages import Page, Reader
from gaiaops.auth.requests import FailedError, Failure, Kind, Requests
from gaiaops.auth.spans import Span

LARGEST_PAGE = 10_000  # 10 MB or so, and about a second of the server's ten
WIDTH = 4  # requests in flight
_FEW = 8  # places worth a page each, where one page could hold everybody
_ROWS_SOUGHT = 400  # requests spent on finding rows that cannot be read
_LEVELS_IN_VAIN = 3  # of ever smaller pages, of which not one could be read
_FAR = 1_000_000_000  # no user comes after so many: an empty page, which costs no row that cannot be read

Progress = Callable[[int, int], None]


class Numbered:
    """One walk. Used once. `cap` is the largest page that a gateway is known to give."""

    def __init__(self, requests: Requests, reader: Reader, progress: Progress, cap: int | None = None) -> None:
        self._requests = requests
        self._reader = reader
        self._progress = progress
        self._pages: dict[Span, Page] = {}
        self._widest = LARGEST_PAGE
        self._seeking = False
        self.unread: dict[Span, Failure] = {}
        self.records: dict[str, Record] = {}
        self.totals: list[int] = []
        self.cap = cap

    def walk(self, size: int, total: int) -> None:
        """Reads pages of `size` users, `total` or a few more or fewer; what fails is in `unread`."""
        known, self._widest = self.cap, self.cap or max(size, LARGEST_PAGE)
        self._read(_with_end(spans.plan(total, size)), total)
        if (
            self.cap != known and self.cap is not None
        ):  # what was read stands elsewhere in the list than where it was asked for
            size = self._widest = self.cap
            for forgotten in (self._pages, self.unread, self.records, self.totals):
                forgotten.clear()
            self._read(_with_end(spans.plan(total, size)), total)
        while (onward := self._onward(size)) and not self._down():
            self._read(onward, total)
        self._split(total)
        self._seeking = False
        if not self.unread:
            self._close(total)

    @property
    def total(self) -> int:
        """The server's last count of all users."""
        return self.totals[-1] if self.totals else len(self.records)

    def whole(self) -> bool:
        """Whether everybody is known to have been read.

        The proof stands on the pages alone; the server's counts are held against it, since a gateway may drop
        users. Where they do not change, nobody came or went, and there must be as many as they say.
        """
        if self.unread or not self.totals or not self._ended() or gaps(self._pages):
            return False
        read, fewest = len(self.records), min(self.totals)
        return read == fewest if fewest == max(self.totals) else read >= fewest

    def _read(self, wanted: Iterable[Span], total: int) -> None:
        for span, page in in_flight([span for span in wanted if span not in self._pages], self._page, WIDTH):
            if isinstance(page, Failure):
                self.unread[span] = page
                continue
            self._pages[span] = page
            self.records.update((record.id, record) for record in page.records)
            if page.total >= 0:
                self.totals.append(page.total)
            self._progress(len(self.records), max(total, page.total))
            if span.page == 1 and self.cap is None and 0 < len(page.records) < min(span.size, page.total):
                self.cap = len(page.records)  # a gateway gives fewer than were asked for
                return

    def _page(self, span: Span) -> Page | Failure:
        # While a row is sought, the smaller pages are the next attempt; the row itself gets its own.
        return numbered(self._requests, self._reader, span, sure=not self._seeking or span.size == 1)

    def _onward(self, size: int) -> list[Span]:
        """The pages to read next while nobody knows where the list ends; none where it does."""
        last = max([*self._pages, *self.unread], key=lambda span: span.end)
        page = self._pages.get(last)
        if page is None:
            return [Span(last.page + 1, last.size)] if last.end <= max(self.totals, default=0) else []
        if not page.records:
            return []
        if len(page.records) < last.size:  # the end, as it seems: behind it there must be nobody
            return [Span(last.page + 1, last.size)]
        onward = [spans.following(last.end, size)]
        while len(onward) < WIDTH:
            onward.append(spans.following(onward[-1].end, size))
        return onward

    def _ended(self) -> bool:
        """Whether an empty page was seen behind everybody."""
        behind = max((span.first for span, page in self._pages.items() if page.records), default=0)
        return any(span.first >= behind for span, page in self._pages.items() if not page.records)

    def _down(self) -> bool:
        return any(failure.kind is Kind.DOWN for failure in self.unread.values())

    def _split(self, total: int) -> None:
        """Reads what failed in smaller pages: down to the user who cannot be read, once where a page took too long."""
        spent, vain, once = 0, 0, set[Span]()
        self._seeking = True
        while not self._down():
            parts = {
                part: span
                for span, failure in self.unread.items()
                if span.size > 1 and span not in once and failure.kind is not Kind.DOWN
                for part in spans.quarters(span)
            }
            spent += len(parts)
            if not parts or spent > _ROWS_SOUGHT or vain == _LEVELS_IN_VAIN:
                return
            slow = {span for span in parts.values() if self.unread[span].kind is Kind.PAGE}
            for span in set(parts.values()):
                del self.unread[span]
            once |= {part for part, span in parts.items() if span in slow}
            known = len(self._pages)
            self._read(parts, total)
            vain = vain + 1 if len(self._pages) == known else 0

    def _close(self, total: int) -> None:
        """Reads a larger page around each place where somebody may be lost."""
        for reach in (100, self._widest // 3):
            places = gaps(self._pages)
            if len(places) > _FEW and total <= self._widest:
                return  # a walk of one page is better
            self._read([self._around(at, reach) for at in places], total)

    def _around(self, at: int, reach: int) -> Span:
        near = [page.tied for span, page in self._pages.items() if span.first <= at <= span.end]
        return spans.around(at, reach + 2 * max(near, default=0), self._widest)

    def doubts(self) -> tuple[str, ...]:
        """Why nobody knows whether this is everybody, though every page was read."""
        if not self.totals:
            return ("the server gives no total (X-Total-Count)",)
        said = []
        if places := gaps(self._pages):
            said.append(
                f"users near user {places[0]} may be missing: more of them share a created_at than a page holds,"
                " or many were deleted meanwhile"
            )
        if not self._ended():
            said.append("the list goes on behind a page that seemed to be the last")
        if not said or len(self.records) != self.total:
            said.append(f"the server counts {self.total} users, {len(self.records)} different ones were read")
        return tuple(said)


def _with_end(planned: list[Span]) -> list[Span]:
    """The pages and the one behind them, which must be empty."""
    return [*planned, Span(planned[-1].page + 1, planned[-1].size)]


def numbered(requests: Requests, reader: Reader, span: Span, *, sure: bool) -> Page | Failure:
    """One page, or why there is none. Ascending: new users land on the last page and move nobody."""
    parameters: dict[str, str | int] = {"page": span.page, "per_page": span.size, "sort": "created_at asc"}
    try:
        return requests.get("/admin/users", parameters, reader.page, sure=sure)
    except FailedError as error:
        return error.failure


def counted(requests: Requests, reader: Reader) -> int:
    """The server's count of all users, -1 where it gives none. Raises FailedError."""
    return requests.get("/admin/users", {"page": _FAR, "per_page": 1}, reader.page).total


def gaps(pages: dict[Span, Page]) -> list[int]:
    """Where, in numbers of users, somebody may be lost between the pages or behind the last one."""
    ordered = sorted((span for span, page in pages.items() if page.records), key=lambda span: (span.first, span.end))
    found: list[int] = []
    reached = datetime.min.replace(tzinfo=UTC)
    if ordered and ordered[0].first > 0:
        found.append(0)
    for span in ordered:
        page = pages[span]
        if page.began is None or page.ended is None or (page.began >= reached and span.first > 0):
            found.append(span.first)
        reached = max(reached, page.ended or reached)
    # A page that is not full shows where the list ended at that moment; a full one does not.
    end = max((span.first + len(pages[span].records) for span in ordered), default=0)
    if ordered and not any(span.first + len(pages[span].records) == end < span.end for span in ordered):
        found.append(end)
    return found


def problems(unread: dict[Span, Failure], total: int) -> tuple[str, ...]:
    """What could not be read, in words."""
    said: list[str] = []
    reasons: dict[tuple[str, bool], list[Span]] = {}
    for span, failure in unread.items():
        reasons.setdefault((failure.words, failure.kind is Kind.ROW and span.size == 1), []).append(span)
    for (words, row), where in reasons.items():
        for named in spans.in_words(where, total):
            said.append(_row_problem(named, words) if row else f"{named} could not be read: {words}")
    return tuple(said)


def _row_problem(named: str, words: str) -> str:
    plural = named.startswith("users")
    if words.startswith("500"):
        make = "make" if plural else "makes"
        return f"{named} in order of created_at {make} the server answer {words} (a NULL in auth.users?)"
    return f"{named} in order of created_at could not be read: {words}"
