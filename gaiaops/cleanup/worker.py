"""The workers of a purge: each takes batches in a session of its own; what they share is behind one lock."""

from __future__ import annotations

import random
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence

from gaiaops.cleanup import conditions, keysets
from gaiaops.cleanup.archive import Run
from gaiaops.cleanup.batch import Batcher, Done, Excluded, Job
from gaiaops.cleanup.pace import Pace
from gaiaops.cleanup.settle import CacheCleaner
from gaiaops.errors import GaiaopsError, LostServerError, StatementError
from gaiaops.postgres import copytext
from gaiaops.postgres.changes import begin_change
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Table

# deadlock, lock timeout, serialization failure, a foreign key hit by a concurrent insert (RESTRICT has a code of its
# own from 18 on), statement timeout
_RETRY = ("40P01", "55P03", "40001", "23503", "23001", "57014")
_MET = ("40P01", "55P03")  # two workers may have met in rows that belong to users of both
_TRIES = 6
_HOPELESS = 5  # single users one after the other whom no retry helped
_BEHIND_S = 10
_PATIENCE_S = 300
_LOOK_AHEAD = 100_000


class Shared:
    """What the workers share. `left` users were to go and did not; `failure` is the first error that ended one."""

    alone = False

    def __init__(self, job: Job, cache: CacheCleaner, pace: Pace, stop: Callable[[], bool], last: int) -> None:
        self.job = job
        self.cache = cache
        self.pace = pace
        self.lock = threading.RLock()
        self.commits = threading.Lock()  # commits follow one another, so that the journal has them in their order
        self.caching = threading.Lock()
        self.users = self.rows = self.set = self.gone = self.failed = self.hopeless = 0
        self.skipped: dict[str, str] = {}
        self.dropped: list[int] = []
        self.locked: dict[int, bytes] = {}
        self.failure: Exception | None = None
        self._stop = stop
        self._aborted = False
        self._waiting: array[int] = array("i")
        self._lines = _lines(job.run)
        self._at = 0
        self._number = last
        self._notices: list[str] = []

    def give(self, waiting: array[int]) -> None:
        self._waiting = waiting

    @property
    def left(self) -> int:
        return len(self._waiting) - self._at + len(self.locked) + self.failed

    def stopping(self) -> bool:
        return self._aborted or self.failure is not None or self._stop()

    def abort(self) -> None:
        self._aborted = True

    def fail(self, error: Exception) -> None:
        with self.lock:
            self.failure = self.failure or error

    def next_batch(self, *, first: bool) -> dict[int, bytes]:
        """The users who come next (number → line of the plan); none when all are handed out, or it is time to stop.

        Once workers have met in the same rows, the `first` one goes on alone: waiting for each other they would
        hold locks that others wait for.
        """
        with self.lock:
            if self.stopping() or (self.alone and not first):
                return {}
            ahead = self._waiting[self._at : self._at + _LOOK_AHEAD]
            numbers = set(ahead[: self.pace.take(ahead)] if ahead else ())
            self._at += len(numbers)
            batch: dict[int, bytes] = {}
            while len(batch) < len(numbers):
                number, line = next(self._lines)
                if number in numbers:
                    batch[number] = line
            return batch

    def next_segment(self) -> int:
        with self.lock:
            self._number += 1
            return self._number

    def unlocked(self) -> dict[int, bytes]:
        """Those whom somebody had locked, for another try."""
        with self.lock:
            users, self.locked = self.locked, {}
            return users

    def say(self, text: str) -> None:
        with self.lock:
            self._notices.append(text)

    def tell(self, notice: Callable[[str], None]) -> None:
        """Hands notices to the main thread, which alone writes to the terminal."""
        with self.lock:
            notices, self._notices = self._notices, []
        for text in notices:
            notice(text)


class Worker:
    """Takes batches until there are no more."""

    def __init__(self, session: Session, shared: Shared, *, first: bool = True) -> None:
        self.session = session
        self._first = first
        self._shared = shared
        self._dropped = 0
        self._prepared = self._plan_loaded = False
        self._batcher = Batcher(session, shared.job, shared.next_segment, shared.commits, self._began)

    def run(self) -> None:
        """For a thread: every error ends up in `shared.failure`."""
        try:
            while users := self._shared.next_batch(first=self._first):
                self.take(users)
        except Exception as error:
            self._shared.fail(error)

    def take(self, users: Mapping[int, bytes]) -> None:
        """Purges these users; a batch that fails in a way that may pass is made smaller and tried again."""
        self._prepare()
        stack = [(dict(users), 0)]
        while stack:
            batch, tries = stack.pop()
            if not batch:
                continue
            try:
                if not self.session.pooled:
                    self._forget_dropped()
                self._taken(batch, self._batcher.take(batch))
            except Excluded as excluded:
                if excluded.collateral and not self._plan_loaded:
                    self._load_plan()  # a row of another user of the plan is nobody else's
                    stack.append((batch, tries))
                    continue
                out = [number for number in batch if number in excluded.numbers] or list(batch)
                self.skip(out, excluded.why)
                stack.append(({n: line for n, line in batch.items() if n not in out}, tries))
            except LostServerError:
                raise
            except GaiaopsError as error:
                if error.sqlstate not in _RETRY:
                    raise
                stack += self._smaller(batch, tries, error)

    def _smaller(self, batch: dict[int, bytes], tries: int, error: GaiaopsError) -> list[tuple[dict[int, bytes], int]]:
        shared = self._shared
        with shared.lock:
            shared.pace.failed()
            shared.alone = shared.alone or error.sqlstate in _MET
            if shared.stopping():
                shared.locked.update(batch)
                return []
        if len(batch) > 1:
            entries, half = list(batch.items()), len(batch) // 2
            return [(dict(entries[half:]), tries), (dict(entries[:half]), tries)]
        if tries < _TRIES:
            time.sleep(random.uniform(0.5, 1) * 0.05 * 2**tries)  # noqa: S311 - jitter, no secret
            return [(batch, tries + 1)]
        with shared.lock:
            shared.hopeless += 1
            if shared.hopeless == _HOPELESS:  # it is not somebody else's doing, and will not pass
                raise error
        self.skip(list(batch), error.message, left=True)
        return []

    def _taken(self, batch: dict[int, bytes], done: Done) -> None:
        shared = self._shared
        with shared.lock:
            shared.locked.update({number: batch[number] for number in done.missed.pop("locked", [])})
            shared.gone += len(done.missed.pop("gone", []))
        for why, numbers in done.missed.items():
            self.skip(numbers, why)
        if done.segment is None:
            return
        with shared.lock:
            shared.hopeless = 0
            shared.users += done.segment.users
            shared.rows += done.segment.rows
            shared.set += done.segment.set
            shared.pace.took(shared.pace.weight(list(batch)), done.seconds)
        with shared.caching:
            if shared.cache.failure is None:
                shared.cache.clean({done.segment.number: done.segment})
        if done.waiting:  # let those who stood behind our locks go first
            time.sleep(min(1.0, done.seconds / 2))
        self._wait_for_replicas()

    def skip(self, numbers: Sequence[int], why: str, *, left: bool = False) -> None:
        """These users stay; every worker's plan forgets them: their rows are somebody else's from now on."""
        wanted = set(numbers)
        if not wanted:
            return
        found = [
            copytext.decode(line.split(b"\t")[2][:-1]) or "" for n, line in _lines(self._shared.job.run) if n in wanted
        ]
        with self._shared.lock:
            self._shared.dropped += numbers
            self._shared.failed += len(numbers) if left else 0
            for address in found:
                self._shared.skipped[address] = why
                self._shared.job.run.note("skipped", address=address, why=why)

    def remaining(self) -> tuple[array[int], list[int]]:
        """The numbers of the plan's users who are there as planned, and of those whose address has changed.

        Guests are not there: whether anything still names them is found out batch by batch."""
        if self._shared.job.run.guests:
            return array("i", range(1, self._shared.job.plan.users + 1)), []
        if self.session.pooled:
            begin_change(self.session)
            self.session.execute(keysets.create_plan(self._users, on_commit="DROP"))
        else:
            self._prepare()
            self._plan_loaded = True
        self._fill_plan()
        present, changed = array("i"), []
        sql = (
            f"COPY (SELECT p.g_n, {conditions.same_address('t', 'p')} FROM {conditions.PLAN} AS p"
            f" JOIN {self._users.sql} AS t ON t.id = p.g_id) TO STDOUT"
        )
        for block in self.session.copy_out(sql):
            for row in b"".join(block).splitlines():
                if row.endswith(b"t"):
                    present.append(int(row[:-2]))
                else:
                    changed.append(int(row[:-2]))
        if self.session.pooled:
            self.session.rollback()
        return array("i", sorted(present)), changed

    def _prepare(self) -> None:
        """The session's temporary tables; through a transaction pooler each transaction has its own."""
        if self._prepared or self.session.pooled:
            return
        self._create("PRESERVE ROWS", "DELETE ROWS")
        self._prepared = True

    def _began(self) -> None:
        """What a batch's transaction begins with, where no session keeps it: the tables, and the plan once needed."""
        if not self.session.pooled:
            return
        self._create("DROP", "DROP")
        if self._plan_loaded:
            self._fill_plan()
            self._forget_dropped()

    def _create(self, plan: str, batch: str) -> None:
        """The temporary tables: the plan's users, still empty, the batch, and the key sets; ON COMMIT this and that."""
        tables = [
            keysets.create_plan(self._users, on_commit=plan),
            keysets.create_plan(self._users, keysets.BATCH, batch),
        ]
        graph = self._shared.job.graph
        if graph.sharded:
            tables.append(keysets.create_absent(plan))
        self.session.exchange.command("; ".join([*tables, keysets.create_keysets(graph, on_commit=batch)]))
        if graph.sharded:
            self.session.copy_in(keysets.fill_absent(), self._shared.job.run.harmless())
            self.session.exchange.command(keysets.index_absent())

    @property
    def _users(self) -> Table:
        graph = self._shared.job.graph
        return graph.tables[graph.users]

    def _load_plan(self) -> None:
        """From now on the plan's users are in their table."""
        self._plan_loaded = True
        if not self.session.pooled:
            self._fill_plan()

    def _fill_plan(self) -> None:
        self.session.copy_file(f"COPY {conditions.PLAN} FROM STDIN", self._shared.job.run.users_file)
        self.session.exchange.command(keysets.index_plan())
        self._dropped = 0

    def _forget_dropped(self) -> None:
        if not self._plan_loaded:
            return
        with self._shared.lock:
            fresh = self._shared.dropped[self._dropped :]
            self._dropped += len(fresh)
        if fresh:
            sql = f"DELETE FROM {conditions.PLAN} WHERE g_n = ANY(%(numbers)s::integer[])"
            self.session.execute(sql, {"numbers": fresh})

    def _wait_for_replicas(self) -> None:
        """Pauses while a replica is behind. Raises StatementError where it stays so."""
        end, told = time.monotonic() + _PATIENCE_S, False
        sql = "SELECT coalesce(extract(epoch FROM max(replay_lag)), 0)::float8 FROM pg_stat_replication"
        while not self._shared.stopping():
            lag = self.session.fetch(sql)[0][0]
            if lag <= _BEHIND_S:
                return
            if time.monotonic() > end:
                raise StatementError(f"a replica stays {lag:.0f} s behind", hint="run it again when it has caught up")
            if not told:
                self._shared.say(f"a replica is {lag:.0f} s behind: pausing until it catches up")
                told = True
            time.sleep(1)


def _lines(run: Run) -> Iterator[tuple[int, bytes]]:
    """(number, line) of the plan's users, in their order."""
    with run.users_file.open("rb") as file:
        for line in file:
            yield int(line[: line.index(b"\t")]), line
