"""How the keys of a Redis spread over families: counted by SCAN, their time to live asked for each, their memory and
type for a sample.

A step is one write: PTTL for the keys of the last SCAN, TYPE and MEMORY USAGE for those of the sample, and the next
SCAN. So the server works on a step while this side counts the one before. It stops for other clients several times in
a step, as it reads at most 16 kB of commands at once (Redis, networking.c: PROTO_IOBUF_LEN).
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean, stdev
from typing import Any

import msgspec

from gaiaops.cache.keys import NO_PREFIX, Families, key_text, prefix_of
from gaiaops.cache.lane import Lane, ReplyError, pack, pack_each, raised

_COUNT = b"1000"  # how many keys SCAN looks at in a step
OTHERS = "…others"
_SAMPLE = 2048  # sizes kept for each family; when there are more, every second one goes
_SMALL_SAMPLE = 256  # of those whose family is not known
# TYPE, and MEMORY USAGE that looks at 10 elements of a collection; a template costs a third of `pack`.
_MEASURING = (
    b"*2\r\n$4\r\nTYPE\r\n$%d\r\n%b\r\n*5\r\n$6\r\nMEMORY\r\n$5\r\nUSAGE\r\n$%d\r\n%b\r\n$7\r\nSAMPLES\r\n$2\r\n10\r\n"
)
_PREFIXES = 256  # groups of unknown keys that are told apart
_BEYOND = 2560  # and how many more are at least counted
# PTTL: -2 no such key, -1 no time to live, else milliseconds (Redis, PTTL).
_BOUNDS = (-2, -1, 59_999, 3_599_999, 86_399_999)
TTLS = ("none", "under_1min", "under_1h", "under_1day", "more", "unknown")
_UNKNOWN, _CODES = 6, 8


class Group(msgspec.Struct):
    """Keys of one family, or that start alike. `ttl` is numbers of keys by TTLS.

    `memory` is in bytes, None where it is not known; `error` is the standard error of that estimate, 0 where every
    key was measured; `types` are those of the `sampled` keys.
    """

    name: str
    pattern: str | None
    keys: int
    ttl: dict[str, int]
    memory: int | None
    error: int | None
    sampled: int
    types: dict[str, int]


class Survey(msgspec.Struct):
    """`complete` is False where the time was up; then the numbers are lower bounds. `other` has the groups of unknown
    keys, the largest first; `prefixes` how many of them "…others" sums up (at least, where `more_prefixes`)."""

    families: list[Group]
    other: list[Group]
    scanned: int
    complete: bool
    seconds: float
    prefixes: int = 0
    more_prefixes: bool = False


class Sample:
    """Every n-th key of a stream, n doubling as it goes on, so that at the end all had the same chance.

    SCAN's order is that of a keyed hash, so it has nothing to do with what the keys hold.
    """

    def __init__(self, most: int = _SAMPLE) -> None:
        self._most = most
        self.seen = 0
        self.stride = 1
        self.due = 0
        self.sizes = array("Q")
        self.kinds: list[bytes] = []

    def wants(self) -> bool:
        """Counts one more key; whether it is to be measured."""
        at = self.seen
        self.seen += 1
        if at < self.due:
            return False
        self.due = at + self.stride
        return True

    def add(self, size: int, kind: bytes) -> None:
        self.sizes.append(size)
        self.kinds.append(kind)
        if len(self.sizes) >= self._most:
            self.sizes, self.kinds = self.sizes[::2], self.kinds[::2]
            self.due += -self.due % (2 * self.stride)
            self.stride *= 2

    def estimate(self, keys: int) -> tuple[int | None, int | None]:
        """(bytes of that many keys, standard error): the mean's, with the correction for a finite population."""
        n = len(self.sizes)
        if n == 0 or keys == 0:
            return (0, 0) if keys == 0 else (None, None)
        total = keys * fmean(self.sizes)
        if n >= keys:
            return round(total), 0
        if n == 1:
            return round(total), None
        left = (1 - n / keys) ** 0.5
        return round(total), round(keys * stdev(self.sizes) / n**0.5 * left)


class _Counts:
    """What was seen of each group: families first, then prefixes as they come, the last number for all the others."""

    def __init__(self, families: Sequence[tuple[str, str]]) -> None:
        self.families = families
        self._numbers = Families(families).numbers
        self._prefixes: dict[bytes, int] = {}
        self.beyond: set[int] = set()  # hashes of some prefixes that found no place
        self.codes: Counter[int] = Counter()
        self.samples = [Sample() for _ in families] + [Sample(_SMALL_SAMPLE) for _ in range(_PREFIXES + 1)]

    def groups_of(self, keys: Sequence[bytes]) -> list[int]:
        numbers = self._numbers(keys)
        if -1 in numbers:
            numbers = [self._unknown(key) if n < 0 else n for n, key in zip(numbers, keys, strict=True)]
        return numbers

    def _unknown(self, key: bytes) -> int:
        prefix = prefix_of(key)
        place = self._prefixes.get(prefix)
        if place is None:
            if len(self._prefixes) >= _PREFIXES:
                if len(self.beyond) < _BEYOND:
                    self.beyond.add(hash(prefix))
                return len(self.samples) - 1
            place = self._prefixes[prefix] = len(self.families) + len(self._prefixes)
        return place

    def take(self, groups: Sequence[int], ttls: Sequence[Any]) -> None:
        """Counts keys by group and time to live; what is no number is not known."""
        try:
            codes = [group * _CODES + bisect_left(_BOUNDS, ttl) for group, ttl in zip(groups, ttls, strict=True)]
        except TypeError:
            codes = [
                group * _CODES + (bisect_left(_BOUNDS, ttl) if isinstance(ttl, int) else _UNKNOWN)
                for group, ttl in zip(groups, ttls, strict=True)
            ]
        self.codes.update(codes)

    def choose(self, groups: Sequence[int], keys: Sequence[bytes]) -> list[tuple[Sample, bytes]]:
        """The keys to be measured."""
        samples = self.samples
        return [(samples[group], key) for group, key in zip(groups, keys, strict=True) if samples[group].wants()]

    def groups(self) -> tuple[list[Group], list[Group]]:
        """(families, other groups, the largest first and the rest at the end)."""
        families = [self._group(i, name, pattern) for i, (name, pattern) in enumerate(self.families)]
        named = [(f"{key_text(p)}*" if p else NO_PREFIX, number) for p, number in self._prefixes.items()]
        other = [self._group(number, name, None) for name, number in named]
        other.sort(key=lambda group: -group.keys)
        rest = self._group(len(self.samples) - 1, OTHERS, None)
        return families, [*(group for group in other if group.keys), *([rest] if rest.keys else [])]

    def _group(self, number: int, name: str, pattern: str | None) -> Group:
        sample = self.samples[number]
        ttl = {word: self.codes[number * _CODES + place] for place, word in enumerate(TTLS, 1)}
        keys = sum(ttl.values())
        memory, error = sample.estimate(keys)
        types = Counter(kind.decode("utf-8", "replace") for kind in sample.kinds)
        return Group(name, pattern, keys, ttl, memory, error, len(sample.sizes), dict(types.most_common()))


def survey(
    lane: Lane, families: Sequence[tuple[str, str]], budget_s: float, *, shown: int, hear: Callable[[int], None]
) -> Survey:
    """Looks at every key (SCAN may give one twice), for at most `budget_s` seconds; `shown` groups of unknown keys are
    told apart in the end, the rest is summed. `hear` is told how many keys were seen.

    Raises redis's errors for SCAN; what else the user may not do is in the lane's `missing`.
    """
    counts, began, scanned = _Counts(families), time.monotonic(), 0
    waiting: list[tuple[Sample, bytes]] = []
    cursor, keys = lane.must(b"SCAN", b"0", b"COUNT", _COUNT)
    while True:
        ends = cursor == b"0" or time.monotonic() - began > budget_s
        asks = "pttl" not in lane.missing
        lane.send(
            (pack_each(b"PTTL", keys) if asks else b"")
            + b"".join(_measuring(key) for _, key in waiting)
            + (b"" if ends else pack(b"SCAN", cursor, b"COUNT", _COUNT))
        )
        groups = counts.groups_of(keys)  # the server works on the step meanwhile
        chosen = counts.choose(groups, keys) if "memory|usage" not in lane.missing else []
        ttls = lane.read(len(keys)) if asks else [None] * len(keys)
        counts.take(groups, ttls)
        _note_refusal(lane, ttls)
        _take_measured(lane, waiting)
        scanned += len(keys)
        hear(scanned)
        waiting = chosen
        if ends:
            break
        cursor, keys = raised(lane.read(1)[0])
    lane.send(b"".join(_measuring(key) for _, key in waiting))
    _take_measured(lane, waiting)
    found, other = counts.groups()
    rest = [group for group in other[shown:] if group.name != OTHERS]
    return Survey(
        found,
        _folded(other, shown),
        scanned,
        cursor == b"0",
        time.monotonic() - began,
        len(rest) + len(counts.beyond),
        len(counts.beyond) >= _BEYOND,
    )


def _measuring(key: bytes) -> bytes:
    size = len(key)
    return _MEASURING % (size, key, size, key)


def _take_measured(lane: Lane, waiting: Sequence[tuple[Sample, bytes]]) -> None:
    """Reads the replies to `_measuring`; a key that went meanwhile has no size."""
    replies = lane.read(2 * len(waiting))
    for (sample, _), kind, size in zip(waiting, replies[::2], replies[1::2], strict=True):
        if isinstance(size, int):
            sample.add(size, kind if isinstance(kind, bytes) else b"")
        for name, reply in (("type", kind), ("memory|usage", size)):
            if isinstance(reply, ReplyError) and name not in lane.missing:
                lane.lacks(name, reply)


def _note_refusal(lane: Lane, ttls: Sequence[Any]) -> None:
    refused = next((ttl for ttl in ttls if isinstance(ttl, ReplyError)), None)
    if refused is not None:
        lane.lacks("pttl", refused)


def _folded(other: Sequence[Group], shown: int) -> list[Group]:
    """The first groups, and one that sums up the rest."""
    first = [group for group in other[:shown] if group.name != OTHERS]
    rest = [group for group in other if group not in first]
    if not rest:
        return first
    known = [group.memory for group in rest]
    errors = [group.error for group in rest]
    ttl: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for group in rest:
        ttl.update(group.ttl)
        types.update(group.types)
    memory = None if None in known else sum(filter(None, known))
    error = None if None in errors else round(sum(e * e for e in errors if e) ** 0.5)
    summed = {word: ttl[word] for word in TTLS}
    keys, sampled = sum(g.keys for g in rest), sum(g.sampled for g in rest)
    return [*first, Group(OTHERS, None, keys, summed, memory, error, sampled, dict(types.most_common()))]
