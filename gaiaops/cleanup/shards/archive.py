"""The run of a clean-up over shards: one folder, and in it a run's folder for each shard.

`runs/ID/whole.json` is the plan; `runs/ID/shards/1-eu` has what a run's folder has, with the names that are nobody's
who stays; `runs/ID/shards/1-eu.guests-1` what was taken out because it named people who went from other shards.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gaiaops import rundir
from gaiaops.cleanup import archive
from gaiaops.cleanup.archive import Run
from gaiaops.cleanup.journal import State, fold
from gaiaops.cleanup.plan import Plan
from gaiaops.cleanup.shards.plan import Whole, file_digest, names_file, users_file
from gaiaops.errors import RefusedError
from gaiaops.rundir import BUFFER, RunFolder, private_file, sync_folder, unwritable

PLAN = "whole.json"
_GUESTS = re.compile(r"(\d+)-.+\.guests-(\d+)")


class Part(Run):
    """One shard's part: what the archive of a clean-up of one database is. Its id is the run's."""

    def __init__(self, folder: Path, whole: WholeRun) -> None:
        super().__init__(folder)
        self.whole = whole
        self.staying: frozenset[bytes] = frozenset()  # names that are somebody's by now

    @property
    def id(self) -> str:
        return self.whole.id

    @property
    def fresh(self) -> bool:
        """A run that has begun in one shard has begun."""
        return self.whole.fresh

    @property
    def shard(self) -> str:
        """ENV/SHARD"""
        return self.plan().environment

    def harmless(self) -> Iterator[bytes]:
        return (line for line in self.names() if line not in self.staying)

    def names(self) -> Iterator[bytes]:
        """The names that were harmless when the plan was made, as lines of COPY."""
        with (self.folder / "names.copy").open("rb") as lines:
            yield from lines

    def check_names(self, digest: str) -> None:
        """Raises RefusedError where the names are not those of the plan."""
        if file_digest(self.folder / "names.copy") != digest:
            raise RefusedError(f"the names of run {self.id} are not those of its plan", hint="nothing was changed")


class Guests(Part):
    """What named, in one shard, people who had gone from other ones."""

    guests = True

    @property
    def fresh(self) -> bool:
        return False


class WholeRun(RunFolder):
    """One clean-up over shards: its plan, its own journal, and its parts."""

    def plan(self) -> Whole:
        """Raises StatementError where it cannot be read."""
        return self.read_plan(PLAN, Whole)

    @property
    def own(self) -> list[Part]:
        """The parts of the shards' own users, in the registry's order."""
        found = [path for path in self._folders() if not _GUESTS.fullmatch(path.name)]
        return [Part(path, self) for path in sorted(found, key=_place)]

    def guests_of(self, place: int) -> list[Guests]:
        """The parts of one shard (counted from 1) that hold what named others' people, in the order of their making."""
        found = [(match, path) for path in self._folders() if (match := _GUESTS.fullmatch(path.name))]
        mine = [(int(match[2]), path) for match, path in found if int(match[1]) == place]
        return [Guests(path, self) for _, path in sorted(mine)]

    @property
    def parts(self) -> list[Part]:
        """All parts, in the order in which they were made."""
        own = self.own
        return [*own, *(guests for place in range(len(own)) for guests in self.guests_of(place + 1))]

    @property
    def fresh(self) -> bool:
        """Whether nothing was done yet, in any shard."""
        return all(part.state().last == 0 for part in self.parts)

    def state(self) -> State:
        """The run's own journal: whether it ended, what became of auth records. What was taken out the parts know."""
        return fold(self.events())

    @property
    def word(self) -> str:
        """The state in a word, as State.word."""
        states = [part.state() for part in self.parts]
        committed = [state for state in states if state.committed]
        if committed and all(state.word == "restored" for state in committed):
            return "restored"
        if any(state.restored or state.restored_users for state in states):
            return "partly restored"
        return "done" if self.state().finished and not any(state.uncached for state in states) else "unfinished"

    def new_guests(self, place: int, plan: Plan, users: Path) -> Guests:
        """Makes the part for people of other shards. Raises StatementError where the disk does not take it."""
        own = self.own[place - 1]
        folder = own.folder.with_name(f"{own.folder.name}.guests-{len(self.guests_of(place)) + 1}")
        draft = folder.with_name(f".{folder.name}.{os.getpid()}")
        try:
            draft.mkdir(mode=0o700)
            archive.fill(draft, plan, users)
            _copy(own.folder / "names.copy", draft / "names.copy")
            sync_folder(draft)
            draft.rename(folder)
            sync_folder(folder.parent)
        except OSError as error:
            rundir.remove(draft)
            raise unwritable(folder, error) from None
        return Guests(folder, self)

    def _folders(self) -> list[Path]:
        folder = self.folder / "shards"
        return [path for path in folder.iterdir() if path.name[0].isdigit()] if folder.is_dir() else []


def is_whole(run: RunFolder) -> bool:
    """Whether a run is one over shards."""
    return (run.folder / PLAN).exists()


def every() -> list[WholeRun]:
    """All clean-ups over shards, the newest first."""
    return [WholeRun(run.folder) for run in rundir.every() if is_whole(run)]


def create(whole: Whole, lists: Path) -> WholeRun:
    """Makes a run's folder from a plan and its lists, whole or not at all. Raises as archive.create."""

    def fill(draft: Path) -> None:
        (draft / "shards").mkdir(mode=0o700)
        for place, plan in enumerate(whole.plans):
            part = draft / "shards" / f"{place + 1}-{plan.environment.partition('/')[2]}"
            part.mkdir(mode=0o700)
            archive.fill(part, plan, users_file(lists, place))
            _copy(names_file(lists, place), part / "names.copy")
            sync_folder(part)
        sync_folder(draft / "shards")
        with private_file(draft / PLAN) as target:
            target.write(msgspec.json.encode(whole))

    return WholeRun(rundir.create(whole.id, fill))


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as data, private_file(target) as out:
        while chunk := data.read(BUFFER):
            out.write(chunk)


def _place(path: Path) -> int:
    return int(path.name.partition("-")[0])
