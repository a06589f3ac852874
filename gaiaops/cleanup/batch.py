"""One batch: a transaction that locks users and all that hangs on them, takes the rows out, and archives them.

The order is what makes it safe: lock, read the rows out as they are deleted, hold what was deleted against the
server's own counts, sync the segment, commit, note the commit. A crash between two steps leaves either the rows
in the database, or the rows in a synced segment and the transaction's id to ask about.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import msgspec

from gaiaops.cleanup import keysets, takeout
from gaiaops.cleanup.archive import Run, SegmentWriter
from gaiaops.cleanup.graph import Graph
from gaiaops.cleanup.journal import Section, Segment
from gaiaops.cleanup.links import Action, Link
from gaiaops.cleanup.plan import Plan
from gaiaops.cleanup.takeout import Step
from gaiaops.errors import GaiaopsError, LostServerError, RefusedError, StatementError
from gaiaops.postgres import queries
from gaiaops.postgres.changes import FAITHFUL, begin_change
from gaiaops.postgres.session import Session


class Excluded(Exception):
    """Users whom this batch must not take, with the reason; nothing was changed.

    `collateral` where a row seems to be somebody else's, which is certain only with the whole plan at hand.
    """

    collateral = False

    def __init__(self, numbers: Sequence[int], why: str) -> None:
        super().__init__(why)
        self.numbers = set(numbers)
        self.why = why


class Done(msgspec.Struct):
    """A committed batch. `waiting` sessions stood behind its locks; `missed` users are gone, changed or locked."""

    segment: Segment | None
    seconds: float
    waiting: int
    missed: dict[str, list[int]]


class Job(msgspec.Struct, frozen=True):
    """What is purged: a run and its plan, the graph, and the schema's hash, which no batch may find changed."""

    run: Run
    plan: Plan
    graph: Graph
    shape: str


class Batcher:
    """Takes batches of one job out of one session's database, into the run's archive.

    `number` gives the next segment's, `commits` is held while one is made, `began` is called in each transaction.
    """

    def __init__(
        self,
        session: Session,
        job: Job,
        number: Callable[[], int],
        commits: AbstractContextManager[object],
        began: Callable[[], None],
    ) -> None:
        self._session = session
        self._job = job
        self._graph = job.graph
        self._run = job.run
        self._number = number
        self._commits = commits
        self._began = began
        self._groups = [self._compile(group) for group in job.graph.groups]
        self._scan = True

    def take(self, users: Mapping[int, bytes]) -> Done:
        """Purges these users (number → line of the plan) in one transaction.

        Raises Excluded for users who must not go, LostServerError where the commit's answer was lost, and the
        statements' errors; nothing was committed then.
        """
        began = time.monotonic()
        session = self._session
        begin_change(session, "SET CONSTRAINTS ALL DEFERRED", *FAITHFUL)
        self._scan = True
        try:
            self._began()
            missed = self._lock(users)
            if sum(map(len, missed.values())) == len(users):
                session.rollback()
                return Done(None, time.monotonic() - began, 0, missed)
            self._collect()
            self._check_blocks()
            segment, waiting = self._take_out()
        except LostServerError:
            raise
        except (GaiaopsError, Excluded):
            session.rollback()
            raise
        self._commit(segment)
        return Done(segment, time.monotonic() - began, waiting, missed)

    def _lock(self, users: Mapping[int, bytes]) -> dict[str, list[int]]:
        """Locks the users and checks them again; gives those who are not as planned, by the reason."""
        self._use_index(True)
        self._session.copy_in(f"COPY {keysets.BATCH} FROM STDIN", [b"".join(users.values())])
        graph, guests = self._graph, self._run.guests
        if self._session.execute(
            keysets.collect_guests(graph) if guests else keysets.collect_users(graph, lock=True)
        ) == len(users):
            return {}
        missed: dict[str, list[int]] = defaultdict(list)
        missing = keysets.missing_guests(graph) if guests else keysets.missing_users(graph)
        for number, why in self._session.fetch(missing):
            missed[why].append(number)
        return dict(missed)

    def _collect(self) -> None:
        for group in reversed(self._graph.groups):
            links = [k for oid in group if oid in self._graph.keysets for k in self._graph.out_of(oid, Action.DELETE)]
            inside = [link for link in links if link.parent in group]
            for link in links:
                if link not in inside:
                    self._collect_by(link)
            while sum(self._collect_by(link) for link in inside):
                pass

    def _collect_by(self, link: Link) -> int:
        self._use_index(link.indexed)
        return self._session.execute(keysets.collect(self._graph, link, lock=True))

    def _check_blocks(self) -> None:
        for link in self._graph.links:
            if link.action is Action.BLOCK:
                self._use_index(link.indexed)
                found = self._session.fetch(takeout.blocked(self._graph, link))
                if found:
                    raise Excluded(
                        [row[0] for row in found], f"{link.name} refers to them, and the registry says block"
                    )

    def _take_out(self) -> tuple[Segment, int]:
        session = self._session
        before, files = self._counted(), session.fetch(queries.load("files"))[0][0]
        number = self._number()
        writer = self._run.segment(number)
        try:
            expected: dict[int, list[int]] = defaultdict(lambda: [0, 0])
            for place, (sets, group) in enumerate(self._groups):
                for step in sets:
                    expected[step.table][0] += self._archive(writer, step, 0)
                self._delete(writer, group, place + 1 if group.delete else 0, expected)
            session.exchange.command("SET CONSTRAINTS ALL IMMEDIATE")  # a deferred one speaks now, not at COMMIT
            self._verify(before, expected)
            self._check_shape(files)
            waiting = int(session.fetch(queries.load("waiting_behind"))[0][0])
            xid = str(session.fetch("SELECT pg_current_xact_id()::text")[0][0])
            return writer.close(number, xid, expected[self._graph.users][1]), waiting
        except BaseException:
            writer.discard()
            raise

    def _delete(self, writer: SegmentWriter, group: takeout.Group, number: int, expected: dict[int, list[int]]) -> None:
        read = {step.table: self._archive(writer, step, number) for step in group.steps if step.reads}
        for step in group.steps:
            if not step.reads:
                expected[step.table][1] += self._archive(writer, step, number)
        if group.delete:
            gone = self._session.fetch(group.delete)[0]
            for oid, rows in zip(group.tables, gone, strict=True):
                if rows != read[oid]:
                    raise self._diverted(oid, f"{read[oid]} rows were read and {rows} deleted")
                expected[oid][1] += rows

    def _archive(self, writer: SegmentWriter, step: Step, group: int) -> int:
        """Runs a step and writes what it took; gives the number of rows."""
        self._use_index(step.indexed)
        table = self._graph.tables[step.table]
        types = {column.name: column.type for column in table.columns}
        section = Section(
            step.kind, table.sql, step.columns, tuple(types[name] for name in step.columns), 0, 0, 0,
            keys=step.keys, sets=step.sets, group=group, reason=step.reason, name=table.name,
        )  # fmt: skip
        blocks = self._session.copy_out(step.sql)
        lines = self._own(step, blocks) if step.checked else (b"".join(block) for block in blocks)
        return writer.write(section, lines).rows

    def _own(self, step: Step, blocks: Iterator[list[bytes | memoryview]]) -> Iterator[bytes]:
        """The lines without the flag that says that a row is somebody else's. Raises Excluded for such rows."""
        for block in blocks:
            lines, others = [], set()
            for row in block:
                number, flag, rest = bytes(row).split(b"\t", 2)
                if flag == b"t":
                    others.add(int(number))
                lines.append(number + b"\t" + rest)
            if others and not self._job.plan.allow_collateral:
                for _ in blocks:  # the server has more to send before it can roll back
                    pass
                excluded = Excluded(list(others), f"rows of somebody else in {self._graph.tables[step.table].name}")
                excluded.collateral = True
                raise excluded
            yield b"".join(lines)

    def _verify(self, before: dict[int, tuple[int, int, int]], expected: dict[int, list[int]]) -> None:
        """What the server counted is what was archived: nothing vetoed, diverted or taken along."""
        after = self._counted()
        doomed = self._graph.doomed
        for oid in self._graph.tables:
            inserted, updated, deleted = (
                now - then for now, then in zip(after.get(oid, (0, 0, 0)), before.get(oid, (0, 0, 0)), strict=True)
            )
            sets, gone = expected.get(oid, [0, 0])
            if self._graph.tables[oid].kind == "p" and inserted == sets - updated == deleted - gone:
                continue  # setting a partition's key moved rows: a row that moves is deleted and inserted
            if (updated, deleted) != (sets, gone):
                raise self._diverted(oid, f"{deleted} rows deleted and {updated} changed, {gone} and {sets} archived")
            if inserted and oid in doomed:
                raise self._diverted(oid, f"{inserted} rows were put in meanwhile")
        self._check_left()

    def _check_shape(self, files: str) -> None:
        """No foreign key, trigger or column has come since the graph was read, and no table was truncated.

        What the tables are cannot change from here on: they are locked by what was deleted from them.
        """
        oids = {"oids": [table.oid for table in self._graph.touched]}
        if self._session.fetch(queries.load("shape"), oids)[0][0] != self._job.shape:
            raise RefusedError(
                "the schema was changed during the purge; the batch was rolled back", hint="run it again"
            )
        if self._session.fetch(queries.load("files"))[0][0] != files:
            raise StatementError(
                "a table was truncated or rewritten meanwhile; the batch was rolled back",
                hint="look for triggers that TRUNCATE, or run it again",
            )

    def _check_left(self) -> None:
        """Tables with triggers are looked at again: one may have kept a row from being deleted."""
        for oid in self._graph.doomed:
            table = self._graph.tables[oid]
            if not table.triggers:
                continue
            for sql, indexed in takeout.remaining(self._graph, oid):
                self._use_index(indexed)
                if self._session.fetch(sql):
                    raise self._diverted(oid, "rows are still there after they were deleted")

    def _diverted(self, oid: int, what: str) -> StatementError:
        table = self._graph.tables[oid]
        triggers = f"its triggers: {', '.join(table.triggers)}" if table.triggers else "look for triggers and rules"
        return StatementError(f"{table.name}: {what}; the batch was rolled back", hint=triggers)

    def _counted(self) -> dict[int, tuple[int, int, int]]:
        return {oid: (i, u, d) for oid, i, u, d in self._session.fetch(queries.load("xact_counts"))}

    def _commit(self, segment: Segment) -> None:
        with self._commits:
            self._run.note_segment(segment)
            try:
                self._session.commit()
            except LostServerError:
                raise
            except GaiaopsError as error:
                # Only what the server says is certain; without an answer it may still be committed (a replica that
                # is waited for), and is asked of the server when the run goes on.
                if error.sqlstate and not error.sqlstate.startswith(("57", "08")):
                    self._run.note("rolled back", segment=segment.number)
                raise
            self._run.note("committed", segment=segment.number)

    def _use_index(self, indexed: bool) -> None:
        """Where an index is there it is used: the planner does not know how few keys a batch has."""
        if self._scan == indexed:
            self._session.exchange.command(f"SET LOCAL enable_seqscan = {'off' if indexed else 'on'}")
            self._scan = not indexed

    def _compile(self, group: tuple[int, ...]) -> tuple[list[Step], takeout.Group]:
        graph = self._graph
        changes = [k for oid in group for k in graph.into(oid, Action.NULL, Action.DEFAULT)]
        updates = [takeout.sets(graph, link) for link in changes]
        if len(group) > 1:
            steps = tuple(takeout.reads_keyed(graph, oid) for oid in group)
            return updates, takeout.Group(steps, takeout.deletes_group(graph, group), group)
        (oid,) = group
        if oid in graph.keysets:
            return updates, takeout.Group((takeout.takes_keyed(graph, oid),))
        return updates, takeout.Group(tuple(takeout.takes(graph, link) for link in graph.takers(oid)))
