"""The conditions of a purge's SQL, from its graph. Pure: names come from the catalog, quoted by the server itself.

`t` is the table, `d` the key set of the table it refers to, `p` the plan's users. Columns of our temporary tables
begin with `g_`, so that a registry's condition, whose columns are unqualified, means the table's own.
"""

from __future__ import annotations

from gaiaops.cleanup.graph import Graph
from gaiaops.cleanup.links import Action, Link
from gaiaops.postgres import softref
from gaiaops.postgres.quoting import literal

PLAN = "gaiaops_plan"
ABSENT = "gaiaops_absent"  # of a shard: the names in soft references that are nobody's who stays
_TEXTS = ("text", "character varying", "citext", "name")


def in_part(alias: str, part: str) -> str:
    """The row is in this partition, or in one of its own."""
    return f"{alias}.tableoid IN (SELECT relid FROM pg_partition_tree({literal(part)}))"


def same_address(user: str, plan: str) -> str:
    """Byte for byte, whatever the column's collation or type (citext)."""
    return f'{user}.email::text COLLATE "C" = {plan}.g_email COLLATE "C"'


def match(graph: Graph, link: Link, child: str, parent: str) -> str:
    """The condition under which a row of the child refers to a row of the parent's key set."""
    names = graph.keysets[link.parent].columns
    if link.holds is None:
        pairs = zip(link.columns, link.parent_columns, strict=True)
        parts = [f"{child}.{column.quoted} = {parent}.{names[wanted]}" for column, wanted in pairs]
    else:
        parts = [_soft_match(graph, link, child, f"{parent}.{names[link.parent_columns[0]]}")]
    return " AND ".join([*parts, *_conditions(link, child)])


def same_key(graph: Graph, oid: int, row: str = "t", key: str = "d") -> str:
    """The condition under which a row is the one of a row of its table's key set."""
    keyset, quoted = graph.keysets[oid], graph.tables[oid].quoted
    return " AND ".join(f"{row}.{quoted[name]} = {key}.{keyset.columns[name]}" for name in keyset.key)


def in_keyset(graph: Graph, oid: int, row: str) -> str:
    """The condition under which a row is in its table's key set: it goes."""
    return f"EXISTS (SELECT FROM {graph.keysets[oid].name} AS k WHERE {same_key(graph, oid, row, 'k')})"


def inherited(graph: Graph, link: Link) -> str:
    """Whether a row is somebody else's, with the parent's row in `d`: it hangs on one that is, or says so itself."""
    if not graph.owners(link.child) and link.child != graph.users:
        return "d.g_foreign"
    says = foreign(graph, link.child, link)
    if link.owner and graph.out_of(graph.users, Action.DELETE):  # users besides the plan's may be in the key set
        return f"(d.g_foreign OR {says})" if says else "d.g_foreign"
    return says or "false"


def foreign(graph: Graph, child: int, link: Link | None = None) -> str:
    """A condition on `t`: the row belongs to a user who is not in the plan. Empty where it cannot.

    A row that is reached by the link that says whose it is belongs to a user of the plan.
    """
    parts = [_foreign_owner(graph, owner) for owner in graph.owners(child, but=link)]
    if child == graph.users:
        parts.append(f"NOT EXISTS (SELECT FROM {PLAN} AS p WHERE p.g_id = t.id AND {same_address('t', 'p')})")
    return f"({' OR '.join(parts)})" if parts else ""


def owner_address(graph: Graph, oid: int) -> str:
    """The address of the user a row of `t` belongs to, who is not in the plan; NULL where it names nobody."""
    if oid == graph.users:
        return "t.email::text"
    users = graph.tables[graph.users].sql
    found = [
        f"(SELECT u.email::text FROM {users} AS u WHERE {_names_user(graph, owner)} AND {_not_planned('u.id')} LIMIT 1)"
        for owner in graph.owners(oid)
    ]
    if graph.sharded:
        found += [f"CASE WHEN {stranger(graph, owner)} THEN {named(owner)} END" for owner in softly(graph, oid)]
    return f"coalesce({', '.join(found)})" if found else "NULL::text"


def softly(graph: Graph, oid: int, *, but: Link | None = None) -> list[Link]:
    """The soft references that say whose a row of the table is."""
    return [owner for owner in graph.owners(oid, but=but) if owner.holds is not None]


def named(owner: Link) -> str:
    """The name that a soft reference in `t` holds, as it is compared with those in ABSENT."""
    value = softref.value(f"t.{owner.columns[0].quoted}", owner.holds or "")
    return f'({value}) COLLATE "C"' if softref.parts(owner.holds or "")[2] else f'lower({value}) COLLATE "C"'


def unknown(graph: Graph, owner: Link) -> str:
    """The condition that a soft reference in `t` names somebody who is none of this database's users."""
    users, column = graph.tables[owner.parent].sql, f"t.{owner.columns[0].quoted}"
    is_uuid = (found := graph.tables[graph.users].column("id")) is not None and found.type == "uuid"
    somebody = f"{named(owner)} <> ''"
    if is_uuid or softref.parts(owner.holds or "")[2]:
        somebody = softref.names_someone(column, owner.holds or "")
    local = f"EXISTS (SELECT FROM {users} AS u WHERE {_names_user(graph, owner)})"
    return " AND ".join([somebody, *_conditions(owner, "t"), f"NOT {local}"])


def stranger(graph: Graph, owner: Link) -> str:
    """The condition that a soft reference in `t` may name a user of another shard, who stays: as long as it is not
    known better."""
    known = f"EXISTS (SELECT FROM {ABSENT} AS a WHERE a.g_name = {named(owner)})"
    return f"({unknown(graph, owner)} AND NOT {known})"


def _foreign_owner(graph: Graph, owner: Link) -> str:
    users, names = graph.tables[owner.parent].sql, _names_user(graph, owner)
    if owner.holds is not None:
        unplanned = f"EXISTS (SELECT FROM {users} AS u WHERE {names} AND {_not_planned('u.id')})"
        if graph.sharded:
            unplanned = f"({unplanned} OR {stranger(graph, owner)})"
    elif owner.parent_columns == ("id",):
        unplanned = _not_planned(f"t.{owner.columns[0].quoted}")
    else:
        unplanned = f"NOT EXISTS (SELECT FROM {users} AS u JOIN {PLAN} AS p ON p.g_id = u.id WHERE {names})"
    present = [f"t.{column.quoted} IS NOT NULL" for column in owner.columns]
    return f"({' AND '.join([*present, *_conditions(owner, 't'), unplanned])})"


def _not_planned(expression: str) -> str:
    return f"NOT EXISTS (SELECT FROM {PLAN} AS p WHERE p.g_id = {expression})"


def _names_user(graph: Graph, link: Link) -> str:
    """The condition that `u` is the user that a reference in `t` names; a text that is no id names nobody."""
    if link.holds is None:
        quoted, pairs = graph.tables[link.parent].quoted, zip(link.columns, link.parent_columns, strict=True)
        return " AND ".join(f"u.{quoted[wanted]} = t.{column.quoted}" for column, wanted in pairs)
    column = graph.tables[graph.users].column("id")
    value = f"t.{link.columns[0].quoted}"
    return softref.is_user("u", value, link.holds, column.type if column else "")


def _soft_match(graph: Graph, link: Link, child: str, wanted: str) -> str:
    column, parent = link.columns[0], graph.tables[link.parent].column(link.parent_columns[0])
    before, after, _ = softref.parts(link.holds or "")
    if parent is not None and parent.type == column.type and not before and not after:
        return f"{child}.{column.quoted} = {wanted}"
    text = " || ".join(
        part for part in (before and literal(before), f"{wanted}::text", after and literal(after)) if part
    )
    cast = "" if column.type.startswith(_TEXTS) else "::text"
    return f"{child}.{column.quoted}{cast} = ({text})"


def _conditions(link: Link, child: str) -> list[str]:
    part = [in_part(child, link.part)] if link.part else []
    return [*part, *([f"({link.where})"] if link.where else [])]
