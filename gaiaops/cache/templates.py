"""Redis keys that are made of a row's column: `user:session:{users.id}`, `gaia:auth:apikey:v1:{api_keys.key_hash:32}`.
Pure.
"""

from __future__ import annotations

import re

import msgspec

_PART = re.compile(r"\{(\w+)\.(\w+)(?::(\d+))?\}")


class Template(msgspec.Struct, frozen=True):
    """A key's fixed parts, the column between them, and how many of its characters count (None: all)."""

    before: str
    table: str
    column: str
    length: int | None
    after: str

    def key(self, value: str) -> bytes:
        """
        >>> Template("k:", "t", "c", 4, "").key("0123456")
        b'k:0123'
        """
        return f"{self.before}{value[: self.length]}{self.after}".encode()

    def value(self, key: bytes) -> str | None:
        """The column's value (its beginning) in a key; None for a key of another kind.

        >>> Template("k:", "t", "c", 4, "").value(b"k:0123"), Template("k:", "t", "c", None, "").value(b"x:1")
        ('0123', None)
        """
        text = key.decode("utf-8", "surrogateescape")
        if not text.startswith(self.before) or not text.endswith(self.after):
            return None
        return text[len(self.before) : len(text) - len(self.after)]

    @property
    def pattern(self) -> str:
        """What SCAN is to look for (Redis, KEYS: glob patterns)."""
        before, after = (re.sub(r"([*?\[\]\\^-])", r"\\\1", part) for part in (self.before, self.after))
        return f"{before}*{after}"


def parse(text: str) -> Template:
    """The template of a text, which the registry has checked.

    >>> parse("gaia:auth:apikey:v1:{api_keys.key_hash:4}").key("0123456")
    b'gaia:auth:apikey:v1:0123'
    """
    match = _PART.search(text)
    assert match is not None  # noqa: S101 - registry/load.py checked it
    length = int(match[3]) if match[3] else None
    return Template(text[: match.start()], match[1], match[2], length, text[match.end() :])
