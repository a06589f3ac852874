"""Columns that name a user without a foreign key: the SQL of what they hold. Pure.

`holds` is the registry's text with `{id}` or `{address}`: `{id}`, `users/{address}`.
"""

from __future__ import annotations

import msgspec

from gaiaops.postgres.quoting import literal
from gaiaops.postgres.shape import Column, Table
from gaiaops.registry.model import Reference

UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


def parts(holds: str) -> tuple[str, str, bool]:
    """What stands before and after the user, and whether it is named by address.

    >>> parts("users/{address}"), parts("{id}")
    (('users/', '', True), ('', '', False))
    """
    name = "{address}" if "{address}" in holds else "{id}"
    before, _, after = holds.partition(name)
    return before, after, name == "{address}"


class SoftColumn(msgspec.Struct, frozen=True):
    """A declared reference whose table and column are there."""

    reference: Reference
    table: Table
    column: Column

    @property
    def name(self) -> str:
        return self.reference.name

    @property
    def by_address(self) -> bool:
        """Whether it names users by address, and not by id."""
        return parts(self.reference.holds)[2]

    def text(self, user: str) -> str:
        """What the column holds of a user's id or address."""
        before, after, _ = parts(self.reference.holds)
        return f"{before}{user}{after}"


def value(column: str, holds: str) -> str:
    """The id or address in a column (an SQL expression of it); NULL where the column holds something else."""
    before, after, _ = parts(holds)
    text = f"{column}::text"
    if not before and not after:
        return text
    least = len(before) + len(after)
    fits = f"length({text}) >= {least} AND left({text}, {len(before)}) = {literal(before)}"
    fits += f" AND right({text}, {len(after)}) = {literal(after)}" if after else ""
    return f"CASE WHEN {fits} THEN substr({text}, {len(before) + 1}, length({text}) - {least}) END"


def is_user(user: str, column: str, holds: str, id_type: str = "uuid") -> str:
    """The condition that `user` (an alias of users) is the one that a column names; no locale has a say.

    `id_type` is that of the users' ids. A text that is no id names nobody.
    """
    found = value(column, holds)
    if parts(holds)[2]:
        return f'{user}.email::text COLLATE "C" = ({found}) COLLATE "C"'
    if id_type != "uuid":
        return f"{user}.id::text = {found}"
    # So that the index on id can be used.
    return f"{user}.id = CASE WHEN ({found}) ~ {literal(UUID)} THEN ({found})::uuid END"


def names_someone(column: str, holds: str) -> str:
    """The condition that a column holds what may be a user: an id or an address, and not `system`."""
    found = value(column, holds)
    return f"({found}) LIKE '%@%'" if parts(holds)[2] else f"({found}) ~ {literal(UUID)}"
