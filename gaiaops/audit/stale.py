"""Redis entries that give access to what is not valid any more: keys that are inactive, expired or gone, sessions of
users who are gone.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from gaiaops.audit.kinds import Finding
from gaiaops.audit.side import Side
from gaiaops.cache import scan
from gaiaops.cache.templates import Template, parse
from gaiaops.postgres import queries
from gaiaops.postgres.session import Session
from gaiaops.registry.model import Registry

if TYPE_CHECKING:
    from redis import Redis

_BATCH = 20_000
_GONE = "no such "  # how a reason begins where there is no row at all


def find(client: Redis, side: Side, registry: Registry) -> Iterator[Finding]:
    """The stale entries of one environment. Raises the error tree's errors."""
    for text in registry.audit.access_keys:
        waiting: dict[str, None] = {}
        for key in scan.matching(client, parse(text).pattern):
            waiting[key] = None
            if len(waiting) >= _BATCH:
                yield from still(client, side, registry, list(waiting))
                waiting.clear()
        yield from still(client, side, registry, list(waiting))


def still(client: Redis, side: Side, registry: Registry, keys: Sequence[str]) -> Iterator[Finding]:
    """Those of the keys that are stale: PostgreSQL says that they give no access, and then Redis has them still."""
    environment = side.env.name
    reasons = everywhere(side.each(lambda database: why(database.session, registry, keys)))
    for key, ttl in scan.ttls(client, reasons):
        expires = "never expires" if ttl < 0 else f"expires in {ttl} s"
        evidence = {"PostgreSQL": reasons[key], "Redis": f"there, {expires}"}
        yield Finding("stale-cache", environment, key, "", evidence, _command(side, key))


def _command(side: Side, key: str) -> str:
    """How to remove an entry; with shards, --fix writes to one of them, and the Redis is not its own."""
    if side.env.shards:
        return f"gaiaops cache {side.env.name} invalidate --key {shlex.quote(key)}"
    return f"gaiaops audit {side.env.name} --fix stale-cache"


def everywhere(reasons: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
    """The keys that give no access by any of the databases, each with the reason that says most.

    >>> everywhere([{"a": "no such key", "b": "no such key"}, {"a": "the key is inactive"}])
    {'a': 'the key is inactive'}
    """
    first, *others = reasons
    if not others:
        return first
    common = set(first).intersection(*others)
    told = {key: [one[key] for one in reasons] for key in first if key in common}
    return {key: min(said, key=lambda reason: reason.startswith(_GONE)) for key, said in told.items()}


def why(session: Session, registry: Registry, keys: Iterable[str]) -> dict[str, str]:
    """Key → why it gives no access, for those of the keys that give none; others are not in it.

    Keys that fit no template of `audit.access_keys` are left out. Raises the error tree's errors.
    """
    reasons: dict[str, str] = {}
    asked = list(keys)
    for template in map(parse, registry.audit.access_keys):
        values: dict[str, str] = {}
        for key in asked:
            value = template.value(scan.key_bytes(key))
            if value is None:
                continue
            if value.isprintable() and value.isascii():
                values[value] = key
            else:
                reasons[key] = "no row can have this value"
        if values:
            for value, reason in session.fetch(_query(template), {"values": list(values)}):
                reasons[values[value]] = reason
    return reasons


def _query(template: Template) -> str:
    column = f't."{template.column}"::text'
    if template.length is not None:
        column = f"left({column}, {template.length})"
    name = "audit_stale_keys" if template.table == "api_keys" else "audit_stale_rows"
    return queries.load(name).format(table=f'"{template.table}"', column=column)
