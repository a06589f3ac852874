"""Numbers as people say them. Pure."""

from __future__ import annotations

from gaiaops.registry.durations import two_units


def age(seconds: float) -> str:
    """
    >>> age(0.04), age(7.6), age(125), age(3720), age(200_000)
    ('0 s', '8 s', '2 min 5 s', '1 h 2 min', '2 d 7 h')
    """
    return two_units(max(0, round(seconds)), " ")


def number(value: float) -> str:
    """Three digits, and no more behind the point than they need.

    >>> number(12.0), number(0.5), number(99.96), number(1234567.0), number(3.14159)
    ('12', '0.5', '100', '1,234,567', '3.14')
    """
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{1 if abs(value) >= 10 else 2}f}".rstrip("0").rstrip(".")


def count(value: float, one: str, many: str = "") -> str:
    """
    >>> count(1, "session"), count(2, "session"), count(2, "index", "indexes")
    ('1 session', '2 sessions', '2 indexes')
    """
    return f"{number(value)} {one if value == 1 else many or one + 's'}"
