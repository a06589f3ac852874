"""Arguments of the programs, where they lead, and what their last words mean."""

from __future__ import annotations

import pytest

from gaiaops.registry.tunnels import CloudSqlProxy, Docker, Fly, Program, Ssh, Tunnel
from gaiaops.registry.urls import POSTGRES_SCHEMES, REDIS_SCHEMES, Url, parse_url
from gaiaops.tunnels import programs

POSTGRES = parse_url("postgresql://u:s3cret@db:6432/d", POSTGRES_SCHEMES)


def forward(url: Url) -> str:
    given = programs.arguments(Ssh("jump"), url, 50000)
    return given[given.index("-L") + 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u@db/d", "127.0.0.1:50000:db:5432"),
        ("postgresql://u@db:6432/d", "127.0.0.1:50000:db:6432"),
        ("postgresql:///d", "127.0.0.1:50000:localhost:5432"),
        ("postgresql://u@[fd00::1]:5432/d", "127.0.0.1:50000:[fd00::1]:5432"),
        ("postgresql:///d?host=db&port=6432", "127.0.0.1:50000:db:6432"),
        ("postgresql://u@%2Frun%2Fpostgresql/d", "127.0.0.1:50000:/run/postgresql/.s.PGSQL.5432"),
        ("postgresql:///d?host=/run/postgresql", "127.0.0.1:50000:/run/postgresql/.s.PGSQL.5432"),
        ("redis://cache/0", "127.0.0.1:50000:cache:6379"),
        ("rediss://cache:6380/0", "127.0.0.1:50000:cache:6380"),
        ("unix:///run/redis.sock", "127.0.0.1:50000:/run/redis.sock"),
    ],
)
def test_where_ssh_forwards_to(text: str, expected: str) -> None:
    assert forward(parse_url(text, POSTGRES_SCHEMES + REDIS_SCHEMES)) == expected


def test_of_an_ssh_option_the_users_comes_first() -> None:
    """Of two, ssh takes the first (ssh_config(5))."""
    mine = Ssh("db", jump="a,b", port=2222, identity="/keys/id", options=("-o", "ServerAliveInterval=60"))
    given = programs.arguments(mine, POSTGRES, 50000)
    assert given.index("ServerAliveInterval=60") < given.index("ServerAliveInterval=15")
    assert given.index("ControlPath=none") < given.index("ServerAliveInterval=60"), "what keeps it in our hands is not"
    assert given[-7:] == ["-J", "a,b", "-p", "2222", "-i", "/keys/id", "db"]
    for wanted in ("BatchMode=yes", "ExitOnForwardFailure=yes"):
        assert given[given.index(wanted) - 1] == "-o"


@pytest.mark.parametrize(
    "tunnel",
    [
        Fly("a"),
        Ssh("a"),
        Docker("a"),
        Docker("a", compose=True),
        CloudSqlProxy("p:r:i"),
        Program(("way", "{local_port}", "{host}", "{port}", "{password}")),
    ],
)
def test_no_secret_in_any_argument(tunnel: Tunnel) -> None:
    given = programs.arguments(tunnel, POSTGRES, 50000)
    assert all(isinstance(argument, str) for argument in given)
    assert "s3cret" not in " ".join(given)


def test_fly_leads_to_the_servers_port_or_to_another() -> None:
    assert programs.arguments(Fly("db", org="gaia"), POSTGRES, 50000) == [
        "proxy",
        "50000:6432",
        "-a",
        "db",
        "-o",
        "gaia",
    ]
    assert programs.arguments(Fly("db", remote_port=5433), POSTGRES, 50000)[1] == "50000:5433"


def test_what_is_shown_can_be_tried_by_hand() -> None:
    mine = Ssh("db", jump="a", options=("-4",))
    assert programs.shown(mine, POSTGRES, 50000) == ["ssh", "-N", "-L", "50000:db:6432", "-4", "-J", "a", "db"]
    assert programs.shown(Program(("/opt/way", "{local_port}")), POSTGRES, 50000) == ["way", "50000"]


def test_a_programs_places_are_filled_once() -> None:
    """What is filled in is not looked at again, nor is any other word in braces."""
    tunnel = Program(("way", "-l{local_port}", "{host}:{port}", "{{.Name}}"))
    assert programs.arguments(tunnel, POSTGRES, 50000) == ["-l50000", "db:6432", "{{.Name}}"]
    odd = parse_url("postgresql://u@{port}/d", POSTGRES_SCHEMES)
    assert programs.arguments(Program(("way", "{host}")), odd, 50000) == ["{port}"]


@pytest.mark.parametrize(
    ("lines", "docker_host", "expected"),
    [
        (["[::]:32768", "0.0.0.0:32768"], "", ("127.0.0.1", 32768)),
        (["127.0.0.1:15432"], "unix:///var/run/docker.sock", ("127.0.0.1", 15432)),
        (["192.168.1.5:5432"], "", ("192.168.1.5", 5432)),
        (["0.0.0.0:5432"], "tcp://10.0.0.7:2376", ("10.0.0.7", 5432)),
        (["192.168.1.5:5432"], "tcp://10.0.0.7:2376", ("192.168.1.5", 5432)),
        (["WARN[0000] the attribute `version` is obsolete", "0.0.0.0:5432"], "", ("127.0.0.1", 5432)),
        ([":0"], "", None),
        ([], "", None),
    ],
)
def test_what_docker_publishes(lines: list[str], docker_host: str, expected: tuple[str, int] | None) -> None:
    assert programs.published(lines, docker_host) == expected


@pytest.mark.parametrize(
    ("tunnel", "said", "expected"),
    [
        (Fly("a"), "Error: not logged in", "fly auth login"),
        (Fly("a"), "Error: Could not find App", "try it by hand: fly proxy"),
        (Ssh("ops@a"), "Host key verification failed.", "check the host key once by hand: ssh ops@a"),
        (
            Ssh("ops@a"),
            "ops@a: Permission denied (publickey).",
            "ssh-add -l shows your keys; try it by hand: ssh ops@a",
        ),
        (Docker("a"), "Cannot connect to the Docker daemon at unix:///x", "is Docker running? docker ps"),
        (Docker("a"), "the container publishes no port 6432", 'publish it: ports: ["127.0.0.1::6432"]'),
        (CloudSqlProxy("p:r:i"), "could not find default credentials", "gcloud auth application-default login"),
        (Program(("way",)), "ssh: Permission denied", "try it by hand: fly proxy"),
    ],
)
def test_the_next_step(tunnel: Tunnel, said: str, expected: str) -> None:
    assert programs.hint(tunnel, POSTGRES, [said], "fly proxy") == expected
