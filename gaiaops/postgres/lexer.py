"""SQL text into statements, by PostgreSQL's own lexical rules (manual 4.1; psql's psqlscan.l). Pure.

A mistake here can split a file in the wrong place, and the server parses every piece again, alone and as one
statement. But the guard reads names from these tokens: what counts as quoted here must be quoted there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum

import msgspec

# The server's white space, not Python's: to the server a no-break space is a letter.
_SPACE = r"[ \t\n\r\f\v]"
# Letters, _ and everything beyond ASCII; written as what is left out, which compiles ten times faster.
_FIRST = r"[^\x00-@\[-\^`{-\x7f]"
_TAG = r"[^\x00-/:-@\[-\^`{-\x7f]"  # and digits
_IDENT = rf"{_FIRST}(?:{_TAG}|\$)*"
# A literal goes on after a line break (manual 4.1.2.1), in the escape rules of its first part. Possessive, because
# a line of dashes could be taken apart in exponentially many ways.
_GAP = rf"(?:[ \t\f\v]|--[^\n\r]*+)*+[\n\r](?:{_SPACE}|--[^\n\r]*+[\n\r])*+"
_PLAIN = r"'[^']*(?:''[^']*)*'"
_ESCAPED = r"'[^'\\]*(?:(?:''|\\.)[^'\\]*)*'"
_TOKEN = re.compile(
    rf"""
    (?P<space>{_SPACE}+|--[^\n\r]*)
  | (?P<comment>/\*)
  | (?P<dollar>\$(?:{_FIRST}{_TAG}*)?\$)
  | (?P<string>[eE]{_ESCAPED}(?:{_GAP}{_ESCAPED})* | (?:[bBxXnN]|[uU]&)?{_PLAIN}(?:{_GAP}{_PLAIN})*)
  | (?P<quoted>(?:[uU]&)?"[^"]*(?:""[^"]*)*")
  | (?P<word>{_IDENT})
  | (?P<number>\$?[0-9]+)
  | (?P<cast>::)
  | (?P<variable>:(?!(?:[eEbBxXnN]|[uU]&)['"])(?:'{_IDENT}'|{_IDENT}))
  | (?P<open>[(\[])
  | (?P<close>[)\]])
  | (?P<end>;)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
# What stands for something else in a literal: a quote, a gap and, after E, an escape. Compiled when first needed.
_PLAIN_PART = rf"''|'{_GAP}'"
_ESCAPED_PART = rf"(?s){_PLAIN_PART}|\\(?:x[0-9A-Fa-f]{{1,2}}|u[0-9A-Fa-f]{{4}}|U[0-9A-Fa-f]{{8}}|[0-7]{{1,3}}|.)"
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_UNICODE_ESCAPE = re.compile(r"\\(?:\+([0-9A-Fa-f]{6})|([0-9A-Fa-f]{4})|(\\))")


class Kind(Enum):
    """What a token is; white space and comments are not kept."""

    WORD = "word"
    QUOTED = "quoted"
    STRING = "string"
    VARIABLE = "variable"
    OPEN = "open"
    CLOSE = "close"
    END = "end"
    OTHER = "other"


class Token(msgspec.Struct, frozen=True):
    """A token: its text as the server would read it (identifiers folded, quotes undone), and its place."""

    kind: Kind
    text: str
    start: int
    stop: int


class Statement(msgspec.Struct, frozen=True):
    """One statement: its text without the closing semicolon, its tokens, and its offset in the input."""

    text: str
    tokens: tuple[Token, ...]
    offset: int

    @property
    def keyword(self) -> str:
        """The first word, upper case; what stands in parentheses first counts from inside them."""
        for token in self.tokens:
            if token.kind is Kind.WORD:
                return token.text.upper()
            if token.text != "(":
                break
        return ""


def tokens(sql: str) -> Iterator[Token]:
    """The tokens of a text. An unterminated quote or comment ends it as OTHER; the server will complain.

    >>> [t.text for t in tokens('SELECT "a""b", E\\'it\\\\\\'s\\' -- end')]
    ['select', 'a"b', ',', "it's"]
    """
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None:  # pragma: no cover - `other` takes any character
            raise AssertionError(position)
        start, position = position, match.end()
        kind = match.lastgroup
        if kind == "space":
            continue
        if kind == "comment":
            position = _comment_end(sql, start)
        elif match["dollar"] is not None:
            close = sql.find(match["dollar"], position)
            stop = len(sql) if close < 0 else close
            yield Token(Kind.STRING, sql[position:stop], start, position)
            position = min(len(sql), stop + len(match["dollar"]))
        else:
            yield _token(kind or "other", match[0], start, position)


def _comment_end(sql: str, start: int) -> int:
    """Comments nest, unlike in C (manual 4.1.5)."""
    depth, position = 1, start + 2
    while depth:
        edge = _COMMENT_EDGE.search(sql, position)
        if edge is None:
            return len(sql)
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position


def _token(group: str, text: str, start: int, stop: int) -> Token:
    if group == "word":
        return Token(Kind.WORD, text.lower(), start, stop)
    if group == "quoted":
        return Token(Kind.QUOTED, _unicode(text, text[text.index('"') + 1 : -1].replace('""', '"')), start, stop)
    if group == "string":
        return Token(Kind.STRING, _literal(text), start, stop)
    if group in ("variable", "open", "close", "end"):
        return Token(Kind(group), text, start, stop)
    return Token(Kind.OTHER, text, start, stop)


def _literal(text: str) -> str:
    r"""The value of a string constant.

    >>> [_literal(text) for text in (r"E'pg\x5f\''", "'two'\n 'parts'", r"U&'\0061'")]
    ["pg_'", 'twoparts', 'a']
    """
    inner = text[text.index("'") + 1 : -1]
    if text[0] in "eE":
        return re.sub(_ESCAPED_PART, _part, inner)
    return _unicode(text, re.sub(_PLAIN_PART, _part, inner) if "'" in inner else inner)


def _part(match: re.Match[str]) -> str:
    found = match[0]
    if found[0] == "'":
        return "'" if found == "''" else ""
    code = found[1:]
    if code[0] in "xuU" and len(code) > 1:
        return _character(code[1:], found)
    if code[0] in "01234567":
        return chr(int(code, 8) & 0xFF)
    return _CONTROLS.get(code, code)


def _unicode(text: str, inner: str) -> str:
    """Undoes the escapes of U&; another escape character (UESCAPE) is not known here."""
    if text[:2].lower() != "u&":
        return inner
    return _UNICODE_ESCAPE.sub(lambda match: "\\" if match[3] else _character(match[1] or match[2], match[0]), inner)


def _character(digits: str, otherwise: str) -> str:
    try:
        return chr(int(digits, 16))
    except ValueError:  # beyond U+10FFFF: the server refuses it
        return otherwise


def split(sql: str) -> list[Statement]:
    """The statements of a text, empty ones left out.

    Semicolons in quotes, comments, parentheses (CREATE RULE) and the bodies of SQL-standard functions
    (BEGIN ATOMIC … END) do not separate, as in psql.

    >>> [s.text for s in split("select ';'; /* ; /* ; */ */ select $a$;$a$ ;;")]
    ["select ';'", 'select $a$;$a$']
    """
    statements: list[Statement] = []
    current: list[Token] = []
    depth = 0
    for token in tokens(sql):
        if token.kind is Kind.OPEN:
            depth += 1
        elif token.kind is Kind.CLOSE:
            depth = max(0, depth - 1)
        elif token.kind is Kind.END and depth == 0 and _atomic_depth(current) == 0:
            _finish(sql, current, token.start, statements)
            current = []
            continue
        current.append(token)
    _finish(sql, current, len(sql), statements)
    return statements


def _finish(sql: str, current: list[Token], stop: int, statements: list[Statement]) -> None:
    if current:
        start = current[0].start
        statements.append(Statement(sql[start:stop].rstrip(), tuple(current), start))


def _atomic_depth(current: list[Token]) -> int:
    """How deep a CREATE FUNCTION … BEGIN ATOMIC body is open; CASE … END counts inside it."""
    if not current or current[0].text != "create":
        return 0
    head = {token.text for token in current[1:4] if token.kind is Kind.WORD}
    if not head & {"function", "procedure"}:
        return 0
    depth, words = 0, [token.text for token in current if token.kind is Kind.WORD]
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if (word == "begin" and following == "atomic") or (word in ("begin", "case") and depth):
            depth += 1
        elif word == "end" and depth:
            depth -= 1
    return depth


def bind(statement: Statement, values: Mapping[str, str]) -> tuple[str, list[str], set[str]]:
    """`:name` and `:'name'` into `$1`, `$2` …: (the text, the values in order, the names that were used).

    Only names in `values` are replaced, so array slices and psql-only syntax stay as they are.

    >>> bind(split("select :a, x[1:2], ':a', :a::int")[0], {"a": "7"})
    ("select $1, x[1:2], ':a', $1::int", ['7'], {'a'})
    """
    order: dict[str, int] = {}
    pieces, end = [], statement.offset
    base = statement.offset
    for token in statement.tokens:
        name = token.text[1:].strip("'")
        if token.kind is Kind.VARIABLE and name in values:
            number = order.setdefault(name, len(order) + 1)
            pieces += [statement.text[end - base : token.start - base], f"${number}"]
            end = token.stop
    pieces.append(statement.text[end - base :])
    return "".join(pieces), [values[name] for name in order], set(order)
