"""What servers of different versions write differently although it is the same. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gaiaops.postgres.lexer import Kind, Token, tokens
from gaiaops.postgres.schema_object import SchemaObject, SchemaRead

# Since PostgreSQL 16 the columns of a view on one table are written without its name (a view's query has lost its OLD
# and NEW relations).
PLAIN_COLUMNS = 16
_AFTER_FROM = frozenset(
    ("where", "group", "having", "window", "union", "intersect", "except", "order", "limit", "offset", "fetch", "for")
)
_SUBQUERY = frozenset(("select", "with", "values"))
_VIEWS = frozenset(("view", "materialized-view"))
_NAMES = (Kind.WORD, Kind.QUOTED)


def newer_form(side: SchemaRead) -> SchemaRead:
    """A side with its views written as PostgreSQL 16 would write them."""
    if side.major >= PLAIN_COLUMNS:
        return side
    return msgspec.structs.replace(side, objects=tuple(_newer(one) for one in side.objects))


def _newer(one: SchemaObject) -> SchemaObject:
    if one.kind not in _VIEWS or not one.facts or "definition" not in one.facts:
        return one
    plain = plain_columns(one.facts["definition"])
    return msgspec.structs.replace(one, facts={**one.facts, "definition": plain})


def plain_columns(text: str) -> str:
    """A view's text with the columns of its only relation unqualified, as PostgreSQL 16 writes them; as it is where
    there are several relations. Within a subquery they stay qualified, in every version.

    >>> plain_columns("SELECT t.a, lower(t.b) AS b, (SELECT max(u.x) FROM public.u WHERE (u.y = t.a)) FROM public.t;")
    'SELECT a, lower(b) AS b, (SELECT max(u.x) FROM public.u WHERE (u.y = t.a)) FROM public.t;'
    """
    found = list(tokens(text))
    depths = list(_depths(found))
    starts = [i for i, token in enumerate(found) if depths[i] == (0, False) and _is(token, "from")]
    if len(starts) != 1:
        return text
    first, last = starts[0], _end_of_from(found, depths, starts[0] + 1)
    alias = _only_relation(found, depths, first + 1, last)
    if alias is None:
        return text
    kept, position = [], 0
    for i in range(len(found) - 2):
        inside_from = first < i < last
        if inside_from or depths[i][1] or found[i].text != alias or found[i].kind not in _NAMES:
            continue
        after_dot = i > 0 and found[i - 1].text == "."
        if not after_dot and found[i + 1].text == "." and found[i + 2].kind in _NAMES:
            kept.append(text[position : found[i].start])
            position = found[i + 2].start
    return "".join(kept) + text[position:]


def _is(token: Token, word: str) -> bool:
    return token.kind is Kind.WORD and token.text == word


def _depths(found: list[Token]) -> Iterator[tuple[int, bool]]:
    """How many parentheses each token stands in, and whether one of them is a subquery."""
    open_ones: list[bool] = []
    for token, following in zip(found, [*found[1:], None], strict=True):
        if token.kind is Kind.CLOSE and open_ones:
            open_ones.pop()
        yield len(open_ones), any(open_ones)
        if token.kind is Kind.OPEN:
            open_ones.append(following is not None and following.kind is Kind.WORD and following.text in _SUBQUERY)


def _end_of_from(found: list[Token], depths: list[tuple[int, bool]], start: int) -> int:
    for i in range(start, len(found)):
        after = found[i].kind is Kind.WORD and found[i].text in _AFTER_FROM
        if depths[i][0] == 0 and (after or found[i].kind is Kind.END):
            return i
    return len(found)


def _only_relation(found: list[Token], depths: list[tuple[int, bool]], start: int, stop: int) -> str | None:
    """The name by which a FROM list's only relation is known; None where there are several."""
    top = [found[i] for i in range(start, stop) if depths[i][0] == 0]
    if any(token.text == "," or _is(token, "join") for token in top):
        return None
    sampled = next((i for i, token in enumerate(top) if _is(token, "tablesample")), len(top))
    names = [token.text for token in top[:sampled] if token.kind in _NAMES]
    return names[-1] if names else None
