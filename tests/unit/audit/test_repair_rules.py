"""The rules of a repair: what both sides say decides, and nothing is done that the plan did not show."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaiaops.audit import repair_sql
from gaiaops.audit.repair_plan import FIXABLE, ApiKey, Archived, Change, Left, Repair, Wanted, check_kinds
from gaiaops.audit.repair_rules import Seen, Shape, decide, decide_all, fold_taken, narrowed
from gaiaops.audit.repair_settle import as_written
from gaiaops.audit.repair_undo import is_back
from gaiaops.auth.interface import Record
from gaiaops.cache.templates import parse
from gaiaops.errors import UsageError
from gaiaops.postgres.shape import Column, Table


def table(name: str, *columns: Column) -> Table:
    return Table(1, name, f"public.{name}", "r", 0, False, False, False, False, (), (), columns, ("id",))


def column(name: str, kind: str = "text", *, required: bool = False, filled: bool = False) -> Column:
    return Column(name, f'"{name}"' if "%" in name else name, kind, required, False, filled)


ID, EMAIL = column("id", "uuid", required=True, filled=True), column("email", required=True)
USERS = table("users", ID, EMAIL, column("name"))
KEYS = table("api_keys", ID, column("user_id", "uuid"), column("key_hash"), column("is_active", "boolean"))
TEMPLATE = parse("gaia:{api_keys.key_hash:4}")
SHAPE = Shape(USERS, KEYS, (TEMPLATE,))
ME = "me"

addresses = st.sampled_from(["a@x", "A@x", "b@x", "B@X", "\u0131@x", "I@x", "i@x", "stra\u00dfe@x", "STRASSE@x", ""])
flags = st.text("bdasuyv", max_size=2)


def wanted(kind: str, subject: str = ME, said: str = "") -> Wanted:
    return Wanted(f"{kind}-{subject}", kind, subject, "", said)


@given(addresses, addresses, flags, st.dictionaries(addresses, st.sampled_from([ME, "other"]), max_size=3))
def test_an_address_is_taken_only_where_nothing_speaks_against_it(
    mine: str, theirs: str, state: str, taken: dict[str, str]
) -> None:
    seen = Seen(rows={ME: {"id": ME, "email": mine}}, records={ME: Record(ME, theirs, state)})
    seen.taken = fold_taken([(own, address) for address, own in taken.items()])
    found = {kind: decide(wanted(kind), SHAPE, seen) for kind in ("email-drift", "case-drift")}
    made = {kind: change for kind, change in found.items() if isinstance(change, Change)}
    others = {address.casefold() for address, own in taken.items() if own != ME}
    possible = "@" in theirs and not set("dv") & set(state) and theirs != mine and theirs.casefold() not in others
    kind = "case-drift" if mine.casefold() == theirs.casefold() else "email-drift"
    assert list(made) == ([kind] if possible else [])
    for change in made.values():
        assert (change.before, change.after, change.id, change.table) == (mine, theirs, ME, "users")
    assert all(left.why for left in found.values() if isinstance(left, Left))


@given(flags, st.booleans(), st.booleans())
def test_access_is_revoked_only_from_those_who_cannot_log_in(state: str, same_id: bool, key: bool) -> None:
    record = Record(ME if same_id else "you", "a@x", state)
    seen = Seen(rows={ME: {"id": ME, "email": "a@x"}})
    if same_id:
        seen.records[ME] = record
    elif record.ordinary:
        seen.by_address[ME] = [record]
    if key:
        seen.keys[ME] = [{"id": "k", "key_hash": "0123456789", "is_active": "true"}]
    found = decide(wanted("revoked-access"), SHAPE, seen)
    visible = same_id and "v" not in state
    locked_out = record.revoked if visible or (not same_id and record.ordinary) else True
    assert isinstance(found, Change) == (locked_out and key)
    if isinstance(found, Change):
        assert found.keys == (ApiKey("k", "01234567"),)
        assert found.cache_keys == ("gaia:0123",)


def test_what_the_audit_saw_must_still_be_so() -> None:
    seen = Seen(rows={ME: {"id": ME, "email": "a@x"}}, keys={ME: [{"id": "k", "key_hash": "h"}]})
    assert isinstance(decide(wanted("revoked-access", said="absent"), SHAPE, seen), Change)
    for said in ("banned", "soft-deleted", "invisible to the server (aud, instance_id)"):
        assert isinstance(decide(wanted("revoked-access", said=said), SHAPE, seen), Left)


@pytest.mark.parametrize("state", ["", *"bdasuyv"])
def test_a_missing_profile(state: str) -> None:
    seen = Seen(records={ME: Record(ME, "a@x", state)})
    found = decide(wanted("missing-profile"), SHAPE, seen)
    assert isinstance(found, Change) == (state in ("", "u"))
    seen.rows[ME] = {"id": ME, "email": "z@x"}
    assert isinstance(decide(wanted("missing-profile"), SHAPE, seen), Left)


def test_columns_that_nobody_can_fill() -> None:
    stamps = (column("created_at", "timestamp without time zone", required=True), column("updated_at", filled=True))
    assert Shape(table("users", ID, EMAIL, *stamps), None).stamps == ("created_at",)
    assert Shape(table("users", ID, EMAIL, *stamps), None).unfilled == ()
    shape = Shape(
        table("users", ID, EMAIL, column("name", required=True), column("x", required=True, filled=True)), None
    )
    assert shape.unfilled == ("name",)


def test_a_stale_entry() -> None:
    seen = Seen(stale={"k": "gone", "\udcff": "odd"})
    assert isinstance(decide(wanted("stale-cache", "k"), SHAPE, seen), Change)
    for valid in ("other", "\udcff"):
        assert isinstance(decide(wanted("stale-cache", valid), SHAPE, seen), Left)


def test_a_held_row_is_a_failure() -> None:
    found = decide(wanted("email-drift"), SHAPE, Seen(locked={ME}))
    assert isinstance(found, Left)
    assert found.failed


def test_no_finding_twice_and_no_address_twice() -> None:
    rows = {own: {"id": own, "email": f"{own}@x"} for own in "abc"}
    records = {"a": Record("a", "N@x"), "b": Record("b", "n@x"), "c": Record("c", "m@x")}
    changes, left = decide_all([wanted("email-drift", own) for own in "aabc"], SHAPE, Seen(rows=rows, records=records))
    assert [change.subject for change in changes] == ["a", "c"]
    assert [one.subject for one in left] == ["b"]


def change(**values: object) -> Change:
    start = Change("f", "email-drift", ME, "", "", "update", "users", ME, "email", "a@x", "b@x")
    return msgspec.structs.replace(start, **values)


def test_never_more_than_was_shown() -> None:
    planned = change()
    assert narrowed(planned, change()) == planned
    for other in ({"before": "z@x"}, {"after": "z@x"}, {"id": "you"}, {"action": "insert"}, {"row": {"id": ME}}):
        assert isinstance(narrowed(planned, change(**other)), Left)
    keys = [ApiKey(name, name) for name in "abc"]
    off = change(action="deactivate", keys=(keys[0], keys[1]))
    found = narrowed(off, change(action="deactivate", keys=(keys[1], keys[2])))
    assert isinstance(found, Change)
    assert found.keys == (keys[1],)
    assert isinstance(narrowed(off, change(action="deactivate", keys=(keys[2],))), Left)


def test_kinds() -> None:
    assert set(FIXABLE) == {"missing-profile", "email-drift", "case-drift", "revoked-access", "stale-cache"}
    check_kinds(FIXABLE)
    for kind in ("orphan-profile", "nonsense", ""):
        with pytest.raises(UsageError) as caught:
            check_kinds((*FIXABLE, kind))
        assert caught.value.hint


def test_what_was_written_and_what_is_back() -> None:
    updated = Archived("f", "users", ME, {"id": ME, "email": "a@x"}, {"id": ME, "email": "b@x"})
    inserted = Archived("f", "users", ME, None, {"id": ME, "email": "b@x"})
    now = {"id": ME, "email": "b@x", "name": "later"}
    assert [as_written(updated, now), as_written(updated, None), is_back(updated, now)] == [True, False, False]
    assert [is_back(updated, {"id": ME, "email": "a@x"}), is_back(updated, None)] == [True, False]
    assert [as_written(inserted, now), is_back(inserted, None), is_back(inserted, now)] == [True, True, False]


def test_a_plan_is_json() -> None:
    plan = Repair("r", "dev", "s/d", "now", ("email-drift",), (change(row={"id": None}),))
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Repair) == plan
    assert (plan.rows, plan.entries, len(plan.sha256)) == (1, 0, 64)


def test_names_stand_in_statements_as_the_server_quoted_them() -> None:
    odd = table("users", ID, EMAIL, column("100% {x}'"))
    for sql in (repair_sql.rows(odd, ""), repair_sql.update(odd, "email"), repair_sql.insert(odd, ())):
        assert '"100%% {x}\'"' in sql
        assert "'100%% {x}'''" in sql
