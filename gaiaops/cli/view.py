"""`gaiaops view`: the overview, each line as it arrives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base, replicas
from gaiaops.cli.arguments import EnvironmentType
from gaiaops.errors import GaiaopsError, PartialError, UsageError

if TYPE_CHECKING:
    from gaiaops.auth.interface import AuthCount
    from gaiaops.overview.values import Database, Overview, Read
    from gaiaops.postgres.source import Source
    from gaiaops.registry.model import Environment, Registry

_COLUMNS = (("pg", 6), ("latency", 8), ("users", 9), ("tables", 7), ("size", 8), ("keys", 7), ("redis", 8))


@click.command("view")
@click.argument("env", type=EnvironmentType("all", "supabase"), default="all")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@replicas.option
@click.pass_obj
def command(context: base.Context, /, env: str, as_json: bool, replica: bool | None) -> None:
    """The overview of ENV, of all environments (the default), or of `supabase`.

    Per environment: PostgreSQL's version, latency, users (and how many per tag), tables found of those
    expected, database size, Redis keys and memory. One environment alone goes deeper: its tables, newest
    users and cache keys by family. An environment with shards is their sum, with a line for each.

    \b
    Examples:
      gaiaops view
      gaiaops view dev
      gaiaops view supabase --json
    """
    registry = context.registry()
    if env == "supabase":
        replicas.refuse(replica, "Supabase Auth has no replicas here")
        _Supabase(registry).show(as_json)
    else:
        chosen = registry.select(env)
        source = replicas.source(context, [one for env in chosen for one in env.databases], replica)
        _environments(registry, env, as_json, source)


def _environments(registry: Registry, name: str, as_json: bool, source: Source) -> None:
    from gaiaops.output import report
    from gaiaops.overview import collect

    chosen = registry.select(name)
    alone = name != "all"
    width = max(len(name) for env in chosen for name in (env.name, *(f" {s.name}" for s in env.shards)))
    errors: list[GaiaopsError] = []
    documents: dict[str, Any] = {}
    if not as_json:
        click.echo(_header(width))
    for overview in collect.environments(registry, chosen, deep=alone, choose=source.of):
        errors += overview.errors
        documents[overview.env.name] = _document(registry, overview, source)
        if not as_json:
            for line in _lines(registry, overview, width):
                click.echo(line)
            for error in overview.errors:
                base.show_error(error)
    auth = None if alone else _Supabase(registry)
    if as_json:
        result: dict[str, Any] = {"environments": [documents[env.name] for env in chosen]}
        if auth is not None and registry.supabase is not None:
            result["supabase"] = auth.document()
        click.echo(report.document(result))
    elif alone:
        _show_detail(overview)
    elif auth is not None and registry.supabase is not None:
        auth.line()
    errors += auth.errors if auth else []
    if errors:
        raise _failure(errors, chosen[0] if alone else None)


def _failure(errors: list[GaiaopsError], env: Environment | None) -> GaiaopsError:
    """The failure of one environment where all of its shards failed alike, else that of some of many."""
    failed = sorted({error.environment for error in errors})
    alike = len({error.code for error in errors}) == 1
    if env is not None and alike and all(shard.name in failed for shard in env.shards):
        servers = len(env.databases) + (env.redis is not None)
        failure = GaiaopsError(f"{len(errors)} of {servers} servers did not answer", environment=env.name)
        failure.code = errors[0].code
        return failure
    return PartialError(f"not everything answered: {', '.join(failed)}")


def _header(width: int) -> str:
    columns = "".join(f" {name:>{w}}" for name, w in _COLUMNS)
    return f" {'environment':<{max(width, 11)}}{columns}  tagged"


def _lines(registry: Registry, overview: Overview, width: int) -> Iterator[str]:
    """The environment's line, and one for each of its shards."""
    database = overview.database
    down = all(isinstance(shard.database, GaiaopsError) for shard in overview.shards)
    cells = ["down" if down else "partly", "", "", "", ""] if database is None else _cells(registry, database)
    yield _line(overview.env.name, width, [*cells, *_redis_cells(overview)], database)
    for shard in overview.shards:
        yield _line(f" {shard.env.name}", width, [*_cells(registry, shard.database), "", ""], shard.database)


def _cells(registry: Registry, database: Database | GaiaopsError) -> list[str]:
    from gaiaops.output import report

    if isinstance(database, GaiaopsError):
        return ["down", "", "", "", ""]
    return [
        database.version,
        report.latency(database.latency_ms),
        "-" if database.users is None else str(database.users),
        f"{_found(registry, database)}/{len(registry.deployed_tables)}",
        report.size(database.bytes) if database.bytes is not None else "-",
    ]


def _redis_cells(overview: Overview) -> list[str]:
    from gaiaops.output import report

    cache = overview.cache
    if isinstance(cache, GaiaopsError):
        return ["down", ""]
    memory = None if cache is None else cache.memory
    return ["-" if cache is None else str(cache.keys), "-" if memory is None else report.size(memory)]


def _line(name: str, width: int, cells: list[str], database: Database | GaiaopsError | None) -> str:
    by_tag = {} if database is None or isinstance(database, GaiaopsError) else database.by_tag
    tags = ", ".join(f"{tag} {users}" for tag, users in by_tag.items() if users)
    aligned = "".join(f" {cell:>{w}}" for cell, (_, w) in zip(cells, _COLUMNS, strict=True))
    return f" {name:<{max(width, 11)}}{aligned}  {tags}".rstrip()


def _found(registry: Registry, database: Database) -> int:
    return len(set(registry.deployed_tables) & set(database.tables))


def _show_detail(overview: Overview) -> None:
    from gaiaops.output import report

    detail, families = overview.detail, overview.families
    if detail is not None and detail.tables:
        rows = [
            (t.name, f"{'' if t.exact else '~'}{t.rows}", "-" if t.bytes is None else report.size(t.bytes))
            for t in detail.tables
        ]
        click.echo("\n" + report.table(["table", "rows", "size"], rows, right=[1, 2]))
        if not all(t.exact for t in detail.tables):
            base.notice("~ is the planner's estimate: large tables are not counted")
    if detail is not None and detail.newest:
        click.echo("\n" + report.table(["newest users", "created_at"], detail.newest))
    if families is not None:
        click.echo("\n" + report.table(["cache family", "keys"], families.families, right=[1]))
        if not families.complete:
            base.notice("the scan's time was up: the numbers of keys are lower bounds")


def _document(registry: Registry, overview: Overview, source: Source) -> dict[str, Any]:
    """The stable field names of `view --json`."""
    env, cache = overview.env, overview.cache
    database = overview.database
    result: dict[str, Any] = {
        "environment": env.name,
        "reachable": database is not None and not isinstance(database, GaiaopsError),
        "errors": [error.message for error in overview.errors],
        **_database_document(registry, database),
        "redis": None,
    }
    if isinstance(cache, GaiaopsError):
        result["redis"] = {"reachable": False}
    elif cache is not None:
        result["redis"] = {
            "reachable": True,
            "server_version": cache.version,
            "latency_ms": round(cache.latency_ms, 3),
            "keys": cache.keys,
            "memory_bytes": cache.memory,
        }
    if overview.detail is not None:
        tables = overview.detail.tables
        result["tables"] = [{"table": t.name, "rows": t.rows, "exact": t.exact, "bytes": t.bytes} for t in tables]
        newest = overview.detail.newest
        result["newest_users"] = [{"email": email, "created_at": created} for email, created in newest]
    if overview.families is not None:
        result["cache_families"] = dict(overview.families.families)
    if env.shards:
        result["shards"] = [_shard_document(registry, shard, source) for shard in overview.shards]
    else:
        result["read_from"] = source.name(env)
    return result


def _shard_document(registry: Registry, shard: Read, source: Source) -> dict[str, Any]:
    return {
        "shard": shard.env.shard,
        "reachable": not isinstance(shard.database, GaiaopsError),
        "errors": [shard.database.message] if isinstance(shard.database, GaiaopsError) else [],
        **_database_document(registry, shard.database),
        "read_from": source.name(shard.env),
    }


def _database_document(registry: Registry, database: Database | GaiaopsError | None) -> dict[str, Any]:
    if database is None or isinstance(database, GaiaopsError):
        return {}
    return {
        "server_version": database.version,
        "standby": database.standby,
        "latency_ms": round(database.latency_ms, 3),
        "users": database.users,
        "users_by_tag": dict(database.by_tag),
        "tables_found": _found(registry, database),
        "tables_expected": len(registry.deployed_tables),
        "tables_missing": sorted(set(registry.deployed_tables) - set(database.tables)),
        "database_bytes": database.bytes,
    }


class _Supabase:
    """The auth project's part of the overview."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.errors: list[GaiaopsError] = []

    def _read(self) -> AuthCount | None:
        from gaiaops.overview import collect

        if self.registry.supabase is None:
            raise UsageError("the registry has no [supabase]", hint=f"add one to {self.registry.file}")
        found = collect.supabase(self.registry.supabase, self.registry)
        if isinstance(found, GaiaopsError):
            self.errors.append(found)
            return None
        if not found.complete:
            self.errors.append(
                PartialError(
                    "the list of users could not be read whole: users per tag are lower bounds", environment="supabase"
                )
            )
        return found

    def line(self) -> None:
        """The one line under the environments."""
        count = self._read()
        if count is not None:
            tags = ", ".join(f"{tag} {users}" for tag, users in count.by_tag.items() if users)
            click.echo(f"\n supabase auth ({count.source}): {count.users} users; {tags or 'none tagged'}")
        for error in self.errors:
            base.show_error(error)

    def document(self) -> dict[str, Any]:
        count = self._read()
        if count is None:
            return {"reachable": False, "errors": [error.message for error in self.errors]}
        return {
            "reachable": True,
            "source": count.source,
            "complete": count.complete,
            "latency_ms": round(count.latency_ms, 3),
            "users": count.users,
            "users_by_tag": dict(count.by_tag),
            "deleted": count.deleted,
            "banned": count.banned,
            "errors": [error.message for error in self.errors],
        }

    def show(self, as_json: bool) -> None:
        """`view supabase`."""
        from gaiaops.output import report

        if as_json:
            click.echo(report.document({"supabase": self.document()}))
        else:
            count = self._read()
            if count is not None:
                tagged = sum(count.by_tag.values())
                rows: list[tuple[str, object]] = list(count.by_tag.items())
                rows += [("(no environment's tag)", count.users - tagged), ("all", count.users)]
                click.echo(report.table(["tag", "auth users"], rows, right=[1]))
                extra = "" if count.deleted is None else f"; {count.deleted} soft-deleted, {count.banned} banned"
                base.notice(f"read by {count.source} in {report.latency(count.latency_ms)} a request{extra}")
        if self.errors:
            raise self.errors[0]
