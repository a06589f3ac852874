"""What goes and in which order, for schemas built by hand; and what a plan's fingerprint notices."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaiaops.cleanup import graph
from gaiaops.cleanup.graph import Graph
from gaiaops.cleanup.links import Action
from gaiaops.errors import RefusedError
from gaiaops.postgres.shape import Column, ForeignKey, Table
from gaiaops.registry.model import Reference

from .values import USERS, build, catalog, column, key, table

WRITES = (Action.DELETE, Action.NULL, Action.DEFAULT)


def names(found: Graph, oids: tuple[int, ...]) -> list[str]:
    return [found.tables[oid].name for oid in oids]


# ---- order

Edges = list[tuple[int, int, str]]
# Few tables and mostly CASCADE, so that most schemas have circles within circles that users lead to.
EDGES = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from("cccccarnd")), min_size=5, max_size=15)


def schema(edges: Edges) -> Graph:
    """Six tables, the first of which is `users`; a foreign key for each (child, parent, action)."""
    columns: dict[int, list[Column]] = {oid: [] for oid in range(1, 7)}
    keys: list[ForeignKey] = []
    for number, (child, parent, action) in enumerate(edges):
        columns[child].append(column(f"c{number}"))
        keys.append(key(child, parent, f"c{number}", action))
    tables = [table(oid, f"t{oid}", *columns[oid]) for oid in range(2, 7)]
    return build([table(1, "users", column("email", "text"), *columns[1]), *tables], keys)


def reached(edges: set[tuple[int, int]], start: int) -> set[int]:
    """Everything that (from, to) leads to, `start` included."""
    found, fresh = {start}, {start}
    while fresh:
        fresh = {to for by, to in edges if by in fresh} - found
        found |= fresh
    return found


@given(EDGES)
def test_children_come_before_parents_and_circles_together(edges: Edges) -> None:
    found = schema(edges)
    place = {oid: i for i, group in enumerate(found.groups) for oid in group}
    assert sum(map(len, found.groups)) == len(place)
    assert place.keys() == found.doomed == reached({(p, c) for c, p, action in edges if action == "c"}, 1)
    ways = {(link.parent, link.child) for link in found.links if link.action in WRITES and link.child in place}
    for parent, child in ways:
        assert place[child] <= place[parent]
    for (one, first), (other, second) in itertools.product(place.items(), repeat=2):
        in_circle = other in reached(ways, one) and one in reached(ways, other)
        assert (first == second) == in_circle


@given(EDGES)
def test_what_is_referred_to_has_a_key_set_and_what_is_touched_is_listed(edges: Edges) -> None:
    found = schema(edges)
    into_doomed = [(c, p) for c, p, _ in edges if p in found.doomed]
    assert sorted((link.child, link.parent) for link in found.links) == sorted(into_doomed)
    assert set(found.keysets) == {1, *(parent for _, parent in into_doomed)}
    assert len({keyset.name for keyset in found.keysets.values()}) == len(found.keysets)
    assert found.touched[0].oid in found.groups[-1]
    assert {t.oid for t in found.touched} == found.doomed | {link.child for link in found.links}


def test_a_chain_a_diamond_and_a_circle() -> None:
    chain = schema([(2, 1, "c"), (3, 2, "c"), (4, 3, "c")])
    assert chain.groups == ((4,), (3,), (2,), (1,))
    diamond = schema([(2, 1, "c"), (3, 1, "c"), (4, 2, "c"), (4, 3, "c")])
    assert diamond.groups[0] == (4,)
    assert diamond.groups[-1] == (1,)
    circle = schema([(2, 1, "c"), (3, 2, "c"), (2, 3, "c"), (4, 3, "c")])
    assert [set(group) for group in circle.groups] == [{4}, {2, 3}, {1}]
    itself = schema([(1, 1, "c"), (2, 1, "c"), (2, 2, "a")])
    assert itself.groups == ((2,), (1,))


def test_what_is_nulled_is_no_way_further() -> None:
    found = schema([(2, 1, "n"), (3, 2, "c")])
    assert found.doomed == {1}
    assert [link.child for link in found.links] == [2]
    assert [t.name for t in found.touched] == ["users", "t2"]


# ---- users, references, problems


def test_a_database_without_usable_users_is_refused() -> None:
    email = column("email", "text")
    for users, why in [
        (table(1, "users", email, kind="v"), "no table"),
        (table(1, "users"), "no column email"),
        (table(1, "users", columns=(email,)), "no column id"),
        (table(1, "users", email, key=("email",)), "primary key is not id"),
        (table(1, "users", email, key=()), "primary key is not id"),
    ]:
        with pytest.raises(RefusedError, match=why):
            build([users])
    with pytest.raises(RefusedError, match="there is no table users"):
        graph.build(catalog([]), None, [])


NOTES = table(2, "notes", column("user_id"), column("created_by"), column("title", "text"))


def test_a_reference_is_a_link_and_an_unknown_one_is_absent() -> None:
    references = [Reference("notes", "user_id"), Reference("notes", "gone"), Reference("planned", "user_id")]
    found = build([USERS, NOTES], [], references)
    assert [link.name for link in found.links] == ["notes.user_id"]
    assert found.absent == ("notes.gone", "planned.user_id")
    assert found.unclassified == ("notes.created_by (uuid)",)
    assert found.doomed == {1, 2}


def test_a_reference_to_a_column_with_a_foreign_key_gives_its_action_only() -> None:
    references = [Reference("notes", "user_id", on_delete="null"), Reference("notes", "2_created_by_fkey")]
    found = build([USERS, NOTES], [key(2, 1, "user_id"), key(2, 1, "created_by")], references)
    assert [(link.name, link.action, link.why) for link in found.links] == [
        ("notes.user_id", Action.NULL, "CASCADE"),
        ("notes.created_by", Action.DELETE, "CASCADE"),
    ]
    assert found.absent == found.unclassified == ()


def test_a_reference_besides_a_foreign_key_to_another_table_is_followed_too() -> None:
    folders = table(3, "folders")
    found = build([USERS, NOTES, folders], [key(2, 3, "user_id")], [Reference("notes", "user_id")])
    assert [(link.name, link.parent, link.why) for link in found.links] == [("notes.user_id", 1, "soft reference")]


def test_what_says_whose_the_row_is_takes_first() -> None:
    keys = [key(2, 3, "folder_id"), key(2, 1, "created_by"), key(2, 1, "user_id"), key(3, 1, "user_id")]
    notes = table(2, "notes", column("folder_id"), column("created_by"), column("user_id"))
    found = build([USERS, notes, table(3, "folders", column("user_id"))], keys)
    assert [link.columns[0].name for link in found.takers(2)] == ["user_id", "created_by", "folder_id"]
    assert [link.columns[0].name for link in found.owners(2)] == ["user_id"]
    assert found.owners(2, but=found.takers(2)[0]) == []
    assert {link.name for link in found.out_of(2, Action.DELETE)} == {link.name for link in found.takers(2)}


def test_attribution_tells_whose_the_row_is_where_nothing_else_does() -> None:
    found = build([USERS, NOTES], [key(2, 1, "created_by")])
    assert [link.name for link in found.owners(2)] == ["notes.created_by"]


def test_a_key_set_holds_the_key_and_what_others_refer_to() -> None:
    folders = table(3, "folders", column("owner_id"), column("slug", "text"), key=("id",))
    notes = table(2, "notes", column("folder", "text"))
    keys = [key(3, 1, "owner_id"), key(2, 3, "folder", parent_columns=("slug",))]
    found = build([USERS, notes, folders], keys)
    assert found.keysets[1].columns == {"id": "g_1", "email": "g_2"}
    assert found.keysets[3].columns == {"id": "g_1", "slug": "g_2"}
    assert found.keysets[3].key == ("id",)
    assert 2 not in found.keysets


def test_problems_are_named() -> None:
    keyless = table(2, "notes", column("user_id"), column("created_by"), key=())
    child = table(3, "lines", column("note_id"))
    found = build([USERS, keyless, child], [key(2, 1, "created_by", "a")])
    assert found.problems == ("notes.created_by is to be nulled, but the table has no primary key to put it back by",)
    assert build([USERS, keyless, child], [key(2, 1, "user_id")]).problems == ()
    found = build([USERS, keyless, child], [key(2, 1, "user_id"), key(3, 2, "note_id")])
    assert found.problems == ("notes has no primary key, and others refer to it",)
    found = build([USERS, NOTES], [key(2, 1, "user_id")], [Reference("notes", "user_id", on_delete="keep")])
    assert found.problems == ("notes.user_id: a foreign key cannot be kept: the server would not let the user go",)


# ---- the fingerprint

LINES = table(3, "lines", column("note_id"), column("backup_id"))
BOTH = {"columns": ("note_id", "backup_id"), "parent_columns": ("id", "copy_id")}
COPIED = table(2, "notes", column("user_id"), column("created_by"), column("title", "text"), column("copy_id"))
KEYS = [key(2, 1, "user_id"), key(2, 1, "created_by", "n"), key(3, 2, "x", "n", **BOTH, set_columns=("note_id",))]
REFERENCES = [Reference("other", "owner", "{id}", "kind = 'u'", "delete")]
OTHER = table(4, "other", column("owner", "text"), column("kind", "text"))


def fingerprint(
    notes: Table = COPIED,
    keys: list[ForeignKey] | None = None,
    references: list[Reference] | None = None,
    users: Table = USERS,
    lines: Table = LINES,
) -> str:
    return build([users, notes, lines, OTHER], keys or KEYS, references or REFERENCES).fingerprint()


def changed(value: Table, **fields: object) -> Table:
    return msgspec.structs.replace(value, **fields)


def with_column(mine: str, **fields: object) -> Table:
    columns = [msgspec.structs.replace(c, **fields) if c.name == mine else c for c in COPIED.columns]
    return changed(COPIED, columns=tuple(columns))


def with_key(place: int, **fields: object) -> list[ForeignKey]:
    return [msgspec.structs.replace(k, **fields) if i == place else k for i, k in enumerate(KEYS)]


def with_reference(**fields: object) -> list[Reference]:
    return [msgspec.structs.replace(REFERENCES[0], **fields)]


CHANGES: dict[str, Callable[[], str]] = {
    "a column more": lambda: fingerprint(changed(COPIED, columns=(*COPIED.columns, column("more")))),
    "a column less": lambda: fingerprint(changed(COPIED, columns=COPIED.columns[:-1])),
    "a column's name": lambda: fingerprint(with_column("title", name="name", quoted="name")),
    "a column's type": lambda: fingerprint(with_column("title", type="jsonb")),
    "a column NOT NULL": lambda: fingerprint(with_column("title", required=True)),
    "a column generated": lambda: fingerprint(with_column("title", generated=True)),
    "a column of users": lambda: fingerprint(users=changed(USERS, columns=(*USERS.columns, column("more")))),
    "a column of a table that stays": lambda: fingerprint(lines=changed(LINES, columns=LINES.columns[::-1])),
    "the key": lambda: fingerprint(changed(COPIED, key=("id", "user_id"))),
    "a trigger": lambda: fingerprint(changed(COPIED, triggers=("t on delete",))),
    "a rule": lambda: fingerprint(changed(COPIED, rules=True)),
    "a partitioned table": lambda: fingerprint(changed(COPIED, kind="p")),
    "a foreign key more": lambda: fingerprint(keys=[*KEYS, key(3, 1, "backup_id")]),
    "a foreign key less": lambda: fingerprint(keys=KEYS[:-1]),
    "a foreign key's action": lambda: fingerprint(keys=with_key(1, action="c")),
    "a foreign key's action that does the same": lambda: fingerprint(keys=with_key(1, action="a")),
    "a foreign key's columns": lambda: fingerprint(keys=with_key(0, columns=("title",))),
    "a foreign key's parent columns": lambda: fingerprint(keys=with_key(0, parent_columns=("email",))),
    "a foreign key's SET NULL columns": lambda: fingerprint(keys=with_key(2, set_columns=("backup_id",))),
    "a foreign key's partition": lambda: fingerprint(keys=with_key(0, part="public.notes_1")),
    "a reference more": lambda: fingerprint(references=[*REFERENCES, Reference("notes", "title")]),
    "a reference's condition": lambda: fingerprint(references=with_reference(where=None)),
    "what a reference holds": lambda: fingerprint(references=with_reference(holds="users/{address}")),
    "a reference's action": lambda: fingerprint(references=with_reference(on_delete="keep")),
    "a reference's column": lambda: fingerprint(references=with_reference(column="kind")),
    "an override": lambda: fingerprint(references=[*REFERENCES, Reference("notes", "user_id", on_delete="block")]),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_notices(change: str) -> None:
    assert CHANGES[change]() != fingerprint()


@pytest.mark.parametrize(
    "fields",
    [{"rows": 10**6}, {"may": ("SELECT",)}, {"indexed": ("id", "user_id")}],
)
def test_the_fingerprint_does_not_depend_on_estimates_privileges_and_indexes(fields: dict[str, object]) -> None:
    assert fingerprint(changed(COPIED, **fields)) == fingerprint()


def test_the_fingerprint_does_not_depend_on_the_catalogs_order_nor_on_oids() -> None:
    assert fingerprint(keys=KEYS[::-1]) == fingerprint()
    assert fingerprint(keys=with_key(0, indexed=False)) == fingerprint()
    moved = [
        msgspec.structs.replace(k, child=k.child + 10, parent=k.parent if k.parent == 1 else k.parent + 10)
        for k in KEYS
    ]
    tables = [USERS, *(changed(each, oid=each.oid + 10) for each in (COPIED, LINES, OTHER))]
    assert build(tables, moved, REFERENCES).fingerprint() == fingerprint()


def test_the_fingerprint_does_not_depend_on_what_no_purge_touches() -> None:
    aside = table(9, "aside", column("note", "text"))
    assert build([USERS, COPIED, LINES, OTHER, aside], KEYS, REFERENCES).fingerprint() == fingerprint()
