"""What the sandbox's Redis servers hold: one environment's entries, derived from its rows.

Pure but for `read_cache_rows`; the caller writes the entries. Bounded: an environment of a million users has
no more entries than one of a few thousand. Every entry is true of the rows, but for `drift.STALE`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from gaiaops.sandbox import drift
from gaiaops.sandbox.drift_model import api_key_entry

if TYPE_CHECKING:
    from psycopg import Connection

MINUTE, HOUR, DAY = 60, 3_600, 86_400

_USERS = "SELECT id::text, email FROM users ORDER BY id LIMIT 800"
_PERSONAS = "SELECT id::text, name, created_by, is_active FROM personas ORDER BY created_at, id"
_PREFERENCES = "SELECT user_id, persona_id::text FROM user_persona_preferences ORDER BY user_id LIMIT 500"
# Working at the instant the seed is told from; working keys end in 2099 or never.
_KEYS = (
    "SELECT key_hash, user_id::text, name FROM api_keys"
    " WHERE is_active AND (expires_at IS NULL OR expires_at > '2026-11-01') ORDER BY key_hash LIMIT 2500"
)


@dataclass(frozen=True)
class CacheEntry:
    """One Redis key: the type of `value` is the Redis type, `ttl` is in seconds, None meaning forever."""

    key: str
    value: str | tuple[str, ...] | frozenset[str] | Mapping[str, str]
    ttl: int | None

    @property
    def kind(self) -> Literal["string", "list", "set", "hash"]:
        """The Redis type, as `TYPE` answers it."""
        if isinstance(self.value, str):
            return "string"
        if isinstance(self.value, tuple):
            return "list"
        return "set" if isinstance(self.value, frozenset) else "hash"


@dataclass(frozen=True)
class CacheRows:
    """The rows of one environment that its cache speaks of, as plain tuples."""

    users: Sequence[tuple[str, str]]
    keys: Sequence[tuple[str, str, str | None]]
    personas: Sequence[tuple[str, str, str | None, bool]]
    preferences: Sequence[tuple[str, str]]


def read_cache_rows(conn: Connection[Any]) -> CacheRows:
    """Read what `cache_entries` needs from a seeded environment; at most a few thousand rows.

    A NULL-valued or dangling preference is left out: Redis holds preferences of people who are there.
    """
    users = conn.execute(_USERS).fetchall()
    keys = conn.execute(_KEYS).fetchall()
    personas = conn.execute(_PERSONAS).fetchall()
    gone = {reference.value for reference in drift.DANGLING}
    preferences = [row for row in conn.execute(_PREFERENCES) if row[0] not in gone]
    return CacheRows(users, keys, personas, preferences)


def cache_entries(environment: str, rows: CacheRows) -> Iterator[CacheEntry]:
    """Every entry of one environment's Redis, the stale ones of `drift.STALE` included."""
    yield from _api_keys(rows)
    yield from _people(environment, rows)
    yield from _personas(rows)
    yield from _traffic(environment, rows)
    yield from _stale(environment)


def _number(text: str) -> int:
    """A small number that depends on nothing but the text."""
    return int.from_bytes(sha256(text.encode()).digest()[:4])


def _ttl(key: str, *choices: int | None) -> int | None:
    return choices[_number(key) % len(choices)]


def _json(**fields: object) -> str:
    return json.dumps(fields, ensure_ascii=False)


def _api_keys(rows: CacheRows) -> Iterator[CacheEntry]:
    planted = {key.key_hash for key in drift.KEYS}
    for key_hash, user_id, name in rows.keys:
        # Three keys in four have been used lately; the planted ones always, for they are looked at.
        if key_hash in planted or _number(key_hash) % 4:
            key = api_key_entry(key_hash)
            value = _json(user_id=user_id, name=name, is_active=True)
            yield CacheEntry(key, value, _ttl(key, 40, 15 * MINUTE, 55 * MINUTE, 6 * HOUR, 3 * DAY))


def _session(user_id: str, email: str) -> dict[str, str]:
    return {
        "user_id": user_id,
        "email": email,
        "ip": f"198.51.100.{_number(user_id) % 256}",
        "last_seen": f"2026-10-31T{_number(email) % 24:02}:15:00Z",
    }


def _people(environment: str, rows: CacheRows) -> Iterator[CacheEntry]:
    for user_id, email in rows.users:
        if _number(user_id) % 2:
            key = f"user:session:{user_id}"
            yield CacheEntry(key, _session(user_id, email), _ttl(key, 50 * MINUTE, 20 * HOUR, 3 * DAY, 7 * DAY))
        if _number(user_id) % 5 == 0:
            token = sha256(f"jwt:{environment}:{user_id}".encode()).hexdigest()
            key = f"gaia:auth:jwt:v1:{token[:32]}"
            value = _json(sub=user_id, email=email, role="authenticated")
            yield CacheEntry(key, value, _ttl(key, 50, 10 * MINUTE, 50 * MINUTE))
    for user_id, persona_id in rows.preferences:
        key = f"user:persona:preference:{user_id}"
        yield CacheEntry(key, persona_id, _ttl(key, None, 12 * HOUR, 2 * DAY))


def _personas(rows: CacheRows) -> Iterator[CacheEntry]:
    for persona_id, name, created_by, active in rows.personas:
        key = f"persona:{persona_id}"
        yield CacheEntry(key, _json(id=persona_id, name=name, is_active=active), _ttl(key, None, 2 * HOUR))
        if created_by:
            yield CacheEntry(f"personas:list:active:{created_by}", (persona_id,), 5 * MINUTE)
    active_ids = tuple(persona_id for persona_id, _, _, active in rows.personas if active)
    if rows.personas:
        yield CacheEntry("personas:list:active", active_ids, 10 * MINUTE)
        yield CacheEntry("personas:list:all", tuple(row[0] for row in rows.personas), None)


def _traffic(environment: str, rows: CacheRows) -> Iterator[CacheEntry]:
    """Rate limits, health, and keys of no known family, which a look at the cache must survive."""
    for user_id, _ in rows.users[:120]:
        yield CacheEntry(f"rate_limit:{user_id}:minute", str(_number(user_id) % 60), 30 + _number(user_id) % 29)
    for last in range(1, 25):
        yield CacheEntry(f"rate_limit:203.0.113.{last}:hour", str(last * 37 % 600), 50 * MINUTE)
    for service in ("gateway", "auth", "chat", "kb", "asset"):
        healthy = (environment, service) != ("staging", "asset")
        value = _json(status="healthy" if healthy else "degraded", checked="2026-10-31T23:59:30Z")
        yield CacheEntry(f"service:health:{service}", value, 2 * HOUR if healthy else None)
    online = frozenset(user_id for user_id, _ in rows.users[:30])
    if online:
        yield CacheEntry("presence:online", online, None)
    yield CacheEntry("queue:embeddings", ("/guides/personas.md", "/team/手順書.md"), None)
    yield CacheEntry(f"tmp:upload:{_number(environment):08x}", "chunk 3 of 8", 9 * HOUR)


def _stale(environment: str) -> Iterator[CacheEntry]:
    # Nothing expires these soon: a sandbox that has been up for days still shows them.
    for entry in drift.STALE:
        if entry.environment != environment:
            continue
        if entry.key.startswith("user:session:"):
            yield CacheEntry(entry.key, _session(entry.key.rpartition(":")[2], "gone@example.com"), 30 * DAY)
        else:
            yield CacheEntry(entry.key, _json(is_active=True, name="cached before it was revoked"), None)
