"""The comparison without a server: symmetric, and silent about what is the same."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaiaops.inspect.schema import declared, match, versions
from gaiaops.inspect.schema.declared import Finding, Relation
from gaiaops.inspect.schema.diff import compare, narrowed
from gaiaops.output import schema as output
from gaiaops.postgres.schema_object import KINDS, SchemaObject, SchemaRead
from gaiaops.registry.model import TableGroup

TABLES = ("public.a", "public.b", "public.c")
OWNED = ("column", "foreign-key", "unique", "index", "trigger", "primary-key")
ALONE = ("function", "enum", "sequence", "view")
SWAPPED = {"only-left": "only-right", "only-right": "only-left", "differs": "differs"}
FACTS = st.dictionaries(st.sampled_from(("definition", "type", "state")), st.sampled_from("xyz"), max_size=3)
NAMES = st.sampled_from(("a_b_fkey", "a_b_fkey1", "mine", "yours", "id"))


@st.composite
def schemas(draw: st.DrawFn) -> SchemaRead:
    """Up to three tables and their parts; names are unique within a table and kind, anchors are not."""
    objects = {}
    for table in draw(st.sets(st.sampled_from(TABLES))):
        facts = draw(FACTS | st.none())
        if facts is not None and draw(st.booleans()):
            facts["partition of"] = draw(st.sampled_from(TABLES))
        objects["table", "", table] = SchemaObject("table", "", table, facts=facts)
    for kind, owner, name, facts in draw(
        st.lists(st.tuples(st.sampled_from(OWNED), st.sampled_from(TABLES), NAMES, FACTS | st.none()), max_size=8)
    ):
        anchor = (facts or {}).get("definition", "")
        near = "the one" if kind == "primary-key" else ""
        objects[kind, owner, name] = SchemaObject(kind, owner, name, anchor, near, facts)
    for kind, name, facts in draw(st.lists(st.tuples(st.sampled_from(ALONE), NAMES, FACTS), max_size=5)):
        objects[kind, "", name] = SchemaObject(kind, "", name, facts=facts)
    return SchemaRead("dev", draw(st.sampled_from((150_004, 180_001))), tuple(objects.values()))


@settings(deadline=None, max_examples=60)
@given(schemas())
def test_nothing_differs_from_itself(one: SchemaRead) -> None:
    assert compare(one, one).differences == ()


@settings(deadline=None, max_examples=60)
@given(schemas(), schemas())
def test_the_mirror(one: SchemaRead, other: SchemaRead) -> None:
    """What only the left side has is what only the right side has, from the other side."""

    def facts(some: Mapping[str, str] | None) -> object:
        return None if some is None else sorted(some.items())

    there = [(d.kind, d.table, d.change, facts(d.left), facts(d.right)) for d in compare(one, other).differences]
    back = [
        (d.kind, d.table, SWAPPED[d.change], facts(d.right), facts(d.left)) for d in compare(other, one).differences
    ]
    assert sorted(map(repr, there)) == sorted(map(repr, back))


@settings(deadline=None, max_examples=60)
@given(schemas(), schemas())
def test_what_is_unread_is_never_a_difference(one: SchemaRead, other: SchemaRead) -> None:
    hidden = SchemaRead("x", other.version, other.objects, {"relations": "why", "functions": "why"})
    compared = compare(one, hidden)
    assert {d.kind for d in compared.differences} <= {"enum", "sequence"}
    named = {kind for u in compared.unread if u.environment == "x" and not u.table for kind in u.kinds}
    assert named >= {"table", "view", "function", *OWNED}  # what is not compared is said
    assert {u.reason for u in compared.unread if u.kinds[0] in ("table", "function")} <= {"why"} | {
        u.reason for u in compare(one, other).unread
    }


@settings(deadline=None, max_examples=60)
@given(schemas(), schemas())
def test_parts_of_a_table_that_one_side_has_are_not_listed(one: SchemaRead, other: SchemaRead) -> None:
    differences = compare(one, other).differences
    alone = {d.name for d in differences if d.kind == "table" and d.change != "differs"}
    assert not [d for d in differences if d.table in alone]


def _fk(name: str, definition: str) -> SchemaObject:
    near = definition.partition("(id)")[0]
    return SchemaObject("foreign-key", "public.t", name, definition, near, {"definition": definition})


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        # one name is PostgreSQL's own: what they are counts
        (["t_a_fkey"], ["t_a_fkey3"], []),
        (["t_a_fkey"], ["mine"], []),
        (["mine"], ["yours"], [("differs", {"name": "mine"}, {"name": "yours"})]),
        # two of a kind, one of the other
        (["t_a_fkey", "t_a_fkey1"], ["t_a_fkey"], [("only-left", {"definition": "FK (a) REFERENCES u(id)"}, None)]),
    ],
)
def test_names(left: list[str], right: list[str], expected: list[tuple[object, ...]]) -> None:
    table = SchemaObject("table", "", "public.t")
    sides = [
        SchemaRead(name, 180_000, (table, *(_fk(one, "FK (a) REFERENCES u(id)") for one in names)))
        for name, names in (("dev", left), ("prod", right))
    ]
    found = compare(*sides).differences
    assert [(d.change, d.left, d.right) for d in found] == expected


def test_a_key_with_another_action_is_one_difference_under_any_name() -> None:
    left = _fk("t_a_fkey", "FK (a) REFERENCES u(id)")
    right = _fk("t_a_fkey1", "FK (a) REFERENCES u(id) ON DELETE CASCADE")
    assert list(match.pairs([left], [right])) == [(left, right)]


def test_narrowed() -> None:
    left = SchemaRead(
        "dev", 180_000, (SchemaObject("table", "", 'public."My T"'), SchemaObject("enum", "", "public.e"))
    )
    whole = compare(left, SchemaRead("prod", 180_000, (), {"triggers": "why"}))
    assert len(whole.differences) == 2
    assert [d.kind for d in narrowed(whole, ("table",), ()).differences] == ["table"]
    assert [d.kind for d in narrowed(whole, (), ("My T",)).differences] == ["table"]
    assert [d.kind for d in narrowed(whole, (), ("public.My T",)).differences] == ["table"]
    assert narrowed(whole, ("enum",), ()).unread == ()  # a trigger was not asked for
    assert len(narrowed(whole, (), ("My T",)).unread) == 1


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (" SELECT t.a,\n    t.b\n   FROM public.t;", " SELECT a,\n    b\n   FROM public.t;"),
        (' SELECT x."A b" FROM "S".t x WHERE (x."A b" > 1);', ' SELECT "A b" FROM "S".t x WHERE ("A b" > 1);'),
        (" SELECT g.g FROM generate_series(1, 3) g(g);", " SELECT g FROM generate_series(1, 3) g(g);"),
        (" SELECT s.a FROM ( SELECT t.a FROM public.t) s;", " SELECT a FROM ( SELECT t.a FROM public.t) s;"),
        (" SELECT 't.a' AS c, t.a FROM public.t ORDER BY t.a;", " SELECT 't.a' AS c, a FROM public.t ORDER BY a;"),
        (" SELECT (t.c).x FROM public.t;", " SELECT (c).x FROM public.t;"),
        (" SELECT u.a FROM (u JOIN t ON (u.a = t.a));", " SELECT u.a FROM (u JOIN t ON (u.a = t.a));"),
        (" SELECT t.a FROM t TABLESAMPLE system (10);", " SELECT a FROM t TABLESAMPLE system (10);"),
        (" SELECT t.a FROM t TABLESAMPLE system (10), u;", " SELECT t.a FROM t TABLESAMPLE system (10), u;"),
        (" SELECT t.a FROM t, u;", " SELECT t.a FROM t, u;"),
        (
            " SELECT t.a FROM public.t WHERE EXISTS ( SELECT 1 FROM public.u WHERE (u.a = t.a));",
            " SELECT a FROM public.t WHERE EXISTS ( SELECT 1 FROM public.u WHERE (u.a = t.a));",
        ),
    ],
)
def test_views_of_one_relation(older: str, newer: str) -> None:
    sides = [
        SchemaRead("x", version, (SchemaObject("view", "", "public.v", facts={"definition": text}),))
        for version, text in ((150_004, older), (160_002, newer))
    ]
    assert versions.plain_columns(older) == newer
    assert compare(*sides).differences == ()
    # Servers that write alike are taken at their word.
    assert bool(compare(sides[0], msgspec.structs.replace(sides[1], version=150_004)).differences) == (older != newer)


GROUPS = (TableGroup("core", ("users", "keys"), False), TableGroup("rbac", ("roles", "teams"), True))


def test_declared() -> None:
    there = [
        Relation("public", "users"),
        Relation("public", "keys", "v"),
        Relation("public", "roles", "p"),
        Relation("public", "roles_1", "r", None, True),
        Relation("public", "spatial_ref_sys", "r", "postgis"),
        Relation("public", "alembic_version"),
        Relation("public", "left_over"),
        Relation("public", "far", "f"),
        Relation("public", "just_a_view", "v"),
        Relation("archive", "keys"),
    ]
    verdict = declared.judge(GROUPS, there, ("gaia", "public"))
    assert [(one.group, one.expected, one.found) for one in verdict.groups] == [("core", 2, 1), ("rbac", 2, 1)]
    assert verdict.findings == (
        Finding("missing", "error", "keys", "core", "public.keys is a view"),
        Finding("planned-present", "warning", "roles", "rbac"),
        Finding("unexpected", "warning", "public.left_over"),
        Finding("unexpected", "warning", "public.far", note="a foreign table"),
    )
    assert verdict.migration_tables == ("public.alembic_version",)
    assert (verdict.partitions, verdict.extension_tables) == (1, {"postgis": 1})
    assert verdict.other_schemas == {"archive": 1}


def test_declared_along_the_search_path() -> None:
    there = [Relation("public", "users"), Relation("gaia", "users"), Relation("other", "keys")]
    verdict = declared.judge(GROUPS, there, ("gaia", "public"))
    assert [(one.finding, one.table, one.note) for one in verdict.findings] == [
        ("missing", "keys", "not on the search path: other.keys"),
        ("unexpected", "public.users", ""),  # the path's first schema has the one that statements find
    ]
    named = declared.judge((TableGroup("core", ("other.keys",), False),), there, ("public",))
    assert [one.table for one in named.findings] == ["public.users"]


def test_kinds_are_named_once() -> None:
    assert len(KINDS) == len(set(KINDS))


def _document(kind: str, left: str, right: str) -> dict[str, object]:
    one = {"kind": kind, "table": "", "name": "public.f()", "change": "differs", "group": ""}
    sides = {side: {"environment": name, "server_version": "18.1"} for side, name in (("left", "dev"), ("right", "p"))}
    return {**sides, "differences": [{**one, "left": {"body": left}, "right": {"body": right}}], "unread": []}


def test_a_long_text_is_cut_with_notice_or_shown_whole() -> None:
    document = _document("function", "".join(f"a{i}\n" for i in range(60)), "".join(f"b{i}\n" for i in range(60)))
    short = list(output.diff_text(document, color=False, everything=False))
    whole = list(output.diff_text(document, color=False, everything=True))
    assert [line.strip() for line in short if "more" in line] == ["… 82 lines more: --full shows them"]
    assert len(whole) == len(short) + 81
    assert "      + b59" in whole


def test_a_text_cannot_drive_the_terminal() -> None:
    document = _document("function", "x\n\x1b[2J", "x\n\x1b[31my\r")
    plain = "".join(output.diff_text(document, color=False, everything=True))
    assert "\x1b" not in plain and "\r" not in plain
    colored = list(output.diff_text(document, color=True, everything=True))
    assert "\x1b[32m      + \\x1b[31my\\x0d\x1b[0m" in colored
