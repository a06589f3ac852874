"""Opens a Redis: bounded, and with failures told apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from gaiaops.cache.failures import failure
from gaiaops.cache.tunnel import through_tunnel
from gaiaops.errors import UsageError
from gaiaops.registry import trust
from gaiaops.registry.model import Timeouts
from gaiaops.registry.urls import Url
from gaiaops.tunnels import through

if TYPE_CHECKING:
    from redis import Redis

_FALSE = ("0", "false", "no", "n", "")
_SWITCHES = ("ssl_check_hostname", "ssl_validate_ocsp", "ssl_validate_ocsp_stapled")


@contextmanager
def connect(url: Url, timeouts: Timeouts) -> Iterator[Redis]:
    """A client for one Redis, closed at the end.

    Raises ConnectError where it cannot be reached or lets nobody in, LostServerError where it let us in and then the
    connection broke, DeadlineError and StatementError for a command that fails.
    """
    import redis

    with through(url, timeouts) as place:
        greeting = _Greeting(timeouts.connect / 1000 or None)
        client = redis.Redis(**{**_arguments(url, timeouts), "redis_connect_func": greeting})
        if place is not None:
            client.connection_pool.connection_class = through_tunnel(place, tls=url.scheme == "rediss")
        trust.tell_redis(url)
        try:
            yield client
        except redis.RedisError as error:
            raise failure(error, url, timeouts, greeted=greeting.done) from None
        finally:
            client.close()


def database_of(url: Url) -> int:
    """The number of the database in a connection string. Raises UsageError where it is none."""
    text = dict(url.options).get("db") or ("" if url.scheme == "unix" else url.database) or "0"
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f'"{text}" is no database of Redis: they have numbers ({url.masked()})', hint="end it with /0")
    return int(text)


def _arguments(url: Url, timeouts: Timeouts) -> dict[str, Any]:
    """redis.Redis arguments; the parts are handed over one by one, so that any password works."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    arguments: dict[str, Any] = {
        "username": url.user,
        "password": url.password,
        "db": database_of(url),
        "socket_connect_timeout": timeouts.connect / 1000,
        "socket_timeout": timeouts.statement / 1000 or None,
        # One more try, for a connection that was closed while it idled; the library's default goes on for seconds.
        # Not for silence: that would wait twice as long.
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        "protocol": 2,  # RESP3 came with Redis 6 and not with every stand-in
    }
    if url.scheme == "unix" and url.tunnel is None:
        return {**arguments, "unix_socket_path": url.path}
    arguments |= {"host": url.host or "localhost", "port": int(url.port or 6379)}
    if url.scheme == "rediss":
        options = {k: v for k, v in url.options if k.startswith("ssl_")}
        switches = {k: v.lower() not in _FALSE for k, v in options.items() if k in _SWITCHES}
        # Older releases of redis-py did not check the name by default.
        arguments |= {"ssl": True, "ssl_check_hostname": True, **options, **switches}
        if arguments.get("ssl_cert_reqs") == "none":
            arguments["ssl_check_hostname"] = False
    return arguments


class _Greeting:
    """Logs in and selects the database, then says who this is: a user who may not is none the worse.

    Whoever answers there is waited for no longer than for a connection. `done` tells whether anybody has let us in.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self.done = False

    def __call__(self, connection: Any) -> None:
        import redis

        patience, near = connection.socket_timeout, connection._sock  # redis-py has no name for it that is public
        near.settimeout(self._seconds)
        try:
            connection.on_connect()
            with suppress(redis.ResponseError):
                connection.send_command("CLIENT", "SETNAME", "gaiaops")
                connection.read_response()
        except redis.TimeoutError:
            raise redis.TimeoutError("Timeout of the greeting") from None
        near.settimeout(patience)
        self.done = True


def preload() -> None:
    """Imports the driver now, so that a measured connection does not pay for it."""
    import redis  # noqa: F401
