"""What goes with a user, and in which order: the graph of foreign keys and soft references. Pure.

Tables whose rows go are found from `users` along the links that delete. One that others refer to gets a key set
(a temporary table of the keys that go), so that what refers to them can be found; the others are leaves. Rows
are taken out children first; tables that refer to each other in a circle form one group.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from gaiaops.cleanup.links import Action, Link, from_foreign_key, from_reference, unclassified
from gaiaops.errors import RefusedError
from gaiaops.postgres.shape import Catalog, Column, Table
from gaiaops.registry.model import Reference


class KeySet(msgspec.Struct, frozen=True):
    """The temporary table of one table's keys: `columns` maps the table's columns to the key set's (`g_1` …)."""

    table: int
    name: str
    columns: dict[str, str]
    key: tuple[str, ...]


class Graph(msgspec.Struct, frozen=True):
    """Everything a purge touches.

    `groups` are the tables whose rows go, children first; `links` those to such tables; `problems` what stands in
    the way; `unclassified` and `absent` are columns nobody declared, and declared columns that are not there.
    `sharded`: the environment has users in other databases too, whom a soft reference may name.
    """

    users: int
    tables: dict[int, Table]
    links: tuple[Link, ...]
    groups: tuple[tuple[int, ...], ...]
    keysets: dict[int, KeySet]
    problems: tuple[str, ...]
    unclassified: tuple[str, ...]
    absent: tuple[str, ...]
    sharded: bool = False

    @property
    def soft(self) -> list[Link]:
        """The soft references that a purge does something about."""
        return [link for link in self.links if link.holds is not None and link.action is not Action.KEEP]

    def into(self, parent: int, *actions: Action) -> list[Link]:
        """The links to a table, of these actions."""
        return [link for link in self.links if link.parent == parent and link.action in actions]

    def out_of(self, child: int, *actions: Action) -> list[Link]:
        """The links from a table, of these actions."""
        return [link for link in self.links if link.child == child and link.action in actions]

    def takers(self, child: int) -> list[Link]:
        """The links by which a leaf's rows go. What says whose a row is comes first: the others find what is left."""
        return sorted(self.out_of(child, Action.DELETE), key=lambda link: (link.parent != self.users, -link.owner))

    def owners(self, child: int, *, but: Link | None = None) -> list[Link]:
        """The links that say whose a row of the table is."""
        found = [link for link in self.links if link.child == child and link.owner]
        strongest = max((link.owner for link in found), default=0)
        return [link for link in found if link.owner == strongest and link is not but]

    @property
    def doomed(self) -> set[int]:
        """The tables whose rows go."""
        return {oid for group in self.groups for oid in group}

    @property
    def touched(self) -> list[Table]:
        """The tables whose rows go or are changed, users first."""
        changed = [link.child for link in self.links if link.action in (Action.NULL, Action.DEFAULT)]
        order = [oid for group in reversed(self.groups) for oid in group] + changed
        return [self.tables[oid] for oid in dict.fromkeys(order)]

    def fingerprint(self) -> str:
        """SHA-256 over tables, columns, links and triggers: a plan is good for this schema only."""
        shape = [
            (t.name, t.kind, t.key, t.triggers, t.rules, [(c.name, c.type, c.required, c.generated) for c in t.columns])
            for t in self.touched
        ]
        links = [
            (
                k.name,
                self.tables[k.parent].name,
                k.parent_columns,
                k.why,
                k.action.value,
                k.part,
                k.where,
                k.holds,
                [column.name for column in k.set_columns],
                k.owner,
            )
            for k in self.links
        ]
        return hashlib.sha256(msgspec.json.encode([sorted(shape), sorted(links, key=str)])).hexdigest()


def build(catalog: Catalog, users: Table | None, references: Sequence[tuple[Reference, Table | None]]) -> Graph:
    """The graph around the table `users`; `references` are the registry's, with the table each one names.

    Raises RefusedError where there is no usable table `users`.
    """
    users = _checked(users)
    declared = {f"{table.name}.{ref.column}": ref for ref, table in references if table}
    hard = [from_foreign_key(catalog, key, users.oid, declared) for key in catalog.foreign_keys]
    covered = {(link.child, column.name) for link in hard for column in link.columns}
    to_users = {(link.child, column.name) for link in hard if link.parent == users.oid for column in link.columns}
    soft, absent = [], []
    for reference, table in references:
        column = table.column(reference.column) if table else None
        if table is None or (column is None and f"{table.name}.{reference.column}" not in _constraints(catalog)):
            absent.append(reference.name)
        elif column is not None and (table.oid, column.name) not in to_users:
            soft.append(from_reference(table, column, reference, users.oid))
            covered.add((table.oid, column.name))
    links, doomed = _reach(users.oid, [*hard, *soft])
    groups = _groups(users.oid, links, doomed)
    keysets = {oid: _keyset(i, catalog.tables[oid], links, users) for i, oid in enumerate(_parents(users, links))}
    return Graph(
        users=users.oid,
        tables=catalog.tables,
        links=tuple(links),
        groups=tuple(groups),
        keysets=keysets,
        problems=tuple(_problems(catalog, links, keysets)),
        unclassified=tuple(unclassified(catalog, users, covered)),
        absent=tuple(absent),
    )


def _checked(users: Table | None) -> Table:
    if users is None:
        raise RefusedError("there is no table users", hint="is this the right database? gaiaops envs ENV")
    if users.kind not in ("r", "p"):
        raise RefusedError(f"{users.name} is no table (a view or a foreign table)", hint="purge where the table is")
    missing = [name for name in ("id", "email") if users.column(name) is None]
    if missing or users.key != ("id",):
        why = f"no column {missing[0]}" if missing else "its primary key is not id"
        raise RefusedError(f"{users.name}: {why}", hint="gaiaops purges users by id and email")
    return users


def _constraints(catalog: Catalog) -> set[str]:
    return {f"{catalog.tables[key.child].name}.{key.name}" for key in catalog.foreign_keys}


def _reach(users: int, links: Iterable[Link]) -> tuple[list[Link], set[int]]:
    """The links to tables whose rows go, and those tables."""
    by_parent: dict[int, list[Link]] = defaultdict(list)
    for link in links:
        by_parent[link.parent].append(link)
    doomed, waiting, found = {users}, [users], []
    while waiting:
        for link in by_parent[waiting.pop()]:
            found.append(link)
            if link.action is Action.DELETE and link.child not in doomed:
                doomed.add(link.child)
                waiting.append(link.child)
    return found, doomed


def _groups(users: int, links: Sequence[Link], doomed: set[int]) -> list[tuple[int, ...]]:
    """Strongly connected components of the doomed tables, children first (Tarjan 1972)."""
    children: dict[int, list[int]] = defaultdict(list)
    for link in links:
        if link.child in doomed and link.action in (Action.DELETE, Action.NULL, Action.DEFAULT):
            children[link.parent].append(link.child)
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    groups: list[tuple[int, ...]] = []

    def visit(node: int) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for child in children[node]:
            if child not in number:
                visit(child)
                low[node] = min(low[node], low[child])
            elif child in stack:
                low[node] = min(low[node], number[child])
        if low[node] == number[node]:
            at = stack.index(node)
            groups.append(tuple(stack[at:]))
            del stack[at:]

    visit(users)
    return groups


def _parents(users: Table, links: Sequence[Link]) -> list[int]:
    """The tables that need a key set: users, and doomed ones that something refers to."""
    return list(dict.fromkeys([users.oid, *(link.parent for link in links if link.action is not Action.KEEP)]))


def _keyset(number: int, table: Table, links: Sequence[Link], users: Table) -> KeySet:
    wanted = list(table.key)
    if table.oid == users.oid:
        wanted.append("email")
    wanted += [name for link in links if link.parent == table.oid for name in link.parent_columns]
    columns = {name: f"g_{i + 1}" for i, name in enumerate(dict.fromkeys(wanted))}
    return KeySet(table.oid, f"gaiaops_keys_{number}", columns, table.key)


def _problems(catalog: Catalog, links: Sequence[Link], keysets: dict[int, KeySet]) -> Iterable[str]:
    for link in links:
        if link.problem:
            yield f"{link.name}: {link.problem}"
        elif link.action in (Action.NULL, Action.DEFAULT) and not catalog.tables[link.child].key:
            yield f"{link.name} is to be nulled, but the table has no primary key to put it back by"
    for keyset in keysets.values():
        if not keyset.key:
            yield f"{catalog.tables[keyset.table].name} has no primary key, and others refer to it"


def columns_sql(columns: Iterable[Column], alias: str) -> str:
    """`t.a, t."B"`"""
    return ", ".join(f"{alias}.{column.quoted}" for column in columns)
