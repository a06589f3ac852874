"""After a crash between sync and commit: whether the transaction was committed."""

from __future__ import annotations

from gaiaops.audit import repair_sql
from gaiaops.audit.repair_look import Place
from gaiaops.audit.repair_plan import KEYS, Archived, Row
from gaiaops.audit.repair_run import RepairRun
from gaiaops.audit.repair_sql import LOOK
from gaiaops.postgres.changes import FAITHFUL, transaction_status
from gaiaops.postgres.session import Session


def settle(session: Session, run: RepairRun, place: Place) -> None:
    """Finds out what became of a doubtful transaction, by its status and the rows, and notes it.

    The status alone may lie: a server that crashed before it wrote anything of a transaction gives its id to another
    one: if every row is as it was before, nothing was committed, or nothing is left to undo. Where the server has
    forgotten, a row that is as the repair would have left it tells. Raises RefusedError where the transaction still
    runs, or the archive was changed.
    """
    state = run.state()
    if not state.doubtful:
        return
    rows = run.archived(state)
    status = transaction_status(session, state.xid)
    committed = status != "aborted"
    if committed:
        session.begin(*FAITHFUL)
        now = current(session, place, rows)
        session.rollback()
        changed = _differs if status == "committed" else as_written
        committed = any(changed(row, now.get((row.table, row.id))) for row in rows)
    run.note("committed" if committed else "rolled back", status=status)


def current(session: Session, place: Place, rows: list[Archived], lock: str = LOOK) -> dict[tuple[str, str], Row]:
    """(table, id) → the row as it is now, of archived rows that are there."""
    found: dict[tuple[str, str], Row] = {}
    for name in dict.fromkeys(row.table for row in rows):
        ids = [row.id for row in rows if row.table == name]
        for key, now in session.fetch(repair_sql.rows(place.table(name), lock), {"ids": ids}):
            found[name, key] = now
    return found


def as_written(row: Archived, now: Row | None) -> bool:
    """Whether a row holds what the repair wrote."""
    if now is None:
        return False
    return row.before is None or all(now.get(name) == row.after[name] for name in written_columns(row))


def written_columns(row: Archived) -> list[str]:
    """The columns that the repair itself wrote: what a trigger added to them is not its own."""
    if row.before is None:
        return list(row.after)
    return ["is_active"] if row.table == KEYS else ["email"]


def _differs(row: Archived, now: Row | None) -> bool:
    return now != row.before
