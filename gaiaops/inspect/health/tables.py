"""The checks on tables and indexes: what the answer says. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gaiaops.inspect.health.checks import Measured
from gaiaops.inspect.health.words import age, count, number

Rows = Sequence[Sequence[Any]]
_SHOWN = 5


def dead_rows(rows: Rows) -> Measured:
    """Rows of health_tables; twice as many dead rows as autovacuum lets be are bloat, fewer are its daily work."""
    bloated = [row for row in rows if row[2] >= 2 * row[3]]
    if not bloated:
        return Measured(0.0, "no table has more than autovacuum clears")
    details = tuple(
        f"{name}: {dead:,} dead, {live:,} live; {_vacuumed(idle, ever)}{'; autovacuum is off' if off else ''}"
        for name, live, dead, _, idle, ever, off in bloated[:_SHOWN]
    )
    worst = bloated[0]
    return Measured(worst[2] / max(1, worst[1]), worst[0], details, then=f"VACUUM (ANALYZE) {worst[0]}")


def last_vacuum(rows: Rows) -> Measured:
    """Rows of health_tables: those that need one, by how long they have had none."""
    if not rows:
        return Measured(0.0, "no table needs one")
    waiting = sorted(rows, key=lambda row: -row[4])
    details = tuple(f"{name}: {_vacuumed(idle, ever)}, {dead:,} dead" for name, _, dead, _, idle, ever, _
                    in waiting[:_SHOWN])  # fmt: skip
    return Measured(
        waiting[0][4], count(len(waiting), "table needs one", "tables need one"), details,
        then=f"VACUUM (ANALYZE) {waiting[0][0]}",
    )  # fmt: skip


def _vacuumed(idle: float, ever: bool) -> str:
    return f"last vacuum {age(idle)} ago" if ever else f"no vacuum in {age(idle)}"


def invalid_indexes(rows: Rows) -> Measured:
    """Rows of health_invalid_indexes."""
    details = tuple(f"{index} on {table}" for index, table, _ in rows[:_SHOWN])
    if not rows:
        return Measured(0.0, "none")
    index, _, whole = rows[0]
    mend = f"REINDEX INDEX CONCURRENTLY {index}" if whole else f"ATTACH an index of each partition to {index}"
    return Measured(float(len(rows)), _more(len(rows)), details, then=mend)


def unindexed_keys(rows: Rows) -> Measured:
    """Rows of health_unindexed_keys."""
    details = tuple(f"{child} ({columns}), about {estimate:,} rows" for child, columns, estimate in rows[:_SHOWN])
    if not rows:
        return Measured(0.0, "none")
    mend = f"CREATE INDEX CONCURRENTLY ON {rows[0][0]} ({rows[0][1]})"
    return Measured(float(len(rows)), _more(len(rows)), details, then=mend)


def sizes(rows: Rows) -> Measured:
    """Rows of health_sizes."""
    locked = [name for name, size in rows if size is None]
    details = [f"{name}: locked, its size cannot be had without waiting" for name in locked[:_SHOWN]]
    details += [f"{name}: {number(size / 2**20)} MB" for name, size in rows if name and size is not None]
    database = next(size for name, size in rows if name is None)
    return Measured(database, "", tuple(details[:_SHOWN]))


def _more(found: int) -> str:
    return f"the first {_SHOWN} of {found}" if found > _SHOWN else ""
