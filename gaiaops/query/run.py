"""One environment: statements in a guarded transaction, or in one that writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from gaiaops.errors import LostServerError, NoAnswerError, StatementError, located
from gaiaops.postgres import session as pg
from gaiaops.postgres.changes import assigned, became
from gaiaops.postgres.identity import check_only_name, check_pin
from gaiaops.postgres.stream import Result
from gaiaops.postgres.wire import Wire
from gaiaops.query.statements import Script
from gaiaops.registry.model import Environment, Registry
from gaiaops.registry.urls import Url

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
        script.refuse_here(session.server)
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

    def __init__(self, session: pg.Session, url: Url, script: Script, wire: Wire) -> None:
        self._session = session
        self._url = url
        # Who the server is, should it have to be asked what became of a commit; where it could tell.
        self._who: tuple[str, ...] = session.fetch(pg.WHO)[0] if session.server.plain else ()
        who = self._who
        self.identity = (who[0], who[1]) if who else session.identity()  # (system identifier, database)
        self.results = (session.run(request) for request in script.requests(wire, write=True))

    def commit(self) -> str:
        """Commits, and gives what there is to say about it. Where the answer is lost the server is asked again.

        Raises StatementError where nothing was committed; LostServerError or NoAnswerError where nobody knows.
        """
        xid = assigned(self._session) if self._who else ""
        try:
            self._session.commit()
        except (LostServerError, NoAnswerError) as error:
            self._session.connection.close()
            outcome = became(self._url, self._session.timeouts, xid, self._who) if self._who else ""
            if outcome == "committed":
                return f"the answer to COMMIT was lost; asked again, the server says that it was committed ({error})"
            if outcome == "aborted":
                raise StatementError(f"{error.message}; it was not committed", hint="run it again") from None
            error.hint = "if it was lost during COMMIT the change may have been made: look before you repeat it"
            raise
        return ""


@contextmanager
def write(
    registry: Registry, env: Environment, script: Script, wire: Wire, statement_ms: int | None
) -> Iterator[Writing]:
    """Opens one writing transaction after checking what is behind the name.

    Raises RefusedError where a pin does not match or another environment has the same database.
    """
    check_only_name(registry, env)
    timeouts = pg.environment_timeouts(env, statement_ms)
    with located(env.name):
        url = env.postgres_url()
    with located(env.name), pg.writing(url, timeouts, COMMAND) as session:
        if session.pooled:
            script.refuse_leaks(write=True)
        writing = Writing(session, url, script, wire)
        check_pin(env, writing.identity)
        yield writing
