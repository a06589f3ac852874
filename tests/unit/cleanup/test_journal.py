"""The state of a run is what its events say, in any order, whatever a crash left of the last one."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaiaops.cleanup.archive import Run
from gaiaops.cleanup.journal import Section, Segment, State, fold

Event = dict[str, Any]
NUMBERS = range(1, 5)
NAMES = ("committed", "rolled back", "cached", "restored", "of a later version")


def segment(number: int, rows: int = 3) -> Segment:
    sections = (
        Section("delete", "public.notes", ("id",), ("uuid",), rows, 10, 20),
        Section("update", "public.notes", ("id", "by"), ("uuid", "uuid"), 2, 40, 20, keys=1, sets=1),
        Section("delete", "public.users", ("id",), ("uuid",), number, 70, 20),
    )
    return Segment(number, "ab" * 32, 100, "77", number, sections)


def synced(number: int) -> Event:
    return {"event": "synced", "of": json.loads(msgspec.json.encode(segment(number)))}


SYNCED = st.permutations([synced(number) for number in NUMBERS])
OTHERS = st.lists(st.builds(lambda e, n: {"event": e, "segment": n}, st.sampled_from(NAMES), st.sampled_from(NUMBERS)))


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Each segment is synced at most once; all else happens in any order, even before that."""
    events = [*draw(SYNCED)[: draw(st.integers(0, 4))], *draw(OTHERS)]
    return draw(st.permutations(events))


def fate(events: list[Event], number: int) -> str:
    """What became of a segment: what is said first after it was synced counts."""
    after = events[events.index(synced(number)) + 1 :] if synced(number) in events else None
    if after is None:
        return "unknown"
    said = [e["event"] for e in after if e.get("segment") == number and e["event"] in ("committed", "rolled back")]
    return said[0] if said else "doubtful"


@given(histories())
def test_the_fold(events: list[Event]) -> None:
    state = fold(events)
    fates = {number: fate(events, number) for number in NUMBERS}
    assert set(state.committed) == {n for n, word in fates.items() if word == "committed"}
    assert set(state.doubtful) == {n for n, word in fates.items() if word == "doubtful"}
    assert state.last == max((n for n, word in fates.items() if word != "unknown"), default=0)
    for name in ("cached", "restored"):
        assert getattr(state, name) == {e["segment"] for e in events if e["event"] == name}
    assert set(state.uncached) == set(state.committed) - state.cached
    assert all(state.committed[n] == segment(n) for n in state.committed)
    assert state.users == sum(state.committed)
    assert (state.rows, state.set) == (sum(n + 3 for n in state.committed), 2 * len(state.committed))


@given(histories())
def test_the_events_of_one_run_are_not_those_of_another(events: list[Event]) -> None:
    fold(events)
    assert fold([]) == State()
    assert fold([*events]) == fold(events)


@settings(deadline=None, max_examples=60)
@given(histories(), st.data())
def test_a_last_line_that_was_cut_is_left_out(events: list[Event], data: st.DataObject) -> None:
    lines = [json.dumps(event).encode() + b"\n" for event in events]
    whole = b"".join(lines)
    end = data.draw(st.integers(0, len(whole)), label="bytes that reached the disk")
    certain = sum(1 for i in range(len(lines)) if len(b"".join(lines[: i + 1])) - 1 <= end)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        (run.folder / "journal.jsonl").write_bytes(whole[:end])
        assert run.state() == fold(events[:certain])
        run.note("restored", segment=99)
        assert run.state() == fold([*events[:certain], {"event": "restored", "segment": 99}])


COMMITTED = [synced(1), {"event": "committed", "segment": 1}]
CACHED, ENDED = {"event": "cached", "segment": 1}, {"event": "ended", "at": "now", "left": 0}


@pytest.mark.parametrize(
    ("events", "word"),
    [
        ([], "unfinished"),
        ([{"event": "started"}], "unfinished"),
        ([ENDED], "done"),
        ([*COMMITTED, {**ENDED, "left": 1}], "unfinished"),  # its Redis entries are outstanding
        ([*COMMITTED, CACHED], "unfinished"),
        ([*COMMITTED, CACHED, ENDED], "done"),
        ([*COMMITTED, CACHED, {**ENDED, "left": 1}], "unfinished"),
        ([*COMMITTED, CACHED, ENDED, {"event": "started"}], "unfinished"),
        ([*COMMITTED, CACHED, ENDED, {"event": "restored", "segment": 1}], "restored"),
        ([*COMMITTED, synced(2), {"event": "committed", "segment": 2}, {"event": "restored", "segment": 1}],
         "partly restored"),
        ([*COMMITTED, {"event": "restored user", "address": "a@x"}], "partly restored"),
    ],
)  # fmt: skip
def test_the_state_in_a_word(events: list[Event], word: str) -> None:
    assert fold(events).word == word


def test_the_end_is_kept_until_it_is_started_again() -> None:
    assert fold([ENDED]).ended == "now"
    assert fold([ENDED, {"event": "started"}]).ended == ""


def test_people_are_kept_by_address_and_id() -> None:
    state = fold([
        {"event": "skipped", "address": "a@x", "why": "locked"},
        {"event": "skipped", "address": "a@x", "why": "gone"},
        {"event": "auth", "id": "7", "outcome": "deleted"},
        {"event": "restored user", "address": "b@x"},
    ])  # fmt: skip
    assert state.skipped == {"a@x": "gone"}
    assert state.auth == {"7": "deleted"}
    assert state.restored_users == {"b@x"}


def test_rows_by_table() -> None:
    state = fold([*COMMITTED, synced(2), {"event": "committed", "segment": 2}, synced(3)])
    assert state.by_table() == {"public.notes": (6, 4), "public.users": (3, 0)}
