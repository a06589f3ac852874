"""What the registry says of shards: each is an environment within its environment, and every mistake is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaiaops import registry
from gaiaops.errors import UsageError

TWO = 'shards = ["postgresql://u:p@a/d", "postgresql://u:p@b/d"]\n'
BAD = {
    "postgres too": ('postgres = "postgresql://c/d"\n' + TWO, "postgres: there are shards: list this database among"),
    "neither": ("", "environments.dev.postgres: missing"),
    "none": ("shards = []", "environments.dev.postgres: missing"),
    "a name twice": (
        'shards = [{ name = "2", url = "postgresql://a/d" }, "postgresql://b/d"]',
        'shards[1].name: "2" is used twice',
    ),
    "a bad name": ('shards = [{ name = "a/b", url = "postgresql://a/d" }]', 'shards[0].name: "a/b" cannot be a shard'),
    "an empty name": ('shards = [{ name = "", url = "postgresql://a/d" }]', 'shards[0].name: "" cannot be a shard'),
    "one database twice": (
        'shards = ["postgresql://a/d", "postgresql://u@A:5432/d"]',
        "shards[1]: the same database as environments.dev.shards[0]",
    ),
    "a replica that is another shard": (
        'shards = ["postgresql://a/d", { url = "postgresql://b/d", replicas = ["postgresql://a/d"] }]',
        "shards[1].replicas[0]: the same database as environments.dev.shards[0]",
    ),
    "an unknown key": ('shards = [{ url = "postgresql://a/d", redis = "redis://r" }]', "shards[0].redis: unknown key"),
    "no url": ('shards = [{ name = "eu" }]', "shards[0].url: missing"),
    "a malformed one": ('shards = [{ url = "a:5432" }]', "shards[0].url: malformed URL"),
    "an empty one": ('shards = [""]', "shards[0]: empty"),
    "an empty command": ("shards = [{ command = [] }]", "shards[0]: command is empty"),
    "replicas of the whole": (TWO + 'replicas = ["postgresql://r/d"]', "replicas: replicas belong to a shard"),
    "a pin of the whole": (TWO + 'pin = { database = "d" }', "pin: a pin belongs to a shard"),
    "read_from without replicas": (TWO + 'read_from = "replica"', "read_from: there are no replicas to read from"),
    "a tunnel to one server": (
        TWO + 'tunnel = { fly = "gaia-db-dev" }',
        "shards[0]: the environment's tunnel (fly gaia-db-dev) leads to its primary only",
    ),
    "tunnel = true": ('shards = [{ url = "postgresql://a/d", tunnel = true }]', "shards[0].tunnel: must be a table"),
}
WHOLE = """
aliases = ["d"]
tag = "dev"
protected = true
redis = "redis://r:6379/0"
read_from = "replica"
tunnel = { ssh = "gate" }
redis_tunnel = { fly = "gaia-redis-dev" }
pooler = "session"
timeouts = { statement = "7s" }
shards = [
    { name = "eu", url = "postgresql://u:p@a/d", pin = { database = "d" }, replicas = ["postgresql://u:p@ra/d"] },
    { url = "postgresql://u:p@b/d", tunnel = { ssh = "other" } },
    { name = "us", url = "postgresql://u:p@c/d", tunnel = false },
]
"""


def load(folder: Path, text: str) -> registry.Registry:
    file = folder / "environments.toml"
    file.write_text(f"[environments.dev]\n{text}\n", encoding="utf-8")
    return registry.load(str(file))


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line_with_its_key(name: str, tmp_path: Path) -> None:
    text, reason = BAD[name]
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert reason in message and "\n" not in message
    assert message.startswith("environments.toml: environments.dev")


def test_a_shard_is_the_environment_without_its_redis(tmp_path: Path) -> None:
    dev = load(tmp_path, WHOLE).environments[0]
    eu, second, _ = dev.databases
    assert [shard.name for shard in dev.shards] == ["dev/eu", "dev/2", "dev/us"]
    assert (dev.whole, dev.shard, eu.whole, eu.shard) == ("dev", "", "dev", "eu")
    assert dev.redis is not None and dev.redis_tunnel is not None
    for shard in dev.shards:
        assert shard.protected and shard.tag == "dev" and shard.pooler == "session" and shard.timeouts.statement == 7000
        assert shard.redis is None and shard.redis_tunnel is None and not shard.aliases and not shard.shards
        assert shard.postgres_url().protected == shard.name
    assert [shard.postgres_url().server for shard in dev.shards] == ["a", "b", "c"]
    assert [shard.tunnel.label if shard.tunnel else None for shard in dev.shards] == ["ssh gate", "ssh other", None]
    assert (eu.pin.database, second.pin.database) == ("d", None)
    assert (eu.read_from, second.read_from) == ("replica", "primary")
    assert eu.from_replica(1).postgres_url().server == "ra"


def test_a_shard_is_found_by_its_name(tmp_path: Path) -> None:
    found = load(tmp_path, WHOLE)
    assert found.environment("dev").name == "dev"
    assert found.environment("dev/eu") is found.environment("d/eu") is found.environments[0].shards[0]
    assert [database.name for database in found.databases] == ["dev/eu", "dev/2", "dev/us"]
    for wrong in ("dev/", "dev/euu", "dev/eu/", "/eu", "eu", "dev/eu/us"):
        with pytest.raises(UsageError, match=f'unknown environment "{wrong}"'):
            found.environment(wrong)
    with pytest.raises(UsageError) as caught:
        found.environment("dev/euu")
    assert 'did you mean "dev/eu"?' in caught.value.hint


def test_the_whole_is_no_database(tmp_path: Path) -> None:
    dev = load(tmp_path, WHOLE).environments[0]
    with pytest.raises(UsageError) as caught:
        dev.postgres_url()
    assert caught.value.message == "dev has 3 shards, and this is about one database"
    assert caught.value.hint == "name one of them: dev/eu, dev/2, dev/us"


def test_a_shards_secret_is_hidden(tmp_path: Path) -> None:
    from gaiaops.registry import redact

    text = """shards = ["postgresql://u:hidden@a/d",
        { url = "postgresql://b/d", replicas = ["postgresql://u:deep@r/d"] }]"""
    assert redact.secrets(load(tmp_path, text), {}) == {"hidden", "deep"}
