"""An environment that has no Redis: a clean-up of it comes to its end like any other."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.conftest import Command

ENVIRONMENTS = """
[environments.dev]
tag = "dev"
postgres = "{url}"
[environments.local]
tag = "local"
postgres = "postgresql://nowhere.invalid/x"
"""
# A Redis that no key of a user is kept in is as good as none.
REDIS = 'redis = "redis://nowhere.invalid:1/0"\n'
NO_KEYS = "[cache]\nuser_keys = []\n"


@pytest.mark.parametrize("redis", ["", REDIS], ids=["no Redis", "no user_keys"])
def test_the_run_is_done_and_the_next_one_takes_new_users(
    fresh_url: str, gaiaops: Command, tmp_path: Path, redis: str
) -> None:
    registry = tmp_path / "environments.toml"
    text = ENVIRONMENTS.format(url=fresh_url).replace(
        "[environments.local]", f"{redis}[environments.local]"
    ) + NO_KEYS * bool(redis)
    registry.write_text(text, encoding="utf-8")
    command = ("cleanup", "dev", "--confirm", "dev", "--max-users", "500")
    with psycopg.connect(fresh_url, autocommit=True) as connection:
        for address in ("one+local@example.com", "two+local@example.com"):
            connection.execute("INSERT INTO users (email) VALUES (%s)", (address,))
            assert gaiaops(*command, registry=registry).code == 0
            left = connection.execute("SELECT count(*) FROM users WHERE email = %s", (address,)).fetchone()
            assert left == (0,), address
    listed = gaiaops("runs", registry=registry).out
    assert "unfinished" not in listed
    assert listed.count("done") == 2
