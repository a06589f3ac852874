"""The exact Redis keys of one person: the registry's templates, filled from the person's rows in PostgreSQL."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec

from gaiaops.cache.templates import Template, parse
from gaiaops.errors import RefusedError, UsageError, located
from gaiaops.postgres import catalog, queries, softref
from gaiaops.postgres import session as pg
from gaiaops.postgres.identity import check_only_name, check_pin
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
    """The keys of the profiles with this address, in all shards where there are some.

    Raises UsageError for what is no address or a registry without templates, RefusedError where PostgreSQL is another
    environment's, has nobody of this address (nothing is guessed) or does not say whose rows a template's are, and the
    error tree's errors.
    """
    templates = [parse(text) for text in registry.user_keys]
    _check(address, templates, registry)
    with ExitStack() as stack:
        sessions = [(one.name, stack.enter_context(_reading(registry, one))) for one in env.databases]
        folded = sorted({_ascii_lower(spelled) for spelled in (address, address.lower(), address.casefold())})
        found: dict[Profile, None] = {}
        for name, session in sessions:
            with located(name):
                rows = session.fetch(queries.load("cache_profiles"), {"addresses": folded, "address": address})
            found.update(dict.fromkeys(Profile(*row) for row in rows))
        profiles = tuple(found)
        if not profiles:
            raise RefusedError(
                f"nobody in PostgreSQL has the address {address}: whose entries to remove is not known",
                hint=f"gaiaops whois {address} looks everywhere; --key KEY removes exact keys",
                environment=env.name,
            )
        keys, notices = _keys(templates, [_Rows(name, session, registry, profiles) for name, session in sessions])
    if len(profiles) > 1:
        notices.insert(0, f"{len(profiles)} profiles have this address, in different case: the entries of all of them")
    return Person(profiles, tuple(dict.fromkeys(keys)), tuple(notices))


@contextmanager
def _reading(registry: Registry, env: Environment) -> Iterator[Session]:
    """A session on one database, which is what the registry says it is."""
    with ExitStack() as stack:
        with located(env.name):
            check_only_name(registry, env)
            session = stack.enter_context(pg.reading(env.postgres_url(), env.timeouts, _COMMAND))
            if env.pin.system_identifier or env.pin.database:
                check_pin(env, session.identity())
        yield session


def _keys(templates: Sequence[Template], databases: Sequence[_Rows]) -> tuple[list[bytes], list[str]]:
    """(keys, what was left out and why)."""
    keys: list[bytes] = []
    notices: list[str] = []
    for template in templates:
        having = [rows for rows in databases if rows.has(template)]
        if not having:
            notices.append(f"left out, as there is no {template.table}.{template.column}: {template.pattern}")
        mine = list(dict.fromkeys(value for rows in having for value in rows.mine(template)))
        # A cut value may be that of somebody else's row, too: then the entry is not this person's alone.
        others = {value for rows in having for value in rows.others(template, mine)}
        if others:
            notices.append(f"left out, as another person's rows make the same key: {len(others)} of {template.pattern}")
        keys += [template.key(value) for value in mine if value not in others]
    return keys, notices


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
    """A person's values in the tables of the templates, of one database."""

    def __init__(self, name: str, session: Session, registry: Registry, profiles: Sequence[Profile]) -> None:
        self._name = name
        self._session = session
        self._registry = registry
        self._people = {"ids": [one.id for one in profiles], "emails": [one.email for one in profiles]}
        with located(name):
            self._catalog: Catalog = catalog.read(session)
            self._users = catalog.find(session, self._catalog, "users")

    def has(self, template: Template) -> bool:
        """Whether there is the template's column."""
        table = self._table(template)
        return table is not None and table.column(template.column) is not None

    def mine(self, template: Template) -> list[str]:
        """The values in the person's rows."""
        rows, cut, owned = self._parts(template)
        return self._fetch(f"{rows} WHERE ({owned}) AND {cut} <> ''", [])

    def others(self, template: Template, values: list[str]) -> list[str]:
        """Those of the values that are in rows of other people."""
        rows, cut, owned = self._parts(template)
        return self._fetch(f"{rows} WHERE {cut} = ANY(%(values)s::text[]) AND ({owned}) IS NOT TRUE", values)

    def _table(self, template: Template) -> Table | None:
        with located(self._name):
            return catalog.find(self._session, self._catalog, template.table)

    def _parts(self, template: Template) -> tuple[str, str, str]:
        """SQL: the template's values, one of them, and whether its row is the person's."""
        table = self._table(template)
        column = table.column(template.column) if table else None
        assert table is not None and column is not None  # noqa: S101 - asked for only where it is there
        value = f"t.{column.quoted}::text"
        cut = value if template.length is None else f"left({value}, {template.length})"
        # Names are quoted by the catalog, conditions are made of them and the registry's.
        return f"SELECT DISTINCT {cut} FROM {table.sql} AS t", cut, self._owned(table)  # noqa: S608

    def _fetch(self, sql: str, values: list[str]) -> list[str]:
        with located(self._name):
            rows = self._session.fetch(sql, {**self._people, "values": values})
        return [str(row[0]) for row in rows]

    def _owned(self, table: Table) -> str:
        """The condition that a row `t` of a table is one of the person's. Raises RefusedError where nothing says so."""
        users = self._users
        if users is not None and table.oid == users.oid:
            return "t.id::text = ANY(%(ids)s::text[])"
        keys = [k for k in self._catalog.foreign_keys if users and (k.child, k.parent) == (table.oid, users.oid)]
        keys = [key for key in keys if key.action == "c"] or keys  # what goes with the user is the user's own
        if users is not None and len(keys) == 1:
            pairs = zip(table.pick(keys[0].columns), users.pick(keys[0].parent_columns), strict=True)
            same = " AND ".join(f"t.{column.quoted} = u.{wanted.quoted}" for column, wanted in pairs)
            return f"EXISTS (SELECT FROM {users.sql} AS u WHERE {same} AND u.id::text = ANY(%(ids)s::text[]))"
        soft = [
            one
            for one in catalog.soft_columns(self._session, self._catalog, self._registry.references)
            if one.table.oid == table.oid and not keys
        ]
        if len(soft) == 1:
            found = softref.is_user("u", f"t.{soft[0].column.quoted}", soft[0].reference.holds)
            where = f" AND ({soft[0].reference.where})" if soft[0].reference.where else ""
            # The profile itself may be in another shard.
            people = "SELECT p.id::uuid, p.email FROM unnest(%(ids)s::text[], %(emails)s::text[]) AS p(id, email)"
            return f"EXISTS (SELECT FROM ({people}) AS u WHERE {found})" + where.replace("%", "%%")
        raise RefusedError(
            f"whose the rows of {table.name} are is not known: {'several columns' if keys or soft else 'no column'}"
            " could say it",
            hint="take the template out of cache.user_keys, or declare the column in [references]",
        )
