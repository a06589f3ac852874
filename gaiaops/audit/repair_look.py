"""Looks at both sides of findings: in a snapshot for the plan, under lock before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager

import msgspec

from gaiaops.audit import repair_names, repair_sql, stale
from gaiaops.audit.compare import spellings
from gaiaops.audit.repair_cache import caching
from gaiaops.audit.repair_names import Naming
from gaiaops.audit.repair_others import KEY_COLUMNS, NONE, Others
from gaiaops.audit.repair_plan import KEYS, USERS, Row, Wanted
from gaiaops.audit.repair_rules import Seen, Shape, fold_taken
from gaiaops.audit.repair_sql import LOOK, SKIP, WAIT
from gaiaops.auth.interface import Look
from gaiaops.cache.templates import parse
from gaiaops.errors import DeadlineError, RefusedError
from gaiaops.postgres import catalog, features
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Catalog, Table
from gaiaops.postgres.softref import SoftColumn
from gaiaops.registry.model import Environment, Registry

LookAgain = Callable[[int], AbstractContextManager[Look]]
_LOCKED_OUT = "55P03"  # lock_not_available


class Place(msgspec.Struct, frozen=True):
    """The database of an environment as a repair sees it."""

    catalog: Catalog
    shape: Shape
    naming: tuple[SoftColumn, ...]

    def table(self, name: str) -> Table:
        """Raises RefusedError where it is not there (any more)."""
        found = {USERS: self.shape.users, KEYS: self.shape.keys}.get(name)
        if found is None:
            why = self.shape.no_keys or f"there is no table {name} that could be repaired"
            raise RefusedError(why, hint="gaiaops view ENV")
        return found


def place(registry: Registry, env: Environment, session: Session) -> Place:
    """Reads the catalog. Raises RefusedError where users cannot be repaired as it is."""
    read = catalog.read(session)
    users = catalog.find(session, read, USERS)
    if users is None or users.column("email") is None:
        raise RefusedError("there is no table users with an address", hint=f"gaiaops view {env.name}")
    _check(users, env)
    keys, no_keys = _keys_table(catalog.find(session, read, KEYS), env)
    naming = catalog.soft_columns(session, read, registry.references)
    cached = caching(registry, env).redis is not None
    entries = dict.fromkeys((*registry.user_keys, *registry.audit.access_keys)) if cached else {}
    templates = tuple(one for one in map(parse, entries) if one.table == KEYS)
    return Place(read, Shape(users, keys, templates, no_keys), tuple(naming))


def _keys_table(keys: Table | None, env: Environment) -> tuple[Table | None, str]:
    """The table of API keys where it can be repaired, else why it cannot: users can be repaired without it."""
    if keys is None or keys.key != ("id",) or not {column.name for column in keys.columns} >= KEY_COLUMNS:
        return None, f"there is no table {KEYS} with {', '.join(sorted(KEY_COLUMNS))}, of which id is the key"
    try:
        _check(keys, env)
    except RefusedError as error:
        return None, error.message
    return keys, ""


def _check(table: Table, env: Environment) -> None:
    """Raises RefusedError where a row of the table is not what it seems, or may not be written."""
    if table.name == USERS and table.key != ("id",):
        raise RefusedError(f"{table.name} has no primary key id", hint="the repair finds its rows by it")
    if table.kind not in ("r", "p"):
        raise RefusedError(f"{table.name} is no table (a view or a foreign table)", hint=f"gaiaops view {env.name}")
    if table.rules or table.heirs or table.foreign_parts:
        raise RefusedError(
            f"{table.name} has rewrite rules, heirs or foreign partitions", hint="what is written could not be verified"
        )
    if table.distributed:
        raise RefusedError(features.distributed(table.name), hint="by hand: gaiaops query ENV --write")
    if table.rls:
        raise RefusedError(
            f"row-level security hides rows of {table.name} from this role", hint="use a role with BYPASSRLS"
        )
    missing = sorted({"SELECT", "UPDATE"} - set(table.may))
    if missing:
        raise RefusedError(f"this role may not {' or '.join(missing)} in {table.name}", hint="or use another role")


class Looker:
    """Collects what the rules ask for, on one session in an open transaction, and in the other shards."""

    def __init__(self, session: Session, registry: Registry, place: Place, others: Others = NONE) -> None:
        self.session = session
        self.registry = registry
        self.place = place
        self.others = others

    def look(self, wanted: Sequence[Wanted], auth: Callable[[], AbstractContextManager[Look]], *, lock: bool) -> Seen:
        """What both sides say of these findings' subjects; with `lock` their rows are held until the transaction ends.

        Raises the error tree's errors; PartialError where the auth side cannot tell that somebody is absent.
        """
        people = [one for one in wanted if one.kind != "stale-cache"]
        ids = sorted({one.subject for one in people})
        seen = Seen()
        if ids:
            seen.rows, seen.locked = self._rows(ids, lock)
            self._keys({one.subject for one in people if one.kind == "revoked-access"}, seen, lock)
            with auth() as look:
                _auth(look, people, seen)
            self._around(people, seen)
        entries = [one.subject for one in wanted if one.kind == "stale-cache"]
        seen.stale = stale.why(self.session, self.registry, entries) if entries else {}
        return seen

    def again(self, wanted: Sequence[Wanted], seen: Seen) -> Seen:
        """What was seen under lock, with what the other shards alone say now: here there are writes of ours by then.
        Raises as `look`."""
        now = msgspec.structs.replace(seen)
        targets, old = _addresses(wanted, seen)
        with self.others.fresh() as rest:
            now.taken, now.naming = fold_taken(rest.taken(targets)), rest.naming(old)
            _elsewhere(rest, wanted, now)
        return now

    def _around(self, people: Sequence[Wanted], seen: Seen) -> None:
        """Who has the addresses that the repairs want, what names those they would replace, and what the other shards
        have; these are asked in snapshots that begin here."""
        targets, old = _addresses(people, seen)
        with self.others.fresh() as rest:
            seen.taken, seen.naming = self.taken(targets), self.naming(old)
            _elsewhere(rest, people, seen)

    def _rows(self, ids: Sequence[str], lock: bool) -> tuple[dict[str, Row], set[str]]:
        """The profiles, and the ids of those that somebody else holds."""
        users = self.place.shape.users
        values = {"ids": list(ids)}
        if not lock:
            return dict(self.session.fetch(repair_sql.rows(users, LOOK), values)), set()
        return held(self.session, users, ids)

    def _keys(self, owners: Collection[str], seen: Seen, lock: bool) -> None:
        """The working keys of these profiles; whose keys somebody else holds is locked."""
        table, users = self.place.shape.keys, self.place.shape.users
        kind = next(column.type for column in users.columns if column.name == "id")
        if table is None or not owners:
            return
        values = {"ids": sorted(owners)}
        found = self.session.fetch(repair_sql.keys(table, kind, LOOK), values)
        if lock:
            _, busy = held(self.session, table, [key for _, key, _ in found])
            seen.locked |= {owner for owner, key, _ in found if key in busy}
            found = self.session.fetch(repair_sql.keys(table, kind, LOOK), values)
        for owner, _, row in found:
            seen.keys.setdefault(owner, []).append(row)

    def taken(self, addresses: Collection[str]) -> dict[str, set[str]]:
        """Folded address → profiles that have it, of these addresses at least; in any shard."""
        here = repair_names.taken(self.session, self.place.shape.users, addresses)
        return fold_taken([*here, *self.others.taken(addresses)])

    def naming(self, addresses: Collection[str]) -> Naming:
        """Address → (reference, rows) of the soft references that name it; in any shard."""
        found = repair_names.naming(self.session, self.place.naming, addresses)
        for address, held in self.others.naming(addresses).items():
            found.setdefault(address, []).extend(held)
        return found


def _addresses(people: Sequence[Wanted], seen: Seen) -> tuple[set[str], set[str]]:
    """The addresses that the repairs want, and those they would replace."""
    targets, old = set(), set()
    for one in people:
        record, row = seen.records.get(one.subject), seen.rows.get(one.subject)
        if one.kind != "revoked-access" and record is not None and record.address:
            targets.add(record.address)
            old.add((row or {}).get("email") or "")
    return targets, old - {""}


def _elsewhere(others: Others, people: Sequence[Wanted], seen: Seen) -> None:
    """What the other shards have of these people."""
    revoked = {one.subject: seen.keys.get(one.subject, []) for one in people if one.kind == "revoked-access"}
    hashes = {own: {key["key_hash"] or "" for key in keys} - {""} for own, keys in revoked.items()}
    seen.elsewhere = others.having({one.subject for one in people})
    seen.keys_elsewhere = others.working(hashes)


def held(session: Session, table: Table, ids: Sequence[str]) -> tuple[dict[str, Row], set[str]]:
    """Rows by id, locked; and the ids of those that somebody else keeps locked for longer than the lock timeout."""
    values = {"ids": list(ids)}
    if not ids:
        return {}, set()
    session.exchange.command("SAVEPOINT gaiaops_lock")
    try:
        return dict(session.fetch(repair_sql.rows(table, WAIT), values)), set()
    except DeadlineError as error:
        if error.sqlstate != _LOCKED_OUT:
            raise
        session.exchange.command("ROLLBACK TO SAVEPOINT gaiaops_lock")
    there = dict(session.fetch(repair_sql.rows(table, LOOK), values))
    mine = dict(session.fetch(repair_sql.rows(table, SKIP), values))
    return mine, set(there) - set(mine)


def _auth(look: Look, people: Sequence[Wanted], seen: Seen) -> None:
    """The records of the subjects, and, of those whose keys are to be revoked and who have none, by address."""
    records = look.find(sorted({one.subject for one in people}), ())
    seen.records = {record.id: record for record in records}
    forms: dict[str, set[str]] = {}
    for one in people:
        record = seen.records.get(one.subject)
        address = (seen.rows.get(one.subject) or {}).get("email") or ""
        if one.kind == "revoked-access" and (record is None or "v" in record.flags) and address:
            forms[one.subject] = set(spellings(address))
    if not forms:
        return
    alike = look.find((), sorted(set().union(*forms.values())))
    for subject, mine in forms.items():
        seen.by_address[subject] = [record for record in alike if record.address in mine]
