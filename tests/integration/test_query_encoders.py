"""What gaiaops encodes itself, against PostgreSQL on the same values, as many as hypothesis can think of."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaiaops.postgres.jsonvalues import json_value
from gaiaops.postgres.wire import csv_cell, text_cell, unique_names
from tests.conftest import Sandbox

from .format_oracles import loads, numbered, read_csv, read_text_cell

CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
AWKWARD = st.sampled_from([*"\",\\\n\r\t;N.{}[]() '<>|\x1b\x01\x02", "\\N", "\\.", "NULL", ""])
TEXTS = st.one_of(st.text(CHARACTERS, max_size=12), st.lists(AWKWARD, max_size=6).map("".join))
CELLS = st.one_of(st.none(), TEXTS)
ON_A_SERVER = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@given(st.lists(CELLS, min_size=1, max_size=5))
def test_csv_cells_read_back(row: list[str | None]) -> None:
    assert read_csv(",".join(map(csv_cell, row)) + "\n") == [row]


@given(CELLS)
def test_text_cells_read_back(value: str | None) -> None:
    cell = text_cell(value)
    assert "\n" not in cell
    assert "\t" not in cell
    assert read_text_cell(cell) == value


@given(st.lists(st.sampled_from(["a", "a_2", "a_3", "b", "n" * 63, "é" * 31, "é" * 30]), max_size=9))
def test_keys_are_unique_and_not_cut_by_the_server(names: list[str]) -> None:
    keys = unique_names(names)
    assert keys == numbered(names)
    assert len(set(keys)) == len(names)
    assert all(len(key.encode()) <= 63 for key in keys)


@pytest.fixture(scope="module")
def connection(sandbox: Sandbox) -> Iterator[psycopg.Connection]:
    with psycopg.connect(sandbox.url("dev"), autocommit=True) as opened:
        yield opened


def server_copy(connection: psycopg.Connection, row: list[str | None], options: str) -> str:
    values = ", ".join("NULL" if v is None else psycopg.sql.Literal(v).as_string(connection) for v in row)
    with connection.cursor().copy(f"COPY (VALUES ({values})) TO STDOUT ({options})") as copy:
        return b"".join(bytes(chunk) for chunk in copy).decode()


@ON_A_SERVER
@given(row=st.lists(CELLS, min_size=2, max_size=4))
def test_cells_are_what_copy_writes(row: list[str | None], connection: psycopg.Connection) -> None:
    assert "\t".join(map(text_cell, row)) + "\n" == server_copy(connection, row, "FORMAT text")
    ours = ",".join(map(csv_cell, row)) + "\n"
    assert ours.replace('"\\."', "\\.") == server_copy(connection, row, "FORMAT csv").replace('"\\."', "\\.")


# A type, and values of it in the server's input syntax.
NUMBERS = st.one_of(
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=5).map(str),
    st.sampled_from(["NaN", "0.00", "-0.10", "1e200", "1e-200", "123456789012345678901234567890.5"]),
)
FLOATS = st.floats().map(lambda f: {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(repr(f), repr(f)))
DATES = st.one_of(st.dates().map(str), st.sampled_from(["infinity", "-infinity", "0044-03-15 BC", "25000-12-31"]))
CLOCKS = st.one_of(
    st.datetimes().map(str), st.sampled_from(["infinity", "-infinity", "0044-03-15 10:00 BC", "25000-12-31 23:59:59"])
)
JSONS = st.sampled_from(
    ["null", "1", '"x"', "[]", "{}", '{"a": [1, 2.50, {"b\\n": "c\\\\\\""}]}', "[ 1,\n 2 ]", '"\\u00e9 <>&"', "1e5"]
)
VALUES: dict[str, st.SearchStrategy[str]] = {
    "bool": st.booleans().map(str),
    "int2": st.integers(-(2**15), 2**15 - 1).map(str),
    "int4": st.integers(-(2**31), 2**31 - 1).map(str),
    "int8": st.integers(-(2**63), 2**63 - 1).map(str),
    "oid": st.integers(0, 2**32 - 1).map(str),
    "float8": FLOATS,
    "float4": st.floats(width=32).map(lambda f: {"inf": "Infinity", "-inf": "-Infinity"}.get(repr(f), repr(f))),
    "numeric": NUMBERS,
    "money": st.integers(-(10**12), 10**12).map(str),
    "text": TEXTS,
    "varchar": TEXTS,
    "bpchar": TEXTS,
    "name": st.text(st.sampled_from("abc \"'\\{},"), max_size=20),
    "bytea": st.binary(max_size=10).map(lambda b: "\\x" + b.hex()),
    "date": DATES,
    "timestamp": CLOCKS,
    "timestamptz": CLOCKS,
    "time": st.times().map(str),
    "timetz": st.times().map(lambda t: f"{t}+05:30"),
    "interval": st.timedeltas().map(lambda t: f"{t.days} days {t.seconds} seconds"),
    "uuid": st.uuids().map(str),
    "json": JSONS,
    "jsonb": JSONS,
    "inet": st.ip_addresses().map(str),
    "cidr": st.ip_addresses().map(str),
    "macaddr": st.just("08:00:2b:01:02:03"),
    "bit": st.sampled_from("01"),
    "varbit": st.text(st.sampled_from("01"), max_size=9),
    "point": st.tuples(st.integers(), st.integers()).map(str),
    "box": st.sampled_from(["(1,1),(0,0)", "(2.5,3),(-1,-2)"]),
    "int4range": st.sampled_from(["[1,2)", "(,)", "empty", "[5,)"]),
    "tstzrange": st.just("[2024-01-01 00:00+00,)"),
    "int4multirange": st.sampled_from(["{}", "{[1,2),[4,9)}"]),
    "tsvector": st.sampled_from(["'a':1 'it''s':2", "x"]),
    "regclass": st.sampled_from(["users", "pg_class"]),
    "int2vector": st.lists(st.integers(0, 99), max_size=4).map(lambda v: " ".join(map(str, v))),
    "oidvector": st.lists(st.integers(0, 99), max_size=4).map(lambda v: " ".join(map(str, v))),
    "pg_lsn": st.just("16/B374D848"),
}


@ON_A_SERVER
@given(data=st.data())
@pytest.mark.parametrize("kind", VALUES)
def test_json_is_what_row_to_json_says(kind: str, data: st.DataObject, connection: psycopg.Connection) -> None:
    """A value, an array of values and an array of arrays: the same JSON as the server's."""
    if connection.info.server_version < 140_000 and "multirange" in kind:
        pytest.skip("multiranges came with 14")
    one = data.draw(VALUES[kind])
    some = data.draw(st.lists(st.one_of(st.none(), VALUES[kind]), max_size=4))
    nested = [some, some[::-1]] if some else []  # an empty one within is an error before 17
    # A vector is an array, so an array of vectors cannot be built of its elements.
    arrays = not kind.endswith("vector") or kind == "tsvector"
    zone = data.draw(st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York", "Europe/Berlin"]))
    connection.execute("SELECT set_config('TimeZone', %s, false)", [zone])
    columns = f"%s::text::{kind} AS one" + (f", %s::text[]::{kind}[] AS some, %s::text[]::{kind}[] AS nested" * arrays)
    cursor = connection.execute(
        f"SELECT q.*, row_to_json(q.*)::text FROM (SELECT {columns}) AS q", [one, some, nested] if arrays else [one]
    )
    result = cursor.pgresult
    assert result is not None
    wanted = dict(loads((result.get_value(0, result.nfields - 1) or b"").decode()))
    for i in range(result.nfields - 1):
        text, oid = result.get_value(0, i), result.ftype(i)
        assert text is not None
        assert loads(json_value(text.decode(), oid).decode()) == wanted[(result.fname(i) or b"").decode()]


@pytest.mark.parametrize("element", [";", "a;b", ",", "{", "}", '"', "\\", "NULL", "null", " ", "", "\n", "[0:1]={1}"])
def test_an_element_that_looks_like_syntax(element: str, connection: psycopg.Connection) -> None:
    row = connection.execute("SELECT ARRAY[%s, 'x']::text", [element]).fetchone()
    assert row is not None
    assert loads(json_value(row[0], 1009).decode()) == [element, "x"]


@pytest.mark.parametrize("bounds", ["[0:1]={1,2}", "[-1:0][2:3]={{1,2},{3,NULL}}", "{}"])
def test_bounds_of_arrays_are_left_out(bounds: str, connection: psycopg.Connection) -> None:
    row = connection.execute("SELECT to_json(%s::text::int[])::text", [bounds]).fetchone()
    assert row is not None
    assert loads(json_value(bounds, 1007).decode()) == loads(row[0])


def test_every_array_type_of_the_server_is_known(connection: psycopg.Connection) -> None:
    """All built-in ones but those of catalog rows, which no user's table holds."""
    found = connection.execute(
        "SELECT typarray FROM pg_type WHERE typarray <> 0 AND oid < 10000 AND typtype <> 'c' AND typarray < 10000"
    )
    assert [oid for (oid,) in found if json_value("{}", oid) != b"[]"] == []
