"""The shape of environments.toml, checked by msgspec: unknown keys and wrong types are errors."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Command(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A value that a program prints: `{ command = ["op", "read", "op://ops/dev"] }`."""

    command: list[str]


Text = str | Command


class TimeoutsSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """Durations as PostgreSQL writes them."""

    connect: str | None = None
    statement: str | None = None
    lock: str | None = None
    idle: str | None = None


class PinSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What must be behind an environment's name before anything is changed there."""

    system_identifier: str | None = None
    database: str | None = None


class HealthCheckSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One `[health.CHECK]`: thresholds instead of the check's own: a number, a text with a unit, or "never"."""

    warn: float | str | None = None
    critical: float | str | None = None
    off: bool = False


class EnvironmentSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One `[environments.NAME]` table: `postgres`, or `shards` instead; see tunnels.py for the ways to the servers."""

    postgres: Text | None = None
    shards: list[str | dict[str, Any]] = []
    redis: Text | None = None
    tunnel: dict[str, Any] | None = None
    redis_tunnel: dict[str, Any] | None = None
    pooler: Literal["transaction", "session", "none"] | None = None
    aliases: list[str] = []
    tag: str | None = None
    protected: bool = False
    replicas: list[str | dict[str, Any]] = []
    read_from: Literal["primary", "replica"] = "primary"
    max_lag: str | None = None
    timeouts: TimeoutsSpec = TimeoutsSpec()
    pin: PinSpec = PinSpec()
    agree: list[str] = []
    health: dict[str, HealthCheckSpec] = {}


class SupabaseSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The `[supabase]` table: the one project that all environments share; `tunnel` leads to its database."""

    url: Text
    service_key: Text
    database: Text | None = None
    tunnel: dict[str, Any] | None = None


class TableGroupSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One `[tables.GROUP]`: tables that are deployed, or planned."""

    tables: list[str]
    planned: bool = False


class CacheSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The `[cache]` table: key families as name = pattern, where `*` ends the fixed part.

    `user_keys` are the exact keys of one user, made from the columns of their rows; the platform's by default, so
    that a registry which says nothing of them leaves nobody logged in.
    """

    families: dict[str, str] = {}
    user_keys: tuple[str, ...] = (
        "gaia:auth:apikey:v1:{api_keys.key_hash:32}",
        "user:session:{users.id}",
        "user:persona:preference:{users.id}",
    )


class ReferenceSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One `"table.column" = { … }` of `[references]`.

    `holds` is what the column holds of a user (`{id}`, `{address}`, `users/{address}`), `where` the condition
    under which it does, `on_delete` what a purge does with the row.
    """

    holds: str = "{id}"
    where: str | None = None
    on_delete: Literal["delete", "null", "keep", "block"] | None = None


class CleanupSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The `[cleanup]` table: addresses and domains that are never purged."""

    protected: list[str] = []


class AuditSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The `[audit]` table. Rows younger than `grace` are not judged; what was found is looked at again not before
    `recheck_after`; `agree` are kinds that count as agreement in every environment.

    `access_keys` are the Redis keys that give access, made from the columns of rows that must be valid.
    """

    grace: str = "10min"
    recheck_after: str = "500ms"
    unconfirmed_after: str = "7d"
    agree: list[str] = []
    access_keys: tuple[str, ...] = ("gaia:auth:apikey:v1:{api_keys.key_hash:32}", "user:session:{users.id}")
