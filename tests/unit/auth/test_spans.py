"""Pages as stretches of the list: nobody is left out between them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gaiaops.auth.spans import Span, around, following, in_words, plan, quarters

SIZES = st.integers(1, 10_000)


@settings(deadline=None)
@given(total=st.integers(0, 300_000), size=st.integers(100, 10_000))
def test_a_plan_covers_everybody_and_one_more(total: int, size: int) -> None:
    spans = plan(total, size)
    assert spans[0].first == 0
    assert spans[-1].end > total
    assert all(0 < span.size <= size for span in spans)
    assert all(before.first < span.first <= before.end < span.end for before, span in pairwise(spans))


@given(end=SIZES, size=SIZES)
def test_the_next_page_goes_on_without_a_hole(end: int, size: int) -> None:
    span = following(max(end, size), size)
    assert span.first <= max(end, size) < span.end
    assert span.size <= size


def test_large_pages_overlap_and_small_ones_meet() -> None:
    large = plan(1_000_000, 10_000)
    assert all(before.end - span.first >= 50 for before, span in pairwise(large))
    assert len(large) <= 102
    small = plan(3000, 7)
    assert {span.size for span in small[8:]} == {7}


@settings(deadline=None)
@given(at=st.integers(1, 1_000_000), widest=st.integers(100, 10_000), part=st.integers(8, 50))
def test_a_page_around_a_place_holds_both_sides(at: int, widest: int, part: int) -> None:
    reach = widest // part
    span = around(at, reach, widest)
    assert span.size <= widest
    assert span.first <= max(0, at - reach)
    assert at + reach <= span.end


def test_a_page_around_a_place_is_never_too_wide() -> None:
    assert all(around(at, reach, 500).size <= 500 for at in range(1, 3000, 7) for reach in (1, 100, 400, 9000))


@given(page=st.integers(1, 500), size=st.integers(2, 10_000))
def test_quarters_hold_what_the_page_held(page: int, size: int) -> None:
    span = Span(page, size)
    parts = quarters(span)
    assert parts[0].first <= span.first and span.end <= parts[-1].end
    assert all(before.end == part.first for before, part in pairwise(parts))
    assert all(part.size < size for part in parts)


def test_users_in_words() -> None:
    assert in_words([Span(13, 100)], 0) == ["users 1201 to 1300"]
    assert in_words([Span(5, 1), Span(1, 5)], 9) == ["users 1 to 5"]
    assert in_words([Span(4, 1000)], 2000) == ["user 3001"]
