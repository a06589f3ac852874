"""What the driver and the servers say, and what people read."""

from __future__ import annotations

import pytest
import redis

from gaiaops.cache.failures import failure, needed, refuses_key
from gaiaops.errors import ExitCode
from gaiaops.registry.model import Timeouts
from gaiaops.registry.urls import REDIS_SCHEMES, parse_url

URL = parse_url("redis://ops:s3cret@cache:6379/0", REDIS_SCHEMES)
CONNECT, FAILED = ExitCode.CONNECT, ExitCode.FAILED
CASES = [
    (redis.AuthenticationError("WRONGPASS invalid username-password pair or user is disabled."), CONNECT,
     'Redis refused the password of the user "ops"'),
    (redis.AuthenticationError("invalid username-password pair or user is disabled."), CONNECT, "refused the password"),
    (redis.AuthenticationError("Authentication required."), CONNECT, "asks for a password"),
    (redis.ResponseError("NOAUTH Authentication required."), CONNECT, "asks for a password"),
    (redis.BusyLoadingError("Redis is loading the dataset in memory"), CONNECT, "is loading its data"),
    (redis.ResponseError("LOADING Redis is loading the dataset in memory"), CONNECT, "is loading its data"),
    (redis.ConnectionError("Error -2 connecting to cache:6379. Name or service not known."), CONNECT, "unknown host"),
    (redis.ConnectionError("Error 111 connecting to cache:6379. Connection refused."), CONNECT, "connection refused"),
    (redis.ConnectionError("Error 113 connecting to cache:6379. No route to host."), CONNECT, "no route to host"),
    (redis.ConnectionError("max number of clients reached"), CONNECT, "maxclients"),
    (redis.ResponseError("DENIED Redis is running in protected mode because protected mode is enabled"), CONNECT,
     "protected mode"),
    (redis.exceptions.InvalidResponse("Protocol error, got \"H\" as reply type byte"), CONNECT, "is no Redis"),
    (redis.ResponseError("READONLY You can't write against a read only replica."), FAILED, "replica"),
    (redis.ResponseError("MOVED 3999 127.0.0.1:6381"), FAILED, "cluster"),
    (redis.ResponseError("CLUSTERDOWN Hash slot not served"), FAILED, "cluster"),
    (redis.ResponseError("MASTERDOWN Link with MASTER is down"), FAILED, "lost its primary"),
    (redis.ResponseError("MISCONF Redis is configured to save RDB snapshots, but"), FAILED, "cannot save"),
    (redis.ResponseError("NOPERM this user has no permissions to run the 'scan' command or its subcommand"), FAILED,
     'the user "ops" needs +scan'),
    (redis.ResponseError("NOPERM User ops has no permissions to run the 'memory|usage' command"), FAILED,
     "needs +memory|usage"),
    (redis.exceptions.ReadOnlyError("You can't write against a read only replica."), FAILED, "replica"),
    (redis.exceptions.NoPermissionError("No permissions to access a key"), FAILED, "needs access to the key"),
    (redis.exceptions.MasterDownError("Link with MASTER is down"), FAILED, "lost its primary"),
    (redis.ResponseError("NOPERM No permissions to access a key"), FAILED, "needs access to the key"),
    (redis.TimeoutError("Timeout connecting to server"), ExitCode.TIMEOUT, "no answer from Redis within 5s"),
    (redis.TimeoutError("Timeout reading from socket"), ExitCode.TIMEOUT, "no answer from Redis within 2min"),
    (redis.ConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired"),
     CONNECT, "has expired"),
    (redis.ConnectionError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), CONNECT, "does not speak TLS"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "code", "said"), CASES)
def test_each_has_its_line(error: Exception, code: int, said: str) -> None:
    found = failure(error, URL, Timeouts())
    assert found.code == code
    assert said in found.message
    assert "cache:6379" in found.message and "s3cret" not in found.message + found.hint
    assert "\n" not in found.message


def test_refusals_of_keys_are_told_from_refusals_of_commands() -> None:
    old, new = (
        "NOPERM this user has no permissions to access one of the keys used as arguments",
        "NOPERM No permissions to access a key",
    )
    assert refuses_key(old) and refuses_key(new)
    assert not refuses_key("NOPERM this user has no permissions to run the 'keys' command or its subcommand")
    assert needed("WRONGTYPE Operation against a key", "get") == ""
