"""The registry as frozen values (msgspec Structs: a frozen dataclass costs each start a millisecond)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gaiaops.errors import UsageError, did_you_mean
from gaiaops.registry.settings import Setting
from gaiaops.registry.urls import POSTGRES_SCHEMES, REDIS_SCHEMES, Url

if TYPE_CHECKING:
    from gaiaops.registry.tunnels import Tunnel

MAX_LAG = 10_000  # milliseconds that a replica may be behind, where the registry says nothing


class Timeouts(msgspec.Struct, frozen=True):
    """Bounds on everything, in milliseconds."""

    connect: int = 5_000
    statement: int = 120_000
    lock: int = 5_000
    idle: int = 60_000


class Pin(msgspec.Struct, frozen=True):
    """What must be behind a name before a change: PostgreSQL's system identifier, the database's name."""

    system_identifier: str | None = None
    database: str | None = None


class Threshold(msgspec.Struct, frozen=True):
    """What the registry says of a health check: thresholds as they are written there, None where it says nothing."""

    warn: float | str | None = None
    critical: float | str | None = None
    off: bool = False


class Health(msgspec.Struct, frozen=True):
    """How long a health check may take, in milliseconds, and thresholds by the check's name."""

    timeout: int = 1_000
    thresholds: dict[str, Threshold] = {}


class Replica(msgspec.Struct, frozen=True):
    """A read replica's connection string, and the way to it."""

    setting: Setting
    tunnel: Tunnel | None = None


class Environment(msgspec.Struct, frozen=True):
    """One environment of the platform; `health` are thresholds of its own, `tunnel` and `redis_tunnel` the ways to its
    servers, `pooler` what is in front of its PostgreSQL.

    `read_from` is where reading commands read (primary or replica), `max_lag` how far behind a replica may be then, in
    milliseconds. `replica` is not 0 where this is the environment as it is read from that one of its replicas.

    An environment with `shards` has no PostgreSQL of its own. Each shard is an environment too, named ENV/SHARD, with
    the settings of the whole and without its Redis.
    """

    name: str
    aliases: tuple[str, ...]
    tag: str | None
    protected: bool
    postgres: Setting | None
    redis: Setting | None
    replicas: tuple[Replica, ...]
    timeouts: Timeouts
    pin: Pin
    agree: tuple[str, ...] = ()
    health: dict[str, Threshold] = {}
    tunnel: Tunnel | None = None
    redis_tunnel: Tunnel | None = None
    pooler: str = ""
    read_from: str = "primary"
    max_lag: int = MAX_LAG
    replica: int = 0
    shards: tuple[Environment, ...] = ()

    @property
    def databases(self) -> tuple[Environment, ...]:
        """The environment's databases: its shards, or itself."""
        return self.shards or (self,)

    @property
    def whole(self) -> str:
        """The name of the environment that this is, or is a shard of."""
        return self.name.partition("/")[0]

    @property
    def shard(self) -> str:
        """The shard's name, empty where this is a whole environment."""
        return self.name.partition("/")[2]

    def postgres_url(self) -> Url:
        """The connection string of the primary, or of the replica that this is read from. Raises UsageError where a
        secret is missing, or where there are shards."""
        if self.postgres is None:
            names = ", ".join(shard.name for shard in self.shards)
            raise UsageError(
                f"{self.name} has {len(self.shards)} shards, and this is about one database",
                hint=f"name one of them: {names}",
            )
        url = _within(self, self.postgres, POSTGRES_SCHEMES, self.tunnel)
        if not self.pooler and not self.replica:
            return url
        return msgspec.structs.replace(url, pooler=self.pooler, replica=self.replica)

    def from_replica(self, number: int) -> Environment:
        """The environment as it is read from one of its replicas, counted from 1. What the registry says of a pooler is
        about the primary's: one in front of a replica is found out."""
        found = self.replicas[number - 1]
        return msgspec.structs.replace(self, postgres=found.setting, tunnel=found.tunnel, pooler="", replica=number)

    def redis_url(self) -> Url | None:
        """The cache's connection string, None where none is declared. Raises UsageError as above."""
        return None if self.redis is None else _within(self, self.redis, REDIS_SCHEMES, self.redis_tunnel)

    def needed_redis_url(self) -> Url:
        """As redis_url. Raises UsageError where none is declared, too."""
        url = self.redis_url()
        if url is None:
            hint = f'add redis = "redis://…" to [environments.{self.name}]'
            if self.shard:
                hint = f"its shards share the one of {self.whole}: name {self.whole}"
            raise UsageError(f"{self.name} has no redis in the registry", hint=hint, environment=self.name)
        return url


def _within(env: Environment, setting: Setting, schemes: tuple[str, ...], tunnel: Tunnel | None) -> Url:
    try:
        url = setting.url(schemes, tunnel)
    except UsageError as error:
        error.environment = env.name
        raise
    return msgspec.structs.replace(url, protected=env.name) if env.protected else url


class Supabase(msgspec.Struct, frozen=True):
    """The shared Supabase project; `database` gives SQL access to auth.users where it is known, `tunnel` is the way
    there."""

    url: Setting
    service_key: Setting
    database: Setting | None
    tunnel: Tunnel | None = None

    def database_url(self) -> Url | None:
        """The connection string of its PostgreSQL, None where none is declared. Raises UsageError where a secret is
        missing."""
        return None if self.database is None else self.database.url(POSTGRES_SCHEMES, self.tunnel)


class TableGroup(msgspec.Struct, frozen=True):
    """Tables that belong together; planned ones have migrations that are not applied."""

    name: str
    tables: tuple[str, ...]
    planned: bool


class Reference(msgspec.Struct, frozen=True):
    """What the registry says of a column that names a user.

    `holds` is a text with `{id}` or `{address}`; `where` an SQL condition on the row; `on_delete` one of delete,
    null, keep and block, or None for what follows from the column.
    """

    table: str
    column: str
    holds: str = "{id}"
    where: str | None = None
    on_delete: str | None = None

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"


class Audit(msgspec.Struct, frozen=True):
    """How the audit judges, ages in milliseconds; see AuditSpec."""

    grace: int = 600_000
    recheck_after: int = 500
    unconfirmed_after: int = 7 * 86_400_000
    agree: tuple[str, ...] = ()
    access_keys: tuple[str, ...] = ()


class Registry(msgspec.Struct, frozen=True):
    """environments.toml, checked; the order of the file is kept."""

    file: Path
    environments: tuple[Environment, ...]
    supabase: Supabase | None
    tables: tuple[TableGroup, ...]
    families: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    references: tuple[Reference, ...] = ()
    user_keys: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    audit: Audit = Audit()
    health: Health = Health()

    @property
    def tags(self) -> dict[str, str]:
        """Address tag → environment name."""
        return {env.tag: env.name for env in self.environments if env.tag}

    @property
    def deployed_tables(self) -> tuple[str, ...]:
        return tuple(table for group in self.tables if not group.planned for table in group.tables)

    @property
    def databases(self) -> tuple[Environment, ...]:
        """Every database: environments, and the shards of those that have some."""
        return tuple(database for env in self.environments for database in env.databases)

    def names(self) -> list[str]:
        """Every name and alias, and those of shards."""
        return [
            name
            for env in self.environments
            for name in (env.name, *env.aliases, *(shard.name for shard in env.shards))
        ]

    def environment(self, name: str) -> Environment:
        """The environment of a name or alias, or its shard for ENV/SHARD. Raises UsageError with the nearest name."""
        whole, _, shard = name.partition("/")
        for env in self.environments:
            if whole in (env.name, *env.aliases):
                found = [part for part in (env, *env.shards) if part.shard == shard]
                if found and (shard or name == whole):
                    return found[0]
        raise unknown_environment(name, self.names(), self.file)

    def select(self, name: str) -> tuple[Environment, ...]:
        """`all`, or one environment."""
        return self.environments if name == "all" else (self.environment(name),)


def unknown_environment(name: str, known: list[str], file: Path) -> UsageError:
    """The error for a name that is not in the registry."""
    listed = f"{file} has: {', '.join(known)}"
    hint = " ".join(filter(None, (did_you_mean(name.lower(), known), listed)))
    return UsageError(f'unknown environment "{name}"', hint=hint)
