"""How many users the next batch takes: as many as about half a second needs, by the rows that hang on them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

TARGET_S = 0.5
_FIRST, _LEAST, _GROWTH = 400.0, 20.0, 4.0


class Pace:
    """Learns rows per second from each batch. `average` is the rows of a user, the user's own included."""

    def __init__(self, average: float, heavy: Mapping[int, int]) -> None:
        self._average = max(1.0, average)
        self._heavy = heavy
        self._budget = _FIRST

    def weight(self, numbers: Sequence[int]) -> float:
        """Rows that are expected for these users."""
        if not self._heavy:
            return len(numbers) * self._average
        return sum(self._average + self._heavy.get(number, 0) for number in numbers)

    def take(self, waiting: Sequence[int]) -> int:
        """How many of the waiting users come next, in their order: one at least."""
        if not self._heavy:
            return max(1, min(len(waiting), int(self._budget / self._average)))
        total = 0.0
        for taken, number in enumerate(waiting):
            total += self._average + self._heavy.get(number, 0)
            if total > self._budget:
                return max(1, taken)
        return len(waiting)

    def took(self, weight: float, seconds: float) -> None:
        """A batch of this weight took so long."""
        wanted = weight * TARGET_S / max(seconds, 0.001)
        self._budget = max(_LEAST, min(wanted, self._budget * _GROWTH, weight * _GROWTH))

    def failed(self) -> None:
        """A batch met somebody's lock or ran out of time: smaller ones meet fewer."""
        self._budget = max(_LEAST, self._budget / 2)
