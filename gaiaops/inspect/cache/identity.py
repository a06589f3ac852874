"""Whether a name leads to a Redis of its own: a wrong line in the registry must not clear another one's cache."""

from __future__ import annotations

import threading
from contextlib import suppress

import msgspec

from gaiaops.cache import server as servers
from gaiaops.cache.connect import connect, database_of
from gaiaops.cache.lane import Lane
from gaiaops.cache.server import Server
from gaiaops.errors import RefusedError, StatementError, UsageError
from gaiaops.registry.model import Environment, Registry, Timeouts
from gaiaops.registry.urls import Url

_PATIENCE_MS = 2_000


class Identity(msgspec.Struct, frozen=True):
    """A database of a server: its start's id (None where INFO is not allowed) and its number."""

    run_id: str | None
    address: str
    database: int

    @property
    def text(self) -> str:
        """What the trail calls it."""
        return f"{self.run_id or self.address}/{self.database}"

    def is_other(self, later: Identity) -> bool:
        return (self.run_id, self.database) != (later.run_id, later.database)


def of(server: Server, url: Url) -> Identity:
    return Identity(server.run_id, url.address, database_of(url))


class Namesakes:
    """Asks the other environments' Redis who they are, in the background. One that does not answer soon says nothing;
    its address is compared all the same."""

    def __init__(self, registry: Registry, env: Environment) -> None:
        self._env = env
        self._others: list[tuple[Environment, Url]] = []
        for other in registry.environments:
            with suppress(UsageError):  # its secret is missing: nothing to compare with
                url = other.redis_url() if other.name != env.name else None
                if url is not None:
                    self._others.append((other, url))
        self._found: dict[str, str | None] = {}
        self._places: dict[str, frozenset[tuple[str, str, int]]] = {}
        self._threads = [threading.Thread(target=self._ask, args=one, daemon=True) for one in self._others]
        for thread in self._threads:
            thread.start()

    def check(self, mine: Identity, url: Url) -> None:
        """Raises RefusedError where another name leads to the same database of the same server."""
        here = servers.places(url)
        for thread in self._threads:
            thread.join(2 * _PATIENCE_MS / 1000)
        for other, theirs in self._others:
            same_database = database_of(theirs) == mine.database
            same_server = mine.run_id is not None and self._found.get(other.name) == mine.run_id
            if (same_database and same_server) or here & self._places.get(other.name, frozenset()):
                raise RefusedError(
                    f"{other.name} is the same Redis ({url.address}/{mine.database}): one of the names is wrong",
                    hint=f"compare gaiaops envs {self._env.name} and gaiaops envs {other.name}",
                    environment=self._env.name,
                )

    def _ask(self, env: Environment, url: Url) -> None:
        with suppress(Exception):
            self._places[env.name] = servers.places(url)
        timeouts = Timeouts(connect=_PATIENCE_MS, statement=_PATIENCE_MS)
        with suppress(Exception), connect(url, timeouts) as client:
            self._found[env.name] = servers.read(Lane(client)).run_id


def check_writable(env: Environment, server: Server) -> None:
    """Raises StatementError where the server cannot take the change, before anybody is asked about it."""
    if server.replica:
        primary = f": its primary is {server.primary}" if server.primary else ""
        raise StatementError(
            "Redis is a replica and refuses writes",
            hint=f"put its primary into the registry{primary} (environments.{env.name}.redis)",
            environment=env.name,
        )
    if server.cluster:
        raise StatementError(
            "the server is a node of a cluster, which gaiaops does not speak",
            hint="redis-cli -c -h HOST UNLINK KEY",
            environment=env.name,
        )
