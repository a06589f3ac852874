"""Statements fit for a screen: passwords and the like in their literals are masked. Pure.

A statement may be cut short (track_activity_query_size), in the middle of a literal too. Where it cannot be said what
is a literal, more is masked rather than less.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from gaiaops.postgres.lexer import Kind, Token, tokens
from gaiaops.registry.urls import MASK

_NAME = (
    r"pass(?:word|wd|phrase)|pwd|secret|credential|(?:api|access|private|service|encryption)_?key"
    r"|(?:^|_)(?:pass|token|jwt)$|bearer"
)
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
# Functions whose arguments are passwords, keys, or what is to be kept by them (pgcrypto).
_CRYPTO = re.compile(r"crypt|hmac|(?:en|de)crypt(?:_iv)?|pgp_(?:sym|pub)_\w+", re.IGNORECASE)
# What may stand between a name and its value.
_BETWEEN = frozenset("=<>!~:|,") | {"to", "is", "not", "distinct", "from", "like", "ilike", "in", "any", "array"}
_LISTS = ("in", "any", "array")
# Within a literal or a comment: `password=…` of a connection string, `"password": "…"` of JSON, a URL's login, a token.
_WORDS = r"\w*(?:pass(?:word|wd|phrase)|pwd|secret|api_?key|token)\w*"
_ASSIGNED = re.compile(
    rf"""(?P<name>\b{_WORDS})(?P<equals>\s*=\s*|\\?["']+\s*:\s*)
    (?P<value>''[^']*(?:''?|$) | \\?"(?:[^"\\]|\\.)*(?:"|$) | \\?'(?:[^'\\]|\\.)*(?:'|$) | [^\s'",;&)}}]+)""",
    re.VERBOSE | re.IGNORECASE,
)
_QUOTES = re.compile(r"''|\\?[\"']|")
# To the last @, since a password may hold one; where the text ends first, it was cut.
_LOGIN = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]*://[^\s:/@'\"]*:)(?:[^\s'\"]+$|[^\s'\"]*@)", re.IGNORECASE)
_JWT = re.compile(r"\beyJ[\w-]{6,}(?:\.[\w-]*)*")
_COMMENT = re.compile(r"--[^\n\r]*|/\*.*?(?:\*/|$)", re.DOTALL)
_WORTH_A_LOOK = re.compile(rf"pass|pwd|{_NAME.replace('(?:^|_)', '').replace('$', '')}|://|eyJ|crypt|hmac|pgp_", re.I)


def masked(sql: str) -> str:
    """A statement with its secrets as `***`.

    >>> masked("ALTER ROLE app PASSWORD 'it''s' VALID UNTIL 'infinity'")
    "ALTER ROLE app PASSWORD '***' VALID UNTIL 'infinity'"
    >>> masked("SELECT dblink('host=db password=x y=1')")
    "SELECT dblink('host=db password=*** y=1')"
    """
    if not _WORTH_A_LOOK.search(sql):
        return sql
    if "\\'" in sql:
        return _careful(sql)
    pieces, end = [], 0
    for start, stop, secret in _literals(sql):
        pieces += [_code(sql[end:start]), f"'{MASK}'" if secret else _words(sql[start:stop])]
        end = stop
    return "".join([*pieces, _code(sql[end:])])


def _careful(sql: str) -> str:
    """Whether a backslash escapes a quote is the session's setting: from the first suspicious place on, nothing."""
    found = _WORTH_A_LOOK.search(sql)
    return sql if found is None else f"{sql[: found.end()]} {MASK}"


def _code(sql: str) -> str:
    """What stands between literals: only its comments can hold a secret."""
    return _COMMENT.sub(lambda match: _words(match[0]), sql)


def _words(text: str) -> str:
    """A literal or a comment that is no secret as a whole, but a part of it may be."""
    text = _LOGIN.sub(lambda match: f"{match['head']}{MASK}{'@' if match[0].endswith('@') else ''}", text)
    return _JWT.sub(MASK, _ASSIGNED.sub(_unassigned, text))


def _unassigned(match: re.Match[str]) -> str:
    quotes = _QUOTES.match(match["value"])
    marks = quotes[0] if quotes else ""
    return f"{match['name']}{match['equals']}{marks}{MASK}{marks if match['value'].endswith(marks) else ''}"


class _Literal(msgspec.Struct, frozen=True):
    """A literal's place in the list of tokens and in the text."""

    index: int
    start: int
    stop: int
    cut: bool


def _literals(sql: str) -> Iterator[tuple[int, int, bool]]:
    """Where the literals stand, and whether each is a secret as a whole."""
    found, literals = _read(sql)
    everything = _inserts_secrets(found)
    for literal in literals:
        yield literal.start, literal.stop, everything or literal.cut or _is_secret(found, literal.index)


def _read(sql: str) -> tuple[list[Token], list[_Literal]]:
    """The tokens and the literals; one that is cut off reaches to the end."""
    found: list[Token] = []
    literals: list[_Literal] = []
    for one in tokens(sql):
        token = one
        start, stop, cut = token.start, token.stop, False
        if token.kind is Kind.OTHER and token.text == "'":  # a quote without its end
            token, stop, cut = Token(Kind.STRING, sql[start + 1 :], start, len(sql)), len(sql), True
        elif token.kind is Kind.STRING and sql[start] == "$":  # the token's stop is that of the opening $tag$
            whole = stop + len(token.text) + (stop - start)
            stop, cut = min(len(sql), whole), whole > len(sql)
        found.append(token)
        if token.kind is Kind.STRING:
            literals.append(_Literal(len(found) - 1, start, stop, cut))
        if cut:
            break
    return found, literals


def _is_secret(found: Sequence[Token], index: int) -> bool:
    """Whether a literal is given to something that is called like a secret: `password = '…'`, `PASSWORD '…'`,
    `set_config('app.secret', '…')`; or is an argument of a function that encrypts."""
    before = _before_list(found, index - 1)
    while before >= 0 and (found[before].text.lower() in _BETWEEN or found[before].kind is Kind.OPEN):
        before -= 1
    if before >= 0:
        name = found[before]
        if name.kind in (Kind.WORD, Kind.QUOTED) and _SECRET_NAME.search(name.text):
            return True
        named = name.kind is Kind.STRING and re.fullmatch(r"[\w.\-]+", name.text) and found[before + 1].text == ","
        if named and _SECRET_NAME.search(name.text):
            return True
    return _in_crypto(found, index)


def _before_list(found: Sequence[Token], place: int) -> int:
    """The place before `IN (`, where the tokens up to here are a list of literals."""
    start = place
    while start >= 0 and (found[start].kind is Kind.STRING or found[start].text == ","):
        start -= 1
    return start - 1 if start > 0 and found[start].text in "([" and found[start - 1].text in _LISTS else place


def _in_crypto(found: Sequence[Token], index: int) -> bool:
    """Whether a token stands within the parentheses of a function that encrypts."""
    depth = 0
    for place in range(index - 1, 0, -1):
        if found[place].kind is Kind.CLOSE:
            depth += 1
        elif found[place].kind is Kind.OPEN:
            if depth == 0 and _CRYPTO.fullmatch(found[place - 1].text):
                return True
            depth = max(0, depth - 1)
    return False


def _inserts_secrets(found: Sequence[Token]) -> bool:
    """Whether a row with a secret's column is inserted: which literal is the secret is not worked out."""
    words = [token.text.lower() for token in found]
    if "insert" not in words or "into" not in words:
        return False
    opening = next((i for i in range(words.index("into"), len(words)) if words[i] == "("), len(words))
    closing = next((i for i in range(opening, len(words)) if words[i] == ")"), len(words))
    return any(_SECRET_NAME.search(token.text) for token in found[opening:closing] if token.kind is not Kind.STRING)
