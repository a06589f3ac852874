"""`gaiaops envs`: the registry, and whether what it names answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gaiaops.cli import base
from gaiaops.cli.arguments import ENVIRONMENT
from gaiaops.errors import GaiaopsError, PartialError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gaiaops.registry.model import Environment, Registry
    from gaiaops.registry.settings import Setting
    from gaiaops.registry.tunnels import Tunnel


@click.command("envs")
@click.argument("env", type=ENVIRONMENT, required=False)
@click.option("--check", is_flag=True, help="Connect to each PostgreSQL, Redis and Supabase, in parallel.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: base.Context, /, env: str | None, check: bool, as_json: bool) -> None:
    """List the environments of the registry; with ENV, every value and where it came from.

    Secrets are masked.

    \b
    Examples:
      gaiaops envs
      gaiaops envs production
      gaiaops envs --check
    """
    registry = context.registry()
    chosen = registry.environments if env in (None, "all") else (registry.environment(str(env)),)
    if check:
        _check(registry, chosen, as_json, with_supabase=env is None, program=context.program)
    elif as_json:
        from gaiaops.output import report

        click.echo(report.document({"environments": [_document(e) for e in chosen]}))
    elif env is None:
        _list(registry)
    else:
        _show(registry, chosen[0])


def _list(registry: Registry) -> None:
    from gaiaops.output import report

    rows = []
    for env in registry.databases:
        host, database, role, note = _target(env)
        about = [env.name, ", ".join(env.aliases), env.tag or "", "yes" if env.protected else ""]
        way = f" through {env.tunnel.label}" if env.tunnel else ""
        rows.append([*about, host + way, database, role, note])
    headers = ["environment", "aliases", "tag", "protected", "host", "database", "role", "from"]
    click.echo(report.table(headers, rows))
    base.notice(f"registry: {registry.file}")


def _target(env: Environment) -> tuple[str, str, str, str]:
    """(host, database, role, source) of an environment's PostgreSQL; what is missing where it is not known."""
    try:
        url = env.postgres_url()
        return url.server, url.database, url.user or "", env.postgres.source() if env.postgres else ""
    except UsageError as error:
        return "-", "-", "-", error.message.rpartition(": ")[2]


def _show(registry: Registry, env: Environment) -> None:
    from gaiaops.output import report
    from gaiaops.registry.durations import show_duration

    rows = [
        ("aliases", ", ".join(env.aliases) or "-", registry.file.name),
        ("tag", env.tag or "-", registry.file.name),
        ("protected", "yes" if env.protected else "no", registry.file.name),
        *((name, *_value(setting)) for name, setting in _settings(env)),
        *((name, f"through {way.label}", registry.file.name) for name, way in _tunnels(env).items() if way),
        *((name, value, "registry or default") for name, value in _reading(env)),
        *(
            (f"timeouts.{name}", show_duration(getattr(env.timeouts, name)), "registry or default")
            for name in ("connect", "statement", "lock", "idle")
        ),
        *((name, value, registry.file.name) for name, value in _pins(env)),
    ]
    click.echo(report.table([env.name, "value", "from"], rows))


def _settings(env: Environment) -> Iterable[tuple[str, Setting]]:
    if env.postgres is not None:
        yield "postgres", env.postgres
    for shard in env.shards:
        for name, setting in _settings(shard):
            yield f"shard {shard.shard}{name.removeprefix('postgres')}", setting
    if env.redis is not None:
        yield "redis", env.redis
    for number, replica in enumerate(env.replicas, 1):
        yield f"replica {number}", replica.setting


def _pins(env: Environment) -> Iterable[tuple[str, str]]:
    for database in env.databases:
        about = f"shard {database.shard} " if env.shards else ""
        yield f"{about}pin.system_identifier", database.pin.system_identifier or "-"
        yield f"{about}pin.database", database.pin.database or "-"


def _reading(env: Environment) -> Iterable[tuple[str, str]]:
    from gaiaops.registry.durations import show_duration

    for number, replica in enumerate(env.replicas, 1):
        if replica.tunnel:
            yield f"replica {number}", f"through {replica.tunnel.label}"
    if env.replicas:
        yield "read_from", env.read_from
        yield "max_lag", show_duration(env.max_lag)


def _tunnels(env: Environment) -> dict[str, Tunnel | None]:
    return {"tunnel": env.tunnel, "redis_tunnel": env.redis_tunnel}


def _value(setting: Setting) -> tuple[str, str]:
    """(masked value, source); the reason where it has none."""
    from gaiaops.registry.urls import POSTGRES_SCHEMES, REDIS_SCHEMES

    try:
        return setting.url(POSTGRES_SCHEMES + REDIS_SCHEMES).masked(), setting.source()
    except UsageError as error:
        return "-", error.message.rpartition(": ")[2]


def _document(env: Environment) -> dict[str, Any]:
    """The stable field names of `envs --json`."""
    host, database, role, source = _target(env)
    known = host != "-"
    shards = {"shards": [_document(shard) for shard in env.shards]} if env.shards else {}
    return {
        "environment": env.name,
        "aliases": list(env.aliases),
        "tag": env.tag,
        "protected": env.protected,
        "host": host if known else None,
        "database": database if known else None,
        "role": role if known else None,
        "source": source if not env.shards else None,
        "read_from": env.read_from,
        **{name: way.label if way else None for name, way in _tunnels(env).items()},
        "settings": {name: dict(zip(("value", "source"), _value(s), strict=True)) for name, s in _settings(env)},
        "timeouts_ms": {name: getattr(env.timeouts, name) for name in ("connect", "statement", "lock", "idle")},
        **shards,
    }


def _check(
    registry: Registry, chosen: Iterable[Environment], as_json: bool, *, with_supabase: bool, program: str
) -> None:
    from gaiaops.output import report
    from gaiaops.overview import check

    chosen = tuple(chosen)
    width = max(12, *(len(database.name) for env in chosen for database in env.databases))
    results = []
    for result in check.everything(registry, chosen, with_supabase=with_supabase):
        results.append(result)
        if not as_json:
            broken = f"FAILED {result.error.message}" if result.error else ""
            state = broken or "  ".join(filter(None, (f"ok    {report.latency(result.latency_ms)}", result.note)))
            click.echo(f" {result.environment:<{width}} {result.server:<9} {state}")
            if result.error is not None and result.error.hint:
                base.notice(f"hint: {result.error.next_step(program)}")
    if as_json:
        rows = [
            {
                "environment": r.environment,
                "server": r.server,
                "ok": r.error is None,
                "latency_ms": None if r.error else round(r.latency_ms, 3),
                "error": r.error.message if r.error else None,
                "note": r.note or None,
            }
            for r in results
        ]
        click.echo(report.document({"checks": rows}))
    failed = [r for r in results if r.error is not None]
    if failed and len(failed) < len(results):
        raise PartialError(f"{len(failed)} of {len(results)} did not answer")
    if failed:
        failure = GaiaopsError("nothing answered")
        failure.code = failed[0].error.code if failed[0].error else failure.code
        raise failure
