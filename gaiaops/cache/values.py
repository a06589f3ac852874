"""One key's facts and its value, of any type, in bounded steps: never HGETALL, SMEMBERS or LRANGE 0 -1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import msgspec

from gaiaops.cache.lane import Lane, ReplyError, raised

_STEP_BYTES = 1 << 20  # about what one step of a large collection may bring
_STEP_MOST = 1000
Element = tuple[bytes, ...]


class Entry(msgspec.Struct, frozen=True):
    """A key: its type, time to live in milliseconds (-1 for ever), encoding, memory in bytes, seconds since it was
    last used, and its length (bytes of a string, elements of a collection). None is not known."""

    key: bytes
    type: str
    ttl_ms: int | None
    encoding: str | None
    memory: int | None
    idle_s: int | None
    length: int | None


_LENGTH = {"string": b"STRLEN", "hash": b"HLEN", "list": b"LLEN", "set": b"SCARD", "zset": b"ZCARD", "stream": b"XLEN"}


def untouched(lane: Lane) -> bool:
    """Asks the server not to count our reads as use of the key (CLIENT NO-TOUCH, Redis 7.2); whether it will."""
    return not isinstance(lane.ask((b"CLIENT", b"NO-TOUCH", b"ON"))[0], ReplyError)


def entry(lane: Lane, key: bytes) -> Entry | None:
    """What is known of a key, None where it is not there. None of these questions counts as use of it (Redis, TYPE:
    LOOKUP_NOTOUCH), but for the length of a string. Raises redis's error where TYPE is refused."""
    kind = lane.must(b"TYPE", key).decode()
    if kind == "none":
        return None
    ttl = _number(_may(lane, "pttl", b"PTTL", key))
    idle = _may(lane, "object|idletime", b"OBJECT", b"IDLETIME", key)  # none under an LFU policy
    encoding = _may(lane, "object|encoding", b"OBJECT", b"ENCODING", key)
    memory = _number(_may(lane, "memory|usage", b"MEMORY", b"USAGE", key, b"SAMPLES", b"100"))
    length = None
    if kind in _LENGTH:
        length = _number(_may(lane, _LENGTH[kind].decode().lower(), _LENGTH[kind], key))
    return Entry(key, kind, ttl, encoding.decode() if encoding else None, memory, _number(idle), length)


def _may(lane: Lane, name: str, *command: bytes) -> Any:
    """A fact that may be refused, or not be there, without harm to the others."""
    reply = lane.ask(command)[0]
    if isinstance(reply, ReplyError):
        lane.lacks(name, reply)
        return None
    return reply


def _number(reply: Any) -> int | None:
    return reply if isinstance(reply, int) else None


def text(lane: Lane, key: bytes, length: int | None, most: int | None) -> bytes:
    """A string's first bytes, all of them where `most` is None."""
    at = 0
    end = most if most is not None else (length if length is not None else 512 << 20)  # a string's largest size
    parts = []
    while at < end:
        part = lane.must(b"GETRANGE", key, b"%d" % at, b"%d" % (min(at + _STEP_BYTES, end) - 1))
        if not part:
            break
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def elements(lane: Lane, one: Entry, most: int | None) -> Iterator[Element]:
    """A collection's elements, at most so many: fields with values of a hash, members, members with scores, a
    stream's ids with fields and values. Raises redis's errors."""
    step = _step(one, most)
    readers: dict[str, Callable[[Lane, bytes, int], Iterator[Element]]] = {
        "hash": _hash, "set": _set, "list": _list, "zset": _zset, "stream": _stream,
    }  # fmt: skip
    return islice(readers[one.type](lane, one.key, step), most)


def is_collection(one: Entry) -> bool:
    return one.type in _LENGTH and one.type != "string"


def _step(one: Entry, most: int | None) -> int:
    """How many elements to ask for at once: large ones a few at a time."""
    fits = _STEP_BYTES * one.length // one.memory if one.memory and one.length else 100
    return max(1, min(fits, _STEP_MOST, most + 1 if most is not None else _STEP_MOST))


def _scanned(lane: Lane, command: bytes, key: bytes, step: int, width: int) -> Iterator[Element]:
    """By HSCAN or SSCAN, which may give an element twice: those of the last steps are known."""
    cursor, seen = b"", set[bytes]()
    while cursor != b"0":
        cursor, flat = lane.must(command, key, cursor or b"0", b"COUNT", b"%d" % step)
        for at in range(0, len(flat), width):
            if flat[at] not in seen:
                if len(seen) < 100_000:
                    seen.add(flat[at])
                yield tuple(flat[at : at + width])


def _hash(lane: Lane, key: bytes, step: int) -> Iterator[Element]:
    return _scanned(lane, b"HSCAN", key, step, 2)


def _set(lane: Lane, key: bytes, step: int) -> Iterator[Element]:
    return _scanned(lane, b"SSCAN", key, step, 1)


def _list(lane: Lane, key: bytes, step: int) -> Iterator[Element]:
    at = 0
    while part := lane.must(b"LRANGE", key, b"%d" % at, b"%d" % (at + step - 1)):
        yield from ((item,) for item in part)
        at += len(part)


def _zset(lane: Lane, key: bytes, step: int) -> Iterator[Element]:
    """By rank, so in the order of the scores."""
    at = 0
    while part := lane.must(b"ZRANGE", key, b"%d" % at, b"%d" % (at + step - 1), b"WITHSCORES"):
        yield from zip(part[::2], part[1::2], strict=True)
        at += len(part) // 2


def _stream(lane: Lane, key: bytes, step: int) -> Iterator[Element]:
    start = b"-"
    while part := lane.must(b"XRANGE", key, start, b"+", b"COUNT", b"%d" % step):
        for number, fields in part:
            yield (number, *(fields or ()))
        start = b"(" + part[-1][0]


def there(lane: Lane, keys: list[bytes]) -> dict[bytes, int | None]:
    """Those of the keys that are there, each with its time to live in milliseconds (-1 for ever); None where the user
    may not ask. Without PTTL, EXISTS answers."""
    found: dict[bytes, int | None] = {}
    for key, ttl in zip(keys, lane.ask(*((b"PTTL", key) for key in keys)), strict=True):
        if isinstance(ttl, ReplyError) and lane.lacks("pttl", ttl):
            if raised(lane.ask((b"EXISTS", key))[0]):
                found[key] = None
        elif raised(ttl) != -2:
            found[key] = ttl
    return found
