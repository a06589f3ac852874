"""The exact Redis keys of one person: the registry's templates, filled from the person's rows in PostgreSQL."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence

import msgspec

from gaiaops.cache.templates import Template, parse
from gaiaops.errors import RefusedError, UsageError, located
from gaiaops.postgres import catalog, queries, softref
from gaiaops.postgres import session as pg
from gaiaops.postgres.session import Session
from gaiaops.postgres.shape import Catalog, Table
from gaiaops.registry.model import Environment, Registry

_COMMAND = "cache invalidate"


class Profile(msgspec.Struct, frozen=True):
    """A row of users."""

    id: str
    email: str


class Person(msgspec.Struct, frozen=True):
    """Who was found under an address, in whatever case it is written, and the keys. `notices` say what was left out."""

    profiles: tuple[Profile, ...]
    keys: tuple[bytes, ...]
    notices: tuple[str, ...]


def person(registry: Registry, env: Environment, address: str) -> Person:
    """The keys of the profiles with this address.

    Raises UsageError for what is no address or a registry without templates, RefusedError where PostgreSQL is another
    environment's, has nobody of this address (nothing is guessed) or does not say whose rows a template's are, and the
    error tree's errors.
    """
    templates = [parse(text) for text in registry.user_keys]
    _check(address, templates, registry)
    pg.check_only_name(registry, env)
    with located(env.name), pg.reading(env.postgres_url(), env.timeouts, _COMMAND) as session:
        if env.pin.system_identifier or env.pin.database:
            pg.check_pin(env, session.identity())
        folded = sorted({_ascii_lower(spelled) for spelled in (address, address.lower(), address.casefold())})
        rows = session.fetch(queries.load("cache_profiles"), {"addresses": folded, "address": address})
        profiles = tuple(Profile(*row) for row in rows)
        if not profiles:
            raise RefusedError(
                f"nobody in PostgreSQL has the address {address}: whose entries to remove is not known",
                hint=f"gaiaops whois {address} looks everywhere; --key KEY removes exact keys",
            )
        keys, notices = _Rows(session, registry, [profile.id for profile in profiles]).keys(templates)
    if len(profiles) > 1:
        notices.insert(0, f"{len(profiles)} profiles have this address, in different case: the entries of all of them")
    return Person(profiles, tuple(dict.fromkeys(keys)), tuple(notices))


def _check(address: str, templates: Sequence[Template], registry: Registry) -> None:
    try:
        own = str(uuid.UUID(address))
    except ValueError:
        own = ""
    if own:
        raise UsageError(f"--user takes an e-mail address: {address} is an id", hint=f"gaiaops whois {own}")
    if not re.fullmatch(r"[^@]+@[^@]+|\"[^\"]*\"@[^@]+", address) or not address.isprintable():
        raise UsageError(f'"{address}" is no e-mail address', hint="--user jason+dev@example.com")
    if not templates:
        raise UsageError("the registry has no cache.user_keys", hint=f"add them to {registry.file}")


def _ascii_lower(text: str) -> str:
    return "".join(char.lower() if char.isascii() else char for char in text)


class _Rows:
    """A person's values in the tables of the templates."""

    def __init__(self, session: Session, registry: Registry, ids: list[str]) -> None:
        self._session = session
        self._registry = registry
        self._ids = ids
        self._catalog: Catalog = catalog.read(session)
        users = catalog.find(session, self._catalog, "users")
        assert users is not None  # noqa: S101 - the profiles came from it
        self._users = users

    def keys(self, templates: Sequence[Template]) -> tuple[list[bytes], list[str]]:
        """(keys, what was left out and why)."""
        keys: list[bytes] = []
        notices: list[str] = []
        for template in templates:
            table = catalog.find(self._session, self._catalog, template.table)
            column = table.column(template.column) if table else None
            if table is None or column is None:
                notices.append(f"left out, as there is no {template.table}.{template.column}: {template.pattern}")
                continue
            owned = self._owned(table)
            value = f"t.{column.quoted}::text"
            cut = value if template.length is None else f"left({value}, {template.length})"
            # Names are quoted by the catalog, conditions are made of them and the registry's.
            rows = f"SELECT DISTINCT {cut} FROM {table.sql} AS t"  # noqa: S608
            mine = self._fetch(f"{rows} WHERE ({owned}) AND {value} <> ''", [])
            # A cut value may be that of somebody else's row, too: then the entry is not this person's alone.
            others = self._fetch(f"{rows} WHERE {cut} = ANY(%(values)s::text[]) AND ({owned}) IS NOT TRUE", mine)
            if others:
                notices.append(
                    f"left out, as another person's rows make the same key: {len(others)} of {template.pattern}"
                )
            keys += [template.key(value) for value in mine if value not in others]
        return keys, notices

    def _fetch(self, sql: str, values: list[str]) -> list[str]:
        rows = self._session.fetch(sql, {"ids": self._ids, "values": values})
        return [str(row[0]) for row in rows]

    def _owned(self, table: Table) -> str:
        """The condition that a row `t` of a table is one of the person's. Raises RefusedError where nothing says so."""
        if table.oid == self._users.oid:
            return "t.id::text = ANY(%(ids)s::text[])"
        keys = [k for k in self._catalog.foreign_keys if (k.child, k.parent) == (table.oid, self._users.oid)]
        keys = [key for key in keys if key.action == "c"] or keys  # what goes with the user is the user's own
        if len(keys) == 1:
            pairs = zip(table.pick(keys[0].columns), self._users.pick(keys[0].parent_columns), strict=True)
            same = " AND ".join(f"t.{column.quoted} = u.{wanted.quoted}" for column, wanted in pairs)
            return f"EXISTS (SELECT FROM {self._users.sql} AS u WHERE {same} AND u.id::text = ANY(%(ids)s::text[]))"
        soft = [
            one
            for one in catalog.soft_columns(self._session, self._catalog, self._registry.references)
            if one.table.oid == table.oid and not keys
        ]
        if len(soft) == 1:
            found = softref.is_user("u", f"t.{soft[0].column.quoted}", soft[0].reference.holds)
            where = f" AND ({soft[0].reference.where})" if soft[0].reference.where else ""
            return (
                f"EXISTS (SELECT FROM {self._users.sql} AS u WHERE {found} AND u.id::text = ANY(%(ids)s::text[]))"
                + where.replace("%", "%%")
            )
        raise RefusedError(
            f"whose the rows of {table.name} are is not known: {'several columns' if keys or soft else 'no column'}"
            " could say it",
            hint="take the template out of cache.user_keys, or declare the column in [references]",
        )
