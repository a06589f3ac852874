"""Who has an address, and what names one, in one database."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gaiaops.audit import repair_sql
from gaiaops.auth.interface import ascii_lower
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Table
from gaiaops.postgres.softref import SoftColumn

Naming = dict[str, list[tuple[str, int]]]


def taken(session: Session, users: Table, addresses: Collection[str]) -> list[tuple[str, str]]:
    """(id, address) of the profiles that have one of these addresses after case folding, and of some others."""
    if not addresses:
        return []
    lowered = {ascii_lower(form) for address in addresses for form in (address, address.casefold())}
    return session.fetch(repair_sql.taken(users), {"lowered": sorted(lowered)})


def naming(session: Session, columns: Iterable[SoftColumn], addresses: Collection[str]) -> Naming:
    """Address → (reference, rows) of the soft references that name it."""
    found: Naming = {}
    for one in columns if addresses else ():
        if one.by_address:
            values = {one.text(address): address for address in addresses}
            for value, rows in session.fetch(repair_sql.naming(one), {"values": list(values)}):
                found.setdefault(values[value], []).append((one.name, rows))
    return found
