"""What differs between two schemas. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from gaiaops.inspect.schema import match, versions
from gaiaops.postgres.schema_object import KINDS, QUESTIONS, SchemaObject, SchemaRead

# What has parts of its own. Where the other side has no such object, its parts are not reported one by one.
OWNERS = ("table", "foreign-table", "view", "materialized-view", "domain")
_RELATIONS = frozenset(("table", "foreign-table"))
_OF_RELATIONS = ("columns", "constraints", "indexes", "triggers", "policies", "rules", "statistics")
_BUSY = "another session has or wants it for itself, or was changing it: its definition could not be written out"
Facts = Mapping[str, str]


class Difference(msgspec.Struct, frozen=True):
    """One object that differs. `table` is what it belongs to, "" where it stands alone.

    `change` is only-left, only-right or differs; left and right have all facts of an object that one side alone has,
    else those that differ. Two names that people gave to one constraint, index or sequence differ in the fact `name`.
    """

    kind: str
    table: str
    name: str
    change: str
    left: Facts | None
    right: Facts | None

    @property
    def group(self) -> str:
        """The table it is shown under."""
        return self.table or (self.name if self.kind in OWNERS else "")


class Unread(msgspec.Struct, frozen=True):
    """What could not be read on a side, and so was not compared: all objects of these kinds, or those of one table."""

    environment: str
    kinds: tuple[str, ...]
    table: str
    reason: str


class Comparison(msgspec.Struct, frozen=True):
    """Differences in the order of tables, kinds and names, and what is not known."""

    differences: tuple[Difference, ...]
    unread: tuple[Unread, ...]


def compare(left: SchemaRead, right: SchemaRead) -> Comparison:
    """What differs, as few differences as say it. What a side could not read is never a difference."""
    skipped = {kind for question in _unread_questions(left, right) for kind in QUESTIONS[question]}
    compared = _Compared(*_in_one_form(left, right), skipped)
    every = list(compared.differences())
    said = frozenset(_key(one, one.table) for one in every)
    found = [one for one in every if not compared.follows(one, said)]
    found.sort(key=lambda one: (one.group == "", one.group, _place(one), one.name))
    return Comparison(tuple(found), (*_unread(left), *_unread(right)))


def left_out(whole: Comparison, kinds: Collection[str], tables: Collection[str]) -> int:
    """How many tables and such one side alone has, whose parts are not compared, and which these kinds do not show."""
    asked = narrowed(whole, (), tables).differences
    return sum(one.kind in OWNERS and one.kind not in (kinds or OWNERS) and one.change != "differs" for one in asked)


def _in_one_form(left: SchemaRead, right: SchemaRead) -> tuple[SchemaRead, SchemaRead]:
    """Both sides, the views of an older server written as a newer one would."""
    if not min(left.major, right.major) < versions.PLAIN_COLUMNS <= max(left.major, right.major):
        return left, right
    return versions.newer_form(left), versions.newer_form(right)


def narrowed(whole: Comparison, kinds: Collection[str], tables: Collection[str]) -> Comparison:
    """Only these kinds and these tables; all where none is named."""
    names = {name.replace('"', "") for name in tables}

    def asked(table: str) -> bool:
        plain = table.replace('"', "")
        return not names or plain in names or plain.partition(".")[2] in names

    differences = [one for one in whole.differences if (not kinds or one.kind in kinds) and asked(one.group)]
    unread = [
        one
        for one in whole.unread
        if (not kinds or set(one.kinds) & {*kinds, "table"}) and (not one.table or asked(one.table))
    ]
    return Comparison(tuple(differences), tuple(unread))


def _key(one: Difference, table: str) -> tuple[object, ...]:
    """What a difference says, of a table."""

    def said(facts: Facts | None) -> object:
        return None if facts is None else tuple(facts.items())

    return one.kind, table, one.name, one.change, said(one.left), said(one.right)


def _place(one: Difference) -> int:
    """A table's own difference first, then its parts by kind."""
    return -1 if not one.table and one.kind in OWNERS else KINDS.index(one.kind)


def _unread_questions(left: SchemaRead, right: SchemaRead) -> set[str]:
    skipped = {*left.unread, *right.unread}
    return skipped | set(_OF_RELATIONS) if "relations" in skipped else skipped


def _unread(side: SchemaRead) -> Iterator[Unread]:
    for question, reason in side.unread.items():
        yield Unread(side.environment, QUESTIONS[question], "", reason)
    if "relations" in side.unread:
        for question in (one for one in _OF_RELATIONS if one not in side.unread):
            yield Unread(side.environment, QUESTIONS[question], "", "what they belong to could not be read")
    hidden: dict[str, dict[str, None]] = defaultdict(dict)
    for one in side.objects:
        if one.facts is None:
            hidden[one.owner or one.name][one.kind] = None
    for table, kinds in hidden.items():
        yield Unread(side.environment, tuple(kinds), table, _BUSY)


class _Compared:
    """Two sides, object by object."""

    def __init__(self, left: SchemaRead, right: SchemaRead, skipped: Collection[str]) -> None:
        self._left, self._right = left, right
        self._skipped = skipped
        self._owners = _owners(left), _owners(right)
        self._parents: dict[str, set[str]] = defaultdict(set)
        for one in (*left.objects, *right.objects):
            if one.kind in _RELATIONS and one.facts:
                parents = one.facts.get("partition of") or one.facts.get("inherits") or ""
                self._parents[one.name].update(filter(None, parents.split(", ")))

    def differences(self) -> Iterator[Difference]:
        """Every difference, those too that follow from another one."""
        mine, theirs = self._places(self._left), self._places(self._right)
        for place in {**mine, **theirs}:
            here, there = mine.get(place, []), theirs.get(place, [])
            hidden = any(one.facts is None for one in (*here, *there))
            for one, other in match.pairs(here, there):
                if hidden and place[0] in match.ANCHORED and (one is None or other is None):
                    continue  # it may be the one that could not be read
                difference = self._difference(one, other)
                if difference is not None:
                    yield difference

    def _places(self, side: SchemaRead) -> dict[tuple[str, str], list[SchemaObject]]:
        """Objects that may be each other: of one kind, of one table that both sides have. A sequence may go from one
        column to another."""
        places: dict[tuple[str, str], list[SchemaObject]] = defaultdict(list)
        for one in side.objects:
            if one.kind in self._skipped:
                continue
            if one.kind == "sequence":
                places[one.kind, ""].append(one)
            elif not one.owner or self._on_both(one.owner):
                places[one.kind, one.owner].append(one)
        return places

    def _on_both(self, owner: str) -> bool:
        kinds = [side.get(owner) for side in self._owners]
        return kinds[0] is not None and kinds[0] == kinds[1]

    def _difference(self, one: SchemaObject | None, other: SchemaObject | None) -> Difference | None:
        if one is not None and other is None:
            return Difference(one.kind, one.owner, one.name, "only-left", one.facts or {}, None)
        if one is None and other is not None:
            return Difference(other.kind, other.owner, other.name, "only-right", None, other.facts or {})
        if one is None or other is None or one.facts is None or other.facts is None:
            return None
        left, right = dict(one.facts), dict(other.facts)
        if one.name != other.name and not (match.is_generated(one.name) or match.is_generated(other.name)):
            left, right = {"name": one.name, **left}, {"name": other.name, **right}
        names = [name for name in {**left, **right} if left.get(name) != right.get(name)]
        if not names:
            return None
        return Difference(one.kind, one.owner, one.name, "differs", _chosen(left, names), _chosen(right, names))

    def follows(self, one: Difference, said: Collection[tuple[object, ...]]) -> bool:
        """Whether a difference is said by another one: a parent table's, or that of the column of a sequence."""
        if one.kind == "sequence" and one.table and one.change != "differs":
            facts = one.left or one.right or {}
            return not self._on_both(one.table) or _goes_along(one, facts.get("owned by", ""), said)
        return any(_key(one, parent) in said for parent in self._parents.get(one.table, ()))


def _goes_along(sequence: Difference, holder: str, said: Collection[tuple[object, ...]]) -> bool:
    """Whether the column that a sequence belongs to is itself on this side alone."""
    column = holder.removeprefix(f"{sequence.table}.")
    names = {column, column[1:-1].replace('""', '"')} if column.startswith('"') else {column}
    return any(
        kind == "column" and table == sequence.table and change == sequence.change and name in names
        for kind, table, name, change, *_ in said
    )


def _owners(side: SchemaRead) -> dict[str, str]:
    return {one.name: one.kind for one in side.objects if one.kind in OWNERS}


def _chosen(facts: Facts, names: Iterable[str]) -> Facts:
    return {name: facts[name] for name in names if name in facts}
