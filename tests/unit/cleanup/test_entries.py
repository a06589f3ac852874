"""The Redis keys of archived rows are those that a line by line reading gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaiaops.cache.templates import Template, parse
from gaiaops.cleanup.entries import keys_of
from gaiaops.postgres import copytext

COLUMNS = ("id", "hash", "name")
TEXTS = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=6)
ASCII = st.text("0123456789abcdef-", min_size=1, max_size=8)
VALUES = st.one_of(st.none(), st.just(""), st.just("\\N"), st.just("\u00e9\u4e00\U0001f600"), ASCII, TEXTS)
TEMPLATES = st.lists(
    st.builds(
        Template,
        st.sampled_from(["", "k:", "\u00e9:"]),
        st.just("t"),
        st.sampled_from([*COLUMNS, "elsewhere"]),
        st.one_of(st.none(), st.integers(1, 5)),
        st.sampled_from(["", ":z"]),
    ),
    max_size=4,
    unique=True,
)


def line(number: int, row: Sequence[str | None]) -> bytes:
    return b"\t".join([b"%d" % number, *map(copytext.encode, row)]) + b"\n"


def model(templates: Sequence[Template], rows: Sequence[Sequence[str | None]]) -> Counter[bytes]:
    """The keys, by reading each row."""
    found: Counter[bytes] = Counter()
    for row in rows:
        for template in templates:
            value = dict(zip(COLUMNS, row, strict=True)).get(template.column)
            if value:
                found[(template.before + value[: template.length] + template.after).encode()] += 1
    return found


def chunks(lines: Sequence[bytes], sizes: Sequence[int]) -> Iterator[bytes]:
    """The lines in chunks of so many."""
    at = 0
    for size in sizes:
        yield b"".join(lines[at : at + size])
        at += size
    yield b"".join(lines[at:])


def check(templates: list[Template], rows: list[tuple[str | None, ...]], sizes: list[int]) -> None:
    lines = [line(number, row) for number, row in enumerate(rows, 1)]
    assert Counter(keys_of(templates, COLUMNS, chunks(lines, sizes))) == model(templates, rows)


@given(TEMPLATES, st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=8), st.lists(st.integers(1, 4), max_size=4))
def test_the_keys_of_any_rows(templates: list[Template], rows: list[tuple[str | None, ...]], sizes: list[int]) -> None:
    check(templates, rows, sizes)


@given(TEMPLATES, st.lists(st.tuples(ASCII, ASCII, ASCII), max_size=8), st.lists(st.integers(1, 4), max_size=4))
def test_the_keys_of_ids_and_hashes(templates: list[Template], rows: list[tuple[str, ...]], sizes: list[int]) -> None:
    check(templates, list(rows), sizes)


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("user:session:{users.id}", Template("user:session:", "users", "id", None, "")),
        ("gaia:{api_keys.key_hash:32}:x", Template("gaia:", "api_keys", "key_hash", 32, ":x")),
        ("{t.c}", Template("", "t", "c", None, "")),
    ],
)
def test_a_template_of_the_registry(text: str, template: Template) -> None:
    assert parse(text) == template


def test_null_and_empty_make_no_key() -> None:
    rows = b"1\t\\N\t\t\\\\N\n"
    assert list(keys_of([parse("k:{t.id}"), parse("k:{t.hash}")], COLUMNS, [rows])) == []
    assert list(keys_of([parse("k:{t.name}")], COLUMNS, [rows])) == [b"k:\\N"]


def test_a_length_counts_characters_and_not_bytes() -> None:
    assert list(keys_of([parse("k:{t.id:2}")], ("id",), ["1\t\u00e9\u4e00x\n".encode()])) == ["k:\u00e9\u4e00".encode()]


def test_a_column_that_was_not_archived_makes_no_key() -> None:
    assert list(keys_of([parse("k:{t.gone}")], COLUMNS, [b"1\ta\tb\tc\n"])) == []
