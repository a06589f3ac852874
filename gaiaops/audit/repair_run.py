"""A repair on disk: its plan, the rows as they were and as they were left, and where it stands.

`rows.jsonl` is synced before the transaction commits, and the journal says which transaction that is, so that a
crash between the two can be told from a commit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from gaiaops import rundir
from gaiaops.audit.repair_plan import Archived, Repair
from gaiaops.errors import StatementError
from gaiaops.rundir import REPAIR_PLAN, RunFolder, private_file, sync_folder, was_changed


class State(msgspec.Struct):
    """Where a repair is. `xid` is the transaction of a synced archive; `doubtful` whether it is not known what became
    of it. `outstanding` are Redis keys that are still to go."""

    xid: str = ""
    sha256: str = ""
    rows: int = 0
    tables: dict[str, dict[str, int]] = {}
    done: tuple[str, ...] = ()
    doubtful: bool = False
    committed: bool = False
    entries: tuple[str, ...] = ()
    outstanding: tuple[str, ...] = ()
    removed: int = 0
    skipped: dict[str, str] = {}
    finished: bool = False
    ended: str = ""
    restored: bool = False
    restored_users: set[str] = set()

    @property
    def word(self) -> str:
        """The state in a word, as of a clean-up."""
        if self.restored:
            return "restored"
        if self.restored_users:
            return "partly restored"
        return "done" if self.finished else "unfinished"


class RepairRun(RunFolder):
    """One repair's folder."""

    @property
    def rows_file(self) -> Path:
        return self.folder / "rows.jsonl"

    def plan(self) -> Repair:
        """Raises StatementError where it cannot be read."""
        return self.read_plan(REPAIR_PLAN, Repair)

    def state(self) -> State:
        """The journal, folded. An unknown event is ignored: a later version wrote it."""
        state = State()
        for event in self.events():
            _fold(state, event)
        return state

    def archive(self, rows: list[Archived], xid: str, done: list[str], entries: list[str]) -> None:
        """Syncs the rows and notes whose transaction they are, which findings it repairs and which Redis keys are to
        go once it is committed. Raises StatementError where the disk does not take it."""
        data = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        with private_file(self.rows_file) as out:
            out.write(data)
        sync_folder(self.folder)
        tables: dict[str, dict[str, int]] = {}
        for row in rows:
            counts = tables.setdefault(row.table, {"inserted": 0, "changed": 0})
            counts["changed" if row.before else "inserted"] += 1
        self.note(
            "synced", xid=xid, sha256=hashlib.sha256(data).hexdigest(), rows=len(rows), tables=tables, done=done,
            entries=entries,
        )  # fmt: skip

    def archived(self, state: State) -> list[Archived]:
        """The archived rows, in the order of their writing. Raises RefusedError where the file was changed."""
        try:
            data = self.rows_file.read_bytes()
        except OSError as error:
            raise self.not_whole(self.rows_file, error) from None
        if hashlib.sha256(data).hexdigest() != state.sha256:
            raise was_changed(self.rows_file)
        return [msgspec.json.decode(line, type=Archived) for line in data.splitlines()]


def _fold(state: State, event: dict[str, Any]) -> None:
    name = event.get("event")
    if name == "synced":
        state.xid, state.sha256, state.rows = str(event["xid"]), str(event["sha256"]), int(event["rows"])
        state.tables, state.done = dict(event["tables"]), tuple(event["done"])
        state.entries, state.doubtful = tuple(event["entries"]), True
    elif name == "committed":
        state.committed, state.doubtful, state.outstanding = True, False, state.entries
    elif name == "rolled back":
        state.doubtful, state.rows, state.tables, state.done = False, 0, {}, ()
    elif name in ("dropped", "dropped some"):
        state.outstanding = () if name == "dropped" else state.outstanding
        state.removed += int(event["removed"])
        state.done += tuple(event.get("done", ()))
    elif name == "skipped":
        state.skipped[str(event["who"])] = str(event["why"])
    elif name == "ended":
        state.finished, state.ended = not event.get("left"), str(event.get("at", ""))
    elif name == "restored":
        state.restored = not event.get("left")
        state.restored_users |= {"some"} if event.get("left") else set()
    elif name == "restored user":
        state.restored_users.add(str(event["address"]))


def create(plan: Repair) -> RepairRun:
    """Makes a run's folder, whole or not at all. Raises as `rundir.create`."""

    def fill(draft: Path) -> None:
        with private_file(draft / REPAIR_PLAN) as out:
            out.write(msgspec.json.encode(plan))

    return RepairRun(rundir.create(plan.id, fill))


def every() -> list[RepairRun]:
    """All repairs, the newest first."""
    return [RepairRun(run.folder) for run in rundir.every() if run.command == rundir.REPAIR]


def unfinished(environment: str) -> list[RepairRun]:
    """The repairs of an environment that something is left to do for."""
    found = []
    for run in every():
        try:
            mine = run.plan().environment == environment
        except StatementError:
            continue  # it is in the list of runs, with what is wrong
        if mine and run.state().word == "unfinished":
            found.append(run)
    return found


def document(run: RepairRun, plan: Repair, state: State) -> dict[str, Any]:
    """What `runs` says of a repair, under the field names that a clean-up's run has."""
    people = {change.finding: change.subject for change in plan.changes if change.action != "unlink"}
    return {
        "id": run.id,
        "command": run.command,
        "environment": plan.environment,
        "server": plan.server,
        "started": plan.made,
        "tags": [],
        "kinds": list(plan.kinds),
        "planned": len(set(people.values())),
        "users": len({people[finding] for finding in state.done if finding in people}),
        "planned_changes": len(plan.changes),
        "changes": len(state.done),
        "rows": state.rows,
        "set": sum(counts["changed"] for counts in state.tables.values()),
        "state": state.word,
        "ended": state.ended,
        "segments": int(state.committed),
        "doubtful_segments": int(state.doubtful),
        "tables": {
            name: {"deleted": 0, "inserted": counts["inserted"], "changed": counts["changed"]}
            for name, counts in state.tables.items()
        },
        "skipped": dict(state.skipped),
        "cache_removed": state.removed,
        "cache_outstanding": len(state.outstanding),
        "auth": {},
        "restored_users": sorted(state.restored_users - {"some"}),
        "archive": str(run.folder),
        "bytes": run.size,
        "plan_sha256": plan.sha256,
    }
