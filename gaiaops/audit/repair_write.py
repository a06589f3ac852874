"""Writes one change after another in an open transaction; one that cannot be made is taken back alone.

The server's own counts are held against what was meant: a trigger, a rule or a cascade that vetoes, diverts or takes
along other rows ends that change, because what it did could not be undone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from gaiaops.audit import repair_sql
from gaiaops.audit.repair_look import Place
from gaiaops.audit.repair_plan import KEYS, Archived, Change, Row
from gaiaops.audit.repair_rules import Seen
from gaiaops.errors import GaiaopsError, LostServerError
from gaiaops.postgres import queries
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Table

T = TypeVar("T")
Counts = dict[int, tuple[int, int, int]]
_NOTHING = (0, 0, 0)
# Errors of a statement that say nothing of the server's health: values, constraints, triggers, rights, locks.
_OF_THE_CHANGE = ("22", "23", "27", "38", "39", "40", "42", "44", "55", "P0")


class Vetoed(Exception):
    """A change that was not made, with the reason; it was taken back."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Setting(msgspec.Struct, frozen=True):
    """One column of one row, from one value to another."""

    id: str
    column: str
    before: str | None
    after: str | None


class Writer:
    """Writes into one session's open transaction, in which constraints are immediate."""

    def __init__(self, session: Session, place: Place) -> None:
        self._session = session
        self._place = place

    def make(self, change: Change, seen: Seen) -> list[Archived]:
        """Makes a change; gives the rows as they were and are. Raises Vetoed, and what ends the transaction."""
        table = self._place.table(change.table)
        if change.action == "insert":
            expected = {table.oid: (1, 0, 0)}
            return self._guarded(expected, lambda: [self._insert(change, table)])
        if change.action == "update":
            rows = [(seen.rows[change.id], Setting(change.id, change.column, change.before, change.after))]
        else:
            there = {key["id"]: key for key in seen.keys[change.id]}
            rows = [(there[key.id], _switch(there[key.id], "false")) for key in change.keys]
        expected = {table.oid: (0, len(rows), 0)}
        return self._guarded(expected, lambda: [self._set(change.finding, table, *what) for what in rows])

    def set_back(self, archived: Archived, now: Row) -> None:
        """Sets the column back that the repair wrote. Raises as `make`."""
        table = self._place.table(archived.table)
        was = archived.before or {}
        if archived.table == KEYS:
            setting = _switch(now, was["is_active"])
        else:
            setting = Setting(archived.id, "email", now["email"], was["email"])
        self._guarded({table.oid: (0, 1, 0)}, lambda: self._set(archived.finding, table, now, setting))

    def delete(self, archived: Archived) -> None:
        """Deletes a row that the repair inserted. Raises as `make`."""
        table = self._place.table(archived.table)
        sql = repair_sql.delete(table)

        def run() -> None:
            if len(self._session.fetch(sql, {"id": archived.id})) != 1:
                raise Vetoed(f"the row was not deleted ({_triggers(table)})")

        self._guarded({table.oid: (0, 0, 1)}, run)

    def _set(self, finding: str, table: Table, row: Row, what: Setting) -> Archived:
        """Sets one column of one row that still holds `before`."""
        values = {"id": what.id, "before": what.before, "after": what.after}
        done = self._session.fetch(repair_sql.update(table, what.column), values)
        if len(done) != 1:
            raise Vetoed(f"the row was not written ({_triggers(table)})")
        now: Row = done[0][0]
        if now[what.column] != what.after:
            raise Vetoed(f'"{now[what.column]}" was written instead of "{what.after}" ({_triggers(table)})')
        return Archived(finding, table.name, what.id, row, now)

    def _insert(self, change: Change, table: Table) -> Archived:
        values = {name: change.row[name] for name in ("id", "email")}
        done = self._session.fetch(repair_sql.insert(table, self._place.shape.stamps), values)
        if len(done) != 1:
            raise Vetoed(f"the row was not inserted ({_triggers(table)})")
        now: Row = done[0][0]
        for name, wanted in values.items():
            if now[name] != wanted:
                raise Vetoed(f'"{now[name]}" was written instead of "{wanted}" ({_triggers(table)})')
        return Archived(change.finding, table.name, change.id, None, now)

    def _guarded(self, expected: Counts, write: Callable[[], T]) -> T:
        """Runs a write; takes it back and raises Vetoed where it failed or changed other rows than expected."""
        before = self._counted()
        self._session.exchange.command("SAVEPOINT gaiaops_change")
        try:
            done = write()
            self._verify(before, expected)
        except LostServerError:
            raise
        except GaiaopsError as error:
            if not error.sqlstate.startswith(_OF_THE_CHANGE):
                raise
            self._session.exchange.command("ROLLBACK TO SAVEPOINT gaiaops_change")
            raise Vetoed(error.message) from None
        except Vetoed:
            self._session.exchange.command("ROLLBACK TO SAVEPOINT gaiaops_change")
            raise
        self._session.exchange.command("RELEASE SAVEPOINT gaiaops_change")
        return done

    def _verify(self, before: Mapping[int, tuple[int, int, int]], expected: Counts) -> None:
        """Rows that triggers insert elsewhere (a history) are theirs; anything else would be lost to the archive."""
        for oid, now in self._counted().items():
            inserted, updated, deleted = (a - b for a, b in zip(now, before.get(oid, _NOTHING), strict=True))
            meant = expected.get(oid, _NOTHING)
            if (updated, deleted) != meant[1:] or (oid in expected and inserted != meant[0]):
                table = self._place.catalog.tables.get(oid)
                raise Vetoed(
                    f"other rows of {table.name if table else oid} would change with it: {inserted} inserted,"
                    f" {updated} changed, {deleted} deleted in all ({_triggers(table) if table else 'a trigger?'})"
                )

    def _counted(self) -> Counts:
        return {oid: (i, u, d) for oid, i, u, d in self._session.fetch(queries.load("xact_counts"), {})}


def _switch(key: Row, active: str | None) -> Setting:
    """An API key's is_active."""
    return Setting(key["id"] or "", "is_active", key["is_active"], active)


def _triggers(table: Table) -> str:
    return (
        f"its triggers: {', '.join(table.triggers)}" if table.triggers else "a trigger of another table, or a cascade?"
    )
