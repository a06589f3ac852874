"""Opens a Redis: bounded, and with failures told apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gaiaops.errors import ConnectError, DeadlineError, StatementError
from gaiaops.registry.durations import show_duration
from gaiaops.registry.model import Timeouts
from gaiaops.registry.urls import Url

if TYPE_CHECKING:
    from redis import Redis

_HINT = "is the server up, or a tunnel needed?"


@contextmanager
def connect(url: Url, timeouts: Timeouts) -> Iterator[Redis]:
    """A client for one Redis, closed at the end.

    Raises ConnectError where it cannot be reached or lets nobody in, DeadlineError and StatementError for a
    command that fails.
    """
    import redis

    where = url.address
    client = redis.Redis(**_arguments(url, timeouts))
    try:
        yield client
    except redis.AuthenticationError:
        raise ConnectError(f"Redis refused the password ({where})", hint="check it: gaiaops envs ENV") from None
    except redis.BusyLoadingError:
        raise ConnectError(f"Redis is loading its data ({where})", hint="try again in a moment") from None
    except redis.TimeoutError:
        waited = show_duration(timeouts.connect)
        raise DeadlineError(f"no answer from Redis within {waited} ({where})", hint=_HINT) from None
    except redis.ConnectionError as error:
        raise ConnectError(f"Redis: {_reason(error)} ({where})", hint=_HINT) from None
    except redis.RedisError as error:
        raise StatementError(f"Redis: {error} ({where})") from None
    finally:
        client.close()


def _arguments(url: Url, timeouts: Timeouts) -> dict[str, Any]:
    """redis.Redis arguments; the parts are handed over one by one, so that any password works."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    arguments: dict[str, Any] = {
        "username": url.user,
        "password": url.password,
        "socket_connect_timeout": timeouts.connect / 1000,
        "socket_timeout": timeouts.statement / 1000 or None,
        "client_name": "gaiaops",
        # One more try, for a connection that was closed while it idled; the library's default goes on for seconds.
        "retry": Retry(NoBackoff(), 1),
        "protocol": 2,  # RESP3 came with Redis 6 and not with every stand-in
    }
    if url.scheme == "unix":
        return {**arguments, "unix_socket_path": url.path, "db": int(dict(url.options).get("db", 0))}
    arguments |= {"host": url.host or "localhost", "port": int(url.port or 6379), "db": int(url.database or 0)}
    if url.scheme == "rediss":
        arguments |= {"ssl": True, **{k: v for k, v in url.options if k.startswith("ssl_")}}
    return arguments


def _reason(error: Exception) -> str:
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "No route to host", "reset by peer"):
        if known in text:
            return known.lower()
    return text.splitlines()[0] if text else type(error).__name__


def preload() -> None:
    """Imports the driver now, so that a measured connection does not pay for it."""
    import redis  # noqa: F401
