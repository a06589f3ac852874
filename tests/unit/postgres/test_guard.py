"""guard.refuse by itself: what is refused, what is let through, and what the user is told."""

from __future__ import annotations

import time

import pytest

from gaiaops.errors import ExitCode, RefusedError
from gaiaops.postgres.guard import WHICH, begin_read_sql, begin_write_sql, refuse
from gaiaops.postgres.lexer import Kind, split, tokens
from gaiaops.registry.model import Timeouts


def refusal(sql: str, *, protected: bool = False) -> str:
    """What is said about the first statement that is refused; empty where none is."""
    try:
        for statement in split(sql):
            refuse(statement, protected=protected)
    except RefusedError as error:
        assert error.code == ExitCode.REFUSED
        assert error.hint
        return str(error)
    return ""


@pytest.mark.parametrize(
    "sql",
    [
        "commit", "COMMIT AND CHAIN", "end", "abort", "rollback", "begin", "start transaction read write",
        "savepoint a", "release a", "prepare transaction 'a'", "commit prepared 'a'",
        "copy t to '/tmp/x'", "copy (select 1) to program 'x'", "do $$ begin end $$", "lock t", "load 'x'",
        "checkpoint", "analyze", "vacuum t", "reindex table t", "cluster t", "notify a", "listen a", "discard all",
        "/* a */ commit", "-- a\n do $$ $$", "((do $$ $$))",
    ],
)  # fmt: skip
def test_commands_are_refused(sql: str) -> None:
    assert "in a reading command" in refusal(sql)


@pytest.mark.parametrize(
    "call",
    [
        "dblink_exec('a', 'b')", "lo_unlink(1)", "lo_export(1, 'x')", "pg_terminate_backend(1)",
        "pg_cancel_backend(1)", "pg_advisory_lock(1)", "pg_try_advisory_xact_lock_shared(1)", "pg_reload_conf()",
        "pg_switch_wal()", "pg_create_physical_replication_slot('a')", "pg_drop_replication_slot('a')",
        "pg_copy_logical_replication_slot('a', 'b')", "pg_logical_slot_get_changes('a', null, null)",
        "pg_replication_origin_create('a')", "pg_logical_emit_message(false, 'a', 'b')", "pg_stat_reset()",
        "pg_stat_statements_reset()", "pg_stat_kcache_reset()", "pg_restore_relation_stats('a', 'b')",
        "autoprewarm_dump_now()", "http('x')", "http_post('a', 'b')", "connectby('a')",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "form", ["select {}", "select pg_catalog . {}", "SELECT * FROM {} AS x", "call {}", "select (array[1])[1:{}::int]"]
)
def test_functions_that_act_outside_are_refused(form: str, call: str) -> None:
    assert refusal(form.format(call)).startswith(f"refused: {call.partition('(')[0]} ")


@pytest.mark.parametrize(
    "name",
    [
        "Pg_Reload_Conf", '"pg_reload_conf"', r'U&"pg\005freload_conf"', r'u&"\+000070g_reload_conf"',
        "pg_reload_conf /* a /* b */ */", "pg_reload_conf -- a\n", "U&\"pg!005freload_conf\" UESCAPE '!'",
        "U&\"pg!005freload_conf\" uescape /* a */ $$!$$",
    ],
)  # fmt: skip
def test_names_are_found_however_they_are_written(name: str) -> None:
    assert refusal(f"select {name}()")


@pytest.mark.parametrize(
    "sql",
    [
        "set transaction_read_only = off", "SET LOCAL Transaction_Read_Only TO DEFAULT", "reset transaction_read_only",
        'set session "transaction_read_only" = off', "reset all", "set names 'SJIS'", "set client_encoding to 'SJIS'",
        "set standard_conforming_strings = off", "select set_config('transaction_read_only', null, true)",
        "select set_config('CLIENT_ENCODING', 'SJIS', true)", "select set_config('a' || 'b', null, true)",
        "select set_config(:x, null, true)", "select set_config(is_local => true, setting_name => 'x')",
        r"select set_config(E'client\137encoding', '', true)", r"select set_config(U&'client\005fencoding', '', true)",
        "select set_config(U&'client!005fencoding' uescape '!', '', true)", "select set_config(x, '', true) from t",
    ],
)  # fmt: skip
def test_settings_of_the_guard_are_refused(sql: str) -> None:
    assert refusal(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "set search_path = a, b", "set local work_mem = '1MB'", "set session statement_timeout = 0", "reset work_mem",
        "set time zone 'UTC'", "set role a", "set transaction isolation level repeatable read",
        "select set_config('search_path', 'a', true)", "set a.names = 'x'", "show transaction_read_only",
    ],
)  # fmt: skip
def test_other_settings_are_let_through(sql: str) -> None:
    assert not refusal(sql)


READS = [
    "query_to_xml('select 1', true, false, '')",
    "query_to_xml(query => 'select 1', nulls => true, tableforest => false, targetns => '')",
    "query_to_xml($q$ select 'pg_reload_conf()' $q$::text, true, false, '')",
    "ts_stat('select v from t', 'ab')",
    "ts_rewrite(to_tsquery('simple', 'a'), 'select t, s from aliases')",
    "ts_rewrite('a'::tsquery, 'b'::tsquery, 'c'::tsquery)",
    "crosstab('select 1, 2, 3', 'values (1)')",
    "crosstab('select 1, 2, 3', 2)",
]


@pytest.mark.parametrize("call", READS)
def test_text_that_reads_is_let_through(call: str) -> None:
    assert not refusal(f"select * from {call}")
    assert "protected" in refusal(f"select * from {call}", protected=True)


@pytest.mark.parametrize(
    "text",
    [
        "'select pg_reload_conf()'", "'commit'", "'select 1; select pg_reload_conf()'",
        "'select pg_re' || 'load_conf()'",
        "'select pg_re'\n'load_conf()'", r"E'select pg\x5freload_conf()'", r"E'select \560g_reload_conf()'",
        r"E'select pg\u005freload_conf()'", r"U&'select pg\005freload_conf()'", "U&'select' uescape '!'",
        r"""'select U&"pg\005freload_conf"()'""", "$q$select pg_reload_conf()$q$", "format('select')", "q", "query",
        "text", "v.text", "int", "null || 'a'", ":x", "$1", '"query"', "(select 'x')", "chr(115)::text", "'a' like 'b'",
        "'select query_to_xml(''select pg_reload_conf()'', true, false, '''')'",
        "'select query_to_xml(''select ''||''1'', true, false, '''')'",
        "'select set_config(''client_encoding'', ''SJIS'', true)'",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["query_to_xml", '"query_to_xml_and_xmlschema"', "ts_stat", "crosstab"])
def test_text_that_may_do_more_is_refused(name: str, text: str) -> None:
    assert refusal(f"select * from {name}({text}, true)")


@pytest.mark.parametrize(
    "sql",
    [
        "", "select 'pg_terminate_backend(1)'", "select * from pg_stat_activity where query like '%pg_reload_conf()%'",
        "select dblink, lo_import, http from t", 'select "dblink_exec" from t', "select 1 as pg_reload_conf",
        "select 'commit; delete from t'", 'select "begin" from t', "select 1 as commit", "with a as (select 1) table a",
        "explain analyze select 1", "values (1)", "table t", "show all", "declare c cursor for select 1", "fetch c",
        "prepare a as select $1", "execute a('pg_reload_conf()')", "prepare transaction_report as select 1",
        "select lo_get(1)", "select pg_size_pretty(1)", "select pg_replication_origin_progress('a', true)",
        "select has_function_privilege('pg_reload_conf()', 'execute')", "select uescape '!' from t",
        r"select E'\'', 'pg_reload_conf()', E'\''", "select $$ $a$ pg_reload_conf() $$",
        "delete from t", "insert into t values (1)",  # the server's part
    ],
)  # fmt: skip
@pytest.mark.parametrize("protected", [False, True])
def test_everything_else_is_let_through(sql: str, protected: bool) -> None:
    assert not refusal(sql, protected=protected)


@pytest.mark.parametrize(
    ("sql", "seen"),
    [
        # Where the server sees code, the lexer must see it too.
        ("select 1 as \u00a0$$, here, 2 as \u00a0$$", True),
        ("select 1 as a$$, here, 2 as a$$", True),
        ("select 1a$$, here, 1b$$", True),
        ("select (array[1])[1:E'a\\''], here, 'b'", True),
        ("select E'a'\n'\\'', here, 'b'", True),
        ("select date'\\', here, '\\'", True),
        ("select n'\\', here, '\\'", True),
        ("select 1 --'\r, here --'", True),
        ("select /* /* */ ' */ here /* ' */", True),
        # And where the server sees a literal or a comment, so must the lexer.
        ("select $$, here, $$", False),
        ("select E'\\', here, '", False),
        ("select 'a'\n -- b\n ', here'", False),
        ("select /* /* */ here */ 1", False),
        ("select 1$$ here $$", False),
    ],
)
def test_what_is_quoted_here_is_quoted_on_the_server(sql: str, seen: bool) -> None:
    words = [token.text for token in tokens(sql) if token.kind in (Kind.WORD, Kind.VARIABLE)]
    assert ("here" in words) is seen


@pytest.mark.parametrize("tail", ["-" * 10_000, "-" * 10_000 + "\n, 'b'", "-- " * 3_000, "\n--" * 3_000])
def test_lines_of_dashes_take_no_time(tail: str) -> None:
    began = time.monotonic()
    assert len(split("select 'a' " + tail)) == 1
    assert len(split("select E'a' " + tail)) == 1
    assert time.monotonic() - began < 2


def test_long_and_deep_texts_take_no_time() -> None:
    began = time.monotonic()
    assert not refusal("select " + "f(" * 50_000 + ")" * 50_000)
    assert not refusal("select " + "'a' || " * 50_000 + "'a'")
    assert time.monotonic() - began < 30  # what grows with the square takes hours


def test_hints_say_what_to_do_instead() -> None:
    with pytest.raises(RefusedError) as copy:
        refuse(split("copy t to stdout")[0], protected=False)
    assert "--format csv" in str(copy.value.hint)
    with pytest.raises(RefusedError) as commit:
        refuse(split("commit")[0], protected=False)
    assert "leave it out" in str(commit.value.hint)


def test_transactions_are_opened_with_their_bounds() -> None:
    timeouts = Timeouts(statement=7, lock=8, idle=9)
    read, write = begin_read_sql(timeouts), begin_write_sql(timeouts)
    assert read.startswith("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;")
    assert read.endswith(WHICH) and WHICH.startswith("SELECT pg_backend_pid()")  # the snapshot that seals it
    assert "READ WRITE" in write
    for sql in (read, write):
        for setting in ("statement_timeout = 7", "lock_timeout = 8", "session_timeout = 9", "strings = on"):
            assert setting in sql
