"""The sum of shards: sorted streams become one in which every profile stands once, and look-ups name the shards."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaiaops.audit.homes import Homes
from gaiaops.audit.judge import Profile
from gaiaops.audit.shards import Shards
from gaiaops.audit.stale import everywhere
from gaiaops.auth.interface import ascii_lower, fields_of, key_of
from gaiaops.errors import GaiaopsError, LostServerError

NAMES = ("eu", "us", "asia")
HOMES = Homes({}, ("production",))
ADDRESSES = ["", "", "a@x", "A@x", "a@x\t", "b@x", "é@x", "É@x", "\N{KELVIN SIGN}@x"]
ROW = st.tuples(st.integers(0, 6), st.sampled_from(ADDRESSES), st.booleans())
World = dict[str, list[tuple[str, str, bool]]]


class FakeShard:
    """A shard in memory, whose stream comes in blocks of `size` lines and may break after some of them."""

    def __init__(self, name: str, rows: list[tuple[str, str, bool]], size: int = 2, breaks: int | None = None) -> None:
        self.env = SimpleNamespace(name=f"production/{name}", shard=name)
        self.rows, self.size, self.breaks = rows, size, breaks

    def blocks(self, homes: Homes) -> Iterator[list[str]]:
        """As audit_profiles.sql orders them."""
        ordered = sorted(self.rows, key=lambda row: (ascii_lower(row[1]).encode(), row[0]))
        lines = [f"{own}\t{'y' if young else ''}\t{address}" for own, address, young in ordered]
        for i, at in enumerate(range(0, len(lines), self.size)):
            if i == self.breaks:
                raise LostServerError("gone")
            yield lines[at : at + self.size]

    def find(self, ids: Collection[str], addresses: Collection[str]) -> list[Profile]:
        return [Profile(*row) for row in self.rows if row[0] in ids or row[1] in addresses]

    def working_keys(self, ids: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        return {own: (own, self.env.shard) for own, _, _ in self.rows if own in ids}


def side(*shards: FakeShard) -> Shards:
    return Shards(SimpleNamespace(name="production"), shards)  # type: ignore[arg-type]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """An id has one row in a shard."""
    return {
        name: [(str(own), address, young) for own, address, young in draw(st.lists(ROW, unique_by=lambda row: row[0]))]
        for name in NAMES
    }


@given(worlds(), st.integers(1, 4))
def test_every_profile_once_and_in_order(world: World, size: int) -> None:
    blocks = list(side(*(FakeShard(name, rows, size) for name, rows in world.items())).blocks(HOMES))
    lines = [line for block in blocks for line in block]
    assert all(blocks)
    assert lines == sorted(lines, key=key_of)
    rows = [row for some in world.values() for row in some]
    expected = {row[:2]: any(young for *same, young in rows if tuple(same) == row[:2]) for row in rows}
    given_back = {(own, address): flags == "y" for own, flags, address in map(fields_of, lines)}
    assert given_back == expected
    assert len(lines) == len(expected)


@given(worlds(), st.sampled_from(NAMES), st.integers(0, 2))
def test_a_shard_that_breaks_ends_the_stream(world: World, broken: str, after: int) -> None:
    world[broken] = [(str(i), "z@x", False) for i in range(2 * after + 1)]
    shards = [FakeShard(name, rows, breaks=after if name == broken else None) for name, rows in world.items()]
    with pytest.raises(GaiaopsError) as failed:
        list(side(*shards).blocks(HOMES))
    assert failed.value.environment == f"production/{broken}"


@settings(max_examples=30)  # each starts threads
@given(worlds(), st.sets(st.integers(0, 6).map(str)), st.sets(st.sampled_from(ADDRESSES[2:])))
def test_who_is_found_is_found_once_with_the_shards(world: World, ids: set[str], addresses: set[str]) -> None:
    found = side(*(FakeShard(name, rows) for name, rows in world.items())).find(ids, addresses)
    assert len({(one.id, one.address) for one in found}) == len(found)
    there: dict[tuple[str, str], list[tuple[str, bool]]] = {}
    for name, rows in world.items():
        for own, address, young in rows:
            if own in ids or address in addresses:
                there.setdefault((own, address), []).append((name, young))
    assert {(one.id, one.address): (one.shards, one.young) for one in found} == {
        who: (tuple(name for name, _ in places), any(young for _, young in places)) for who, places in there.items()
    }


def test_keys_are_those_of_all_shards() -> None:
    both = side(FakeShard("eu", [("1", "a@x", False)]), FakeShard("us", [("1", "a@x", False), ("2", "b@x", False)]))
    assert both.working_keys(["1"]) == {"1": ("1", "eu", "us")}


def test_work_is_done_on_every_shard_and_errors_name_theirs() -> None:
    one = side(*(FakeShard(name, []) for name in NAMES))
    assert one.each(lambda shard: shard.env.shard) == list(NAMES)

    def fail(shard: Any) -> None:
        if shard.env.shard == "us":
            raise LostServerError("gone")

    with pytest.raises(LostServerError, match="gone") as failed:
        one.each(fail)
    assert failed.value.environment == "production/us"


def test_an_entry_is_stale_where_every_database_says_so() -> None:
    gone, inactive = {"a": "no such key", "b": "no such key"}, {"a": "the key is inactive", "c": "no such key"}
    assert everywhere([gone]) == gone
    assert everywhere([gone, inactive]) == everywhere([inactive, gone]) == {"a": "the key is inactive"}
    assert everywhere([gone, inactive, {}]) == {}
