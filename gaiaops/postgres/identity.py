"""Whether the right database is behind a name: what the registry pins, and no other name for the same one."""

from __future__ import annotations

import threading
from contextlib import suppress

import msgspec

from gaiaops.errors import RefusedError, UsageError
from gaiaops.postgres.connect import connect
from gaiaops.postgres.session import WHO, Session
from gaiaops.registry.model import Environment, Registry, Timeouts


def check_pin(env: Environment, identity: tuple[str, str]) -> None:
    """Raises RefusedError where the server is not the one the registry pins."""
    for what, wanted, found in (
        ("system_identifier", env.pin.system_identifier, identity[0]),
        ("database", env.pin.database, identity[1]),
    ):
        if wanted is not None and wanted != found:
            raise RefusedError(
                f"wrong database behind the name: {what} is {found}, the registry pins {wanted}",
                hint=f"gaiaops envs {env.name} shows where the connection string comes from",
                environment=env.name,
            )


def check_only_name(registry: Registry, env: Environment) -> None:
    """Raises RefusedError where another name of the registry has the same connection string."""
    mine = env.postgres_url()
    for other in registry.databases:
        try:
            theirs = other.postgres_url() if other != env else None
        except UsageError:  # its secret is missing: nothing to compare with
            continue
        if theirs and (theirs.address, theirs.database) == (mine.address, mine.database):
            raise same_database(env, other, f"{mine.address}/{mine.database}")


class Namesakes:
    """Asks every database of the registry who it is, in the background: one that is the same database under
    another spelling of its host must not be taken for another one. One that does not answer soon says nothing.
    """

    _PATIENCE_MS = 2_000

    def __init__(self, registry: Registry, env: Environment) -> None:
        self._env = env
        self._found: dict[str, tuple[str, ...]] = {}
        self._others = [other for other in registry.databases if other.name != env.name]
        self._threads = [threading.Thread(target=self._ask, args=(one,), daemon=True) for one in (env, *self._others)]
        for thread in self._threads:
            thread.start()

    def check(self, session: Session | None = None) -> None:
        """Raises RefusedError where another name leads to the environment's database. Who that is, is asked of an open
        session where there is one: it may have the only connection of a pool."""
        for thread in self._threads[session is not None :]:
            thread.join(2 * self._PATIENCE_MS / 1000)
        mine = session.fetch(WHO)[0] if session else self._found.get(self._env.name)
        for other in self._others:
            if mine is not None and self._found.get(other.name) == mine:
                raise same_database(self._env, other, "/".join(mine[:2]))

    def _ask(self, env: Environment) -> None:
        patience = self._PATIENCE_MS
        timeouts = Timeouts(connect=patience, statement=patience, lock=patience, idle=patience)
        with suppress(Exception):
            # Nobody asked for this connection, so it warns of nothing.
            url = msgspec.structs.replace(env.postgres_url(), protected="")
            with connect(url, timeouts, "identity") as connection:
                self._found[env.name] = Session(connection, timeouts).fetch(WHO)[0]


def same_database(env: Environment, other: Environment, database: str) -> RefusedError:
    """The error for two names of one database."""
    return RefusedError(
        f"{other.name} is the same database ({database}): one of the names is wrong",
        hint=f"compare gaiaops envs {env.name} and gaiaops envs {other.name}",
        environment=env.name,
    )
