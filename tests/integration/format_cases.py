# ruff: noqa: E501, RUF001 - SQL that reads better unbroken, and characters that look like others on purpose
"""Results that a format could get wrong, as statements; what they must come out as is asked of the server.

SUBQUERIES may stand in parentheses, so they are also tried with a parameter. COMMANDS may not.
"""

from __future__ import annotations

DEFINITIONS = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'quite "happy", really');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN words AS text;
CREATE TYPE inner_pair AS (n int, note text);
CREATE TYPE outer_pair AS (pair inner_pair, at timestamptz, tags text[]);
CREATE TABLE wide (c1 char(6), c2 varchar(9));
INSERT INTO wide VALUES ('ab', 'cd  '), ('', ''), (NULL, NULL);
"""

_UNSAFE_TEXT = r"""
SELECT * FROM (VALUES
  (1, E'line one\nline two\n\nafter a gap'), (2, E'cr\rlf\r\nend'), (3, E'\ttab\tin\tside'),
  (4, E'back\\slash \\n \\t \\\\'), (5, E'\\N'), (6, E'\\.'), (7, '"quoted", ''single'''), (8, ''), (9, NULL),
  (10, '  blanks  '), (11, E'\x01\x02\x03 \x7f'), (12, E'\x1b[31mred\x1b[0m\x1b]0;title\x07'), (13, E'\b\f\v'),
  (14, '<script>alert("&amp;")</script>'), (15, 'a|b||c\|d'), (16, '*null* **b** __i__ `c` [l](u) ~~d~~'),
  (17, '<null>'), (18, 'NULL'), (19, ','), (20, E'\n'), (21, E'\r'), (22, '"'), (23, E'\t'), (24, ' '),
  (25, E'ends with a break\n'), (26, E'\\'), (27, 'a_b_c'), (28, '{"a": "b"}'), (29, E'\u0085 \u009b31m')
) AS t (n, text)
"""

SUBQUERIES = {
    "values": "VALUES (1, 'one', true), (2, 'two', false), (NULL, NULL, NULL)",
    "table": "TABLE wide",
    "with": "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT n, n * n AS sq FROM t",
    "parentheses": "(SELECT 1 AS a) UNION ALL (SELECT 2)",
    "comment at the end": "SELECT 1 AS a -- and no more",
    "nothing": "SELECT 1 AS a, 'x' AS b WHERE false",
    "no columns": "SELECT FROM generate_series(1, 3)",
    "no columns, no rows": "SELECT WHERE false",
    "one null": "SELECT NULL AS only",
    "one empty": "SELECT '' AS only",
    "one end of copy": r"SELECT E'\\.' AS only",
    "null and empty": "SELECT NULL AS a, '' AS b, NULL AS c, '' AS d, 'NULL' AS e",
    "repeated names": "SELECT 1 AS a, 2 AS a, 3 AS a_2, 4 AS b, 5 AS a",
    "unnamed": "SELECT 1, 2, 'x', count(*), count(*) FROM users",
    "repeated long names": f"SELECT 1 AS {'n' * 63}, 2 AS {'n' * 63}, 3 AS {'n' * 62}, 4 AS {'n' * 62}",
    "repeated long names, wide": f'SELECT 1 AS "{"é" * 31}", 2 AS "{"é" * 31}"',
    "a column like our alias": 'SELECT 1 AS q, ROW(1, 2) AS "q.*"',
    "a row like our alias": "SELECT ROW(1, 2) AS q",
    "odd names": 'SELECT 1 AS "a ""quoted"" name", 2 AS "two\nlines", 3 AS "a, comma", 4 AS "a\ttab", 5 AS "a|pipe",'
    ' 6 AS "<b>&amp;</b>", 7 AS "ünï çødé 名前", 8 AS " blanks ", 9 AS "back\\slash", 10 AS "\x1b[31m", 11 AS "%s"',
    "one odd name": r'SELECT 1 AS "\."',
    "text": _UNSAFE_TEXT,
    "arrays": "SELECT ARRAY[1,2,NULL] AS i, ARRAY[[1,2],[3,4]] AS nested, '[0:1]={7,8}'::int[] AS bounds,"
    "'[-1:0][2:3]={{1,2},{3,4}}'::int[] AS both, '{}'::text[] AS none,"
    """ARRAY['a','b c','',NULL,'NULL','with "quotes"','back\\slash','{brace}','com,ma',E'li\\nne'] AS t,"""
    "ARRAY[true,false,NULL] AS b, ARRAY['1.50','NaN']::numeric[] AS n, ARRAY['Infinity',1e300]::float8[] AS f,"
    "ARRAY['2024-01-02 03:04:05+00','infinity']::timestamptz[] AS ts, ARRAY['2024-01-02']::date[] AS d,"
    """ARRAY['{"a": [1,"x"]}','null']::jsonb[] AS jb, ARRAY['\\xdead']::bytea[] AS by, ARRAY[7::money] AS m,"""
    "'{(1,1),(0,0);(3,3),(2,2)}'::box[] AS boxes, ARRAY[point(1,2)] AS points, '1 2 3'::int2vector AS v2,"
    "'4 5'::oidvector AS vo, ARRAY['1 day'::interval] AS iv, ARRAY[inet '10.0.0.1/8'] AS ip, ARRAY[B'101'] AS bits,"
    "ARRAY['[1,3)'::int4range] AS ranges, ARRAY['users'::regclass] AS classes, ARRAY['a'::name] AS names",
    "json": r"""SELECT '{"a":  1, "a": 2}'::json AS kept, E'{\n  "b" : [1,\n\t2, null],\r\n "c":"x\\ny" }'::json AS pretty,
        '{"a":  1, "a": 2}'::jsonb AS jb, jsonb_pretty('{"k": [1, {"l": "m"}]}')::json AS jp, '"s"'::json AS s,
        'null'::jsonb AS n, '1e400'::jsonb AS big, '{"u":"\u00e9 \\ \" <>&|"}'::json AS esc, '[]'::json AS e""",
    "range and multirange": "SELECT '[1,10)'::int4range AS r, 'empty'::int8range AS e, '(,)'::numrange AS u,"
    " '[2024-01-01,2024-02-01)'::daterange AS d, tsrange('2024-01-01', NULL) AS ts, '{[1,2),[5,7)}'::int4multirange AS m",
    "bytea": r"SELECT '\x'::bytea AS none, '\x00ff0a0d2c22'::bytea AS some, decode('5c4e', 'hex') AS null_like",
    "not finite": "SELECT 'Infinity'::float8 AS f, '-Infinity'::float4 AS g, 'NaN'::float8 AS h, 'NaN'::numeric AS n,"
    " 'Infinity'::numeric AS m, 'infinity'::timestamp AS t, '-infinity'::timestamptz AS tz, 'infinity'::date AS d",
    "dates": "SELECT '0044-03-15 BC'::date AS d, '0044-03-15 12:00 BC'::timestamp AS t, '12024-01-01'::date AS far,"
    "'0044-03-15 12:00+01 BC'::timestamptz AS tz, '2024-02-29 23:59:59.123456'::timestamp AS us, '23:59:60'::time AS ti,"
    "'12:00+05:30'::timetz AS tt, '1 year 2 mons -3 days 04:05:06.7'::interval AS iv, '-1 mon'::interval AS neg,"
    " '294276-12-31 23:59:59.999999+00'::timestamptz AS last",
    "numbers": "SELECT 9223372036854775807 AS max, -9223372036854775808 AS min, 1e308::float8 AS f, 1e-7::float8 AS g,"
    " 0.1::float4 AS h, -0.0::float8 AS z, 123456789012345678901234567890.000000000000000000001234567890 AS n,"
    " (2::numeric ^ 400) AS huge, 1.10 AS scale, 32767::int2 AS s, 4294967295::oid AS o, 5000::money AS m, 1e22::float8 AS e",
    "other types": "SELECT inet '192.168.0.1/24' AS i, cidr '10.0.0.0/8' AS c, macaddr '08:00:2b:01:02:03' AS mac,"
    " 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS u, B'1010' AS b, 'fat & rat'::tsquery AS q, 'x'::\"char\" AS ch,"
    " to_tsvector('simple', 'it''s a \"cat\"') AS v, point(1.5, -2) AS p, '((0,0),(1,1))'::path AS pa, NULL::xml AS x,"
    " '<(0,0),2>'::circle AS ci, '16/B374D848'::pg_lsn AS lsn, 'users'::regclass AS rc, '12'::xid AS xid, 'n'::name AS na",
    "own types": "SELECT 'quite \"happy\", really'::mood AS m, 5::positive AS p, 'w'::words AS w,"
    "ROW(1, 'a, \"b\" (c)')::inner_pair AS ip, ROW(ROW(1, NULL), '2024-01-01 00:00+00', '{a,\"b c\"}')::outer_pair AS op,"
    " ROW(1, 'x', NULL) AS anonymous, ARRAY['sad','ok']::mood[] AS ms, ARRAY[1,2]::positive[] AS ps,"
    " ARRAY[ROW(1,'x')::inner_pair] AS pairs, ROW(NULL, NULL)::inner_pair AS nulls",
    "char": "SELECT c1, c2, c1 = 'ab' AS same, 'a   '::bpchar AS bp FROM wide",
    "wide characters": "SELECT * FROM (VALUES (1, '日本語', 'x'), (22, 'e\u0301a\u0300', 'combining'), (333, '👍', 'emoji'),"
    " (4, 'ｆｕｌｌ', '한국어'), (5, 'plain', 'שלום'), (6, 'a\u200bb', 'zero width')) AS t (n, w, \"名\")",
    "bidi": "SELECT * FROM (VALUES ('a\u202eb\u202cc', 1), ('\u2066x\u2069', 2), ('\u200e\u200f\u061c', 3), ('a\u2028b\u2029', 4))"
    ' AS t ("n\u202ename", n)',
    "1600 columns": "SELECT " + ", ".join(f"{i} AS c{i}, 'v{i}' AS d{i}" for i in range(800)),
    "more than a chunk": "SELECT i, repeat('x', i % 7) AS x, CASE i % 3 WHEN 0 THEN NULL ELSE i::text END AS t"
    " FROM generate_series(1, 2500) AS i ORDER BY i",
    "more than a block": "SELECT i, md5(i::text) AS x FROM generate_series(1, 3000) AS i ORDER BY i",
    # Without Devanagari: how wide its conjuncts are is disputed, and Unicode's tables alone do not say.
    "users": "SELECT * FROM users WHERE coalesce(name, '') !~ '[\u0900-\u097f]' ORDER BY id",
    "api_keys": "SELECT * FROM api_keys ORDER BY id",
    "catalog": "SELECT oid, proname, proargtypes, proargmodes, proargnames, proallargtypes, proacl, prosrc, proconfig"
    " FROM pg_proc WHERE oid < 16000 ORDER BY oid LIMIT 700",
}

COMMANDS = {
    "show": "SHOW server_version",
    "explain": "EXPLAIN (COSTS OFF) SELECT * FROM users JOIN api_keys ON users.id = user_id WHERE email LIKE '%\"|<%'",
    "explain json": "EXPLAIN (FORMAT JSON, COSTS OFF) SELECT * FROM users WHERE email = 'a\"b|c\\d'",
    "set": "SET LOCAL work_mem = '5MB'",
}

CASES = SUBQUERIES | COMMANDS
