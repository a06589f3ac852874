"""Secrets never reach a screen, wherever in a statement they stand; and what is none stays readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaiaops.postgres.secrets import masked

WITH_SECRETS = [
    "ALTER ROLE app PASSWORD 'hunter2'",
    "alter user app with encrypted\n password  'hunter2' valid until '2030-01-01'",
    "CREATE ROLE app LOGIN PASSWORD E'hunter2'",
    "CREATE ROLE app LOGIN PASSWORD $$hunter2$$ SUPERUSER",
    "CREATE ROLE app PASSWORD $x$hunter2$x$",
    "CREATE ROLE app PASSWORD U&'hunter2'",
    "CREATE ROLE app PASSWORD /* it's */ 'hunter2' -- hers",
    "CREATE ROLE app PASSWORD 'a''hunter2'",
    "CREATE ROLE app PASSWORD 'a'\n'hunter2'",
    "ALTER ROLE app PASSWORD 'hunter2",  # cut off by track_activity_query_size
    "ALTER ROLE app PASSWORD $$hunter2",
    "CREATE USER MAPPING FOR app SERVER s OPTIONS (user 'u', password 'hunter2')",
    "ALTER USER MAPPING FOR app SERVER s OPTIONS (SET password 'hunter2', ADD sslpassword 'hunter2')",
    "CREATE SUBSCRIPTION s CONNECTION 'host=db user=u password=hunter2 dbname=x' PUBLICATION p",
    "CREATE SUBSCRIPTION s CONNECTION 'host=db password = ''hunter2 hunter2'' dbname=x' PUBLICATION p",
    "CREATE SUBSCRIPTION s CONNECTION 'host=db password=hunter2",
    "SELECT * FROM dblink('postgresql://me:hunter2@db/x', 'select 1')",
    "SELECT * FROM dblink('postgresql://me:p@hunter2@db/x', 'select 1')",
    "SELECT * FROM dblink('postgresql://me:hunter2",
    "ALTER SYSTEM SET primary_conninfo = 'host=db password=hunter2'",
    "SET app.jwt_secret TO 'hunter2'",
    "SELECT set_config('app.secret', 'hunter2', false)",
    "UPDATE users SET password = 'hunter2' WHERE id = 1",
    "UPDATE users SET \"Password\"='hunter2'::text WHERE id = 1",
    "SELECT 1 FROM users WHERE password IN ('hunter2', 'hunter2')",
    "SELECT 1 FROM users WHERE api_key LIKE 'hunter2%'",
    "INSERT INTO users (email, password) VALUES ('a@x', 'hunter2'), ('b@x', 'hunter2')",
    "UPDATE users SET p = crypt('hunter2', gen_salt('bf'))",
    "SELECT pgp_sym_decrypt(data, lower('hunter2')) FROM t",
    'UPDATE t SET settings = \'{"password": "hunter2", "a": 1}\'',
    "UPDATE t SET settings = settings || jsonb_build_object('password', 'hunter2')",
    "-- redis://:hunter2@cache:6379\nSELECT 1",
    "SELECT 'eyJhbGciOiJIhunter2.eyJzdWIhunter2.hunter2'",
    "ALTER ROLE app PASSWORD 'it\\'s hunter2'",
    "SELECT 'it\\'s', 'x' AS password, 'hunter2'",
    "CREATE ROLE a; ALTER ROLE a PASSWORD 'hunter2'; SELECT 1",
]


@pytest.mark.parametrize("sql", WITH_SECRETS)
def test_a_secret_is_masked(sql: str) -> None:
    assert "hunter2" not in masked(sql)
    assert "***" in masked(sql)
    assert masked(sql).split()[0].lower() == sql.split(maxsplit=1)[0].lower()


@pytest.mark.parametrize("sql", WITH_SECRETS[:-3])
def test_a_secret_that_is_cut_off_anywhere_is_masked(sql: str) -> None:
    whole = sql.index("hunter2") + len("hunter2")
    for end in range(whole, len(sql) + 1):
        assert "hunter2" not in masked(sql[:end]), sql[:end]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "UPDATE users SET name = 'Ann' WHERE email = 'ann@example.com'",
        "ALTER ROLE app PASSWORD NULL",
        "SELECT name FROM users WHERE password_changed_at IS NULL AND name = 'Ann'",
        "INSERT INTO users (email) VALUES ('password')",
        "INSERT INTO users (email, name) SELECT email, 'x' FROM old_passwords",
        "SELECT 'https://example.com/a:b', 'a@b' -- no login",
        "ALTER TABLE users ADD COLUMN api_key_hash varchar(64) DEFAULT NULL",
        "SELECT pg_sleep(10) -- it's the token",
        "DELETE FROM chat_messages WHERE tokens_used > 100 AND model = 'gpt'",
        "",
    ],
)
def test_what_is_no_secret_stays(sql: str) -> None:
    assert masked(sql) == sql


def test_what_stands_beside_a_secret_stays() -> None:
    sql = "CREATE USER MAPPING FOR app SERVER s OPTIONS (user 'ann', password 'hunter2')"
    assert masked(sql) == sql.replace("hunter2", "***")
    assert masked("UPDATE t SET a = 'x', password = 'y', b = 'z'") == "UPDATE t SET a = 'x', password = '***', b = 'z'"
    assert masked("select dblink('host=db password=y dbname=z')") == "select dblink('host=db password=*** dbname=z')"


_TEXT = st.text(alphabet="abpswordASSWORD'\"$\\(),=: -/*@.;\n12", max_size=60)


@given(_TEXT)
def test_any_text_is_taken(sql: str) -> None:
    assert isinstance(masked(sql), str)


@given(st.text(alphabet="abc ()=,;:.+-*/1", max_size=40), st.sampled_from(["'{}'", "$${}$$", "$q${}$q$", "E'{}'"]))
def test_a_password_is_masked_after_any_statement(before: str, quotes: str) -> None:
    sql = f"{before.replace('/*', '').replace('--', '')}; ALTER ROLE a PASSWORD {quotes.format('hunter2')}"
    assert "hunter2" not in masked(sql)
