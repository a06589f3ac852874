"""sql/hard_schema.sql in Python, written by hand: rows at random, and an oracle of what a purge must do to them.

The oracle knows nothing of gaiaops and of the catalog: each reference says here what must happen along it.
"""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

Row = dict[str, Any]
Rows = dict[str, list[Row]]
Place = tuple[str, int]  # a table, and the number of a row in it

SQL = (Path(__file__).parent / "sql" / "hard_schema.sql").read_text(encoding="utf-8")
KINDS = {
    "uuid": (lambda n: str(uuid.UUID(int=n)), str(uuid.UUID(int=0))),
    "bigint": (lambda n: n, 0),
    "text": (lambda n: f"u'{n}\t%", "ghost"),
}
REFERENCES = {
    '"prefs.user_id"': "{}",
    '"walls.namespace"': '{ holds = "users/{address}" }',
    '"grants.principal"': "{ where = \"kind = 'user'\" }",
    '"grants.granted_by"': "{}",
}
TAGS = ("dev", "Staging", "LOCAL")


@dataclass(frozen=True)
class Ref:
    """What happens to a row of `table` whose `columns` hold the `wanted` columns of a row of `parent` that goes.

    `owner`: 2 it says whose the row is, 1 only where nothing else does. `sets` are written with `value`.
    """

    table: str
    columns: tuple[str, ...]
    parent: str
    action: str = "delete"
    wanted: tuple[str, ...] = ("id",)
    owner: int = 0
    nullable: bool = False
    sets: tuple[str, ...] = ()
    to_ghost: bool = False
    where: Callable[[Row], bool] = lambda _: True
    holds: str = "{}"


def _ref(name: str, parent: str, action: str = "delete", **more: Any) -> Ref:
    table, _, columns = name.rpartition(".")
    columns = tuple(columns.split("+"))
    return Ref(table, columns, parent, action, **{"sets": columns, **more})


ORDER, LINES = '"My Schema"."order"', '"My Schema"."line ""items"""'
KEY = ("tenant", "no")
OWNED, MAY = {"owner": 2}, {"nullable": True}
REFS = (
    _ref("users.referred_by", "users", "null", **MAY),
    _ref(f"{ORDER}.user", "users", **OWNED),
    _ref(f"{LINES}.Order", ORDER),
    _ref(f"{LINES}.g_1", ORDER, "null", **MAY),
    _ref("comments.author", "users", **OWNED),
    _ref("comments.parent_id", "comments", **MAY),
    _ref("comments.quoted_id", "comments", "null", **MAY),
    _ref("comments.pinned_id", "comments", "null", **MAY),
    _ref("comments.root_id", "comments", "null", **MAY),
    _ref("crews.owner_id", "users", **OWNED, **MAY),
    _ref("crews.leader", "crew_members", "null", **MAY),
    _ref("crew_members.crew_id", "crews"),
    _ref("crew_members.user_id", "users", **OWNED),
    _ref("chickens.owner_id", "users", **OWNED),
    _ref("chickens.egg", "eggs"),
    _ref("eggs.keeper", "users", **OWNED),
    _ref("eggs.chicken", "chickens"),
    _ref("ring_a.user_id", "users", **OWNED),
    _ref("ring_a.b", "ring_b"),
    _ref("ring_b.user_id", "users", **OWNED),
    _ref("ring_b.c", "ring_c"),
    _ref("ring_c.user_id", "users", **OWNED),
    _ref("ring_c.a", "ring_a"),
    _ref("knot_a.user_id", "users", **OWNED, **MAY),
    _ref("knot_a.b", "knot_b", "null", **MAY),
    _ref("knot_b.c", "knot_c", "null", **MAY),
    _ref("knot_c.a", "knot_a"),
    _ref("projects.owner_id", "users", **OWNED, **MAY),
    _ref("tasks.tenant+project_no", "projects", wanted=KEY, **MAY),
    _ref("tasks.old_tenant+old_no", "projects", "null", wanted=KEY, **MAY),
    _ref("tasks.assignee", "users", "null", **MAY),
    _ref("deals.tenant+no", "projects", "null", wanted=KEY, **MAY),
    _ref("bookmarks.tenant+project_no", "projects", "null", wanted=KEY, sets=("project_no",), **MAY),
    _ref("tickets.owner_id", "users", "default", to_ghost=True, **OWNED, **MAY),
    _ref("tickets.comment_id", "comments", **MAY),
    _ref("tickets.crew_id", "crews", "default", **MAY),
    _ref("events.user_id", "users", **OWNED),
    _ref("events.order", ORDER, where=lambda row: row["kind"] == "b", **MAY),
    _ref("event_tags.event+kind+at", "events", wanted=("id", "kind", "at")),
    _ref("invoices.user_id", "users", **OWNED),
    _ref("invoice_lines.invoice", "invoices"),
    _ref("pledges.user_id", "users", **OWNED),
    _ref("pledges.partner", "pledges", "null", **MAY),
    _ref("documents.created_by", "users", owner=1),
    _ref("documents.updated_by", "users", "null", **MAY),
    _ref("documents.actor_id", "users", "null", **MAY),
    _ref("memberships.user_id", "users", **OWNED),
    _ref("memberships.document", "documents"),
    _ref("memberships.granted_by", "users", owner=1),
    _ref("newsletter.address", "users", wanted=("email",), **OWNED, **MAY),
    _ref("mentions.who", "users", wanted=("handle",), **OWNED),
    _ref("clicks.user_id", "users", **OWNED),
    _ref("prefs.user_id", "users", **OWNED),
    _ref("prefs.comment_id", "comments", "null", **MAY),
    _ref("walls.namespace", "users", wanted=("email",), holds="users/{}", **OWNED, **MAY),
    _ref("grants.principal", "users", where=lambda row: row["kind"] == "user", **OWNED),
    _ref("grants.granted_by", "users", "null", **MAY),
)
TABLES = tuple(dict.fromkeys(ref.table for ref in REFS))


def is_test(email: str) -> bool:
    return email.endswith(tuple(f"+{tag}@x.io" for tag in TAGS))


def random_rows(rng: random.Random, kind: str, size: int) -> Rows:
    """`size` rows of each table, with references to anybody and to nobody."""
    make, ghost = KINDS[kind]
    rows: Rows = {table: [_bare(rng, table, n) for n in range(1, size + 1)] for table in TABLES}
    rows["users"] = [_user(rng, make(n), n) for n in range(1, size + 1)]
    rows["users"].append({"id": ghost, "email": "ghost@x.io", "handle": "ghost", "name": "nobody"})
    for ref in REFS:
        for row in rows[ref.table]:
            _refer(rng, ref, row, rows)
    for row in rows["walls"]:
        row["namespace"] = row["namespace"] or "shared"
    for row in rows["grants"]:
        if row["kind"] == "bot":
            row["principal"] = "nobody's id"
    distinct = {str(row["user_id"]): row for row in rows["prefs"]}
    rows["prefs"] = [{**row, "user_id": str(row["user_id"])} for row in distinct.values()]
    return rows


def _user(rng: random.Random, key: object, n: int) -> Row:
    test = rng.random() < 0.4
    local = (
        f"t{n}+{rng.choice(TAGS)}" if test else rng.choice([f"r{n}", f"r{n}+alice", f"r{n}+production", f"r{n}+dev2"])
    )
    return {"id": key, "email": f"{local}@x.io", "handle": f"h{n}", "name": rng.choice([None, "", "A\tb\\N"])}


def _bare(rng: random.Random, table: str, n: int) -> Row:
    """A row without its references."""
    text = rng.choice([None, "", "100 %s", "tab\there", "\\.", "quote ' \" ü 🙂"])
    special: dict[str, Row] = {
        ORDER: {"id": n, "g_1": rng.choice([None, n]), "%s": text, "Select": text},
        LINES: {"id": n, "%s": text},
        "comments": {"id": n, "body": text},
        "knot_b": {"id": n, "note": text},
        "projects": {"tenant": n % 3, "no": n},
        "events": {"id": n, "kind": rng.choice("abc"), "at": rng.choice(["2019-05-05", "2021-05-05"])},
        "event_tags": {"tag": n},
        "clicks": {"mention": rng.choice([None, n]), "what": text},
        "prefs": {},
        "walls": {"path": f"{n}.md"},
        "grants": {"id": n, "kind": rng.choice(["user", "user", "team", "bot"])},
    }
    return special.get(table, {"id": n})


def _refer(rng: random.Random, ref: Ref, row: Row, rows: Rows) -> None:
    parent = rng.choice(rows[ref.parent])
    values = [parent[name] for name in ref.wanted]
    if ref.nullable and rng.random() < 0.4:
        values = [None] * len(values)
        if ref.table == "bookmarks":
            values[0] = 1
        elif ref.table == "tasks" and len(values) > 1 and rng.random() < 0.5:
            values[rng.randrange(2)] = 1  # MATCH SIMPLE: half a key refers to nothing
    elif ref.table == "events" and ref.parent == ORDER and not ref.where(row):
        values = [rng.choice([values[0], 10**9])]  # not a reference in this partition
    if ref.holds != "{}":
        values = [value and ref.holds.format(value) for value in values]
    row.update(zip(ref.columns, values, strict=True))


def fill(url: str, rows: Rows) -> None:
    """Empties the tables and puts these rows in, in no order: foreign keys are not looked at meanwhile."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(f"TRUNCATE {', '.join(TABLES)}".encode())
        for table, found in rows.items():
            names = ", ".join(f'"{name}"' for name in found[0])
            sql = f"INSERT INTO {table} ({names}) SELECT {names} FROM jsonb_populate_recordset(NULL::{table}, $1)"
            raw = psycopg.RawCursor(connection)
            raw.execute(sql.encode(), [json.dumps(found)])
        connection.execute("SET session_replication_role = origin")
        connection.execute("REFRESH MATERIALIZED VIEW numbers")


@dataclass
class Fate:
    """What must happen: rows that go, columns that are set, and whose rows go besides."""

    gone: set[Place] = field(default_factory=set)
    changes: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    left: dict[str, Counter[tuple[str | None, ...]]] = field(default_factory=dict)
    theirs: set[Place] = field(default_factory=set)
    foreign: Counter[tuple[str, str]] = field(default_factory=Counter)
    unowned: Counter[str] = field(default_factory=Counter)

    def deleted(self) -> dict[str, int]:
        return dict(Counter(table for table, _ in self.gone))

    def changed(self, action: str) -> dict[str, int]:
        return {table: found.total() for (table, kind), found in self.changes.items() if kind == action}


def fate(rows: Rows, ghost: object) -> Fate:
    """The fixpoint over the rows."""
    result = Fate()
    children = _children(rows)
    waiting = [("users", n) for n, row in enumerate(rows["users"]) if is_test(row["email"])]
    planned = set(waiting)
    result.gone.update(waiting)
    while waiting:
        for ref, place in children[waiting.pop()]:
            if ref.action == "delete" and place not in result.gone:
                result.gone.add(place)
                waiting.append(place)
    kept = {table: {n: dict(row) for n, row in enumerate(found)} for table, found in rows.items()}
    for place in result.gone:
        for ref, (table, n) in children[place]:
            if ref.action != "delete" and (table, n) not in result.gone:
                result.changes.setdefault((table, ref.action), Counter())["+".join(ref.columns)] += 1
                kept[table][n].update(dict.fromkeys(ref.sets, ghost if ref.to_ghost else None))
    for table, found in kept.items():
        left = [row for n, row in found.items() if (table, n) not in result.gone]
        result.left[table] = Counter(tuple(_text(row[name]) for name in rows[table][0]) for row in left)
    _whose(rows, result, planned)
    return result


def _children(rows: Rows) -> dict[Place, list[tuple[Ref, Place]]]:
    found: dict[Place, list[tuple[Ref, Place]]] = defaultdict(list)
    for ref in REFS:
        by_key = {tuple(str(row[name]) for name in ref.wanted): n for n, row in enumerate(rows[ref.parent])}
        for n, row in enumerate(rows[ref.table]):
            key = _key(ref, row)
            if key in by_key:
                found[ref.parent, by_key[key]].append((ref, (ref.table, n)))
    return found


def _key(ref: Ref, row: Row) -> tuple[str, ...]:
    """What a row refers to along a reference; nothing where a part is NULL."""
    values = [row[name] for name in ref.columns]
    if None in values or not ref.where(row):
        return ()
    before, _, _ = ref.holds.partition("{}")
    return tuple(str(value).removeprefix(before) for value in values)


def _whose(rows: Rows, result: Fate, planned: set[Place]) -> None:
    by_key: dict[tuple[str, str], tuple[int, str]] = {}
    for n, row in enumerate(rows["users"]):
        for name in ("id", "email", "handle"):
            by_key[name, str(row[name])] = n, row["email"]
    for table, n in result.gone:
        owners = [ref for ref in REFS if ref.table == table and ref.owner and ref.parent == "users"]
        strongest = max((ref.owner for ref in owners), default=0)
        named = False
        for ref in owners:
            key = _key(ref, rows[table][n])
            if ref.owner == strongest and key and (ref.wanted[0], key[0]) in by_key:
                user, email = by_key[ref.wanted[0], key[0]]
                named = True
                if ("users", user) not in planned:
                    result.foreign[table, email] += 1
                    result.theirs.add((table, n))
        if not named and table != "users":
            result.unowned[table] += 1


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def left(url: str, rows: Rows) -> dict[str, Counter[tuple[str | None, ...]]]:
    """The rows that are in the database, as `fate` writes them."""
    found = {}
    with psycopg.connect(url) as connection:
        for table in TABLES:
            names = ", ".join(f'"{name}"::text' for name in rows[table][0])
            found[table] = Counter(connection.execute(f"SELECT {names} FROM {table}".encode()).fetchall())
    return found


def keys(rows: Rows, table: str, of: set[Place] | None = None) -> list[tuple[str | None, ...]]:
    """What no purge changes in the rows of a table: the columns that are not set; of all, or of those in `of`."""
    fixed = _fixed(rows, table)
    return [
        tuple(_text(row[name]) for name in fixed) for n, row in enumerate(rows[table]) if of is None or (table, n) in of
    ]


def keys_of(present: Counter[tuple[str | None, ...]], rows: Rows, table: str) -> list[tuple[str | None, ...]]:
    """As `keys`, of rows as `left` gives them."""
    names, fixed = list(rows[table][0]), _fixed(rows, table)
    places = [names.index(name) for name in fixed]
    return [tuple(row[place] for place in places) for row in present.elements()]


def _fixed(rows: Rows, table: str) -> list[str]:
    changed = {name for ref in REFS if ref.table == table and ref.action != "delete" for name in ref.sets}
    return [name for name in rows[table][0] if name not in changed]
