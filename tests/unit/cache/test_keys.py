"""Keys and their texts; families by one regular expression as by the rule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gaiaops.cache.keys import OTHER, Families, family_of, fixed_part, key_bytes, key_text, prefix_of

# Pieces that make trouble: spellings, half spellings, controls, bytes that are no UTF-8, marks that reorder a line.
PIECES = st.sampled_from(
    [
        b"a",
        b"\\",
        b"x",
        b"\\xff",
        b"\\x5c",
        b"\xff",
        b"\xc3",
        b"\xc3\xa9",
        b"\n",
        b"\x1b[31m",
        b"f",
        b"5c",
        b"\xe2\x80\xae",
    ]
)
KEYS = st.lists(PIECES, max_size=8).map(b"".join) | st.binary(max_size=20)
PATTERNS = st.lists(
    st.tuples(st.text("abc", min_size=1, max_size=3), st.sampled_from(["a*", "ab*", "*", "ab", "a:b*", "a.c*", "(*"])),
    max_size=5,
)


@given(KEYS)
def test_a_key_comes_back_from_its_text(key: bytes) -> None:
    text = key_text(key)
    assert key_bytes(text) == key
    assert text.isprintable()


@given(KEYS, KEYS)
def test_two_keys_never_have_the_same_text(one: bytes, other: bytes) -> None:
    assert (key_text(one) == key_text(other)) == (one == other)


@given(st.text(max_size=12).filter(lambda text: "\\" not in text))
def test_what_people_type_is_taken_as_it_is(text: str) -> None:
    assert key_bytes(text) == text.encode("utf-8", "surrogateescape")


@given(PATTERNS, st.lists(st.text("abc:.(x", max_size=5), max_size=8))
def test_families_agree_with_the_rule(families: list[tuple[str, str]], texts: list[str]) -> None:
    keys = [text.encode() for text in texts]
    found = [families[n][0] if n >= 0 else OTHER for n in Families(families).numbers(keys)]
    assert found == [family_of(key, families) for key in keys]


def test_a_line_feed_at_the_end_is_part_of_a_key() -> None:
    assert Families([("exact", "list")]).numbers([b"list\n", b"list"]) == [-1, 0]


def test_the_glob_of_a_family_takes_its_fixed_part_literally() -> None:
    assert fixed_part("user:?[a]^-*") == rb"user:\?\[a\]\^\-*"


def test_prefixes() -> None:
    assert prefix_of(b"\xff\xfe:1") == b"\xff\xfe:"
    assert prefix_of(b":1") == b""
    assert prefix_of(b"x" * 100 + b":") == b""  # a prefix is a word, not a document
