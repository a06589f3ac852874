"""Batches are as large as half a second, whatever the server's speed, and never none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gaiaops.cleanup.pace import TARGET_S, Pace

HEAVY = st.dictionaries(st.integers(1, 40), st.integers(1_000, 10**6), max_size=10)
AVERAGES = st.floats(0, 10_000, allow_nan=False)
STEPS = st.lists(st.one_of(st.none(), st.floats(0, 120, allow_nan=False)), max_size=12)


@given(AVERAGES, HEAVY, STEPS, st.integers(1, 40))
def test_it_takes_one_at_least_and_never_more_than_wait(
    average: float, heavy: dict[int, int], steps: list[float | None], number: int
) -> None:
    pace, waiting = Pace(average, heavy), list(range(1, number + 1))
    for seconds in [*steps, None]:
        taken = pace.take(waiting)
        assert 1 <= taken <= len(waiting)
        if seconds is None:
            pace.failed()
        else:
            pace.took(pace.weight(waiting[:taken]), seconds)


@given(st.floats(0, 20), st.floats(400, 10**6), st.floats(0, 0.2))
def test_it_comes_to_half_a_second(average: float, rows_a_second: float, fixed: float) -> None:
    pace, waiting, seconds = Pace(average, {}), range(1, 10**7), 0.0
    for _ in range(20):
        weight = pace.weight(waiting[: pace.take(waiting)])
        seconds = fixed + weight / rows_a_second
        pace.took(weight, seconds)
    assert TARGET_S / 2 <= seconds <= TARGET_S * 1.25


def test_it_follows_a_server_that_becomes_slower() -> None:
    pace, waiting = Pace(1, {}), range(1, 10**7)
    for rate in [100_000] * 10 + [2_000] * 3:
        weight = pace.weight(waiting[: pace.take(waiting)])
        seconds = weight / rate
        pace.took(weight, seconds)
    assert 0.4 <= seconds <= 0.6


@given(HEAVY, st.floats(1, 50), STEPS)
def test_a_heavy_user_comes_alone_or_within_the_budget(
    heavy: dict[int, int], average: float, steps: list[float | None]
) -> None:
    pace = Pace(average, heavy)
    for seconds in [*steps, 0.5]:
        pace.failed() if seconds is None else pace.took(1000, seconds)
    budget = pace.take(range(1000, 10**6)) * average + average  # of users who are not heavy: as many as it bears
    waiting = list(range(1, 41))
    while waiting:
        taken = pace.take(waiting)
        batch, waiting = waiting[:taken], waiting[taken:]
        assert len(batch) == 1 or pace.weight(batch) <= budget


def test_the_weight_of_users_counts_their_heavy_rows() -> None:
    assert Pace(2, {}).weight([1, 2, 3]) == 6
    assert Pace(2, {2: 1000}).weight([1, 2, 3]) == 1006
    assert Pace(0, {}).weight([1, 2, 3]) == 3


def test_a_failure_halves_what_is_taken() -> None:
    pace, waiting = Pace(1, {}), range(10**6)
    before = pace.take(waiting)
    pace.failed()
    assert pace.take(waiting) == before // 2


def test_the_order_is_kept() -> None:
    """The first users are taken, so a heavy one ends the batch before it."""
    assert Pace(1, {5: 10**6}).take([1, 2, 3, 4, 5, 6]) == 4
    assert Pace(1, {5: 10**6}).take([5, 6]) == 1
