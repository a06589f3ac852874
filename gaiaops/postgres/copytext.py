"""Fields of COPY's text format (manual, COPY, File Formats: Text Format). Pure."""

from __future__ import annotations

import re

_ESCAPED = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_LETTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_SPECIAL = str.maketrans({"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"})


def decode(field: bytes) -> str | None:
    """The text of a field, None for NULL.

    >>> decode(b"a\\\\tb"), decode(b"\\\\N"), decode(b"")
    ('a\\tb', None, '')
    """
    if field == b"\\N":
        return None
    return (_ESCAPED.sub(_plain, field) if b"\\" in field else field).decode("utf-8")


def encode(text: str | None) -> bytes:
    """The field of a text: the inverse of decode.

    >>> encode("a\\tb"), encode(None), encode("")
    (b'a\\\\tb', b'\\\\N', b'')
    """
    return b"\\N" if text is None else text.translate(_SPECIAL).encode("utf-8")


def _plain(match: re.Match[bytes]) -> bytes:
    octal, hexadecimal, letter = match.groups()
    if octal is not None:
        return bytes([int(octal, 8) & 0xFF])
    if hexadecimal is not None:
        return bytes([int(hexadecimal, 16)])
    return _LETTERS.get(letter, letter)
