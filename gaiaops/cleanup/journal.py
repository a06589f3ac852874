"""What a run's journal says: events in the order in which they were made certain, folded into a state. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec


class Section(msgspec.Struct, frozen=True):
    """A part of a segment: the rows that one statement took out of one table, or set columns of.

    `table` is the qualified and quoted name, `name` the one people use. Of an update the first `keys` columns are the
    key, the others what was set, whose old values come first in a line and whose new ones after them. Sections of one
    `group` go back together. `offset` and `size` are bytes in the segment's file.
    """

    kind: str
    table: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: int
    offset: int
    size: int
    keys: int = 0
    sets: int = 0
    group: int = 0
    reason: str = ""
    name: str = ""


class Segment(msgspec.Struct, frozen=True):
    """One batch: its file's hash and size, the transaction that took the rows out, the numbers of users it purged."""

    number: int
    sha256: str
    size: int
    xid: str
    users: int
    sections: tuple[Section, ...]

    @property
    def rows(self) -> int:
        """Rows that were deleted."""
        return sum(section.rows for section in self.sections if section.kind == "delete")

    @property
    def set(self) -> int:
        """Rows of which columns were set."""
        return sum(section.rows for section in self.sections if section.kind == "update")


class State(msgspec.Struct):
    """Where a run is. `doubtful` are segments of which it is not known whether they were committed.

    `cache`: the environment has Redis entries to remove; `restoring`: a restore was begun; `broken`: how the journal
    contradicts itself.
    """

    committed: dict[int, Segment] = {}
    doubtful: dict[int, Segment] = {}
    last: int = 0
    cached: set[int] = set()
    restored: set[int] = set()
    restored_users: set[str] = set()
    skipped: dict[str, str] = {}
    auth: dict[str, str] = {}
    finished: bool = False
    ended: str = ""
    cache: bool = True
    restoring: bool = False
    broken: str = ""

    @property
    def users(self) -> int:
        return sum(segment.users for segment in self.committed.values())

    @property
    def rows(self) -> int:
        return sum(segment.rows for segment in self.committed.values())

    @property
    def set(self) -> int:
        return sum(segment.set for segment in self.committed.values())

    @property
    def uncached(self) -> list[int]:
        """Committed segments whose users' Redis entries may still be there."""
        return [number for number in self.committed if self.cache and number not in self.cached]

    def to_clean(self) -> dict[int, Segment]:
        """As `uncached`, with the segments."""
        return {number: self.committed[number] for number in self.uncached}

    @property
    def word(self) -> str:
        """The state in a word: unfinished, done, restored or partly restored."""
        if self.committed and self.restored >= set(self.committed):
            return "restored"
        if self.restored or self.restored_users:
            return "partly restored"
        return "done" if self.finished and not self.uncached else "unfinished"

    def by_table(self) -> dict[str, tuple[int, int]]:
        """Table → (rows deleted, rows of which columns were set)."""
        found: dict[str, tuple[int, int]] = {}
        for segment in self.committed.values():
            for section in segment.sections:
                deleted, changed = found.get(section.table, (0, 0))
                if section.kind == "delete":
                    deleted += section.rows
                else:
                    changed += section.rows
                found[section.table] = (deleted, changed)
        return found


_SEGMENTS = ("synced", "committed", "rolled back", "cached", "restored")
_RUNS = ("started", "ended", "skipped", "auth", "restoring", "restored user")


def fold(events: Iterable[dict[str, Any]]) -> State:
    """The state after these events. An unknown event is ignored: a later version wrote it."""
    state = State()
    for event in events:
        name, number = event.get("event"), int(event.get("segment", 0))
        if name in _SEGMENTS:
            _of_segment(state, str(name), number, event)
        elif name in _RUNS:
            _of_run(state, str(name), event)
    return state


def _of_segment(state: State, name: str, number: int, event: dict[str, Any]) -> None:
    if name == "synced":
        segment = msgspec.convert(event["of"], Segment)
        state.doubtful[segment.number] = segment
        state.last = max(state.last, segment.number)
    elif name == "rolled back":
        state.doubtful.pop(number, None)
    elif name == "cached":
        state.cached.add(number)
    elif name == "restored":
        state.restored.add(number)
    elif number in state.doubtful:
        state.committed[number] = state.doubtful.pop(number)
    elif number not in state.committed:
        state.broken = f"it lacks what segment {number} holds"


def _of_run(state: State, name: str, event: dict[str, Any]) -> None:
    if name == "started":
        state.finished, state.ended, state.cache = False, "", bool(event.get("cache", True))
        state.skipped = {}  # who is skipped this time is said anew
    elif name == "ended":
        state.finished, state.ended = not event.get("left"), str(event.get("at", ""))
        if event.get("segments", 0) > len(state.committed):
            state.broken = f"it had {event['segments']} segments and has {len(state.committed)}"
    elif name == "skipped":
        state.skipped[event["address"]] = event["why"]
    elif name == "auth":
        state.auth[event["id"]] = event["outcome"]
    elif name == "restored user":
        state.restored_users.add(event["address"])
    else:
        state.restoring = True
