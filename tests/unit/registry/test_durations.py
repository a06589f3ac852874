"""Durations: writing and reading are inverse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaiaops.registry.durations import parse_duration, show_duration


@given(st.integers(0, 2**31 - 1))
def test_shown_durations_are_read_back(milliseconds: int) -> None:
    assert parse_duration(show_duration(milliseconds)) == milliseconds


@pytest.mark.parametrize("text", ["", "s", "5 parsecs", "-1s", "1e3", "100d", "1s 2s", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|long"):
        parse_duration(text)
