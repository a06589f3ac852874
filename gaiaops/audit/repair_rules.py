"""Whether a finding can be repaired, and how: from what both sides say now to a change, or to the reason why not. Pure.

The same rules make the plan and check it again under lock: a change is applied only where they give it once more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from gaiaops.audit import judge
from gaiaops.audit.repair_plan import KEYS, USERS, ApiKey, Change, Left, Row, Wanted
from gaiaops.auth.interface import Record
from gaiaops.cache.templates import Template
from gaiaops.postgres.shape import Table

AGAIN = "run the audit again"
_GIVEN = ("id", "email")
_DRIFTS = ("email-drift", "case-drift")
_STAMPS = ("created_at", "updated_at")
_PREFIX = 8  # characters of a hash that people see


class Shape(msgspec.Struct, frozen=True):
    """What the repair needs to know of the tables: `keys` is None where api_keys cannot be repaired, because of
    `no_keys`; `templates` make the Redis keys of an API key's row."""

    users: Table
    keys: Table | None
    templates: tuple[Template, ...] = ()
    no_keys: str = ""

    @property
    def unfilled(self) -> tuple[str, ...]:
        """Columns of users that an INSERT would have to fill, and whose value nobody knows."""
        known = {*_GIVEN, *_STAMPS}
        return tuple(c.name for c in self.users.columns if c.required and not c.filled and c.name not in known)

    @property
    def stamps(self) -> tuple[str, ...]:
        """Columns that say when a row was made, and have no default to do so."""
        return tuple(c.name for c in self.users.columns if c.name in _STAMPS and not c.filled)


class Seen(msgspec.Struct):
    """What both sides say: profiles by id (with every column as text), working keys by profile, auth records by id
    and of a profile's address, other profiles by folded address, rows that name an address, stale Redis keys.

    `locked` are profiles whose rows somebody else holds. `elsewhere` are other shards that have a profile of the same
    id, `keys_elsewhere` those where an API key of the profile, or one with such a hash, works.
    """

    rows: dict[str, Row] = {}
    keys: dict[str, list[Row]] = {}
    records: dict[str, Record] = {}
    by_address: dict[str, list[Record]] = {}
    taken: dict[str, set[str]] = {}
    naming: dict[str, list[tuple[str, int]]] = {}
    stale: Mapping[str, str] = {}
    locked: set[str] = set()
    elsewhere: dict[str, list[str]] = {}
    keys_elsewhere: dict[str, list[str]] = {}


def decide(wanted: Wanted, shape: Shape, seen: Seen) -> Change | Left:
    """The repair of one finding, or why there is none."""
    if wanted.subject in seen.locked:
        why = f"another session holds the row; {AGAIN}"
        return msgspec.structs.replace(_left(wanted, why), failed=True)
    if wanted.subject in seen.elsewhere:
        return _left(wanted, also_in(seen.elsewhere[wanted.subject]))
    if wanted.kind in _DRIFTS:
        return _address(wanted, seen)
    if wanted.kind == "missing-profile":
        return _missing(wanted, shape, seen)
    if wanted.kind == "revoked-access":
        return _revoked(wanted, shape, seen)
    return _stale(wanted, seen)


def decide_all(wanted: Sequence[Wanted], shape: Shape, seen: Seen) -> tuple[list[Change], list[Left]]:
    """The repairs of findings: of those that want the same address none but the first, and no finding twice."""
    changes: list[Change] = []
    left: list[Left] = []
    claimed: set[str] = set()
    done: set[str] = set()
    for one in wanted:
        if one.finding in done:
            continue
        done.add(one.finding)
        found = decide(one, shape, seen)
        if isinstance(found, Change):
            address = _claims(found)
            if address and address in claimed:
                found = _left(one, f"another repair of this plan takes the address {address}")
            claimed.add(address)
        if isinstance(found, Change):
            changes.append(found)
        else:
            left.append(found)
    return changes, left


def narrowed(planned: Change, now: Change) -> Change | Left:
    """What of a planned change may be done, now that the rules gave another one: never more than was shown."""
    if planned.action == "deactivate":
        there = {key.id for key in now.keys}
        keys = tuple(key for key in planned.keys if key.id in there)
        if not keys:
            return _left(planned.wanted, f"the keys of the plan do not work any more; {AGAIN}")
        return msgspec.structs.replace(planned, keys=keys)
    same = (planned.action, planned.id, planned.before, planned.after, planned.row)
    if same != (now.action, now.id, now.before, now.after, now.row):
        return _left(planned.wanted, f"an address was changed since the plan was made; {AGAIN}")
    return planned


def _address(wanted: Wanted, seen: Seen) -> Change | Left:
    """email-drift and case-drift: the profile takes the record's address."""
    row, record = seen.rows.get(wanted.subject), seen.records.get(wanted.subject)
    why = "the profile is gone" if row is None else _unusable(record)
    if row is None or record is None or why:
        return _left(wanted, why)
    before, after = row.get("email"), record.address
    kind = "case-drift" if (before or "").casefold() == after.casefold() else "email-drift"
    if before == after:
        why = "both sides have the same address now"
    elif kind != wanted.kind:
        why = f"it is {kind} now; {AGAIN}"
    else:
        why = address_in_the_way(seen, wanted.subject, before or "", after)
    if why:
        return _left(wanted, why)
    return Change(*_head(wanted), "update", table=USERS, id=wanted.subject, column="email", before=before, after=after)


def _missing(wanted: Wanted, shape: Shape, seen: Seen) -> Change | Left:
    """missing-profile: a row with the record's id and address."""
    record = seen.records.get(wanted.subject)
    why = _unusable(record)
    if record is not None and not why and record.revoked:
        why = "the auth record is banned"
    if record is not None and not why and not record.ordinary:
        why = "the auth record is anonymous or single sign-on"
    if record is not None and not why and "y" in record.flags:
        why = "the auth record is within the grace window: the sign-up may be under way"
    if record is None or why:
        return _left(wanted, why)
    if wanted.subject in seen.rows:
        return _left(wanted, "a profile with this id is there now")
    others = _others(seen, record.address, wanted.subject)
    if others:
        return _left(wanted, f"another profile has the address {record.address}: {others}")
    if shape.unfilled:
        return _left(wanted, f"users has columns that must be filled: {', '.join(shape.unfilled)}")
    row: Row = {"id": record.id, "email": record.address}
    return Change(*_head(wanted), "insert", table=USERS, id=record.id, row=row)


def _revoked(wanted: Wanted, shape: Shape, seen: Seen) -> Change | Left:
    """revoked-access: the working keys of somebody who cannot log in."""
    row = seen.rows.get(wanted.subject)
    if row is None:
        return _left(wanted, "the profile is gone")
    if shape.keys is None:
        return _left(wanted, shape.no_keys or "there is no table api_keys")
    same_id = seen.records.get(wanted.subject)
    address = row.get("email") or ""
    profile = judge.Profile(wanted.subject, address, False)
    alike = [record for record in seen.by_address.get(wanted.subject, ()) if same_address(record, address)]
    found = judge.Seen("", profile, (), same_id, alike, absence=True)
    if not found.locked_out:
        return _left(wanted, "the person may log in now")
    now = judge.state(found)
    if wanted.said and now != wanted.said:  # the record that the audit saw may be one that no look-up finds
        return _left(wanted, f"the auth record is {now}, and the audit found it {wanted.said}; {AGAIN}")
    keys = seen.keys.get(wanted.subject, [])
    where = " and ".join(seen.keys_elsewhere.get(wanted.subject, ()))
    if where or not keys:
        of_others = f"API keys of the profile, or with the same hash, work in {where} too"
        return _left(wanted, of_others if keys else "no API key works any more")
    values = ((template, key.get(template.column)) for key in keys for template in shape.templates)
    entries = (template.key(value) for template, value in values if value)
    return Change(
        *_head(wanted),
        "deactivate",
        table=KEYS,
        id=wanted.subject,
        keys=tuple(ApiKey(key["id"] or "", (key.get("key_hash") or "")[:_PREFIX]) for key in keys),
        cache_keys=tuple(dict.fromkeys(entry.decode("utf-8", "replace") for entry in entries)),
    )


def also_in(shards: Sequence[str]) -> str:
    """Why a profile is left that other shards have too."""
    return f"{' and '.join(shards)} {'has' if len(shards) == 1 else 'have'} a profile of this id too"


def same_address(record: Record, address: str) -> bool:
    """Whether a record's address is a profile's after case folding."""
    return bool(address) and record.address.casefold() == address.casefold()


def _stale(wanted: Wanted, seen: Seen) -> Change | Left:
    """stale-cache: the entry itself."""
    if any("\ud800" <= character <= "\udfff" for character in wanted.subject):
        return _left(wanted, "its name is not UTF-8: remove it with redis-cli")
    if wanted.subject not in seen.stale:
        return _left(wanted, "the entry is valid now")
    return Change(*_head(wanted), "unlink", cache_keys=(wanted.subject,))


def address_in_the_way(seen: Seen, profile: str, before: str, after: str) -> str:
    """Why a profile cannot take another address: somebody else has it, or rows name the old one. Empty where it can."""
    others = _others(seen, after, profile)
    if others:
        return f"another profile has the address {after}: {others}"
    named = [f"{rows} rows of {name}" for name, rows in seen.naming.get(before, ())]
    return f"{' and '.join(named)} name the address {before} and would dangle" if named else ""


def _unusable(record: Record | None) -> str:
    """Why a record's address cannot be taken; empty where it can."""
    if record is None:
        return "the auth record is gone"
    if "d" in record.flags:
        return "the auth record is deleted"
    if "v" in record.flags:
        return "the auth record is invisible to the server (aud, instance_id)"
    return "" if "@" in record.address else "the auth record has no address"


def _others(seen: Seen, address: str, subject: str) -> str:
    """The other profiles that have an address after case folding."""
    return ", ".join(sorted(seen.taken.get(address.casefold(), set()) - {subject}))


def _claims(change: Change) -> str:
    wanted = change.after if change.action == "update" else change.row.get("email")
    return (wanted or "").casefold()


def _head(wanted: Wanted) -> tuple[str, str, str, str, str]:
    return wanted.finding, wanted.kind, wanted.subject, wanted.address, wanted.said


def _left(wanted: Wanted, why: str) -> Left:
    return Left(wanted.finding, wanted.kind, wanted.subject, wanted.address, why)


def fold_taken(found: Collection[tuple[str, str]]) -> dict[str, set[str]]:
    """Folded address → ids of the profiles that have it, of (id, address)."""
    taken: dict[str, set[str]] = {}
    for own, address in found:
        taken.setdefault(address.casefold(), set()).add(own)
    return taken
