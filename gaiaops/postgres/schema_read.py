"""Reads the objects of a schema, all in one snapshot; what cannot be read is said, and the rest is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from gaiaops.errors import DeadlineError, GaiaopsError
from gaiaops.postgres import queries
from gaiaops.postgres.probe import Probe, is_gone, unseen
from gaiaops.postgres.schema_object import QUESTIONS, SchemaObject, SchemaRead
from gaiaops.postgres.session import WHO

_TRIES = 3
_CHANGED = "XX000"  # internal_error: "cache lookup failed", where an object was dropped while it was looked at
# What PostgreSQL 13 lacks: bodies of functions that are parsed SQL, a column's compression.
_SINCE_14 = ("pg_get_function_sqlbody(p.oid)", "a.attcompression")
# Whole catalogs are joined, which nobody may have analysed: a nested loop over 1,000 tables takes ten times as long.
_PLAN = "SET LOCAL enable_nestloop = off; "


def read(
    probe: Probe, environment: str, schemas: Sequence[str] = (), wanted: Collection[str] = frozenset(QUESTIONS)
) -> SchemaRead:
    """The objects of these schemas (all that are not the system's, where none is named) that the wanted questions give.

    Definitions are the server's own texts, fully qualified. As in pg_dump, they are written out of the newest catalog,
    not the snapshot's: an object that changes meanwhile may be shown as it is afterwards.
    """
    objects: list[SchemaObject] = []
    unread: dict[str, str] = {}
    lost = ""
    with probe.snapshot():
        for question in QUESTIONS:
            if question not in wanted:
                continue
            if lost:
                unread[question] = lost
                continue
            try:
                objects += _objects(_ask(probe, question, list(schemas)))
            except GaiaopsError as error:
                unread[question] = unseen(error)
                lost = unread[question] if is_gone(error) else ""
    return SchemaRead(environment, probe.version, tuple(objects), unread)


def identity(probe: Probe) -> tuple[str, ...]:
    """What is behind the connection; nothing where this role may not know."""
    try:
        return tuple(probe.ask(WHO)[0])
    except GaiaopsError:
        return ()


def _ask(probe: Probe, question: str, schemas: list[str]) -> list[tuple[Any, ...]]:
    """The rows of a question. Where somebody locks a table, everything but what would wait for it."""
    sql = _PLAN + queries.load(f"schema_{question}")
    if probe.version < 140_000:
        for expression in _SINCE_14:
            sql = sql.replace(expression, "NULL")
    locked: set[int] = set()
    for tries_left in reversed(range(_TRIES)):
        try:
            return probe.ask(sql, {"schemas": schemas, "locked": sorted(locked)})
        except DeadlineError as error:
            if error.sqlstate != "55P03" or not tries_left:
                raise
            locked |= {row[0] for row in probe.ask(queries.load("schema_locked"))}
        except GaiaopsError as error:
            if error.sqlstate != _CHANGED or not tries_left:
                raise
    raise AssertionError("the last try gives or raises")


def _objects(rows: Iterable[tuple[Any, ...]]) -> Iterable[SchemaObject]:
    for kind, owner, name, anchor, near, hidden, facts in rows:
        kept = None if hidden or facts is None else {key: value for key, value in facts.items() if value}
        # A definition that is NULL belongs to an object that went while it was looked at.
        gone = kept is not None and "definition" in facts and not _complete(kind, facts)
        yield SchemaObject(kind, owner, name, anchor, near, None if gone else kept)


def _complete(kind: str, facts: dict[str, str | None]) -> bool:
    return facts["definition"] is not None or kind in ("table", "foreign-table")
