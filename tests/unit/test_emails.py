"""The address convention: exact, and the server's prefilter never loses what the rule would find."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaiaops.emails import Kind, classify, count_tags, prefilter

TAGS = ["local", "dev", "staging"]
ADDRESSES = st.lists(
    st.one_of(
        st.sampled_from(
            [*TAGS, "DEV", "Staging", "\u017ftaging", "dev2", "developer", "+", "@", '"', ".", "a", "É", "ß"]
        ),
        st.text(st.characters(min_codepoint=1, max_codepoint=0x24F, exclude_categories=["Cs"]), max_size=3),
    ),
    min_size=1,
    max_size=9,
).map("".join)


@pytest.mark.parametrize(
    ("address", "tag"),
    [
        ("jason+dev@example.com", "dev"),
        ("jason+DEV@example.com", "dev"),
        ("jason+alice+dev@example.com", "dev"),
        ("jason+\u017ftaging@example.com", "staging"),
        ("jason+developer@example.com", ""),
        ("jason+dev2@example.com", ""),
        ("dev+x@example.com", ""),
        ("jason+alice@example.com", ""),
        ('"john+dev@home"@example.com', ""),
        ("john_doe@example.com", ""),
        ("jason@dev+dev", ""),
        ("jason+dev", ""),
        ("+dev@x", "dev"),
        ("", ""),
    ],
)
def test_the_rule(address: str, tag: str) -> None:
    assert classify(address, TAGS).tag == tag


def test_two_environment_tags_are_ambiguous() -> None:
    assert classify("a+dev+staging@x", TAGS).kind is Kind.AMBIGUOUS
    assert classify("a+dev+dev@x", TAGS).tag == "dev"


def test_the_prefilter_loses_nothing(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:

        @settings(max_examples=300, deadline=None)
        @given(ADDRESSES)
        def holds(address: str) -> None:
            sql = "SELECT %(a)s::text LIKE '%%+%%@%%' AND %(a)s::text ~* %(p)s, substring(%(a)s::text FROM '\\+(.*)@')"
            row = connection.execute(sql, {"a": address, "p": prefilter(TAGS)}).fetchone()
            assert row is not None
            kind = classify(address, TAGS).kind
            if kind is not Kind.UNTAGGED:
                assert row[0], address
                counted = sum(count_tags([(row[1], 1)], TAGS).values())
                assert counted == (kind is Kind.TAGGED)

        holds()
