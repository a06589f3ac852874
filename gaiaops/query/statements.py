"""From the text a user gave to the requests that are sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gaiaops.errors import UsageError
from gaiaops.postgres import features, guard, leaks
from gaiaops.postgres.features import Server
from gaiaops.postgres.lexer import Statement, bind, split
from gaiaops.postgres.wire import Wire
from gaiaops.postgres.wrap import Request


class Script(msgspec.Struct, frozen=True):
    """The statements of one run and how they are to be answered."""

    statements: tuple[Statement, ...]
    parameters: Mapping[str, str]
    limit: int | None = None
    reserved: tuple[str, ...] = ()

    def requests(self, wire: Wire, *, write: bool = False) -> list[Request]:
        """One request a statement. Writing statements are never wrapped: their tags say what they did."""
        found = []
        for statement in self.statements:
            text, values, _ = bind(statement, self.parameters)
            limit = None if write else self.limit
            found.append(Request(text, statement.keyword, wire, values, limit, not write, self.reserved))
        return found

    def refuse_writes(self, *, protected: bool) -> None:
        """Raises RefusedError before anything is sent where a statement must not run in a reading command."""
        for statement in self.statements:
            guard.refuse(statement, protected=protected)

    def refuse_here(self, server: Server) -> None:
        """Raises RefusedError where a reading command must not run a statement on this very server."""
        for statement in self.statements:
            features.refuse_statement(server, statement)

    def refuse_leaks(self, *, write: bool) -> None:
        """Raises RefusedError where a statement would leave something on a transaction pooler's connection."""
        for statement in self.statements:
            leaks.refuse(statement, write=write)


def script(sql: str, parameters: Sequence[str] = (), limit: int | None = None) -> Script:
    """The statements of a text with `NAME=VALUE` parameters.

    Raises UsageError for an empty text, a NUL character, a parameter that is malformed or never used.
    """
    if "\x00" in sql:
        raise UsageError("the SQL holds a NUL character: is this a binary file?", hint="name a text file in UTF-8")
    statements = tuple(split(sql))
    if not statements:
        raise UsageError("the SQL is empty", hint='try: gaiaops query ENV "SELECT count(*) FROM users"')
    values: dict[str, str] = {}
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"not a parameter: -p {name}", hint="write -p NAME=VALUE and :NAME in the SQL")
        values[name] = value
    used: set[str] = set().union(*(bind(statement, values)[2] for statement in statements))
    if unused := set(values) - used:
        raise UsageError(f"no :{min(unused)} in the SQL", hint="a parameter stands in the SQL as :NAME, unquoted")
    return Script(statements, values, limit)
