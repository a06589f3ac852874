"""The guard's last lock: a function already in the database may change how the server reads text."""

from __future__ import annotations

import psycopg
import pytest

from tests.conftest import Command

RUN_TEXT = """
CREATE FUNCTION run_text(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE t; RETURN 'ran'; END $$
"""


@pytest.mark.parametrize("setting", ["standard_conforming_strings = off", "client_encoding = 'SJIS'"])
@pytest.mark.parametrize("format_", ["csv", "json", "table"])
def test_nothing_runs_after_the_servers_reading_was_changed(
    scratch: Command, fresh_url: str, setting: str, format_: str
) -> None:
    with psycopg.connect(fresh_url, autocommit=True) as connection:
        connection.execute(RUN_TEXT)
        loaded = connection.execute("SELECT pg_conf_load_time()").fetchone()
        attack = f"select run_text($$set {setting}$$); select '\\'' , pg_reload_conf(), '\\''"
        run = scratch("query", "dev", attack, "--format", format_)
        assert run.code == 5
        assert "a statement changed how the server reads text; nothing more was run" in run.err
        assert connection.execute("SELECT pg_conf_load_time()").fetchone() == loaded


def test_sql_that_is_no_utf8(scratch: Command) -> None:
    run = scratch("query", "dev", "select '\udcff'")
    assert run.code == 2
    assert "the SQL is not a text in UTF-8" in run.err
