"""Finds environments.toml, reads it, and says in one line what is wrong with it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from gaiaops.errors import UsageError
from gaiaops.registry.checks import RESERVED, VALID_NAME, check_unique, check_urls
from gaiaops.registry.durations import parse_age, parse_duration
from gaiaops.registry.model import (
    MAX_LAG,
    Audit,
    Environment,
    Health,
    Pin,
    Reference,
    Registry,
    Replica,
    Supabase,
    TableGroup,
    Threshold,
    Timeouts,
)
from gaiaops.registry.paths import find_file
from gaiaops.registry.settings import Setting, Variables, read_variables, readable_by_others
from gaiaops.registry.spec import (
    AuditSpec,
    CacheSpec,
    CleanupSpec,
    EnvironmentSpec,
    HealthCheckSpec,
    PinSpec,
    ReferenceSpec,
    SupabaseSpec,
    TableGroupSpec,
    Text,
    TimeoutsSpec,
)

if TYPE_CHECKING:
    from gaiaops.registry.tunnels import Tunnel

_SECTIONS = ("environments", "supabase", "tables", "cache", "references", "cleanup", "audit", "health", "timeouts")
_KEY_PART = re.compile(r"\{(\w+)\.(\w+)(?::[1-9]\d*)?\}")
_AT = re.compile(r" - at `\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
S = TypeVar("S")


def load(explicit: str | None = None) -> Registry:
    """The checked registry. Raises UsageError with the file's name and the key path."""
    file = find_file(explicit)
    return parse(file, _read(file), read_variables(file))


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file.name}: not valid TOML: {error}", hint=f"edit {file}") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", hint="name another with --registry FILE") from None


class Reader:
    """Turns tables into checked values; knows the file and the variables, so that errors can name them."""

    def __init__(self, file: Path, variables: Variables) -> None:
        self.file = file
        self.variables = variables

    def fail(self, path: str, reason: str) -> UsageError:
        return UsageError(f"{self.file.name}: {path}: {reason}", hint=f"edit {self.file}")

    def convert(self, raw: object, path: str, shape: type[S]) -> S:
        try:
            return msgspec.convert(raw, shape)
        except msgspec.ValidationError as error:
            message = str(error)
            at = _AT.search(message)
            path = ".".join(filter(None, (path, at[1] if at else "")))
            message = _AT.sub("", message)
            if unknown := _UNKNOWN.search(message):
                raise self.fail(f"{path}.{unknown[1]}", "unknown key") from None
            if missing := _MISSING.search(message):
                raise self.fail(f"{path}.{missing[1]}", "missing") from None
            raise self.fail(path, message[0].lower() + message[1:]) from None

    def setting(self, value: Text, path: str) -> Setting:
        if isinstance(value, str):
            if not value:
                raise self.fail(path, "empty")
            return Setting(self.file, path, value, self.variables)
        if not value.command:
            raise self.fail(path, "command is empty")
        return Setting(self.file, path, tuple(value.command), self.variables)

    def timeouts(self, spec: TimeoutsSpec, path: str, base: Timeouts) -> Timeouts:
        values = {}
        for name in ("connect", "statement", "lock", "idle"):
            text = getattr(spec, name)
            try:
                values[name] = getattr(base, name) if text is None else parse_duration(text)
            except ValueError as error:
                raise self.fail(f"{path}.{name}", str(error)) from None
        return Timeouts(**values)

    def pin(self, spec: PinSpec) -> Pin:
        return Pin(spec.system_identifier, spec.database)

    def environment(self, name: str, raw: object, base: Timeouts) -> Environment:
        path = f"environments.{name}"
        if not VALID_NAME.fullmatch(name) or name in RESERVED:
            raise self.fail(path, f'"{name}" cannot be an environment\'s name')
        spec = self.convert(raw, path, EnvironmentSpec)
        if not spec.shards:
            if spec.postgres is None:
                raise self.fail(f"{path}.postgres", "missing")
            return self.of_spec(name, spec, base, path, f"{path}.postgres")
        from gaiaops.registry import shards  # most registries have none

        parts = shards.read(self, name, spec, base)
        whole = msgspec.structs.replace(spec, read_from="primary", max_lag=None)
        return msgspec.structs.replace(self.of_spec(name, whole, base, path, ""), shards=parts)

    def of_spec(self, name: str, spec: EnvironmentSpec, base: Timeouts, path: str, postgres_path: str) -> Environment:
        """The environment, or the shard, of the table at `path`."""
        return Environment(
            name=name,
            aliases=tuple(spec.aliases),
            tag=spec.tag,
            protected=spec.protected,
            postgres=None if spec.postgres is None else self.setting(spec.postgres, postgres_path),
            redis=None if spec.redis is None else self.setting(spec.redis, f"{path}.redis"),
            replicas=self.replicas(spec, path),
            timeouts=self.timeouts(spec.timeouts, f"{path}.timeouts", base),
            pin=self.pin(spec.pin),
            agree=tuple(spec.agree),
            health=_thresholds(spec.health),
            tunnel=self.tunnel(spec.tunnel, f"{path}.tunnel"),
            redis_tunnel=self.redis_tunnel(spec, f"{path}.redis_tunnel"),
            pooler=spec.pooler or "",
            read_from=spec.read_from,
            max_lag=self.max_lag(spec, path),
        )

    def no_replicas(self, spec: EnvironmentSpec, path: str) -> None:
        """Raises UsageError where the table at `path` says how to read from replicas that there are none of."""
        for key, given in (("read_from", spec.read_from == "replica"), ("max_lag", spec.max_lag is not None)):
            if given:
                raise self.fail(f"{path}.{key}", "there are no replicas to read from")

    def replicas(self, spec: EnvironmentSpec, path: str) -> tuple[Replica, ...]:
        if not spec.replicas:
            self.no_replicas(spec, path)
            return ()
        from gaiaops.registry import replicas  # most registries have none

        return replicas.read(self, spec, path)

    def max_lag(self, spec: EnvironmentSpec, path: str) -> int:
        try:
            return MAX_LAG if spec.max_lag is None else parse_duration(spec.max_lag)
        except ValueError as error:
            raise self.fail(f"{path}.max_lag", str(error)) from None

    def tunnel(self, raw: dict[str, Any] | None, path: str) -> Tunnel | None:
        if raw is None:
            return None
        from gaiaops.registry import tunnels  # most registries have none

        try:
            found: Tunnel = self.convert(tunnels.in_milliseconds(raw), path, tunnels.kind_of(raw))
            tunnels.check(found)
        except tunnels.InvalidTunnelError as error:
            raise self.fail(".".join(filter(None, (path, error.key))), str(error)) from None
        return found

    def redis_tunnel(self, spec: EnvironmentSpec, path: str) -> Tunnel | None:
        if spec.redis_tunnel is not None and spec.redis is None:
            raise self.fail(path, "there is no redis to reach through it")
        return self.tunnel(spec.redis_tunnel, path)

    def supabase(self, raw: object) -> Supabase:
        spec = self.convert(raw, "supabase", SupabaseSpec)
        if spec.tunnel is not None and spec.database is None:
            raise self.fail("supabase.tunnel", "there is no database to reach through it")
        return Supabase(
            url=self.setting(spec.url, "supabase.url"),
            service_key=self.setting(spec.service_key, "supabase.service_key"),
            database=None if spec.database is None else self.setting(spec.database, "supabase.database"),
            tunnel=self.tunnel(spec.tunnel, "supabase.tunnel"),
        )

    def reference(self, name: str, raw: object) -> Reference:
        path = f'references."{name}"'
        table, dot, column = name.rpartition(".")
        if not dot or not table or not column:
            raise self.fail(path, "not a column: write table.column")
        spec = self.convert(raw, path, ReferenceSpec)
        if spec.holds.count("{id}") + spec.holds.count("{address}") != 1:
            raise self.fail(f"{path}.holds", "needs {id} or {address}, once")
        if spec.where is not None and not spec.where.strip():
            raise self.fail(f"{path}.where", "empty")
        return Reference(table, column, spec.holds, spec.where, spec.on_delete)

    def cache(self, raw: object) -> CacheSpec:
        spec = self.convert(raw, "cache", CacheSpec)
        self._check_templates(spec.user_keys, "cache.user_keys")
        return spec

    def audit(self, raw: object) -> Audit:
        spec = self.convert(raw, "audit", AuditSpec)
        self._check_templates(spec.access_keys, "audit.access_keys")
        ages = {}
        for name, parse in (("grace", parse_age), ("recheck_after", parse_duration), ("unconfirmed_after", parse_age)):
            try:
                ages[name] = parse(getattr(spec, name))
            except ValueError as error:
                raise self.fail(f"audit.{name}", str(error)) from None
        return Audit(**ages, agree=tuple(spec.agree), access_keys=spec.access_keys)

    def health(self, raw: object) -> Health:
        tables = dict(self.convert(raw, "health", dict[str, Any]))
        timeout = self.convert(tables.pop("timeout", "1s"), "health.timeout", str)
        specs = {name: self.convert(table, f"health.{name}", HealthCheckSpec) for name, table in tables.items()}
        try:
            return Health(max(1, parse_duration(timeout)), _thresholds(specs))
        except ValueError as error:
            raise self.fail("health.timeout", str(error)) from None

    def _check_templates(self, keys: Iterable[str], path: str) -> None:
        for i, key in enumerate(keys):
            if len(_KEY_PART.findall(key)) != 1 or set("{}") & set(_KEY_PART.sub("", key)):
                raise self.fail(f"{path}[{i}]", "needs one {table.column}, or {table.column:LENGTH}")

    def cleanup(self, raw: object) -> CleanupSpec:
        spec = self.convert(raw, "cleanup", CleanupSpec)
        for i, entry in enumerate(spec.protected):
            if not entry.strip("@ ") or entry != entry.strip():
                raise self.fail(f"cleanup.protected[{i}]", "needs an address or a domain")
        return spec


def parse(file: Path, raw: Mapping[str, Any], variables: Variables) -> Registry:
    """The registry of a parsed TOML document. Raises UsageError with the file's name and the key path."""
    reader = Reader(file, variables)
    for key in raw:
        if key not in _SECTIONS:
            raise reader.fail(key, "unknown key")
    base = reader.timeouts(reader.convert(raw.get("timeouts", {}), "timeouts", TimeoutsSpec), "timeouts", Timeouts())
    tables = reader.convert(raw.get("environments", {}), "environments", dict[str, Any])
    if not tables:
        raise reader.fail("environments", "no environment is declared")
    environments = tuple(reader.environment(name, table, base) for name, table in tables.items())
    check_unique(environments, reader.fail)
    check_urls(environments)
    groups = reader.convert(raw.get("tables", {}), "tables", dict[str, Any])
    specs = {name: reader.convert(group, f"tables.{name}", TableGroupSpec) for name, group in groups.items()}
    cache = reader.cache(raw.get("cache", {}))
    references = reader.convert(raw.get("references", {}), "references", dict[str, Any])
    return Registry(
        file=file,
        environments=environments,
        supabase=reader.supabase(raw["supabase"]) if "supabase" in raw else None,
        tables=tuple(TableGroup(name, tuple(s.tables), s.planned) for name, s in specs.items()),
        families=tuple(cache.families.items()),
        warnings=tuple(_warnings(file)),
        references=tuple(reader.reference(name, value) for name, value in references.items()),
        user_keys=tuple(cache.user_keys),
        protected=tuple(reader.cleanup(raw.get("cleanup", {})).protected),
        audit=reader.audit(raw.get("audit", {})),
        health=reader.health(raw.get("health", {})),
    )


def _thresholds(specs: Mapping[str, HealthCheckSpec]) -> dict[str, Threshold]:
    return {name: Threshold(spec.warn, spec.critical, spec.off) for name, spec in specs.items()}


def _warnings(file: Path) -> Iterator[str]:
    dotenv = file.parent / ".env"
    if readable_by_others(dotenv):
        yield f"{dotenv} can be read by other users; run: chmod 600 {dotenv}"
