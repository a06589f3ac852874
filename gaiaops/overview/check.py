"""`envs --check`: one connection to each server that the registry names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from gaiaops import threads
from gaiaops.auth import api
from gaiaops.cache import connect as cache_connect
from gaiaops.errors import ConnectError, GaiaopsError, RefusedError, StatementError, located
from gaiaops.overview.collect import bounded
from gaiaops.postgres import connect, features, replicas, session
from gaiaops.postgres.identity import check_pin
from gaiaops.postgres.replica import DOWN, behind
from gaiaops.registry.model import Environment, Registry, Timeouts
from gaiaops.registry.urls import Url

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

            def database() -> None:
                url = project.database_url()
                if url is not None:
                    _select(url, timeouts)

            probes.append(("supabase", "postgres", database))
    yield from threads.as_completed(probes, lambda probe: _timed(*probe))


def _timed(environment: str, server: str, probe: Probe) -> Check:
    began = time.perf_counter()
    try:
        with located(environment):
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
    def probe() -> str:
        with session.reading(env.postgres_url(), bounded(env.timeouts), "envs") as reading:
            identity, lacking = _identity(reading)
        if lacking and env.pin.system_identifier is not None:
            raise RefusedError(
                f"{reading.server.name} has no {lacking}: whether it is the pinned system cannot be told",
                hint="pin the database alone in environments.toml",
            )
        check_pin(env, identity)
        lost = f"no {lacking}: which system it is cannot be told" if lacking else ""
        return "; ".join(filter(None, ("" if reading.server.plain else reading.server.name, lost)))

    return probe


def _identity(reading: session.Session) -> tuple[tuple[str, str], str]:
    """Who is behind the name, and what the server has not got to tell it."""
    try:
        return reading.identity(), ""
    except StatementError as error:
        lacking = features.missing(error)
        if not lacking:
            raise
    reading.renew()
    return ("", str(reading.fetch("SELECT current_database()::text")[0][0])), lacking


def _select(url: Url, timeouts: Timeouts) -> None:
    with session.reading(url, bounded(timeouts), "envs"):
        pass


def _redis(env: Environment) -> Probe:
    def probe() -> None:
        url = env.redis_url()
        if url is not None:
            with cache_connect.connect(url, env.timeouts) as client:
                client.ping()

    return probe
