"""The plan of a clean-up over shards, as a value, and the file that keeps it. Pure but for reading and writing it.

A part is one shard's plan, as it would be of an environment of its own. The file is a text of JSON lines: the plan,
one line for each user of each part, one for each name that is nobody's who stays, then the SHA-256 of all before it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from gaiaops.cleanup.plan import Plan, User, users_of
from gaiaops.errors import RefusedError, UsageError
from gaiaops.postgres import copytext

FORMAT = 1
_HEAD = "gaiaops_plan_of_shards"
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*")


class PartPlan(msgspec.Struct, frozen=True):
    """One shard's part. `harmless` is the SHA-256 of the names that soft references may hold there without being those
    of somebody who stays in another shard."""

    plan: Plan
    harmless: str


class Whole(msgspec.Struct, frozen=True):
    """Everything a clean-up over shards would do; `users` and `users_in_all` count people, by their ids.

    `conflicting` are people who stay in all shards because their id is somebody's in one of them whom the rule does
    not take; `sha256` is over the parts' lists.
    """

    id: str
    environment: str
    made: str
    until: str
    tags: tuple[str, ...]
    older_than: str
    keep: tuple[str, ...]
    users: int
    users_in_all: int
    allow_collateral: bool
    max_users: int | None
    conflicting: tuple[str, ...]
    refusals: tuple[str, ...]
    parts: tuple[PartPlan, ...]
    sha256: str
    format: int = FORMAT

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The shards' plans, in the registry's order."""
        return tuple(part.plan for part in self.parts)

    @property
    def server(self) -> str:
        """The servers of all shards."""
        return ", ".join(plan.server for plan in self.plans)

    @property
    def deletes(self) -> int:
        """Rows that go, the users among them."""
        return sum(plan.deletes for plan in self.plans)

    @property
    def shards(self) -> tuple[str, ...]:
        """The shards' names: ENV/SHARD."""
        return tuple(plan.environment for plan in self.plans)


def users_file(folder: Path, place: int) -> Path:
    """Where a part's users are, while a plan is made or applied."""
    return folder / f"{place}.users"


def names_file(folder: Path, place: int) -> Path:
    """Where a part's harmless names are, likewise."""
    return folder / f"{place}.names"


def digest_of(parts: Iterable[PartPlan]) -> str:
    """The SHA-256 that a whole plan has of its parts' lists."""
    text = "".join(f"{part.plan.environment} {part.plan.sha256} {part.harmless}\n" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def people(folder: Path, parts: int) -> int:
    """How many people the parts' users are."""
    return len({key for place in range(parts) for _, key, _ in users_of(users_file(folder, place))})


def save(whole: Whole, users: Sequence[Iterable[User]], folder: Path, out: IO[bytes]) -> None:
    """Writes a plan's file; `users` are those of each part."""
    digest = hashlib.sha256()

    def put(value: object) -> None:
        line = msgspec.json.encode(value) + b"\n"
        digest.update(line)
        out.write(line)

    put({_HEAD: whole})
    for place, listed in enumerate(users):
        for user in listed:
            put({"part": place, **msgspec.structs.asdict(user)})
    for place in range(len(whole.parts)):
        for name in _names(names_file(folder, place)):
            put({"part": place, "harmless": name})
    out.write(_seal(digest.hexdigest()))


def load(file: Path, folder: Path) -> Whole:
    """Reads a plan's file and writes the lists of its parts into `folder`.

    Raises UsageError where it cannot be read or is no plan, RefusedError where it was changed or is that of an
    environment without shards.
    """
    edited = RefusedError(
        f"{file} was changed after it was made", hint="make a new plan: gaiaops cleanup ENV --save-plan FILE"
    )
    digest = hashlib.sha256()
    try:
        with file.open("rb") as lines:
            first = lines.readline()
            whole = _header(file, first)
            digest.update(first)
            _read(lines, digest, folder, len(whole.parts), edited)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint="check the path after --plan") from None
    except (msgspec.MsgspecError, ValueError, KeyError, TypeError, IndexError):
        raise edited from None
    for place, part in enumerate(whole.parts):
        lists = users_file(folder, place), names_file(folder, place)
        if (part.plan.sha256, part.harmless) != tuple(map(file_digest, lists)):
            raise edited
        if part.plan.users != sum(1 for _ in users_of(lists[0])) or part.plan.id != whole.id:
            raise edited
    if whole.sha256 != digest_of(whole.parts) or whole.users != people(folder, len(whole.parts)):
        raise edited
    return whole


def is_of_shards(file: Path) -> bool:
    """Whether a plan's file is that of an environment with shards. Raises UsageError where it cannot be read."""
    try:
        with file.open("rb") as lines:
            return lines.read(len(_HEAD) + 2) == f'{{"{_HEAD}'.encode()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint="check the path after --plan") from None


def _read(lines: IO[bytes], digest: Any, folder: Path, parts: int, edited: RefusedError) -> None:
    """Writes each line to its part's list, up to the seal."""
    users = [users_file(folder, place).open("wb") for place in range(parts)]
    names = [names_file(folder, place).open("wb") for place in range(parts)]
    numbers = [0] * parts
    try:
        for line in lines:
            if line.startswith(b'{"sha256"'):
                if line != _seal(digest.hexdigest()) or lines.read(1):
                    raise edited
                return
            digest.update(line)
            value = msgspec.json.decode(line)
            place = int(value["part"])
            if place < 0:
                raise edited
            if "harmless" in value:
                names[place].write(copytext.encode(value["harmless"]) + b"\n")
                continue
            numbers[place] += 1
            if value["n"] != numbers[place]:
                raise edited
            key, address = copytext.encode(value["id"]), copytext.encode(value["address"])
            users[place].write(b"%d\t%s\t%s\n" % (numbers[place], key, address))
    finally:
        for file in (*users, *names):
            file.close()
    raise edited


def _names(file: Path) -> Iterator[str]:
    with file.open("rb") as lines:
        for line in lines:
            yield copytext.decode(line.rstrip(b"\n")) or ""


def _seal(sha256: str) -> bytes:
    """The last line of a plan's file."""
    return msgspec.json.encode({"sha256": sha256}) + b"\n"


def _header(file: Path, line: bytes) -> Whole:
    try:
        raw = msgspec.json.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raw = None
    if isinstance(raw, dict) and "gaiaops_plan" in raw:
        raise RefusedError(f"{file} is the plan of an environment without shards", hint="make a new plan")
    head = raw.get(_HEAD) if isinstance(raw, dict) else None
    if not isinstance(head, dict):
        raise UsageError(f"{file} is no plan", hint="gaiaops cleanup ENV --save-plan FILE makes one")
    if head.get("format") != FORMAT:
        raise RefusedError(f"{file} was made by another version of gaiaops", hint="make a new plan")
    whole = msgspec.convert(head, Whole)
    if not _ID.fullmatch(whole.id):  # it names a folder
        raise RefusedError(f"{file} has an id that no plan has", hint="make a new plan")
    return whole
