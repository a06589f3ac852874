"""~/.pgpass for a server behind a tunnel: libpq looks a password up under the port that it connects to, which is the
tunnel's; what the user wrote down is the server's."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from gaiaops.registry.urls import Url

_FIELD = re.compile(r"((?:\\.|[^:\\])*)(?::|$)")


def password(url: Url, variables: Mapping[str, str]) -> str | None:
    """The password of the connection string's server, database and user; None where the file has none.

    The file is the one libpq would read (manual 34.16), which ignores one that others may read too.
    """
    options = dict(url.options)
    named = options.get("passfile") or variables.get("PGPASSFILE")
    file = Path(named) if named else Path(variables.get("HOME", "/nonexistent")) / ".pgpass"
    user = url.user or options.get("user") or variables.get("PGUSER") or pwd.getpwuid(os.getuid()).pw_name
    host = url.host or options.get("host") or variables.get("PGHOST") or "localhost"
    port = url.port or options.get("port") or variables.get("PGPORT") or "5432"
    database = url.database or options.get("dbname") or variables.get("PGDATABASE") or user
    try:
        if not file.is_file() or file.stat().st_mode & 0o077:
            return None
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return find(lines, (host, port, database, user))


def find(lines: Iterable[str], wanted: tuple[str, str, str, str]) -> str | None:
    r"""The password of the first line for (host, port, database, user).

    >>> find(["# mine", "db:5432:*:me:a\\:b"], ("db", "5432", "app", "me"))
    'a:b'
    >>> find(["db:5432:app:me:x"], ("db", "6432", "app", "me"))
    """
    for line in lines:
        fields = [re.sub(r"\\(.)", r"\1", field) for field in _FIELD.findall(line)]
        if line.startswith("#") or len(fields) < 5:
            continue
        if all(field in ("*", value) for field, value in zip(fields[:4], wanted, strict=True)):
            return fields[4]
    return None
