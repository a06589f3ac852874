"""The forest of who waits for whom: complete, each one expanded once, no circle followed twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaiaops.inspect.activity.tree import Node, blockers, conflicts, forest, members
from gaiaops.inspect.activity.values import Held, Wait

MODES = (
    "AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock",
    "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock",
)  # fmt: skip


def waits(ahead: Mapping[int, Sequence[int]]) -> list[Wait]:
    """Who waits for whom, those with the smaller pid for longer."""
    return [Wait(pid, tuple(ones), "ShareLock", "relation", waiting_s=1000.0 - pid) for pid, ones in ahead.items()]


def every(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from every(node.blocks)


def shape(nodes: Sequence[Node]) -> list[object]:
    """Nested pids, those that are expanded elsewhere as negative ones."""
    return [[-int(n.key)] if n.again else [n.key, *shape(n.blocks)] for n in nodes]


def test_nobody_waits() -> None:
    assert forest([]) == ()
    assert forest(waits({5: []})) == ()  # it got its lock while we looked


def test_a_chain() -> None:
    nodes = forest(waits({2: [1], 3: [2]}))
    assert shape(nodes) == [[1, [2, [3]]]]
    assert [(n.key, n.behind, n.frees) for n in every(nodes)] == [(1, 2, 1), (2, 1, 1), (3, 0, 0)]
    assert nodes[0].wait is None
    assert nodes[0].blocks[0].wait is not None


def test_a_queue_stands_side_by_side() -> None:
    """pg_blocking_pids names those ahead in the queue too: all wait for the root, each for the ones before."""
    nodes = forest(waits({2: [1], 3: [1, 2], 4: [1, 2, 3]}))
    assert shape(nodes) == [[1, [2, [-3], [-4]], [3, [-4]], [4]]]
    assert [(n.key, n.frees) for n in every(nodes) if not n.again] == [(1, 1), (2, 0), (3, 0), (4, 0)]


def test_two_roots_of_one() -> None:
    nodes = forest(waits({3: [1, 2], 4: [3]}))
    assert shape(nodes) == [[1, [3, [4]]], [2, [-3]]]
    assert [n.behind for n in nodes] == [2, 2]


def test_most_behind_comes_first() -> None:
    assert [n.key for n in forest(waits({11: [1], 12: [2], 13: [2], 14: [12]}))] == [2, 1]


def test_a_circle_and_who_waits_for_it() -> None:
    nodes = forest(waits({1: [2], 2: [3], 3: [1], 4: [2]}))
    assert shape(nodes) == [[1, [3, [2, [-1], [4]]]]]
    assert {int(n.key): n.circle for n in every(nodes)} == {1: True, 2: True, 3: True, 4: False}
    assert nodes[0].behind == 3


def test_a_circle_of_itself_is_none() -> None:
    assert forest(waits({1: [1]})) == ()
    assert shape(forest(waits({1: [1, 2]}))) == [[2, [1]]]


def test_prepared_transactions() -> None:
    held = (Held("a", "AccessShareLock"), Held("b", "ShareLock"))
    wait = Wait(1, (0, 0, 7), "RowExclusiveLock", "relation", prepared=held)
    assert blockers(wait) == ("b", 7)  # AccessShareLock keeps nobody from RowExclusiveLock
    assert blockers(Wait(1, (0,), "RowExclusiveLock", "relation")) == ("",)
    assert members([wait]) == {1, 7, "b"}
    assert [n.key for n in forest([wait])] == [7, "b"]


@pytest.mark.parametrize("mode", MODES)
def test_conflicts_are_the_manual_s(mode: str) -> None:
    """Table 13.2, a line a mode: X where they conflict."""
    table = """
    . . . . . . . X
    . . . . . . X X
    . . . . X X X X
    . . . X X X X X
    . . X X . X X X
    . . X X X X X X
    . X X X X X X X
    X X X X X X X X
    """
    line = table.split("\n")[MODES.index(mode) + 1].split()
    assert [conflicts(mode, held) for held in MODES] == [cell == "X" for cell in line]
    assert [conflicts(held, mode) for held in MODES] == [cell == "X" for cell in line]


@given(st.dictionaries(st.integers(1, 12), st.lists(st.integers(1, 12), max_size=5), max_size=12))
def test_everybody_is_expanded_once_and_every_wait_is_shown(ahead: dict[int, list[int]]) -> None:
    nodes = list(every(forest(waits(ahead))))
    expanded = [n.key for n in nodes if not n.again]
    pairs = {(one, pid) for pid, ones in ahead.items() for one in ones if one != pid}
    assert sorted(map(int, expanded)) == sorted({pid for pair in pairs for pid in pair})
    assert {(n.key, below.key) for n in nodes for below in n.blocks} == pairs


def test_a_thousand_in_a_queue() -> None:
    nodes = forest(waits({pid: range(1, pid) for pid in range(2, 1001)}))
    assert (len(nodes), nodes[0].behind, len(nodes[0].blocks)) == (1, 999, 999)
