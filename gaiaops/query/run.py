"""One environment: statements in a guarded transaction, or in one that writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from gaiaops.errors import LostServerError, located
from gaiaops.postgres import session as pg
from gaiaops.postgres.stream import Result
from gaiaops.postgres.wire import Wire
from gaiaops.query.statements import Script
from gaiaops.registry.model import Environment, Registry

COMMAND = "query"


class Reading(msgspec.Struct, frozen=True):
    """An open guarded transaction: the results, one after the other, and what the user should know."""

    results: Iterator[Result]
    warning: str
    cancel: Callable[[], None]  # from any thread: ends what is running on the server


@contextmanager
def read(env: Environment, script: Script, wire: Wire, statement_ms: int | None) -> Iterator[Reading]:
    """Opens the guard and yields the results; each must be read before the next is asked for.

    Raises the error tree's errors, with the environment's name.
    """
    timeouts = pg.environment_timeouts(env, statement_ms)
    with located(env.name):
        script.refuse_writes(protected=env.protected)
        url = env.postgres_url()
    with located(env.name), pg.reading(url, timeouts, COMMAND) as session:
        if session.pooled:
            script.refuse_leaks(write=False)
        warning = ""
        if env.protected and session.superuser:
            warning = (
                f'role "{session.role}" is a superuser: what acts outside the read-only transaction is refused '
                "by name only"
            )
        yield Reading((session.run(request) for request in script.requests(wire)), warning, session.cancel)


class Writing:
    """An open writing transaction: run the results, then commit; leaving it otherwise rolls back."""

    def __init__(self, session: pg.Session, script: Script, wire: Wire) -> None:
        self._session = session
        self.identity = session.identity()  # (system identifier, database)
        self.results = (session.run(request) for request in script.requests(wire, write=True))

    def commit(self) -> None:
        """Commits. Raises LostServerError where the answer was lost: then it may have been committed."""
        try:
            self._session.commit()
        except LostServerError as error:
            error.hint = "if it was lost during COMMIT the change may have been made: look before you repeat it"
            raise


@contextmanager
def write(
    registry: Registry, env: Environment, script: Script, wire: Wire, statement_ms: int | None
) -> Iterator[Writing]:
    """Opens one writing transaction after checking what is behind the name.

    Raises RefusedError where a pin does not match or another environment has the same database.
    """
    pg.check_only_name(registry, env)
    timeouts = pg.environment_timeouts(env, statement_ms)
    with located(env.name), pg.writing(env.postgres_url(), timeouts, COMMAND) as session:
        if session.pooled:
            script.refuse_leaks(write=True)
        writing = Writing(session, script, wire)
        pg.check_pin(env, writing.identity)
        yield writing
