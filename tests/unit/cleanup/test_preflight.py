"""What forbids a purge, and what is only said before it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from gaiaops.cleanup import preflight
from gaiaops.postgres.shape import Facts, ForeignKey, Table
from gaiaops.registry.model import Reference

from .values import FACTS, USERS, build, column, key, table

NOTES = table(2, "notes", column("user_id"), column("created_by"))


def facts(**fields: object) -> Facts:
    return msgspec.structs.replace(FACTS, **fields)


def refusals(
    notes: Table = NOTES,
    keys: list[ForeignKey] | None = None,
    *,
    users: Table = USERS,
    server: Facts = FACTS,
    deleted: Mapping[int, int] | None = None,
    references: tuple[Reference, ...] = (),
) -> list[str]:
    graph = build([users, notes], [key(2, 1, "user_id")] if keys is None else keys, references)
    return list(preflight.refusals(graph, server, deleted or {}))


def warnings(
    notes: Table = NOTES,
    keys: list[ForeignKey] | None = None,
    *,
    server: Facts = FACTS,
    deleted: Mapping[int, int] | None = None,
    touched: tuple[str, ...] = ("users", "notes"),
) -> list[str]:
    graph = build([USERS, notes], [key(2, 1, "user_id")] if keys is None else keys)
    return list(preflight.warnings(graph, server, deleted or {}, touched))


def changed(value: Table, **fields: object) -> Table:
    return msgspec.structs.replace(value, **fields)


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    assert refusals() == []
    assert warnings() == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"standby": True}, "this is a replica"),
        ({"may_temp": False}, "may not create temporary tables"),
        ({"counts": False}, "track_counts is off"),
    ],
)
def test_what_the_server_forbids(fields: dict[str, object], message: str) -> None:
    (refusal,) = refusals(server=facts(**fields))
    assert message in refusal


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rls": True}, "row-level security hides rows of notes"),
        ({"rules": True}, "notes has rewrite rules"),
        ({"heirs": True}, "other tables inherit from notes"),
        ({"foreign_parts": True}, "a partition of notes is a foreign table"),
        ({"may": ("SELECT", "INSERT", "UPDATE")}, "may not DELETE in notes"),
        ({"may": ()}, "may not DELETE or SELECT in notes"),
    ],
)
def test_what_a_table_forbids(fields: dict[str, object], message: str) -> None:
    (refusal,) = refusals(changed(NOTES, **fields))
    assert message in refusal


@pytest.mark.parametrize("kind", ["v", "m", "f"])
def test_a_declared_column_of_a_view_or_a_foreign_table_forbids(kind: str) -> None:
    (refusal,) = refusals(changed(NOTES, kind=kind), [], references=(Reference("notes", "user_id"),))
    assert "notes is no table" in refusal


def test_users_need_the_privilege_to_lock_and_a_leaf_does_not() -> None:
    both = ("SELECT", "INSERT", "DELETE")
    (refusal,) = refusals(changed(NOTES, may=both), users=changed(USERS, may=both))
    assert "may not UPDATE in users" in refusal


def test_a_table_that_is_nulled_needs_update_and_not_delete() -> None:
    nulled = [key(2, 1, "created_by", "n")]
    assert refusals(changed(NOTES, may=("SELECT", "UPDATE")), nulled) == []
    (refusal,) = refusals(changed(NOTES, may=("SELECT", "DELETE")), nulled)
    assert "may not UPDATE in notes" in refusal


def test_a_table_that_is_not_touched_forbids_nothing() -> None:
    assert refusals(changed(NOTES, rls=True, may=(), rules=True), []) == []


def test_a_table_that_blocks_must_be_visible() -> None:
    """Row-level security would hide the very rows that are to block."""
    blocks = (Reference("notes", "user_id", on_delete="block"),)
    assert refusals(references=blocks) == []
    assert refusals(changed(NOTES, rls=True), references=blocks)
    assert refusals(changed(NOTES, may=()), references=blocks)


def test_problems_of_the_graph_forbid() -> None:
    (refusal,) = refusals(keys=[key(2, 1, "user_id", temporal=True)])
    assert refusal == "notes.user_id: a temporal foreign key"


UNINDEXED = [key(2, 1, "user_id", indexed=False)]


@pytest.mark.parametrize(
    ("rows", "deleted", "says"),
    [
        (99_999, 1000, ""),
        (100_000, 1000, "warns"),
        (10_000_000, 500, "warns"),
        (10_000_000, 501, "refuses"),
        (1_000, 6_000_000, "refuses"),
        (0, 10**9, ""),
    ],
)
def test_a_foreign_key_without_an_index(rows: int, deleted: int, says: str) -> None:
    large, gone = changed(NOTES, rows=rows), {1: deleted}
    assert bool(refusals(large, UNINDEXED, deleted=gone)) == (says == "refuses")
    assert bool(warnings(large, UNINDEXED, deleted=gone)) == (says == "warns")
    assert refusals(large, deleted=gone) == warnings(large, deleted=gone) == []


def test_the_missing_index_is_written_out() -> None:
    (refusal,) = refusals(changed(NOTES, rows=10**9), UNINDEXED, deleted={1: 10})
    assert "CREATE INDEX CONCURRENTLY ON public.notes (user_id)" in refusal
    assert "10,000,000,000 rows would be visited" in refusal


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"oldest_s": 301.0, "oldest_who": "app"}, "a transaction is open since 5 min (app)"),
        ({"lag_s": 11.0}, "a replica is 11 s behind"),
    ],
)
def test_what_is_warned_of(fields: dict[str, object], message: str) -> None:
    (warning,) = warnings(server=facts(**fields))
    assert message in warning


def test_what_is_not_worth_a_warning() -> None:
    assert warnings(server=facts(oldest_s=300.0, lag_s=10.0)) == []
    assert warnings(server=facts(lag_s=None)) == []


def test_triggers_and_a_missing_insert_are_warned_of() -> None:
    audited = changed(NOTES, triggers=("audit on delete",))
    assert warnings(audited) == ["notes has triggers: audit on delete"]
    assert warnings(audited, touched=("users",)) == []  # no row of it goes
    (warning,) = warnings(changed(NOTES, may=("SELECT", "UPDATE", "DELETE")))
    assert "could not restore" in warning
