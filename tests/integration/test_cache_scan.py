"""A Redis whose INFO is not allowed is still counted."""

from __future__ import annotations

import redis

from gaiaops.cache import scan
from gaiaops.sandbox.layout import State
from tests.conftest import Sandbox


def test_without_info_the_keys_are_still_counted(sandbox: Sandbox) -> None:
    state: State = sandbox.state
    with redis.Redis.from_url(state.redis_url("staging")) as client:
        whole = scan.summary(client)
        assert whole.version is not None and whole.memory is not None and whole.memory > 0
        client.execute_command("ACL", "SETUSER", "noinfo", "on", ">pw", "~*", "+@all", "-info")
        try:
            limited = redis.Redis("127.0.0.1", state.redis_ports["staging"], username="noinfo", password="pw")
            with limited:
                found = scan.summary(limited)
            assert (found.version, found.memory) == (None, None)
            assert 0 < found.keys <= whole.keys
        finally:
            client.execute_command("ACL", "DELUSER", "noinfo")
