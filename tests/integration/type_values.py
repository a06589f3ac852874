# ruff: noqa: E501 - SQL and tables of values read better unbroken
r"""Values of every built-in type, the awkward ones first: a table with a column for each, and rows for test users.

Each value is the text of an SQL expression without its type.
"""

from __future__ import annotations

import psycopg

from tests.integration.cleanup_kit import fetch

_ARRAY = ["'{}'", "'{NULL}'", "'[2:3]={1,NULL}'", "'{{1,2},{3,4}}'", "'[-1:0][5:5]={{7},{8}}'"]
_FLOATS = ["'NaN'", "'-0'", "'Infinity'", "'-Infinity'", "0.1::float8 + 0.2", "'1e-37'", "'3.4028235e38'", "1.0/3"]
_TEXT = [
    "''", "' '", r"E'tab\tnew\nline\rreturn\\back'", r"E'\\.'", r"E'\\.\n\\.\n'", r"E'\\N'", "'ü 🙂'", r"E'\b\f\v\x01\x7f'",
    "'\"q\" ''q'' {},'", "'NULL'", "'%s %(x)s'", r"E'\r'", r"E'\n'", r"E'\u2028'", "repeat('long ', 9000)",
]  # fmt: skip
_JSON = [
    '\'{"a" :  1,"a":2 , "b":[ ]}\'',
    "' 1.50 '",
    "'null'",
    r"""E'{\n\t"\\u0041": "\\\\"}'""",
    "'\"\\ud83d\\ude42\"'",
    "'1e400'",
]
_RANGE = ["'empty'", "'(,)'", "'[1,5)'", "'(1,)'", "'[,7]'"]
_MULTI = ["'{}'", "'{(,)}'", "'{[1,3),[5,9)}'", "'{(,2),[7,)}'"]
_STAMP = ["'infinity'", "'-infinity'", "'4713-01-01 00:00:00 BC'", "'294276-12-31 23:59:59.999999'", "'2024-02-29 12:00:00.000001'",
          "'1999-12-31 23:59:60'", "'0001-01-01 BC'", "'2024-10-27 01:30:00'", "'1800-01-01'"]  # fmt: skip

TYPES: dict[str, list[str]] = {
    "int2": ["-32768", "32767", "0"],
    "int4": ["-2147483648", "2147483647"],
    "int8": ["-9223372036854775808", "9223372036854775807"],
    "numeric": ["'NaN'", "'Infinity'", "'-Infinity'", "'-0.00'", "'1.500'", "'1e-1000'", "'1e1000'", "0.1", "'0.000'", "-12345.678900"],
    "numeric(10,3)": ["'NaN'", "1.5", "-0.001"],
    "numeric(3,-2)": ["12345", "-500"],
    "float4": [*_FLOATS, "'1e-45'", "16777217", "0.3"],
    "float8": [*_FLOATS, "'5e-324'", "'1.7976931348623157e308'", "9007199254740993", "1e23", "0.3"],
    "money": ["'$1,234,567.89'", "'-0.01'", "'92233720368547758.07'", "'-92233720368547758.08'"],
    "bool": ["true", "false"],
    "char(6)": ["'ab  '", "''", "'  x'", r"E'\t\n'", "'üü'"],
    "bpchar": ["'ab  '", "''"],
    '"char"': ["'a'", "''", r"'\000'", r"'\001'", r"'\177'", r"'\200'", r"'\377'", r"E'\n'", r"E'\t'", r"E'\\'"],
    "varchar": _TEXT,
    "varchar(9)": ["'ab  '", "''"],
    "text": _TEXT,
    "name": ["'a b'", "repeat('n', 63)", "''"],
    "bytea": ["decode(string_agg, 'hex')", r"'\x'", r"'\x5c2e0a'", r"'\x5c780a00'"],
    "json": _JSON,
    "jsonb": [text for text in _JSON if "1e400" not in text] + ["'1.50'", "'1e400'"],
    "jsonpath": ["'$.a[*] ? (@.b > 1.50)'", "'strict $.\"a b\".**'"],
    "xml": ["'<a/>'", "'plain & text'".replace("&", "&amp;"), "'<a> <b x=\"1\"/>ü</a><c/>'", r"E'<a>\n\t</a>'", "''"],
    "uuid": ["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"],
    "date": ["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'", "'2024-02-29'", "'0001-01-01 BC'"],
    "timestamp": _STAMP,
    "timestamp(3)": ["'2024-02-29 12:00:00.0015'"],
    "timestamptz": [*_STAMP, "'2024-10-27 01:30:00 Europe/Berlin'", "'1883-11-18 12:03:58 America/New_York'", "'1986-01-01 00:07 Asia/Kathmandu'"],
    "time": ["'00:00'", "'24:00'", "'23:59:59.999999'", "'23:59:60'"],
    "timetz": ["'00:00+15:59:59'", "'24:00-15:59'", "'12:00:00.000001+05:45'"],
    "interval": ["'-1 mons +2 days -03:04:05.000006'", "'1 year -1 day'", "'infinity'", "'-infinity'", "'-178000000 years'", "'0'",
                 "'1 day -00:00:00.000001'", "'-1 year -1 day -01:00'", "'99999999 hours'"],
    "interval(0)": ["'1.6 s'"],
    "interval year to month": ["'1-2'", "'-1-2'"],
    "inet": ["'10.1.2.3/8'", "'::1'", "'2001:db8::/32'", "'0.0.0.0/0'", "'::ffff:1.2.3.4/128'"],
    "cidr": ["'10.0.0.0/8'", "'::/0'", "'10.1.2.3/32'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "macaddr8": ["'08:00:2b:01:02:03:04:05'"],
    "bit(4)": ["B'0101'"],
    "bit varying": ["B''", "B'101010101'"],
    "point": ["'(0.1,-0)'", "'(NaN,Infinity)'", "point(0.1::float8 + 0.2, 1e-300)"],
    "line": ["'{1,-2,0.30000000000000004}'"],
    "lseg": ["'[(1,2),(3,4.5)]'"],
    "box": ["'(1,2),(-3,1e-10)'"],
    "path": ["'[(1,2),(3,4)]'", "'((1,2),(3,4))'"],
    "polygon": ["'((0,0),(1,1),(2,0.1))'"],
    "circle": ["'<(1,2),0.30000000000000004>'"],
    "tsvector": ["'a:1A,2B ''b c'':3 d'", "''", "'a''''b'"],
    "tsquery": ["'a & !b | (c <-> d:*AB)'", "''", "'''a b'' <3> c'"],
    "int4range": _RANGE,
    "int8range": _RANGE,
    "numrange": [*_RANGE, "'(1.50,2.500]'", "'[NaN,]'", "'[-Infinity,Infinity]'"],
    "tsrange": ["'empty'", "'[2020-01-01,infinity]'", "'(,\"2020-01-01 00:00:00.000001\")'"],
    "tstzrange": ["'empty'", "'[2020-01-01 00:00+05:45,)'"],
    "daterange": ["'empty'", "'[-infinity,infinity]'", "'[2020-01-01 BC,2020-01-01]'"],
    "int4multirange": _MULTI,
    "int8multirange": _MULTI,
    "nummultirange": [*_MULTI, "'{[1.50,2.500]}'"],
    "tsmultirange": ["'{}'", "'{[2020-01-01,infinity]}'"],
    "tstzmultirange": ["'{}'", "'{(,2020-01-01 00:00+05:45]}'"],
    "datemultirange": ["'{}'", "'{[2020-01-01,2020-02-01),(2021-01-01,)}'"],
    "int4[]": _ARRAY,
    "text[]": ["'{}'", "'{NULL,\"NULL\",\"\",\" \"}'", r"""E'{"q\\"uote","b{r}a,ce","back\\\\slash",ü🙂}'""", "ARRAY[E'a\\tb\\n', NULL, '{}']",
               "ARRAY[ARRAY['a','b'], ARRAY[NULL,'']]", "'[0:1]={a,b}'"],
    "numeric[]": ["'{NaN,1.50,-0.00}'"],
    "float8[]": ["'{-0,NaN,0.30000000000000004}'"],
    "bytea[]": [r"ARRAY['\x00'::bytea, '\x5c', NULL]"],
    "timestamptz[]": ["'{infinity,\"2020-01-01 00:00+05:45\",NULL}'"],
    "interval[]": ["'{\"-1 mons +2 days -03:04:05\"}'"],
    "json[]": ["ARRAY['{\"a\" :  1}'::json, 'null']"],
    "box[]": ["'{(1,2),(0,0);(3,4),(1,1)}'"],
    '"char"[]': ["ARRAY['a'::\"char\", '']"],
    "int4range[]": ["'{\"[1,2)\",empty,NULL}'"],
    '"My Pair"': ["ROW(NULL, NULL)", "ROW('', 1.50)", "ROW(E'a\"b\\\\,()\\n', 'NaN')"],
    '"My Pair"[]': ["ARRAY[ROW('a,\"b', 1.0)::\"My Pair\", NULL]"],
    "mood": ["'so so'", "'it''s'", "'\\'", "'ü'"],
    "mood[]": ["ARRAY['so so'::mood, NULL, 'it''s']"],
    "few": ["5", "7"],
    "exact": ["1.500", "'NaN'"],
    "pairs": ["ARRAY[ROW('a', 1.0)::\"My Pair\"]", "'{}'"],
    "span": ["'[a,b)'", "'empty'", "'(\"a,\\\"b\",)'"],
    "span_multirange": ["'{[a,b),[c,d)}'", "'{}'"],
    "pg_lsn": ["'FFFFFFFF/FFFFFFFF'", "'0/0'"],
    "oid": ["0", "4294967295"],
    "xid": ["'4294967295'"],
    "xid8": ["'18446744073709551615'"],
    "cid": ["'7'"],
    "tid": ["'(4294967295,65535)'"],
    "regclass": ["'users'", "'\"My odd\"'", "'pg_class'", "0", "4000000000"],
    "regtype": ["'int4'", "'\"My Pair\"[]'", "'char(3)'"],
    "regproc": ["'pg_catalog.now'", "0"],
    "regprocedure": ["'pg_catalog.abs(int4)'"],
    "regoper": ["'pg_catalog.||/'"],
    "regoperator": ["'+(int4,int4)'"],
    "regrole": ["current_user"],
    "regnamespace": ["'public'"],
    "regcollation": ["'\"C\"'"],
    "regconfig": ["'english'"],
    "regdictionary": ["'simple'"],
    "refcursor": ["'c'"],
    "pg_snapshot": ["'10:20:10,14,15'"],
    "txid_snapshot": ["'10:20:10,14,15'"],
    "int2vector": ["'1 2 3'"],
    "oidvector": ["'1 2 4294967295'"],
    "aclitem": ["makeaclitem(10, 10, 'SELECT', true)"],
    "hstore": ["'\"a b\"=>NULL, c=>\"\\\"\"'", "''"],
    "citext": ["'MiXed '", "''"],
    "ltree": ["'a.b.C'"],
    "cube": ["'(1,2),(3,0.30000000000000004)'"],
}  # fmt: skip

_MAKE = r"""
CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE EXTENSION cube;
CREATE TABLE "My odd" ();
CREATE TYPE "My Pair" AS (a text, "b c" numeric);
CREATE TYPE mood AS ENUM ('so so', 'it''s', '\', 'ü');
CREATE DOMAIN few AS int CHECK (VALUE < 10);
CREATE DOMAIN exact AS numeric NOT NULL DEFAULT 0;
CREATE DOMAIN pairs AS "My Pair"[];
CREATE TYPE span AS RANGE (subtype = text, collation = "C");
"""


def types_script(url: str) -> str:
    """Makes the types and `everything`: rows of users 1, 2 and 3, and one of user 11.

    xml is left out where the server was built without it (the sandbox's is).
    """
    types = {kind: found for kind, found in TYPES.items() if kind != "xml" or _has_xml(url)}
    version = int(str(fetch(url, "SELECT current_setting('server_version_num')")[0][0]))
    if version < 140_000:  # no multiranges, and no numeric is infinite
        types = {kind: found for kind, found in types.items() if not kind.endswith("multirange")}
        types = {k: [v for v in found if "num" not in k or "Infinity" not in v] for k, found in types.items()}
    if version < 150_000:  # a scale is not negative
        types.pop("numeric(3,-2)")
    if version < 170_000:  # no interval is infinite
        types = {k: [v for v in found if "interval" not in k or "infinity" not in v] for k, found in types.items()}
    columns = ", ".join(f"v{i} {kind}" for i, kind in enumerate(types))
    most = max(map(len, types.values()))
    lines = [
        _MAKE,
        f"CREATE TABLE everything (n int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE, {columns});",
    ]
    for n in range(most + 2):
        user = 11 if n == most + 1 else 1 + n % 3
        names, values = ["n", "user_id"], [str(n), str(user)]
        for i, (kind, found) in enumerate(types.items()):
            if n < len(found):
                names.append(f"v{i}")
                values.append(f"({_value(found[n])})::{kind}")
        lines.append(f"INSERT INTO everything ({', '.join(names)}) VALUES ({', '.join(values)});")
    return "\n".join(lines)


def _has_xml(url: str) -> bool:
    try:
        return bool(fetch(url, "SELECT '<a/>'::xml::text"))
    except psycopg.errors.FeatureNotSupported:
        return False


def _value(text: str) -> str:
    if text.startswith("decode("):
        return (
            "SELECT decode(string_agg(lpad(to_hex(b), 2, '0'), '' ORDER BY b), 'hex') FROM generate_series(0, 255) AS b"
        )
    return text
