"""Attempts to change something through `gaiaops query` without --write, and statements that only read.

`<pid>`, `<dsn>`, `<folder>` and `<oid>` stand for another session, a connection string for dblink, a folder the
server may write to, and a large object.
"""

from __future__ import annotations

from typing import NamedTuple

EXTENSIONS = ("dblink", "postgres_fdw", "pg_prewarm", "tablefunc", "lo", "xml2")  # each where the server has it

SETUP = r"""
DO $$ BEGIN
    IF to_regclass('users') IS NULL THEN
        CREATE TABLE users AS SELECT n AS id, n || '@example.com' AS email FROM generate_series(1, 3) n;
    END IF;
END $$;
CREATE SEQUENCE counter;
CREATE TABLE victims (
    id int PRIMARY KEY DEFAULT nextval('counter'), name text, at timestamptz DEFAULT clock_timestamp()
) WITH (autovacuum_enabled = off);
INSERT INTO victims (id, name) SELECT n, 'victim ' || n FROM generate_series(-50, -1) n;
CREATE TABLE journal (note text) WITH (autovacuum_enabled = off);
CREATE TABLE "Odd; DROP TABLE victims" ("begin" int, "commit;" text) WITH (autovacuum_enabled = off);
INSERT INTO "Odd; DROP TABLE victims" VALUES (1, 'one');
CREATE INDEX victims_name ON victims (name);
CLUSTER victims USING victims_pkey;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM victims;
CREATE ROLE guard_victim;
CREATE TYPE mood AS ENUM ('calm');

CREATE FUNCTION write_sql() RETURNS int LANGUAGE sql AS
    $$ INSERT INTO victims (id, name) VALUES (1, 'sql') RETURNING id $$;
CREATE FUNCTION write_plpgsql() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN DELETE FROM victims; RETURN 1; END $$;
CREATE FUNCTION write_definer() RETURNS int LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS
    $$ BEGIN UPDATE victims SET name = 'definer'; RETURN 1; END $$;
CREATE FUNCTION write_caught() RETURNS text LANGUAGE plpgsql AS $$
    BEGIN DELETE FROM victims; RETURN 'deleted';
    EXCEPTION WHEN OTHERS THEN
        BEGIN INSERT INTO journal VALUES ('again'); RETURN 'again';
        EXCEPTION WHEN OTHERS THEN RETURN 'caught'; END;
    END $$;
CREATE FUNCTION write_lying() RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM nextval('counter'); RETURN 1; END $$;
CREATE FUNCTION write_unlocked() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN SET LOCAL transaction_read_only = off; DELETE FROM victims; RETURN 1; END $$;
CREATE FUNCTION write_configured() RETURNS int LANGUAGE plpgsql SET default_transaction_read_only = off AS
    $$ BEGIN DELETE FROM victims; RETURN 1; END $$;
CREATE FUNCTION write_commit_inside() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN COMMIT; DELETE FROM victims; RETURN 1; END $$;
CREATE FUNCTION run_text(what text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE what; END $$;
CREATE PROCEDURE write_and_commit() LANGUAGE plpgsql AS
    $$ BEGIN COMMIT; DELETE FROM victims; COMMIT; END $$;
CREATE PROCEDURE rollback_and_write() LANGUAGE plpgsql AS
    $$ BEGIN ROLLBACK; DELETE FROM victims; COMMIT; END $$;
CREATE PROCEDURE write_plain() LANGUAGE sql AS $$ DELETE FROM victims $$;
CREATE FUNCTION add(int, int) RETURNS int LANGUAGE sql AS $$ DELETE FROM victims; SELECT 1 $$;
CREATE OPERATOR <+> (LEFTARG = int, RIGHTARG = int, FUNCTION = add);
CREATE AGGREGATE write_aggregate(int) (SFUNC = add, STYPE = int, INITCOND = '0');

CREATE VIEW watched AS SELECT write_plpgsql() AS n;
CREATE VIEW counting AS SELECT nextval('counter') AS n;
CREATE VIEW editable AS SELECT id, name FROM victims;
CREATE VIEW ruled AS SELECT 1 AS n;
CREATE RULE ruled_insert AS ON INSERT TO ruled DO INSTEAD DELETE FROM victims;
"""

FOREIGN = """
CREATE SERVER loopback FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '<host>', port '<port>', dbname '<dbname>');
CREATE USER MAPPING FOR CURRENT_USER SERVER loopback OPTIONS (user '<user>', password '<password>');
CREATE FOREIGN TABLE far_victims (id int, name text) SERVER loopback OPTIONS (table_name 'victims');
"""


BY_GUARD = (5,)  # before anything is sent
BY_SERVER = (1, 5)  # 5 where it says that the transaction is read-only


class Attempt(NamedTuple):
    """SQL that tries to change something, how it is given, and the exit codes that are right."""

    sql: str
    codes: tuple[int, ...]
    params: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    way: str = "argument"  # or "file", "stdin"
    env: str = "dev"


def _each(codes: tuple[int, ...], **attempts: str) -> dict[str, Attempt]:
    return {name: Attempt(sql, codes) for name, sql in attempts.items()}


TRANSACTION_CONTROL = _each(
    BY_GUARD,
    commit_delete="commit; delete from victims",
    commit_delete_one_line="commit;delete from victims;",
    commit_and_chain="commit and chain; delete from victims",
    rollback_delete="rollback; delete from victims",
    rollback_and_chain="rollback and chain; delete from victims",
    end_delete="end; delete from victims",
    abort_delete="abort work; delete from victims",
    begin_read_write="begin read write; delete from victims; commit",
    start_transaction="start transaction read write; delete from victims; commit",
    select_then_commit="select 1; commit; begin; delete from victims; commit",
    comment_before_commit="/* a /* nested */ comment */ -- and a line\n COMMIT; delete from victims",
    savepoint="savepoint a; set transaction read write; delete from victims",
    prepare_transaction="prepare transaction 'guard'",
    commit_prepared="commit prepared 'guard'",
    rollback_prepared="rollback prepared 'guard'",
    mixed_case_commit="CoMmIt; delete from victims",
)

READ_WRITE = {
    **_each(
        BY_SERVER,
        set_transaction="set transaction read write",
        set_transaction_delete="set transaction read write; delete from victims",
        set_transaction_twice="set transaction read only, read write; delete from victims",
        characteristics_delete="set session characteristics as transaction read write; delete from victims",
        default_off_delete="set default_transaction_read_only = off; delete from victims",
        role_delete="set local role guard_victim; delete from victims",
        reset_role_delete="reset role; reset session authorization; delete from victims",
        replica_role="set session_replication_role = replica; delete from victims",
        system_table_mods="set allow_system_table_mods = on; delete from pg_catalog.pg_authid where rolname ~ 'guard'",
        update_pg_settings="update pg_settings set setting = 'off' where name = 'transaction_read_only'",
        update_pg_settings_null="update pg_settings set setting = null where name = 'transaction_read_only'",
        update_pg_settings_strings="update pg_settings set setting = 'off' where name = 'standard_conforming_strings'",
    ),
    **_each(
        BY_GUARD,
        set_read_only_off="set transaction_read_only = off; delete from victims",
        set_read_only_default="set local transaction_read_only to default; select nextval('counter')",
        set_read_only_quoted="set session \"Transaction_Read_Only\" = 'off'; delete from victims",
        reset_read_only="reset transaction_read_only; select nextval('counter')",
        reset_all="reset all; delete from victims",
        set_config_off="select set_config('transaction_read_only', 'off', true); delete from victims",
        set_config_null="select set_config('transaction_read_only', null, true), nextval('counter')",
        set_config_pieces="select set_config('transaction_' || 'read_only', null, true); select nextval('counter')",
        set_config_escaped=r"select set_config(E'transaction\x5fread_only', null, true); select nextval('counter')",
        set_config_named="select set_config(is_local => true, new_value => null, "
        "setting_name => 'transaction_read_only')",
        set_config_cast="select set_config('TRANSACTION_READ_ONLY'::text, null, true); select nextval('counter')",
        set_config_continued="select set_config('transaction_'\n'read_only', null, true); select nextval('counter')",
        set_config_column="select set_config(name, null, true) from pg_settings where name like 'transaction_read%'",
    ),
}

DATA = _each(
    BY_SERVER,
    delete="delete from victims",
    insert="insert into victims (name) values ('x')",
    insert_returning="insert into victims (name) values ('x') returning id",
    update="update victims set name = 'x'",
    truncate="truncate victims restart identity cascade",
    merge="merge into victims v using users u on false when not matched then insert (name) values ('x')",
    with_delete="with d as (delete from victims returning *) select count(*) from d",
    with_insert_unused="with i as (insert into victims (name) values ('x')) select 1",
    with_nested="with a as (select 1), b as (update victims set name = 'x' returning 1) table a union table b",
    with_recursive="with recursive r as (select 1), d as (delete from victims) select * from r",
    parenthesised_with="(with d as (delete from victims returning *) select * from d)",
    explain_analyze_delete="explain analyze delete from victims",
    explain_options="explain (analyze, costs off, format json) update victims set name = 'x'",
    explain_analyze_with="explain analyze with d as (delete from victims returning *) select * from d",
    explain_analyze_execute="prepare p as delete from victims; explain analyze execute p",
    prepare_execute="prepare p as delete from victims; execute p",
    prepare_execute_arguments="prepare p(text) as update victims set name = $1; execute p('x')",
    select_into="select * into stolen from victims",
    select_into_temp="select * into temp stolen from victims",
    create_table_as="create table stolen as select * from victims",
    create_temp_table="create temp table stolen (a int)",
    for_update="select * from victims for update",
    for_key_share="select * from victims for key share skip locked",
    cursor_for_update="declare c cursor for select * from victims for update; fetch c",
    cursor_delete="declare c cursor for select * from victims; fetch c; delete from victims where current of c",
    view_insert="insert into editable values (9, 'x')",
    rule_insert="insert into ruled values (1)",
    volatile_default="insert into victims default values",
    foreign_table="delete from far_victims",
    catalog_delete="delete from pg_class where relname = 'victims'",
    large_object_table="delete from pg_largeobject_metadata",
    nextval="select nextval('counter')",
    nextval_in_values="values (nextval('counter'))",
    nextval_limit_zero="select * from (select nextval('counter') limit 1) s",
    setval="select setval('counter', 1000)",
    setval_explain="explain analyze select setval('counter', 1000)",
)

DEFINITIONS = _each(
    BY_SERVER,
    create_table="create table stolen (a int)",
    create_function="create function f() returns int language sql as 'select 1'",
    create_function_atomic="create function f() returns int begin atomic select 1; select 2; end; delete from victims",
    create_or_replace_view="create or replace view watched as select 1 as n",
    create_rule="create rule r as on insert to journal do (delete from victims; delete from users)",
    create_index="create index on victims (at)",
    create_index_concurrently="create index concurrently on victims (at)",
    create_extension="create extension hstore",
    create_role="create role stolen superuser",
    create_database="create database stolen",
    create_tablespace="create tablespace stolen location '<folder>'",
    create_publication="create publication stolen for all tables",
    create_subscription="create subscription stolen connection '<dsn>' publication p with (connect = false)",
    create_event_trigger="create event trigger t on ddl_command_end execute function write_sql()",
    create_statistics="create statistics stolen on name, at from victims",
    alter_table="alter table victims add column stolen int",
    alter_sequence="alter sequence counter restart with 1",
    alter_type="alter type mood add value 'angry'",
    alter_system="alter system set work_mem = '9MB'",
    alter_system_reset="alter system reset all",
    alter_database="alter database postgres set work_mem = '9MB'",
    alter_role="alter role guard_victim superuser",
    alter_role_set="alter role all set work_mem = '9MB'",
    drop_table="drop table victims cascade",
    drop_role="drop role guard_victim",
    drop_database="drop database template_dev",
    comment_on="comment on table victims is 'x'",
    grant="grant all on victims to guard_victim",
    grant_role="grant guard_victim to current_user",
    security_label="security label on table victims is 'x'",
    reassign="reassign owned by current_user to guard_victim",
    refresh="refresh materialized view counted",
    import_schema="import foreign schema public from server loopback into public",
)

# Functions, procedures, operators and views of the database itself: whatever they say, the transaction holds.
CODE = {
    **_each(
        BY_SERVER,
        function_sql="select write_sql()",
        function_plpgsql="select write_plpgsql()",
        function_definer="select write_definer()",
        function_immutable="select write_lying()",
        function_unlocks="select write_unlocked()",
        function_configured="select write_configured()",
        function_commits="select write_commit_inside()",
        function_in_from="select * from write_sql() as w",
        function_in_where="select 1 from users where write_plpgsql() = 1",
        function_in_explain="explain analyze select write_sql()",
        function_in_limit="select 1 limit write_sql()",
        function_in_set_value="prepare p(int) as select $1; execute p(write_sql())",
        operator="select 1 <+> 2",
        aggregate="select write_aggregate(id) from victims",
        view_with_function="table watched",
        view_with_sequence="select * from counting",
        call_commits="call write_and_commit()",
        call_rolls_back="call rollback_and_write()",
        call_plain="call write_plain()",
        run_text="select run_text('delete from victims')",
        run_text_commit="select run_text('commit')",
        run_text_read_write="select run_text('set transaction read write'); delete from victims",
        run_text_do="select run_text('do $d$ begin delete from victims; commit; end $d$')",
        table_to_xml="select table_to_xml('watched', true, false, '')",
        query_to_xml_delete="select query_to_xml('delete from victims', true, false, '')",
        query_to_xml_nextval="select query_to_xml('select nextval(''counter'')', true, false, '')",
        ts_stat_writes="select * from ts_stat('select write_plpgsql()::text::tsvector')",
        crosstab_writes="select * from crosstab('select write_plpgsql(), 1, 1') as c(a int, b int)",
    ),
    **_each((0,), function_catches="select write_caught()"),
    **_each(
        BY_GUARD,
        do_block="do $$ begin delete from victims; end $$",
        do_commit="do $$ begin commit; delete from victims; commit; end $$",
        do_after_comment="/**/do language plpgsql $$ begin commit; end $$",
        query_to_xml_commit="select query_to_xml('commit', true, false, '')",
    ),
}

# What a read-only transaction lets through: refused by name.
OUTSIDE = _each(
    BY_GUARD,
    copy_to_file="copy victims to '<folder>/stolen'",
    copy_query_to_file="copy (select 1) to '<folder>/stolen'",
    copy_to_program="copy (select 1) to program 'touch <folder>/stolen'",
    copy_from_program="copy victims from program 'touch <folder>/stolen'",
    copy_from_file="copy journal from '/etc/passwd'",
    copy_from_stdin="copy journal from stdin",
    dblink_exec="select dblink_exec('<dsn>', 'delete from victims')",
    dblink_connect="select dblink_connect('c', '<dsn>'); select dblink_exec('c', 'delete from victims')",
    dblink_rows="select * from dblink('<dsn>', 'delete from victims returning id') as t(id int)",
    dblink_send="select dblink_connect('c', '<dsn>'), dblink_send_query('c', 'delete from victims')",
    dblink_in_explain="explain analyze select dblink_exec('<dsn>', 'delete from victims')",
    dblink_prepared="prepare p as select dblink_exec('<dsn>', 'delete from victims'); execute p",
    terminate="select pg_terminate_backend(<pid>)",
    terminate_everyone="select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()",
    cancel="select pg_cancel_backend(<pid>)",
    advisory_lock="select pg_advisory_lock(1)",
    advisory_try="select pg_try_advisory_lock_shared(1, 2)",
    advisory_transaction="select pg_advisory_xact_lock(1)",
    lock_table="lock table victims in access share mode",
    notify="notify guard, 'x'",
    listen="listen guard",
    physical_slot="select pg_create_physical_replication_slot('stolen', true)",
    logical_slot="select pg_create_logical_replication_slot('stolen', 'pgoutput')",
    copy_slot="select pg_copy_physical_replication_slot('kept', 'stolen')",
    drop_slot="select pg_drop_replication_slot('kept')",
    advance_slot="select pg_replication_slot_advance('kept', pg_current_wal_lsn())",
    replication_origin="select pg_replication_origin_create('stolen')",
    logical_message="select pg_logical_emit_message(false, 'guard', 'x')",
    reload="select pg_reload_conf()",
    rotate_log="select pg_rotate_logfile()",
    switch_wal="select pg_switch_wal()",
    restore_point="select pg_create_restore_point('guard')",
    backup="select pg_backup_start('guard', true)",
    promote="select pg_promote()",
    reset_statistics="select pg_stat_reset()",
    reset_shared="select pg_stat_reset_shared('bgwriter')",
    reset_statements="select pg_stat_statements_reset()",
    lo_create="select lo_create(4242)",
    lo_creat="select lo_creat(-1)",
    lo_unlink="select lo_unlink(<oid>)",
    lo_put="select lo_put(<oid>, 0, 'x')",
    lo_from_bytea="select lo_from_bytea(0, 'x')",
    lo_import="select lo_import('/etc/passwd')",
    lo_export="select lo_export(<oid>, '<folder>/stolen')",
    lo_write="select lowrite(lo_open(<oid>, 131072), 'x')",
    lo_truncate="select lo_truncate(lo_open(<oid>, 131072), 0)",
    memory_contexts="select pg_log_backend_memory_contexts(<pid>)",
    collations="select pg_import_system_collations('public')",
    brin="select brin_summarize_new_values('victims_name')",
    prewarm_file="select autoprewarm_dump_now()",
    prewarm_worker="select autoprewarm_start_worker()",
    load="load 'auto_explain'",
    checkpoint="checkpoint",
    analyze="analyze victims",
    analyze_bare="analyze",
    vacuum="vacuum full victims",
    reindex="reindex table victims",
    cluster="cluster victims",
    discard="discard all",
)

# A name that the guard must find although the text hides it. Each one does run on the server.
HIDDEN_NAMES = _each(
    BY_GUARD,
    quoted='select "pg_reload_conf"()',
    qualified="select pg_catalog . /* a */ pg_reload_conf -- b\n ()",
    mixed_case="select PG_Catalog.Pg_Reload_Conf()",
    unicode_quoted=r'select U&"\0070g_reload_conf"()',
    unicode_plus=r'select u&"pg_reload\+00005fconf"()',
    unicode_uescape="select U&\"pg!005freload_conf\" UESCAPE '!' ()",
    unicode_uescape_comment='select U&"pg!005freload_conf" /* x */ uescape $$!$$ ()',
    array_slice="select (array[1, 2])[1:pg_reload_conf()::int]",
    array_slice_unicode=r'select (array[1, 2])[1:U&"\0070g_reload_conf"()::int]',
    array_slice_string="""select (array[1, 2])[1:E'a\\''::"char"::int], pg_reload_conf(), 'b'""",
    no_break_space_dollar="select 1 as \u00a0$$, pg_reload_conf(), 2 as \u00a0$$",
    next_line_dollar="select 1 as \u0085$x$, pg_reload_conf(), 2 as \u0085$x$",
    line_separator_dollar="select 1 as \u2028$$, pg_reload_conf(), 2 as \u2028$$",
    letters_dollar="select 1 as é$$, pg_reload_conf(), 2 as é$$",
    digits_dollar="select 1a$$, pg_reload_conf(), 1b$$",
    nested_comment="select /* /* */ ' */ pg_reload_conf() /* ' */",
    comment_in_operator="select 1 +/* ' */ pg_reload_conf()::int --'",
    line_comment_return="select 1 --'\r, pg_reload_conf() --'",
    escaped_quote=r"select E'\'', pg_reload_conf(), E'\''",
    escaped_backslash=r"select E'\\', pg_reload_conf(), '\'",
    plain_backslash=r"select '\', pg_reload_conf(), '\'",
    continued_escape="select E'a'\n'\\'', pg_reload_conf(), 'b'",
    identifier_before_quote=r"select date '2020-01-01', pg_reload_conf(), '\'",
    bit_string=r"select b'1', x'1F', n'\', pg_reload_conf(), '\'",
    dollar_in_dollar="select $a$ $$ $a$, pg_reload_conf(), $b$ $$ $b$",
    dollar_parameter="select $1$$'$$, pg_reload_conf(), '$$'",
    quoted_quote='''select 1 as "a""'", pg_reload_conf(), 2 as "'"''',
    strings_off=r"set standard_conforming_strings = off; select '\'' , pg_reload_conf(), '\''",
    strings_off_config=r"select set_config('standard_conforming_strings', 'off', true); "
    r"select '\'' , pg_reload_conf(), '\''",
    strings_reset=r"reset standard_conforming_strings; select '\'' , pg_reload_conf(), '\''",
    encoding_sjis="set client_encoding = 'SJIS'; select E'\u0081\\', pg_reload_conf(), E'b'",
    encoding_names="set names 'SJIS'; select E'\u0081\\', pg_reload_conf(), E'b'",
    encoding_config="select set_config('client_encoding', 'SJIS', true); select E'\u0081\\', pg_reload_conf(), E'b'",
    text_plain="select query_to_xml('select pg_reload_conf()', true, false, '')",
    text_pieces="select query_to_xml('select pg_rel' || 'oad_conf()', true, false, '')",
    text_continued="select query_to_xml('select pg_rel'\n'oad_conf()', true, false, '')",
    text_hex=r"select query_to_xml(E'select pg_reload\x5fconf()', true, false, '')",
    text_octal=r"select query_to_xml(E'select \560g_reload_conf()', true, false, '')",
    text_unicode=r"select query_to_xml(U&'select pg_reload\005fconf()', true, false, '')",
    text_uescape="select query_to_xml(U&'select pg_reload!005fconf()' uescape '!', true, false, '')",
    text_quoted=r"""select query_to_xml('select U&"pg_reload\005fconf"()', true, false, '')""",
    text_format="select query_to_xml(format('select %s_reload_conf()', 'pg'), true, false, '')",
    text_column="select query_to_xml(q, true, false, '') from (select 'select pg_rel'||'oad_conf()') v(q)",
    text_column_query="select query_to_xml(query, true, false, '') "
    "from (select 'select pg_rel'||'oad_conf()') v(query)",
    text_column_type="select query_to_xml(v.text, true, false, '') from (select 'select pg_rel'||'oad_conf()') v(text)",
    text_named="select query_to_xml(nulls => true, tableforest => false, targetns => '', "
    "query => 'select pg_rel' || 'oad_conf()')",
    text_nested="select query_to_xml('select query_to_xml(''select pg_reload_conf()'', true, false, '''')', "
    "true, false, '')",
    text_nested_pieces="select query_to_xml('select query_to_xml(''select pg_rel''||''oad_conf()'', true, false, "
    "'''')', true, false, '')",
    text_dollar="select query_to_xml($q$select pg_reload_conf()$q$, true, false, '')",
    text_schema="select query_to_xml_and_xmlschema('select pg_reload_conf()', true, false, '')",
    text_ts_stat="select * from ts_stat('select pg_reload_conf()::text::tsvector')",
    text_ts_rewrite="select ts_rewrite('a'::tsquery, 'select pg_rel' || 'oad_conf()::text::tsquery, ''b''::tsquery')",
    text_crosstab="select * from crosstab('select 1, 1, pg_reload_conf()::text') as c(a int, b text)",
    text_connectby="select * from connectby('(select pg_reload_conf()::text a, '''' b) x', 'a', 'b', 'q', 0) "
    "as t(a text, b text, level int)",
    text_connectby_pieces="select * from connectby('victims', 'pg_reload_conf/*', '*/()::text', 'q', 0) "
    "as t(a text, b text, level int)",
    text_prepared="prepare p(text) as select query_to_xml($1, true, false, ''); "
    "execute p('select pg_rel' || 'oad_conf()')",
)

# Text that tries to leave the COPY ( … ) TO STDOUT around it, or to be taken for one statement.
WRAPPER = {
    **_each(
        BY_SERVER,
        close_delete="select 1) to stdout; delete from victims; copy (select 1",
        close_comment="select 1) to stdout; delete from victims --",
        close_file="select 1) to '<folder>/stolen' --",
        close_program="select 1) to program 'touch <folder>/stolen' --",
        close_open_comment="select 1) to program 'touch <folder>/stolen' /*",
        close_alias="select 1) as q) to '<folder>/stolen' --",
        close_row="select 1) q) to program 'touch <folder>/stolen' with (format csv) --",
        open_parenthesis="select (1; delete from victims",
        open_bracket="select array[1; delete from victims",
        unterminated_string="select 'a; delete from victims",
        unterminated_escape=r"select E'a\'; delete from victims",
        unterminated_identifier='select "a; delete from victims',
        unterminated_dollar="select $a$; delete from victims",
        unterminated_comment="select 1 /* ; delete from victims",
        close_comment_first="select 1 */ ; delete from victims /*",
        two_statements="select 1; delete from victims",
        empty_between=";;select 1;;; ;delete from victims;;",
        values_delete="values (1); delete from victims",
        delete_after_dollar="select $a$ ; $a$; delete from victims",
        delete_after_nested="select 1 /* /* */ ; */; delete from victims",
        delete_after_escape=r"select E'\';'; delete from victims",
        delete_after_return="select 1 --\r; delete from victims",
        delete_after_unicode="select 1 as \u00a0; delete from victims",
        psql_shell="\\! touch <folder>/stolen",
        psql_gexec="select 'delete from victims' \\gexec",
        psql_copy="\\copy victims to '<folder>/stolen'",
        fullwidth_semicolon="select 1\uff1b delete from victims",
        no_break_space="\u00a0delete from victims",
        byte_order_mark="\ufeffdelete from victims",
        zero_width="de\u200blete from victims",
        fullwidth_letters="\uff44elete from victims",
    ),
    **_each((0,), quoted_everything="select $$) to stdout; delete from victims$$, ') to stdout; --', '/*'"),
}

GIVEN = {
    "file_commit": Attempt("select 1;\ncommit;\ndelete from victims;\n", BY_GUARD, way="file"),
    "file_delete": Attempt("-- a file\nselect 1;\n\ndelete from victims;\n", BY_SERVER, way="file"),
    "file_byte_order_mark": Attempt("\ufeffdelete from victims;\n", BY_SERVER, way="file"),
    "file_null_byte": Attempt("select 1\x00; delete from victims", (2,), way="file"),
    "file_long": Attempt(f"select '{'x' * 2_000_000}' is null; delete from victims", BY_SERVER, way="file"),
    "file_long_comment": Attempt(f"/* {'; ' * 500_000} */ commit; delete from victims", BY_GUARD, way="file"),
    "file_deep": Attempt(f"select {'(' * 30_000}1{')' * 30_000}; delete from victims", BY_SERVER, way="file"),
    "file_many": Attempt("select 1;\n" * 200 + "delete from victims;\n", BY_SERVER, way="file"),
    "file_crlf": Attempt("select 1\r\n--\r\n;\r\ncommit;\r\ndelete from victims\r\n", BY_GUARD, way="file"),
    "stdin_commit": Attempt("commit; delete from victims", BY_GUARD, way="stdin"),
    "stdin_delete": Attempt("with d as (delete from victims returning 1) select * from d", BY_SERVER, way="stdin"),
    "parameter_statement": Attempt("select :x", (0,), params=("x=1; delete from victims",)),
    "parameter_quote": Attempt("select :'x'", (0,), params=("x='); delete from victims; --",)),
    "parameter_name": Attempt("select * from :x", BY_SERVER, params=("x=victims; delete from victims",)),
    "parameter_whole": Attempt(":x", BY_SERVER, params=("x=delete from victims",)),
    "parameter_commit": Attempt("commit; delete from victims where id = :x", BY_GUARD, params=("x=1",)),
    "parameter_delete": Attempt("delete from victims where name <> :x", BY_SERVER, params=("x=1",)),
    "parameter_text": Attempt(
        "select query_to_xml(:q, true, false, '')", BY_GUARD, params=("q=select pg_reload_conf()",)
    ),
    "parameter_setting": Attempt(
        "select set_config(:n, null, true); select nextval('counter')", BY_GUARD, params=("n=transaction_read_only",)
    ),
    "parameter_slice": Attempt("select (array[1, 2])[1:pg_reload_conf()::int], :x::int", BY_GUARD, params=("x=1",)),
    "limit_delete": Attempt("with d as (delete from victims returning 1) table d", BY_SERVER, options=("--limit", "1")),
    "limit_break_out": Attempt(
        "select 1) q limit 1) to program 'touch <folder>/stolen' --", BY_SERVER, options=("--limit", "1")
    ),
    "limit_zero": Attempt("select nextval('counter'), pg_sleep(0)", BY_SERVER, options=("--limit", "1")),
    "timeout_delete": Attempt("delete from victims", BY_SERVER, options=("--timeout", "0")),
    "all_commit": Attempt("commit; delete from victims", (2, 5), env="all"),
    "all_delete": Attempt("delete from victims", (1, 5, 6), env="all"),
    "all_with_delete": Attempt("with d as (delete from victims returning 1) select * from d", (1, 5, 6), env="all"),
    "all_terminate": Attempt("select pg_terminate_backend(<pid>)", BY_GUARD, env="all"),
    "all_two": Attempt("select 1; delete from victims", (2,), env="all"),
    "production_commit": Attempt("commit; delete from victims", BY_GUARD, env="production"),
    "production_delete": Attempt("delete from victims", BY_SERVER, env="production"),
    "production_confirm": Attempt(
        "delete from victims", BY_SERVER, options=("--confirm", "production"), env="production"
    ),
    "production_text": Attempt("select query_to_xml('select 1', true, false, '')", BY_GUARD, env="production"),
    "production_terminate": Attempt("select pg_terminate_backend(<pid>)", BY_GUARD, env="production"),
}

# These run, and the end of the transaction or of the session undoes all they do.
UNDONE = _each(
    (0,),
    characteristics="set session characteristics as transaction read write",
    default_off="set default_transaction_read_only = off",
    default_off_config="select set_config('default_transaction_read_only', 'off', false)",
    set_role="set role guard_victim",
    set_session_authorization="set session authorization guard_victim",
    pg_notify="select pg_notify('guard', 'x')",
    prepare_only="prepare p as delete from victims",
    explain_only="explain delete from victims",
    export_snapshot="select pg_export_snapshot()",
    transaction_id="select txid_current()",
    cursor_with_hold="declare c cursor with hold for select * from victims; move all in c",
    explain_analyze_into="explain analyze select * into stolen from victims",
    explain_analyze_ctas="explain analyze create table stolen as select * from victims",
    set_random_setting="set guard.setting = 'x'",
)

ATTEMPTS: dict[str, Attempt] = {
    f"{group}-{name}": attempt
    for group, attempts in {
        "transaction": TRANSACTION_CONTROL,
        "readwrite": READ_WRITE,
        "data": DATA,
        "definitions": DEFINITIONS,
        "code": CODE,
        "outside": OUTSIDE,
        "hidden": HIDDEN_NAMES,
        "wrapper": WRAPPER,
        "given": GIVEN,
        "undone": UNDONE,
    }.items()
    for name, attempt in attempts.items()
}

# Run in every format, because each takes another way to the server (COPY csv, COPY json, COPY text, no COPY).
EVERY_FORMAT = tuple(name for name in ATTEMPTS if name.startswith("wrapper-close"))

READING: dict[str, str] = {
    "select": "select id, email from users order by id limit 3",
    "uppercase": "SELECT COUNT(*) FROM USERS",
    "trailing_semicolons": "select 1;;",
    "trailing_comment": "select 1 -- done",
    "leading_comment": "-- what is it?\n/* a /* b */ c */ select 1",
    "parenthesised": "((select 1) union (select 2)) order by 1",
    "values": "values (1, 'a'), (2, null)",
    "table": "table victims",
    "with": "with v as (select * from victims) select count(*) from v",
    "with_recursive": "with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) select * from n",
    "window": "select id, row_number() over w, lag(name) over w from victims window w as (order by id)",
    "lateral": "select v.id, l.n from victims v cross join lateral (select v.id * 2 as n) l",
    "grouping_sets": "select name, count(*) from victims group by grouping sets ((name), ())",
    "filter": "select count(*) filter (where id < 0), string_agg(name, ',' order by id) from victims",
    "show": "show server_version",
    "show_read_only": "show transaction_read_only",
    "explain": "explain select * from victims",
    "explain_analyze": "explain (analyze, buffers) select * from victims where id = -1",
    "explain_delete": "explain delete from victims",
    "information_schema": "select table_name from information_schema.tables where table_schema = 'public'",
    "pg_catalog": "select relname, relkind from pg_class where relname = 'victims'",
    "sizes": "select pg_size_pretty(pg_total_relation_size('victims'))",
    "activity_literal": "select pid from pg_stat_activity where query like '%pg_terminate_backend(%'",
    "proc_literal": "select proname from pg_proc where proname in ('dblink_exec', 'lo_import', 'pg_reload_conf')",
    "privilege_literal": "select has_function_privilege('pg_reload_conf()', 'execute')",
    "commit_literal": "select 'commit; delete from victims'",
    "dollar_literal": "select $$commit; delete from victims$$, $a$ $$ ; $$ $a$",
    "escape_literal": r"select E'it\'s; commit', 'back\slash', E'\\'",
    "unicode_literal": r"select U&'d\0061t\+000061', U&'d!0061ta' uescape '!', n'x'",
    "continued_literal": "select 'one'\n  -- and\n  'two'",
    "bit_literals": "select b'101', x'1F'",
    "numbers": "select 1.5e-3, .5, 1e10, 7::bigint",
    "unicode_names": "select 1 as größe, 2 as \"Größe\", '漢字' as 名前",
    "quoted_names": 'select "begin", "commit;" from "Odd; DROP TABLE victims"',
    "keyword_aliases": 'select 1 as begin, 2 as "commit", 3 as do, 4 as copy, 5 as lock, 6 as vacuum, 7 as load',
    "function_like_names": "select 1 as dblink, 2 as lo_import, v.pg_reload_conf from (values (1)) v(pg_reload_conf)",
    "duplicate_columns": "select 1 as a, 2 as a",
    "no_rows": "select * from victims where false",
    "array_slice": "select (array[1, 2, 3])[1:2], (array[1, 2, 3])[id + 51:] from victims limit 1",
    "json": """select '{"a": [1]}'::jsonb -> 'a', jsonb_path_query('[1, 2]', '$[*]'), '{"a":1}'::jsonb ? 'a'""",
    "operators": "select 1 <> 2, 'a' || 'b', 5 % 3, '{1,2}'::int[] @> '{1}', 'abc' ~ '^\\w+$'",
    "case": "select case when id < 0 then 'end' else 'begin' end from victims",
    "large_object_read": "select length(lo_get(<oid>))",
    "sequence_read": "select last_value from counter",
    "sequences_view": "select sequencename, last_value from pg_sequences",
    "locks": "select locktype, mode, granted from pg_locks",
    "slots": "select slot_name, active from pg_replication_slots",
    "settings": "select name, setting from pg_settings where name like 'transaction%'",
    "set_and_show": "set local search_path = public, pg_catalog; show search_path",
    "set_timeout": "set statement_timeout = '5s'; select 1",
    "set_time_zone": "set time zone 'UTC'; select now()",
    "set_config": "select set_config('search_path', 'public', true)",
    "current_setting": "select current_setting('standard_conforming_strings')",
    "cursor": "declare c cursor for select * from victims; fetch 2 from c; move 1 in c; close c",
    "prepared": "prepare p(int) as select * from victims where id = $1; execute p(-1); deallocate p",
    "prepared_literal": "prepare p(text) as select $1; execute p('pg_terminate_backend(1)'); deallocate p",
    "function_reading": "select * from pg_get_keywords() limit 3",
    "generate_series": "select * from generate_series(1, 3) as g(n)",
    "tablesample": "select count(*) from victims tablesample bernoulli (100)",
    "foreign_table": "select count(*) from far_victims",
    "materialized_view": "select * from counted",
    "ts_stat": "select * from ts_stat('select to_tsvector(name) from victims') order by word limit 2",
    "crosstab": "select * from crosstab('select 1, ''a''::text, 2', 'values (''a''::text)') as c(r int, a int)",
    "ts_rewrite": "select ts_rewrite(to_tsquery('simple', 'a'), 'select ''a''::tsquery, ''b''::tsquery')",
    "dashes": f"select 'a' {'-' * 80}\n, 'b' {'-' * 80}",
    "dashes_between": f"select 'a' {'-- ' * 40}\n from victims {'-' * 500}",
    "long": f"select length('{'x' * 50_000}')",
    "many_columns": f"select {', '.join(f'{n} as c{n}' for n in range(400))}",
    "two_statements": "select 1 as a; select 2 as a",
}
