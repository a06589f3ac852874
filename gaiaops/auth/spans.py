"""Which pages to ask for: the list's OFFSET is always (page - 1) * per_page. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

# Users that two neighbouring pages share: as many may be deleted between two answers.
_OVERLAP = 50


class Span(msgspec.Struct, frozen=True):
    """Page `page` of pages of `size` users."""

    page: int
    size: int

    @property
    def first(self) -> int:
        """How many users come before it."""
        return (self.page - 1) * self.size

    @property
    def end(self) -> int:
        """How many users come before it or are on it."""
        return self.page * self.size


def plan(total: int, size: int) -> list[Span]:
    """Pages for `total` users and at least one more, each beginning a little before the one before it ends.

    >>> [(span.first, span.end) for span in plan(25_000, 10_000)]
    [(0, 10000), (9950, 19900), (19850, 29775)]
    """
    spans = [Span(1, size)]
    while spans[-1].end <= total:
        spans.append(following(spans[-1].end, size))
    return spans


def following(end: int, size: int) -> Span:
    """The page of at most `size` users that goes on at `end`, from a little before it where that can be had.

    An OFFSET is a multiple of the page's size, so sizes a little smaller give offsets a little smaller. With many
    small pages that would cost too much; then pages meet and share nobody.
    """
    back = end - min(_OVERLAP, size // 8)
    before = -(-back // size)
    if (before + 1) * (back // before) - end >= size // 2:
        return Span(before + 1, back // before)
    return Span(end // size + 1, size)


def around(at: int, reach: int, widest: int) -> Span:
    """A page that holds at least `reach` users on each side of `at`, or what `widest` leaves of that.

    >>> span = around(10_000, 500, 5000)
    >>> span.first <= 9500, span.end >= 10_500, span.size <= 5000
    (True, True, True)
    """
    reach = min(reach, widest // 3)
    if at + reach <= widest:
        return Span(1, at + reach)
    sizes = range(max(3 * reach, 2), widest + 1)
    fitting = (size for size in sizes if reach <= at % size <= size - reach)
    size = next(fitting, widest)
    return Span(at // size + 1, size)


def quarters(span: Span) -> list[Span]:
    """Pages a quarter as large that hold the users of `span`; single users in the end.

    >>> [(part.first, part.end) for part in quarters(Span(2, 10))]
    [(9, 12), (12, 15), (15, 18), (18, 21)]
    """
    size = -(-span.size // 4)
    return [Span(page + 1, size) for page in range(span.first // size, -(-span.end // size))]


def in_words(spans: Sequence[Span], total: int) -> list[str]:
    """The users of pages, as they are counted in order of created_at; neighbours together.

    >>> in_words([Span(3, 100), Span(4, 100), Span(7, 1)], 350)
    ['user 7', 'users 201 to 350']
    """
    ranges: list[list[int]] = []
    for first, end in sorted((span.first, span.end) for span in spans):
        if ranges and first <= ranges[-1][1]:
            ranges[-1][1] = max(ranges[-1][1], end)
        else:
            ranges.append([first, end])
    bounds = [(first + 1, max(first + 1, min(end, total)) if total else end) for first, end in ranges]
    return [f"user {first}" if first == last else f"users {first} to {last}" for first, last in bounds]
