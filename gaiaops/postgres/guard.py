"""What keeps a reading command from changing anything.

The server does the work: a REPEATABLE READ READ ONLY transaction that has its snapshot already cannot be
made read-write (manual, SET TRANSACTION), each statement goes through the extended protocol, which takes one
statement only (manual 54.2.3), and ROLLBACK ends it. This module refuses by name what such a transaction
lets through: commands that end it, and commands and functions that act outside of it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gaiaops.errors import RefusedError
from gaiaops.postgres.lexer import Kind, Statement, Token, split
from gaiaops.registry.model import Timeouts

# Commands that a read-only transaction runs although they end it, act outside it, or block others.
_COMMANDS = {
    "ABORT": "it ends the read-only transaction",
    "BEGIN": "gaiaops opens the transaction",
    "COMMIT": "it ends the read-only transaction",
    "END": "it ends the read-only transaction",
    "ROLLBACK": "it ends the read-only transaction",
    "START": "gaiaops opens the transaction",
    "SAVEPOINT": "gaiaops runs the transaction",
    "RELEASE": "gaiaops runs the transaction",
    "COPY": "it can write to files and programs of the server",
    "DO": "its code is text that cannot be checked",
    "LOCK": "it blocks the platform",
    "LOAD": "it loads code into the server",
    "CHECKPOINT": "it loads the server",
    "ANALYZE": "it changes the planner's statistics",
    "VACUUM": "it rewrites the table",
    "REINDEX": "it blocks the platform and changes the planner's statistics",
    "CLUSTER": "it blocks the platform",
    "NOTIFY": "it signals other sessions",
    "LISTEN": "it outlives the statement",
    "DISCARD": "it resets the session",
}

# Functions whose effect a read-only transaction does not prevent and ROLLBACK does not undo.
_FUNCTIONS = re.compile(
    r"""(?:
      dblink\w*                                             # another connection, with a transaction of its own
    | lo_(?:import|export|create|creat|unlink|put|from_bytea|open|truncate(?:64)?)
    | lowrite | lo_?write | loread
    | pg_(?:terminate|cancel)_backend
    | pg_(?:try_)?advisory_(?:xact_)?(?:lock|unlock)\w*
    | pg_reload_conf | pg_rotate_logfile(?:_old)? | pg_promote
    | pg_(?:switch_wal|switch_xlog|create_restore_point|log_standby_snapshot)
    | pg_(?:backup_start|backup_stop|start_backup|stop_backup)
    | pg_(?:wal|xlog)_replay_(?:pause|resume)
    | pg_logical_emit_message
    | pg_(?:create|copy|drop)_(?:physical_|logical_)?replication_slot | pg_copy_(?:physical|logical)_replication_slot
    | pg_replication_slot_advance | pg_sync_replication_slots
    | pg_logical_slot_get_(?:binary_)?changes
    | pg_replication_origin_(?:create|drop|advance|session_setup|session_reset|xact_setup|xact_reset)
    | pg_stat_reset\w* | pg_\w+_reset | pg_stat_force_next_flush
    | pg_(?:restore|clear)_(?:relation|attribute|extended)_stats
    | pg_file_(?:write|rename|unlink|sync) | pg_logfile_rotate
    | pg_import_system_collations | pg_nextoid | pg_stop_making_pinned_objects
    | brin_(?:summarize|desummarize)\w* | gin_clean_pending_list
    | pg_buffercache_(?:evict|mark_dirty)\w* | pg_truncate_visibility_map | heap_force_(?:kill|freeze)
    | autoprewarm_\w+                                       # writes a file, starts a worker
    | pg_log_backend_memory_contexts
    | http(?:_get|_head|_post|_put|_delete|_patch)?         # pgsql-http, pg_net: requests are sent at once
    | connectby | xpath_table                               # put a query together from their arguments
    | run_command_on_\w+                                   # Citus: any statement, over connections to its nodes
    )""",
    re.VERBOSE | re.IGNORECASE,
)
# Functions that run text as SQL. It is checked like a statement, so it must stand there in full.
_RUN_TEXT = re.compile(r"query_to_xml\w*|ts_stat|ts_rewrite|crosstab\w*", re.IGNORECASE)
# Their arguments with '' for every literal: literals, [name =>] before and a cast after, and nothing else.
_VALUE = r"(\w+ = > )?(''|[0-9]+|true|false|null|(plain|phrase|websearch_)?to_tsquery \( ''( , '')? \))( :: \w+)?"
_LITERALS = rf"{_VALUE}( , {_VALUE})*"  # compiled when first needed
# Settings that decide what the transaction may do or how the server reads a text. RESET makes a transaction
# read-write on PostgreSQL 15 and older; with the other two a quote here would not be a quote there.
_SETTINGS = re.compile(r"transaction_\w+|standard_conforming_strings|client_encoding|names|all", re.IGNORECASE)
_WRITE_HINT = "add --write if you mean it"

# Who the server is: two columns of a statement that is sent anyhow. Citus keeps its catalog in pg_catalog.
SERVER = "version(), to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL"
# Which of the server's sessions this is, and what kind of transaction it has really opened.
WHICH = (
    f"SELECT pg_backend_pid(), {SERVER}, current_setting('transaction_read_only'),"
    " current_setting('transaction_isolation')"
)

# Tags of commands that leave the guarded transaction; after one of them nothing more is run.
ENDING_TAGS = ("COMMIT", "ROLLBACK", "BEGIN", "START TRANSACTION", "PREPARE TRANSACTION")


def refuse(statement: Statement, *, protected: bool) -> None:
    """Raises RefusedError where a reading command must not run this statement.

    >>> from gaiaops.postgres.lexer import split
    >>> refuse(split("select pg_terminate_backend(7)")[0], protected=False)
    Traceback (most recent call last):
    gaiaops.errors.RefusedError: refused: pg_terminate_backend acts outside the read-only transaction
    """
    keyword = statement.keyword
    if keyword in _COMMANDS:
        raise RefusedError(f"refused: {keyword} in a reading command: {_COMMANDS[keyword]}", hint=_hint(keyword))
    if keyword == "PREPARE" and [t.text for t in statement.tokens[:2]] == ["prepare", "transaction"]:
        raise RefusedError(
            "refused: PREPARE TRANSACTION in a reading command: it ends the read-only transaction",
            hint=_WRITE_HINT,
        )
    if keyword in ("SET", "RESET"):
        _refuse_setting(_setting(statement.tokens))
    for index, name in calls(statement.tokens):
        if _FUNCTIONS.fullmatch(name):
            raise RefusedError(f"refused: {name} acts outside the read-only transaction", hint=_WRITE_HINT)
        if name == "set_config":
            _refuse_setting(_first_text(arguments(statement.tokens, index)))
        if _RUN_TEXT.fullmatch(name):
            _refuse_text(name, arguments(statement.tokens, index), protected)


def calls(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    """The names that are called, with the place of the parenthesis."""
    for index, token in enumerate(tokens[1:], 1):
        before = tokens[index - 1]
        if token.kind is not Kind.OPEN or token.text != "(":
            continue
        if before.kind in (Kind.WORD, Kind.QUOTED):
            yield index, before.text
        elif before.kind is Kind.VARIABLE:  # no parameter but the end of a slice: [1:name()]
            yield index, before.text[1:].lower()
        elif before.kind is Kind.STRING and [t.text for t in tokens[max(0, index - 2) : index - 1]] == ["uescape"]:
            raise RefusedError("refused: a name written with UESCAPE is not checked", hint="write it plainly")


def arguments(tokens: Sequence[Token], start: int) -> Sequence[Token]:
    """What stands between the parenthesis at `start` and its other half."""
    depth = 0
    for index, token in enumerate(tokens[start:], start):
        depth += (token.kind is Kind.OPEN) - (token.kind is Kind.CLOSE)
        if depth == 0:
            return tokens[start + 1 : index]
    return tokens[start + 1 :]


def _setting(tokens: Sequence[Token]) -> str:
    """The name in SET [SESSION | LOCAL] name … and RESET name."""
    texts = [token.text for token in tokens[1:3]]
    return texts[-1] if texts[:1] in (["session"], ["local"]) else "".join(texts[:1])


def _first_text(arguments: Sequence[Token]) -> str | None:
    """The first argument where it is a plain literal."""
    plain = bool(arguments) and arguments[0].kind is Kind.STRING and [t.text for t in arguments[1:2]] == [","]
    return arguments[0].text if plain else None


def _refuse_setting(name: str | None) -> None:
    if name is None:
        raise RefusedError("refused: set_config with a name that is put together", hint="write the name plainly")
    if _SETTINGS.fullmatch(name):
        raise RefusedError(f"refused: {name} is the guard's own setting in a reading command", hint=_WRITE_HINT)


def _refuse_text(name: str, arguments: Sequence[Token], protected: bool) -> None:
    """Raises RefusedError unless the text to run stands there in full and may itself run."""
    if protected:
        raise RefusedError(
            f"refused: {name} runs text as SQL, which cannot be checked, in a protected environment",
            hint=_WRITE_HINT,
        )
    shape = " ".join({Kind.STRING: "''", Kind.QUOTED: '"'}.get(token.kind, token.text) for token in arguments)
    if not re.fullmatch(_LITERALS, shape):
        raise RefusedError(
            f"refused: {name} runs text as SQL, and only text in full can be checked",
            hint="write its arguments as plain literals",
        )
    for token in arguments:
        if token.kind is Kind.STRING:
            for statement in split(token.text):
                refuse(statement, protected=protected)


def _hint(keyword: str) -> str:
    if keyword == "COPY":
        return "for a file use --format csv -o FILE; to change data add --write"
    if keyword in ("BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"):
        return "leave it out: each run is one transaction; to change data add --write"
    return _WRITE_HINT


def settings_sql(timeouts: Timeouts) -> str:
    """Bounds for one transaction. SET LOCAL, because a transaction pooler keeps no session state."""
    return (
        f"SET LOCAL statement_timeout = {timeouts.statement}; SET LOCAL lock_timeout = {timeouts.lock}; "
        f"SET LOCAL idle_in_transaction_session_timeout = {timeouts.idle}; "
        "SET LOCAL standard_conforming_strings = on"
    )


def begin_read_sql(timeouts: Timeouts) -> str:
    """Opens the guarded transaction in one round trip; the SELECT takes the snapshot that seals it."""
    return f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {settings_sql(timeouts)}; {WHICH}"


def begin_plan_sql(timeouts: Timeouts, *tables: str) -> str:
    """As begin_read_sql, with temporary tables that end with the transaction, made before it is sealed."""
    makes = "; ".join((settings_sql(timeouts), *tables))
    return f"BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE; {makes}; SET TRANSACTION READ ONLY; {WHICH}"


def begin_write_sql(timeouts: Timeouts) -> str:
    """Opens the one transaction of a `--write` run."""
    return f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {settings_sql(timeouts)}"
