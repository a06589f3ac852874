"""Where the sandbox keeps what, and what it remembers between commands."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gaiaops.registry.paths import data_home

ENVIRONMENTS = ("local", "dev", "staging", "production")
AUTH_DATABASE = "supabase_auth"
# Only root cannot keep PostgreSQL's data at home: the server runs as another user, who cannot enter there.
_ROOT_BASE = Path("/var/lib/gaiaops")


@dataclass(frozen=True)
class Layout:
    """The sandbox's folders: `home` is the user's, `servers` belongs to the user the servers run as."""

    home: Path
    servers: Path

    @classmethod
    def default(cls) -> Layout:
        return cls.at(data_home() / "sandbox")

    @classmethod
    def at(cls, home: Path) -> Layout:
        """The layout under a folder; root's servers go elsewhere where the folder is closed to others."""
        if os.geteuid() != 0 or open_to_all(home):
            return cls(home, home / "servers")
        name = hashlib.sha256(str(home).encode()).hexdigest()[:12]
        return cls(home, _ROOT_BASE / f"sandbox-{name}")

    @property
    def registry(self) -> Path:
        return self.home / "environments.toml"

    @property
    def state(self) -> Path:
        return self.home / "state.json"

    @property
    def lock(self) -> Path:
        return self.home / "lock"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def redis(self) -> Path:
        """The working folder of the Redis servers; they write nothing there."""
        return self.home / "redis"

    @property
    def pgdata(self) -> Path:
        return self.servers / "postgres"


def open_to_all(path: Path) -> bool:
    """Whether every folder on the way to a path lets other users pass."""
    existing = [folder for folder in (path, *path.parents) if folder.exists()]
    return all(folder.stat().st_mode & 0o001 for folder in existing)


def database_name(environment: str) -> str:
    """The platform's database of an environment; in the sandbox they share a cluster, so names differ."""
    return f"llm_platform_{environment}"


class Process(msgspec.Struct, frozen=True):
    """A child: its pid and a mark that no later process with the same pid has."""

    pid: int
    mark: str


class State(msgspec.Struct):
    """What `up` decided, kept in state.json (mode 0600: it holds the sandbox's passwords)."""

    users: int
    password: str
    jwt_secret: str
    service_key: str
    seed: str
    postgres_port: int = 0
    auth_port: int = 0
    redis_ports: dict[str, int] = {}
    redis_kind: str = ""
    cursor_mode: bool = False
    seeded: bool = False
    processes: dict[str, Process] = {}

    def postgres_url(self, database: str) -> str:
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.postgres_port}/{database}"

    def redis_url(self, environment: str) -> str:
        login = "" if self.redis_kind == "fakeredis" else f":{self.password}@"
        return f"redis://{login}127.0.0.1:{self.redis_ports[environment]}/0"

    @property
    def supabase_url(self) -> str:
        return f"http://127.0.0.1:{self.auth_port}"


def read_state(layout: Layout) -> State | None:
    """The remembered state; None where there is none, or a crash left half of one."""
    try:
        return msgspec.json.decode(layout.state.read_bytes(), type=State)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_state(layout: Layout, state: State) -> None:
    """Replaces the state in one step, so that a crash leaves the old one or the new one."""
    write_private(layout.state, msgspec.json.format(msgspec.json.encode(state), indent=2))


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    temporary.replace(path)
