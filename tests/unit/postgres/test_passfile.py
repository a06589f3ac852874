"""~/.pgpass for a server behind a tunnel: by the server's own host and port, as libpq would without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaiaops.postgres import passfile
from gaiaops.registry.urls import POSTGRES_SCHEMES, parse_url

LINES = r"""
# db:5432:app:me:a comment
db:5432:app:me:first
db:5432:*:me:any\:database
*:6432:*:*:by port
[::1]:5432:app:me:no brackets in libpq
\:\:1:5432:app:me:escaped
localhost:5432:app:me:socket or none
short:line
"""


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me@db:5432/app", "first"),
        ("postgresql://me@db/app", "first"),
        ("postgresql://me@db/other", "any:database"),
        ("postgresql://you@elsewhere:6432/x", "by port"),
        ("postgresql://me@[::1]/app", "escaped"),
        ("postgresql://me@/app", "socket or none"),
        ("postgresql:///app?host=db&user=me", "first"),
        ("postgresql://you@db/app", None),
    ],
)
def test_the_first_line_that_fits(url: str, expected: str | None, tmp_path: Path) -> None:
    file = tmp_path / ".pgpass"
    file.write_text(LINES, encoding="utf-8")
    file.chmod(0o600)
    parsed = parse_url(url, POSTGRES_SCHEMES)
    assert passfile.password(parsed, {"HOME": str(tmp_path)}) == expected
    assert passfile.password(parsed, {"HOME": "/nonexistent", "PGPASSFILE": str(file)}) == expected
    file.chmod(0o640)
    assert passfile.password(parsed, {"HOME": str(tmp_path)}) is None, "others can read it"


def test_without_a_file(tmp_path: Path) -> None:
    assert passfile.password(parse_url("postgresql://me@db/app", POSTGRES_SCHEMES), {"HOME": str(tmp_path)}) is None
