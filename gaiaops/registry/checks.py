"""What a registry's environments must be among each other, and what can be told of their connection strings."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from gaiaops.errors import UsageError
from gaiaops.registry.model import Environment
from gaiaops.registry.settings import Setting
from gaiaops.registry.urls import POSTGRES_SCHEMES, REDIS_SCHEMES

if TYPE_CHECKING:
    from gaiaops.registry.tunnels import Tunnel

RESERVED = ("all", "supabase")
VALID_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def check_unique(environments: tuple[Environment, ...], fail: Callable[[str, str], UsageError]) -> None:
    """Raises UsageError where two environments would answer to one name, or have one tag."""
    names = {env.name: f"the name of environments.{env.name}" for env in environments}
    tags: dict[str, str] = {}
    for env in environments:
        path = f"environments.{env.name}"
        for alias in env.aliases:
            if not VALID_NAME.fullmatch(alias) or alias in RESERVED:
                raise fail(f"{path}.aliases", f'"{alias}" cannot be an alias')
            if alias in names:
                raise fail(f"{path}.aliases", f'"{alias}" is used twice: it is {names[alias]} already')
            names[alias] = f"an alias of environments.{env.name}"
        if env.tag is not None:
            if not env.tag or set("+@ ") & set(env.tag):
                raise fail(f"{path}.tag", f"{env.tag!r} cannot stand in an address")
            if env.tag.casefold() in tags:
                raise fail(f"{path}.tag", f'"{env.tag}" is used twice: environments.{tags[env.tag.casefold()]} has it')
            tags[env.tag.casefold()] = env.name


def check_urls(environments: tuple[Environment, ...]) -> None:
    """A URL that is written out is checked at once; one that needs a variable or a command, when it is used."""
    for env in environments:
        written: list[tuple[Setting, tuple[str, ...], Tunnel | None]] = []
        for database in env.databases:
            if database.postgres is not None:
                written.append((database.postgres, POSTGRES_SCHEMES, database.tunnel))
            written += [(replica.setting, POSTGRES_SCHEMES, replica.tunnel) for replica in database.replicas]
        if env.redis is not None:
            written.append((env.redis, REDIS_SCHEMES, env.redis_tunnel))
        places: dict[object, str] = {}
        for setting, schemes, tunnel in written:
            if isinstance(setting.raw, str) and "${" not in setting.raw:
                url = setting.url(schemes, tunnel)
                known = setting.path if schemes is REDIS_SCHEMES else places.setdefault(url.place, setting.path)
                if known != setting.path:
                    raise setting.problem(f"the same database as {known}")
