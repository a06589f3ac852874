"""`envs --check`: one connection to each server that the registry names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from gaiaops import threads
from gaiaops.auth import api
from gaiaops.cache import connect as cache_connect
from gaiaops.errors import ConnectError, GaiaopsError
from gaiaops.overview.collect import bounded
from gaiaops.postgres import connect, replicas, session
from gaiaops.postgres.replica import DOWN, behind
from gaiaops.registry.model import Environment, Registry, Timeouts
from gaiaops.registry.urls import POSTGRES_SCHEMES, Url

_WRONG = "compare the connection strings in environments.toml: which server is the primary now?"


@dataclass(frozen=True)
class Check:
    """Whether one server let us in, how long connecting and one question took, and what else there is to say."""

    environment: str
    server: str
    latency_ms: float
    error: GaiaopsError | None
    note: str = ""


Probe = Callable[[], str | None]


def everything(registry: Registry, chosen: tuple[Environment, ...], *, with_supabase: bool) -> Iterator[Check]:
    """Checks of all servers at once, as they answer."""
    # Imported before the clocks start: a driver's import is not the server's latency.
    connect.preload()
    cache_connect.preload()
    api.preload()
    probes: list[tuple[str, str, Probe]] = []
    for env in chosen:
        for part in env.databases:
            probes.append((part.name, "postgres", _postgres(part)))
            probes += [(part.name, f"replica {number}", probe) for number, probe in enumerate(_replicas(part), 1)]
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
        note = probe()
    except GaiaopsError as error:
        return Check(environment, server, 0.0, error)
    return Check(environment, server, (time.perf_counter() - began) * 1000, None, note or "")


def _replicas(env: Environment) -> Iterator[Probe]:
    """A probe for each replica, which says how far it is behind, and fails where it is none."""
    if not env.replicas:
        return
    primary = replicas.asking(env)

    def probe(number: int) -> str:
        state = replicas.state_of(env, number, primary)
        if state.problem:
            raise ConnectError(
                f"{state.problem.removeprefix(DOWN)} ({state.address})", hint=_WRONG if state.wrong else ""
            )
        why = state.against(env.max_lag)
        return f"not read from: {why}" if why else behind(state.lag or 0.0)

    for number in range(1, len(env.replicas) + 1):
        yield partial(probe, number)


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
