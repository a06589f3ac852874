"""Makes all checks of all servers at once, each server in a thread of its own, and waits for none of them too long."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial

import msgspec

from gaiaops.auth import api
from gaiaops.cache import connect as cache_connect
from gaiaops.cache.vitals import vitals
from gaiaops.errors import GaiaopsError, NoAnswerError, UsageError, located
from gaiaops.inspect.health import checks, limits, postgres, redis
from gaiaops.inspect.health.checks import Measured, Result, Spec, Verdict
from gaiaops.postgres import probe as probes
from gaiaops.postgres import replicas
from gaiaops.postgres.replica import Primary, State
from gaiaops.registry.model import Environment, Registry, Timeouts

SHARED = "supabase"
_BUDGET_S = 10.0  # for all checks of one server; connecting has its own bound before it
_PATIENCE_S = 5.0  # a server that stopped answering in the middle of a check is left alone then


class Report(msgspec.Struct):
    """Results in the order of the registry and of the checks, and the errors of the servers that failed."""

    results: list[Result]
    errors: list[GaiaopsError]


class _Part:
    """One server of one environment: its checks, and what is known of them so far."""

    def __init__(
        self, environment: str, specs: Iterable[Spec], work: Callable[[_Part], None], replica: int = 0
    ) -> None:
        self.environment = environment
        self.replica = replica
        self.specs = tuple(specs)
        self.work = work
        self.measured: dict[str, Measured] = {}
        self.error: GaiaopsError | None = None
        self.bug: Exception | None = None
        self.end = 0.0

    def emit(self, check: str, measured: Measured) -> None:
        self.measured[check] = measured

    def run(self, done: queue.Queue[_Part]) -> None:
        try:
            with located(self.environment):
                self.work(self)
        except GaiaopsError as error:
            self.error = error
        except Exception as error:
            self.bug = error
        finally:
            done.put(self)

    def others(self) -> Iterable[Spec]:
        """The checks that come after whether the server is reachable, as long as there is time."""
        for spec in self.specs:
            if not spec.name.endswith("reachable"):
                if time.monotonic() > self.end:
                    self.emit(spec.name, Measured(unseen=f"the time for all checks was up ({_BUDGET_S:.0f} s)"))
                else:
                    yield spec

    def results(self) -> list[Result]:
        """All checks; those that were not made say why."""
        found = dict(self.measured)
        error = self.error
        if error is not None:
            why = error.message
            level = Verdict.OK if isinstance(error, UsageError) else Verdict.CRITICAL
            bad = level is not Verdict.OK
            lost = Measured(None, why if bad else "", _hint(error), "" if bad else why, level)
            found.update({spec.name: lost for spec in self.specs if spec.name.endswith("reachable")})
        missing = Measured(unseen=checks.UNREACHED if error else "not measured")
        return [
            checks.judged(self.environment, spec, found.get(spec.name, missing), self.replica) for spec in self.specs
        ]


def _hint(error: GaiaopsError) -> tuple[str, ...]:
    """An error's hint; none where it speaks of another command."""
    return (error.next_step(),) if error.hint and not isinstance(error, NoAnswerError) else ()


def run(registry: Registry, chosen: Sequence[Environment]) -> Report:
    """All checks of these environments and of the auth project that they share.

    Raises UsageError for a bad threshold; a server that cannot be reached is part of the report.
    """
    parts = _parts(registry, chosen)
    done: queue.Queue[_Part] = queue.Queue()
    connecting = max((_connecting(env) for env in chosen), default=probes.CONNECT_MS) / 1000
    end = time.monotonic() + connecting + _BUDGET_S
    for part in parts:
        part.end = end
        threading.Thread(target=part.run, args=(done,), daemon=True).start()
    waiting = set(parts)
    while waiting and (left := end + _PATIENCE_S - time.monotonic()) > 0:
        try:
            part = done.get(timeout=left)
        except queue.Empty:
            break
        if part.bug is not None:
            raise part.bug
        waiting.discard(part)
    for part in waiting:
        part.error = NoAnswerError("the server stopped answering", environment=part.environment)
    report = Report([result for part in parts for result in part.results()], [])
    for part in parts:
        # One environment's report is whole without a project that its user has no key for.
        shared = part.environment == SHARED and len(chosen) == 1 and isinstance(part.error, UsageError)
        if part.error is not None and not shared:
            report.errors.append(part.error)
    return report


def _connecting(env: Environment) -> int:
    """How long it may take until an environment's servers answer at all, in milliseconds."""
    connecting = min(env.timeouts.connect, probes.CONNECT_MS)
    databases = (way for one in env.databases for way in (one.tunnel, *(replica.tunnel for replica in one.replicas)))
    ways = [way for way in (env.redis_tunnel, *databases) if way is not None]
    return connecting + max((way.patience(env.timeouts.connect) for way in ways), default=0)


def _parts(registry: Registry, chosen: Sequence[Environment]) -> list[_Part]:
    parts = []
    timeout = registry.health.timeout
    for env in chosen:
        specs = limits.of_environment(registry, env)
        servers = [part for database in env.databases for part in _of_database(database, specs, timeout)]
        if env.redis is not None:
            mine = [spec for spec in specs if spec.server == "redis"]
            # Beside the environment's own PostgreSQL; shards have names of their own.
            servers.insert(
                len(servers) if env.shards else 1, _Part(env.name, mine, partial(_redis, env=env, timeout=timeout))
            )
        parts += servers
    if registry.supabase is not None:
        mine = [spec for spec in limits.of_environment(registry, None) if spec.server == "auth"]
        parts.append(_Part(SHARED, mine, partial(_auth, registry=registry)))
    return [part for part in parts if part.specs]


def _of_database(env: Environment, specs: Sequence[Spec], timeout: int) -> Iterator[_Part]:
    """A database, and each of its replicas."""
    mine = [spec for spec in specs if spec.server == "postgres"]
    primary: Future[Primary | None] = Future()
    yield _Part(env.name, mine, partial(_postgres, env=env, timeout=timeout, primary=primary))
    for number in range(1, len(env.replicas) + 1):
        work = partial(_replica, env=env, number=number, timeout=timeout, primary=primary)
        yield _Part(env.name, checks.on_replica(specs), work, number)


def _postgres(part: _Part, env: Environment, timeout: int, primary: Future[Primary | None]) -> None:
    try:
        with probes.probing(env.postgres_url(), env.timeouts, "health", statement_ms=timeout) as probe:
            part.emit("reachable", postgres.reachable(probe))
            if env.replicas:
                primary.set_result(replicas.primary_of(probe))
            _measure(part, postgres.Look(probe).measure)
    finally:
        if not primary.done():
            primary.set_result(None)


def _replica(part: _Part, env: Environment, number: int, timeout: int, primary: Future[Primary | None]) -> None:
    url = env.from_replica(number).postgres_url()
    with probes.probing(url, env.timeouts, "health", statement_ms=timeout) as probe:
        part.emit("reachable", postgres.reachable(probe))
        look = postgres.Look(probe)

        def measure(check: str) -> Measured:
            if check != "replica":
                return look.measure(check)
            state = replicas.examine(probe, State(number, url.address), env, primary)
            return postgres.replica(state, env, compared=replicas.heard(primary) is not None)

        _measure(part, measure)


def _measure(part: _Part, measure: Callable[[str], Measured]) -> None:
    """All checks but the first; one that fails takes nothing else with it."""
    for spec in part.others():
        try:
            measured = measure(spec.name)
        except GaiaopsError as error:
            if probes.is_gone(error):
                raise
            measured = Measured(unseen=probes.unseen(error))
        part.emit(spec.name, measured)


def _redis(part: _Part, env: Environment, timeout: int) -> None:
    url = env.redis_url()
    if url is None:
        return
    with cache_connect.connect(url, probes.bounded(env.timeouts, timeout)) as client:
        seen = vitals(client)
    part.emit("redis-reachable", redis.reachable(seen.latency_ms, seen.info))
    for spec in part.others():
        part.emit(spec.name, Measured(unseen=seen.unseen) if seen.unseen else redis.measure(spec.name, seen.info))


def _auth(part: _Part, registry: Registry) -> None:
    project = registry.supabase
    if project is None:
        return
    bound = min(registry.environments[0].timeouts.connect, probes.CONNECT_MS)
    timeouts = Timeouts(connect=bound, statement=bound)
    url, key = project.url.get(), project.service_key.get()
    latency, version = api.health(url, key, timeouts)
    part.emit("auth-reachable", Measured(latency, f"Supabase Auth {version}".rstrip()))
    for spec in part.others():
        try:
            api.check(url, key, timeouts)
        except GaiaopsError as error:
            part.emit(spec.name, Measured(1.0, error.message, _hint(error)))
        else:
            part.emit(spec.name, Measured(0.0, "the service key was accepted"))
