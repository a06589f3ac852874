"""Which object of one side is which of the other. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

from gaiaops.postgres.schema_object import SchemaObject

Pair = tuple[SchemaObject | None, SchemaObject | None]
# Their names may be PostgreSQL's own; what they are is said by their anchor.
ANCHORED = frozenset(("primary-key", "unique", "foreign-key", "check", "exclusion", "index", "statistics", "sequence"))
# How PostgreSQL ends the names it makes (ChooseConstraintName, ChooseIndexName: table, columns, label, a number). What
# stands before is not looked at: it stays when the table or a column is renamed.
_GENERATED = re.compile(r'_(?:pkey|key|fkey|check|excl|idx|seq|stat|not_null)\d*"?$')
_ROUNDS: tuple[tuple[Callable[[SchemaObject], Hashable], bool], ...] = (
    (lambda one: (one.name, one.anchor), False),
    (lambda one: one.anchor, False),
    (lambda one: one.name, False),
    (lambda one: one.near, True),
)


def is_generated(name: str) -> bool:
    """Whether a name looks like one that PostgreSQL made.

    >>> is_generated("users_email_key1"), is_generated('public."Order_id_seq"'), is_generated("users_by_email")
    (True, True, False)
    """
    return _GENERATED.search(name) is not None


def pairs(left: Sequence[SchemaObject], right: Sequence[SchemaObject]) -> Iterator[Pair]:
    """Objects of one kind in one place, two by two; None where the other side has no such object.

    By name; where names may be PostgreSQL's own, first by what an object is, then by name, and last by what it is
    about, if there is only one such on either side.
    """
    mine, theirs = list(left), list(right)
    if (mine or theirs) and (mine or theirs)[0].kind not in ANCHORED:
        yield from _round(mine, theirs, lambda one: one.name, alone=False)
    else:
        for key, alone in _ROUNDS:
            yield from _round(mine, theirs, key, alone=alone)
    yield from ((one, None) for one in mine)
    yield from ((None, one) for one in theirs)


def _round(
    left: list[SchemaObject], right: list[SchemaObject], key: Callable[[SchemaObject], Hashable], *, alone: bool
) -> Iterator[Pair]:
    """The pairs of one key, taken out of both lists."""
    theirs = _by(right, key)
    taken: set[int] = set()
    for value, found in _by(left, key).items():
        others = theirs.get(value, [])
        if not value or (alone and not len(found) == len(others) == 1):
            continue
        for one, other in zip(found, others, strict=False):
            taken |= {id(one), id(other)}
            yield one, other
    left[:] = [one for one in left if id(one) not in taken]
    right[:] = [one for one in right if id(one) not in taken]


def _by(objects: Iterable[SchemaObject], key: Callable[[SchemaObject], Hashable]) -> dict[Hashable, list[SchemaObject]]:
    groups: dict[Hashable, list[SchemaObject]] = defaultdict(list)
    for one in objects:
        groups[key(one)].append(one)
    return groups
