"""The address convention: exact, and the server's prefilter never loses what the rule would find."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaiaops.emails import PREFILTER, Kind, classify, count_tags, listed, prefilter

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


# Columns that compare otherwise than byte by byte. ILIKE, lower() and = go by the collation; the prefilter must not.
LOOSE = "CREATE COLLATION pg_temp.loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"
COLUMNS = {
    "text": ("", "text"),
    "character varying": ("", "character varying(2000)"),
    "Unicode": ("", "text COLLATE pg_unicode_fast"),
    "Turkish": ("CREATE COLLATION pg_temp.turkish (provider = icu, locale = 'tr')", "text COLLATE pg_temp.turkish"),
    "nondeterministic": (LOOSE, "text COLLATE pg_temp.loose"),
    "citext": ("CREATE EXTENSION IF NOT EXISTS citext", "citext"),
}
ABSENT = (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile, psycopg.errors.UndefinedObject)
ODD = [
    "\\",
    "%",
    "_",
    "%+%",
    "\n",
    "\u0130",
    "\u0131",
    "I",
    "i",
    "\u00ad",
    "\u200b",
    "\u0301",
    "\uff0b",
    "\uff20",
    "\U0001f600",
]
ADVERSARIAL = st.lists(
    st.one_of(
        st.sampled_from(["+", "@", "+dev@", "+DEV", "+\u017ftaging@x", "+d\u0131v@", "dev", "staging", '"', ".", *ODD]),
        st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=3),
    ),
    max_size=9,
).map("".join)


@pytest.mark.parametrize("kind", COLUMNS)
def test_no_column_hides_an_address_from_the_prefilter(kind: str, postgres_url: str) -> None:
    before, column = COLUMNS[kind]
    with psycopg.connect(postgres_url) as connection:  # a transaction, which is rolled back
        try:
            if before:
                connection.execute(before)
            connection.execute(f"CREATE TEMPORARY TABLE addresses (email {column})")
        except ABSENT as error:
            connection.rollback()
            pytest.skip(f"this server has no such column: {error.diag.message_primary}")
        sql = f"INSERT INTO addresses VALUES (%s) RETURNING email::text {PREFILTER.replace('%', '%%')}, email::text"

        @settings(max_examples=200, deadline=None)
        @given(st.one_of(ADVERSARIAL, st.builds("{}+{}@{}".format, ADVERSARIAL, st.sampled_from(TAGS), ADVERSARIAL)))
        def holds(address: str) -> None:
            row = connection.execute(sql, (address,)).fetchone()
            assert row is not None
            assert row[1] == address
            assert row[0] or classify(address, TAGS).kind is Kind.UNTAGGED, address

        holds()
        connection.rollback()


@pytest.mark.parametrize(
    ("address", "entry", "found"),
    [
        ("qa+dev@example.org", "qa+dev@example.org", True),
        ("QA+Dev@Example.ORG", "qa+dev@example.org", True),
        ("qa+dev@example.org", "QA+DEV@EXAMPLE.ORG", True),
        ("qa+dev@stra\u00dfe.de", "qa+dev@STRASSE.de", True),
        ("qa+dev@example.org", "example.org", True),
        ("qa+dev@example.org", "@EXAMPLE.org", True),
        ("qa+dev@example.org", "qa@example.org", False),
        ("aqa+dev@example.org", "qa+dev@example.org", False),
        ("qa+dev@sub.example.org", "example.org", False),
        ("qa+dev@myexample.org", "example.org", False),
        ("qa+dev@example.org.uk", "example.org", False),
        ('"a@example.org"@other.org', "example.org", False),
        ('"a@example.org"@other.org', "other.org", True),
        ('"a@b"@other.org', '"a@b"@other.org', True),
        ("qa+dev@example.org", "", False),
        ("qa+dev@example.org", "@", False),
        ("", "example.org", False),
    ],
)
def test_who_is_listed(address: str, entry: str, found: bool) -> None:
    assert listed(address, [entry]) is found
    assert listed(address, ["no@such.one", entry, "@nowhere"]) is found


def test_nobody_is_in_an_empty_list() -> None:
    assert not listed("a@x", [])


@given(ADVERSARIAL)
def test_an_address_lists_itself_and_a_domain_its_addresses(text: str) -> None:
    assert listed(f"a{text}@x", [f"a{text}@x"])
    assert listed(f"{text}@example.org", ["example.org"])
    assert not listed(f"{text}@example.org", ["example.com", "@example.com"])
