"""`envs --check`: one connection to each server that the registry names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gaiaops import threads
from gaiaops.auth import api
from gaiaops.cache import connect as cache_connect
from gaiaops.errors import GaiaopsError
from gaiaops.overview.collect import bounded
from gaiaops.postgres import connect, session
from gaiaops.registry.model import Environment, Registry, Timeouts
from gaiaops.registry.urls import POSTGRES_SCHEMES, Url


@dataclass(frozen=True)
class Check:
    """Whether one server let us in, and how long connecting and one question took."""

    environment: str
    server: str
    latency_ms: float
    error: GaiaopsError | None


Probe = Callable[[], None]


def everything(registry: Registry, chosen: tuple[Environment, ...], *, with_supabase: bool) -> Iterator[Check]:
    """Checks of all servers at once, as they answer."""
    # Imported before the clocks start: a driver's import is not the server's latency.
    connect.preload()
    cache_connect.preload()
    api.preload()
    probes: list[tuple[str, str, Probe]] = []
    for env in chosen:
        probes.append((env.name, "postgres", _postgres(env)))
        if env.redis is not None:
            probes.append((env.name, "redis", _redis(env)))
    if with_supabase and registry.supabase is not None:
        project, timeouts = registry.supabase, registry.environments[0].timeouts

        def admin() -> None:
            api.check(project.url.get(), project.service_key.get(), timeouts)

        probes.append(("supabase", "auth", admin))
        if project.database is not None:
            setting = project.database

            def database() -> None:
                _select(setting.url(POSTGRES_SCHEMES), timeouts)

            probes.append(("supabase", "postgres", database))
    yield from threads.as_completed(probes, lambda probe: _timed(*probe))


def _timed(environment: str, server: str, probe: Probe) -> Check:
    began = time.perf_counter()
    try:
        probe()
    except GaiaopsError as error:
        return Check(environment, server, 0.0, error)
    return Check(environment, server, (time.perf_counter() - began) * 1000, None)


def _postgres(env: Environment) -> Probe:
    def probe() -> None:
        session.check_pin(env, _select(env.postgres_url(), env.timeouts))

    return probe


def _select(url: Url, timeouts: Timeouts) -> tuple[str, str]:
    with session.reading(url, bounded(timeouts), "envs") as reading:
        return reading.identity()


def _redis(env: Environment) -> Probe:
    def probe() -> None:
        url = env.redis_url()
        if url is not None:
            with cache_connect.connect(url, env.timeouts) as client:
                client.ping()

    return probe
