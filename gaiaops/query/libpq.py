"""How psql gets a connection string: by environment variables, and what has none by a service file in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping

_SERVICE = "gaiaops"
# Options that libpq also takes from the environment (manual 34.15); it passes over those that are newer than itself.
VARIABLES = {
    "host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD",
    "dbname": "PGDATABASE", "options": "PGOPTIONS", "passfile": "PGPASSFILE", "service": "PGSERVICE",
    "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL", "sslcrldir": "PGSSLCRLDIR", "sslsni": "PGSSLSNI", "sslcertmode": "PGSSLCERTMODE",
    "sslnegotiation": "PGSSLNEGOTIATION", "sslcompression": "PGSSLCOMPRESSION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION", "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "min_protocol_version": "PGMINPROTOCOLVERSION", "max_protocol_version": "PGMAXPROTOCOLVERSION",
    "channel_binding": "PGCHANNELBINDING", "require_auth": "PGREQUIREAUTH", "requirepeer": "PGREQUIREPEER",
    "gssencmode": "PGGSSENCMODE", "krbsrvname": "PGKRBSRVNAME", "gsslib": "PGGSSLIB",
    "gssdelegation": "PGGSSDELEGATION", "target_session_attrs": "PGTARGETSESSIONATTRS",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
}  # fmt: skip
_OURS = frozenset({"application_name", "client_encoding", "connect_timeout", "fallback_application_name"})


def service(options: Mapping[str, str]) -> str:
    """The text of a service file (manual 34.17) with the options that have no variable, such as sslpassword; "" where
    there are none, or the user has a service of their own.

    >>> service({"sslmode": "require", "sslpassword": "x y"})
    '[gaiaops]\\nsslpassword=x y\\n'
    """
    left = {name: value for name, value in options.items() if name not in VARIABLES and name not in _OURS}
    if not left or "service" in options:
        return ""
    return f"[{_SERVICE}]\n" + "".join(f"{name}={value}\n" for name, value in left.items())


def in_memory(text: str) -> tuple[dict[str, str], int]:
    """The variables that lead libpq to a service file that is on no disk, and its descriptor, for a child."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create(_SERVICE, 0)
    else:  # macOS: a file without a name
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    os.write(number, text.encode())
    os.lseek(number, 0, os.SEEK_SET)
    os.set_inheritable(number, True)
    return {"PGSERVICE": _SERVICE, "PGSERVICEFILE": f"/dev/fd/{number}"}, number
