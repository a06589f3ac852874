"""Undoes one segment: COPY straight into the tables, else staged and compared, table by table."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from gaiaops.cleanup import putback
from gaiaops.cleanup.archive import Run
from gaiaops.cleanup.journal import Section, Segment
from gaiaops.errors import GaiaopsError, LostServerError
from gaiaops.postgres.changes import FAITHFUL, begin_change
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Catalog, Table

_NUMBER = re.compile(rb"^\d+\t", re.MULTILINE)
_SHOWN = 20


class Restored(msgspec.Struct):
    """What came back, per table: rows inserted, columns set back, rows that were there as archived.

    `differing` rows are there otherwise, `conflicting` ones would break a unique constraint, `orphaned` ones refer
    to rows that are gone; none of them was touched. `lost` says what no archive holds.
    """

    run: str
    inserted: dict[str, int] = {}
    set_back: dict[str, int] = {}
    present: dict[str, int] = {}
    differing: dict[str, list[str]] = {}
    differ: dict[str, int] = {}
    conflicting: dict[str, int] = {}
    orphaned: dict[str, int] = {}
    lost: list[str] = []
    interrupted: bool = False

    @property
    def rows(self) -> int:
        return sum(self.inserted.values())

    @property
    def problems(self) -> int:
        """Rows that could not be put back as they were."""
        return sum(sum(found.values()) for found in (self.differ, self.conflicting, self.orphaned))


class Undo:
    """Puts segments back in one session. `numbers` are the users to restore, None for all of them."""

    numbers: frozenset[int] | None = None
    dry_run = False
    again = False  # a restore of this run was begun before

    def __init__(self, session: Session, read: Catalog, tables: dict[str, Table], run: Run) -> None:
        self.session = session
        self.catalog = read
        self.tables = tables
        self.run = run
        self.outcome = Restored(run.id)
        self._stages = 0

    def compared(self, segment: Segment) -> None:
        """Puts one segment back in one transaction, row by row where it must be. Raises what the server says."""
        self._begin()
        try:
            for unit in _units(segment):
                self._compared(segment, unit)
            self._commit(segment)
        except GaiaopsError:
            self._rollback()
            raise

    def straight(self, segment: Segment) -> bool:
        """COPY into the tables, in one transaction; False where a row is there already or a parent is not."""
        if any(section.group for section in segment.sections):
            return False
        # Rows without a key cannot be told from those that a restore before this one put back.
        if self.again and any(s.kind == "delete" and not self.tables[s.table].key for s in segment.sections):
            return False
        inserted: dict[str, int] = defaultdict(int)
        set_back: dict[str, int] = defaultdict(int)
        self._begin()
        try:
            for (section,) in _units(segment):
                table = self.tables[section.table]
                if section.kind == "update":
                    rows = self._set_back(segment, section, table)
                    set_back[table.name] += rows
                    if rows != section.rows:
                        self._rollback()
                        return False
                else:
                    lines = (_NUMBER.sub(b"", chunk) for chunk in self.run.lines(segment, section))
                    inserted[table.name] += self.session.copy_in(putback.copy_rows(section, table), lines)
            self._commit(segment)
        except GaiaopsError as error:
            self._rollback()
            if error.sqlstate.startswith("23"):  # an integrity constraint
                return False
            raise
        _add(self.outcome.inserted, inserted)
        _add(self.outcome.set_back, set_back)
        return True

    def _compared(self, segment: Segment, unit: Sequence[Section]) -> None:
        """Stages a table's rows, or those of a circle, and inserts what is neither there nor without parents."""
        staged = [(section, self.tables[section.table], self._stage(segment, section)) for section in unit]
        if unit[0].kind == "update":
            for section, table, name in staged:
                self._compared_set(section, table, name)
            return
        for section, table, name in staged:
            same, differ, keys = self.session.fetch(putback.compare(section, table, name))[0]
            _add(self.outcome.present, {table.name: same})
            _add(self.outcome.differ, {table.name: differ})
            if keys:
                shown = self.outcome.differing.setdefault(table.name, [])
                shown += keys[: _SHOWN - len(shown)]
            self.session.execute(putback.drop_present(section, table, name))
        if not self.dry_run:
            self._drop_orphans(staged)
        waiting = self._left(staged)
        for _, table, name in staged:
            for sql in putback.drop_conflicts(table, name):
                self.session.execute(sql)
        done = self._left(staged) if self.dry_run else self.session.fetch(putback.insert(staged))[0]
        for (_, table, _), wanted, rows in zip(staged, waiting, done, strict=True):
            _add(self.outcome.inserted, {table.name: rows})
            _add(self.outcome.conflicting, {table.name: wanted - rows})

    def _left(self, staged: Sequence[tuple[Section, Table, str]]) -> list[int]:
        return [int(self.session.fetch(f"SELECT count(*) FROM {name}")[0][0]) for _, _, name in staged]

    def _drop_orphans(self, staged: Sequence[tuple[Section, Table, str]]) -> None:
        """Until nothing is dropped: a dropped row may be another's parent."""
        stages = {table.oid: name for _, table, name in staged}
        again = True
        while again:
            again = False
            for _, table, name in staged:
                for sql in putback.drop_orphans(self.catalog, table, name, stages):
                    rows = self.session.execute(sql)
                    _add(self.outcome.orphaned, {table.name: rows})
                    again = again or rows > 0

    def _compared_set(self, section: Section, table: Table, name: str) -> None:
        back, other, waiting = self.session.fetch(putback.compare_set(section, table, name))[0]
        _add(self.outcome.present, {table.name: back})
        _add(self.outcome.differ, {table.name: other})
        rows = waiting
        if not self.dry_run:
            rows = self.session.execute(putback.set_back(self.catalog, section, table, name))
        _add(self.outcome.set_back, {table.name: rows})
        _add(self.outcome.orphaned, {table.name: max(0, waiting - rows)})

    def _set_back(self, segment: Segment, section: Section, table: Table) -> int:
        name = self._stage(segment, section)
        return self.session.execute(putback.set_back(self.catalog, section, table, name))

    def _stage(self, segment: Segment, section: Section) -> str:
        self._stages += 1
        name = f"gaiaops_stage_{self._stages}"
        *makes, copy = putback.stage(section, self.tables[section.table], name)
        for sql in makes:
            self.session.execute(sql)
        self.session.copy_in(copy, self._lines(segment, section))
        self.session.execute(f"ANALYZE {name}")
        return name

    def _lines(self, segment: Segment, section: Section) -> Iterator[bytes]:
        for chunk in self.run.lines(segment, section):
            if self.numbers is None:
                yield chunk
            else:
                lines = chunk.splitlines(keepends=True)
                yield b"".join(line for line in lines if int(line.partition(b"\t")[0]) in self.numbers)

    def _begin(self) -> None:
        begin_change(self.session, "SET CONSTRAINTS ALL DEFERRED", *FAITHFUL)

    def _commit(self, segment: Segment) -> None:
        if self.dry_run:
            self.session.rollback()
            return
        self.session.exchange.command("SET CONSTRAINTS ALL IMMEDIATE")
        self.session.commit()
        if self.numbers is None:
            self.run.note("restored", segment=segment.number)

    def _rollback(self) -> None:
        try:
            self.session.rollback()
        except LostServerError:
            return


def _units(segment: Segment) -> Iterator[list[Section]]:
    """Sections in the order in which they go back: the last first, those of a circle together."""
    unit: list[Section] = []
    for section in reversed(segment.sections):
        if unit and not (section.group and section.group == unit[-1].group and section.kind == unit[-1].kind):
            yield unit
            unit = []
        unit.append(section)
    if unit:
        yield unit


def add_up(parts: Sequence[Restored]) -> Restored:
    """One outcome of several sessions'."""
    total = parts[0]
    for part in parts[1:]:
        for name in ("inserted", "set_back", "present", "differ", "conflicting", "orphaned"):
            _add(getattr(total, name), getattr(part, name))
    return total


def _add(totals: dict[str, int], found: dict[str, int]) -> None:
    for name, number in found.items():
        if number:
            totals[name] = totals.get(name, 0) + number
