"""One key's value, for people or programs: secrets hidden unless asked for, what is long cut."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from gaiaops.cache import masking, values
from gaiaops.cache.keys import key_bytes, key_text
from gaiaops.cache.lane import Lane
from gaiaops.cache.values import Entry
from gaiaops.errors import StatementError

_WHOLE = 1 << 20  # a string up to here is read whole, as JSON that is cut cannot be looked through by its fields
_CHARACTERS = 4096  # of a value that are shown
BINARY = "(binary, {} bytes; --show shows them)"


class Reading(msgspec.Struct, frozen=True):
    """What was read of a key.

    `value` is a text, a list of members, of [name, value], or of {id, fields: [name, value] each}; None for a type
    that is not known. `left_out` counts what is not in it: bytes of a string, else elements; `cut` is whether single
    values in it were cut, `masked` whether something was hidden, `untouched` whether the server was told not to count
    this as use.
    """

    entry: Entry
    value: Any
    left_out: int
    cut: bool
    masked: bool
    untouched: bool


class How(msgspec.Struct, frozen=True):
    """How to show a value: `limit` elements of a collection and 4,096 characters of a value, or with `full` all of it;
    `show` hides nothing."""

    show: bool = False
    limit: int = 100
    full: bool = False


class _Shower:
    """Turns what Redis holds into what may be shown."""

    def __init__(self, key: bytes, how: How) -> None:
        self._secret = masking.is_secret_key(key_text(key))
        self._show = how.show
        self._full = how.full
        self.masked = self.cut = False

    def text(self, raw: bytes, name: str = "", *, plain: bool = True) -> str:
        """A value; `plain` is whether, by the key, a plain one would be a secret."""
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            if not self._show:
                # Nothing can be said of what is in it: pickled and compressed objects hold secrets, too.
                self.masked = True
                return BINARY.format(len(raw))
            text = key_text(raw)
        if not self._show:
            safe = masking.mask_value(text, name=name, secret=self._secret and plain)
            self.masked |= safe != text and not _same_json(safe, text)
            text = safe
        if len(text) > _CHARACTERS and not self._full:
            self.cut = True
            text = f"{text[:_CHARACTERS]}… ({len(text) - _CHARACTERS:,} characters more)"
        return text

    def pair(self, name: bytes, value: bytes) -> list[str]:
        """A field and its value: the name says whether it is a secret."""
        return [self.text(name, plain=False), self.text(value, key_text(name), plain=False)]


def _same_json(one: str, other: str) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except (ValueError, RecursionError):
        return False


def read(lane: Lane, environment: str, name: str, how: How) -> Reading:
    """The value of a key, whose name is in `key_text` form.

    Raises StatementError where the key is not there, and redis's errors where it may not be read.
    """
    key = key_bytes(name)
    untouched = values.untouched(lane)
    one = values.entry(lane, key)
    if one is None:
        raise not_there(environment, key)
    shower = _Shower(key, how)
    value: Any
    if one.type == "string":
        value, left = _string(lane, one, shower, how.full)
    elif values.is_collection(one):
        value, left = _collection(lane, one, shower, None if how.full else how.limit)
    else:
        value, left = None, 0
    return Reading(one, value, left, shower.cut, shower.masked, untouched)


def not_there(environment: str, key: bytes) -> StatementError:
    """The error for a key that is not there; the hint lists what starts alike."""
    text = key_text(key)
    start = re.match(r"(?:[^:/|.]+[:/|.])*", text)
    glob = re.sub(r"([*?\[\]\\^])", r"\\\1", start[0] if start and start[0] else text[:3]) + "*"
    quoted = "'" + glob.replace("'", "'\\''") + "'"
    return StatementError(f"no such key: {text}", hint=f"gaiaops cache {environment} keys {quoted}")


def _string(lane: Lane, one: Entry, shower: _Shower, full: bool) -> tuple[str, int]:
    """(what is shown, bytes that were not read)."""
    raw = values.text(lane, one.key, one.length, None if full else _WHOLE)
    left = max(0, (one.length or len(raw)) - len(raw))
    if left:  # a character may have been cut in two
        raw = raw[: len(raw) - _tail(raw)]
    return shower.text(raw), left


def _tail(raw: bytes) -> int:
    """Bytes at the end that are the beginning of a character of UTF-8."""
    for back in range(1, 4):
        if raw[-back:][:1] and raw[-back] & 0xC0 == 0xC0:
            return back if back < (2 + (raw[-back] >= 0xE0) + (raw[-back] >= 0xF0)) else 0
    return 0


def _collection(lane: Lane, one: Entry, shower: _Shower, limit: int | None) -> tuple[list[Any], int]:
    """(elements as they are shown, how many were left out)."""
    shown: list[Any] = []
    for element in values.elements(lane, one, limit):
        if one.type == "hash":
            shown.append(shower.pair(*element))
        elif one.type == "zset":
            shown.append([shower.text(element[0]), element[1].decode()])
        elif one.type == "stream":
            pairs = zip(element[1::2], element[2::2], strict=True)
            shown.append({"id": element[0].decode(), "fields": [shower.pair(*pair) for pair in pairs]})
        else:
            shown.append(shower.text(element[0]))
    return shown, max(0, (one.length or len(shown)) - len(shown))
