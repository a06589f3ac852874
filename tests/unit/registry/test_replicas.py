"""What the registry says of replicas: every mistake gives one line with the file and the key path."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaiaops import registry
from gaiaops.errors import UsageError

ONE = 'replicas = ["postgresql://u:p@r1:5432/d"]\n'
BAD = {
    "a bad max_lag": (ONE + 'max_lag = "soon"', "max_lag: not a duration: 'soon'"),
    "a number for max_lag": (ONE + "max_lag = 10", "max_lag: expected `str | null`, got `int`"),
    "max_lag without replicas": ('max_lag = "10s"', "max_lag: there are no replicas to read from"),
    "read_from without replicas": ('read_from = "replica"', "read_from: there are no replicas to read from"),
    "read_from something else": (ONE + 'read_from = "standby"', "read_from: invalid enum value 'standby'"),
    "the primary itself": ('replicas = ["postgres://o:q@DB/d"]', "replicas[0]: the same database as environments.dev."),
    "the same twice": (
        'replicas = ["postgresql://r1/d", "postgresql://u@r1:5432/d"]',
        "replicas[1]: the same database as environments.dev.replicas[0]",
    ),
    "no table's key": ('replicas = [{ url = "postgresql://r/d", tunel = {} }]', "replicas[0].tunel: unknown key"),
    "no url": ('replicas = [{ tunnel = { ssh = "gate" } }]', "replicas[0].url: missing"),
    "a malformed one": ('replicas = [{ url = "r:5432" }]', "replicas[0].url: malformed URL"),
    "an empty one": ('replicas = [""]', "replicas[0]: empty"),
    "an empty command": ("replicas = [{ command = [] }]", "replicas[0]: command is empty"),
    "a number": ("replicas = [5432]", "replicas[0]: expected `str | object`, got `int`"),
    "tunnel = true": (
        'replicas = [{ url = "postgresql://r/d", tunnel = true }]',
        "replicas[0].tunnel: must be a table, or false",
    ),
    "a bad tunnel": (
        'replicas = [{ url = "postgresql://r/d", tunnel = { ssh = "-x" } }]',
        "replicas[0].tunnel.ssh: '-x' is no name",
    ),
    "the primary's app": (
        ONE + 'tunnel = { fly = "gaia-db-dev" }',
        "replicas[0]: the environment's tunnel (fly gaia-db-dev) leads to its primary only: write { url",
    ),
    "a program that leads to one place": (
        ONE + 'tunnel = { command = ["way", "{local_port}"] }',
        "replicas[0]: the environment's tunnel (way) leads to its primary only",
    ),
}


def load(folder: Path, text: str) -> registry.Environment:
    file = folder / "environments.toml"
    file.write_text(f'[environments.dev]\npostgres = "postgresql://u:p@db:5432/d"\n{text}\n', encoding="utf-8")
    return registry.load(str(file)).environments[0]


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line_with_its_key(name: str, tmp_path: Path) -> None:
    text, reason = BAD[name]
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"environments.toml: environments.dev.{reason}"), message
    assert "\n" not in message and "u:p" not in message
    assert caught.value.hint == f"edit {tmp_path / 'environments.toml'}"


def test_what_it_says_nothing_of(tmp_path: Path) -> None:
    env = load(tmp_path, ONE)
    assert (env.read_from, env.max_lag, env.replica, env.postgres_url().replica) == ("primary", 10_000, 0, 0)
    assert load(tmp_path, "").replicas == ()


def test_the_environment_as_it_is_read_from_a_replica(tmp_path: Path) -> None:
    """Everything is the environment's but the way to its PostgreSQL; a pooler is found out."""
    more = 'replicas = ["postgresql://r1/d", { command = ["echo", "postgresql://v:q@r2/d"] }]\nread_from = "replica"\n'
    env = load(tmp_path, more + 'max_lag = "1min"\npooler = "none"\nprotected = true')
    one, other = env.from_replica(1), env.from_replica(2)
    assert (env.max_lag, env.read_from) == (60_000, "replica")
    assert [one.postgres_url().server, other.postgres_url().server] == ["r1", "r2"]
    assert (one.postgres_url().replica, other.postgres_url().replica, other.replica) == (1, 2, 2)
    assert (one.name, one.protected, one.timeouts) == (env.name, True, env.timeouts)
    assert (env.postgres_url().pooler, one.postgres_url().pooler) == ("none", "")
    assert one.postgres_url().protected == env.name, "so that it is warned of where TLS does not verify it"


def test_which_way_leads_to_it(tmp_path: Path) -> None:
    """A tunnel to any host is the replicas' too; one to the primary's app is not, and each may have its own."""
    same = load(tmp_path, ONE + 'tunnel = { ssh = "gate" }').from_replica(1).postgres_url()
    assert same.address == "r1:5432 through ssh gate"
    program = load(tmp_path, ONE + 'tunnel = { command = ["way", "{local_port}", "{host}:{port}"] }')
    assert program.from_replica(1).postgres_url().address == "r1:5432 through way"
    entries = (
        '{ url = "postgresql://localhost/d", tunnel = { fly = "gaia-db-dev-2" } }',
        '{ url = "postgresql://open/d", tunnel = false }',
        '{ url = { command = ["echo", "postgresql://c/d"] }, tunnel = { ssh = "gate" } }',
    )
    own = load(tmp_path, f'replicas = [{", ".join(entries)}]\ntunnel = {{ fly = "gaia-db-dev" }}')
    addresses = [own.from_replica(number).postgres_url().address for number in (1, 2, 3)]
    assert addresses == ["localhost through fly gaia-db-dev-2", "open", "c through ssh gate"]


def test_the_same_host_and_port_at_the_end_of_another_tunnel_is_another_server(tmp_path: Path) -> None:
    entry = '{ url = "postgresql://db:5432/d", tunnel = { fly = "gaia-db-dev-2" } }'
    assert load(tmp_path, f'replicas = [{entry}]\ntunnel = {{ fly = "gaia-db-dev" }}').replicas
