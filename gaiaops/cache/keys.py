"""Key families: which family a key belongs to. Pure."""

from __future__ import annotations

from collections.abc import Sequence

OTHER = "other"


def family_of(key: bytes, families: Sequence[tuple[str, str]]) -> str:
    """The name of the first family whose pattern fits; a pattern's `*` ends its fixed part.

    >>> family_of(b"user:session:7", [("session", "user:session:*"), ("list", "list")])
    'session'
    >>> family_of(b"listing", [("list", "list")])
    'other'
    """
    for name, pattern in families:
        prefix, star, _ = pattern.partition("*")
        if key.startswith(prefix.encode()) if star else key == pattern.encode():
            return name
    return OTHER
