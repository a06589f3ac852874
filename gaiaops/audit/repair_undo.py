"""Undoes a repair: what it wrote is taken back where nobody has changed it since, in one transaction."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager

import msgspec

from gaiaops.audit import repair_sql
from gaiaops.audit.repair_cache import caching
from gaiaops.audit.repair_look import Looker, held, place
from gaiaops.audit.repair_others import Others, in_between, others
from gaiaops.audit.repair_plan import KEYS, USERS, Archived, Row
from gaiaops.audit.repair_rules import Seen, address_in_the_way, also_in, fold_taken
from gaiaops.audit.repair_run import RepairRun
from gaiaops.audit.repair_settle import as_written, current, settle, written_columns
from gaiaops.audit.repair_write import Vetoed, Writer
from gaiaops.errors import GaiaopsError, LostServerError, UsageError, located
from gaiaops.postgres import session as pg
from gaiaops.postgres.changes import FAITHFUL, batch_timeouts, begin_change, check_server, check_writable, short_waits
from gaiaops.postgres.identity import check_only_name
from gaiaops.registry.model import Environment, Registry

COMMAND = "restore"


class NotUndone(msgspec.Struct, frozen=True):
    """A row that was left as it is, and why."""

    table: str
    id: str
    address: str
    why: str


class Undone(msgspec.Struct):
    """What came back, per table: columns set back, rows that the repair had inserted deleted, rows that were as before
    already. `lost` says what no archive holds."""

    run: str
    set_back: dict[str, int] = {}
    removed: dict[str, int] = {}
    present: dict[str, int] = {}
    not_undone: list[NotUndone] = []
    lost: list[str] = []

    @property
    def rows(self) -> int:
        return sum(self.set_back.values()) + sum(self.removed.values())


def undo(registry: Registry, env: Environment, run: RepairRun, user: str | None, *, dry_run: bool) -> Undone:
    """Undoes a repair, or what it did to one person (an address of theirs); a dry run compares only.

    Raises RefusedError where the archive was changed or comes from another server, UsageError where the person is
    not in it.
    """
    with located(env.name), run.lock():
        plan = run.plan()
        check_only_name(registry, env)
        with pg.changing(env.postgres_url(), short_waits(env), COMMAND) as session:
            facts = check_server(session, env, plan.server)
            check_writable(facts)
            there = place(registry, env, session)
            settle(session, run, there)
            state = run.state()
            rows = run.archived(state) if state.committed else []
            if user is not None:
                rows = _of(run, rows, user)
            session.use(batch_timeouts(env, facts.deadlock_ms))
            rest = others(registry, env, COMMAND, keep=not dry_run)
            undoing = _Undoing(Looker(session, registry, there), rest, run)
            undoing.go(rows, dry_run=dry_run)
        done = undoing.done
        if caching(registry, env).redis is not None and (state.entries or state.removed):
            done.lost.append("Redis: cached keys and sessions (the cache fills itself, people log in again)")
        if not dry_run and rows:
            if user is None:
                run.note("restored", left=len(done.not_undone))
            else:
                run.note("restored user", address=user)
        return done


def _of(run: RepairRun, rows: list[Archived], user: str) -> list[Archived]:
    """The rows of one person, found by an address of theirs."""
    folded = user.casefold()
    people = {c.finding for c in run.plan().changes if folded in c.addresses}
    found = [row for row in rows if row.finding in people or folded in row.addresses]
    if not found:
        raise UsageError(f"{user} is not in run {run.id}", hint=f"gaiaops runs {run.id} --json shows what it changed")
    return found


class _Undoing:
    """One transaction that takes back what it may, the last change first."""

    def __init__(self, looker: Looker, others: AbstractContextManager[Others], run: RepairRun) -> None:
        self.session = looker.session
        self.place = looker.place
        self.looker = looker
        self._others = others
        self.done = Undone(run.id)
        self.written: list[Archived] = []

    def go(self, rows: list[Archived], *, dry_run: bool) -> None:
        session = self.session
        begin_change(session, "SET CONSTRAINTS ALL IMMEDIATE", *FAITHFUL)
        try:
            with self._others as self.looker.others:  # their places are kept until the commit
                now, busy = self._rows(rows, lock=not dry_run)
                seen = self._seen(rows, now)
                for row in reversed(rows):
                    self._one(row, now.get((row.table, row.id)), (row.table, row.id) in busy, seen, dry_run)
                if self.looker.others and self.written:
                    self._check_others(now)
                if dry_run or not self.done.rows:
                    session.rollback()
                else:
                    session.commit()
        except LostServerError:
            raise
        except GaiaopsError:
            session.rollback()
            raise

    def _rows(self, rows: list[Archived], *, lock: bool) -> tuple[dict[tuple[str, str], Row], set[tuple[str, str]]]:
        """The rows as they are now, and those that somebody else holds."""
        if not lock:
            return current(self.session, self.place, rows), set()
        now: dict[tuple[str, str], Row] = {}
        busy: set[tuple[str, str]] = set()
        for name in (USERS, KEYS):
            ids = [row.id for row in rows if row.table == name]
            if ids:
                mine, others = held(self.session, self.place.table(name), ids)
                now |= {(name, key): row for key, row in mine.items()}
                busy |= {(name, key) for key in others}
        return now, busy

    def _seen(self, rows: list[Archived], now: dict[tuple[str, str], Row]) -> Seen:
        """Who has the addresses that would come back, what names those that would go, and which other shards have a
        profile of the same id. These are asked in snapshots that begin here."""
        old, gone, ids = _asked(rows, now)
        with self.looker.others.fresh() as rest:
            return Seen(taken=self.looker.taken(old), naming=self.looker.naming(gone), elsewhere=rest.having(ids))

    def _check_others(self, now: dict[tuple[str, str], Row]) -> None:
        """Raises RefusedError where another shard came in between; right before the commit. Here there are writes of
        ours by then, so the others alone are asked."""
        old, gone, ids = _asked(self.written, now)
        with self.looker.others.fresh() as rest:
            seen = Seen(taken=fold_taken(rest.taken(old)), naming=rest.naming(gone), elsewhere=rest.having(ids))
        for row in self.written:
            if why := self._in_the_way(row, now[row.table, row.id], seen):
                raise in_between(why)

    def _one(self, row: Archived, now: Row | None, busy: bool, seen: Seen, dry_run: bool) -> None:
        if is_back(row, now) and not busy:
            _add(self.done.present, row.table)
            return
        why = "another session holds the row; run it again" if busy else _changed(row, now)
        writer = Writer(self.session, self.place)
        try:
            if not why and now is not None and row.before is None:
                why = self._referred(now)
                if not why and not dry_run:
                    writer.delete(row)
            elif not why and now is not None:
                why = self._in_the_way(row, now, seen)
                if not why and not dry_run:
                    writer.set_back(row, now)
                    self.written.append(row)
        except Vetoed as veto:
            why = veto.why
        if why:
            address = row.after.get("email") or (row.before or {}).get("email") or ""
            self.done.not_undone.append(NotUndone(row.table, row.id, address, why))
        else:
            _add(self.done.removed if row.before is None else self.done.set_back, row.table)

    def _in_the_way(self, row: Archived, now: Row, seen: Seen) -> str:
        if row.table != USERS or row.before is None:
            return ""
        if row.id in seen.elsewhere:
            return also_in(seen.elsewhere[row.id])
        return address_in_the_way(seen, row.id, now.get("email") or "", row.before.get("email") or "")

    def _referred(self, now: Row) -> str:
        """What refers to a profile that would go: by a foreign key, or as the registry declares. Never by CASCADE."""
        found = []
        for name, sql, column in repair_sql.referring(self.place.catalog, self.place.shape.users):
            rows = self.session.fetch(sql, {"value": now[column]})[0][0]
            found += [f"{rows} rows of {name}"] if rows else []
        for one in self.place.naming:
            value = one.text((now["email"] if one.by_address else now["id"]) or "")
            for _, rows in self.session.fetch(repair_sql.naming(one), {"values": [value]}):
                found.append(f"{rows} rows of {one.name}")
        return f"{', '.join(dict.fromkeys(found))} refer to it" if found else ""


def _asked(rows: list[Archived], now: dict[tuple[str, str], Row]) -> tuple[set[str], set[str], set[str]]:
    """The addresses that would come back, those that would go, and the profiles' ids."""
    back = [row for row in rows if row.table == USERS and row.before is not None]
    old = {(row.before or {}).get("email") or "" for row in back} - {""}
    gone = {(now.get((row.table, row.id)) or {}).get("email") or "" for row in back} - {""}
    return old, gone, {row.id for row in back}


def is_back(row: Archived, now: Row | None) -> bool:
    """Whether a row is as it was before the repair already."""
    if row.before is None or now is None:
        return row.before is None and now is None
    return all(now.get(name) == row.before[name] for name in written_columns(row))


def _changed(row: Archived, now: Row | None) -> str:
    """How a row differs from what the repair left; empty where it does not. Of an API key and of a profile that was
    inserted every column counts, of an address that was changed the address."""
    if now is None:
        return "the row is gone"
    if row.before is not None and row.table == USERS:
        return "" if as_written(row, now) else f"its address is {now.get('email')} now"
    names: Collection[str] = [name for name in row.after if now.get(name) != row.after[name]]
    return f"it was changed since: {', '.join(sorted(names))}" if names else ""


def _add(totals: dict[str, int], table: str) -> None:
    totals[table] = totals.get(table, 0) + 1
