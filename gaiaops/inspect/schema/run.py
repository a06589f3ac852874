"""Reads the schemas of environments: one thread a server, each in a snapshot of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from gaiaops import threads
from gaiaops.errors import GaiaopsError, UsageError, did_you_mean
from gaiaops.inspect.schema.declared import Relation, Verdict, judge, schemas_of
from gaiaops.postgres import queries, schema_read
from gaiaops.postgres.probe import Probe, probing
from gaiaops.postgres.schema_object import QUESTIONS, SchemaRead
from gaiaops.registry.model import Environment, TableGroup

_STATEMENT_MS = 120_000  # where the environment has no bound
Choose = Callable[[Environment], Environment]


class Verified(msgspec.Struct, frozen=True):
    """One environment against the registry; the error stands where it could not be read."""

    environment: str
    verdict: Verdict | None
    error: GaiaopsError | None
    seconds: float


class _Probes:
    """The open probes, so that Ctrl-C ends what they ask; `choose` gives an environment as it is to be read."""

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self._open: list[Probe] = []

    @contextmanager
    def on(self, env: Environment, statement_ms: int | None) -> Iterator[Probe]:
        bound = statement_ms or env.timeouts.statement or _STATEMENT_MS
        timeouts = msgspec.structs.replace(env.timeouts, statement=bound)
        with probing(self._choose(env).postgres_url(), timeouts, "schema", statement_ms=bound) as probe:
            self._open.append(probe)
            try:
                yield probe
            finally:
                self._open.remove(probe)

    @contextmanager
    def cancelled_on_exit(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            threads.each(list(self._open), Probe.cancel)
            raise


def questions(kinds: Collection[str]) -> frozenset[str]:
    """The questions that these kinds need (all where none is named): their tables and domains among them."""
    if not kinds:
        return frozenset(QUESTIONS)
    return frozenset(name for name, given in QUESTIONS.items() if {*given} & {*kinds}) | {
        "schemas",
        "relations",
        "types",
    }


def read_both(
    both: Sequence[Environment],
    schemas: Sequence[str],
    kinds: Collection[str],
    statement_ms: int | None,
    choose: Choose = lambda env: env,
) -> list[SchemaRead | GaiaopsError]:
    """Both sides' schemas, or why one could not be connected to. Raises UsageError for a schema that neither has."""
    probes = _Probes(choose)

    def read(env: Environment) -> tuple[str, SchemaRead | GaiaopsError]:
        try:
            with probes.on(env, statement_ms) as probe:
                identity = schema_read.identity(probe)
                side = schema_read.read(probe, env.name, schemas, questions(kinds))
            return env.name, msgspec.structs.replace(side, identity=identity)
        except GaiaopsError as error:
            error.environment = env.name
            return env.name, error

    with probes.cancelled_on_exit():
        found = dict(threads.as_completed(both, read))
    sides = [found[env.name] for env in both]
    _check_schemas(schemas, [side for side in sides if isinstance(side, SchemaRead)])
    return sides


def _check_schemas(schemas: Sequence[str], sides: Sequence[SchemaRead]) -> None:
    """A name that is spelled wrong must not look like two schemas that agree."""
    if len(sides) < 2 or any("schemas" in side.unread for side in sides):
        return
    known = {one.name.strip('"').replace('""', '"') for side in sides for one in side.objects if one.kind == "schema"}
    for name in schemas:
        if name not in known:
            where = " and ".join(side.environment for side in sides)
            raise UsageError(
                f'no schema "{name}" in {where}', hint='gaiaops query all "SELECT nspname FROM pg_namespace"'
            )


def check_tables(tables: Sequence[str], sides: Sequence[SchemaRead]) -> None:
    """Raises UsageError for a table (or view, or domain) that neither side has."""
    if any("relations" in side.unread for side in sides):
        return
    known = {name for side in sides for one in side.objects for name in _spellings(one.owner or one.name)}
    for name in tables:
        if name.replace('"', "") not in known:
            where = " nor ".join(side.environment for side in sides)
            hint = did_you_mean(name, known) or "or in another schema?"
            raise UsageError(f'no table "{name}" in {where}', hint=hint)


def _spellings(name: str) -> tuple[str, str]:
    plain = name.replace('"', "")
    return plain, plain.partition(".")[2]


def verify(
    chosen: Sequence[Environment],
    groups: Sequence[TableGroup],
    statement_ms: int | None,
    choose: Choose = lambda env: env,
) -> Iterator[Verified]:
    """Every environment against the groups, as they answer; never raises for one that does not."""
    probes = _Probes(choose)

    def read(env: Environment) -> Verified:
        began = time.perf_counter()
        verdict, failure = None, None
        try:
            with probes.on(env, statement_ms) as probe:
                path, role, tables = probe.ask(queries.load("schema_tables"))[0]
            verdict = judge(groups, [Relation(*one) for one in tables], schemas_of(path, role))
        except GaiaopsError as error:
            error.environment = env.name
            failure = error
        return Verified(env.name, verdict, failure, time.perf_counter() - began)

    with probes.cancelled_on_exit():
        yield from threads.as_completed(chosen, read)
