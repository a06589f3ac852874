"""The registry's tunnel tables: each kind, and one line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaiaops import registry
from gaiaops.errors import UsageError
from gaiaops.registry.tunnels import CloudSqlProxy, Docker, Fly, Program, Ssh, Tunnel

KINDS: dict[str, tuple[str, Tunnel, str]] = {
    "fly": ('{ fly = "gaia-db-dev" }', Fly("gaia-db-dev"), "fly gaia-db-dev"),
    "fly, all of it": (
        '{ fly = "db", org = "gaia", remote_port = 6432, options = ["-q"], ready = "20s" }',
        Fly("db", "gaia", 6432, ("-q",), ready=20_000),
        "fly db",
    ),
    "ssh": ('{ ssh = "ops@jump.example.com" }', Ssh("ops@jump.example.com"), "ssh ops@jump.example.com"),
    "ssh, all of it": (
        '{ ssh = "db", jump = "a,b", port = 2222, identity = "~/my keys/id", options = ["-4"], ready = "1min" }',
        Ssh("db", "a,b", 2222, "~/my keys/id", ("-4",), ready=60_000),
        "ssh db",
    ),
    "docker": ('{ docker = "gaia-db-1" }', Docker("gaia-db-1"), "docker gaia-db-1"),
    "compose": (
        '{ docker = "db", compose = true, project = "gaia", file = "/srv/compose.yml" }',
        Docker("db", True, "gaia", "/srv/compose.yml"),
        "docker compose db",
    ),
    "cloud-sql-proxy": ('{ cloud-sql-proxy = "p:r:i" }', CloudSqlProxy("p:r:i"), "cloud-sql-proxy p:r:i"),
    "command": (
        '{ command = ["/opt/bin/way", "{local_port}", "{host}:{port}"] }',
        Program(("/opt/bin/way", "{local_port}", "{host}:{port}")),
        "way",
    ),
}
BAD = {
    "none": ("{ }", ": needs one of fly, ssh, docker, cloud-sql-proxy, command"),
    "no kind": ('{ org = "gaia" }', ": needs one of fly, ssh, docker, cloud-sql-proxy, command"),
    "an unknown kind": ('{ telnet = "db" }', ": needs one of fly, ssh,"),
    "two kinds": ('{ fly = "a", ssh = "b" }', ": fly and ssh: a tunnel is of one kind"),
    "no table": ('"fly"', ": expected `object | null`, got `str`"),
    "a list": ('["fly", "x"]', ": expected `object | null`, got `array`"),
    "an unknown key": ('{ fly = "a", ap = "b" }', ".ap: unknown key"),
    "another kind's key": ('{ fly = "a", jump = "b" }', ".jump: unknown key"),
    "wrong type": ("{ fly = 5432 }", ".fly: expected `str`, got `int`"),
    "empty": ('{ fly = "" }', ".fly: empty"),
    "an option for a name": ('{ ssh = "-oProxyCommand=rm" }', ".ssh: '-oProxyCommand=rm' is no name"),
    "an option for a jump host": ('{ ssh = "a", jump = "-x" }', ".jump: '-x' is no name"),
    "an option for an instance": ('{ cloud-sql-proxy = "--x" }', ".cloud-sql-proxy: '--x' is no name"),
    "an option for a container": ('{ docker = "-a" }', ".docker: '-a' is no name"),
    "white space": ('{ docker = "a b" }', ".docker: 'a b' holds white space"),
    "a port too large": ('{ ssh = "a", port = 70000 }', ".port: expected `int` <= 65535"),
    "no port": ('{ fly = "a", remote_port = 0 }', ".remote_port: expected `int` >= 1"),
    "options are no list": ('{ ssh = "a", options = "-4" }', ".options: expected `array`, got `str`"),
    "no {local_port}": ('{ command = ["way", "5432"] }', ".command: needs {local_port}: the program must listen on"),
    "no program": ('{ command = ["", "{local_port}"] }', ".command: must begin with a program"),
    "no arguments": ("{ command = [] }", ".command: needs {local_port}"),
    "a text for a command": ('{ command = "way {local_port}" }', ".command: expected `array`, got `str`"),
    "project without compose": ('{ docker = "db", project = "gaia" }', ".project: needs compose = true"),
    "file without compose": ('{ docker = "db", file = "x.yml" }', ".file: needs compose = true"),
    "a bad duration": ('{ fly = "a", ready = "soon" }', ".ready: not a duration: 'soon'"),
    "no duration": ('{ fly = "a", ready = "0s" }', '.ready: not a duration: write "20s"'),
    "a number for a duration": ('{ fly = "a", ready = 20 }', '.ready: not a duration: write "20s"'),
}


def load(folder: Path, tunnel: str, *, key: str = "tunnel", more: str = "") -> registry.Environment:
    file = folder / "environments.toml"
    file.write_text(f'[environments.dev]\npostgres = "postgresql://u:p@db:5432/d"\n{key} = {tunnel}\n{more}')
    return registry.load(str(file)).environments[0]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind(kind: str, tmp_path: Path) -> None:
    text, expected, label = KINDS[kind]
    found = load(tmp_path, text)
    assert found.tunnel == expected
    url = found.postgres_url()
    assert (url.tunnel, url.server, url.address) == (expected, "db:5432", f"db:5432 through {label}")
    assert "through" not in url.masked(), "the connection string is what it was"


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line_with_its_key(name: str, tmp_path: Path) -> None:
    text, reason = BAD[name]
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"environments.toml: environments.dev.tunnel{reason}"), message
    assert "\n" not in message
    assert caught.value.hint == f"edit {tmp_path / 'environments.toml'}"


def test_redis_has_a_tunnel_of_its_own(tmp_path: Path) -> None:
    found = load(tmp_path, '{ fly = "gaia-redis-dev" }', key="redis_tunnel", more='redis = "redis://r:6379/0"')
    url = found.redis_url()
    assert url is not None
    assert url.address == "r:6379 through fly gaia-redis-dev"
    assert found.postgres_url().tunnel is None
    with pytest.raises(UsageError, match=r"environments\.dev\.redis_tunnel: there is no redis to reach through it"):
        load(tmp_path, '{ fly = "gaia-redis-dev" }', key="redis_tunnel")


def test_the_way_to_the_auth_project_s_database(tmp_path: Path) -> None:
    file = tmp_path / "environments.toml"
    text = '[environments.dev]\npostgres = "postgresql://h/d"\n[supabase]\nurl = "https://s"\nservice_key = "k"\n'
    way = 'tunnel = { ssh = "gate" }\n'
    file.write_text(f'{text}database = "postgresql://u:p@db/postgres"\n{way}', encoding="utf-8")
    project = registry.load(str(file)).supabase
    assert project is not None and (url := project.database_url()) is not None
    assert url.address == "db through ssh gate"
    file.write_text(text + way, encoding="utf-8")
    with pytest.raises(UsageError, match=r"supabase\.tunnel: there is no database to reach through it"):
        registry.load(str(file))


def test_a_tunnel_leads_to_one_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "environments.toml"
    text = '[environments.dev]\npostgres = "{}"\ntunnel = {{ fly = "a" }}'
    file.write_text(text.format("postgresql://u:p@h1,h2/d"), encoding="utf-8")
    several = r"environments\.dev\.postgres: a tunnel leads to one server, and the connection string names several"
    with pytest.raises(UsageError, match=several):
        registry.load(str(file))
    monkeypatch.setenv("SOME_URL", "postgresql://u:p@h1,h2/d")
    file.write_text(text.format("${SOME_URL}"), encoding="utf-8")
    with pytest.raises(UsageError, match=several):
        registry.load(str(file)).environments[0].postgres_url()


def test_how_long_it_may_take() -> None:
    assert Fly("a").patience(5_000) == 15_000
    assert Fly("a").patience(60_000) == 60_000
    assert Fly("a", ready=700).patience(60_000) == 700
