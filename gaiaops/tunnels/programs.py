"""Which program opens a tunnel, with which arguments, and what its last words mean. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from gaiaops.registry.tunnels import LOCAL_PORT, CloudSqlProxy, Docker, Fly, Program, Ssh, Tunnel
from gaiaops.registry.urls import Url

_DEFAULT_PORTS = {"postgresql": "5432", "redis": "6379", "rediss": "6379"}
# The user's own configuration counts, but for what would put the tunnel out of our hands: a shared connection keeps the
# forwarding after our ssh has ended (ssh_config, ControlMaster), and a port that is another's must not pass for ours.
_SSH_MUST = ("ControlMaster=no", "ControlPath=none", "ExitOnForwardFailure=yes", "ClearAllForwardings=no")
_SSH_MAY = ("BatchMode=yes", "ServerAliveInterval=15", "ServerAliveCountMax=3")
# (the program, what its words hold, the next step); the first match counts.
_HINTS: tuple[tuple[str, str, str], ...] = (
    ("fly", r"logged in|access token|auth login|unauthori[sz]ed|not authenticated", "fly auth login"),
    ("fly", r"not find app|app not found|no such app", "fly apps list shows the apps you can reach"),
    ("ssh", r"Host key verification failed|IDENTIFICATION HAS CHANGED", "check the host key once by hand: {ssh}"),
    ("ssh", r"Permission denied", "ssh-add -l shows your keys; try it by hand: {ssh}"),
    ("ssh", r"Could not resolve hostname", "check the host in the registry, and ~/.ssh/config"),
    ("ssh", r"open failed", "the server must be reachable from {target} as {server}"),
    ("docker", r"Cannot connect to the Docker daemon|docker daemon", "is Docker running? docker ps"),
    ("docker", r"[Nn]o such (?:container|service)|is not running|no container found", "docker ps shows what runs"),
    ("docker", r"publishes no port", "publish it: ports: [\"127.0.0.1::{port}\"]"),
    ("cloud-sql-proxy", r"default credentials|could not find.*credentials", "gcloud auth application-default login"),
)  # fmt: skip
_INSTALL = {
    "fly": "install flyctl: https://fly.io/docs/flyctl/install",
    "ssh": "apt install openssh-client",
    "docker": "install Docker, or the docker command alone",
    "cloud-sql-proxy": "install Google's Cloud SQL Auth Proxy",
}
_PLACE = re.compile(r"\{(?:local_port|host|port)\}")
_TELLING = re.compile(r"error|fatal|fail|denied|refused|cannot|could not|unable|no such|not found", re.IGNORECASE)
_PORT_TAKEN = re.compile(r"address (?:is )?already in use|cannot listen to port|bind: .*in use", re.IGNORECASE)


def names(tunnel: Tunnel) -> tuple[str, ...]:
    """The program, under the names it may have on PATH."""
    if isinstance(tunnel, Fly):
        return ("fly", "flyctl")
    if isinstance(tunnel, Program):
        return (tunnel.command[0],)
    return (tunnel.label.split()[0],)


def target(url: Url) -> tuple[str, int]:
    """The server's host and port, as the far end of the tunnel knows them."""
    options = dict(url.options)
    host = url.host or options.get("host", "") or "localhost"
    return host, int(url.port or options.get("port", "") or _DEFAULT_PORTS.get(url.scheme, "6379"))


def arguments(tunnel: Tunnel, url: Url, local_port: int) -> list[str]:
    """What the program is started with; it must listen on `local_port` of 127.0.0.1.

    For Docker, `local_port` is of no meaning: the program prints an address and ends.
    """
    host, port = target(url)
    if isinstance(tunnel, Fly):
        org = ["-o", tunnel.org] if tunnel.org else []
        return ["proxy", f"{local_port}:{tunnel.remote_port or port}", "-a", tunnel.fly, *org, *tunnel.options]
    if isinstance(tunnel, Ssh):
        return _ssh(tunnel, f"127.0.0.1:{local_port}:{_forward_to(url, host, port)}", _SSH_MUST, _SSH_MAY)
    if isinstance(tunnel, Docker):
        return _docker(tunnel, port)
    if isinstance(tunnel, CloudSqlProxy):
        return ["--address", "127.0.0.1", "--port", str(local_port), *tunnel.options, tunnel.instance]
    known = {LOCAL_PORT: str(local_port), "{host}": host, "{port}": str(port)}
    return [_PLACE.sub(lambda match: known[match[0]], argument) for argument in tunnel.command[1:]]


def shown(tunnel: Tunnel, url: Url, local_port: int) -> list[str]:
    """The command for people, to be tried by hand: ssh without what we add."""
    program = names(tunnel)[0].rpartition("/")[2]
    if isinstance(tunnel, Ssh):
        return [program, *_ssh(tunnel, f"{local_port}:{_forward_to(url, *target(url))}", (), ())]
    return [program, *arguments(tunnel, url, local_port)]


def _ssh(tunnel: Ssh, forward: str, must: Sequence[str], may: Sequence[str]) -> list[str]:
    # Of an option that is given twice, ssh takes the first (ssh_config).
    given = [*_options(must), *tunnel.options, *_options(may)]
    given += ["-J", tunnel.jump] if tunnel.jump else []
    given += ["-p", str(tunnel.port)] if tunnel.port else []
    given += ["-i", str(Path(tunnel.identity).expanduser())] if tunnel.identity else []
    return ["-N", "-L", forward, *given, tunnel.ssh]


def _options(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("-o", setting)]


def _forward_to(url: Url, host: str, port: int) -> str:
    """ssh's -L takes a socket's path too, so a server that listens on none but a socket can be reached."""
    if url.scheme == "unix":
        return url.path
    if host.startswith("/"):
        return f"{host}/.s.PGSQL.{port}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _docker(tunnel: Docker, port: int) -> list[str]:
    if not tunnel.compose:
        return ["port", tunnel.docker, str(port)]
    project = ["-p", tunnel.project] if tunnel.project else []
    file = ["-f", str(Path(tunnel.file).expanduser())] if tunnel.file else []
    return ["compose", *project, *file, "port", tunnel.docker, str(port)]


def published(lines: Sequence[str], docker_host: str) -> tuple[str, int] | None:
    """The address in what `docker port` or `docker compose port` printed; None where the port is not published.

    What is published on every address is reached on loopback, or on the machine that $DOCKER_HOST names.

    >>> published(["0.0.0.0:32768", "[::]:32768"], ""), published(["127.0.0.1:15432"], ""), published([":0"], "")
    (('127.0.0.1', 32768), ('127.0.0.1', 15432), None)
    >>> published(["0.0.0.0:5432"], "ssh://ops@build.example.com:22")
    ('build.example.com', 5432)
    """
    remote = re.match(r"(?:ssh|tcp|https?)://(?:[^@/]*@)?(\[[^\]]*\]|[^:/]+)", docker_host)
    for line in lines:
        found = re.fullmatch(r"\s*\[?([0-9a-fA-F.:]*?)\]?:(\d+)\s*", line)
        if found is None or not int(found[2]):
            continue
        host = found[1] if found[1] not in ("", "0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - compared
        return (remote[1].strip("[]") if remote and host.startswith("127.") else host), int(found[2])
    return None


def telling(said: Sequence[str], *, ended: bool = True) -> str:
    """The line that says most: the last one that speaks of an error, else the last one of a program that has ended.

    >>> telling(["Error: not logged in", "Usage:", "  fly proxy"]), telling(["a", "b"]), telling(["a"], ended=False)
    ('Error: not logged in', 'b', '')
    """
    errors = [line for line in said if _TELLING.search(line)]
    return (errors or (list(said) if ended else []) or [""])[-1].strip()


def port_was_taken(said: Sequence[str]) -> bool:
    """Whether the program ended because somebody else took the port in the meantime."""
    return any(_PORT_TAKEN.search(line) for line in said)


def gives_up(tunnel: Tunnel, said: Sequence[str]) -> bool:
    """Whether the program has said that the server cannot be reached, though it goes on.

    ssh does for each connection: the machine at the other end tried, and was refused or found no such host.
    """
    return isinstance(tunnel, Ssh) and any(re.search(r"channel \d+: open failed", line) for line in said)


def hint(tunnel: Tunnel, url: Url, said: Sequence[str], by_hand: str) -> str:
    """The next step after a failure."""
    text, (host, port) = "\n".join(said), target(url)
    for program, pattern, step in _HINTS:
        if program == names(tunnel)[0] and re.search(pattern, text):
            destination = tunnel.ssh if isinstance(tunnel, Ssh) else ""
            return step.format(ssh=f"ssh {destination}", target=destination, server=f"{host}:{port}", port=port)
    return f"try it by hand: {by_hand}"


def install_hint(tunnel: Tunnel) -> str:
    """The next step where the program is not on PATH."""
    return _INSTALL.get(names(tunnel)[0], "install it, or name another program in the registry")
