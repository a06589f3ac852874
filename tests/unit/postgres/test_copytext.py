"""Fields of COPY's text format, against PostgreSQL's own reading and writing of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaiaops.postgres.copytext import decode, encode

# PostgreSQL's text holds every character but NUL.
CHARACTERS = st.one_of(st.sampled_from("\\\b\f\n\r\t\vNnrtx.07\"'\x01\x7f\u00e9\u2028\U0001f600"), st.characters(
    min_codepoint=1, exclude_categories=["Cs"]
))  # fmt: skip
FIELDS = st.one_of(
    st.none(), st.sampled_from(["", "\\N", "N", "\\.", "\\", "\n", "\\\\N"]), st.text(CHARACTERS, max_size=12)
)
LISTS = st.lists(FIELDS, min_size=1, max_size=20)
# What PostgreSQL never writes and yet reads: octal and hexadecimal numbers, letters that mean themselves.
ESCAPES = st.one_of(
    st.text("gz\u00e9\u20ac ", max_size=2).map(str.encode),
    st.sampled_from([b"\\b", b"\\f", b"\\n", b"\\r", b"\\t", b"\\v", b"\\\\", b"\\N", b"\\q", b"\\8", b"\\xg", b"\\ "]),
    st.integers(1, 0x7F).map(lambda n: b"\\x%xg" % n),
    st.integers(1, 0x7F).map(lambda n: b"\\x%02X" % n),
    st.integers(1, 0x7F).map(lambda n: b"\\%03o" % n),
    st.integers(1, 7).map(lambda n: b"\\%og" % n),
    st.sampled_from([b"\\303\\251", b"\\xc3\\xA9", b"\\501"]),
)


@pytest.fixture(scope="module")
def connection(postgres_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("SET client_encoding = 'UTF8'")
        connection.execute("CREATE TEMPORARY TABLE texts (n serial, value text)")
        yield connection


def read_by_server(connection: psycopg.Connection, fields: list[bytes]) -> list[str | None]:
    """What PostgreSQL makes of fields."""
    connection.execute("TRUNCATE texts")
    with connection.cursor().copy("COPY texts (value) FROM STDIN") as copy:
        copy.write(b"".join(field + b"\n" for field in fields))
    return [row[0] for row in connection.execute("SELECT value FROM texts ORDER BY n")]


def written_by_server(connection: psycopg.Connection, values: list[str | None]) -> list[bytes]:
    """The fields that PostgreSQL writes for values."""
    query = "COPY (SELECT v FROM unnest(%s::text[]) WITH ORDINALITY AS u (v, n) ORDER BY n) TO STDOUT"
    with connection.cursor().copy(query, (values,)) as copy:
        return b"".join(bytes(block) for block in copy).split(b"\n")[:-1]


def against(strategy: st.SearchStrategy, check: Callable[..., None]) -> None:
    settings(deadline=None, max_examples=150)(given(strategy)(check))()


@given(FIELDS)
def test_decode_is_the_inverse_of_encode(value: str | None) -> None:
    assert decode(encode(value)) == value


@given(FIELDS)
def test_a_field_stays_in_its_line_and_in_its_place(value: str | None) -> None:
    assert not set(b"\b\f\n\r\t\v") & set(encode(value))


def test_postgresql_reads_what_was_encoded(connection: psycopg.Connection) -> None:
    def check(values: list[str | None]) -> None:
        assert read_by_server(connection, [encode(value) for value in values]) == values

    against(LISTS, check)


def test_what_postgresql_writes_is_decoded_and_encoded_alike(connection: psycopg.Connection) -> None:
    def check(values: list[str | None]) -> None:
        fields = written_by_server(connection, values)
        assert [decode(field) for field in fields] == values
        assert [encode(value) for value in values] == fields

    against(LISTS, check)


def test_every_escape_that_postgresql_reads_is_decoded(connection: psycopg.Connection) -> None:
    def check(parts: list[list[bytes]]) -> None:
        fields = [b"".join(each) for each in parts]
        assert [decode(field) for field in fields] == read_by_server(connection, fields)

    against(st.lists(st.lists(ESCAPES, max_size=6), min_size=1, max_size=20), check)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"\\N", None),
        (b"\\\\N", "\\N"),
        (b"\\NN", "NN"),
        (b"N", "N"),
        (b"", ""),
        (b"\\\\n", "\\n"),
        (b"\\n\\\\", "\n\\"),
        (b"\\x41\\101", "AA"),
        (b"\\", "\\"),
    ],
)
def test_fields(field: bytes, value: str | None) -> None:
    assert decode(field) == value
