"""Sorted streams of lines cut into ranges, against a model: any number, any blocks, any text, streams that break."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gaiaops.audit.merge import group, ranges
from gaiaops.auth.interface import ascii_lower, key_of
from gaiaops.errors import StatementError

LETTERS = "aAbB\t\n\r\x01\x1f\\'\"@+éİıſ\u0301ß\u212a\ue000\uffff\U00010000\U0001f600"
ADDRESSES = st.text(LETTERS, max_size=3)
LINES = st.builds(lambda own, flags, address: f"{own}\t{flags}\t{address}", st.sampled_from("0123"),
                  st.sampled_from(["", "b", "h"]), ADDRESSES)  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> dict[str, list[list[str]]]:
    """Up to five streams: sorted lines, cut into blocks of any sizes (also empty ones)."""
    made = {}
    for name in draw(st.sets(st.sampled_from(["", "a", "b", "c", "d"]), max_size=5)):
        lines = sorted(draw(st.lists(LINES, max_size=14)), key=key_of)
        cuts = sorted(draw(st.lists(st.integers(0, len(lines)), max_size=6)))
        made[name] = [lines[start:end] for start, end in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
    return made


def never(name: str, error: Exception) -> None:
    raise AssertionError("nothing failed")


@settings(deadline=None)
@given(streams())
@example({"": [["0\t\ta"], ["1\t\tA"], ["2\t\ta"]], "a": [["0\t\ta", "1\t\tb"]], "b": [[]]})
def test_each_line_once_and_each_key_in_one_range(made: dict[str, list[list[str]]]) -> None:
    given_out: dict[str, list[str]] = {name: [] for name in made}
    ranges_of: dict[str, set[int]] = {}
    for number, parts in enumerate(ranges({name: iter(blocks) for name, blocks in made.items()}, never)):
        for name, lines in parts.items():
            given_out[name] += lines
            for line in lines:
                if key_of(line):  # nobody is found by an empty address
                    ranges_of.setdefault(key_of(line), set()).add(number)
    assert given_out == {name: [line for block in blocks for line in block] for name, blocks in made.items()}
    assert all(len(numbers) == 1 for numbers in ranges_of.values())


@settings(deadline=None)
@given(streams(), st.data())
def test_a_stream_that_breaks_harms_no_other(made: dict[str, list[list[str]]], data: st.DataObject) -> None:
    broken = {
        name: data.draw(st.integers(0, len(blocks)), label=f"{name} ends after")
        for name, blocks in made.items()
        if data.draw(st.booleans())
    }

    def blocks_of(name: str) -> Iterator[list[str]]:
        yield from made[name][: broken.get(name)]
        if name in broken:
            raise StatementError(f"{name} broke")

    told: list[str] = []
    out: dict[str, list[str]] = {name: [] for name in made}
    for parts in ranges({name: blocks_of(name) for name in made}, lambda name, error: told.append(name)):
        for name, lines in parts.items():
            out[name] += lines
    assert sorted(told) == sorted(broken)
    for name, blocks in made.items():
        whole = [line for block in blocks for line in block]
        assert out[name] == (whole[: len(out[name])] if name in broken else whole)


def test_the_order_of_keys_is_that_of_utf_8() -> None:
    texts = ["", "\x01", "A", "a", "é", "\ue000", "\uffff", "\U00010000"]
    keys = [key_of(f"0\t\t{text}") for text in texts]
    assert keys == sorted(keys, key=lambda key: key.encode())


@given(st.text())
def test_only_ascii_letters_are_folded(text: str) -> None:
    folded = "".join(char.lower() if "A" <= char <= "Z" else char for char in text)
    assert ascii_lower(text) == folded


@given(st.lists(LINES, max_size=20), ADDRESSES)
def test_group_gives_the_lines_of_a_key(lines: list[str], address: str) -> None:
    ordered, key = sorted(lines, key=key_of), ascii_lower(address)
    assert group(ordered, key) == [line for line in ordered if key_of(line) == key]


def test_people_without_an_address_do_not_pile_up() -> None:
    """A hundred thousand anonymous users share one key: they are handed on as they come."""
    blocks = ([f"{block}-{i}\ta\t" for i in range(1000)] for block in range(100))
    most = max(len(parts[""]) for parts in ranges({"": blocks, "dev": iter([["1\t\tz@x"]])}, never))
    assert most <= 2000
