"""Who waits for whom, as a forest. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from gaiaops.inspect.activity.values import Held, Wait

Key = int | str  # a session's pid, or the gid of a prepared transaction ("" where it is not known which)

# Lock modes from the weakest to the strongest, and for each those it conflicts with (manual 13.3.1, table 13.2).
_MODES = (
    "AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock",
    "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock",
)  # fmt: skip
_CONFLICTS = ((7,), (6, 7), (4, 5, 6, 7), (3, 4, 5, 6, 7), (2, 3, 5, 6, 7), (2, 3, 4, 5, 6, 7), range(1, 8), range(8))


class Node(msgspec.Struct, frozen=True):
    """Somebody who blocks, or waits, or both.

    `wait` is None for who waits for nobody, `blocks` who waits for this one. `again` marks one that is expanded
    elsewhere, `circle` one that waits for itself in the end. `behind` is how many wait in all, over others too, and
    `frees` how many wait for this one alone.
    """

    key: Key
    wait: Wait | None
    blocks: tuple[Node, ...]
    again: bool
    circle: bool
    behind: int
    frees: int


def conflicts(wanted: str, held: str) -> bool:
    """Whether one lock mode keeps another out; an unknown one does.

    >>> conflicts("AccessShareLock", "AccessExclusiveLock"), conflicts("RowExclusiveLock", "RowExclusiveLock")
    (True, False)
    """
    if wanted not in _MODES or held not in _MODES:
        return not held.startswith("SIRead")  # a predicate lock blocks nobody
    return _MODES.index(held) in _CONFLICTS[_MODES.index(wanted)]


def blockers(wait: Wait) -> tuple[Key, ...]:
    """Who blocks a session, each once; a 0 of pg_blocking_pids becomes the prepared transactions that do."""
    found: dict[Key, None] = {}
    for pid in wait.blockers:
        if pid:
            found[pid] = None
        else:
            found.update(dict.fromkeys(_prepared(wait.mode, wait.prepared) or [""]))
    found.pop(wait.pid, None)
    return tuple(found)


def _prepared(mode: str, candidates: Iterable[Held]) -> list[str]:
    return [held.gid for held in candidates if conflicts(mode, held.mode)]


def members(waits: Iterable[Wait]) -> set[Key]:
    """Everybody who takes part: who waits and who is waited for."""
    return {key for wait in waits if (ahead := blockers(wait)) for key in (wait.pid, *ahead)}


def forest(waits: Sequence[Wait]) -> tuple[Node, ...]:
    """The roots, each with everybody behind it, most first.

    Each one is expanded once, as near to a root as it stands; where somebody waits for several, the others have it
    marked `again`. A circle, which the server has not yet broken, begins with the one that has waited longest.
    """
    graph = _Graph(waits)
    shown: dict[Key, list[tuple[Key, bool]]] = {}  # who → (who waits for it, whether that is expanded elsewhere)
    order: list[Key] = []
    seen: set[Key] = set()
    roots: list[Key] = []
    for starts in _starts(graph):
        fresh = [key for key in starts if key not in seen]
        roots += fresh
        queue = deque(fresh)
        seen.update(fresh)
        while queue:
            key = queue.popleft()
            order.append(key)
            shown[key] = [(one, one in seen) for one in graph.behind[key]]
            nearer = [one for one, again in shown[key] if not again]
            seen.update(nearer)
            queue.extend(nearer)
    return _nodes(graph, shown, order, roots)


def _starts(graph: _Graph) -> Iterator[list[Key]]:
    """First the roots, all at once; then whoever they did not lead to: circles."""
    yield graph.roots()
    for pid in graph.longest_waiting():
        yield [pid]


def _nodes(
    graph: _Graph, shown: dict[Key, list[tuple[Key, bool]]], order: list[Key], roots: list[Key]
) -> tuple[Node, ...]:
    made: dict[Key, Node] = {}
    marked = {key: graph.node(key, (), again=True) for key in order}
    for key in reversed(order):  # those behind come later in the order, so they are made first
        below = [marked[one] if again else made[one] for one, again in shown[key]]
        made[key] = graph.node(key, tuple(below), again=False)
    return tuple(made[root] for root in sorted(roots, key=lambda key: (-graph.count(key), str(key))))


class _Graph:
    """Who waits for whom. The sets of those behind are integers with a bit each: in a queue of a thousand everybody
    waits for everybody ahead, half a million pairs."""

    def __init__(self, waits: Sequence[Wait]) -> None:
        self.waits = {wait.pid: wait for wait in waits if blockers(wait)}
        ahead = {wait.pid: blockers(wait) for wait in self.waits.values()}
        self.behind: dict[Key, list[Key]] = {key: [] for key in self._keys(ahead)}
        self._alone: dict[Key, int] = dict.fromkeys(self.behind, 0)
        for pid in sorted(ahead, key=self._longest):
            for key in ahead[pid]:
                self.behind[key].append(pid)
            if len(ahead[pid]) == 1:
                self._alone[ahead[pid][0]] += 1
        self._bit = {key: 1 << i for i, key in enumerate(self.behind)}
        self._keys_by_bit = list(self.behind)
        self._direct = {key: sum(self._bit[one] for one in ones) for key, ones in self.behind.items()}
        self._reached: dict[Key, int] = {}
        for key in reversed(self._keys_by_bit):  # the last of a queue first: what it reaches serves those ahead
            self._reached[key] = self._reach(key)

    @staticmethod
    def _keys(ahead: dict[int, tuple[Key, ...]]) -> Iterator[Key]:
        for pid, keys in ahead.items():
            yield pid
            yield from keys

    def _longest(self, pid: int) -> tuple[float, int]:
        return -(self.waits[pid].waiting_s or 0.0), pid

    def _reach(self, key: Key) -> int:
        reached, edge = 0, self._direct[key]
        while edge:
            low = edge & -edge
            one = self._keys_by_bit[low.bit_length() - 1]
            reached |= low
            known = self._reached.get(one)
            if known is None:
                edge |= self._direct[one]
            else:
                reached |= known
            edge &= ~reached
        return reached

    def count(self, key: Key) -> int:
        """How many wait behind somebody, itself not counted."""
        return (self._reached[key] & ~self._bit[key]).bit_count()

    def roots(self) -> list[Key]:
        """Those who wait for nobody; who has most behind it comes first."""
        free = [key for key in self.behind if key not in self.waits]
        return sorted(free, key=lambda key: (-self.count(key), str(key)))

    def longest_waiting(self) -> list[int]:
        """All who wait; in a circle first, then for the longest time."""
        return sorted(self.waits, key=lambda pid: (not self._reached[pid] & self._bit[pid], self._longest(pid)))

    def node(self, key: Key, blocks: tuple[Node, ...], *, again: bool) -> Node:
        return Node(
            key=key,
            wait=self.waits.get(key) if isinstance(key, int) else None,
            blocks=blocks,
            again=again,
            circle=bool(self._reached[key] & self._bit[key]),
            behind=self.count(key),
            frees=self._alone[key],
        )
