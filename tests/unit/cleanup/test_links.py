"""What a purge does about each kind of reference, and which columns nobody declared."""

from __future__ import annotations

import pytest

from gaiaops.cleanup.links import SOFT, Action, Link, from_foreign_key, from_reference, unclassified
from gaiaops.postgres.shape import Column
from gaiaops.registry.model import Reference

from .values import ID, USERS, catalog, column, key, table

CASCADE, NO_ACTION, RESTRICT, SET_NULL, SET_DEFAULT = "c", "a", "r", "n", "d"
ATTRIBUTION = ("created_by", "granted_by", "actor_id", "changed_by_user_id", "by")
OWNERSHIP = ("user_id", "owner_id", "userid", "member_id", "account")
NEUTRAL = ("reviewer_id", "last_seen")
NAMES = (*ATTRIBUTION, *OWNERSHIP, *NEUTRAL)


def link(name: str, action: str, *, required: bool, override: str | None = None, parent: int = 1) -> Link:
    """The link of notes.NAME → the table `parent` (users, or folders)."""
    notes = table(2, "notes", column(name, required=required))
    declared = {f"notes.{name}": Reference("notes", name, on_delete=override)} if override else {}
    found = catalog([USERS, notes, table(3, "folders")])
    return from_foreign_key(found, key(2, parent, name, action), 1, declared)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("required", [False, True])
def test_cascade_deletes(name: str, required: bool) -> None:
    found = link(name, CASCADE, required=required)
    assert (found.action, found.set_columns, found.why, found.problem) == (Action.DELETE, (), "CASCADE", "")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("action", [NO_ACTION, RESTRICT, SET_NULL])
def test_what_cannot_be_null_is_deleted(name: str, action: str) -> None:
    found = link(name, action, required=True)
    assert (found.action, found.set_columns, found.problem) == (Action.DELETE, (), "")


@pytest.mark.parametrize("action", [NO_ACTION, RESTRICT])
@pytest.mark.parametrize(
    ("names", "wanted"), [(ATTRIBUTION, Action.NULL), (OWNERSHIP, Action.DELETE), (NEUTRAL, Action.NULL)]
)
def test_nullable_attribution_is_nulled_and_ownership_deleted(
    action: str, names: tuple[str, ...], wanted: Action
) -> None:
    for name in names:
        found = link(name, action, required=False)
        assert found.action is wanted, name
        assert [c.name for c in found.set_columns] == ([name] if wanted is Action.NULL else [])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("action", "wanted"), [(SET_NULL, Action.NULL), (SET_DEFAULT, Action.DEFAULT)])
def test_the_servers_own_setting_is_followed(name: str, action: str, wanted: Action) -> None:
    found = link(name, action, required=False)
    assert (found.action, [c.name for c in found.set_columns]) == (wanted, [name])


def test_set_default_also_sets_a_column_that_cannot_be_null() -> None:
    found = link("owner_id", SET_DEFAULT, required=True)
    assert (found.action, [c.name for c in found.set_columns]) == (Action.DEFAULT, ["owner_id"])


def test_set_default_sets_every_column_of_the_key() -> None:
    notes = table(2, "notes", column("tenant", required=True), column("author"))
    users = table(1, "users", column("tenant", required=True))
    both = {"columns": ("tenant", "author"), "parent_columns": ("tenant", "id")}
    found = from_foreign_key(catalog([users, notes]), key(2, 1, "x", SET_DEFAULT, **both), 1, {})
    assert [c.name for c in found.set_columns] == ["tenant", "author"]


@pytest.mark.parametrize("action", [NO_ACTION, RESTRICT])
def test_ownership_counts_towards_users_only(action: str) -> None:
    """notes.owner_id that refers to a folder does not say that the note is the folder's."""
    assert link("owner_id", action, required=False, parent=3).action is Action.NULL
    assert link("owner_id", action, required=False, parent=3).owner == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("action", [CASCADE, NO_ACTION, RESTRICT, SET_NULL, SET_DEFAULT])
@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("override", ["delete", "null", "keep", "block"])
def test_the_registry_has_the_last_word(name: str, action: str, required: bool, override: str) -> None:
    found = link(name, action, required=required, override=override)
    assert found.action is Action(override)
    impossible = override == "keep" or (override == "null" and required)
    assert bool(found.problem) == impossible
    if not impossible:
        assert [c.name for c in found.set_columns] == ([name] if override == "null" else [])


@pytest.mark.parametrize(
    ("name", "action", "required", "owner"),
    [
        ("user_id", CASCADE, True, 2),
        ("user_id", SET_NULL, False, 2),
        ("reviewer_id", CASCADE, False, 2),
        ("reviewer_id", NO_ACTION, False, 0),
        ("created_by", CASCADE, False, 1),
        ("created_by", NO_ACTION, True, 1),
        ("created_by", NO_ACTION, False, 0),
        ("actor_id", SET_DEFAULT, False, 0),
    ],
)
def test_how_far_it_says_whose_the_row_is(name: str, action: str, required: bool, owner: int) -> None:
    assert link(name, action, required=required).owner == owner


def composite(
    action: str, *, nullable: tuple[str, ...] = (), set_columns: tuple[str, ...] = (), override: str = ""
) -> Link:
    columns = [column(name, required=name not in nullable) for name in ("tenant", "author")]
    users = table(1, "users", column("tenant", required=True))
    both = {"columns": ("tenant", "author"), "parent_columns": ("tenant", "id"), "set_columns": set_columns}
    declared = {"notes.2_x_fkey": Reference("notes", "2_x_fkey", on_delete=override)} if override else {}
    return from_foreign_key(catalog([users, table(2, "notes", *columns)]), key(2, 1, "x", action, **both), 1, declared)


def test_a_composite_key_is_nulled_where_it_can_be() -> None:
    assert composite(NO_ACTION).action is Action.DELETE
    assert [c.name for c in composite(NO_ACTION, nullable=("author",)).set_columns] == ["author"]
    assert [c.name for c in composite(SET_NULL, nullable=("tenant", "author")).set_columns] == ["tenant", "author"]
    both = ("tenant", "author")
    assert [c.name for c in composite(SET_NULL, nullable=both, set_columns=("author",)).set_columns] == ["author"]
    assert composite(CASCADE).name == "notes.(tenant, author)"


def test_a_composite_key_is_overridden_by_its_constraints_name() -> None:
    assert composite(CASCADE, override="block").action is Action.BLOCK
    assert composite(CASCADE, nullable=("author",), override="null").action is Action.NULL
    assert composite(CASCADE, override="null").problem


def test_a_generated_column_is_not_written_to() -> None:
    notes = table(2, "notes", column("author", generated=True))
    assert from_foreign_key(catalog([USERS, notes]), key(2, 1, "author", NO_ACTION), 1, {}).action is Action.DELETE


def test_what_no_purge_can_follow_is_a_problem() -> None:
    found = catalog([USERS, table(2, "notes", column("user_id"))])
    assert "temporal" in from_foreign_key(found, key(2, 1, "user_id", temporal=True), 1, {}).problem
    assert (
        "partition users_1 alone" in from_foreign_key(found, key(2, 1, "user_id", parent_part="users_1"), 1, {}).problem
    )


@pytest.mark.parametrize(
    ("name", "required", "override", "wanted"),
    [
        ("user_id", False, None, Action.DELETE),
        ("user_id", True, None, Action.DELETE),
        ("created_by", False, None, Action.NULL),
        ("created_by", True, None, Action.DELETE),
        ("granted_by", False, None, Action.NULL),
        ("actor_id", False, None, Action.NULL),
        ("principal_id", False, None, Action.DELETE),
        ("namespace", False, "keep", Action.KEEP),
        ("created_by", False, "block", Action.BLOCK),
        ("created_by", False, "delete", Action.DELETE),
        ("user_id", False, "null", Action.NULL),
    ],
)
def test_a_soft_reference(name: str, required: bool, override: str | None, wanted: Action) -> None:
    mine = column(name, "text", required=required)
    found = from_reference(table(2, "notes", mine), mine, Reference("notes", name, on_delete=override), 1)
    assert (found.action, found.why, found.parent, found.problem) == (wanted, SOFT, 1, "")
    assert found.set_columns == ((mine,) if wanted is Action.NULL else ())


def test_a_soft_reference_says_what_it_holds_and_under_which_condition() -> None:
    mine = column("namespace", "text", required=True)
    notes = table(2, "notes", mine, indexed=("id", "namespace"))
    found = from_reference(notes, mine, Reference("notes", "namespace", "users/{address}", "kind = 'u'"), 1)
    assert (found.parent_columns, found.holds, found.where) == (("email",), "users/{address}", "kind = 'u'")
    assert found.indexed
    assert from_reference(notes, mine, Reference("notes", "namespace"), 1).parent_columns == ("id",)
    assert from_reference(notes, mine, Reference("notes", "namespace", on_delete="null"), 1).problem


def listed(*columns: Column, linked: set[tuple[int, str]] | None = None, kind: str = "r") -> list[str]:
    found = catalog([USERS, table(2, "notes", *columns, kind=kind)])
    return unclassified(found, USERS, linked or set())


@pytest.mark.parametrize(
    "name",
    ["user_id", "owner", "actor_id", "author", "created_by", "locked_by_id", "assignee_id", "contact_email", "e_mail",
     "account_uuid", "member_ids", "player_id", "customer_id", "by", "email_address"],
)  # fmt: skip
def test_a_column_that_looks_like_a_user_is_listed(name: str) -> None:
    assert listed(column(name, "text")) == [f"notes.{name} (text)"]


@pytest.mark.parametrize("name", ["id", "title", "standby", "username_hash", "user_agent", "usable", "byte", "emails"])
def test_a_column_that_does_not_look_like_one_is_not_listed(name: str) -> None:
    assert listed(column(name, "text")) == []


@pytest.mark.parametrize(
    "kind", ["uuid", "uuid[]", "text", "character varying(255)", "character(36)", "citext", "name"]
)
def test_columns_that_can_hold_an_id_or_an_address(kind: str) -> None:
    assert listed(column("user_id", kind)) == [f"notes.user_id ({kind})"]


@pytest.mark.parametrize("kind", ["boolean", "timestamp with time zone", "jsonb", "bigint", "numeric(10,2)"])
def test_columns_that_cannot(kind: str) -> None:
    assert listed(column("user_id", kind)) == []


def test_the_type_of_users_id_always_can() -> None:
    users = table(1, "users", columns=(column("id", "bigint", required=True), column("email", "text")))
    found = catalog([users, table(2, "notes", column("user_id", "bigint"), column("owner_ids", "bigint[]"))])
    assert unclassified(found, users, set()) == ["notes.user_id (bigint)", "notes.owner_ids (bigint[])"]


def test_what_is_declared_and_what_is_no_table_is_not_listed() -> None:
    assert listed(column("user_id"), column("owner_id"), linked={(2, "user_id")}) == ["notes.owner_id (uuid)"]
    assert listed(column("user_id"), kind="v") == []
    assert listed(column("user_id"), kind="p") == ["notes.user_id (uuid)"]
    assert unclassified(catalog([table(1, "users", ID, column("created_by"))]), USERS, set()) == []
