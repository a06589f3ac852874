"""What keeps a reading command from changing anything.

The server does the work: a REPEATABLE READ READ ONLY transaction that has its snapshot already cannot be
made read-write (manual, SET TRANSACTION), each statement goes through the extended protocol, which takes one
statement only (manual 54.2.3), and ROLLBACK ends it. This module refuses by name what such a transaction
lets through: commands that end it, and commands and functions that act outside of it. Pure.
"""

from __future__ import annotations

import re

from gaiaops.errors import RefusedError
from gaiaops.postgres.lexer import Kind, Statement
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
    | pg_replication_origin_\w+
    | pg_stat_reset\w* | pg_stat_statements_reset | pg_stat_force_next_flush
    | pg_(?:restore|clear)_(?:relation|attribute|extended)_stats
    | pg_file_(?:write|rename|unlink|sync) | pg_logfile_rotate
    | pg_import_system_collations | pg_nextoid | pg_stop_making_pinned_objects
    | brin_(?:summarize|desummarize)\w* | gin_clean_pending_list
    | pg_buffercache_(?:evict|mark_dirty)\w* | pg_truncate_visibility_map | heap_force_(?:kill|freeze)
    | pg_log_backend_memory_contexts
    | http_(?:get|post|put|delete|patch)                    # pgsql-http, pg_net: requests are sent at once
    )""",
    re.VERBOSE | re.IGNORECASE,
)
# Functions that run text as SQL: a name can hide in that text, put together from pieces.
_RUN_TEXT = re.compile(
    r"(?:query|cursor)_to_xml\w*|ts_stat|ts_rewrite|crosstab\w*|connectby",
    re.IGNORECASE,
)
_WRITE_HINT = "add --write if you mean it"

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
    names = [t.text for t in statement.tokens if t.kind in (Kind.WORD, Kind.QUOTED)]
    runs_text = next((name for name in names if _RUN_TEXT.fullmatch(name)), None)
    if runs_text and protected:
        raise RefusedError(
            f"refused: {runs_text} runs text as SQL, which cannot be checked, in a protected environment",
            hint=_WRITE_HINT,
        )
    for name in names:
        if _FUNCTIONS.fullmatch(name):
            raise _acts_outside(name)
    if runs_text or keyword == "EXECUTE":
        for token in statement.tokens:
            found = _FUNCTIONS.search(token.text) if token.kind is Kind.STRING else None
            if found:
                raise _acts_outside(found[0])


def _acts_outside(name: str) -> RefusedError:
    return RefusedError(f"refused: {name} acts outside the read-only transaction", hint=_WRITE_HINT)


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
    """Opens the guarded transaction in one round trip; SELECT 1 takes the snapshot that seals it."""
    return f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {settings_sql(timeouts)}; SELECT 1"


def begin_write_sql(timeouts: Timeouts) -> str:
    """Opens the one transaction of a `--write` run."""
    return f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {settings_sql(timeouts)}"
