"""Keys: the family one belongs to, the prefix it starts with, and how it is written for people. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

OTHER = "other"
NO_PREFIX = "(no prefix)"
_PREFIX = re.compile(rb"[^:/|.]{1,40}[:/|.]", re.DOTALL)
_SPELLED = re.compile(rb"\\x([0-9a-f]{2})")
_GLOB = re.compile(rb"([*?\[\]\\^-])")


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


class Families:
    """`family_of` for millions of keys: one regular expression of all patterns, the first one first."""

    def __init__(self, families: Sequence[tuple[str, str]]) -> None:
        parts = []
        for _, pattern in families:
            prefix, star, _ = pattern.partition("*")
            parts.append(b"(" + re.escape(prefix.encode()) + (b")" if star else b"\\Z)"))
        self._match = re.compile(b"|".join(parts) or rb"(?!)").match

    def numbers(self, keys: Sequence[bytes]) -> list[int]:
        """For each key the place of its family, or -1.

        >>> Families([("session", "user:session:*"), ("list", "list")]).numbers([b"list", b"listing"])
        [1, -1]
        """
        match = self._match
        return [found.lastindex - 1 if (found := match(key)) else -1 for key in keys]  # type: ignore[operator]


def prefix_of(key: bytes) -> bytes:
    """What a key that belongs to no family starts with, up to the first separator; "" where there is none.

    >>> prefix_of(b"tmp:upload:7"), prefix_of(b"lock/7"), prefix_of(b"7c1e")
    (b'tmp:', b'lock/', b'')
    """
    found = _PREFIX.match(key)
    return found[0] if found else b""


def fixed_part(pattern: str) -> bytes:
    """A family's pattern as a glob for SCAN: its fixed part taken literally (Redis, KEYS).

    >>> fixed_part("a[1]:*"), fixed_part("list")
    (b'a\\\\[1\\\\]:*', b'list')
    """
    prefix, star, _ = pattern.partition("*")
    return _GLOB.sub(rb"\\\1", prefix.encode()) + star.encode()


def key_text(key: bytes) -> str:
    """A key as text that any document, and any terminal, can hold: what is no UTF-8 or not printable is spelled out
    byte by byte, and so is a backslash that would read as such a spelling. No two keys have the same text.

    >>> key_text(b"user:session:\\xff\\xfe")
    'user:session:\\\\xff\\\\xfe'
    """
    try:
        text = key.decode()
    except UnicodeDecodeError:
        text = key.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    text = re.sub(r"\\(?=x[0-9a-f]{2})", r"\\x5c", text)
    return "".join(char if char.isprintable() else _spelled(char) for char in text)


def _spelled(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def key_bytes(text: str) -> bytes:
    """The key of a text; the inverse of `key_text`. A text that `key_text` never gives is taken as it is.

    >>> key_bytes(key_text(b"user:session:\\xff\\xfe")), key_bytes(key_text(b"back\\\\xff"))
    (b'user:session:\\xff\\xfe', b'back\\\\xff')
    """
    raw = text.encode("utf-8", "surrogateescape")
    spelled = _SPELLED.sub(lambda match: bytes([int(match[1], 16)]), raw)
    return spelled if key_text(spelled) == text else raw
