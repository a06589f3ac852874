"""After a crash: which segments were committed, and which Redis entries are still to go."""

from __future__ import annotations

from collections.abc import Iterator

from gaiaops.cache import connect as redis
from gaiaops.cache import remove, templates
from gaiaops.cleanup import entries
from gaiaops.cleanup.archive import Run
from gaiaops.cleanup.journal import Section, Segment
from gaiaops.errors import GaiaopsError
from gaiaops.postgres import copytext
from gaiaops.postgres.changes import transaction_status
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Table
from gaiaops.registry.model import Environment


def settle(session: Session, run: Run, users: Table) -> None:
    """Finds out what became of doubtful segments, by the transaction's status (manual 9.28.10) and the data.

    The status alone may lie: a server that crashed before it wrote anything of a transaction gives its id to
    another one. But the users went in the same transaction as all else, so if one is there, it was not committed.
    Raises RefusedError where the transaction still runs.
    """
    for segment in run.state().doubtful.values():
        status = transaction_status(session, segment.xid)
        committed = status != "aborted" and not _present(session, run, segment, users)
        run.note("committed" if committed else "rolled back", segment=segment.number, status=status)


def _present(session: Session, run: Run, segment: Segment, users: Table) -> bool:
    """Whether a user of the segment is in the database."""
    for section in segment.sections:
        if section.kind == "delete" and section.table == users.sql:
            place = section.columns.index("id") + 1
            for chunk in run.lines(segment, section):
                ids = [copytext.decode(line.split(b"\t", place + 1)[place]) for line in chunk.splitlines()]
                column = users.column("id")
                kind = column.type if column else "text"
                sql = f"SELECT FROM {users.sql} WHERE id = ANY(%(ids)s::{kind}[]) LIMIT 1"
                if session.fetch(sql, {"ids": ids}):
                    return True
    return False


class CacheCleaner:
    """Removes the Redis entries of committed segments; one that fails is tried again at the end, then by a re-run.

    The entries of `spared` users (numbers of the plan) stay."""

    def __init__(
        self, env: Environment, run: Run, user_keys: tuple[str, ...], spared: frozenset[int] = frozenset()
    ) -> None:
        self._env = env
        self._spared = spared
        self._run = run
        self._templates = [templates.parse(text) for text in user_keys]
        self.removed = 0
        self.failure: GaiaopsError | None = None

    def clean(self, segments: dict[int, Segment]) -> None:
        """Removes the entries of these segments' users and notes each; stops at the first failure."""
        url = self._env.redis_url() if self._templates and segments else None
        if url is None:
            return
        try:
            with redis.connect(url, self._env.timeouts) as client:
                for segment in segments.values():
                    self.removed += remove.remove(client, self._keys(segment))
                    self._run.note("cached", segment=segment.number)
            self.failure = None
        except GaiaopsError as error:
            error.environment = self._env.name
            self.failure = error

    def finish(self) -> int:
        """Tries what is left of the run once more; gives the number of users whose entries may still be there."""
        self.clean(self._run.state().to_clean())
        return sum(segment.users for segment in self._run.state().to_clean().values()) if self.needed else 0

    @property
    def needed(self) -> bool:
        return self._env.redis is not None and bool(self._templates)

    def _keys(self, segment: Segment) -> Iterator[bytes]:
        for section in segment.sections:
            mine = [t for t in self._templates if section.name == t.table]
            if section.kind == "delete" and mine:
                yield from entries.keys_of(mine, section.columns, self._lines(segment, section))

    def _lines(self, segment: Segment, section: Section) -> Iterator[bytes]:
        """A section's lines, but those of users whose entries stay."""
        for chunk in self._run.lines(segment, section):
            if self._spared:
                lines = chunk.splitlines(keepends=True)
                yield b"".join(line for line in lines if int(line.partition(b"\t")[0]) not in self._spared)
            else:
                yield chunk
