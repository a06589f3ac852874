"""The auth records of purged users: deleted one by one, and only where nobody needs them any more.

The project is shared by all environments: a record goes only when its address and id are in no environment's
PostgreSQL, and while the rule on the address still holds for the record itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import msgspec

from gaiaops.auth import admin, api
from gaiaops.cleanup.archive import Run
from gaiaops.cleanup.journal import State
from gaiaops.cleanup.selection import Selection, Verdict
from gaiaops.errors import GaiaopsError, StatementError, UsageError
from gaiaops.postgres import copytext, session
from gaiaops.registry.model import Environment, Registry, Supabase

DONE = ("deleted", "soft-deleted", "absent")
_STEP = 1000


class Person(msgspec.Struct, frozen=True):
    """A purged user: the profile's id and address."""

    id: str
    address: str


class AuthOutcome(msgspec.Struct):
    """How many were deleted, how many were not there, and who was kept, with the reason."""

    deleted: int = 0
    absent: int = 0
    kept: dict[str, str] = {}
    failure: str = ""


class Purge(Protocol):
    """A run of one database, or of shards: what its plan took, its parts, its journal."""

    @property
    def parts(self) -> Sequence[Run]: ...

    def plan(self) -> Tagged: ...

    def state(self) -> State: ...

    def note(self, event: str, **values: Any) -> None: ...


class Tagged(Protocol):
    """A plan."""

    @property
    def tags(self) -> tuple[str, ...]: ...


def purged(run: Purge) -> Iterator[Person]:
    """The users that a run has purged and whose auth record is not settled, from its archive."""
    settled = run.state().auth
    people = (person for part in run.parts for person in archived(part))
    return (person for person in people if settled.get(person.id) not in DONE)


def archived(part: Run) -> Iterator[Person]:
    """The users who are in a run's archive, or in a shard's part of it."""
    for segment in part.state().committed.values():
        for section in segment.sections:
            if section.kind != "delete" or section.name != "users" or "email" not in section.columns:
                continue
            key, email = section.columns.index("id") + 1, section.columns.index("email") + 1
            for chunk in part.lines(segment, section):
                for line in chunk.splitlines():
                    fields = line.split(b"\t")
                    yield Person(copytext.decode(fields[key]) or "", copytext.decode(fields[email]) or "")


def remove(registry: Registry, run: Purge, *, hard: bool, stop: Callable[[], bool]) -> AuthOutcome:
    """Deletes the auth records of a run's purged users; what became of each is in the journal.

    Raises UsageError where the registry has no [supabase], ConnectError where it or an environment (whose users
    must be known) cannot be reached.
    """
    project = registry.supabase
    if project is None:
        raise UsageError("the registry has no [supabase]", hint=f"add one to {registry.file}")
    outcome, people = AuthOutcome(), list(dict.fromkeys(purged(run)))
    selection = Selection(run.plan().tags, tuple(registry.tags), registry.protected)
    needed = _still_there(registry, people)
    timeouts = registry.environments[0].timeouts
    url, key = project.url.get(), project.service_key.get()
    with ExitStack() as stack:
        client = stack.enter_context(admin.connect(url, key, timeouts))
        by_address = _Addresses(project, registry.environments[0])
        for person in people:
            if stop():
                break
            why = needed.get(person.id) or needed.get(person.address.lower())
            try:
                done = f"kept: {why}" if why else _remove(client, person, selection, hard, by_address)
            except GaiaopsError as error:
                outcome.failure = error.message
                outcome.kept[person.address] = error.message
                continue
            run.note("auth", id=person.id, outcome=done)
            if done.startswith("kept: "):
                outcome.kept[person.address] = done.removeprefix("kept: ")
            else:
                outcome.deleted += done != "absent"
                outcome.absent += done == "absent"
    return outcome


def _remove(client: admin.Admin, person: Person, selection: Selection, hard: bool, by_address: _Addresses) -> str:
    """What became of one person's auth record. The record is read anew: it may have changed since the purge."""
    found = client.get(person.id)
    if found is None or found.address.casefold() != person.address.casefold():
        other = by_address.id_of(person.address)
        found = client.get(other) if other else None
    if found is None or found.deleted:
        return "absent"
    if found.address.casefold() != person.address.casefold():
        return "kept: its address is another one"
    if selection.verdict(found.address) is not Verdict.TAKE:
        return "kept: the rule on the address does not hold"
    client.delete(found.id, hard=hard)
    return "deleted" if hard else "soft-deleted"


def _still_there(registry: Registry, people: list[Person]) -> dict[str, str]:
    """Address (lower case) or id → the reason to keep: an environment's PostgreSQL still has it."""
    found: dict[str, str] = {}
    for env in registry.databases if people else ():
        with session.reading(env.postgres_url(), env.timeouts, "cleanup") as reading:
            for at in range(0, len(people), _STEP):
                step = people[at : at + _STEP]
                rows = reading.fetch(
                    "SELECT id::text, lower(email::text) FROM users"
                    " WHERE lower(email::text) = ANY(%(addresses)s) OR id::text = ANY(%(ids)s)",
                    {"addresses": [person.address.lower() for person in step], "ids": [person.id for person in step]},
                )
                for key, address in rows:
                    found[key] = found[address] = f"a profile in {env.name} has it"
    return found


class _Addresses:
    """Address → auth id, for profiles whose id is not the record's. Read once, when first asked."""

    def __init__(self, project: Supabase, env: Environment) -> None:
        self._project = project
        self._env = env
        self._known: dict[str, str] | None = None

    def id_of(self, address: str) -> str | None:
        if self._known is None:
            url, key = self._project.url.get(), self._project.service_key.get()
            timeouts = self._env.timeouts
            with api.client(url, key, timeouts.statement, timeouts.connect) as http:
                found = api.walk(http, time.monotonic() + timeouts.statement / 1000)
            if not found.complete:
                raise StatementError(
                    "Supabase Auth: the list of users could not be read whole: who is absent is unknown"
                )
            self._known = {one.address.casefold(): one.id for one in found.records.values() if one.address}
        return self._known.get(address.casefold())
