"""What is known of replicas, and which of them is read: the first in the registry's order that is good enough. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gaiaops.registry.durations import show_duration

DOWN = "does not answer: "  # how the problem of one begins that could not be asked


class Primary(msgspec.Struct, frozen=True):
    """What a replica must be a copy of: system identifier ("" where it may not be seen), database, bytes of WAL."""

    system: str
    database: str
    written: int | None


class State(msgspec.Struct, frozen=True):
    """A replica as it was found. `lag` is in seconds, None where it cannot be told; `problem` says why it cannot be
    read at all, `wrong` that this is not for time to heal: the registry names what is not a replica of its primary."""

    number: int
    address: str
    lag: float | None = None
    problem: str = ""
    wrong: bool = False

    @property
    def name(self) -> str:
        return f"replica {self.number}" + (f" ({self.address})" if self.address else "")

    def against(self, max_lag: int | None) -> str:
        """Why it is not read, "" where it may be; None: however far it is behind."""
        if self.problem or max_lag is None:
            return self.problem
        allowed = f"max_lag is {show_duration(max_lag)}"
        if self.lag is None:
            return f"is behind, and cannot tell how far ({allowed})"
        return f"is {behind(self.lag)} ({allowed})" if self.lag * 1000 > max_lag else ""


def behind(lag: float) -> str:
    """A lag in words.

    >>> behind(0.0), behind(0.04), behind(42.4), behind(7300.0)
    ('up to date', '40 ms behind', '42 s behind', '2 h behind')
    """
    for seconds, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if lag >= (2 * seconds if seconds > 1 else 1):
            return f"{lag / seconds:.0f} {unit} behind"
    return f"{lag * 1000:.0f} ms behind" if lag >= 0.0005 else "up to date"


class Choice(msgspec.Struct, frozen=True):
    """What is read: a replica, or the primary where `taken` is None; and those before it that were passed over."""

    taken: State | None
    passed: tuple[State, ...] = ()
    max_lag: int | None = None

    @property
    def name(self) -> str:
        """`primary`, or `replica 1`."""
        return f"replica {self.taken.number}" if self.taken else "primary"

    @property
    def wrong(self) -> bool:
        """Whether somebody should look at the registry."""
        return any(state.wrong for state in self.passed)

    def text(self) -> str:
        """In a line."""
        why = "; ".join(f"{state.name} {state.against(self.max_lag)}" for state in self.passed)
        if self.taken is None:
            return f"read from the primary: {why}" if why else "reading from the primary"
        lag = f", {behind(self.taken.lag)}" if self.taken.lag is not None else ""
        return f"reading from {self.taken.name}{lag}" + (f"; {why}" if why else "")


def pick(states: Mapping[int, State], replicas: int, max_lag: int | None) -> Choice | None:
    """The choice among replicas 1 to `replicas`; None while one that would come first has not been heard. Pure.

    >>> late = State(1, "a", 60.0)
    >>> pick({2: State(2, "b", 0.0)}, 2, 10_000)
    >>> pick({1: late, 2: State(2, "b", 0.0)}, 2, 10_000).text()
    'reading from replica 2 (b), up to date; replica 1 (a) is 60 s behind (max_lag is 10s)'
    >>> pick({1: late}, 1, 10_000).text()
    'read from the primary: replica 1 (a) is 60 s behind (max_lag is 10s)'
    """
    passed: list[State] = []
    for number in range(1, replicas + 1):
        if number not in states:
            return None
        if not states[number].against(max_lag):
            return Choice(states[number], tuple(passed), max_lag)
        passed.append(states[number])
    return Choice(None, tuple(passed), max_lag)
