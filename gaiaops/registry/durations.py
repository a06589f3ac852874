"""Durations as PostgreSQL writes them: `500ms`, `5s`, `2min`, `1h`, `7d` (manual, 19.1.1)."""

from __future__ import annotations

import re

_MILLISECONDS = {"ms": 1, "s": 1000, "min": 60_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)?\s*", re.ASCII)
_AGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w|y)\s*", re.ASCII)
_LONGEST = 2**31 - 1  # PostgreSQL keeps timeouts as a signed 32-bit number of milliseconds


def parse_duration(text: str) -> int:
    """Milliseconds of a duration; a bare number means seconds.

    >>> parse_duration("500ms"), parse_duration("2min"), parse_duration("1.5"), parse_duration("1h")
    (500, 120000, 1500, 3600000)

    Raises ValueError where the text is no duration, or longer than PostgreSQL can hold.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"not a duration: {text!r} (write 500ms, 5s, 2min, 1h or 7d)")
    milliseconds = round(float(match[1]) * _MILLISECONDS[match[2] or "s"])
    if milliseconds > _LONGEST:
        raise ValueError(f"too long: {text!r} (at most 24d)")
    return milliseconds


def show_duration(milliseconds: int) -> str:
    """The shortest exact text of a duration: the inverse of parse_duration.

    >>> show_duration(120000), show_duration(1500), show_duration(5000)
    ('2min', '1500ms', '5s')
    """
    for unit in ("d", "h", "min", "s"):
        if milliseconds and milliseconds % _MILLISECONDS[unit] == 0:
            return f"{milliseconds // _MILLISECONDS[unit]}{unit}"
    return f"{milliseconds}ms"


def parse_age(text: str) -> int:
    """Milliseconds of an age, which may be long and needs its unit.

    >>> parse_age("7d"), parse_age("2w") == parse_age("14d"), parse_age("1y") == parse_age("365d")
    (604800000, True, True)

    Raises ValueError where the text is no age.
    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise ValueError(f"not an age: {text!r} (write 12h, 7d, 4w or 1y)")
    units = {**_MILLISECONDS, "w": 7 * 86_400_000, "y": 365 * 86_400_000}
    milliseconds = round(float(match[1]) * units[match[2]])
    if milliseconds > 1000 * units["y"]:
        raise ValueError(f"too long: {text!r}")
    return milliseconds


def two_units(seconds: int, between: str = "") -> str:
    """Whole seconds for people, in two neighbouring units at most.

    >>> two_units(59), two_units(192), two_units(3600), two_units(90_000, " ")
    ('59s', '3min 12s', '1h', '1 d 1 h')
    """
    for size, unit, small, smaller in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // small
            return f"{seconds // size}{between}{unit}" + (f" {rest}{between}{smaller}" if rest else "")
    return f"{seconds}{between}s"
