"""What refers to what, and what a purge does about it: foreign keys and soft references as one kind of value. Pure."""

from __future__ import annotations

import re
from enum import Enum

import msgspec

from gaiaops.postgres.shape import Catalog, Column, ForeignKey, Table
from gaiaops.registry.model import Reference

# Columns that say who did something, not whose the row is.
_ATTRIBUTION = re.compile(r"(.*_)?by(_id|_user|_user_id)?|(.*_)?actor(_id)?")
# Nullable columns that nevertheless say whose the row is.
_OWNERSHIP = re.compile(r"(user|owner|account|member|profile|player|customer)(_?id|_uuid)?")
# Names of columns that may hold a user without saying so.
_LOOKS_LIKE = re.compile(
    r"(.*_)?(user|owner|actor|author|creator|member|principal|assignee|profile|account|player|customer|person)"
    r"(_?id|_uuid|_ids)?|(.*_)?by(_id)?|(.*_)?e?mail(_address)?"
    r"|.*(user|owner|actor|author|creator|member|by)(Id|ID|Uuid)|(created|updated|granted|assigned|invited)By",
    re.IGNORECASE,
)
_ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
SOFT = "soft reference"


class Action(Enum):
    """What happens to a row that refers to one that goes."""

    DELETE = "delete"
    NULL = "null"
    DEFAULT = "default"
    KEEP = "keep"
    BLOCK = "block"


class Link(msgspec.Struct, frozen=True):
    """A reference from `child` to `parent` (oids).

    `columns` are the child's, `parent_columns` what they equal; a soft reference has one column and `holds`.
    `set_columns` are those that NULL or DEFAULT is written to. `owner` says how far it tells whose the row is: 2
    it does, 1 only where nothing else does (attribution that cannot be NULL), 0 it does not. `problem` is why the
    purge cannot deal with it.
    """

    name: str
    child: int
    parent: int
    columns: tuple[Column, ...]
    parent_columns: tuple[str, ...]
    why: str
    action: Action
    set_columns: tuple[Column, ...] = ()
    part: str | None = None
    where: str | None = None
    holds: str | None = None
    owner: int = 0
    indexed: bool = False
    problem: str = ""


def from_foreign_key(catalog: Catalog, key: ForeignKey, users: int, declared: dict[str, Reference]) -> Link:
    """The link of a foreign key; an entry of the registry for its column gives the action."""
    child, parent = catalog.tables[key.child], catalog.tables[key.parent]
    columns = child.pick(key.columns)
    settable = child.pick(key.set_columns) or tuple(c for c in columns if not (c.required or c.generated))
    defaulted = child.pick(key.set_columns) or tuple(c for c in columns if not c.generated)
    override = declared.get(f"{child.name}.{key.name}")
    for column in columns:
        override = declared.get(f"{child.name}.{column.name}") or override
    action, problem = _action_of(key, settable, parent.oid == users), ""
    if override and override.on_delete:
        action = Action(override.on_delete)
        if action is Action.KEEP:
            problem = "a foreign key cannot be kept: the server would not let the user go"
        if action is Action.NULL and not settable:
            problem = "it is NOT NULL, so it cannot be nulled"
    if key.temporal or key.parent_part:
        problem = "a temporal foreign key" if key.temporal else f"it references the partition {key.parent_part} alone"
    return Link(
        name=_name(child, key.columns),
        child=child.oid,
        parent=parent.oid,
        columns=columns,
        parent_columns=key.parent_columns,
        why=_ACTIONS[key.action],
        action=action,
        set_columns=settable if action is Action.NULL else defaulted if action is Action.DEFAULT else (),
        part=key.part,
        owner=_owner(columns, action) if parent.oid == users else 0,
        indexed=key.indexed,
        problem=problem,
    )


def from_reference(table: Table, column: Column, reference: Reference, users: int) -> Link:
    """The link of a soft reference."""
    attribution = bool(_ATTRIBUTION.fullmatch(column.name))
    action = Action.NULL if attribution and not column.required else Action.DELETE
    if reference.on_delete:
        action = Action(reference.on_delete)
    return Link(
        name=_name(table, (column.name,)),
        child=table.oid,
        parent=users,
        columns=(column,),
        parent_columns=("email" if "{address}" in reference.holds else "id",),
        why=SOFT,
        action=action,
        set_columns=(column,) if action is Action.NULL else (),
        where=reference.where,
        holds=reference.holds,
        owner=_owner((column,), action),
        indexed=column.name in table.indexed,
        problem="it is NOT NULL, so it cannot be nulled" if action is Action.NULL and column.required else "",
    )


def unclassified(catalog: Catalog, users: Table, linked: set[tuple[int, str]]) -> list[str]:
    """Columns that look as if they named a user, and that nothing declares: `table.column (type)`.

    `linked` are the (table oid, column) pairs that a foreign key or the registry speaks of.
    """
    kinds = re.compile(r"(uuid|text|character varying|character|citext|name)\b.*")
    id_column = users.column("id")
    found = []
    for table in catalog.tables.values():
        if table.oid == users.oid or table.kind not in ("r", "p"):
            continue
        for column in table.columns:
            fits = kinds.fullmatch(column.type) or (id_column and column.type.rstrip("[]") == id_column.type)
            if fits and _LOOKS_LIKE.fullmatch(column.name) and (table.oid, column.name) not in linked:
                found.append(f"{table.name}.{column.name} ({column.type})")
    return found


def _action_of(key: ForeignKey, settable: tuple[Column, ...], to_users: bool) -> Action:
    if key.whole and len(settable) < len(key.columns) and key.action != "d":
        settable = ()  # MATCH FULL: some of its columns cannot be NULL alone
    if key.action == "c" or not settable:
        return Action.DEFAULT if key.action == "d" else Action.DELETE
    if key.action == "d":
        return Action.DEFAULT
    if key.action == "n":
        return Action.NULL
    # NO ACTION and RESTRICT: the server would refuse. A nullable column is nulled, which takes the least away,
    # unless it says whose the row is.
    belongs = to_users and any(_OWNERSHIP.fullmatch(column.name) for column in settable)
    return Action.DELETE if belongs else Action.NULL


def _owner(columns: tuple[Column, ...], action: Action) -> int:
    if all(_ATTRIBUTION.fullmatch(column.name) for column in columns):
        return int(action in (Action.DELETE, Action.BLOCK))
    survives = action in (Action.NULL, Action.DEFAULT)
    return 2 if not survives or any(_OWNERSHIP.fullmatch(column.name) for column in columns) else 0


def _name(table: Table, columns: tuple[str, ...]) -> str:
    return f"{table.name}.{columns[0]}" if len(columns) == 1 else f"{table.name}.({', '.join(columns)})"
