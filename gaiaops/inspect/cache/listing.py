"""Keys that fit a pattern, as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gaiaops.cache.keys import key_bytes, key_text
from gaiaops.cache.lane import Lane, ReplyError, raised

_STEP = b"1000"
_KNOWN = 100_000


class Listed(msgspec.Struct, frozen=True):
    """A key; its type, time to live in milliseconds (-1 for ever) and memory where they were asked for and known."""

    key: str
    type: str | None = None
    ttl_ms: int | None = None
    memory: int | None = None


class Listing:
    """Lists keys; `more` is whether a limit left some out, `repeats` whether one may have come twice."""

    def __init__(self, lane: Lane, pattern: str, *, long: bool, limit: int | None) -> None:
        self._lane = lane
        self._pattern = key_bytes(pattern)
        self._long = long
        self._limit = limit
        self._known: set[bytes] = set()
        self.more = False
        self.repeats = False
        self.count = 0

    def steps(self) -> Iterator[list[Listed]]:
        """The keys of one SCAN after the other (some have none). Raises redis's errors."""
        cursor = b""
        while cursor != b"0":
            # COUNT is how many the server looks at, not how many fit (Redis, SCAN).
            cursor, keys = self._lane.must(b"SCAN", cursor or b"0", b"MATCH", self._pattern, b"COUNT", _STEP)
            fresh = self._fresh(keys)
            if self._limit is not None and self.count + len(fresh) > self._limit:
                self.more = True
                fresh = fresh[: self._limit - self.count]
            self.count += len(fresh)
            yield self._described(fresh) if self._long else [Listed(key_text(key)) for key in fresh]
            if self.more:
                return

    def _fresh(self, keys: list[bytes]) -> list[bytes]:
        """Those that did not come before, as far as 100,000 of them are known."""
        fresh = [key for key in dict.fromkeys(keys) if key not in self._known]
        if len(self._known) < _KNOWN:
            self._known.update(fresh)
        elif fresh:
            self.repeats = True
        return fresh

    def _described(self, keys: list[bytes]) -> list[Listed]:
        commands = [c for key in keys for c in ((b"TYPE", key), (b"PTTL", key), (b"MEMORY", b"USAGE", key))]
        replies = self._lane.ask(*commands)
        found = []
        for at, key in enumerate(keys):
            kind, ttl, memory = (
                self._known_of(name, replies[3 * at + i]) for i, name in enumerate(("type", "pttl", "memory|usage"))
            )
            if ttl != -2:  # gone meanwhile
                found.append(Listed(key_text(key), kind.decode() if kind else None, ttl, memory))
        return found

    def _known_of(self, name: str, reply: Any) -> Any:
        if isinstance(reply, ReplyError):
            return None if self._lane.lacks(name, reply) else raised(reply)
        return reply
