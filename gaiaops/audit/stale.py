"""Redis entries that give access to what is not valid any more: keys that are inactive, expired or gone, sessions of
users who are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from gaiaops.audit.kinds import Finding
from gaiaops.cache import scan
from gaiaops.cache.templates import Template, parse
from gaiaops.postgres import queries
from gaiaops.postgres.session import Session
from gaiaops.registry.model import Registry

if TYPE_CHECKING:
    from redis import Redis

_BATCH = 20_000


def find(client: Redis, session: Session, registry: Registry, environment: str) -> Iterator[Finding]:
    """The stale entries of one environment. Raises the error tree's errors."""
    for text in registry.audit.access_keys:
        waiting: dict[str, None] = {}
        for key in scan.matching(client, parse(text).pattern):
            waiting[key] = None
            if len(waiting) >= _BATCH:
                yield from still(client, session, registry, environment, list(waiting))
                waiting.clear()
        yield from still(client, session, registry, environment, list(waiting))


def still(
    client: Redis, session: Session, registry: Registry, environment: str, keys: Sequence[str]
) -> Iterator[Finding]:
    """Those of the keys that are stale: PostgreSQL says that they give no access, and then Redis has them still."""
    reasons = why(session, registry, keys)
    for key, ttl in scan.ttls(client, reasons):
        expires = "never expires" if ttl < 0 else f"expires in {ttl} s"
        evidence = {"PostgreSQL": reasons[key], "Redis": f"there, {expires}"}
        yield Finding("stale-cache", environment, key, "", evidence, f"gaiaops audit {environment} --fix stale-cache")


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
