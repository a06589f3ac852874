"""`activity` on a server with 190 sessions: running, idle in a transaction, idle, and 60 in a queue for one lock.

The sandbox admits 200, and some slots are reserved; the 190 and ours are what it takes at once.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from benchmarks.harness import PYTHON, ROUNDS, Figure, Platform, median, run

_SESSIONS = """
import sys, time, psycopg
url, kept = sys.argv[1], []
def open(first, then=""):
    one = psycopg.connect(url, autocommit=True)
    kept.append(one)
    if first:
        one.execute(first)
    if then:
        one.pgconn.send_query(then.encode())
        one.pgconn.flush()
open("BEGIN; LOCK TABLE personas IN SHARE MODE")
for i in range(60):
    open("", "UPDATE personas SET name = name WHERE id IN (SELECT id FROM personas LIMIT %d)" % (i + 1))
for i in range(60):
    open("", "SELECT pg_sleep(600), 'a statement of some length' FROM generate_series(1, %d)" % (i + 1))
for i in range(40):
    open("BEGIN; SELECT count(*) FROM users")
for i in range(29):
    open("SELECT 1")
watching = psycopg.connect(url, autocommit=True)
waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
while watching.execute(waiting).fetchone()[0] < 60:
    time.sleep(0.05)
watching.close()
print("ready", flush=True)
sys.stdin.read()
for one in kept:
    one.cancel_safe(timeout=1)
    one.close()
"""


def figures(platform: Platform) -> Iterator[Figure]:
    held = subprocess.Popen([PYTHON, "-c", _SESSIONS, platform.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert held.stdin is not None and held.stdout is not None
    try:
        assert held.stdout.readline() == b"ready\n"
        ours = platform.gaiaops("activity", "dev")
        plain = [platform.psql, "-qc", "SELECT *, pg_blocking_pids(pid) FROM pg_stat_activity", platform.url]
        run(ours), run(plain)
        mine = median([run(ours) for _ in range(ROUNDS)])
        peer = median([run(plain) for _ in range(ROUNDS)])
        note = f"CPU {mine.cpu:.2f} s; psql with the bare view {peer.wall:.2f} s"
        yield Figure("activity, 190 sessions", mine.wall, 1.0, "s", mine.peak, note)
    finally:
        held.stdin.close()
        held.stdout.close()
        held.wait()
